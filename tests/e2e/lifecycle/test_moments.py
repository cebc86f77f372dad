"""Any past moment of a run with a crash, a stop and a resume is what a watching client was told at that moment.

20 random moments; `MILEPOST_MOMENTS=200` tries more, of a longer run (`make test-moments`).
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass

import pytest

from milepost.api.event.v1.recorded_event_pb2 import AsOf
from milepost.api.log.v1 import log_service_pb2 as log_api
from milepost.api.metric.v1 import metric_service_pb2 as metric_api
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.api.trial.v1 import trial_service_pb2 as trial_api
from milepost.cli.exits import Exit
from milepost.protojson import to_json
from tests.e2e.recorder import Moment, Recording, recording
from tests.e2e.runs import TINY, small
from tests.e2e.stack import StackProcess, until

pytestmark = pytest.mark.timeout(900)

LOSS = "train/loss"
MOMENTS = int(os.environ.get("MILEPOST_MOMENTS", "20"))
# The run goes on until there was enough to tell, and is stopped; one that is tried in each test run completes.
LONG = MOMENTS > 100
# What depends on when one asks, not on what was known; elapsed time only while it passes.
VOLATILE = frozenset({"elapsed", "estimate", "throughput", "hints", "events_sequence", "telemetry_sequence"})


@dataclass(frozen=True)
class Recorded:
    """A run with everything that can happen to it, and what a client was told meanwhile."""

    name: str
    told: Recording


@pytest.fixture(scope="module")
def recorded(stack: StackProcess) -> Recorded:
    parameters = {**TINY, "steps_per_epoch": 4_000 if LONG else 120}
    retries = {"max_retries": 1, "backoff_seconds": 0.5}
    snapshots = {"every_steps": 100, "keep_last": 3}
    configuration = small(name="remembered", parameters=parameters, retries=retries, snapshots=snapshots)
    started = stack.client.start_runtime(configuration)
    name = started.name
    until(lambda: stack.client.trials.ListTrials(trial_api.ListTrialsRequest(parent=name)).trials or None, "a trial")
    with recording(stack.endpoints, name, LOSS) as told:
        stack.wait_for_step(name, 70)
        wait_told(told, MOMENTS // 3)
        # Between two snapshots, far from the next one, so that some steps that are stored run twice.
        until(lambda: 20 < stack.trial(name).progress.step % 100 < 50, "steps behind a snapshot")
        for trainer in stack.trainers():
            trainer.kill()
        until(lambda: stack.trial(name).attempt_count == 2, "a second attempt")
        stack.wait_for_step(name, 180)
        wait_told(told, 2 * MOMENTS // 3)
        assert stack.milepost("runtime", "stop", started.runtime_id, "--wait").returncode == Exit.OK
        assert stack.milepost("runtime", "resume", started.runtime_id).returncode == Exit.OK
        if LONG:
            wait_told(told, MOMENTS + 50)
            assert stack.milepost("runtime", "stop", started.runtime_id, "--wait").returncode == Exit.OK
        else:
            ended = stack.wait_for_end(name)
            assert ended.status == runtime_api.RUNTIME_STATUS_COMPLETED, ended.reason
        until(lambda: not stack.completeness(name).gap_count, "no gaps", 30)
        last = stack.trial(name).progress.step
        until(lambda: any(last in steps for _, _, steps, _ in told.blocks), "the watching client has the last step")
        over = (trial_api.TRIAL_STATUS_COMPLETED, trial_api.TRIAL_STATUS_WAITING)
        until(lambda: told.trials[-1][1].status in over, "it knows that it is over")
        until(lambda: told.events and told.events[-1] == stack.events(name)[-1].sequence, "it has the last event")
    return Recorded(name, told)


def wait_told(told: Recording, count: int) -> None:
    until(lambda: len(told.trials) > count, f"a client was told {count} times", 300)


@pytest.fixture(scope="module")
def moments(recorded: Recorded) -> list[tuple[Moment, trial_api.Trial]]:
    """Random ones of those at which the client was told something; always the first and the last."""
    told = recorded.told.trials
    assert len(told) > max(30, MOMENTS), "there was a lot to tell"
    chosen = random.Random(20261125).sample(range(1, len(told) - 1), MOMENTS)
    return [told[index] for index in sorted({0, len(told) - 1, *chosen})]


def as_of(moment: Moment) -> AsOf:
    return AsOf(events_sequence=moment[0], telemetry_sequence=moment[1])


def stable(trial: trial_api.Trial) -> dict[str, object]:
    passes = trial.status == trial_api.TRIAL_STATUS_RUNNING
    apart = VOLATILE if passes else VOLATILE - {"elapsed"}
    return {field: value for field, value in to_json(trial).items() if field not in apart}


def test_there_was_a_crash_a_stop_and_a_resume(recorded: Recorded) -> None:
    assert [attempt for _, attempt, _ in recorded.told.cuts] == [1, 2, 3]
    statuses = {runtime.status for _, runtime in recorded.told.runtimes}
    assert runtime_api.RUNTIME_STATUS_ABORTED in statuses


def test_a_trial_and_its_progress_are_as_they_were_told(
    stack: StackProcess, recorded: Recorded, moments: list[tuple[Moment, trial_api.Trial]]
) -> None:
    for moment, told in moments:
        request = trial_api.GetTrialRequest(name=f"{recorded.name}/trials/1", as_of=as_of(moment))
        assert stable(stack.client.trials.GetTrial(request).trial) == stable(told), moment
        listed = trial_api.ListTrialsRequest(parent=recorded.name, as_of=as_of(moment))
        (same,) = stack.client.trials.ListTrials(listed).trials
        assert stable(same) == stable(told), moment


def test_a_runtime_is_as_it_was_told(
    stack: StackProcess, recorded: Recorded, moments: list[tuple[Moment, trial_api.Trial]]
) -> None:
    exact = 0
    for moment, _ in moments:
        told = recorded.told.runtime_at(moment[0])
        if told is None:
            continue
        # Of two events in quick succession a watching client is told the state after the second alone: in between it
        # knows the one before.
        newest = max(position for position in recorded.told.events if position <= moment[0])
        exact += told.sequence == newest
        sequence = moment[0] if told.sequence == newest else told.sequence
        request = runtime_api.GetRuntimeRequest(name=recorded.name, as_of=AsOf(events_sequence=sequence))
        found = stack.client.runtimes.GetRuntime(request).runtime
        # Only whoever asks for one runtime is given these.
        found.ClearField("configuration_text")
        found.ClearField("resolved_text")
        assert to_json(found) == to_json(told), moment
        listed = runtime_api.ListRuntimesRequest(as_of=AsOf(events_sequence=sequence), page_size=1_000)
        by_name = {runtime.name: runtime for runtime in stack.client.runtimes.ListRuntimes(listed).runtimes}
        assert to_json(by_name[recorded.name]) == to_json(told), moment
    assert exact > MOMENTS // 2, "most moments are those that were told"


def test_events_are_those_that_were_told(
    stack: StackProcess, recorded: Recorded, moments: list[tuple[Moment, trial_api.Trial]]
) -> None:
    for (sequence, _), _ in moments:
        told = [position for position in recorded.told.events if position <= sequence]
        for request in (
            runtime_api.ListEventsRequest(until_sequence=sequence),
            runtime_api.ListEventsRequest(as_of=AsOf(events_sequence=sequence)),
        ):
            request.parent, request.page_size = recorded.name, 1_000
            assert [event.sequence for event in stack.client.runtimes.ListEvents(request).events] == told


def test_events_at_a_time_are_those_that_were_recorded_by_then(
    stack: StackProcess, recorded: Recorded, moments: list[tuple[Moment, trial_api.Trial]]
) -> None:
    times = {event.sequence: event.recorded_time for event in stack.events(recorded.name)}
    for (sequence, _), _ in moments:
        moment = AsOf(time=times[max(position for position in times if position <= sequence)])
        request = runtime_api.ListEventsRequest(parent=recorded.name, as_of=moment, newest_first=True, page_size=2)
        found = stack.client.runtimes.ListEvents(request)
        request.page_token = found.next_page_token
        rest = stack.client.runtimes.ListEvents(request).events if found.next_page_token else []
        expected = [p for p, at in times.items() if at.ToNanoseconds() <= moment.time.ToNanoseconds()]
        assert [event.sequence for event in (*found.events, *rest)] == expected[::-1][:4]


def test_snapshots_and_attempts_are_those_that_were_told(
    stack: StackProcess, recorded: Recorded, moments: list[tuple[Moment, trial_api.Trial]]
) -> None:
    for moment, _ in moments:
        told = [kind for position, kind in recorded.told.types.items() if position <= moment[0]]
        listed = runtime_api.ListSnapshotsRequest(parent=recorded.name, show_deleted=True, as_of=as_of(moment))
        snapshots = stack.client.runtimes.ListSnapshots(listed).snapshots
        committed = [one for one in snapshots if one.HasField("commit_time")]
        assert len(committed) == told.count("snapshot_committed"), moment
        request = trial_api.ListAttemptsRequest(parent=f"{recorded.name}/trials/1", as_of=as_of(moment))
        attempts = stack.client.trials.ListAttempts(request).attempts
        assert len(attempts) == told.count("attempt_launched"), moment


def test_estimates_are_those_that_had_been_given(
    stack: StackProcess, recorded: Recorded, moments: list[tuple[Moment, trial_api.Trial]]
) -> None:
    parent = f"{recorded.name}/trials/1"
    given = stack.client.trials.ListEstimates(trial_api.ListEstimatesRequest(parent=parent)).estimates
    counts = []
    for moment, _ in moments:
        request = trial_api.ListEstimatesRequest(parent=parent, as_of=as_of(moment))
        answer = stack.client.trials.ListEstimates(request)
        assert [one.time for one in answer.estimates] == [one.time for one in given][: len(answer.estimates)]
        counts.append(len(answer.estimates))
        if moment != moments[-1][0]:
            assert not answer.HasField("median_error_percent"), "nobody knew yet when it would end"
    assert counts == sorted(counts)
    assert counts[-1] == len(given) > 0


def test_series_are_those_that_were_told(
    stack: StackProcess, recorded: Recorded, moments: list[tuple[Moment, trial_api.Trial]]
) -> None:
    """Several batches may come in one message: a moment is where a message ends."""
    ends = sorted({position for position, *_ in recorded.told.blocks})
    compared = 0
    for (sequence, telemetry), _ in moments:
        moment = (sequence, max((end for end in ends if end <= telemetry), default=0))
        if not moment[1]:
            continue
        request = metric_api.QuerySeriesRequest(
            parents=[f"{recorded.name}/trials/1"], keys=[LOSS], bucket_count=10_000, as_of=as_of(moment)
        )
        found: dict[int, tuple[int, float]] = {}
        for series in stack.client.metrics.QuerySeries(request).series:
            columns = zip(series.first_steps, series.attempts, series.lasts, strict=True)
            found |= {step: (attempt, value) for step, attempt, value in columns}
        assert found == recorded.told.points_at(moment), moment
        compared += 1
    assert compared > len(moments) / 2


def test_log_lines_are_those_that_were_told(
    stack: StackProcess, recorded: Recorded, moments: list[tuple[Moment, trial_api.Trial]]
) -> None:
    for moment, _ in moments:
        request = log_api.QueryLogsRequest(parent=f"{recorded.name}/trials/1", page_size=5_000, as_of=as_of(moment))
        request.filter.include_superseded = True
        found = sorted(entry.cursor for entry in stack.client.logs.QueryLogs(request).entries)
        assert found == sorted(cursor for position, cursor in recorded.told.lines if position <= moment[1]), moment
        facets = log_api.ListLogFacetsRequest(parent=request.parent, filter=request.filter, as_of=as_of(moment))
        assert sum(facet.count for facet in stack.client.logs.ListLogFacets(facets).levels) == len(found), moment


def test_the_steps_that_ran_twice_are_bit_exact(stack: StackProcess, recorded: Recorded) -> None:
    result = stack.milepost("audit", "determinism", recorded.name)
    assert result.returncode == Exit.OK, result.stdout
    assert result.stdout.rstrip().endswith("ran twice, bit-exact")
