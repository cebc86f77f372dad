"""The guides that need no other framework: each program runs before and after, and the page has what it promises."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from milepost.api.log.v1 import log_service_pb2 as log_api
from milepost.api.metric.v1 import metric_service_pb2 as metric_api
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.api.trial.v1 import trial_service_pb2 as trial_api
from milepost.series import read_series
from milepost.series.samples import read_samples
from tests.e2e.stack import ROOT, StackProcess, until
from tests.support.programs.guides import block, read_guide, run_program

NOWHERE = {
    "MILEPOST_RUNTIME_ADDRESS": "127.0.0.1:9",
    "MILEPOST_NATS_URL": "nats://127.0.0.1:9",
    "MILEPOST_GATEWAY_ADDRESS": "http://127.0.0.1:9",
}


def name_in(errors: str) -> str:
    """Return the name of the runtime that a program said it records into."""
    found = re.search(r"/runtimes/(rt-[0-9a-v]{26})", errors)
    assert found is not None, errors
    return f"runtimes/{found[1]}"


def completed(stack: StackProcess, name: str) -> runtime_api.Runtime:
    ended = stack.wait_for_end(name)
    assert ended.status == runtime_api.RUNTIME_STATUS_COMPLETED, ended.reason
    return ended


def test_a_pytorch_loop(stack: StackProcess, tmp_path: Path) -> None:
    guide = read_guide("pytorch", tmp_path)
    plain = run_program(guide.before, tmp_path, {})
    done = run_program(guide.after, tmp_path, {"MILEPOST_DATA_DIR": str(stack.data_dir)})
    assert (plain.returncode, done.returncode) == (0, 0), plain.stderr + done.stderr
    assert done.stdout == plain.stdout, "recording changes nothing of the training"
    name = name_in(done.stderr)
    completed(stack, name)
    progress = stack.trial(name).progress
    assert (progress.step, progress.total_steps, progress.batch) == (96, 96, 32)
    for key in ("train/loss", "train/grad_norm", "train/learning_rate", "train/weight_decay"):
        assert list(stack.series(name, key)) == list(range(1, 97)), key
    assert set(stack.series(name, "train/learning_rate").values()) == {0.01, 0.005, 0.0025}
    printed = [float(line.rpartition(" ")[2]) for line in done.stdout.splitlines()]
    assert [round(value, 4) for value in stack.series(name, "eval/loss").values()] == printed
    assert stack.completeness(name).gap_count == 0


def _start_page(stack: StackProcess, page: str, folder: Path, program: str = "", **replaced: str) -> str:
    """Start the configuration of a page, with its program beside it, and wait for its end. Returns its name."""
    configuration = block(page, "yaml", "entrypoint:")
    file = re.search(r"^entrypoint: (\w+\.py):train$", configuration, re.MULTILINE)
    assert file is not None
    (folder / file[1]).write_text(program or block(page, "python", "def train"))
    for old, new in replaced.items():
        configuration = re.sub(rf"^{old}: .*$", f"{old}: {new}", configuration, flags=re.MULTILINE)
    (folder / "config.yaml").write_text(configuration)
    done = stack.milepost("runtime", "start", str(folder / "config.yaml"), "--wait")
    assert done.returncode == 0, done.stderr
    return f"runtimes/{done.stdout.split()[0]}"


def test_a_whole_script_as_a_run_that_milepost_starts(stack: StackProcess, tmp_path: Path) -> None:
    """It prints what the script prints, and its globals are its own."""
    guide = read_guide("entrypoint", tmp_path)
    plain = run_program(guide.before, tmp_path, {})
    assert plain.returncode == 0, plain.stderr

    name = _start_page(stack, "docs/guides/entrypoint.md", tmp_path, guide.after)

    assert list(stack.series(name, "train/loss")) == list(range(1, 61))
    printed = log_api.QueryLogsRequest(parent=name, filter=log_api.LogFilter(text=plain.stdout.strip()))
    until(lambda: list(stack.client.logs.QueryLogs(printed).entries), "the same loss is printed")


def test_a_search_and_a_run_that_begins_at_its_weights(stack: StackProcess, tmp_path: Path) -> None:
    name = _start_page(stack, "docs/guides/search.md", tmp_path)
    ended = stack.runtime(name)
    assert (ended.trial_count, ended.trials.completed) == (3, 3)
    listed = stack.milepost("trial", "list", "which-rate")
    assert listed.returncode == 0 and listed.stdout.count("Completed") == 3, listed.stderr
    whole = _start_page(
        stack, "docs/guides/entrypoint.md", tmp_path, read_guide("entrypoint", tmp_path).after, name="for-the-weights"
    )
    request = runtime_api.ListSnapshotsRequest(parent=whole)
    snapshot = max(stack.client.runtimes.ListSnapshots(request).snapshots, key=lambda one: one.step)

    tuned = _start_page(stack, "docs/guides/fine-tuning.md", tmp_path, initialize_from=snapshot.name)

    losses = stack.series(tuned, "train/loss")
    assert list(losses) == list(range(1, 41))
    assert losses[1] < stack.series(whole, "train/loss")[1], "it begins at weights that have learnt"


@pytest.mark.timeout(300)
def test_a_search_of_the_language_model_gives_up_what_is_worse(stack: StackProcess, tmp_path: Path) -> None:
    """Shortened: as many rungs, a ninth of the steps."""
    configuration = yaml.safe_load(block("docs/guides/search.md", "yaml", "language_model"))
    configuration["parameters"] |= {"steps_per_epoch": 30, "eval_every": 3, "context": 16, "stride": 400}
    configuration["search"]["max_trials"] = 4
    configuration["search"]["pruner"]["first_step"] = 3
    (tmp_path / "which-model.yaml").write_text(yaml.safe_dump(configuration))

    done = stack.milepost("runtime", "start", str(tmp_path / "which-model.yaml"), "--wait")

    assert done.returncode == 0, done.stderr
    name = f"runtimes/{done.stdout.split()[0]}"
    trials = [stack.trial(name, number) for number in range(1, 5)]
    rungs = stack.client.runtimes.ListRungs(runtime_api.ListRungsRequest(parent=name)).rungs
    pruned = {one.trial for one in rungs if one.HasField("verdict")}
    assert pruned, "of two at a rung one is worse"
    assert {one.trial for one in trials if one.waiting_reason == trial_api.WAITING_REASON_PRUNED} <= pruned
    for rung in rungs:
        assert rung.step == 3**rung.rung
        assert rung.value == stack.series(name, "eval/loss", rung.trial)[rung.step]
        if rung.HasField("verdict"):
            assert rung.value > rung.verdict.cut_off and 1 < rung.verdict.rank <= rung.verdict.reached_count
    told = stack.client.runtimes.GetImportances(runtime_api.GetImportancesRequest(name=name))
    assert (list(told.importances), told.value_count) == ([], 4 - len(pruned))


def test_a_search_whose_trials_a_sampler_chooses(stack: StackProcess, tmp_path: Path) -> None:
    page = "docs/guides/search.md"
    (tmp_path / "train.py").write_text(block(page, "python", "def train"))
    chosen = yaml.safe_load(block(page, "yaml", "kind: tpe"))
    configuration = yaml.safe_load(block(page, "yaml", "entrypoint:")) | chosen | {"name": "chosen"}
    configuration["search"] |= {"max_trials": 3, "max_concurrent_trials": 1}
    (tmp_path / "chosen.yaml").write_text(yaml.safe_dump(configuration))

    done = stack.milepost("runtime", "start", str(tmp_path / "chosen.yaml"), "--wait")

    assert done.returncode == 0, done.stderr
    name = f"runtimes/{done.stdout.split()[0]}"
    assert stack.runtime(name).trials.completed == 3
    listed = stack.milepost("trial", "list", name).stdout.splitlines()
    assert listed[0].split()[-4:] == ["OBJECTIVE", "SAMPLER", "BECAUSE", "LEARNING_RATE"]
    assert "point 1 of 1 given by hand" in listed[1] and listed[1].endswith("0.05")
    assert all("  tpe  " in line and "drawn at random before 10 values" in line for line in listed[2:])
    assert sum(" best  " in line for line in listed) == 1
    trials = [stack.trial(name, number) for number in (1, 2, 3)]
    for trial in trials:
        last = stack.series(name, "train/loss", trial.trial)[60]
        assert trial.suggestion.value == last, "the last value, once everything was stored"
    shown = stack.milepost("trial", "get", f"{name}/trials/1").stdout
    assert "chosen by   given: point 1 of 1 given by hand" in shown and "objective   " in shown
    events = stack.client.runtimes.ListEvents(runtime_api.ListEventsRequest(parent=name, page_size=1_000)).events
    [ended] = [event for event in events if event.type.endswith("search_ended.v1")]
    assert ended.message.startswith("Search ended, every trial is done: 3 trials; the best is trial ")


def test_a_group_under_torchrun(stack: StackProcess, tmp_path: Path) -> None:
    guide = read_guide("torchrun", tmp_path)
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    done = run_program(guide.after, tmp_path, {"MILEPOST_DATA_DIR": str(stack.data_dir)}, launch=launch)
    assert done.returncode == 0, done.stderr
    name = name_in(done.stderr)
    completed(stack, name)
    assert done.stderr.count("milepost: recording") == 1
    assert list(stack.series(name, "train/loss")) == list(range(1, 33))


def test_a_program_without_a_server_is_recorded_later(stack: StackProcess, tmp_path: Path) -> None:
    """It prints what it would print, ends as it would end, and `milepost sync` finds all of it."""
    guide = read_guide("pytorch", tmp_path)
    plain = run_program(guide.before, tmp_path, {})
    data = {"MILEPOST_DATA_DIR": str(tmp_path / "data")}
    done = run_program(guide.after, tmp_path, {**NOWHERE, **data})
    assert (done.returncode, done.stdout) == (0, plain.stdout), done.stderr
    found = stack.endpoints
    addresses = {
        "MILEPOST_RUNTIME_ADDRESS": found.runtime, "MILEPOST_NATS_URL": found.nats,
        "MILEPOST_KEYS_DIR": str(stack.data_dir / "keys"),
    }  # fmt: skip
    command = [sys.executable, "-m", "milepost", "sync"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **data, **addresses}
    sent = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert sent.returncode == 0, sent.stderr
    name = name_in(done.stderr)
    completed(stack, name)
    assert list(stack.series(name, "train/loss")) == list(range(1, 97))


def test_what_a_model_says_is_read_from_the_command_line(stack: StackProcess, tmp_path: Path) -> None:
    program = block("docs/guides/samples.md", "python", "trial.samples")
    done = run_program(program, tmp_path, {"MILEPOST_DATA_DIR": str(stack.data_dir)})
    assert done.returncode == 0, done.stderr
    name = name_in(done.stderr)
    completed(stack, name)
    trial = f"{name}/trials/1"

    def said() -> list[metric_api.Sample] | None:
        found = list(read_samples(stack.client, trial, keys=["eval/samples"], oldest_first=True))
        return found if len(found) == 16 else None

    samples = until(said, "all samples are stored")
    assert [one.row.step for one in samples] == [step for step in (10, 20, 30, 40) for _ in range(4)]
    right = [one for one in samples if one.row.scores[0].value == 1.0]
    assert {one.row.completion for one in right} == {"That is 42."}
    runtime = name.removeprefix("runtimes/")
    shown = stack.milepost("runtime", "samples", runtime, "--score", "reward >= 1", "--text", "THAT IS 42", "-n", "100")
    assert shown.stdout.count("> That is 42.") == len(right), shown.stdout + shown.stderr
    at = stack.milepost("runtime", "samples", runtime, "--step", "25", "--series", "eval/samples", "-o", "json")
    assert {json.loads(line)["row"]["step"] for line in at.stdout.splitlines()} == {20}
    histogram = stack.milepost("runtime", "samples", runtime, "--series", "weights", "-n", "1")
    assert "64 bins over" in histogram.stdout


def test_event_files_are_imported_once_and_exported(stack: StackProcess, tmp_path: Path) -> None:
    """Steps, times and values are those of the files, and go back into one that is read again."""
    guide = read_guide("tensorboard", tmp_path)
    assert run_program(guide.before, tmp_path, {}).returncode == 0
    first = stack.milepost("import", "tensorboard", str(tmp_path / "runs"))
    assert first.returncode == 0, first.stderr
    assert "105 points" in first.stdout
    name = f"runtimes/{first.stdout.split()[0]}"
    completed(stack, name)
    again = stack.milepost("import", "tensorboard", str(tmp_path / "runs"))
    assert "imported before" in again.stdout, again.stdout
    assert list(stack.series(name, "train/loss")) == list(range(1, 101))
    assert list(stack.series(name, "eval/loss")) == [20, 40, 60, 80, 100]
    exported = stack.milepost("export", "tensorboard", name, str(tmp_path / "out"))
    assert exported.returncode == 0, exported.stderr
    from milepost.integrations.tensorboard import EventFile, Scalar, export_trial

    def scalars(path: Path) -> list[Scalar]:
        return [item for item in EventFile(path).read() if isinstance(item, Scalar)]

    path = Path(exported.stdout.strip())
    assert path.parent.parent == tmp_path / "out", "another trial in this folder is another run to TensorBoard"
    written = scalars(path)
    assert export_trial(stack.client, f"{name}/trials/1", tmp_path / "out") == (path, 105), "it is replaced"
    assert list((tmp_path / "out").rglob("*tfevents*")) == [path]
    (original,) = (tmp_path / "runs" / "first").iterdir()
    read = scalars(original)
    assert sorted((s.tag, s.step, s.value) for s in written) == sorted((s.tag, s.step, s.value) for s in read)
    for ours, theirs in zip(sorted(written, key=str), sorted(read, key=str), strict=True):
        assert abs(ours.seconds - theirs.seconds) < 0.002
    own = run_program(guide.after, tmp_path, {"MILEPOST_DATA_DIR": str(stack.data_dir)})
    assert own.returncode == 0, own.stderr
    name = name_in(own.stderr)
    completed(stack, name)
    until(lambda: list(stack.series(name, "eval/loss")) == [20, 40, 60, 80, 100], "what it logged last is stored")


def test_event_files_are_followed_while_they_grow(stack: StackProcess, tmp_path: Path) -> None:
    from tensorboardX import SummaryWriter

    writer = SummaryWriter(str(tmp_path / "runs"))
    writer.add_scalar("loss", 1.0, 1)
    writer.flush()
    command = [sys.executable, "-m", "milepost", "import", "tensorboard", str(tmp_path / "runs"), "--follow",
               "--idle-seconds=4", f"--data-dir={stack.data_dir}", "--name=followed"]  # fmt: skip
    following = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    request = runtime_api.ListRuntimesRequest(filter='name="followed"')
    until(lambda: list(stack.client.runtimes.ListRuntimes(request).runtimes), "the run is there")
    for step in range(2, 6):
        writer.add_scalar("loss", 1.0 / step, step)
    writer.close()
    output, _ = following.communicate(timeout=120)
    assert "5 points" in output
    name = f"runtimes/{output.split()[0]}"
    completed(stack, name)
    assert list(stack.series(name, "loss")) == [1, 2, 3, 4, 5]


def test_any_command_is_a_run(stack: StackProcess, tmp_path: Path) -> None:
    """Its output passes through, line by line, and its exit status is kept."""
    script = "import sys, time; print('hello'); print('oh', file=sys.stderr); time.sleep(3); sys.exit(3)"
    (tmp_path / "train.py").write_text(script)
    command = (sys.executable, str(tmp_path / "train.py"), "--api-key", "s3cret", "--max-tokens=12")
    done = stack.milepost("run", "--label", "team=nlp", "--", *command)
    assert done.returncode == 3
    assert done.stdout == "hello\n"
    assert "oh\n" in done.stderr
    name = name_in(done.stderr)
    ended = stack.wait_for_end(name)
    assert ended.status == runtime_api.RUNTIME_STATUS_FAILED
    assert "exit status 3" in ended.reason
    assert ended.labels["team"] == "nlp"
    entries = stack.client.logs.QueryLogs(log_api.QueryLogsRequest(parent=name)).entries
    texts = {entry.text for entry in entries}
    assert {"hello", "oh", "redacted: api-key looks like a secret (`not_secret` names what is none)"} <= texts
    assert ended.display_name == "train.py", "it is named for the script"
    recorded = f"{stack.trial(name)} {stack.events(name)}"
    assert "s3cret" not in recorded
    assert "--max-tokens=12" in recorded
    assert stack.series(name, "system/memory_bytes"), "the command was measured"
    missing = stack.milepost("run", "--", "no-such-program")
    assert missing.returncode == 127
    assert stack.wait_for_end(name_in(missing.stderr)).status == runtime_api.RUNTIME_STATUS_FAILED


def test_a_stop_ends_a_command(stack: StackProcess) -> None:
    command = [sys.executable, "-m", "milepost", "run", f"--data-dir={stack.data_dir}", "--", "sleep", "600"]
    running = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert running.stderr is not None
    name = name_in(running.stderr.readline())
    until(lambda: is_running(stack, name), "it runs")
    stack.client.stop_runtime(name)
    running.communicate(timeout=60)
    assert stack.wait_for_end(name).status == runtime_api.RUNTIME_STATUS_ABORTED


def is_running(stack: StackProcess, name: str) -> bool:
    from milepost.errors import NotFound

    try:
        return stack.runtime(name).phase == runtime_api.RUNTIME_PHASE_RUNNING
    except NotFound:
        return False


NOTEBOOK = """
import milepost
trial = milepost.init(name="<b>cell</b>", total_steps=4)
for step in range(2):
    milepost.log({"train/loss": 0.5})
