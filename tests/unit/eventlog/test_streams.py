"""Streams at the start of a service: a cluster that is choosing its leader is waited for, a wrong one is not."""

from __future__ import annotations

from typing import Any

import pytest

from milepost.eventlog import LogMisconfigured, LogUnavailable
from milepost.eventlog.nats import streams
from milepost.eventlog.nats.connection import ApiError
from milepost.eventlog.nats.streams import StreamSettings, wait_for_streams


class Server:
    """Has no streams, and answers to each question what it is told to, then as a server does."""

    def __init__(self, *problems: Exception) -> None:
        self._problems = list(problems)
        self.asked = 0
        self.made: dict[str, Any] = {}

    async def request_api(self, subject: str, request: Any = None) -> dict[str, Any]:
        self.asked += 1
        if self._problems:
            raise self._problems.pop(0)
        _, verb, name = subject.split(".", 2)
        if verb == "CREATE":
            self.made[name] = request
        elif name not in self.made:
            raise ApiError(404, 10059, "stream not found")
        return {"config": self.made[name]}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(streams, "_SECONDS_FOR_THE_OTHER", (0.0,) * 4)


async def test_a_stream_that_another_service_is_making_is_taken_though_there_is_no_room_for_two() -> None:
    not_found = ApiError(404, 10059, "stream not found")
    no_room = ApiError(500, 10047, "insufficient storage resources available")
    server = Server(not_found, no_room, not_found, not_found)
    server.made["EVENTS"] = streams.events_configuration(StreamSettings())
    await wait_for_streams(server, StreamSettings())  # type: ignore[arg-type]
    assert server.asked > 4


async def test_a_service_waits_for_a_cluster_that_does_not_answer_yet() -> None:
    not_found = ApiError(404, 10059, "stream not found")
    no_leader = ApiError(503, 10008, "JetStream system temporarily unavailable")
    server = Server(LogUnavailable("no answer within 5 s"), not_found, no_leader)
    await wait_for_streams(server, StreamSettings())  # type: ignore[arg-type]
    assert {"EVENTS", "TELEMETRY"} <= set(server.made)


async def test_it_does_not_wait_for_ever_nor_for_what_a_person_must_mend() -> None:
    silent = Server(*[LogUnavailable("no answer within 5 s")] * 100)
    with pytest.raises(LogUnavailable):
        await wait_for_streams(silent, StreamSettings(), seconds=0.0)  # type: ignore[arg-type]
    not_found = ApiError(404, 10059, "stream not found")
    full = Server(not_found, ApiError(500, 10047, "insufficient storage"), *[not_found] * 4)
    with pytest.raises(LogMisconfigured, match="no room"):
        await wait_for_streams(full, StreamSettings())  # type: ignore[arg-type]
