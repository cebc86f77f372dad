"""A rule finds the same however messages are cut, wherever the fold is taken up again, and whatever comes twice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from milepost.api.config.v1 import rule_pb2 as rules
from milepost.api.event.v1 import rule_events_pb2 as facts
from milepost.api.event.v1 import trial_events_pb2 as trial_facts
from milepost.domain import firings
from milepost.domain.decider import Fact
from services.rules.checkpointing import Records, evaluation_of
from services.rules.detectors.choosing import SERIES
from services.rules.evaluation.fold import Evaluation
from services.rules.evaluation.inputs import Column, Points
from services.rules.evaluation.states import SetRule
from tests.unit.rules.given import Run, apply, played, rule

KEY, GRADIENT, PACE = "train/loss", "train/grad_norm", "system/steps_per_second"
# One for each detector that looks at points, with bounds that random values meet.
RULES: tuple[SetRule, ...] = (
    rule(rule_id="threshold", threshold=rules.Threshold(series=KEY, comparison=rules.COMPARISON_ABOVE, value=2.0)),
    rule(
        rule_id="held",
        hold_seconds=2.0,
        threshold=rules.Threshold(series=KEY, comparison=rules.COMPARISON_BELOW, value=1.0),
    ),
    rule(rule_id="change", change=rules.Change(series=KEY, window=8, deviations=2.0)),
    rule(rule_id="plateau", plateau=rules.Plateau(series=KEY, window=3)),
    rule(rule_id="exploding", exploding_gradient=rules.ExplodingGradient(factor=1.5, window=8)),
    rule(rule_id="vanishing", vanishing_gradient=rules.VanishingGradient(below=1.0, points=3)),
    rule(rule_id="not-finite", not_finite=rules.NotFinite()),
    rule(rule_id="throughput", throughput_drop=rules.ThroughputDrop(share=0.7, window=8)),
    rule(rule_id="end", estimated_end=rules.EstimatedEnd(after_seconds=60.0)),
    rule(rule_id="gpu", gpu_idle=rules.GpuIdle(below_percent=50.0)),
    rule(rule_id="disk", disk_filling=rules.DiskFilling(above_percent=2.0)),
)
BASELINE = rule(rule_id="baseline", baseline=rules.Baseline(series=KEY, trial="runtimes/rt-2/trials/1", tolerance=0.1))
BASELINE.rule.detector.baseline.steps.extend([1, 10, 20])
BASELINE.rule.detector.baseline.values.extend([3.0, 2.0, 1.0])
TIMED = (
    rule(rule_id="silence", silence=rules.Silence(factor=2.0, min_seconds=3.0)),
    rule(rule_id="queued", hold_seconds=4.0, state=rules.StateEntered(states=["RUNNING", "QUEUED"])),
    rule(rule_id="fenced", event=rules.EventSeen(type="milepost.trial.attempt_fenced.v1")),
    rule(rule_id="retries", retries=rules.Retries(count=1)),
    rule(rule_id="log", log_pattern=rules.LogPattern(pattern="[05]$")),
)
ALL = (*RULES, BASELINE, *TIMED)
KEYS = (KEY, GRADIENT, PACE, "system/gpu_0_percent", "system/disk_used_percent")

values = st.one_of(st.floats(0.0, 4.0), st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 9.0]))
# Stretches of a run: values, whether there is a gap in the steps and a pause before each, and how far the next one goes back.
stretches = st.lists(
    st.tuples(
        st.lists(values, min_size=1, max_size=30), st.integers(0, 3), st.sampled_from([0, 0, 20]), st.integers(0, 40)
    ),
    min_size=1,
    max_size=4,
)


def a_run(drawn: Sequence[tuple[list[float], int, int, int]]) -> Run:
    """A run of several attempts; each goes on from before the end of the one before it."""
    run = Run().requested()
    step = 0
    for attempt, (logged, gap, pause, back) in enumerate(drawn, 1):
        run.begins(attempt, step)
        run.own(trial_facts.PlanDeclared(attempt=attempt, total_steps=100))
        for index, value in enumerate(logged):
            step += 1 + gap
            run.seconds += 1 + (pause if index == 5 else 0)
            run.message({key: [(step, run.now_ms, value)] for key in KEYS})
            run.says(f"step {step}")
        step = max(0, step - back)
    return run


def joined(run: Run, cuts: Sequence[bool]) -> Run:
    """The same run with points of neighbouring messages in one: what a sender cuts otherwise."""
    made = replace(run, what=[])
    for index, message in enumerate(run.what):
        last = made.what[-1] if made.what else None
        if isinstance(message, Points) and isinstance(last, Points) and not cuts[index % len(cuts)]:
            columns = tuple(
                Column(a.key, (*a.steps, *b.steps), (*a.times_ms, *b.times_ms), (*a.values, *b.values))
                for a, b in zip(last.columns, message.columns, strict=True)
            )
            made.what[-1] = replace(message, columns=columns)
        else:
            made.what.append(message)
    return made


def without_positions(found: list[Message]) -> list[bytes]:
    """Facts, but for which message brought them about."""
    plain = []
    for fact in found:
        copy = type(fact)()
        copy.CopyFrom(fact)
        copy.ClearField("telemetry_sequence") if isinstance(copy, facts.RuleFired) else None
        plain.append(type(fact).__name__.encode() + copy.SerializeToString(deterministic=True))
    return sorted(plain)


def test_every_detector_of_points_is_among_the_rules() -> None:
    kinds = {one.rule.detector.WhichOneof("kind") for one in ALL}
    assert set(SERIES) <= kinds
    assert len(kinds) == len(rules.Detector.DESCRIPTOR.oneofs_by_name["kind"].fields)


@given(stretches, st.lists(st.booleans(), min_size=1, max_size=40))
def test_messages_may_be_cut_anyhow(drawn: list[tuple[list[float], int, int, int]], cuts: list[bool]) -> None:
    run = a_run(drawn)
    run.what = [message for message in run.what if not hasattr(message, "lines")]
    points_only = (*RULES, BASELINE)
    assert without_positions(played(joined(run, cuts), *points_only)) == without_positions(played(run, *points_only))


@given(stretches, st.data())
def test_a_fold_that_is_taken_up_again_finds_the_same_once(
    drawn: list[tuple[list[float], int, int, int]], data: st.DataObject
) -> None:
    """Killed anywhere, it goes on from its last checkpoint: what it says again is recorded once."""
    run = a_run(drawn)
    evaluation = Evaluation()
    for one in ALL:
        evaluation.set_rule(one)
    expected = played(run, *ALL)
    writer, recorded = Records(), Recorded()
    position, checkpoint = 0, (0, writer.of(evaluation))
    while position < len(run.what):
        for occurrence in apply(evaluation, run.what[position]):
            recorded.take(occurrence.fact)
        position += 1
        match data.draw(st.sampled_from(["on", "on", "on", "checkpoint", "kill"])) if position % 7 == 0 else "on":
            case "checkpoint":
                checkpoint = (position, writer.of(evaluation))
            case "kill" if recorded.kills < 3:
                recorded.kills += 1
                position, evaluation, writer = checkpoint[0], evaluation_of(checkpoint[1]), Records()
    assert recorded.facts == [fact.SerializeToString(deterministic=True) for fact in expected]


class Recorded:
    """What is in the log in the end."""

    def __init__(self) -> None:
        self.state = firings.initial
        self.facts: list[bytes] = []
        self.kills = 0

    def take(self, fact: Message) -> None:
        command = firings.RecordFiring(fact) if isinstance(fact, facts.RuleFired) else firings.RecordCleared(fact)  # type: ignore[arg-type]
        for decided in firings.decide(self.state, command):
            self.state = firings.evolve(self.state, Fact(decided))
            self.facts.append(decided.SerializeToString(deterministic=True))


@given(stretches, st.integers(0, 10))
def test_what_comes_twice_counts_once(drawn: list[tuple[list[float], int, int, int]], every: int) -> None:
    """A sender that has no answer sends again."""
    run = a_run(drawn)
    twice = replace(run, what=[])
    for index, message in enumerate(run.what):
        twice.what.append(message)
        if index % (every + 1) == 0 and not hasattr(message, "subject"):
            twice.what.append(message)
    assert without_positions(played(twice, *RULES)) == without_positions(played(run, *RULES))


@given(stretches)
def test_a_step_fires_once_and_never_more_often_than_it_may(drawn: list[tuple[list[float], int, int, int]]) -> None:
    found = [fact for fact in played(a_run(drawn), *ALL) if isinstance(fact, facts.RuleFired)]
    ids = [fact.firing_id for fact in found]
    assert len(ids) == len(set(ids))
    counts: dict[tuple[str, str], int] = {}
    for fact in found:
        place = (fact.rule_id, fact.subject)
        counts[place] = counts.get(place, 0) + 1
    assert all(count <= 10 for count in counts.values())


@given(stretches)
def test_what_is_kept_is_bounded_by_windows(drawn: list[tuple[list[float], int, int, int]]) -> None:
    evaluation = Evaluation()
    for one in ALL:
        evaluation.set_rule(one)
    for message in a_run(drawn * 3).what:
        apply(evaluation, message)
    assert all(len(record) < 6_000 for record in Records().of(evaluation)[1:])
