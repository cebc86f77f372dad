"""A run is steered from the command line while it trains; killed and done again, its curve is the same in every bit."""

from __future__ import annotations

import json
import time
from pathlib import Path

import psutil
import pytest

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.api.trial.v1 import trial_service_pb2 as trial_api
from milepost.cli.exits import Exit
from tests.e2e.stack import StackProcess
from tests.support.programs.guides import block

pytestmark = pytest.mark.timeout(300)

PAGE = "docs/guides/steering.md"
SECONDS = 120.0


def the_guides_run(folder: Path) -> str:
    """The configuration of the guide, with its program beside it."""
    (folder / "steered.py").write_text(block(PAGE, "python", "def train"))
    return f"{block(PAGE, 'yaml', 'entrypoint:')}\nworking_directory: {json.dumps(str(folder))}\n"


def events(stack: StackProcess, name: str, kind: str) -> list[facts.TrialEvent]:
    listed = stack.client.runtimes.ListEvents(runtime_api.ListEventsRequest(parent=name, page_size=1_000)).events
    return [event.trial_event for event in listed if event.type == f"milepost.trial.{kind}.v1"]


def wait_for(stack: StackProcess, name: str, kind: str, count: int = 1) -> list[facts.TrialEvent]:
    deadline = time.monotonic() + SECONDS
    while len(found := events(stack, name, kind)) < count:
        assert time.monotonic() < deadline, f"no {kind}"
        time.sleep(0.05)
    return found


def test_a_steered_run_is_killed_and_repeats_bit_for_bit(stack: StackProcess, tmp_path: Path) -> None:
    runtime = stack.client.start_runtime(the_guides_run(tmp_path))
    try:
        wait_for(stack, runtime.name, "attempt_started")
        done = stack.milepost("runtime", "steer", runtime.runtime_id, "-p", "learning_rate=2e-3", "-p", "clip=0.5")
        assert done.returncode == Exit.OK, done.stderr
        assert done.stdout.startswith("request 1: ")
        (changed,) = wait_for(stack, runtime.name, "parameters_changed")
        step = changed.parameters_changed.step
        refused = stack.milepost("runtime", "steer", runtime.runtime_id, "-p", "learning_rate=9")
        assert refused.returncode == Exit.USAGE, refused
        assert "parameters.learning_rate: must be a number from 0.0 to 1.0, not 9" in refused.stderr
        checked = stack.milepost("runtime", "steer", runtime.runtime_id, "-p", "clip=2", "--validate-only")
        assert checked.returncode == Exit.OK, checked.stderr
        stack.wait_for_step(runtime.name, step + 5)
        before = stack.series(runtime.name, "train/loss")
        (instance,) = events(stack, runtime.name, "instance_started")
        psutil.Process(instance.instance_started.process_id).kill()
        assert stack.wait_for_end(runtime.name).status == runtime_api.RUNTIME_STATUS_COMPLETED

        assert len(events(stack, runtime.name, "parameters_changed")) == 1
        whole, rates = (stack.series(runtime.name, key) for key in ("train/loss", "train/learning_rate"))
        assert list(whole) == list(range(1, 201))
        assert {at: value for at, value in whole.items() if at in before} == before
        assert {at: rate for at, rate in rates.items() if rate != 0.02} == dict.fromkeys(range(step + 1, 201), 0.002)
        trial = stack.trial(runtime.name)
        (marker,) = [one for one in trial.markers if one.kind == trial_api.MARKER_KIND_PARAMETERS_CHANGED]
        said = [(one.name, one.old, one.new) for one in marker.changes]
        assert (marker.step, said) == (step, [("clip", "1.0", "0.5"), ("learning_rate", "0.02", "0.002")])
        assert marker.actor and not marker.planned
        known = {one.name: (one.declared_value, one.steered_value, one.requested_value) for one in trial.steerables}
        assert known == {"learning_rate": ("0.02", "0.002", ""), "clip": ("1.0", "0.5", "")}
    finally:
        stack.client.runtimes.DeleteRuntime(runtime_api.DeleteRuntimeRequest(name=runtime.name, force=True))