table = milepost.current().series("train/loss")
print(table.schema.names, table.num_rows)
print(trial._repr_html_())
milepost.finish()
"""


def test_a_notebook_reads_back_what_it_logged(stack: StackProcess, tmp_path: Path) -> None:
    """Arrow at once; a link and a bar, with nothing in it that could run."""
    done = run_program(NOTEBOOK, tmp_path, {"MILEPOST_DATA_DIR": str(stack.data_dir)})
    assert done.returncode == 0, done.stderr
    schema, html = done.stdout.splitlines()
    assert schema == "['step', 'time', 'value'] 2"
    name = name_in(done.stderr)
    assert f'href="{stack.endpoints.gateway}/{name}"' in html
    assert "&lt;b&gt;cell&lt;/b&gt;" in html and "<b>" not in html
    assert "width:50.0%" in html and "2 of 4 steps" in html and "train/loss 0.5" in html
    completed(stack, name)
    table = read_series(stack.client, f"{name}/trials/1")
    assert table.column("value").to_pylist() == [0.5, 0.5]


@pytest.mark.parametrize("page", ["transformers", "lightning", "accelerate", "mlflow"])
def test_the_diffs_of_the_frameworks_apply(page: str, tmp_path: Path) -> None:
    compile(read_guide(page, tmp_path).after, page, "exec")
