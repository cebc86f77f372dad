"""The fold: rules over runs. One message at a time, in the order of the log's server; pure but for its own state."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from google.protobuf.message import Message

from milepost.api.event.v1 import rule_events_pb2 as facts
from milepost.api.event.v1 import runtime_events_pb2 as runtime_facts
from milepost.api.event.v1 import trial_events_pb2 as trial_facts
from milepost.domain import runtime, trial
from milepost.domain.decider import Fact
from milepost.eventlog import RecordedEvent, Subject, codec, parse_subject
from services.rules.evaluation.compiling import Compiled, Selected
from services.rules.evaluation.happenings import (
    came_to_rest,
    entered,
    happened,
    milliseconds,
    signs_of_life,
    state_held,
    went_silent,
    words_of,
)
from services.rules.evaluation.inputs import Lines, Points
from services.rules.evaluation.occurrences import Occurrence, clear
from services.rules.evaluation.own import own_rules
from services.rules.evaluation.points import watch_lines, watch_points
from services.rules.evaluation.states import MAX_WAITING_POINTS, RunFold, SetRule, TrialFold, Watch
from services.rules.selection import Selectable, parse_selector

# So long after its end a run is kept as it was: what was still on its way comes in. Then its windows are let go of.
LINGER_MS = 3_600_000
NOTHING = Selected()


class Evaluation:
    """Rules, and the runs that they watch. Methods return what happened, in order.

    A run that is long at rest is let go of. Before a message of one that it does not know (`knows`), other than the event
    that made it, its history is to be given back by `restore`. `with_own`: runs are watched by the rules of their
    configurations too.
    """

    def __init__(self, with_own: bool = True) -> None:
        self.rules: dict[str, SetRule] = {}
        self.runs: dict[str, RunFold] = {}
        # Runs that changed since this was emptied.
        self.changed: set[str] = set()
        # Runs that have rules of their own, also those that were let go of.
        self.owning: set[str] = set()
        self._with_own = with_own
        self._compiled: dict[str, Compiled] = {}
        # Runtime -> its own rules.
        self._own: dict[str, dict[str, Compiled]] = {}
        self._clocked: list[Compiled] = []
        # Runtime -> what it was selected by, and the rules that watch it.
        self._selected: dict[str, tuple[Selectable, Selected]] = {}

    # --- rules

    def set_rule(self, rule: SetRule) -> None:
        """Begin to evaluate a rule."""
        self.rules[rule.rule_id] = rule
        self._compiled[rule.rule_id] = Compiled.of(rule)
        self._reselect()

    def _reselect(self) -> None:
        self._selected.clear()
        self._clocked = [
            self._compiled[rule_id] for rule_id in sorted(self.rules) if self._compiled[rule_id].is_clocked
        ]

    def _drop_rule(self, rule_id: str, time_ms: int, cause: str) -> list[Occurrence]:
        self.rules.pop(rule_id, None)
        self._reselect()
        found: list[Occurrence] = []
        reason = facts.CLEAR_REASON_RULE_CHANGED
        for run in self.runs.values():
            for one in run.trials.values():
                watches = one.watches.pop(rule_id, {})
                if watches:
                    self.changed.add(run.runtime_id)
                for watch in watches.values():
                    found += clear(run.runtime_id, one.number, rule_id, watch, reason, watch.open_step, time_ms, cause)
        return found

    def _apply_to_rules(self, payload: Message, event: RecordedEvent) -> list[Occurrence]:
        if not isinstance(payload, facts.RuleSet | facts.RuleDisabled | facts.RuleDeleted):
            return []
        found = self._drop_rule(payload.rule_id, milliseconds(event), event.id)
        if isinstance(payload, facts.RuleSet):
            self.set_rule(SetRule(payload.rule_id, payload.revision, payload.rule))
        return found

    def selected(self, run: RunFold) -> Selected:
        """Return the rules that watch a run."""
        if run.selectable is None or not self.watches(run.runtime_id):
            return NOTHING
        known = self._selected.get(run.runtime_id)
        if known is not None and known[0] is run.selectable:
            return known[1]
        rules = [self._compiled[rule_id] for rule_id in sorted(self.rules)]
        chosen = Selected.of(
            [
                *(rule for rule in rules if parse_selector(rule.rule.rule.selector)(run.selectable)),
                *self._own_of(run).values(),
            ]
        )
        self._selected[run.runtime_id] = (run.selectable, chosen)
        return chosen

    # --- rules of runs

    def watches(self, runtime_id: str) -> bool:
        """Return whether any rule may watch a run."""
        return bool(self.rules) or runtime_id in self.owning

    def _own_of(self, run: RunFold) -> dict[str, Compiled]:
        if run.runtime_id not in self.owning:
            return {}
        known = self._own.get(run.runtime_id)
        if known is None:
            rules = own_rules(run.runtime_id, run.state.configuration)
            known = self._own[run.runtime_id] = {rule_id: Compiled.of(rule) for rule_id, rule in rules.items()}
        return known

    def _rule(self, run: RunFold, rule_id: str) -> Compiled | None:
        """Find a rule that may watch a run."""
        return self._compiled[rule_id] if rule_id in self.rules else self._own_of(run).get(rule_id)

    def _clocked_of(self, run: RunFold) -> list[Compiled]:
        """List the rules that may fire in a run because time passes."""
        own = [rule for rule in self._own_of(run).values() if rule.is_clocked]
        return [*self._clocked, *own] if own else self._clocked

    # --- runs that were let go of

    def knows(self, runtime_id: str) -> bool:
        return runtime_id in self.runs

    def restore(self, runtime_id: str, events: Iterable[RecordedEvent]) -> None:
        """Take a run in by its history, which fires nothing."""
        run = self.runs[runtime_id] = RunFold(runtime_id)
        for event in events:
            subject, payload = parse_subject(event.subject), _decoded(event)
            if payload is not None and not subject.is_of_rules and not subject.is_platform:
                self._evolve(run, subject, payload, event)
        self.changed.add(runtime_id)

    def _let_go(self, run: RunFold) -> None:
        """Keep of a run that is long at rest where its rules have fired, and nothing else."""
        self.changed.add(run.runtime_id)
        self._selected.pop(run.runtime_id, None)
        run.rest_ms = None
        kept = False
        for one in run.trials.values():
            one.waiting.clear()
            one.watches = {
                rule_id: {
                    name: Watch(watch.revision, rule.fresh(), watch.last_step, fired=watch.fired)
                    for name, watch in watches.items()
                    if watch.fired
                }
                for rule_id, watches in one.watches.items()
                if (rule := self._rule(run, rule_id)) is not None
            }
            kept = kept or any(one.watches.values())
        self._own.pop(run.runtime_id, None)
        if run.state.purged:
            self.owning.discard(run.runtime_id)
        if not kept:
            del self.runs[run.runtime_id]

    # --- time

    def advance(self, now_ms: int) -> list[Occurrence]:
        """Say that everything which was stored before a time, by the clock of the log's server, has been applied."""
        found: list[Occurrence] = []
        for run in list(self.runs.values()):
            found += self._advance(run, now_ms)
        return found

    def _advance(self, run: RunFold, now_ms: int) -> list[Occurrence]:
        due: list[tuple[int, str, int, str]] = []
        for rule in self._clocked_of(run):
            for one in run.trials.values():
                for name, watch in one.watches.get(rule.rule_id, {}).items():
                    at = _due_ms(rule, one, watch)
                    if at is not None and at <= now_ms:
                        due.append((at, rule.rule_id, one.number, name))
        found: list[Occurrence] = []
        for at, rule_id, number, name in sorted(due):
            self.changed.add(run.runtime_id)
            due_rule = self._rule(run, rule_id)
            assert due_rule is not None, "it is due"
            if due_rule.silence is not None:
                found += went_silent(run, run.trials[number], due_rule, at)
            else:
                found += state_held(run, due_rule, name, at)
        if run.rest_ms is not None and now_ms - run.rest_ms > LINGER_MS:
            self._let_go(run)
        return found

    # --- events

    def apply_event(self, event: RecordedEvent) -> list[Occurrence]:
        """Take in an event of the log."""
        subject, payload = parse_subject(event.subject), _decoded(event)
        if payload is None or (subject.is_of_rules and not subject.is_platform):
            return []
        if subject.is_platform:
            return self._apply_to_rules(payload, event) if subject.is_of_rules else []
        run = self.runs.setdefault(subject.runtime_id, RunFold(subject.runtime_id))
        self.changed.add(run.runtime_id)
        found = self._advance(run, milliseconds(event))
        self.runs[run.runtime_id] = run
        words, number = words_of(run.state), subject.trial or 0
        one = run.trial(number)
        before = one.state
        if not self._evolve(run, subject, payload, event):
            return found
        if isinstance(payload, trial_facts.AttemptStarted):
            found += self._begin(run, one, before, payload, event)
        found += signs_of_life(run, one, self._clocked_of(run), event)
        found += came_to_rest(run, one, before, event)
        now = words_of(run.state)
        for rule in self.selected(run).events:
            if rule.kind != "state":
                found += happened(run, one, rule, payload, event)
            elif now != words:
                found += entered(run, rule, now - words, words - now, event)
        return found

    def _evolve(self, run: RunFold, subject: Subject, payload: Message, event: RecordedEvent) -> bool:
        """Fold an event into the states of its run. False: it had no right to be where it is."""
        if subject.trial is None:
            ignored = run.state.ignored
            run.state = runtime.evolve(run.state, Fact(payload, subject.attempt))
            if isinstance(payload, runtime_facts.RuntimeRequested) and run.selectable is None:
                run.selectable = Selectable.of(run.runtime_id, payload.configuration, event.actor)
                if payload.configuration.rules and self._with_own:
                    self.owning.add(run.runtime_id)
            taken = run.state.ignored == ignored
        else:
            one = run.trial(subject.trial)
            ignored = one.state.ignored
            one.state = trial.evolve(one.state, Fact(payload, subject.attempt))
            taken = one.state.ignored == ignored
            if taken:
                _note(run, one, payload, event)
        run.rest_ms = milliseconds(event) if run.state.exists and not run.state.in_progress else None
        return taken

    def _begin(
        self,
        run: RunFold,
        one: TrialFold,
        before: trial.Trial,
        payload: trial_facts.AttemptStarted,
        event: RecordedEvent,
    ) -> list[Occurrence]:
        """An attempt begins: what came after the step that it goes on from is abandoned, and what waited for it is looked at."""
        found: list[Occurrence] = []
        if one.state.lineage != before.lineage:
            for rule_id, watches in one.watches.items():
                for watch in watches.values():
                    found += self._cut(run, one, rule_id, watch, payload.restored_step, event)
        waiting = [message for message in one.waiting if message.attempt == payload.attempt]
        one.waiting = [message for message in one.waiting if message.attempt > payload.attempt]
        for message in waiting:
            found += watch_points(self.selected(run), one, message)
        return found

    def _cut(
        self, run: RunFold, one: TrialFold, rule_id: str, watch: Watch, step: int, event: RecordedEvent
    ) -> list[Occurrence]:
        rule = self._rule(run, rule_id)
        if rule is not None:
            watch.detector = rule.cut(watch.detector, step)
        watch.last_step = min(watch.last_step, step)
        if watch.onset_ms is not None and watch.onset_step > step:
            watch.onset_ms = None
        if watch.open_id is None or watch.open_step <= step:
            return []
        superseded, at = facts.CLEAR_REASON_SUPERSEDED, milliseconds(event)
        return clear(run.runtime_id, one.number, rule_id, watch, superseded, watch.open_step, at, event.id)

    # --- points and lines

    def apply_points(self, message: Points) -> list[Occurrence]:
        """Take in a message with points."""
        run = self.runs.get(message.runtime_id)
        if run is None or message.trial not in run.trials:
            return []
        found = self._advance(run, message.time_ms)
        selected, one = self.selected(run), run.trials[message.trial]
        if not (selected.series or selected.paced) or run.runtime_id not in self.runs:
            return found
        self.changed.add(run.runtime_id)
        if message.attempt in one.begun:
            return found + watch_points(selected, one, message)
        if message.attempt >= one.state.attempt:
            one.waiting.append(message)
            while sum(waiting.count for waiting in one.waiting) > MAX_WAITING_POINTS:
                del one.waiting[0]
        return found

    def apply_lines(self, message: Lines) -> list[Occurrence]:
        """Take in a message with lines of the log."""
        run = self.runs.get(message.runtime_id)
        if run is None or message.trial not in run.trials:
            return []
        found = self._advance(run, message.time_ms)
        selected = self.selected(run)
        if not selected.lines or run.runtime_id not in self.runs:
            return found
        self.changed.add(run.runtime_id)
        return found + watch_lines(selected, run.trials[message.trial], message)


