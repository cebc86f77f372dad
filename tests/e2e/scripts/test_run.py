"""A run through every real part: started, interrupted, resumed; each step stored once, and the same numbers."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet
import pytest

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.log.v1 import log_service_pb2 as log_api
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.api.trial.v1 import trial_service_pb2 as trial_api
from milepost.cli.exits import Exit
from tests.e2e.runs import small
from tests.e2e.stack import StackProcess, broken_links, until

LOSS = "train/loss"
FIXED_SERIES = ("train/learning_rate", "train/grad_norm", LOSS)

pytestmark = pytest.mark.timeout(300)


def _rows(table: Any) -> list[tuple[Any, ...]]:
    return sorted(zip(*(table[name].to_pylist() for name in ("key", "step", "value")), strict=True))


# format of an export -> its rows: key, step, value
READERS: dict[str, Callable[[bytes], list[tuple[Any, ...]]]] = {
    "arrow": lambda content: _rows(pa.ipc.open_stream(content).read_all()),
    "parquet": lambda content: _rows(pa_parquet.read_table(io.BytesIO(content))),
    "csv": lambda content: _rows(pa_csv.read_csv(io.BytesIO(content))),
    "ndjson": lambda content: sorted(
        (row["key"], row["step"], row["value"]) for row in map(json.loads, content.splitlines())
    ),
}


@dataclass(frozen=True)
class Baseline:
    """A run that nothing interrupted."""

    name: str
    steps: int
    series: dict[str, dict[int, float]]


@pytest.fixture(scope="package")
def baseline(stack: StackProcess) -> Baseline:
    started = stack.client.start_runtime(small(name="uninterrupted"))
    ended = stack.wait_for_end(started.name)
    assert ended.status == runtime_api.RUNTIME_STATUS_COMPLETED, ended.reason
    total = stack.trial(started.name).progress.total_steps
    assert_all_stored(stack, started.name)
    return Baseline(started.name, total, {key: stack.series(started.name, key) for key in FIXED_SERIES})


def assert_all_stored(stack: StackProcess, name: str) -> None:
    """What was sent arrives a moment after the end; then nothing may be missing."""

    def stored() -> bool:
        answer = stack.completeness(name)
        return answer.sent_points > 0 and answer.sent_points == answer.stored_points and not answer.gap_count

    until(stored, f"{name}: sent = stored ({stack.completeness(name).message})", 30)


def assert_equals_baseline(stack: StackProcess, name: str, baseline: Baseline) -> None:
    for key in FIXED_SERIES:
        points = stack.series(name, key)
        assert sorted(points) == list(range(1, baseline.steps + 1)), f"{key}: every step exactly once"
        assert points == baseline.series[key], f"{key}: bit-identical at every step"


def test_a_run_completes_with_every_step_stored_once(stack: StackProcess, baseline: Baseline) -> None:
    assert baseline.steps > 50
    for key in FIXED_SERIES:
        assert sorted(baseline.series[key]) == list(range(1, baseline.steps + 1)), key
        assert all(math.isfinite(value) for value in baseline.series[key].values()), key


def test_every_point_can_be_exported_in_every_format(stack: StackProcess, baseline: Baseline, tmp_path: Path) -> None:
    """Through the command line and through the gateway: the same rows, whatever the format."""
    tables: dict[str, list[tuple[Any, ...]]] = {}
    trial = baseline.name.removeprefix("runtimes/")
    for form, read in READERS.items():
        path = tmp_path / f"points.{form}"
        result = stack.milepost("metrics", "export", trial, "--file", str(path), "--format", form)
        assert result.returncode == Exit.OK, result.stderr
        url = f"{stack.endpoints.gateway}/api/v1/series:export"
        answer = httpx.get(url, params={"parents": f"{baseline.name}/trials/1", "format": form}, timeout=60)
        assert answer.status_code == 200, answer.text
        tables[form] = read(path.read_bytes())
        assert read(answer.content) == tables[form]
    points = tables["arrow"]
    assert len([key for key, _, _ in points if key == "train/loss"]) == baseline.steps
    assert all(rows == points for rows in tables.values())


def test_the_model_learns(stack: StackProcess, baseline: Baseline) -> None:
    losses = [baseline.series[LOSS][step] for step in range(1, baseline.steps + 1)]
    tenth = max(1, len(losses) // 10)

    assert sum(losses[-tenth:]) < 0.9 * sum(losses[:tenth])
    evaluations = sorted(stack.series(baseline.name, "eval/loss").items())
    assert len(evaluations) >= 2
    assert evaluations[-1][1] < evaluations[0][1]


def test_the_trial_shows_completed_with_its_markers(stack: StackProcess, baseline: Baseline) -> None:
    trial = stack.trial(baseline.name)

    assert trial.status == trial_api.TRIAL_STATUS_COMPLETED
    assert (trial.progress.step, trial.progress.completion_percent) == (baseline.steps, 100.0)
    kinds = {marker.kind for marker in trial.markers if not marker.planned}
    assert kinds == {trial_api.MARKER_KIND_EVALUATION, trial_api.MARKER_KIND_EPOCH_END, trial_api.MARKER_KIND_SNAPSHOT}


def test_the_events_of_a_run_form_unbroken_chains(stack: StackProcess, baseline: Baseline) -> None:
    events = stack.events(baseline.name)

    assert broken_links(events) == []
    assert [event.sequence for event in events] == sorted({event.sequence for event in events})
    assert not any(event.ignored for event in events)
    kinds = [event.type for event in events]
    assert kinds[0] == "milepost.runtime.runtime_requested.v1"
    assert "milepost.runtime.runtime_completed.v1" in kinds


def test_what_the_trainer_wrote_can_be_read(stack: StackProcess, baseline: Baseline) -> None:
    request = log_api.QueryLogsRequest(parent=baseline.name, page_size=5_000)
    lines = [entry.text for entry in stack.client.logs.QueryLogs(request).entries]

    assert lines
    shown = stack.milepost("runtime", "logs", baseline.name)
    assert shown.returncode == 0
    assert lines[-1].strip() in shown.stdout


def test_lines_around_those_that_were_found_are_shown_once_and_in_order(
    stack: StackProcess, baseline: Baseline
) -> None:
    request = log_api.QueryLogsRequest(parent=baseline.name, page_size=5_000)
    lines = sorted(stack.client.logs.QueryLogs(request).entries, key=lambda line: line.cursor)
    assert all(len(line.text.splitlines()) == 1 for line in lines)
    assert len(lines) > 8
    # Two of them that do not stand together, whatever the others say.
    wanted = {lines[2].text, lines[-3].text}
    expression = "|".join(f"^{re.escape(text)}$" for text in sorted(wanted)).replace("\\ ", " ")
    near: list[int] = []
    for index, line in enumerate(lines):
        if line.text in wanted:
            near += [n for n in (index - 1, index, index + 1) if 0 <= n < len(lines) and n not in near]
    assert 6 <= len(near) < len(lines)
    expected: list[str] = []
    for place, index in enumerate(near):
        if place and index > near[place - 1] + 1:
            expected.append("--")
        expected.append(lines[index].text.strip())

    shown = stack.milepost("runtime", "logs", baseline.name, "--regexp", expression, "-C", "1")

    assert shown.returncode == 0, shown.stderr
    found = shown.stdout.splitlines()
    assert len(found) == len(expected)
    assert all(line.endswith(text) for line, text in zip(found, expected, strict=True))


def test_an_ended_run_cannot_be_stopped_or_resumed(stack: StackProcess, baseline: Baseline) -> None:
    before = len(stack.events(baseline.name))

    assert stack.milepost("runtime", "stop", "--mode=abrupt", baseline.name).returncode == Exit.PRECONDITION
    assert stack.milepost("runtime", "resume", baseline.name).returncode == Exit.PRECONDITION
    assert len(stack.events(baseline.name)) == before


def test_a_stopped_and_resumed_run_equals_one_that_was_never_stopped(stack: StackProcess, baseline: Baseline) -> None:
    started = stack.client.start_runtime(small(name="interrupted"))
    stack.wait_for_step(started.name, baseline.steps // 2)
    stopped = stack.milepost("runtime", "stop", "--mode=abrupt", "--wait", started.runtime_id)
    assert stopped.returncode == 0, stopped.stderr

    assert stack.runtime(started.name).status == runtime_api.RUNTIME_STATUS_ABORTED
    trial = stack.trial(started.name)
    assert (trial.status, trial.waiting_reason) == (
        trial_api.TRIAL_STATUS_WAITING,
        trial_api.WAITING_REASON_STOPPED,
    )
    assert 0 < trial.newest_snapshot_step < baseline.steps

    resumed = stack.milepost("runtime", "resume", "--wait", started.runtime_id)
    assert resumed.returncode == Exit.OK, resumed.stderr

    assert stack.trial(started.name).attempt_count == 2
    assert_all_stored(stack, started.name)
    assert_equals_baseline(stack, started.name, baseline)
    assert broken_links(stack.events(started.name)) == []


def test_a_graceful_stop_loses_no_step_and_the_resumed_run_is_the_same(stack: StackProcess, baseline: Baseline) -> None:
    started = stack.client.start_runtime(small(name="asked to stop", snapshots={"keep_last": 3}))
    stack.wait_for_step(started.name, baseline.steps // 3)
    stopped = stack.milepost("runtime", "stop", "--wait", started.runtime_id)
    assert stopped.returncode == 0, stopped.stderr

    trial = stack.trial(started.name)
    assert trial.newest_snapshot_step == trial.progress.step > 0, "no interval had made one"

    resumed = stack.milepost("runtime", "resume", "--wait", started.runtime_id)
    assert resumed.returncode == Exit.OK, resumed.stderr
    assert_all_stored(stack, started.name)
    assert_equals_baseline(stack, started.name, baseline)


def test_a_run_stopped_before_any_snapshot_begins_again_when_it_is_resumed(stack: StackProcess) -> None:
    started = stack.client.start_runtime(small(name="no snapshot", snapshots={"keep_last": 1}))
    stack.wait_for_step(started.name, 1)
    stack.client.stop_runtime(started.name, mode=common.STOP_MODE_ABRUPT)
    stack.wait_for_end(started.name)

    done = stack.milepost("runtime", "resume", started.runtime_id)

    assert done.returncode == Exit.OK, done.stderr
    assert stack.wait_for_end(started.name).status == runtime_api.RUNTIME_STATUS_COMPLETED
    launched = [event.message for event in stack.events(started.name) if "attempt_launched" in event.type]
    assert [message.partition(" on ")[2].partition(" on ")[0] for message in launched[1:]] == [
        "resume from the beginning"
    ]


def test_a_killed_trainer_without_retries_is_failed_with_its_reason(stack: StackProcess) -> None:
    started = stack.client.start_runtime(small(name="killed", retries={"max_retries": 0}))
    stack.wait_for_step(started.name, 1)
    for trainer in stack.trainers():
        trainer.kill()

    ended = stack.wait_for_end(started.name)

    assert ended.status == runtime_api.RUNTIME_STATUS_FAILED
    assert ended.failure_reason != common.FAILURE_REASON_UNSPECIFIED
    assert ended.reason


def test_every_part_may_be_killed_in_mid_run_and_nothing_is_lost(stack: StackProcess, baseline: Baseline) -> None:
    started = stack.client.start_runtime(small(name="through five crashes"))
    parts = ("runtime", "metrics", "trials", "gateway", "nats")
    for number, part in enumerate(parts):
        stack.wait_for_step(started.name, 1 + number * baseline.steps // (len(parts) + 1))
        stack.kill(part)

    ended = stack.wait_for_end(started.name)

    assert ended.status == runtime_api.RUNTIME_STATUS_COMPLETED, ended.reason
    assert stack.trial(started.name).attempt_count == 1, "the trainer went on through all of it"
    assert_all_stored(stack, started.name)
    assert_equals_baseline(stack, started.name, baseline)
    assert broken_links(stack.events(started.name)) == []
