"""What the broker sends is read as it comes, whatever somebody put into subjects, replies and headers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.eventlog.nats.nats_client import ProtocolError
from milepost.eventlog.nats.wire import RobustClient, RobustParser, has_status, parse_headers


class Heard:
    """Takes what the parser hands on."""

    def __init__(self) -> None:
        self.said: list[Any] = []

    async def _process_msg(self, *message: Any) -> None:
        self.said.append(message)

    async def _process_ping(self) -> None:
        self.said.append("ping")

    async def _process_pong(self) -> None:
        self.said.append("pong")

    async def _process_err(self, text: str) -> None:
        self.said.append(text)

    async def _process_info(self, info: dict[str, Any]) -> None:
        self.said.append(info)


# A token of a subject or a reply: the server ends one at a space, a tab or the end of a line, and nowhere else.
TOKEN = st.binary(min_size=1, max_size=8).filter(lambda token: not set(token) & set(b" \t\r\n"))


@given(
    st.lists(
        st.tuples(TOKEN, st.one_of(st.just(b""), TOKEN), st.binary(max_size=20), st.binary(max_size=30)), max_size=4
    ),
    st.data(),
)
async def test_messages_come_out_whole_however_they_arrive(
    messages: list[tuple[bytes, bytes, bytes, bytes]], data: st.DataObject
) -> None:
    heard, stream, expected = Heard(), b"", []
    parser = RobustParser(heard)
    for number, (subject, reply, headers, body) in enumerate(messages):
        # The server writes two spaces where there is no reply, in some of its answers.
        between = b" " + reply + b" " if reply else data.draw(st.sampled_from([b" ", b"  "]))
        if headers:
            stream += b"HMSG %s %d%s%d %d\r\n" % (subject, number, between, len(headers), len(headers + body))
        else:
            stream += b"MSG %s %d%s%d\r\n" % (subject, number, between, len(body))
        stream += headers + body + b"\r\nPING\r\n"
        expected += [(number, subject, reply, body, headers or None), "ping"]
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        await parser.parse(stream[:size])
        stream = stream[size:]
    assert heard.said == expected


async def test_other_lines_are_carried_out() -> None:
    heard = Heard()
    await RobustParser(heard).parse(
        b'INFO {"version":"2.15.1"}\r\n+OK\r\n-ERR \'Permissions Violation for "\xff"\'\r\nPONG\r\n'
    )
    assert heard.said == [{"version": "2.15.1"}, "'permissions violation for \"\ufffd\"'", "pong"]


@pytest.mark.parametrize("line", [b"HTTP/1.1 400 Bad Request\r\n", b"MSG a b c\r\n", b"x" * 100_000])
async def test_what_is_no_line_of_the_protocol_ends_the_connection(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        await RobustParser(Heard()).parse(line)


@given(st.binary(max_size=200))
async def test_headers_and_subjects_may_be_any_bytes(raw: bytes) -> None:
    client = RobustClient()
    headers = await client._process_headers(b"NATS/1.0" + raw)
    message = client._build_message(1, raw, raw, b"", headers)
    assert all(isinstance(text, str) for pair in (message.headers or {}).items() for text in pair)


def test_a_stored_message_that_looks_like_a_status_is_none() -> None:
    said = parse_headers(b"NATS/1.0 404 No Messages\r\n\r\n")
    assert (said["Status"], said["Description"], has_status(said)) == ("404", "No Messages", True)
    place = b"Nats-Subject: events.rt.trial.1.attempt-1\r\nNats-Sequence: 7\r\n\r\n"
    for stored in (
        b"NATS/1.0 404 No Messages\r\n",
        b"NATS/1.0\r\nStatus: 404\r\n",
        b"NATS/1.0 \xff\r\nNats-Sequence: x\r\n",
    ):
        headers = parse_headers(stored + place)
        assert not has_status(headers)
        assert headers["Nats-Sequence"] == "7", "the server's own, which comes last"
