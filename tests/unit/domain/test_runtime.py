"""What the decider of runtimes decides."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message

from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import runtime_events_pb2 as facts
from milepost.api.event.v1 import trial_events_pb2 as trial_facts
from milepost.domain import runtime
from milepost.domain.decider import Fact
from milepost.domain.runtime import Phase, Status, commands
from milepost.errors import AlreadyExists, FailedPrecondition, NotFound
from tests.unit.domain.given import at, given_runtime, names, stamp

REQUESTED = facts.RuntimeRequested(
    runtime_id="rt-1", configuration=RuntimeConfiguration(name="one"), configuration_digest="sha256:a", trial_count=1
)
ALLOCATED = facts.ResourcesAllocated(cpus=1.0, host="here")
STARTED = facts.RuntimeStarted()
STOP = facts.StopRequested(mode=common.STOP_MODE_GRACEFUL, deadline_time=stamp(300))
ABORTED = facts.RuntimeAborted()
FAILED = facts.RuntimeFailed(reason=common.FAILURE_REASON_CRASHED, detail="signal 9")
COMPLETED = facts.RuntimeCompleted()
RELEASED = facts.ResourcesReleased()
RUNNING: list[Message] = [REQUESTED, ALLOCATED, STARTED]

STOP_GRACEFULLY = runtime.StopRuntime(common.STOP_MODE_GRACEFUL, at(300))
STOP_ABRUPTLY = runtime.StopRuntime(common.STOP_MODE_ABRUPT, at(0))


def request(digest: str = "sha256:a") -> runtime.RequestRuntime:
    return runtime.RequestRuntime("rt-1", "name: one", RuntimeConfiguration(name="one"), digest, 1)


def test_a_request_makes_a_queued_runtime() -> None:
    chain = given_runtime()
    assert names(chain.when(request())) == ["RuntimeRequested"]
    assert (chain.state.status, chain.state.phase) == (Status.STARTED, Phase.QUEUED)


def test_the_same_request_again_decides_nothing() -> None:
    assert given_runtime(REQUESTED).when(request()) == []


def test_another_configuration_under_the_same_id_is_refused() -> None:
    with pytest.raises(AlreadyExists):
        given_runtime(REQUESTED).when(request("sha256:b"))


def test_no_command_but_a_request_finds_a_runtime_that_was_never_requested() -> None:
    for command in (STOP_GRACEFULLY, runtime.ResumeRuntime(), runtime.DeleteRuntime(at(0)), runtime.ReleaseResources()):
        with pytest.raises(NotFound):
            given_runtime().when(command)


def test_pending_is_said_again_only_when_the_reason_changes() -> None:
    chain = given_runtime(REQUESTED)
    cpu, gpu = facts.PENDING_REASON_INSUFFICIENT_CPU, facts.PENDING_REASON_INSUFFICIENT_GPU
    assert names(chain.when(runtime.ReportPending(cpu, "0 of 2 free"))) == ["ResourcesPending"]
    assert chain.when(runtime.ReportPending(cpu, "1 of 2 free")) == []
    assert names(chain.when(runtime.ReportPending(gpu, ""))) == ["ResourcesPending"]


def test_a_place_in_the_queue_that_an_earlier_version_has_written_is_kept() -> None:
    """And is no reason to say anything again."""
    cpu = facts.PENDING_REASON_INSUFFICIENT_CPU
    chain = given_runtime(REQUESTED, facts.ResourcesPending(reason=cpu, position=7))
    assert chain.state.pending == runtime.Pending(cpu, "", 7)
    assert chain.when(runtime.ReportPending(cpu, "")) == []


def test_resources_are_allocated_once() -> None:
    chain = given_runtime(REQUESTED)
    allocate = runtime.AllocateResources(runtime.Allocation(1.0, 0.0, (), "here", 0.0))
    assert names(chain.when(allocate)) == ["ResourcesAllocated"]
    assert chain.state.phase is Phase.ALLOCATING
    assert chain.when(allocate) == []
    assert chain.when(runtime.ReportPending(facts.PENDING_REASON_INSUFFICIENT_CPU, "")) == []


def test_a_search_holds_more_or_less_while_it_is_in_progress() -> None:
    chain = given_runtime(REQUESTED, facts.ResourcesAllocated(cpus=2.0, gpus=[0, 1], gpu_count=2.0, host="here"))
    before = chain.state.allocation
    assert before is not None
    after = runtime.Allocation(1.0, 0.0, (1,), "here", 1.0)
    fewer = runtime.AdjustResources(before, after, 1, "rt-2 waits")
    [fact] = chain.when(fewer)
    assert (fact.trials, fact.because, list(fact.gpus)) == (1, "rt-2 waits", [1])  # type: ignore[attr-defined]
    assert (chain.state.allocation, chain.state.phase) == (after, Phase.ALLOCATING)
    assert chain.when(fewer) == [], "it was decided from what it holds no longer"
    assert chain.when(runtime.AdjustResources(after, after, 1, "")) == []
    chain = given_runtime(*RUNNING, facts.RuntimeCompleted())
    assert chain.state.allocation is not None
    assert chain.when(runtime.AdjustResources(chain.state.allocation, after, 1, "")) == []
    assert chain.when(runtime.ReleaseResources()) and chain.state.allocation is None


def test_what_waits_in_the_queue_of_a_cluster_says_for_what_until_it_runs_or_is_stopped() -> None:
    queue = facts.PENDING_REASON_CLUSTER_QUEUE
    chain = given_runtime(REQUESTED)
    assert chain.when(runtime.ReportPending(queue, "job 1 waits")) == []
    chain.when(runtime.AllocateResources(runtime.Allocation(1.0, 0.0, (), "Slurm", 0.0)))
    assert names(chain.when(runtime.ReportPending(queue, "job 1 waits"))) == ["ResourcesPending"]
    assert chain.when(runtime.ReportPending(queue, "job 1 waits")) == []
    assert names(chain.when(runtime.ReportPending(queue, "job 1 waits for room"))) == ["ResourcesPending"]
    assert chain.state.phase is Phase.ALLOCATING
    chain.when(runtime.ReportStarted())
    assert chain.state.pending is None
    assert names(chain.when(runtime.ReportPending(queue, "job 2 waits"))) == ["ResourcesPending"]
    chain.when(STOP_GRACEFULLY)
    assert chain.when(runtime.ReportPending(queue, "job 3 waits")) == []


def test_a_stop_is_accepted_in_every_phase_before_the_end() -> None:
    for happened in ([REQUESTED], [REQUESTED, ALLOCATED], RUNNING):
        chain = given_runtime(*happened)
        assert names(chain.when(STOP_GRACEFULLY)) == ["StopRequested"]
        assert (chain.state.status, chain.state.phase) == (Status.STARTED, Phase.STOPPING)
        assert chain.when(STOP_GRACEFULLY) == []


def test_an_abrupt_stop_overtakes_a_graceful_one_and_not_the_other_way() -> None:
    chain = given_runtime(*RUNNING, STOP)
    assert names(chain.when(STOP_ABRUPTLY)) == ["StopRequested"]
    assert chain.when(STOP_GRACEFULLY) == []
    assert chain.when(STOP_ABRUPTLY) == []


def test_stopping_an_aborted_runtime_changes_nothing() -> None:
    assert given_runtime(*RUNNING, STOP, ABORTED).when(STOP_GRACEFULLY) == []


@pytest.mark.parametrize("end", [FAILED, COMPLETED])
def test_stopping_a_failed_or_completed_runtime_is_refused(end: Message) -> None:
    with pytest.raises(FailedPrecondition, match="only a Started runtime"):
        given_runtime(*RUNNING, end).when(STOP_GRACEFULLY)


def test_an_accepted_stop_wins_over_a_later_crash() -> None:
    chain = given_runtime(*RUNNING, STOP)
    decided = chain.when(runtime.FailRuntime(common.FAILURE_REASON_CRASHED, "signal 9", 1))
    assert names(decided) == ["RuntimeAborted"]
    assert chain.state.status is Status.ABORTED


def test_nothing_is_aborted_without_a_stop() -> None:
    with pytest.raises(FailedPrecondition):
        given_runtime(*RUNNING).when(runtime.AbortRuntime())
    assert names(given_runtime(*RUNNING).when(runtime.AbortRuntime(trials_stopped=True))) == ["RuntimeAborted"]


def test_an_end_comes_once() -> None:
    ends = (runtime.AbortRuntime(), runtime.FailRuntime(common.FAILURE_REASON_CRASHED, ""), runtime.CompleteRuntime())
    for end in (FAILED, COMPLETED):
        for command in ends:
            assert given_runtime(*RUNNING, end).when(command) == []


def test_failed_begins_with_the_teardown_and_resources_are_released_after_it() -> None:
    chain = given_runtime(*RUNNING)
    chain.when(runtime.FailRuntime(common.FAILURE_REASON_DEADLINE_EXCEEDED, "1 h"))
    assert (chain.state.status, chain.state.phase) == (Status.FAILED, Phase.TERMINATING)
    assert chain.state.failure_reason == common.FAILURE_REASON_DEADLINE_EXCEEDED
    assert names(chain.when(runtime.ReleaseResources())) == ["ResourcesReleased"]
    assert (chain.state.phase, chain.state.allocation) == (Phase.ENDED, None)
    assert chain.when(runtime.ReleaseResources()) == []


def test_resources_of_a_running_runtime_are_kept() -> None:
    assert given_runtime(*RUNNING).when(runtime.ReleaseResources()) == []


def test_a_failed_or_aborted_runtime_can_be_resumed() -> None:
    for end in ([STOP, ABORTED], [FAILED]):
        chain = given_runtime(*RUNNING, *end, RELEASED)
        assert names(chain.when(runtime.ResumeRuntime((1,)))) == ["ResumeRequested"]
        assert (chain.state.status, chain.state.phase) == (Status.STARTED, Phase.QUEUED)
        assert chain.state.failure_reason == common.FAILURE_REASON_UNSPECIFIED
        assert chain.when(runtime.ResumeRuntime((1,))) == []


def test_a_completed_runtime_can_be_resumed_only_with_a_larger_total() -> None:
    with pytest.raises(FailedPrecondition, match=r"larger total: give changes .* a run of its own: a label of both"):
        given_runtime(*RUNNING, COMPLETED, RELEASED).when(runtime.ResumeRuntime((1,)))
    longer = runtime.ResumeRuntime(
        (1,), "", RuntimeConfiguration(name="longer"), "sha256:c", ("parameters.epochs",), True
    )
    chain = given_runtime(*RUNNING, COMPLETED, RELEASED)
    assert names(chain.when(longer)) == ["ResumeRequested"]
    assert chain.state.configuration_digest == "sha256:c"
    assert chain.state.configuration is not None
    assert chain.state.configuration.name == "longer"


def test_a_resume_waits_for_the_end_of_a_stop_and_of_the_teardown() -> None:
    with pytest.raises(FailedPrecondition, match="stopping"):
        given_runtime(*RUNNING, STOP).when(runtime.ResumeRuntime())
    with pytest.raises(FailedPrecondition, match="terminating"):
        given_runtime(*RUNNING, FAILED).when(runtime.ResumeRuntime())


def test_a_runtime_in_progress_is_deleted_only_with_force() -> None:
    with pytest.raises(FailedPrecondition):
        given_runtime(*RUNNING).when(runtime.DeleteRuntime(at(0)))
    chain = given_runtime(*RUNNING)
    assert names(chain.when(runtime.DeleteRuntime(at(0), force=True))) == ["StopRequested", "DeleteRequested"]
    assert chain.state.stop is not None
    assert chain.state.stop.mode == common.STOP_MODE_ABRUPT
    assert names(chain.when(runtime.AbortRuntime(), runtime.ReleaseResources())) == [
        "RuntimeAborted",
        "ResourcesReleased",
    ]
    assert chain.state.phase is Phase.DELETING


def test_a_purge_is_reported_until_nothing_remains() -> None:
    chain = given_runtime(*RUNNING, FAILED, RELEASED, facts.DeleteRequested())
    phases = [chain.state.phase]
    for remaining in (("s3: denied", "b: x"), ("s3: denied",), ()):
        assert names(chain.when(runtime.ReportPurged(1, 10, 5, 5, remaining))) == ["RuntimePurged"]
        phases.append(chain.state.phase)
    assert phases == [Phase.DELETING, Phase.DELETING, Phase.DELETING, Phase.DELETED]
    assert chain.when(runtime.ReportPurged(0, 0, 0, 0)) == []


def test_a_purge_that_fails_as_before_is_not_reported_again() -> None:
    chain = given_runtime(*RUNNING, FAILED, RELEASED, facts.DeleteRequested())
    assert names(chain.when(runtime.ReportPurged(3, 10, 0, 0, ("metrics: no answer from port 1234",)))) == [
        "RuntimePurged"
    ]
    assert chain.when(runtime.ReportPurged(3, 10, 0, 0, ("metrics: no answer from port 5678",))) == []
    assert names(chain.when(runtime.ReportPurged(3, 10, 5, 5))) == ["RuntimePurged"]


def test_a_deleted_runtime_takes_no_command_but_another_delete() -> None:
    chain = given_runtime(*RUNNING, FAILED, RELEASED, facts.DeleteRequested())
    assert chain.when(runtime.DeleteRuntime(at(0))) == []
    for command in (STOP_GRACEFULLY, runtime.ResumeRuntime(), runtime.ReportHealth(common.HEALTH_HEALTHY, "")):
        with pytest.raises(NotFound, match="deleted"):
            chain.when(command)


WINDOW = runtime.DeleteRuntime(at(0), purge_time=at(600))


def test_a_deletion_is_taken_back_while_its_window_lasts() -> None:
    chain = given_runtime(*RUNNING, COMPLETED, RELEASED)
    assert names(chain.when(WINDOW)) == ["DeleteRequested"]
    assert (chain.state.phase, chain.state.purge_time) == (Phase.RESTORABLE, at(600))
    assert chain.when(WINDOW) == []
    with pytest.raises(NotFound, match="deleted"):
        chain.when(runtime.ResumeRuntime(extends=True))
    assert names(chain.when(runtime.UndeleteRuntime())) == ["RuntimeUndeleted"]
    assert (chain.state.phase, chain.state.status, chain.state.purge_time) == (Phase.ENDED, Status.COMPLETED, None)
    assert chain.when(runtime.UndeleteRuntime()) == [], "a repeat decides nothing"
    assert chain.when(runtime.StartPurge()) == [], "the window of a deletion that was taken back ends nothing"


def test_nothing_brings_back_what_is_being_purged() -> None:
    chain = given_runtime(*RUNNING, COMPLETED, RELEASED)
    chain.when(WINDOW)
    assert names(chain.when(runtime.StartPurge())) == ["PurgeStarted"]
    assert chain.when(runtime.StartPurge()) == []
    assert chain.state.phase is Phase.DELETING
    with pytest.raises(FailedPrecondition, match="is being purged") as refused:
        chain.when(runtime.UndeleteRuntime())
    assert refused.value.reason == "RUNTIME_PURGED"
    chain.when(runtime.ReportPurged(1, 1, 1, 1))
    with pytest.raises(FailedPrecondition, match="is purged: its snapshots, metrics and logs are gone"):
        chain.when(runtime.UndeleteRuntime())


def test_a_deletion_without_a_window_cannot_be_taken_back() -> None:
    """So are all those that earlier versions have recorded."""
    chain = given_runtime(*RUNNING, COMPLETED, RELEASED, facts.DeleteRequested())
    assert chain.state.phase is Phase.DELETING
    with pytest.raises(FailedPrecondition, match="is being purged"):
        chain.when(runtime.UndeleteRuntime())


def test_a_hidden_runtime_is_purged_at_once_where_that_is_asked_for() -> None:
    chain = given_runtime(*RUNNING, COMPLETED, RELEASED)
    chain.when(WINDOW)
    assert names(chain.when(runtime.DeleteRuntime(at(1)))) == ["DeleteRequested"]
    assert chain.state.phase is Phase.DELETING
    assert chain.when(runtime.DeleteRuntime(at(1)), WINDOW) == []


def test_a_runtime_that_is_deleted_while_it_trains_is_stopped_and_then_restorable() -> None:
    chain = given_runtime(*RUNNING)
    assert names(chain.when(runtime.DeleteRuntime(at(0), force=True, purge_time=at(600)))) == [
        "StopRequested",
        "DeleteRequested",
    ]
    chain.when(runtime.AbortRuntime(), runtime.ReleaseResources())
    assert (chain.state.status, chain.state.phase) == (Status.ABORTED, Phase.RESTORABLE)
    chain.when(runtime.UndeleteRuntime())
    assert names(chain.when(runtime.ResumeRuntime())) == ["ResumeRequested"]


def test_health_and_readiness_are_said_only_on_change_and_while_in_progress() -> None:
    chain = given_runtime(*RUNNING)
    assert names(chain.when(runtime.ReportHealth(common.HEALTH_HEALTHY, "")))
    assert chain.when(runtime.ReportHealth(common.HEALTH_HEALTHY, "again")) == []
    assert names(chain.when(runtime.ReportReadiness(True, "")))
    assert chain.when(runtime.ReportReadiness(True, "")) == []
    assert given_runtime(*RUNNING, FAILED).when(runtime.ReportHealth(common.HEALTH_UNHEALTHY, "")) == []


def test_a_fact_by_an_attempt_or_of_a_trial_changes_nothing() -> None:
    chain = given_runtime(*RUNNING, Fact(FAILED, attempt=1), Fact(trial_facts.TrialCompleted(attempt=1)))
    assert chain.state.status is Status.STARTED
    assert chain.state.ignored == 2


def test_every_fact_of_a_runtime_can_be_folded() -> None:
    members = {
        getattr(facts, field.message_type.name)  # type: ignore[union-attr]
        for field in facts.RuntimeEvent.DESCRIPTOR.oneofs_by_name["payload"].fields
    }
    assert set(runtime.EVOLVE) == members


def test_every_command_has_a_decision() -> None:
    defined = {one for one in vars(commands).values() if isinstance(one, type)}
    assert set(runtime.DECIDE) == {one for one in defined if one.__module__ == commands.__name__}


def test_labels_are_set_and_taken_away_whatever_the_status() -> None:
    for happened in (RUNNING, [*RUNNING, COMPLETED, RELEASED]):
        chain = given_runtime(*happened)
        (changed,) = chain.when(runtime.LabelRuntime({"team": "nlp"}, frozenset({"old"})))
        assert isinstance(changed, facts.LabelsChanged)
        assert (dict(changed.labels), list(changed.removed_labels)) == ({"team": "nlp"}, ["old"])
        assert chain.when(runtime.LabelRuntime({"team": "nlp"}, frozenset({"old"}))) == []
        assert chain.when(runtime.LabelRuntime({"old": "back"}))
        assert (chain.state.labels, chain.state.removed_labels) == ((("old", "back"), ("team", "nlp")), frozenset())


def test_a_label_of_the_configuration_is_not_set_again_but_after_it_was_taken_away() -> None:
    labelled = facts.RuntimeRequested(runtime_id="rt-1", configuration=RuntimeConfiguration(labels={"team": "nlp"}))
    chain = given_runtime(labelled)
    assert chain.when(runtime.LabelRuntime({"team": "nlp"})) == []
    assert chain.when(runtime.LabelRuntime({}, frozenset({"team"})))
    assert chain.when(runtime.LabelRuntime({"team": "nlp"}))
