"""The Python client against a real server: errors keep their reason and violations, and what breaks is tried again."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from typing import Any

import grpc.aio
import pytest

from milepost import client as client_module
from milepost import errors
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.api.runtime.v1 import runtime_service_pb2_grpc as runtime_grpc
from milepost.cli.local import ports
from milepost.client import Client
from milepost.installation.endpoints import Endpoints
from services.server import Server


class Scripted(runtime_grpc.RuntimeServiceServicer):
    """Answers with what it was told, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.error: Exception | None = None
        self.break_after: int | None = None

    async def StartRuntime(
        self, request: runtime_api.StartRuntimeRequest, context: grpc.aio.ServicerContext
    ) -> runtime_api.StartRuntimeResponse:
        self.asked.append((request, dict(context.invocation_metadata() or ())))
        if self.error is not None:
            raise self.error
        return runtime_api.StartRuntimeResponse(runtime=runtime_api.Runtime(runtime_id="rt-1", name="runtimes/rt-1"))

    async def WatchRuntimes(
        self, request: runtime_api.WatchRuntimesRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[runtime_api.WatchRuntimesResponse]:
        self.asked.append(request)
        for sequence in range(request.after_sequence + 1, 7):
            if self.break_after == sequence - 1:
                self.break_after = None
                raise errors.Unavailable("the log is away for a moment")
            yield runtime_api.WatchRuntimesResponse(runtime=runtime_api.Runtime(sequence=sequence), sequence=sequence)


class Running:
    """A server in a thread with an event loop of its own."""

    def __init__(self, listen: str, servicer: Scripted) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

        async def well() -> str | None:
            return None

        async def start() -> Server:
            server = Server(
                listen,
                lambda grpc_server: runtime_grpc.add_RuntimeServiceServicer_to_server(servicer, grpc_server),
                ["milepost.api.runtime.v1.RuntimeService"],
                well,
            )
            await server.start()
            return server

        self._server: Server = self._call(start()).result(30)
        self.port = self._server.port

    def _call(self, coroutine: Any) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def stop(self) -> None:
        self._call(self._server.stop()).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def servicer() -> Scripted:
    return Scripted()


@pytest.fixture
def client(servicer: Scripted) -> Iterator[Client]:
    running = Running("127.0.0.1:0", servicer)
    with Client(Endpoints(runtime=f"127.0.0.1:{running.port}")) as connected:
        yield connected
    running.stop()


def test_an_invalid_argument_brings_every_violation(client: Client, servicer: Scripted) -> None:
    violations = (errors.Violation("name", "is too long"), errors.Violation("parameters.x", "is no scalar"))
    servicer.error = errors.InvalidArgument(violations)

    with pytest.raises(errors.InvalidArgument) as raised:
        client.start_runtime("name: x")

    assert raised.value.violations == violations


@pytest.mark.parametrize("kind", [errors.NotFound, errors.FailedPrecondition, errors.ResourceExhausted, errors.Aborted])
def test_an_error_keeps_its_kind_reason_and_metadata(
    client: Client, servicer: Scripted, kind: type[errors.MilepostError]
) -> None:
    servicer.error = kind("said by the server", reason="SPECIAL", metadata={"runtime": "rt-9"})

    with pytest.raises(kind, match="said by the server") as raised:
        client.start_runtime("name: x")

    assert (raised.value.reason, raised.value.metadata) == ("SPECIAL", {"runtime": "rt-9"})


def test_a_fault_of_the_server_shows_an_incident_and_no_internals(client: Client, servicer: Scripted) -> None:
    servicer.error = ZeroDivisionError("secret detail")

    with pytest.raises(errors.MilepostError, match="incident") as raised:
        client.start_runtime("name: x")

    assert "secret" not in str(raised.value)


def test_a_start_carries_a_request_id_and_who_asks(client: Client, servicer: Scripted) -> None:
    client.start_runtime("name: x")

    request, metadata = servicer.asked[0]
    assert request.request_id
    assert metadata["mp-actor"].startswith("local:")


def test_a_call_waits_for_a_service_that_starts_again(servicer: Scripted) -> None:
    port = ports.choose([ports.Wanted("any", "127.0.0.1", 0, explicit=False)])["any"]
    started: list[Running] = []
    later = threading.Timer(0.5, lambda: started.append(Running(f"127.0.0.1:{port}", servicer)))
    later.start()
    try:
        with Client(Endpoints(runtime=f"127.0.0.1:{port}")) as connected:
            assert connected.start_runtime("name: x").runtime_id == "rt-1"
    finally:
        later.join()
        for running in started:
            running.stop()


def test_nothing_listening_says_how_to_start_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "RETRY_SECONDS", 0.2)
    with Client(Endpoints(runtime="127.0.0.1:1")) as connected:
        with pytest.raises(errors.Unavailable, match="milepost up"):
            connected.start_runtime("name: x")


def test_closing_the_client_ends_a_watch_in_another_thread(client: Client, servicer: Scripted) -> None:
    ended: list[Exception] = []

    def watch() -> None:
        try:
            for _ in client.watch_runtime("runtimes/rt-1"):
                pass
        except client_module.ClientClosed as error:
            ended.append(error)

    watcher = threading.Thread(target=watch)
    watcher.start()
    client.close()
    watcher.join(30)

    assert len(ended) == 1


def test_a_broken_watch_goes_on_after_the_last_change_it_gave(client: Client, servicer: Scripted) -> None:
    servicer.break_after = 3
    seen = []
    for runtime in client.watch_runtime("runtimes/rt-1"):
        seen.append(runtime.sequence)
        if runtime.sequence == 6:
            break

    assert seen == [1, 2, 3, 4, 5, 6]
    assert [request.after_sequence for request in servicer.asked] == [0, 3]
