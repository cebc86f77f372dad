"""Searches with a sampler, on a real log with real processes: chosen one by one, reported, ended."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import runtime_events_pb2 as facts
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.domain.search import Reported, Suggested
from services.runtime.searching.sampler import _entry, definition_of
from services.runtime.searching.study import Study
from tests.integration.runtime.harness import Stack, refusal, running
from tests.support.servers.servers import NatsServer

SPACE = {"x": {"minimum": -5, "maximum": 5}, "y": {"minimum": 0.001, "maximum": 10, "log_scale": True}}
QUICK = {"steps": 1, "step_seconds": 0.0, "snapshot_every": 0}


def searching(**changes: Any) -> dict[str, Any]:
    search = {
        "kind": "tpe", "space": SPACE, "seed": 11, "max_trials": 4, "objective": {"metric": "eval/loss", "mode": "min"},
        **changes,
    }  # fmt: skip
    return {"parameters": dict(QUICK), "search": search, "retries": {"max_retries": 2, "backoff_seconds": 0.0}}


@pytest.fixture
async def stack(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Stack]:
    async with running(nats_server, tmp_path / "data") as stack:
        stack.metrics.points = lambda name: [9e9, loss_of(stack, name)]
        yield stack


def loss_of(stack: Stack, name: str) -> float:
    _, runtime_id, _, number = name.split("/")
    given = stack.application.views.runtimes[runtime_id].trials[int(number)].searched
    return (json.loads(given["x"]) - 1) ** 2 + math.log(json.loads(given["y"])) ** 2


async def payloads(stack: Stack, name: str, kind: str) -> list[Any]:
    return [
        getattr(event.runtime_event, kind)
        for event in await stack.events(name)
        if event.runtime_event.WhichOneof("payload") == kind
    ]


def check_that_each_was_chosen_from_what_the_log_had(stack: Stack, runtime_id: str) -> None:
    """Every suggestion is what the sampler proposes after exactly the facts before it."""
    state = stack.application.views.runtimes[runtime_id].state
    assert state.configuration is not None
    study = Study(definition_of(state.configuration.search))
    for entry in state.history.told_to_sampler():
        if isinstance(entry, Suggested):
            assert study.propose() == dict(entry.parameters), entry.trial
        study.extend([_entry(entry)])


async def test_trials_are_chosen_one_by_one_and_the_search_ends_with_the_runtime(stack: Stack) -> None:
    started = await stack.start(**searching(points=[{"x": 1}]))
    assert (started.trial_count, started.trials.waiting) == (4, 0)
    ended = await stack.wait_ended(started.name)
    assert ended.status == api.RUNTIME_STATUS_COMPLETED, await stack.story(started.name)
    assert ended.trials.completed == 4
    state = stack.application.views.runtimes[started.runtime_id].state
    kinds = [type(entry) for entry in state.history.entries]
    assert kinds == [Suggested, Reported] * 4, "each one after the value of the one before"
    check_that_each_was_chosen_from_what_the_log_had(stack, started.runtime_id)
    suggested = await payloads(stack, started.name, "trial_suggested")
    assert [one.sampler for one in suggested] == ["given", "tpe", "tpe", "tpe"]
    assert suggested[0].because == "point 1 of 1 given by hand"
    assert suggested[1].because.startswith("drawn at random before 10 values are known: 1 value known, the best ")
    reports = await payloads(stack, started.name, "objective_reported")
    best = min(reports, key=lambda report: report.value)
    assert reports[0].best and best.best
    [search_ended] = await payloads(stack, started.name, "search_ended")
    assert search_ended.reason == facts.SEARCH_END_REASON_MAX_TRIALS
    assert (search_ended.best_trial, search_ended.best_value) == (best.trial, best.value)
    assert stack.application.sampler.process_id is None, "nobody needs it"
    by_sequence = {event.event_id: event for event in await stack.events(started.name)}
    created = [event for event in by_sequence.values() if event.type.endswith("trial_created.v1")]
    assert [by_sequence[event.cause].type.split(".")[2] for event in created[1:]] == ["objective_reported"] * 3


async def test_a_search_takes_what_is_free_and_gives_it_back_when_others_wait(stack: Stack) -> None:
    """On 8 CPUs: alone it runs 4 trials of 2 CPUs each, beside a search like it 2, and without that one 4 again."""
    space = {"snapshot_every": [1_000 + number for number in range(40)]}
    wanted: dict[str, Any] = {
        "parameters": {"steps": 40, "step_seconds": 0.02},
        "search": {"kind": "grid", "space": space, "concurrency": "auto"},
        "resources": {"cpus_per_worker": 2},
    }
    first = await stack.start(**wanted)
    await stack.wait(first.name, lambda one: one.trials.running == 4, "it runs 4 at a time")
    second = await stack.start(**wanted)
    await stack.wait(second.name, lambda one: one.trials.running == 2, "half of the host is the second one's")
    assert (await stack.get(first.name)).trials.running <= 2
    held = [stack.application.views.runtimes[one.runtime_id].state.allocation for one in (first, second)]
    assert [one.cpus for one in held if one is not None] == [4, 4]
    gave_back = await payloads(stack, first.name, "resources_adjusted")
    assert gave_back[-1].trials == 2 and gave_back[0].because == f"{second.runtime_id} waits"
    assert all(one.because.startswith(second.runtime_id) for one in gave_back)
    assert "trial_stop_requested" not in await stack.types(first.name), "nobody is ended for it"
    abrupt = common.STOP_MODE_ABRUPT
    await stack.stub.StopRuntime(api.StopRuntimeRequest(name=second.name, mode=abrupt))
    await stack.wait(first.name, lambda one: one.trials.running == 4, "it has the host to itself again")
    grew = await payloads(stack, first.name, "resources_adjusted")
    assert grew[-1].trials == 4 and grew[-1].because.endswith("CPUs were free on test-host")
    await stack.stub.StopRuntime(api.StopRuntimeRequest(name=first.name, mode=abrupt))
    await stack.wait_ended(first.name)


async def test_what_was_sent_is_waited_for_and_a_killed_sampler_is_started_again(stack: Stack) -> None:
    started = await stack.start(**searching(max_concurrent_trials=2))
    stack.metrics.late[f"{started.name}/trials/1"] = 3
    await stack.wait_event(started.name, "objective_reported")
    process = stack.application.sampler.process_id
    if process is not None:
        os.kill(process, signal.SIGKILL)
    ended = await stack.wait_ended(started.name)
    assert ended.status == api.RUNTIME_STATUS_COMPLETED, await stack.story(started.name)
    reports = await payloads(stack, started.name, "objective_reported")
    assert sorted(report.trial for report in reports) == [1, 2, 3, 4]
    assert all(report.value == loss_of(stack, f"{started.name}/trials/{report.trial}") for report in reports)
    check_that_each_was_chosen_from_what_the_log_had(stack, started.runtime_id)


async def test_a_crash_is_retried_and_a_failure_is_told_as_failed(stack: Stack) -> None:
    crashing = searching(max_trials=2)
    crashing["parameters"] |= {"fail_at": 1, "fail_attempts": 1, "how": "kill", "steps": 2}
    ended = await stack.wait_ended((await stack.start(**crashing)).name)
    assert ended.status == api.RUNTIME_STATUS_COMPLETED
    types = await stack.types(ended.name)
    assert (types.count("retry_scheduled"), types.count("objective_reported")) == (2, 2)
    assert all(report.HasField("value") for report in await payloads(stack, ended.name, "objective_reported"))

    failing = searching(max_trials=2)
    failing["parameters"] |= {"fail_at": 1, "fail_attempts": 9, "how": "deterministic", "steps": 2}
    ended = await stack.wait_ended((await stack.start(**failing)).name)
    assert (ended.status, ended.trials.failed) == (api.RUNTIME_STATUS_FAILED, 2), "as of any search"
    reports = await payloads(stack, ended.name, "objective_reported")
    assert [report.outcome for report in reports] == [facts.OBJECTIVE_OUTCOME_TRIAL_FAILED] * 2
    assert "ValueError at step 1" in reports[0].detail
    check_that_each_was_chosen_from_what_the_log_had(stack, ended.runtime_id)


async def test_no_value_nan_and_the_ends_of_a_search(stack: Stack) -> None:
    """A metric that never came, one that is NaN, two equal values, a target, nothing better: each said in a fact."""
    answers: dict[str, list[float]] = {"1": [], "2": [math.nan, math.inf], "3": [0.5, math.nan], "4": [0.5]}
    stack.metrics.points = lambda name: answers[name.rpartition("/")[2]]
    ended = await stack.wait_ended((await stack.start(**searching(stop_when={"target": 0.5}))).name)
    reports = await payloads(stack, ended.name, "objective_reported")
    assert [report.outcome for report in reports] == [
        facts.OBJECTIVE_OUTCOME_NO_VALUE, facts.OBJECTIVE_OUTCOME_NON_FINITE, facts.OBJECTIVE_OUTCOME_VALUE,
    ]  # fmt: skip
    assert reports[0].detail == "it logged no point of eval/loss"
    assert reports[1].detail == "every value of eval/loss is NaN or infinite"
    [over] = await payloads(stack, ended.name, "search_ended")
    assert (over.reason, over.detail) == (
        facts.SEARCH_END_REASON_TARGET, "trial 3 reached 0.5, the target is 0.5"
    )  # fmt: skip
    assert (ended.status, ended.trial_count) == (api.RUNTIME_STATUS_COMPLETED, 3)

    last = {"metric": "eval/loss", "mode": "min", "value": "last"}
    answers["1"] = [0.5]
    wanted = searching(objective=last, stop_when={"no_gain_in_trials": 3}, max_trials=9)
    ended = await stack.wait_ended((await stack.start(**wanted)).name)
    reports = await payloads(stack, ended.name, "objective_reported")
    assert [report.best for report in reports] == [True, False, False, False], "an equal value is not better"
    assert reports[2].detail == "the last value of eval/loss is NaN or infinite"
    [over] = await payloads(stack, ended.name, "search_ended")
    assert over.reason == facts.SEARCH_END_REASON_NO_GAIN


async def test_a_stopped_search_goes_on_with_a_resume(stack: Stack) -> None:
    wanted = searching(max_trials=3)
    wanted["parameters"]["steps"], wanted["parameters"]["step_seconds"] = 40, 0.02
    started = await stack.start(**wanted)
    await stack.wait_event(started.name, "attempt_started", 2)
    await stack.stub.StopRuntime(api.StopRuntimeRequest(name=started.name))
    stopped = await stack.wait_ended(started.name)
    assert (stopped.status, stopped.trials.completed, stopped.trials.waiting) == (api.RUNTIME_STATUS_ABORTED, 1, 1)
    await stack.stub.ResumeRuntime(api.ResumeRuntimeRequest(name=started.name))
    ended = await stack.wait_ended(started.name)
    assert (ended.status, ended.trials.completed) == (api.RUNTIME_STATUS_COMPLETED, 3), await stack.story(ended.name)
    check_that_each_was_chosen_from_what_the_log_had(stack, started.runtime_id)
    clone = (await stack.stub.CloneRuntime(api.CloneRuntimeRequest(name=started.name))).runtime
    await stack.wait_ended(clone.name)
    histories = [stack.application.views.runtimes[one].state.history for one in (started.runtime_id, clone.runtime_id)]
    assert histories[0] == histories[1], "the same configuration gives the same search"
    await stack.stub.DeleteRuntime(api.DeleteRuntimeRequest(name=clone.name))
    await stack.wait(clone.name, lambda r: r.phase == api.RUNTIME_PHASE_DELETED, "deleted")


async def test_a_search_whose_trials_are_all_done_can_be_stopped_and_resumed(stack: Stack) -> None:
    """Between two trials nothing runs that could be resumed; the search itself goes on."""
    started = await stack.start(**searching(max_trials=2))
    stack.metrics.late[f"{started.name}/trials/1"] = 10**6
    await stack.wait_event(started.name, "trial_completed")
    await stack.stub.StopRuntime(api.StopRuntimeRequest(name=started.name))
    stopped = await stack.wait_ended(started.name)
    assert (stopped.status, stopped.trials.completed) == (api.RUNTIME_STATUS_ABORTED, 1)
    stack.metrics.late.clear()
    await stack.stub.ResumeRuntime(api.ResumeRuntimeRequest(name=started.name))
    ended = await stack.wait_ended(started.name)
    assert (ended.status, ended.trials.completed) == (api.RUNTIME_STATUS_COMPLETED, 2)


async def test_the_space_of_a_search_cannot_change_on_resume(stack: Stack) -> None:
    started = await stack.start(**searching(max_trials=1))
    await stack.wait_ended(started.name)
    changes = json.dumps({"search": {"space": {"x": {"minimum": 0, "maximum": 1}}}})
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stack.stub.ResumeRuntime(api.ResumeRuntimeRequest(name=started.name, configuration_changes_text=changes))
    assert refusal(raised.value) == ("FAILED_PRECONDITION", "NOT_A_CONTINUATION")


async def test_a_trial_that_is_not_worth_it_is_pruned_with_a_snapshot_and_can_be_revived(stack: Stack) -> None:
    points = [{"x": x} for x in (1, 3, 0.5, 4)]
    pruner = {"kind": "asha", "first_step": 2, "reduction_factor": 2}
    wanted = searching(points=points, pruner=pruner)
    wanted["parameters"] |= {"steps": 12, "step_seconds": 0.03, "evaluate_every": 2}
    ended = await stack.wait_ended((await stack.start(**wanted)).name)
    story = await stack.story(ended.name)
    assert ended.status == api.RUNTIME_STATUS_COMPLETED, story
    assert (ended.trials.completed, ended.trials.waiting) == (2, 2), "those of 1 and 0.5; those of 3 and 4"
    pruned = await payloads(stack, ended.name, "trial_pruned")
    assert [(one.trial, one.rung, one.step, one.value, one.cut_off, one.rank) for one in pruned] == [
        (2, 1, 2, 3.0, 1.0, 2), (4, 1, 2, 4.0, 1.0, 4),
    ]  # fmt: skip
    assert "Trial 4 pruned by asha at rung 1, step 2: 4, the cut-off is 1, place 4 of 4" in "\n".join(story)
    rungs = [(one.trial, one.rung, one.step) for one in await payloads(stack, ended.name, "rung_reached")]
    assert rungs == [(1, 1, 2), (1, 2, 4), (1, 3, 8), (2, 1, 2), (3, 1, 2), (3, 2, 4), (3, 3, 8), (4, 1, 2)]
    [stopped] = [e for e in await stack.events(ended.name) if e.trial == 4 and e.type.endswith("trial_stopped.v1")]
    assert stopped.trial_event.trial_stopped.pruned and stopped.trial_event.trial_stopped.lost_steps == 0
    check_that_each_was_chosen_from_what_the_log_had(stack, ended.runtime_id)

    await stack.stub.ResumeTrial(api.ResumeTrialRequest(name=f"{ended.name}/trials/4"))
    await stack.wait_event(ended.name, "trial_completed", 3)
    revived = await stack.wait_ended(ended.name)
    assert (revived.status, revived.trials.completed, revived.trials.waiting) == (api.RUNTIME_STATUS_COMPLETED, 3, 1)
    assert len(await payloads(stack, ended.name, "trial_pruned")) == 2, "it is judged once"
    starts = [e.trial_event.attempt_started for e in await stack.events(ended.name) if e.trial == 4 and e.attempt == 2]
    assert any(start.restored_step >= 2 for start in starts), "it went on from the snapshot of its stop"


async def test_the_worst_of_a_population_gives_its_place_to_one_with_the_weights_of_the_best(stack: Stack) -> None:
    points = [{"x": x} for x in (1, 3, 0.5, 4)]
    pruner = {
        "kind": "pbt", "population_size": 4, "quantile": 0.5, "first_step": 4, "max_step": 12, "resample_probability": 0,
    }  # fmt: skip
    wanted = searching(points=points, pruner=pruner, max_trials=6)
    wanted["parameters"] |= {"steps": 12, "step_seconds": 0.03, "evaluate_every": 2, "snapshot_every": 4}
    ended = await stack.wait_ended((await stack.start(**wanted)).name)
    story = "\n".join(await stack.story(ended.name))
    assert ended.status == api.RUNTIME_STATUS_COMPLETED, story
    promoted = await payloads(stack, ended.name, "trial_promoted")
    assert [(one.child, one.replaced, one.donor, one.rung, one.step) for one in promoted] == [
        (3, 2, 1, 1, 4), (6, 5, 4, 1, 4),
    ]  # fmt: skip
    assert (ended.trials.completed, ended.trials.waiting) == (4, 2)
    events = await stack.events(ended.name)
    for one in promoted:
        changed = {change.field: (json.loads(change.before), json.loads(change.after)) for change in one.changes}
        assert all(after / before in (pytest.approx(0.8), pytest.approx(1.2)) for before, after in changed.values())
        [created] = [
            e.trial_event.trial_created for e in events if e.trial == one.child and e.type.endswith("trial_created.v1")
        ]
        assert (created.origin.trial, created.origin.snapshot_id) == (one.donor, one.snapshot_id)
        assert [(part.trial, part.first_step, part.last_step) for part in created.origin.trunk] == [(one.donor, 1, 4)]
        starts = [e.trial_event.attempt_started for e in events if e.trial == one.child and e.attempt == 1]
        assert any((start.restored_snapshot_id, start.restored_step) == (one.snapshot_id, 4) for start in starts)
    assert "Trial 3 takes the place of trial 2 with the weights of trial 1 at step 4" in story
    assert (await payloads(stack, ended.name, "search_ended"))[0].reason == facts.SEARCH_END_REASON_POPULATION
    check_that_each_was_chosen_from_what_the_log_had(stack, ended.runtime_id)
    views = stack.application.views.runtimes[ended.runtime_id].trials
    held = {(n, record.step) for n, one in views.items() for record in one.state.snapshots if record.held_by}
    assert held == {(1, 4), (4, 4)}, "at which others began"
    # Its own trials do not stand in the way.
    await stack.stub.DeleteRuntime(api.DeleteRuntimeRequest(name=ended.name))
    await stack.wait(ended.name, lambda r: r.phase == api.RUNTIME_PHASE_DELETED, "deleted")
    [purged] = await payloads(stack, ended.name, "runtime_purged")
    assert not purged.remaining


async def test_a_population_goes_on_after_a_stop_and_its_pruner_stays_what_it_was(stack: Stack) -> None:
    points = [{"x": x} for x in (1, 3)]
    pruner = {"kind": "pbt", "population_size": 2, "quantile": 0.5, "first_step": 4, "max_step": 12}
    wanted = searching(points=points, pruner=pruner, max_trials=3)
    wanted["parameters"] |= {"steps": 12, "step_seconds": 0.03, "evaluate_every": 2, "snapshot_every": 4}
    started = await stack.start(**wanted)
    await stack.wait_event(started.name, "trial_promoted")
    await stack.stub.StopRuntime(api.StopRuntimeRequest(name=started.name))
    stopped = await stack.wait_ended(started.name)
    assert stopped.status == api.RUNTIME_STATUS_ABORTED
    changes = json.dumps({"search": {"pruner": {"first_step": 2}}})
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stack.stub.ResumeRuntime(api.ResumeRuntimeRequest(name=started.name, configuration_changes_text=changes))
    assert refusal(raised.value) == ("FAILED_PRECONDITION", "NOT_A_CONTINUATION")
    await stack.stub.ResumeRuntime(api.ResumeRuntimeRequest(name=started.name))
    ended = await stack.wait_ended(started.name)
    assert ended.status == api.RUNTIME_STATUS_COMPLETED, await stack.story(ended.name)
    assert (ended.trials.completed, ended.trials.waiting) == (2, 1)
    [promoted] = await payloads(stack, ended.name, "trial_promoted")
    views = stack.application.views.runtimes[ended.runtime_id].trials
    origin = views[promoted.child].state.origin
    assert origin is not None and (origin.trial, origin.step) == (1, 4)


async def test_a_search_begins_with_what_earlier_ones_came_to_and_needs_them_no_more(stack: Stack) -> None:
    first = await stack.wait_ended((await stack.start(**searching(max_trials=3))).name)
    drawn = searching(kind="random", objective=None, max_trials=2)
    second = await stack.wait_ended((await stack.start(**drawn)).name)
    sources = [first.runtime_id, second.runtime_id]
    largest = x_of_first(stack, first.name) + 0.01
    narrow = {**SPACE, "x": {"minimum": -5, "maximum": largest}}
    started = await stack.start(**searching(warm_start=sources, space=narrow, max_trials=2))
    await stack.wait_event(started.name, "earlier_trials_told")
    for name in (first.name, second.name):
        await stack.stub.DeleteRuntime(api.DeleteRuntimeRequest(name=name))
    ended = await stack.wait_ended(started.name)
    assert ended.status == api.RUNTIME_STATUS_COMPLETED, await stack.story(started.name)
    [told] = await payloads(stack, started.name, "earlier_trials_told")
    within = [one for one in told.trials if json.loads(one.parameters["x"]) <= largest]
    assert within == list(told.trials) and 1 <= len(within) < 5
    assert {one.runtime_id for one in within} <= set(sources)
    assert "have no value or no point of this space" in told.detail
    check_that_each_was_chosen_from_what_the_log_had(stack, started.runtime_id)
    suggested = await payloads(stack, started.name, "trial_suggested")
    assert f"{len(within)} of them of earlier runtimes" in suggested[0].because
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stack.start(**searching(warm_start=sources))
    assert refusal(raised.value) == ("NOT_FOUND", "RUNTIME_NOT_FOUND")


def x_of_first(stack: Stack, name: str) -> float:
    """Return the x of the first trial."""
    given = stack.application.views.runtimes[name.partition("/")[2]].trials[1].searched
    return float(json.loads(given["x"]))
