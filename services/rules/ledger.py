"""Rules and firings as the log has them, and the one way by which this service appends to it."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from google.protobuf.message import Message

from milepost.api.config.v1.rule_pb2 import Rule
from milepost.api.event.v1 import rule_events_pb2 as facts
from milepost.api.event.v1 import runtime_events_pb2 as runtime_facts
from milepost.api.rule.v1 import rule_service_pb2 as api
from milepost.domain import firings, rules
from milepost.domain.decider import Fact, fold
from milepost.domain.firings import Firings
from milepost.errors import Aborted, FailedPrecondition, Unavailable
from milepost.eventlog import (
    RULES_SUBJECT,
    Appended,
    EventLog,
    Head,
    LogMessage,
    LogUnavailable,
    NewEvent,
    RecordedEvent,
    WrongExpectedSequence,
    codec,
    firings_subject,
    parse_subject,
    runtime_subject,
)
from milepost.ids import new_event_id
from milepost.installation import observability
from milepost.rules import of_runs
from services.readmodel.waiting import Waiters
from services.rules.actions.backlog import Backlog
from services.rules.deliveries.outbox import Outbox
from services.rules.evaluation.own import own_rules

log = logging.getLogger(__name__)

FIRED = codec.type_of(facts.RuleFired())
REQUESTED = codec.type_of(runtime_facts.RuntimeRequested())

# Both kinds of chain: that of the rules is one of `platform`.
SUBJECTS = ("events.*.rules",)
SOURCE = "/services/rules"
# Who evaluates.
EVALUATOR = "service:rules"
# Firings that can be listed, the newest ones; all of them are in the log.
MAX_LISTED = 20_000
# Runs whose own rules are kept at hand.
MAX_OWN = 1_000
# Chains of firings that are kept folded.
MAX_CHAINS = 256
# Tries to win against another writer, and of an append without an answer.
MAX_ROUNDS = 8
MAX_SENDS = 3
# How long a command waits until the fold has what it brought about.
WAIT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Provenance:
    """Who wrote a rule last, and when."""

    owner: str
    create_time: datetime
    update_time: datetime
    sequence: int
    # Of the event `RuleSet`.
    event_id: str


class Ledger:
    """What the log says about rules, and what is appended about them.

    `follow` folds both kinds of chain for ever. Commands are decided on the fold and appended against its head, again where
    somebody was faster.
    """

    def __init__(self, event_log: EventLog, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._log = event_log
        self._clock = clock
        self._lock = asyncio.Lock()
        self._waiters = Waiters()
        # Why nothing is folded: what has followed the log ended, and has not begun again.
        self._ended = ""
        self._head = Head(RULES_SUBJECT)
        # Where the fold stands in the log.
        self.sequence = 0
        self.rules = rules.initial
        self.provenance: dict[str, Provenance] = {}
        # Runtime -> the rules that its configuration has, by id.
        self._own: OrderedDict[str, dict[str, Rule]] = OrderedDict()
        # A newer version wrote to the chain of the rules: this one cannot decide on it.
        self._undecidable = ""
        # Subject -> the head of a chain of firings and its fold, those used last at the end.
        self._chains: OrderedDict[str, tuple[Head, Firings]] = OrderedDict()
        # By id of the firing, oldest first.
        self._firings: OrderedDict[str, api.Firing] = OrderedDict()
        # Those of them, and of older ones, that are not over.
        self._open: OrderedDict[str, api.Firing] = OrderedDict()
        self.outbox = Outbox()
        self.backlog = Backlog()

    # --- folding

    async def catch_up(self) -> None:
        """Fold what is in the log now."""
        async for message in self._log.read(after=self.sequence, subjects=SUBJECTS):
            await self._learn_of(message)
            self._apply(message)

    async def follow(self) -> None:
        """Fold everything after what is folded, then each new event, for ever. Its end fails those who wait for it."""
        self._ended = ""
        try:
            async for message in self._log.follow(after=self.sequence, subjects=SUBJECTS):
                await self._learn_of(message)
                self._apply(message)
                self._waiters.wake()
        finally:
            self._ended = f"nothing follows the log of the rules after {self.sequence}"
            self._waiters.fail(Unavailable(self._ended, reason="READ_MODEL_ENDED"))

    async def _learn_of(self, message: LogMessage) -> None:
        """Have the rules of a run at hand, where one of them has fired."""
        if isinstance(message, RecordedEvent) and message.type == FIRED:
            fired = codec.decode(message.type, message.body)
            if isinstance(fired, facts.RuleFired):
                await self.learn(of_runs.runtime_of(fired.rule_id))

    def _apply(self, message: LogMessage) -> None:
        self.sequence = message.sequence
        subject = parse_subject(message.subject)
        if not isinstance(message, RecordedEvent):
            if subject.is_platform:
                self._head = Head(RULES_SUBJECT, message.sequence, self._head.version, self._head.hash)
            return
        if subject.is_platform:
            self._head = message.head
        try:
            payload = codec.decode(message.type, message.body)
        except codec.UnknownEventType as error:
            if subject.is_platform:
                self._undecidable = str(error)
            log.warning("event.skipped", extra={"sequence": message.sequence, "type": message.type[:200]})
            return
        if subject.is_platform:
            self._apply_to_rules(payload, message)
        else:
            self._apply_to_firings(subject.runtime_id, payload, message)

    def _apply_to_rules(self, payload: Message, event: RecordedEvent) -> None:
        self.rules = rules.evolve(self.rules, Fact(payload))
        if isinstance(payload, facts.RuleSet):
            known = self.provenance.get(payload.rule_id)
            before = known if known is not None and payload.revision > 1 else None
            created = before.create_time if before is not None else event.recorded_time
            self.provenance[payload.rule_id] = Provenance(
                event.actor, created, event.recorded_time, event.sequence, event.id
            )

    def _apply_to_outbox(self, runtime_id: str, payload: Message, event: RecordedEvent) -> None:
        outbox, time = self.outbox, event.recorded_time
        match payload:
            case facts.RuleFired():
                outbox.fired(runtime_id, payload, self.rule(payload.rule_id), time, event.id, event.sequence)
            case facts.RuleCleared():
                outbox.cleared(payload, time, event.id, event.sequence)
            case facts.NotificationDelivered():
                outbox.delivered(payload, time, event.sequence)
            case facts.NotificationFailed():
                outbox.failed(payload, time, event.sequence)
            case facts.NotificationRetried():
                outbox.retried(payload, time, event.id, event.sequence)

    def _actions_of(self, runtime_id: str, fired: facts.RuleFired, event: RecordedEvent) -> list[api.FiringAction]:
        """Put on the backlog what a firing brings about: what the rule said that fired, in the name of who wrote it."""
        rule = self.rule(fired.rule_id)
        if rule is None or rule.revision != fired.revision or rule.disabled:
            return []
        return self.backlog.fired(runtime_id, fired, rule, rule.owner, event.recorded_time, event.id)

    def _apply_to_firings(self, runtime_id: str, payload: Message, event: RecordedEvent) -> None:
        self._apply_to_outbox(runtime_id, payload, event)
        if isinstance(payload, facts.ActionTaken | facts.ActionFailed):
            shown = self.backlog.ended(payload, runtime_id)
            firing = self._firings.get(payload.firing_id)
            for action in firing.actions if firing is not None else ():
                if action.action_id == shown.action_id:
                    action.CopyFrom(shown)
        elif isinstance(payload, facts.RuleFired) and payload.firing_id not in self._firings:
            firing = api.Firing(
                runtime=f"runtimes/{runtime_id}", fired=payload, event_id=event.id, sequence=event.sequence,
                actions=self._actions_of(runtime_id, payload, event),
            )  # fmt: skip
            firing.record_time.FromDatetime(event.recorded_time)
            self._firings[payload.firing_id] = firing
            if not payload.momentary:
                self._open[payload.firing_id] = firing
            if len(self._firings) > MAX_LISTED:
                self._firings.popitem(last=False)
        elif isinstance(payload, facts.RuleCleared):
            self._open.pop(payload.firing_id, None)
            if payload.firing_id in self._firings:
                self._firings[payload.firing_id].cleared.CopyFrom(payload)

    async def wait_for(self, sequence: int) -> None:
        """Return when everything of the chains up to a position is folded.

        Raises:
            Unavailable: it did not come in time, or what follows the log has ended.
        """
        if self._ended and self.sequence < sequence:
            raise Unavailable(self._ended, reason="READ_MODEL_ENDED")
        if not await self._waiters.wait(lambda: self.sequence >= sequence, WAIT_SECONDS):
            raise Unavailable(
                f"the rules are folded up to {self.sequence} and did not reach {sequence} in time",
                reason="READ_MODEL_BEHIND",
            )

    async def settled(self, runtime_id: str) -> None:
        """Return when everything is folded that was found in a runtime until now."""
        await self.wait_for((await self._log.head(firings_subject(runtime_id))).sequence)

    # --- reading

    def rule(self, rule_id: str) -> Rule | None:
        """Describe a rule; None: there is none, or it was deleted. One of a run is known once `learn` was called."""
        runtime_id = of_runs.runtime_of(rule_id)
        if runtime_id:
            return self._own.get(runtime_id, {}).get(rule_id)
        kept = self.rules.get(rule_id)
        if kept is None:
            return None
        known = self.provenance[rule_id]
        rule = Rule()
        rule.CopyFrom(kept.rule)
        rule.name = f"rules/{rule_id}"
        rule.display_name = rule.display_name or rule_id
        rule.disabled, rule.revision, rule.etag = kept.disabled, kept.revision, kept.etag
        rule.owner, rule.sequence = known.owner, known.sequence
        rule.create_time.FromDatetime(known.create_time)
        rule.update_time.FromDatetime(known.update_time)
        return rule

    def rule_ids(self) -> list[str]:
        """List the rules that are not deleted, by id."""
        return sorted(rule_id for rule_id, kept in self.rules.by_id.items() if not kept.deleted)

    async def learn(self, runtime_id: str) -> list[Rule]:
        """Return the rules that a run has brought with its configuration; of none (`runtime_id` empty) there are none.

        Raises:
            LogUnavailable: the log did not answer.
        """
        if not runtime_id:
            return []
        if runtime_id not in self._own:
            async for message in self._log.read(0, None, (runtime_subject(runtime_id),)):
                if isinstance(message, RecordedEvent) and message.type == REQUESTED:
                    self._own[runtime_id] = _own_of(runtime_id, message)
                break
            if len(self._own) > MAX_OWN:
                self._own.popitem(last=False)
        return list(self._own.get(runtime_id, {}).values())

    def firings(self) -> Iterable[api.Firing]:
        """Yield firings, newest first."""
        return reversed(self._firings.values())

    def open_firings(self, most: int) -> api.OpenFirings:
        """Describe what is open: how much, and the newest of it."""
        newest = islice(reversed(self._open.values()), most)
        return api.OpenFirings(name="firings/-", count=len(self._open), firings=newest, sequence=self.sequence)

    # --- appending

    async def decide(self, command: object, actor: str) -> None:
        """Decide a command on the rules. Returns once the fold has what it brought about.

        Raises:
            MilepostError: what the decider raises; nothing was appended.
            Aborted: another writer was faster every time.
            LogUnavailable: the log did not answer; the events may be stored.
            Unavailable: the events are stored, and the fold does not have them in time.
        """
        async with self._lock:
            for _ in range(MAX_ROUNDS):
                if self._undecidable:
                    raise FailedPrecondition(
                        f"a newer version of Milepost wrote to the rules ({self._undecidable})",
                        reason="UNKNOWN_EVENT_TYPE",
                    )
                decided = rules.decide(self.rules, command)
                if not decided:
                    return
                try:
                    appended = await self._append(RULES_SUBJECT, decided, actor, "", self._head)
                    await self.wait_for(appended.sequences[-1])
                    return
                except WrongExpectedSequence as error:
                    await self.wait_for((await self._log.head(error.chain)).sequence)
        raise Aborted(f"others changed the rules faster, {MAX_ROUNDS} times; try again")

    async def record(self, runtime_id: str, command: object, cause: str = "", actor: str = EVALUATOR) -> bool:
        """Append a fact about rules in a runtime, once, whoever has said it before. Returns whether it was new.

        Raises:
            Aborted: another writer was faster every time.
            LogUnavailable: the log did not answer; say it again.
        """
        subject = firings_subject(runtime_id)
        for _ in range(MAX_ROUNDS):
            # What is kept is right only if the append says so.
            known = self._chains.pop(subject) if subject in self._chains else None
            head, state = known if known is not None else await self._read(subject)
            decided = firings.decide(state, command)
            if decided:
                try:
                    appended = await self._append(subject, decided, actor, cause, head)
                except WrongExpectedSequence as error:
                    log.info("firing.conflict", extra={"chain": error.chain, "expected": error.expected})
                    continue
                head, state = appended.heads[subject], fold(firings.evolve, state, map(Fact, decided))
            elif (await self._log.head(subject)).sequence != head.sequence:
                # Somebody else has written since it was folded.
                continue
            self._chains[subject] = (head, state)
            if len(self._chains) > MAX_CHAINS:
                self._chains.popitem(last=False)
            return bool(decided)
        raise Aborted(f"others wrote on {subject} faster, {MAX_ROUNDS} times")

    async def _read(self, subject: str) -> tuple[Head, Firings]:
        head = await self._log.head(subject)
        return head, fold(firings.evolve, firings.initial, _facts(await self._log.read_chain(subject)))

    async def first_of_rules(self) -> int:
        """Return the position from which any rule that there is watches, also one of a run; 0: there is none."""
        first = await self._first_of_live_rules()
        async for message in self._log.read(0, None, (runtime_subject("*"),)):
            if first and message.sequence >= first:
                break
            if isinstance(message, RecordedEvent) and message.type == REQUESTED and _own_of("any", message):
                return message.sequence
        return first

    async def _first_of_live_rules(self) -> int:
        state, last = rules.initial, dict[str, int]()
        for event in await self._log.read_chain(RULES_SUBJECT):
            for fact in _facts([event]):
                state = rules.evolve(state, fact)
                if isinstance(fact.payload, facts.RuleSet):
                    last[fact.payload.rule_id] = event.sequence
        return min((last[rule_id] for rule_id, kept in state.by_id.items() if not kept.deleted), default=0)

    async def _append(self, subject: str, payloads: Sequence[Message], actor: str, cause: str, head: Head) -> Appended:
        events = [self._event(subject, payload, actor, cause) for payload in payloads]
        for send in range(1, MAX_SENDS + 1):
            try:
                return await self._log.append(events, [head])
            except LogUnavailable:
                if send == MAX_SENDS:
                    raise
        raise AssertionError("unreachable")

    def _event(self, subject: str, payload: Message, actor: str, cause: str) -> NewEvent:
        ce_type, body = codec.encode(payload)
        return NewEvent(
            subject=subject,
            type=ce_type,
            body=body,
            id=new_event_id(),
            time=self._clock(),
            source=SOURCE,
            actor=actor,
            cause=cause,
            traceparent=observability.current_traceparent(),
        )


def _own_of(runtime_id: str, event: RecordedEvent) -> dict[str, Rule]:
    """Describe the rules that a run has brought, by id."""
    requested = codec.decode(event.type, event.body)
    assert isinstance(requested, runtime_facts.RuntimeRequested), "its type says so"
    found = {}
    for rule_id, own in own_rules(runtime_id, requested.configuration).items():
        rule = found[rule_id] = own.rule
        rule.name, rule.revision, rule.etag = f"rules/{rule_id}", own.revision, str(own.revision)
        rule.owner, rule.sequence = event.actor, event.sequence
        rule.create_time.FromDatetime(event.recorded_time)
        rule.update_time.FromDatetime(event.recorded_time)
    return found


def _facts(events: Iterable[RecordedEvent]) -> list[Fact]:
    found: list[Fact] = []
    for event in events:
        try:
            found.append(Fact(codec.decode(event.type, event.body)))
        except codec.UnknownEventType:
            continue
    return found
