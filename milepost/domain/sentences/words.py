"""The words of the closed sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import platform_events_pb2 as platform_facts
from milepost.api.event.v1 import rule_events_pb2 as rule_facts
from milepost.api.event.v1 import runtime_events_pb2 as runtime_facts
from milepost.api.event.v1 import trial_events_pb2 as trial_facts

Number = TypeVar("Number", bound=int)


class Words(dict[Number, str]):
    """The words of a closed set by its numbers. One of a newer version has no word, and is said as a number."""

    def __init__(self, before: str, words: Mapping[Number, str]) -> None:
        super().__init__(words)
        self._before = before

    def __missing__(self, number: Number) -> str:
        return f"{self._before} {number}, which this version does not know"


EXIT_CAUSES = Words(
    "for cause",
    {
        common.EXIT_CAUSE_UNSPECIFIED: "for an unknown cause",
        common.EXIT_CAUSE_FINISHED: "finished",
        common.EXIT_CAUSE_STOPPED: "stopped on request",
        common.EXIT_CAUSE_EXCEPTION: "raised an exception",
        common.EXIT_CAUSE_DETERMINISTIC: "failed in a way that would repeat itself",
        common.EXIT_CAUSE_SIGNAL: "was killed by a signal",
        common.EXIT_CAUSE_OUT_OF_MEMORY: "ran out of memory",
        common.EXIT_CAUSE_LOST: "was lost",
        common.EXIT_CAUSE_KILLED: "was killed by Milepost",
        common.EXIT_CAUSE_LAUNCH_FAILED: "could not be started",
        common.EXIT_CAUSE_FENCED: "left because it was fenced",
        common.EXIT_CAUSE_TIME_LIMIT: "came to the time limit of its job",
        common.EXIT_CAUSE_PREEMPTED: "was preempted by the cluster",
        common.EXIT_CAUSE_NODE_FAILED: "lost its node",
    },
)

FAILURE_REASONS = Words(
    "for reason",
    {
        common.FAILURE_REASON_UNSPECIFIED: "for an unknown reason",
        common.FAILURE_REASON_TRAINING_ERROR: "the training code raised",
        common.FAILURE_REASON_DETERMINISTIC_ERROR: "the same error would come again",
        common.FAILURE_REASON_CRASHED: "the process crashed",
        common.FAILURE_REASON_OUT_OF_MEMORY: "out of memory",
        common.FAILURE_REASON_LOST: "contact was lost",
        common.FAILURE_REASON_LAUNCH_FAILED: "it could not be launched",
        common.FAILURE_REASON_DEADLINE_EXCEEDED: "its time limit was reached",
        common.FAILURE_REASON_TRIAL_FAILED: "a trial failed",
        common.FAILURE_REASON_NO_VALID_SNAPSHOT: "no snapshot is valid",
        common.FAILURE_REASON_SAMPLER_FAILED: "its sampler could not choose the next trial",
    },
)

HEALTHS = Words(
    "health",
    {
        common.HEALTH_UNSPECIFIED: "unknown",
        common.HEALTH_HEALTHY: "healthy",
        common.HEALTH_DEGRADED: "degraded",
        common.HEALTH_UNHEALTHY: "unhealthy",
    },
)

STOP_MODES = Words(
    "mode",
    {
        common.STOP_MODE_UNSPECIFIED: "graceful",
        common.STOP_MODE_GRACEFUL: "graceful",
        common.STOP_MODE_ABRUPT: "abrupt",
    },
)

PENDING_REASONS = Words(
    "reason",
    {
        runtime_facts.PENDING_REASON_UNSPECIFIED: "resources",
        runtime_facts.PENDING_REASON_INSUFFICIENT_CPU: "CPUs",
        runtime_facts.PENDING_REASON_INSUFFICIENT_GPU: "GPUs",
        runtime_facts.PENDING_REASON_INSUFFICIENT_MEMORY: "memory",
        runtime_facts.PENDING_REASON_BEHIND_OTHERS: "the runtimes before it",
        runtime_facts.PENDING_REASON_LAUNCHER_UNAVAILABLE: "its launcher, which is not available",
        runtime_facts.PENDING_REASON_CLUSTER_QUEUE: "the queue of the cluster",
    },
)

STACK_PLACES = Words(
    "place",
    {
        trial_facts.STACK_PLACE_UNSPECIFIED: "where it is is not known",
        trial_facts.STACK_PLACE_CODE: "in its code",
        trial_facts.STACK_PLACE_DATA_LOADER: "waits for its next batch",
        trial_facts.STACK_PLACE_COLLECTIVE: "waits for other ranks",
        trial_facts.STACK_PLACE_STORAGE: "loads or saves",
    },
)

OBJECTIVE_OUTCOMES = Words(
    "outcome",
    {
        runtime_facts.OBJECTIVE_OUTCOME_UNSPECIFIED: "outcome not known",
        runtime_facts.OBJECTIVE_OUTCOME_VALUE: "a value",
        runtime_facts.OBJECTIVE_OUTCOME_TRIAL_FAILED: "no value, the trial failed",
        runtime_facts.OBJECTIVE_OUTCOME_NO_VALUE: "no value",
        runtime_facts.OBJECTIVE_OUTCOME_NON_FINITE: "no finite value",
        runtime_facts.OBJECTIVE_OUTCOME_PRUNED: "pruned",
    },
)

SEARCH_ENDS = Words(
    "for reason",
    {
        runtime_facts.SEARCH_END_REASON_UNSPECIFIED: "for an unknown reason",
        runtime_facts.SEARCH_END_REASON_MAX_TRIALS: "every trial is done",
        runtime_facts.SEARCH_END_REASON_TARGET: "the target is reached",
        runtime_facts.SEARCH_END_REASON_NO_GAIN: "nothing better came",
        runtime_facts.SEARCH_END_REASON_HOURS: "its time is over",
        runtime_facts.SEARCH_END_REASON_SAMPLER_FAILED: "its sampler could not choose the next trial",
        runtime_facts.SEARCH_END_REASON_POPULATION: "its population is trained",
    },
)

FENCE_REASONS = Words(
    "for reason",
    {
        trial_facts.FENCE_REASON_UNSPECIFIED: "for an unknown reason",
        trial_facts.FENCE_REASON_LOST: "contact was lost",
        trial_facts.FENCE_REASON_EXITED: "its process is gone",
        trial_facts.FENCE_REASON_ABRUPT_STOP: "an abrupt stop",
        trial_facts.FENCE_REASON_STOP_DEADLINE: "the deadline of its stop",
        trial_facts.FENCE_REASON_LAUNCH_FAILED: "it could not be launched",
        trial_facts.FENCE_REASON_DEADLINE_EXCEEDED: "the time limit of the runtime",
        trial_facts.FENCE_REASON_POLICY: "another trial failed",
        trial_facts.FENCE_REASON_DELETED: "the runtime was deleted",
        trial_facts.FENCE_REASON_EXCESS: "it wrote more than an attempt may",
        trial_facts.FENCE_REASON_ROLLED_BACK: "the trial goes on from an earlier snapshot",
    },
)

LAUNCH_REASONS = Words(
    " for reason",
    {
        trial_facts.LAUNCH_REASON_UNSPECIFIED: "",
        trial_facts.LAUNCH_REASON_FIRST: "",
        trial_facts.LAUNCH_REASON_RESUME: " on resume",
        trial_facts.LAUNCH_REASON_RETRY: " as a retry",
        trial_facts.LAUNCH_REASON_ROLL_BACK: " by a roll back",
    },
)

# What a rule does, by the field of `Action`.
ACTION_WORDS = {
    "label": "label the run",
    "snapshot": "have a snapshot taken",
    "stop": "stop it",
    "start": "start a run",
    "roll_back": "roll it back",
}

OUTCOMES = Words(
    "ended with outcome",
    {
        trial_facts.ATTEMPT_OUTCOME_UNSPECIFIED: "ended",
        trial_facts.ATTEMPT_OUTCOME_COMPLETED: "completed",
        trial_facts.ATTEMPT_OUTCOME_STOPPED: "stopped",
        trial_facts.ATTEMPT_OUTCOME_FAILED: "failed",
    },
)

SNAPSHOT_REASONS = Words(
    " for reason",
    {
        trial_facts.SNAPSHOT_REASON_UNSPECIFIED: "",
        trial_facts.SNAPSHOT_REASON_INTERVAL: "",
        trial_facts.SNAPSHOT_REASON_STOP: " before the stop",
        trial_facts.SNAPSHOT_REASON_END: " at the end",
        trial_facts.SNAPSHOT_REASON_REQUEST: " on request",
    },
)

SNAPSHOT_DELETE_REASONS = Words(
    "for reason",
    {
        trial_facts.SNAPSHOT_DELETE_REASON_UNSPECIFIED: "",
        trial_facts.SNAPSHOT_DELETE_REASON_RETENTION: "newer or better ones are kept",
        trial_facts.SNAPSHOT_DELETE_REASON_PURGE: "its runtime was deleted",
        trial_facts.SNAPSHOT_DELETE_REASON_CORRUPT: "it did not verify",
    },
)

ACCESS_RESULTS = Words(
    "had result",
    {
        platform_facts.ACCESS_RESULT_UNSPECIFIED: "did",
        platform_facts.ACCESS_RESULT_ALLOWED: "did",
        platform_facts.ACCESS_RESULT_UNAUTHENTICATED: "was not authenticated for",
        platform_facts.ACCESS_RESULT_PERMISSION_DENIED: "was not allowed",
    },
)

CLEAR_REASONS = Words(
    "for reason",
    {
        rule_facts.CLEAR_REASON_UNSPECIFIED: "for an unknown reason",
        rule_facts.CLEAR_REASON_RECOVERED: "what it looks for is over",
        rule_facts.CLEAR_REASON_SUPERSEDED: "the steps it was about were abandoned",
        rule_facts.CLEAR_REASON_ENDED: "the trial has come to rest",
        rule_facts.CLEAR_REASON_RULE_CHANGED: "the rule was changed",
    },
)
