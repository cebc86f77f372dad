"""What a rule may say: every default filled in, everything that is wrong with it named by its field at once."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from milepost import names, series_names
from milepost.api.config.v1 import rule_pb2 as rules
from milepost.configuration import DURATION_PARAMETERS, parse_text, scalar_text
from milepost.domain.runtime import Phase, Status
from milepost.errors import InvalidArgument, Violation
from milepost.eventlog import codec
from milepost.protojson import enum_words
from milepost.rules import patterns
from milepost.series_names import BadName

MAX_NAME = 200
MAX_ACTIONS = 10
MAX_HOLD_SECONDS = 86_400.0
MAX_FIRINGS = 100
DEFAULT_FIRINGS = 10
MAX_WINDOW = 1_000
MIN_WINDOW = 8
MAX_POINTS = 1_000_000
MAX_LABELS = 64
MAX_LABEL_TEXT = 256
MAX_REMOVED = 250
MAX_TEMPLATE_BYTES = 64 << 10
MAX_PARAMETERS = 100
MAX_FACTOR = 1e6
MAX_BATCHES = 1_000_000_000
DEFAULT_ROLL_BACKS = 3
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,62}")
GRADIENT = "train/grad_norm"
PACE = "system/steps_per_second"
# Words of a status or a phase, as a rule may name them.
STATES = tuple(word.value for word in (*Status, *Phase))
# What the server says of a rule, and whoever sends it cannot.
SAID_BY_SERVER = ("name", "disabled", "owner", "create_time", "update_time", "revision", "etag", "sequence")


class Fields:
    """Looks at the fields of one message, and keeps what is wrong with them."""

    def __init__(self, message: Any, path: str, violations: list[Violation]) -> None:
        self.message = message
        self._path = path
        self._violations = violations

    def refuse(self, field: str, description: str) -> None:
        self._violations.append(Violation(f"{self._path}{field}", description))

    def number(self, field: str, default: float, low: float, high: float, above: bool = False) -> None:
        """Take a number from `low` (above it, with `above`) to `high`; 0 is the default."""
        value = getattr(self.message, field)
        if value == 0 and default:
            setattr(self.message, field, type(value)(default))
        elif not (low < value if above else low <= value) or not value <= high:
            self.refuse(field, f"must be a number {'above' if above else 'from'} {low:g} to {high:,g}, not {value:g}")

    def finite(self, field: str) -> None:
        value = getattr(self.message, field)
        if not math.isfinite(value):
            self.refuse(field, f"must be a finite number, not {value}")

    def series(self, default: str = "", required: bool = True) -> None:
        """Take the key of a series. One that no run has is allowed: it may come."""
        key = self.message.series or default
        if not key and not required:
            return
        try:
            self.message.series = series_names.parse(key)
        except BadName as error:
            self.refuse("series", f"must be a series key such as train/loss: {error}")

    def choice(self, field: str, default: int = 0) -> None:
        """Take a member of a closed set; one that is not set is the default, where there is one."""
        number = getattr(self.message, field) or default
        setattr(self.message, field, number)
        enum = self.message.DESCRIPTOR.fields_by_name[field].enum_type
        words = [word for word in enum_words(enum).values() if word]
        if number not in enum.values_by_number or (not number and field != "direction"):
            self.refuse(field, f"must be one of {', '.join(words)}")


def checked(
    given: rules.Rule, parse_selector: Callable[[str], object] | None = None, path: str = "rule."
) -> rules.Rule:
    """Return a rule with every default filled in, without what the server says of it.

    Args:
        parse_selector: raises `InvalidArgument` where a selector is none. None: the rule has no choice of runs.
        path: of its fields.

    Raises:
        InvalidArgument: with all that is wrong, by field; `rule.detector.threshold.value` is one.
    """
    rule = rules.Rule()
    rule.CopyFrom(given)
    for field in SAID_BY_SERVER:
        rule.ClearField(field)
    violations: list[Violation] = []
    fields = Fields(rule, path, violations)
    if len(rule.display_name) > MAX_NAME or not series_names.is_printable(rule.display_name):
        fields.refuse("display_name", f"must be at most {MAX_NAME} characters without control characters")
    if parse_selector is None:
        if rule.selector:
            fields.refuse("selector", "must be empty: the rules of a configuration watch its run alone")
    else:
        try:
            parse_selector(rule.selector)
        except InvalidArgument as error:
            violations += [Violation(f"{path}selector", violation.description) for violation in error.violations]
    fields.number("hold_seconds", 0.0, 0.0, MAX_HOLD_SECONDS)
    fields.number("max_firings", DEFAULT_FIRINGS, 1, MAX_FIRINGS)
    fields.choice("severity", rules.SEVERITY_WARNING)
    if not rule.HasField("watching_only"):
        rule.watching_only = True
    if len(rule.actions) > MAX_ACTIONS:
        fields.refuse("actions", f"must be at most {MAX_ACTIONS}")
    for at, action in enumerate(rule.actions):
        kind = action.WhichOneof("kind")
        if kind is None:
            fields.refuse(f"actions[{at}]", f"must be one of {', '.join(ACTIONS)}")
        elif kind == "start" and parse_selector is None:
            fields.refuse(
                f"actions[{at}].start", "is for a rule of its own: a run that brings its rules starts no others"
            )
        else:
            getattr(action, kind).SetInParent()
            ACTIONS[kind](Fields(getattr(action, kind), f"{path}actions[{at}].{kind}.", violations))
    _check_detector(rule.detector, fields, violations, path)
    if violations:
        raise InvalidArgument(violations)
    return rule


def _check_detector(detector: rules.Detector, fields: Fields, violations: list[Violation], path: str) -> None:
    kind = detector.WhichOneof("kind")
    if kind is None:
        known = ", ".join(field.name for field in rules.Detector.DESCRIPTOR.oneofs_by_name["kind"].fields)
        fields.refuse("detector", f"must be one of {known}")
        return
    message = getattr(detector, kind)
    # An empty one must still select its field.
    message.SetInParent()
    CHECKS[kind](Fields(message, f"{path}detector.{kind}.", violations))


def _window(fields: Fields, default: int) -> None:
    fields.number("window", default, MIN_WINDOW, MAX_WINDOW)


def _threshold(fields: Fields) -> None:
    fields.series()
    fields.choice("comparison")
    fields.finite("value")


def _change(fields: Fields) -> None:
    fields.series()
    _window(fields, 50)
    fields.number("deviations", 8.0, 0.0, 1_000.0, above=True)
    fields.choice("direction")


def _baseline(fields: Fields) -> None:
    fields.series()
    if names.match_trial(fields.message.trial) is None:
        fields.refuse("trial", names.refused(fields.message.trial, names.TRIAL_FORM))
    fields.number("tolerance", 0.0, 0.0, 1_000.0)
    fields.choice("direction", rules.DIRECTION_UP)
    del fields.message.steps[:]
    del fields.message.values[:]


def _plateau(fields: Fields) -> None:
    fields.series()
    fields.number("window", 200, 2, MAX_POINTS)
    fields.number("min_improvement", 0.0, 0.0, 1.0)
    fields.choice("direction", rules.DIRECTION_DOWN)


def _exploding(fields: Fields) -> None:
    fields.series(GRADIENT)
    fields.number("factor", 10.0, 1.0, 1e12, above=True)
    _window(fields, 50)


def _vanishing(fields: Fields) -> None:
    fields.series(GRADIENT)
    fields.number("below", 1e-7, 0.0, 1e12, above=True)
    fields.number("points", 20, 1, MAX_POINTS)


def _silence(fields: Fields) -> None:
    fields.number("factor", 10.0, 1.0, 1e6, above=True)
    fields.number("min_seconds", 60.0, 1.0, 604_800.0)


def _throughput(fields: Fields) -> None:
    fields.series(PACE)
    fields.number("share", 0.5, 0.0, 1.0, above=True)
    if fields.message.share == 1.0:
        fields.refuse("share", "must be below 1")
    _window(fields, 30)


def _log_pattern(fields: Fields) -> None:
    problem = patterns.problem_with(fields.message.pattern)
    if problem:
        fields.refuse("pattern", problem)


def _event(fields: Fields) -> None:
    if fields.message.type not in codec.TYPES:
        fields.refuse(
            "type", f"is no type of event, such as milepost.trial.attempt_fenced.v1: {fields.message.type[:80]!r}"
        )
    elif fields.message.type.startswith(("milepost.rule.", "milepost.platform.")):
        fields.refuse("type", "must be of a runtime or a trial")


def _state(fields: Fields) -> None:
    wrong = [word[:40] for word in fields.message.states if word not in STATES]
    if wrong or not 1 <= len(fields.message.states) <= len(STATES):
        fields.refuse("states", f"must be one or more of {', '.join(STATES)}")


def _retries(fields: Fields) -> None:
    fields.number("count", 0, 1, 100)


def _estimated_end(fields: Fields) -> None:
    bound = fields.message.WhichOneof("bound")
    if bound is None:
        fields.refuse("bound", "must be one of time, after_seconds")
    elif bound == "after_seconds":
        fields.number("after_seconds", 0.0, 0.0, 1e9, above=True)
    else:
        try:
            fields.message.time.ToDatetime()
        except (ValueError, OverflowError):
            fields.refuse("time", "is no time")


def _gpu_idle(fields: Fields) -> None:
    fields.number("below_percent", 10.0, 0.0, 100.0, above=True)


def _disk_filling(fields: Fields) -> None:
    fields.number("above_percent", 90.0, 0.0, 99.999, above=True)


# One for each member of the closed set of detectors.
CHECKS: dict[str, Callable[[Fields], None]] = {
    "threshold": _threshold,
    "change": _change,
    "baseline": _baseline,
    "plateau": _plateau,
    "exploding_gradient": _exploding,
    "vanishing_gradient": _vanishing,
    "not_finite": lambda fields: fields.series(required=False),
    "silence": _silence,
    "throughput_drop": _throughput,
    "log_pattern": _log_pattern,
    "event": _event,
    "state": _state,
    "retries": _retries,
    "estimated_end": _estimated_end,
    "gpu_idle": _gpu_idle,
    "disk_filling": _disk_filling,
}


def _label(fields: Fields) -> None:
    message = fields.message
    if not message.set and not message.remove:
        fields.refuse("set", "must have a label, or remove one")
    if len(message.set) > MAX_LABELS or len(message.remove) > MAX_LABELS:
        fields.refuse("set", f"must be at most {MAX_LABELS} labels, as remove")
    for key, text in sorted(message.set.items()):
        if not _LABEL.fullmatch(key) or len(text) > MAX_LABEL_TEXT or not series_names.is_printable(text):
            fields.refuse(
                "set", f"{key[:80]!r} is no label: 1 to 63 letters, digits, _ . / -, and up to 256 characters"
            )
        elif key in message.remove:
            fields.refuse("remove", f"{key!r} is set, too")
    for key in message.remove:
        if not 1 <= len(key) <= MAX_REMOVED:
            fields.refuse("remove", f"a key has 1 to {MAX_REMOVED} characters")


def _start(fields: Fields) -> None:
    fields.message.ClearField("resolved_text")
    template = fields.message.WhichOneof("template")
    if template is None:
        fields.refuse("configuration_text", "is required, or runtime")
    elif template == "runtime" and names.match_runtime(fields.message.runtime) is None:
        fields.refuse("runtime", names.refused(fields.message.runtime, names.RUNTIME_FORM))
    elif len(fields.message.configuration_text.encode()) > MAX_TEMPLATE_BYTES:
        fields.refuse("configuration_text", f"must be at most {MAX_TEMPLATE_BYTES:,} bytes")


def _roll_back(fields: Fields) -> None:
    message = fields.message
    fields.number("margin_steps", 0, 0, MAX_BATCHES)
    fields.number("skip_batches", 0, 0, MAX_BATCHES)
    fields.number("max_times", DEFAULT_ROLL_BACKS, 1, MAX_FIRINGS)
    if len(message.parameters) > MAX_PARAMETERS or len(message.factors) > MAX_PARAMETERS:
        fields.refuse("parameters", f"must be at most {MAX_PARAMETERS}, as factors")
    for name, text in sorted(message.parameters.items()):
        if not is_scalar(name, text):
            fields.refuse(
                "parameters", f"{name[:80]!r}: {text[:80]!r} is no value as it would stand in a configuration"
            )
        elif name in DURATION_PARAMETERS:
            fields.refuse("parameters", f"{name!r} says how long to train, which a roll back does not change")
        elif name in message.factors:
            fields.refuse("factors", f"{name[:80]!r} is in parameters, too")
    for name, factor in sorted(message.factors.items()):
        if not 0 < factor <= MAX_FACTOR:
            fields.refuse("factors", f"{name[:80]!r} must be above 0 and at most {MAX_FACTOR:,.0f}")


def is_scalar(name: str, text: str) -> bool:
    """Return whether a text is the value of one parameter, as it would stand in a configuration."""
    try:
        read = parse_text(f"{scalar_text(name)}: {text}")
    except InvalidArgument:
        return False
    return list(read) == [name] and isinstance(read[name], str | int | float | bool)


# One for each member of the closed set of actions. Whether a destination is known says the file of the operator.
ACTIONS: dict[str, Callable[[Fields], None]] = {
    "notify": lambda fields: None,
    "label": _label,
    "snapshot": lambda fields: None,
    "stop": lambda fields: None,
    "start": _start,
    "roll_back": _roll_back,
}


def series_of(rule: rules.Rule) -> str:
    """Name the series that a rule watches; empty: none, or any."""
    kind = rule.detector.WhichOneof("kind")
    return str(getattr(getattr(rule.detector, kind), "series", "")) if kind else ""