def _due_ms(rule: Compiled, one: TrialFold, watch: Watch) -> int | None:
    """Return when a watch fires because time passes; None: it does not as things are."""
    if rule.silence is None:
        return watch.onset_ms + int(rule.hold_ms) if watch.onset_ms is not None else None
    active = one.state.active
    if watch.open_id is not None or active is None or not active.may_write or active.open_evaluation_step is not None:
        return None
    allowed = rule.silence.allowed_ms(watch.detector)
    return watch.detector.last_ms + allowed if allowed else None


def _note(run: RunFold, one: TrialFold, payload: Message, event: RecordedEvent) -> None:
    """Keep of an event of a trial what its state does not."""
    if isinstance(payload, trial_facts.AttemptStarted):
        one.begun[payload.attempt] = event.id
    elif isinstance(payload, trial_facts.AttemptLaunched):
        if payload.appends:
            one.appending.append(payload.attempt)
        if one.state.roll_backs:
            one.turns[payload.attempt] = len(one.state.roll_backs)
    elif isinstance(payload, trial_facts.RetryScheduled):
        one.retries += 1
    elif isinstance(payload, trial_facts.ParametersDeclared) and run.selectable is not None:
        labels = dict(run.selectable.labels) | dict(payload.labels)
        for name in payload.removed_labels:
            labels.pop(name, None)
        parameters = dict(run.selectable.parameters) | {k: v.strip('"') for k, v in payload.parameters.items()}
        run.selectable = replace(
            run.selectable, labels=tuple(sorted(labels.items())), parameters=tuple(sorted(parameters.items()))
        )


def _decoded(event: RecordedEvent) -> Message | None:
    try:
        return codec.decode(event.type, event.body)
    except codec.UnknownEventType:
        return None
