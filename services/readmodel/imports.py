"""Runtimes of other installations, shown here from their bundles.

An imported runtime never enters the log of this installation: its facts are none of ours. The bundle itself is kept, byte
for byte, as `imports/<runtime>.zip` in the data directory, with `imports/<runtime>.json` beside it: who imported it and
when. Each service checks the file again whenever it opens it, folds the events of the bundle by themselves, with their
own sequences and hashes, and answers reads from that. A command on an imported runtime is refused.

`ImportSeam` is the one seam of a server: an interceptor, which lets calls through untouched while nothing is imported.
Then it asks the `Routing` of the service, which picks by the name in the request who answers.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

import grpc.aio
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message

from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.bundle import Bundle, NotABundle, imports_folder, open_import
from milepost.errors import FailedPrecondition, InvalidArgument, MilepostError, Violation
from services.rpc.handlers import wrap
from services.supervision import Supervision

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
# Fields of requests that name a runtime or something of one.
NAMING = ("name", "parent", "names", "parents")
_RUNTIME = re.compile(r"runtimes/(?P<id>[a-z0-9][a-z0-9_-]{0,62})(?:/|$)")

Opened = TypeVar("Opened")


@dataclass(frozen=True, slots=True)
class Import:
    """A bundle of this installation's folder, and who brought it here when."""

    bundle: Bundle
    time: datetime
    actor: str

    def message(self) -> runtime_api.Imported:
        message = runtime_api.Imported(
            imported_by=self.actor, events_sequence=self.bundle.sequence, sha256=self.bundle.sha256
        )
        message.import_time.FromDatetime(self.time)
        message.export_time.FromDatetime(self.bundle.created)
        return message


def read_import(path: Path) -> Import:
    """Verify a bundle of the folder and read it, and what stands beside it. Raises as `open_import`."""
    return Import(*open_import(path))


class Imports(Mapping[str, Opened], Generic[Opened]):
    """What a service has made of each imported runtime, by its id. It follows the folder.

    Args:
        open_one: makes what answers for an imported runtime.
        close_one: lets go of it again.
        is_ours: tells a runtime of this installation: a bundle of one is not shown beside it.
        refused: gets why a bundle of the folder is not shown, by the id of its runtime.
    """

    def __init__(
        self,
        data_dir: Path,
        open_one: Callable[[Import], Awaitable[Opened]],
        close_one: Callable[[Opened], Awaitable[None]] | None = None,
        is_ours: Callable[[str], bool] = lambda runtime_id: False,
        refused: dict[str, str] | None = None,
    ) -> None:
        self._folder = imports_folder(data_dir)
        self._open_one = open_one
        self._close_one = close_one
        self._is_ours = is_ours
        self._opened: dict[str, Opened] = {}
        # What each file was when it was looked at last: one that cannot be opened is tried again when it changes.
        self._seen: dict[str, tuple[int, int]] = {}
        self.refused = refused if refused is not None else {}

    def __getitem__(self, runtime_id: str) -> Opened:
        return self._opened[runtime_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._opened)

    def __len__(self) -> int:
        return len(self._opened)

    def running(self, supervision: Supervision) -> AbstractAsyncContextManager[asyncio.Task[None]]:
        """Follow the folder for the length of a block."""
        return supervision.running("imports", self.run)

    async def run(self) -> None:
        """Follow the folder for ever."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Open what is new in the folder, and let go of what is gone or was changed."""
        found = await asyncio.to_thread(self._files)
        for runtime_id in [known for known, seen in self._seen.items() if found.get(known) != seen]:
            del self._seen[runtime_id]
            self.refused.pop(runtime_id, None)
            opened = self._opened.pop(runtime_id, None)
            if opened is not None and self._close_one is not None:
                await self._close_one(opened)
        for runtime_id, mark in sorted(found.items()):
            if runtime_id not in self._seen and not self._is_ours(runtime_id):
                await self._open(runtime_id, mark)

    def _files(self) -> dict[str, tuple[int, int]]:
        found = {}
        for path in self._folder.glob("*.zip"):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            found[path.stem] = (status.st_mtime_ns, status.st_size)
        return found

    async def _open(self, runtime_id: str, mark: tuple[int, int]) -> None:
        self._seen[runtime_id] = mark
        try:
            record = await asyncio.to_thread(read_import, self._folder / f"{runtime_id}.zip")
            self._opened[runtime_id] = await self._open_one(record)
        except (NotABundle, OSError, MilepostError) as error:
            self.refused[runtime_id] = str(error)
            log.error("import.refused", extra={"runtime": runtime_id, "error": str(error)})
            return
        except Exception as error:
            # What a bundle may hold is somebody else's: whatever is wrong with it costs this import, not the service.
            self.refused[runtime_id] = (
                f"{self._folder / runtime_id}.zip cannot be opened: {type(error).__name__}: {error}"
            )
            log.exception("import.refused", extra={"runtime": runtime_id, "error": self.refused[runtime_id]})
            return
        log.info("import.opened", extra={"runtime": runtime_id, "events": len(record.bundle.events)})


