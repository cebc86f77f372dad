"""Commands at a replica that has not read the whole log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from milepost.domain import runtime
from milepost.errors import NotFound
from milepost.eventlog.memory import MemoryLog
from services.access.authorization import RUNTIMES
from services.runtime.commands.catching_up import CatchUpInterceptor
from services.runtime.decisions import Cause, Decisions
from services.runtime.readmodel.views import Views
from tests.unit.domain.given import NOW
from tests.unit.runtime.world import configuration


class Replica:
    """Answers a command by what it has read of a log in which another replica has put a runtime."""

    def __init__(self, log: MemoryLog) -> None:
        self.views = Views()
        self.asked = 0
        self._log = log
        self._interceptor = CatchUpInterceptor(log, self.views)

    async def find(self, runtime_id: str, context: Any) -> str:
        self.asked += 1
        if runtime_id not in self.views.runtimes:
            raise NotFound(f"there is no runtime {runtime_id}")
        return runtime_id

    async def call(self, method: str, runtime_id: str) -> Any:
        async def continuation(details: Any) -> grpc.RpcMethodHandler:
            return grpc.unary_unary_rpc_method_handler(self.find)

        details = SimpleNamespace(method=RUNTIMES + method)
        handler: Any = await self._interceptor.intercept_service(continuation, details)  # type: ignore[arg-type]
        # It begins to read when the call waits for the first time.
        reading = asyncio.create_task(self.views.follow(self._log))
        try:
            return await handler.unary_unary(runtime_id, None)
        finally:
            reading.cancel()


@pytest.fixture
async def replica() -> AsyncIterator[Replica]:
    log, elsewhere = MemoryLog(lambda: NOW), Views()
    following = asyncio.create_task(elsewhere.follow(log))
    command = runtime.RequestRuntime("rt-1", "text", configuration(), "sha256:a", 1)
    await Decisions(log, elsewhere, lambda: NOW).decide("rt-1", {None: [command]}, Cause("local:ada"))
    yield Replica(log)
    following.cancel()


async def test_a_command_on_what_another_replica_has_made_is_decided_after_reading_on(replica: Replica) -> None:
    assert await replica.call("StopRuntime", "rt-1") == "rt-1"
    assert replica.asked == 2


async def test_a_command_is_refused_at_once_by_who_has_read_everything(replica: Replica) -> None:
    await replica.call("StopRuntime", "rt-1")
    with pytest.raises(NotFound):
        await replica.call("StopRuntime", "rt-2")
    assert replica.asked == 2 + 1


async def test_a_command_that_is_wrong_by_the_whole_log_is_refused(replica: Replica) -> None:
    with pytest.raises(NotFound):
        await replica.call("StopRuntime", "rt-2")
    assert replica.asked == 2


async def test_a_read_says_itself_how_much_must_be_known(replica: Replica) -> None:
    with pytest.raises(NotFound):
        await replica.call("GetRuntime", "rt-1")
    assert replica.asked == 1
