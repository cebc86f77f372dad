"""The same trials as a search of Milepost and with Ray Tune, two at a time: from one's end to the next one's first step.

A trial sleeps for each of its steps and writes when it did its first and its last one, so both are timed by the same code.
Milepost's trials are processes of their own, chosen one by one by its sampler from points given by hand; Tune's are actors.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from tests.benchmarks.parts.figures import report
from tests.e2e.stack import StackProcess

TRIALS = 100
STEPS = 20
STEP_SECONDS = 0.05
AT_A_TIME = 2
SECONDS = 3_600.0
GOAL, PEER = "ratio <= 0.7", "Ray Tune"
# What both run, in a process that knows nothing of this one.
TOY = '''
import json, time
from pathlib import Path


def steps(x, folder, count, seconds):
    """Yield the value after each step, and write down when the first and the last one were."""
    first = None
    for step in range(1, count + 1):
        time.sleep(seconds)
        first = first or time.time()
        yield step, (x - 0.5) ** 2 + 1 / step
    Path(folder, f"{x}.json").write_text(json.dumps({"x": x, "first": first, "last": time.time()}))
'''
MILEPOST = """
from toy import steps


def train(trial, x, folder, count, seconds):
    trial.plan(count)
    for step, value in steps(x, folder, count, seconds):
        trial.log({"train/loss": value})
"""
TUNE = """
import sys
import ray
from ray import tune
from toy import steps

folder, count, seconds, at_a_time, trials, results = sys.argv[1:]


def train(config):
    for step, value in steps(config["x"], folder, int(count), float(seconds)):
        tune.report({"loss": value})


ray.init(num_cpus=int(at_a_time), include_dashboard=False, log_to_driver=False)
points = [i / int(trials) for i in range(int(trials))]
tuner = tune.Tuner(
    tune.with_resources(train, {"cpu": 1}),
    param_space={"x": tune.grid_search(points)},
    tune_config=tune.TuneConfig(metric="loss", mode="min", max_concurrent_trials=int(at_a_time)),
    run_config=tune.RunConfig(storage_path=results, verbose=0),
)
assert tuner.fit().get_best_result().config["x"] == 0.5
"""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--trials", type=int, default=TRIALS)
    trials = arguments.parse_args().trials
    with tempfile.TemporaryDirectory() as folder:
        ours = _milepost(Path(folder, "ours"), trials)
        theirs = _tune(Path(folder, "theirs"), trials)
    of = f"of {trials} trials, {AT_A_TIME} at a time"
    report(f"end of one to the next one's first step, {of}", ours[0], "s", GOAL, peer=PEER, peer_values=theirs[0])
    report(f"first step to last one {of}", ours[1], "s", GOAL, peer=PEER, peer_values=theirs[1])


def _milepost(folder: Path, trials: int) -> tuple[float, float]:
    written = _prepare(folder, {"toy.py": TOY, "train.py": MILEPOST})
    parameters = {"folder": str(written), "count": STEPS, "seconds": STEP_SECONDS}
    search = {
        "kind": "tpe",
        "space": {"x": {"minimum": 0.0, "maximum": 1.0}},
        "points": [{"x": i / trials} for i in range(trials)],
        "objective": {"metric": "train/loss", "mode": "min", "value": "last"},
        "max_trials": trials,
        "max_concurrent_trials": AT_A_TIME,
    }
    configuration = {
        "name": "toy",
        "entrypoint": "train.py:train",
        "working_directory": str(folder),
        "parameters": parameters,
        "search": search,
        "snapshots": {"every_steps": STEPS},
        "resources": {"cpus_per_worker": 0.5},
    }
    stack = StackProcess(folder / "data")
    try:
        stack.start()
        name = stack.client.start_runtime(json.dumps(configuration)).name
        stack.wait_for_end(name, SECONDS)
        return _figures(written, trials)
    finally:
        stack.end()


def _tune(folder: Path, trials: int) -> tuple[float, float]:
    written = _prepare(folder, {"toy.py": TOY, "tune.py": TUNE})
    given = (written, STEPS, STEP_SECONDS, AT_A_TIME, trials, folder / "results")
    # Ray keeps a token in the home of its user, and gives a busy machine half a minute to start.
    environment = {**os.environ, "HOME": str(folder), "RAY_raylet_start_wait_time_s": "300"}
    command = [sys.executable, "tune.py", *map(str, given)]
    subprocess.run(command, cwd=folder, check=True, timeout=SECONDS, env=environment)
    return _figures(written, trials)


def _prepare(folder: Path, files: dict[str, str]) -> Path:
    """Write programs into a folder. Returns the one that trials write into."""
    written = folder / "written"
    written.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return written


def _figures(written: Path, trials: int) -> tuple[float, float]:
    """Return the median seconds from an end to the first step of the trial that took the place, and those of the whole."""
    told = [json.loads(path.read_text()) for path in written.glob("*.json")]
    assert len(told) == trials, f"{len(told)} of {trials} trials have written"
    firsts, lasts = sorted(one["first"] for one in told), sorted(one["last"] for one in told)
    # Two run at a time, so the third one takes the place of whoever ended first.
    gaps = [first - STEP_SECONDS - last for first, last in zip(firsts[AT_A_TIME:], lasts, strict=False)]
    return median(gaps), lasts[-1] - firsts[0]


if __name__ == "__main__":
    main()
