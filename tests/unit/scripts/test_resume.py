"""Which run a script means, by what `init` is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from milepost.api.training.v1.training_pb2 import AttemptLaunch
from milepost.errors import InvalidArgument
from milepost.ids import is_runtime_id
from milepost.snapshots import SnapshotInvalid
from milepost.training.loop.host import NullHost, Rank
from milepost.training.loop.training_loop import TrainingLoop
from milepost.training.loop.trial import Trial
from milepost.training.script.resume import Mode, runtime_id_of, wanted

RUN = "rt-00000000000000000000000000"


@pytest.mark.parametrize(
    ("name", "resume", "step", "mode"),
    [
        ("job 7", "", None, Mode.NEVER),
        ("job 7", "never", None, Mode.NEVER),
        ("job 7", "allow", 200, Mode.ALLOW),
        ("job 7", "must", 0, Mode.MUST),
        (RUN, "allow", None, Mode.ALLOW),
        ("", RUN, 200, Mode.MUST),
        (RUN, RUN, None, Mode.MUST),
    ],
)
def test_a_run_is_named_and_it_is_said_what_to_do_if_it_exists(
    name: str, resume: str, step: int | None, mode: Mode
) -> None:
    found = wanted(name, resume, step)
    assert found is not None
    assert (found.mode, found.step) == (mode, step)
    assert is_runtime_id(found.runtime_id)
    assert (found.runtime_id == RUN) == (RUN in (name, resume))


def test_without_a_name_a_run_is_a_new_one() -> None:
    assert wanted("", "", None) is None
    assert wanted("", "never", None) is None


@pytest.mark.parametrize(
    ("name", "resume", "step", "fields"),
    [
        ("", "allow", None, {"id"}),
        ("", "must", None, {"id"}),
        ("x", RUN, None, {"id"}),
        (" x", "allow", None, {"id"}),
        ("x" * 129, "allow", None, {"id"}),
        ("x\n", "allow", None, {"id"}),
        ("x", "auto", None, {"resume"}),
        ("x", "", 5, {"step"}),
        ("x", "allow", -1, {"step"}),
        ("", "yes", 2**60, {"resume", "step"}),
    ],
)
def test_what_makes_no_sense_is_refused(name: str, resume: str, step: int | None, fields: set[str]) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        wanted(name, resume, step)
    assert {violation.field for violation in refusal.value.violations} == fields


def test_a_name_stands_for_the_same_run_everywhere() -> None:
    assert runtime_id_of("job 7") == "rt-ge2g1lq1amv7thkvloss9gq4sc"
    assert runtime_id_of("caf\u00e9") == runtime_id_of("cafe\u0301")
    assert len({runtime_id_of(name) for name in ("a", "b", "A", "job 7", "job_7")}) == 5
    assert runtime_id_of(RUN) == RUN


@pytest.mark.parametrize("ask", [Trial.restore, Trial.restored_checkpoint])
def test_a_process_that_does_not_see_the_snapshots_of_its_group_says_where_they_are(
    ask: Callable[[Trial], object], tmp_path: Path
) -> None:
    """On another machine than rank 0 the folder is not there: nothing else is loaded instead."""
    launch = AttemptLaunch(runtime_id="rt-x", trial=1, attempt=2, snapshot_id="step-000000000020-a1")
    launch.snapshot_uri = (tmp_path / "snapshots" / launch.snapshot_id).as_uri()
    trial = Trial(TrainingLoop(NullHost(launch, Rank(1, 2, led=False))))
    with pytest.raises(
        SnapshotInvalid, match=r"is at .*/snapshots/step-000000000020-a1 on the machine of rank 0.* rank 1 on "
    ):
        ask(trial)
    assert trial.step == 0
