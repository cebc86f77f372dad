"""How a notification gets to a destination: a request of HTTP, signed, or whatever apprise knows. All of it blocks."""

from __future__ import annotations

import http.client
import importlib.util
import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from milepost.api.event.v1 import rule_events_pb2 as facts
from milepost.domain.firings import RecordDelivered, RecordFailed
from milepost.security.egress import AddressRefused, Egress
from milepost.security.terminal import one_line
from services.rules.deliveries.destinations import Destination, SecretMissing, problem_of_url, resolve, signing_key
from services.rules.deliveries.messages import Notification, chat_line, cloud_event, link_of, title

# Without a word from the other side.
SILENCE_SECONDS = 10.0
MAX_ANSWER_BYTES = 1_000
MAX_WAIT_SECONDS = 3_600.0
# The receiver will take nothing any more, says Standard Webhooks.
GONE = 410


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one try ended."""

    delivered: bool
    # Of HTTP. 0: there was no answer, or another transport.
    status_code: int = 0
    # What the receiver said, or why nobody was told. At most 1,000 characters, one line.
    detail: str = ""
    # It makes no sense to try it again.
    final: bool = False
    # What the receiver asks to wait. 0: nothing.
    wait_seconds: float = 0.0


class Transports:
    """Carries notifications to addresses that `egress` allows. `page` is the address of the gateway; empty: unknown."""

    def __init__(self, egress: Egress, page: str = "", silence_seconds: float = SILENCE_SECONDS) -> None:
        self._egress = egress
        self._page = page
        self._silence_seconds = silence_seconds

    def send(self, told: Notification, to: Destination) -> Outcome:
        """Try once. Blocks; raises nothing that a destination can bring about."""
        try:
            return self._by_apprise(told, to) if to.apprise else self._by_http(told, to)
        except (SecretMissing, AddressRefused) as error:
            # The operator can mend it within the day.
            return Outcome(False, detail=_short(str(error)))

    def _by_http(self, told: Notification, to: Destination) -> Outcome:
        url = resolve(to.url)
        problem = problem_of_url(url)
        if problem:
            return Outcome(False, detail=_short(f"its URL: {problem}"))
        document = chat_line(told, self._page) if to.format == "slack" else cloud_event(told, self._page)
        body = json.dumps(document, ensure_ascii=False, allow_nan=False)
        request = urllib.request.Request(url, data=body.encode(), headers=_headers(told, to, body), method="POST")
        try:
            with self._egress.open(request, self._silence_seconds) as answer:
                return Outcome(True, answer.status, _short(answer.read(MAX_ANSWER_BYTES).decode("utf-8", "replace")))
        except urllib.error.HTTPError as error:
            with error:
                return _refused(error, self._silence_seconds)
        except (OSError, http.client.HTTPException, ValueError) as error:
            return Outcome(False, detail=_short(f"no answer: {_reason(error)}"))

    def _by_apprise(self, told: Notification, to: Destination) -> Outcome:
        if importlib.util.find_spec("apprise") is None:
            return Outcome(
                False, detail="apprise is not installed beside the rule service: pip install 'milepost[notify]'"
            )
        import apprise  # of the extra `notify`, which a service without such destinations does not load

        sender = apprise.Apprise()
        if not sender.add(resolve(to.apprise)):
            return Outcome(False, detail="apprise does not know this kind of address", final=True)
        lines = filter(None, (told.fired.message, link_of(told, self._page)))
        delivered = sender.notify(title=title(told), body="\n".join(lines))
        return Outcome(
            bool(delivered), detail="" if delivered else "apprise could not send it; the service's log says why"
        )


def _headers(told: Notification, to: Destination, body: str) -> dict[str, str]:
    if to.format == "slack":
        return {"Content-Type": "application/json", "User-Agent": "milepost"}
    headers = {"Content-Type": "application/cloudevents+json", "User-Agent": "milepost", "webhook-id": told.id}
    now = datetime.now(UTC)
    headers["webhook-timestamp"] = str(int(now.timestamp()))
    if to.secret:
        from standardwebhooks import Webhook

        headers["webhook-signature"] = Webhook(signing_key(resolve(to.secret))).sign(told.id, now, body)
    return headers


def _refused(error: urllib.error.HTTPError, seconds: float) -> Outcome:
    try:
        said = error.read(MAX_ANSWER_BYTES).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        said = ""
    if 300 <= error.code < 400:
        said = "redirects are not followed; name the address that it leads to"
    detail = _short(f"answered {error.code}: {said or error.reason}")
    return Outcome(False, error.code, detail, error.code == GONE, _wait(error.headers.get("Retry-After", "")))


def _wait(header: str) -> float:
    if header.isascii() and header.isdigit():
        return min(float(header[:9]), MAX_WAIT_SECONDS)
    try:
        until = parsedate_to_datetime(header)
    except ValueError:
        return 0.0
    seconds = (until.astimezone(UTC) - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), MAX_WAIT_SECONDS)


def _reason(error: Exception) -> object:
    return error.reason if isinstance(error, urllib.error.URLError) else error


def _short(text: str) -> str:
    return one_line(text.strip())[:1000]


def ended(told: Notification, outcome: Outcome, tries: int) -> RecordDelivered | RecordFailed:
    """Return what is recorded of a notification that is not tried any more."""
    fact = facts.NotificationDelivered() if outcome.delivered else facts.NotificationFailed()
    fact.notification_id, fact.destination = told.id, told.destination
    fact.firing_id, fact.rule_id = told.fired.firing_id, told.fired.rule_id
    fact.attempt_count, fact.status_code = tries, outcome.status_code
    fact.cleared = told.cleared is not None
    if isinstance(fact, facts.NotificationDelivered):
        fact.receipt = outcome.detail
        return RecordDelivered(fact)
    fact.detail = outcome.detail
    return RecordFailed(fact)
