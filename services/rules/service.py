"""RuleService over gRPC: translates between messages, the decider of rules and the ledger."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import Protocol

import grpc.aio

from milepost import names
from milepost.api.config.v1.configuration_pb2 import LAUNCHER_EXTERNAL
from milepost.api.config.v1.rule_pb2 import Rule, Start
from milepost.api.rule.v1 import rule_service_pb2 as api
from milepost.api.rule.v1 import rule_service_pb2_grpc as rpc
from milepost.api.runtime.v1.runtime_service_pb2 import Runtime
from milepost.configuration import canonical_json, comments_are_secret
from milepost.domain import rules
from milepost.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable, Violation
from milepost.ids import TOKEN, uuid7
from milepost.rules import of_runs
from milepost.rules.checks import checked, series_of
from services.access.authentication import current_caller
from services.pages import page_size, read_token, write_token
from services.rpc.limits import fitting
from services.rules.actions.commands import Outcome
from services.rules.actions.starts import check_no_cycle
from services.rules.evaluation.states import SetRule
from services.rules.ledger import Ledger
from services.rules.notifications import Notifications
from services.rules.past.trying import Trial
from services.rules.selection import parse_selector

# Runs that a rule is tried on, and how old they are unless somebody says otherwise.
DEFAULT_TESTED, MAX_TESTED = 200, 10_000
TESTED_TIME = timedelta(days=90)
# Runs whose series are looked at for a warning, how long at most, and how near a name is that may have been meant.
KNOWN_RUNS, KNOWN_SECONDS, NEAR = 20, 2.0, 0.8
USUAL = ("train/", "eval/", "system/")
# Firings that a watcher is told of at once, and how often it is told.
MAX_OPEN, WATCH_SECONDS = 50, 0.25
DEFAULT_PAGE = 100
MAX_PAGE = 1_000
MAX_REQUEST_ID = 128
FORM = "rules/{rule_id}"
ALL = "rules/-"
_NAME = re.compile(rf"rules/({TOKEN.pattern}(?:\.{TOKEN.pattern})?)")


class Curves(Protocol):
    """What is asked of stored points."""

    async def baseline(self, trial: str, series: str) -> tuple[list[int], list[float]]:
        """Read the curve of a trial: steps and values, at most 1,000.

        Raises:
            InvalidArgument: there is no such trial, or it has no such series.
        """
        ...


# Reads the configuration of runs that a rule is to start, in the name of who writes it; see `Commands.resolve`.
Resolve = Callable[[Start, str, str], Awaitable[Runtime]]


class RuleService(rpc.RuleServiceServicer):
    """Commands on rules, and what can be asked of them."""

    def __init__(
        self,
        ledger: Ledger,
        curves: Curves,
        trial: Trial,
        notifications: Notifications,
        resolve: Resolve,
        tried: Callable[[str], tuple[int, Outcome | None]],
    ) -> None:
        self._resolve = resolve
        self._tried = tried
        self._ledger = ledger
        self._curves = curves
        self._trial = trial
        self._notifications = notifications

    # --- commands

    async def CreateRule(
        self, request: api.CreateRuleRequest, context: grpc.aio.ServicerContext
    ) -> api.CreateRuleResponse:
        rule_id = request.rule_id or _new_id(request.request_id)
        violations = []
        if TOKEN.fullmatch(rule_id) is None:
            violations.append(
                Violation("rule_id", "must be 1 to 63 of a-z, 0-9, _ and -, beginning with a letter or digit")
            )
        if len(request.request_id) > MAX_REQUEST_ID:
            violations.append(Violation("request_id", f"must have at most {MAX_REQUEST_ID} characters"))
        rule = await self._checked(request.rule, violations, rule_id)
        warnings = await self._warnings(rule)
        if request.validate_only:
            return api.CreateRuleResponse(rule=rule, warnings=warnings)
        await self._ledger.decide(rules.CreateRule(rule_id, rule, request.request_id), current_caller().actor)
        return api.CreateRuleResponse(rule=self._found(rule_id), warnings=warnings)

    async def UpdateRule(
        self, request: api.UpdateRuleRequest, context: grpc.aio.ServicerContext
    ) -> api.UpdateRuleResponse:
        rule_id = _changeable(request.name)
        rule = await self._checked(request.rule, [], rule_id)
        await self._ledger.decide(rules.UpdateRule(rule_id, rule, request.etag), current_caller().actor)
        return api.UpdateRuleResponse(rule=self._found(rule_id), warnings=await self._warnings(rule))

    async def DisableRule(
        self, request: api.DisableRuleRequest, context: grpc.aio.ServicerContext
    ) -> api.DisableRuleResponse:
        rule_id = _changeable(request.name)
        await self._ledger.decide(rules.DisableRule(rule_id, request.etag), current_caller().actor)
        return api.DisableRuleResponse(rule=self._found(rule_id))

    async def DeleteRule(
        self, request: api.DeleteRuleRequest, context: grpc.aio.ServicerContext
    ) -> api.DeleteRuleResponse:
        rule_id = _changeable(request.name)
        await self._ledger.decide(rules.DeleteRule(rule_id, request.etag), current_caller().actor)
        return api.DeleteRuleResponse()

    async def _checked(self, given: Rule, violations: list[Violation], rule_id: str = "") -> Rule:
        """Judge a rule, and read what it names. `rule_id`: which one it is to be; empty: it is only tried.

        Raises:
            InvalidArgument: with all that is wrong, by field.
            FailedPrecondition: it starts runs which it selects itself.
            PermissionDenied: who writes it may not do what it does.
        """
        try:
            rule = checked(given, parse_selector)
        except InvalidArgument as error:
            raise InvalidArgument([*violations, *error.violations]) from error
        violations += self._notifications.unknown(rule)
        if violations:
            raise InvalidArgument(violations)
        if rule.detector.HasField("baseline"):
            baseline = rule.detector.baseline
            steps, values = await self._curves.baseline(baseline.trial, baseline.series)
            baseline.steps.extend(steps)
            baseline.values.extend(values)
        if rule_id:
            await self._read_starts(rule_id, rule)
        return rule

    async def _read_starts(self, rule_id: str, rule: Rule) -> None:
        owner = current_caller().actor
        for at, action in enumerate(rule.actions):
            if action.WhichOneof("kind") == "start":
                start, place = action.start, f"rule.actions[{at}].start.{action.start.WhichOneof('template')}"
                judged = await self._resolve(start, owner, place)
                resolved = judged.configuration
                if resolved.launcher == LAUNCHER_EXTERNAL:
                    raise InvalidArgument([Violation(place, "is of a script, which Milepost does not start")])
                if comments_are_secret(start.configuration_text, resolved):
                    start.configuration_text = canonical_json(resolved)
                start.resolved_text = judged.resolved_text
        known = {
            other: (kept.rule, self._ledger.provenance[other].owner)
            for other, kept in self._ledger.rules.by_id.items()
            if not kept.deleted
        }
        check_no_cycle(rule_id, {**known, rule_id: (rule, owner)})

    async def _warnings(self, rule: Rule) -> list[str]:
        """Say what is allowed and may be a mistake."""
        series = series_of(rule)
        if not series:
            return []
        count, keys = await self._known_series(rule.selector)
        if series in keys:
            return []
        near = get_close_matches(series, sorted(keys), 1, NEAR)
        silent = "the rule is silent until a run has it"
        if near or (keys and not series.startswith(USUAL)):
            lacks = f"none of the {count} newest runs that it selects has"
            if count == 1:
                lacks = "the newest run that it selects has no"
            return [f"{lacks} {series}" + (f"; did you mean {near[0]}?" if near else f": {silent}")]
        if not series.startswith(USUAL):
            return [f"{series} is none of the usual series ({', '.join(USUAL)}): {silent}"]
        return []

    async def _known_series(self, selector: str) -> tuple[int, set[str]]:
        """Look which series the newest runs have. Where nobody answers in time there are none."""
        try:
            async with asyncio.timeout(KNOWN_SECONDS):
                return await self._trial.known_series(selector, datetime.now(UTC) - TESTED_TIME, KNOWN_RUNS)
        except (Unavailable, TimeoutError):
            return 0, set()

    # --- the past

    async def TestRule(
        self, request: api.TestRuleRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[api.TestRuleResponse]:
        violations: list[Violation] = []
        if not 0 <= request.max_runs <= MAX_TESTED:
            violations.append(Violation("max_runs", f"must be 0 to {MAX_TESTED:,}"))
        start = datetime.now(UTC) - TESTED_TIME
        if request.HasField("start_time"):
            try:
                start = request.start_time.ToDatetime(UTC)
            except (ValueError, OverflowError):
                violations.append(Violation("start_time", "is no time"))
        rule = await self._rule_to_test(request, violations)
        async for response in self._trial.run(rule, start, request.max_runs or DEFAULT_TESTED):
            yield response

    async def _rule_to_test(self, request: api.TestRuleRequest, violations: list[Violation]) -> SetRule:
        """Find the rule that is tried: one of the log, or one that need not be there."""
        if request.WhichOneof("target") == "rule":
            return SetRule("untold", 0, await self._checked(request.rule, violations))
        if violations:
            raise InvalidArgument(violations)
        rule_id = parse_rule(request.name)
        await self._ledger.learn(of_runs.runtime_of(rule_id))
        known = self._found(rule_id)
        kept = self._ledger.rules.get(rule_id)
        return SetRule(rule_id, known.revision, kept.rule if kept is not None else known)

    # --- reads

    async def GetRule(self, request: api.GetRuleRequest, context: grpc.aio.ServicerContext) -> api.GetRuleResponse:
        rule_id = parse_rule(request.name)
        await self._ledger.learn(of_runs.runtime_of(rule_id))
        return api.GetRuleResponse(rule=self._found(rule_id))

    async def ListRules(
        self, request: api.ListRulesRequest, context: grpc.aio.ServicerContext
    ) -> api.ListRulesResponse:
        violations: list[Violation] = []
        size = page_size(request.page_size, DEFAULT_PAGE, MAX_PAGE, violations)
        runtime = names.match_runtime(request.runtime) if request.runtime else None
        if request.runtime and runtime is None:
            violations.append(Violation("runtime", names.refused(request.runtime, names.RUNTIME_FORM)))
        token = read_token(request.page_token, [request.runtime], violations)
        if violations:
            raise InvalidArgument(violations)
        ids = self._ledger.rule_ids() if runtime is None else await self._ids_of(runtime)
        behind = [rule_id for rule_id in ids if token is None or rule_id > str(token[0])]
        shown = fitting([self._found(rule_id) for rule_id in behind[:size]])
        more = len(shown) < len(behind)
        next_token = write_token([request.runtime], [shown[-1].name.removeprefix("rules/")]) if more else ""
        return api.ListRulesResponse(rules=shown, next_page_token=next_token, total_size=len(ids))

    async def _ids_of(self, runtime_id: str) -> list[str]:
        """List the rules of the configuration of a run, by id."""
        return sorted(rule.name.removeprefix("rules/") for rule in await self._ledger.learn(runtime_id))

    async def ListFirings(
        self, request: api.ListFiringsRequest, context: grpc.aio.ServicerContext
    ) -> api.ListFiringsResponse:
        rule_id = await self._parent(request.parent)
        violations: list[Violation] = []
        if request.runtime and names.match_runtime(request.runtime) is None:
            violations.append(Violation("runtime", names.refused(request.runtime, names.RUNTIME_FORM)))
        size = page_size(request.page_size, DEFAULT_PAGE, MAX_PAGE, violations)
        query = [rule_id, request.runtime, request.open_only]
        token = read_token(request.page_token, query, violations)
        if violations:
            raise InvalidArgument(violations)
        matching = [
            firing
            for firing in self._ledger.firings()
            if (not rule_id or firing.fired.rule_id == rule_id)
            and (not request.runtime or firing.runtime == request.runtime)
            and not (request.open_only and (firing.HasField("cleared") or firing.fired.momentary))
            and (token is None or firing.sequence < int(token[0]))
        ]
        shown = fitting([self._with_tries(firing) for firing in matching[:size]])
        next_token = write_token(query, [shown[-1].sequence]) if len(shown) < len(matching) else ""
        return api.ListFiringsResponse(firings=shown, next_page_token=next_token, sequence=self._ledger.sequence)

    async def WatchFirings(
        self, request: api.WatchFiringsRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[api.WatchFiringsResponse]:
        seen = request.after_sequence
        if self._ledger.sequence > seen:
            yield self._open()
        seen = self._ledger.sequence
        yield api.WatchFiringsResponse(caught_up=True, sequence=seen)
        while True:
            # They come in bursts.
            await asyncio.sleep(WATCH_SECONDS)
            if self._ledger.sequence > seen:
                response = self._open()
                seen = response.sequence
                yield response

    def _open(self) -> api.WatchFiringsResponse:
        found = self._ledger.open_firings(MAX_OPEN)
        return api.WatchFiringsResponse(open=found, sequence=found.sequence)

    def _with_tries(self, firing: api.Firing) -> api.Firing:
        """Say of actions that are pending what has come of them until now."""
        if all(action.state != api.ACTION_STATE_PENDING for action in firing.actions):
            return firing
        told = api.Firing()
        told.CopyFrom(firing)
        for action in told.actions:
            tries, last = self._tried(action.action_id)
            if action.state == api.ACTION_STATE_PENDING and last is not None:
                action.attempt_count, action.detail, action.reason = tries, last.detail, last.reason
        return told

    # --- who was told

    async def ListNotifications(
        self, request: api.ListNotificationsRequest, context: grpc.aio.ServicerContext
    ) -> api.ListNotificationsResponse:
        rule_id = await self._parent(request.parent)
        return self._notifications.list(request, rule_id)

    async def RetryNotification(
        self, request: api.RetryNotificationRequest, context: grpc.aio.ServicerContext
    ) -> api.RetryNotificationResponse:
        return await self._notifications.retry(request, current_caller().actor)

    async def ListDestinations(
        self, request: api.ListDestinationsRequest, context: grpc.aio.ServicerContext
    ) -> api.ListDestinationsResponse:
        return self._notifications.destinations()

    async def TestDestination(
        self, request: api.TestDestinationRequest, context: grpc.aio.ServicerContext
    ) -> api.TestDestinationResponse:
        return await self._notifications.test(request)

    async def _parent(self, name: str) -> str:
        """Return the id of a rule that there is or was; empty: all.

        Raises:
            InvalidArgument: it is no such name.
            NotFound: there never was such a rule.
        """
        rule_id = "" if name == ALL else parse_rule(name, "parent", ALL)
        await self._ledger.learn(of_runs.runtime_of(rule_id))
        if rule_id and rule_id not in self._ledger.provenance and self._ledger.rule(rule_id) is None:
            raise NotFound(f"there is no rule {rule_id}, and never was", reason="RULE_NOT_FOUND")
        return rule_id

    def _found(self, rule_id: str) -> Rule:
        rule = self._ledger.rule(rule_id)
        if rule is None:
            raise NotFound(f"there is no rule {rule_id}", reason="RULE_NOT_FOUND")
        return rule


def parse_rule(name: str, field: str = "name", *other_forms: str) -> str:
    """Return the id in the name of a rule.

    Raises:
        InvalidArgument: it is not such a name.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise names.refusal(field, name, FORM, *other_forms)
    return found[1]


def _changeable(name: str) -> str:
    """Return the id of a rule that can be changed.

    Raises:
        FailedPrecondition: it is one of the configuration of a run.
    """
    rule_id = parse_rule(name)
    runtime_id = of_runs.runtime_of(rule_id)
    if runtime_id:
        raise FailedPrecondition(
            f"rule {rule_id} is part of the configuration of {runtime_id}, which does not change; clone the runtime",
            reason="RULE_OF_RUN",
        )
    return rule_id


def _new_id(request_id: str) -> str:
    """Choose the id of a rule: for one request always the same, so that a repeat makes no second one."""
    seed = uuid7().bytes if not request_id else hashlib.sha256(request_id.encode()).digest()[:16]
    return "rule-" + base64.b32hexencode(seed).decode().rstrip("=").lower()
