"""Who is alive, seen from heartbeats."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.telemetry.v1.telemetry_pb2 import Heartbeat
from milepost.domain import stalls, trial
from milepost.names import AttemptKey
from services.runtime.policies import liveness as policy
from services.runtime.scheduling.liveness import Liveness

KEY = AttemptKey("rt-1", 1, 1)
SUBJECT = "heartbeat.rt-1.1.1.0"


def beat(next_ms: int = 2_000, **fields: float) -> Heartbeat:
    return Heartbeat(rank=0, next_beat_ms=next_ms, phase="training", **fields)  # type: ignore[arg-type]


def steady(now: float) -> policy.Instance:
    """An instance that has beaten every two seconds until now."""
    known = None
    for time in range(0, int(now) + 1, 2):
        known = policy.hear(known, beat(), float(time))
    assert known is not None
    return known


def test_silence_changes_health_before_it_counts_as_lost() -> None:
    known = steady(20)
    judged = [policy.health(known, common.HEALTH_HEALTHY, 20 + t)[0] for t in (1, 5, 7, 13)]
    assert judged == [common.HEALTH_HEALTHY, common.HEALTH_HEALTHY, common.HEALTH_DEGRADED, common.HEALTH_UNHEALTHY]
    assert not policy.is_lost(known, 30, 20 + 31)
    assert policy.is_lost(known, 30, 20 + 33)


def test_an_announced_silence_is_none() -> None:
    known = policy.hear(None, beat(next_ms=60_000), 0.0)
    assert policy.health(known, common.HEALTH_HEALTHY, 59)[0] == common.HEALTH_HEALTHY
    assert not policy.is_lost(known, 30, 89)
    assert policy.is_lost(known, 30, 91)


def test_nobody_may_announce_silence_for_ever() -> None:
    known = policy.hear(None, beat(next_ms=2**60), 0.0)
    assert policy.is_lost(known, 30, policy.MAX_ANNOUNCED_SECONDS + 31)


def test_health_gets_better_only_after_a_steady_while() -> None:
    known = policy.hear(steady(4), beat(), 30.0)
    assert policy.health(known, common.HEALTH_UNHEALTHY, 30)[0] == common.HEALTH_UNHEALTHY
    for time in (32.0, 34.0, 36.0):
        known = policy.hear(known, beat(), time)
    assert policy.health(known, common.HEALTH_UNHEALTHY, 36)[0] == common.HEALTH_HEALTHY


def test_an_instance_that_never_beat_has_long_to_begin() -> None:
    known = policy.Instance(0.0)
    assert policy.health(known, common.HEALTH_UNSPECIFIED, 100) == (common.HEALTH_UNSPECIFIED, "")
    assert not policy.is_lost(known, 30, policy.FIRST_BEAT_SECONDS + 29)
    assert policy.is_lost(known, 30, policy.FIRST_BEAT_SECONDS + 31)


def test_no_step_for_ten_times_the_usual_is_a_stall() -> None:
    def idle(milliseconds: int, step_ms: float = 5_000) -> str:
        return policy.stall(policy.hear(None, beat(idle_ms=milliseconds, step_ms=step_ms), 0.0), 0.0)

    assert idle(49_000) == ""
    assert "no step for 51 s" in idle(51_000)
    assert idle(29_000, step_ms=10) == "", "short steps do not make a short pause a stall"
    assert idle(599_000, step_ms=0) == "", "the usual step time is not known yet"
    assert "few were done before" in idle(601_000, step_ms=0), "most groups that hang do so at their first step"
    writing = Heartbeat(idle_ms=599_000, step_ms=5_000, phase="snapshotting")
    assert policy.stall(policy.Instance(0.0, writing), 0.0) == "", "a large snapshot takes its time"


def test_one_that_trains_and_was_never_heard_is_lost_sooner_than_one_that_may_still_import() -> None:
    now = 0.0
    liveness = Liveness(lambda: now)
    liveness.watch(KEY, policy.first_beat_seconds(trains=False, grace_seconds=3))
    now = 20.0
    liveness.watch(KEY, policy.first_beat_seconds(trains=True, grace_seconds=3))
    now = 52.0
    assert liveness.why_lost(KEY, 3) == ""
    liveness.watch(KEY, policy.first_beat_seconds(trains=True, grace_seconds=3))
    now = 54.0
    assert "last heard 34 s ago" in liveness.why_lost(KEY, 3), "from when it began to train, and only then"
    liveness.receive(SUBJECT, beat().SerializeToString())
    liveness.watch(KEY, policy.first_beat_seconds(trains=True, grace_seconds=3))
    now = 58.0
    assert liveness.why_lost(KEY, 3) == "", "who is heard is judged by its beats"


def test_a_stall_is_said_once_for_each_step_it_happens_at() -> None:
    now = 0.0
    liveness = Liveness(lambda: now)
    liveness.watch(KEY)
    liveness.receive(SUBJECT, beat(idle_ms=60_000, step_ms=100, step=40).SerializeToString())
    commands = liveness.reports(KEY, [])
    assert [type(command) for command in commands] == [trial.ReportInstanceHealth, trial.RaiseAlert]
    assert liveness.step(KEY) == 40


def active(*recorded: stalls.Stack, ranks: int = 2) -> trial.Active:
    known = stalls.Stalls(stacks=recorded)
    hosts = frozenset((rank, f"host-{rank}") for rank in range(ranks))
    return trial.Active(1, facts.AttemptLaunched(), stalls=known, running_ranks=frozenset(range(ranks)), hosts=hosts)


def test_why_there_is_no_progress_is_said_when_all_have_spoken_or_some_do_not_answer() -> None:
    now = 0.0
    liveness = Liveness(lambda: now)
    liveness.watch(KEY)

    def hear(rank: int, step: int = 40, idle_ms: int = 60_000) -> None:
        subject = f"heartbeat.{KEY.runtime_id}.{KEY.trial}.{KEY.attempt}.{rank}"
        body = Heartbeat(rank=rank, step=step, idle_ms=idle_ms, step_ms=100, next_beat_ms=2_000)
        liveness.receive(subject, body.SerializeToString())

    hear(0)
    hear(1)
    waits = stalls.Stack(0, 40, facts.STACK_PLACE_COLLECTIVE, "train.py:7 in train")
    loads = stalls.Stack(1, 40, facts.STACK_PLACE_DATA_LOADER, "data.py:3 in read")
    assert liveness.diagnose(KEY, active(waits), 30.0) == [], "the other one may still say where it is"
    (command,) = liveness.diagnose(KEY, active(waits, loads), 30.0)
    assert isinstance(command, trial.DiagnoseStall) and (command.attempt, command.step) == (1, 40)
    assert (command.diagnosis.kind, command.diagnosis.ranks) == (facts.STALL_KIND_DATA_LOADER, (1,))
    assert command.diagnosis.message.startswith("rank 1 on host-1 waits for its next batch at data.py:3 in read")

    now += policy.ANSWER_SECONDS + 1
    hear(0)
    (command,) = liveness.diagnose(KEY, active(waits), 30.0)
    assert isinstance(command, trial.DiagnoseStall)
    assert command.diagnosis.kind == facts.STALL_KIND_UNRESPONSIVE, "rank 1 was last heard 16 s ago"
    assert command.diagnosis.ranks == (1,)

    hear(0, step=41, idle_ms=0)
    assert liveness.diagnose(KEY, active(waits), 30.0) == [], "it has gone on since"
    hear(0, idle_ms=60_000)
    said = replace(active(waits), stalls=stalls.Stalls(stacks=(waits,), diagnosed=(40,)))
    assert liveness.diagnose(KEY, said, 30.0) == [], "it was said"
    assert liveness.diagnose(KEY, active(waits), 120.0) == [], "such a pause is none there"


def test_beats_of_others_and_noise_change_nothing() -> None:
    liveness = Liveness(lambda: 0.0)
    liveness.watch(KEY)
    before = liveness.instances(KEY)
    for subject in ("heartbeat.rt-1.1.2.0", "heartbeat.rt-2.1.1.0", "heartbeat.rt-1.1.1", "heartbeat.rt-1.1.1.x"):
        liveness.receive(subject, beat().SerializeToString())
    liveness.receive(SUBJECT, b"\xff\xff\xff")
    assert liveness.instances(KEY) == before
    assert liveness.watched() == [KEY]


def test_a_time_in_which_nothing_could_be_heard_counts_for_nobody() -> None:
    now = 0.0
    liveness = Liveness(lambda: now)
    liveness.watch(KEY)
    liveness.receive(SUBJECT, beat().SerializeToString())
    now = 100.0
    assert "100 s ago" in liveness.why_lost(KEY, 30)
    liveness.listen_anew()
    assert liveness.why_lost(KEY, 30) == ""
    liveness.forget(KEY)
    assert liveness.why_lost(KEY, 0) == ""


def test_silence_is_told_by_the_moment_of_the_last_contact() -> None:
    now, noon = 0.0, datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
    liveness = Liveness(lambda: now, lambda: noon + timedelta(seconds=now))
    liveness.watch(KEY)
    liveness.receive(SUBJECT, beat().SerializeToString())
    now = 13.0
    (report,) = liveness.reports(KEY, [(0, common.HEALTH_DEGRADED)])
    assert isinstance(report, trial.ReportInstanceHealth)
    assert (report.health, report.reason) == (common.HEALTH_UNHEALTHY, "no contact since 2026-03-01 12:00:00 UTC")
    assert liveness.silence(KEY) == report.reason
    now = 14.0
    liveness.receive(SUBJECT, beat().SerializeToString())
    assert liveness.silence(KEY) == ""


def test_a_service_that_starts_anew_judges_a_silent_attempt_that_trained_within_a_minute() -> None:
    now = 0.0
    liveness = Liveness(lambda: now, lambda: datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC))
    liveness.watch(KEY, policy.first_beat_seconds(trains=True, grace_seconds=10))
    now = policy.NEXT_BEAT_SECONDS + policy.SILENT_SECONDS
    assert liveness.reports(KEY, [(0, common.HEALTH_HEALTHY)]) == []
    now += 1
    (report,) = liveness.reports(KEY, [(0, common.HEALTH_HEALTHY)])
    assert isinstance(report, trial.ReportInstanceHealth)
    assert report.reason == "no contact since 2026-03-01 12:00:00 UTC, when the runtime service began to listen"


def test_how_long_a_beat_may_take_when_listening_begins_depends_on_what_is_known() -> None:
    assert policy.first_beat_seconds(trains=False, grace_seconds=30) == policy.FIRST_BEAT_SECONDS
    waits = [policy.first_beat_seconds(trains=True, grace_seconds=grace) for grace in (1, 60, 86_400)]
    assert waits == [policy.NEXT_BEAT_SECONDS, 60, policy.MAX_ANNOUNCED_SECONDS]