class Part(Mapping[str, Any]):
    """One attribute of what stands for each imported runtime: the servicer of one service."""

    def __init__(self, imports: Mapping[str, Any], part: str) -> None:
        self._imports = imports
        self._part = part

    def __getitem__(self, runtime_id: str) -> Any:
        return getattr(self._imports[runtime_id], self._part)

    def __iter__(self) -> Iterator[str]:
        return iter(self._imports)

    def __len__(self) -> int:
        return len(self._imports)


def runtimes_in(request: Message) -> set[str]:
    """Name the runtimes that a request is about; empty: none, or all."""
    found = set()
    for field in request.DESCRIPTOR.fields:
        if field.name in NAMING:
            value = getattr(request, field.name)
            for name in value if field.is_repeated else (value,):
                match = _RUNTIME.match(name)
                if match is not None:
                    found.add(match["id"])
    return found


def refuse_change(runtime_id: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"runtime {runtime_id} ran in another installation and was imported: it can be read, and not changed",
        reason="RUNTIME_IMPORTED",
    )


class Routing:
    """Answers in place of a servicer, which it asks unless a request is about an imported runtime.

    Subclasses define methods of their own for requests that are about runtimes of both kinds.

    Args:
        own: answers for this installation.
        imported: who answers for each imported runtime.
        reads: methods that an imported runtime has; all others are refused for one.
    """

    def __init__(
        self, service: ServiceDescriptor, own: Any, imported: Mapping[str, Any], reads: frozenset[str]
    ) -> None:
        self.service = service
        self.own = own
        self.imported = imported
        for method in service.methods:
            if not hasattr(self, method.name):
                route = self._stream if method.server_streaming else self._unary
                setattr(self, method.name, route(method.name, method.name in reads))

    def servicer(self, request: Message, method: str, is_read: bool) -> Any:
        """Choose who answers.

        Raises:
            FailedPrecondition: it would change an imported runtime.
            InvalidArgument: it is about imported runtimes together with others.
        """
        runtimes = runtimes_in(request)
        foreign = runtimes & self.imported.keys()
        if not foreign:
            return self.own
        if not is_read:
            raise refuse_change(min(foreign))
        if len(runtimes) > 1:
            text = "imported runtimes and those of this installation are asked for one by one"
            raise InvalidArgument([Violation("parents", text)])
        return self.imported[min(foreign)]

    def _unary(self, method: str, is_read: bool) -> Any:
        async def call(request: Any, context: grpc.aio.ServicerContext) -> Any:
            return await getattr(self.servicer(request, method, is_read), method)(request, context)

        return call

    def _stream(self, method: str, is_read: bool) -> Any:
        async def call(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
            async for response in getattr(self.servicer(request, method, is_read), method)(request, context):
                yield response

        return call


class ImportSeam(grpc.aio.ServerInterceptor):
    """Innermost: where this server takes notice of imported runtimes. Its servicers know nothing of them.

    Args:
        imports: those of this server. While there has been none since the start, every call goes to its servicer.
        routings: who answers instead, one for each service that shows imported runtimes.
    """

    def __init__(self, imports: Mapping[str, Any], *routings: Routing) -> None:
        self._imports = imports
        self._has_begun = False
        self._methods = {
            f"/{routing.service.full_name}/{method.name}": getattr(routing, method.name)
            for routing in routings
            for method in routing.service.methods
        }

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        handler = await continuation(handler_call_details)
        # For good: somebody may still hold the token of a page of imported runtimes.
        self._has_begun = self._has_begun or bool(self._imports)
        method = self._methods.get(handler_call_details.method)
        if handler is None or method is None or not self._has_begun:
            return handler
        return wrap(handler, unary=lambda behaviour: method, stream=lambda behaviour: method)
