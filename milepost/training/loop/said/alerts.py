"""What training code wants somebody to know: a fact of the trial, which rules and people see."""

from __future__ import annotations

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.security.redaction import Redactor
from milepost.series_names import is_printable
from milepost.training.loop.host import Host

LEVELS = {"info": facts.ALERT_LEVEL_INFO, "warning": facts.ALERT_LEVEL_WARNING, "error": facts.ALERT_LEVEL_ERROR}
MAX_TITLE = 200
MAX_TEXT = 1_000
# Of one attempt; who raises one at every step has been heard.
MAX_ALERTS = 100


class Alerts:
    """Raises the alerts of one attempt. Nothing that is wrong with one ends a training."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._count = 0

    def alert(self, title: str, text: str, level: str, step: int) -> None:
        """Record an alert; too many, and what is none, is said instead."""
        if level not in LEVELS:
            self._host.warn(
                "alert:level", f"an alert has level {', '.join(LEVELS)}, not {level!r}; it counts as a warning"
            )
        if self._count == MAX_ALERTS:
            self._host.warn(
                "alert:count", f"more than {MAX_ALERTS} alerts were raised; the further ones are not recorded"
            )
            return
        self._count += 1
        redactor = Redactor(self._host.launch.configuration.not_secret)
        shown_title = redactor.text(_printable(str(title), MAX_TITLE)) or "alert"
        shown = redactor.text(_printable(str(text), MAX_TEXT))
        self._host.report(
            facts.AlertRaised(
                attempt=self._host.launch.attempt,
                kind=facts.ALERT_KIND_CODE,
                step=step,
                message=f"{shown_title}: {shown}" if shown else shown_title,
                title=shown_title,
                level=LEVELS.get(level, facts.ALERT_LEVEL_WARNING),
            )
        )
        if redactor.found:
            self._host.warn(redactor.said, redactor.said)


def _printable(text: str, longest: int) -> str:
    """Return a text on one line, and not too long."""
    line = text if is_printable(text) else "".join(c if is_printable(c) else " " for c in text)
    return line.strip()[:longest]
