"""Requests as a receiver sees them, and every answer that one can give."""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from standardwebhooks import Webhook

from milepost.security.egress import Egress
from services.rules.deliveries.destinations import Destination
from services.rules.deliveries.messages import CLEARED, FIRED, Notification, cloud_event
from services.rules.deliveries.transports import Outcome, Transports
from tests.support.receiver import Answer, Receiver
from tests.unit.rules.deliveries.samples import RUNTIME, fired, told

SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()
OPEN = Egress.of("private")


def sent(answer: Answer, notification: Notification | None = None, **fields: Any) -> tuple[Outcome, Receiver]:
    with Receiver(answer).running() as receiver:
        to = Destination("oncall", **{"url": f"{receiver.url}/hook", **fields})
        transports = Transports(OPEN, "http://page.example/", silence_seconds=1.0)
        return transports.send(notification or told(), to), receiver


def test_a_cloud_event_is_signed_as_standard_webhooks_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONCALL", SECRET)
    outcome, receiver = sent(Answer(200, body=b"  taken\n"), secret="env:ONCALL")
    assert outcome == Outcome(True, 200, "taken")
    (request,) = receiver.received
    event = Webhook(SECRET).verify(request.body, request.headers)
    assert request.headers["content-type"] == "application/cloudevents+json"
    assert (event["specversion"], event["type"], event["id"]) == ("1.0", FIRED, request.headers["webhook-id"])
    assert event["subject"] == f"runtimes/{RUNTIME}"
    assert event["data"]["link"] == f"http://page.example/runtimes/{RUNTIME}"
    assert event["data"]["firing"]["step"] == 1200
    assert datetime.fromisoformat(event["time"]).tzinfo is not None


def test_an_end_has_a_type_and_an_id_of_its_own() -> None:
    over = cloud_event(told(cleared=True), "")
    assert over["type"] == CLEARED
    assert over["id"] != cloud_event(told(), "")["id"]
    assert over["data"]["title"].startswith("over: [critical] ")
    assert "link" not in over["data"]
    assert re.fullmatch("[0-9a-f]{32}", over["id"])


def test_a_chat_gets_one_text_in_which_nothing_is_a_command() -> None:
    outcome, receiver = sent(Answer(200, body=b"ok"), format="slack")
    assert outcome.delivered
    text = json.loads(receiver.received[0].body)["text"]
    assert text.startswith("[critical] loss &lt;too&gt; high in rt-")
    assert "webhook-id" not in receiver.received[0].headers


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        (Answer(500, body=b"busy\x1b[31m"), 500, "answered 500: busy"),
        (Answer(302, {"Location": "http://127.0.0.1:1/"}), 302, "redirects are not followed"),
        (Answer(404), 404, "answered 404: Not Found"),
        (Answer(silent=True), 0, "no answer: "),
        (Answer(seconds=1.5), 0, "no answer: "),
    ],
)
def test_what_is_no_success_is_tried_again(answer: Answer, status: int, said: str) -> None:
    outcome, receiver = sent(answer)
    assert (outcome.delivered, outcome.final, outcome.status_code) == (False, False, status)
    assert said in outcome.detail
    assert outcome.detail.isprintable()
    assert len(receiver.received) == 1, "nothing follows a redirect"


def test_a_receiver_may_end_it_or_ask_to_wait() -> None:
    assert sent(Answer(410))[0].final
    assert sent(Answer(429, {"Retry-After": "17"}))[0].wait_seconds == 17
    assert sent(Answer(503, {"Retry-After": "999999999999"}))[0].wait_seconds == 3600
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=100))
    assert 50 < sent(Answer(503, {"Retry-After": soon}))[0].wait_seconds <= 100
    assert sent(Answer(503, {"Retry-After": "soon"}))[0].wait_seconds == 0


def test_a_long_answer_is_read_to_its_thousandth_byte() -> None:
    outcome, _ = sent(Answer(200, body=b"x" * 10_000_000))
    assert (outcome.delivered, len(outcome.detail)) == (True, 1000)


def test_addresses_that_are_not_allowed_and_secrets_that_are_away_wait_for_the_operator() -> None:
    with Receiver().running() as receiver:
        refused = Transports(Egress.of("public")).send(told(), Destination("a", url=receiver.url))
        unset = Transports(OPEN).send(told(), Destination("a", url=receiver.url, secret="env:NOT_SET_ANYWHERE"))
        wrong = Transports(OPEN).send(told(), Destination("a", url="env:PATH"))
        assert receiver.received == []
    assert "the setting egress" in refused.detail
    assert "NOT_SET_ANYWHERE is not set" in unset.detail
    assert "its URL: expected http" in wrong.detail
    assert not any(outcome.delivered or outcome.final for outcome in (refused, unset, wrong))


def test_apprise_tells_whatever_it_knows() -> None:
    with Receiver(Answer(200)).running() as receiver:
        address = receiver.url.replace("http://", "json://")
        outcome = Transports(OPEN, "http://page.example").send(told(), Destination("mail", apprise=address))
        assert outcome.delivered, outcome
        body = json.loads(receiver.received[0].body)
    assert body["title"].startswith("[critical] loss")
    assert f"http://page.example/runtimes/{RUNTIME}" in body["message"]
    unknown = Transports(OPEN).send(told(), Destination("mail", apprise="nothing-of-the-kind"))
    assert unknown.final
    assert not unknown.delivered


def test_what_is_said_of_a_run_is_one_line_without_control_characters() -> None:
    notification = told()
    notification.fired.CopyFrom(fired(message="a\x1b[2Jb\nc"))
    outcome, receiver = sent(Answer(), notification, format="slack")
    assert outcome.delivered
    assert "\x1b" not in json.loads(receiver.received[0].body)["text"]
