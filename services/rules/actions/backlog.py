"""What is to be done, and what was: a fold of the rules' chains, in the order of the log."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from milepost.api.config.v1.rule_pb2 import Action, Rule
from milepost.api.event.v1 import rule_events_pb2 as facts
from milepost.api.rule.v1 import rule_service_pb2 as api

PENDING = api.ACTION_STATE_PENDING
TAKEN = api.ACTION_STATE_TAKEN
FAILED = api.ACTION_STATE_FAILED
# Runs that rules have started and of which it is known which did, the newest ones.
MAX_STARTED = 100_000
# A rule that starts a run, which starts one ... of so many.
MAX_ANCESTORS = 1_000


@dataclass(frozen=True, slots=True)
class Due:
    """One action of one firing that is to be carried out."""

    # 32 hex digits: the same at each try.
    id: str
    # Which one of the rule, from 1.
    number: int
    action: Action
    runtime_id: str
    fired: facts.RuleFired
    # Who had written the rule when it fired.
    owner: str
    # When the firing was recorded, and the event that says so.
    time: datetime
    cause: str

    @property
    def kind(self) -> str:
        return self.action.WhichOneof("kind") or ""


def action_id(firing_id: str, number: int) -> str:
    """Return the id of an action of a firing. 32 hex digits."""
    return hashlib.sha256(f"{firing_id}\naction {number}".encode()).hexdigest()[:32]


class Backlog:
    """Actions that are to be carried out, by id, oldest first; and which rule has started which run."""

    def __init__(self) -> None:
        self.pending: OrderedDict[str, Due] = OrderedDict()
        # Run that was started -> the rule that did so, and the run in which it had fired.
        self._started: OrderedDict[str, tuple[str, str]] = OrderedDict()

    # --- reading

    def ancestors(self, runtime_id: str) -> Iterator[str]:
        """Yield the rules behind a run: the one that started it, the one that started the run where that fired, and so on."""
        for _ in range(MAX_ANCESTORS):
            if runtime_id not in self._started:
                return
            rule_id, runtime_id = self._started[runtime_id]
            yield rule_id

    # --- folding

    def fired(
        self, runtime_id: str, fired: facts.RuleFired, rule: Rule | None, owner: str, time: datetime, event_id: str
    ) -> list[api.FiringAction]:
        """A rule fired; `rule` is what it said then, None where it is another one by now. Returns what is to follow."""
        if fired.watching_only or rule is None:
            return []
        found = []
        for number, action in enumerate(rule.actions, start=1):
            if action.WhichOneof("kind") in (None, "notify"):
                continue
            due = Due(action_id(fired.firing_id, number), number, action, runtime_id, fired, owner, time, event_id)
            self.pending[due.id] = due
            found.append(api.FiringAction(action_id=due.id, number=number, kind=due.kind, state=PENDING, owner=owner))
        return found

    def ended(self, fact: facts.ActionTaken | facts.ActionFailed, runtime_id: str) -> api.FiringAction:
        """It was carried out, or given up. Returns what is to be shown of it."""
        self.pending.pop(fact.action_id, None)
        shown = api.FiringAction(
            action_id=fact.action_id, number=fact.number, kind=fact.kind, owner=fact.owner,
            attempt_count=fact.attempt_count, detail=fact.detail,
        )  # fmt: skip
        if isinstance(fact, facts.ActionFailed):
            shown.state, shown.reason = FAILED, fact.reason
            return shown
        shown.state, shown.runtime = TAKEN, fact.runtime
        if fact.runtime:
            self._started[fact.runtime.removeprefix("runtimes/")] = (fact.rule_id, runtime_id)
            if len(self._started) > MAX_STARTED:
                self._started.popitem(last=False)
        return shown
