"""Imported runtimes as the runtime service answers for them: views of their own, folded from their bundle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc.aio

from milepost.api.audit.v1 import audit_service_pb2 as audit_api
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.bundle import Bundle, verify_bundle
from milepost.errors import InvalidArgument, Violation
from milepost.eventlog import SUBJECTS, Appended, EventRefused, Head, LogMessage, NewEvent, RecordedEvent, chain_of
from milepost.eventlog.memory import matches
from services.readmodel.imports import Import, Imports, ImportSeam, Part, Routing
from services.rpc.limits import ANSWER_BYTES, fitting
from services.runtime.audit.service import AuditService
from services.runtime.audit.verification import Sources, compare_models
from services.runtime.readmodel import listing
from services.runtime.readmodel.events import Events
from services.runtime.readmodel.messages import runtime_message
from services.runtime.readmodel.queries import RuntimeQueries
from services.runtime.readmodel.view import RuntimeView, summarize
from services.runtime.readmodel.views import Views

RUNTIME = api.DESCRIPTOR.services_by_name["RuntimeService"]
AUDIT = audit_api.DESCRIPTOR.services_by_name["AuditService"]
READS = frozenset(
    {"GetRuntime", "ListRuntimes", "WatchRuntimes", "ListSnapshots", "ListLineage", "ListEvents", "WatchEvents"}
)
AUDIT_READS = frozenset(method.name for method in AUDIT.methods)
# Page tokens of `ListRuntimes` behind the last runtime of this installation.
_TOKEN = "imported-"
_BLOCK = 256 << 10


class BundleLog:
    """The events of a bundle as a log that nobody can write to. They keep the sequences of the log they come from."""

    def __init__(self, bundle: Bundle) -> None:
        self._events = bundle.events
        self._last = bundle.sequence

    async def append(self, events: Sequence[NewEvent], expected: Sequence[Head]) -> Appended:
        raise EventRefused("an imported log cannot be written to")

    async def head(self, chain: str) -> Head:
        return next((event.head for event in reversed(self._events) if chain_of(event.subject) == chain), Head(chain))

    async def read_chain(self, chain: str) -> list[RecordedEvent]:
        return [event for event in self._events if chain_of(event.subject) == chain]

    async def read(
        self, after: int = 0, until: int | None = None, subjects: Sequence[str] = (SUBJECTS,)
    ) -> AsyncIterator[LogMessage]:
        for event in self._events:
            if after < event.sequence and (until is None or event.sequence <= until):
                if matches(event.subject, subjects):
                    yield event

    async def follow(self, after: int = 0, subjects: Sequence[str] = (SUBJECTS,)) -> AsyncIterator[LogMessage]:
        async for event in self.read(after, None, subjects):
            yield event
        # Nothing will ever be added.
        await asyncio.Event().wait()

    async def last_sequence(self) -> int:
        return self._last

    async def close(self) -> None:
        """There is nothing to close."""


@dataclass(frozen=True, slots=True)
class ImportedRuntime:
    """Who answers for one imported runtime."""

    record: Import
    view: RuntimeView
    queries: RuntimeQueries
    audit: AuditService


class ImportedAudit(AuditService):
    """Any past moment of an imported runtime, and proof that its bundle is whole."""

    def __init__(self, events: Events, sources: Sources, folder: Path, bundle: Bundle) -> None:
        super().__init__(events, sources, folder)
        self._bundle = bundle

    async def VerifyLog(
        self, request: audit_api.VerifyLogRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[audit_api.VerifyLogResponse]:
        findings, count, runtime_id = await asyncio.to_thread(verify_bundle, self._bundle.path)
        wrong = [finding for finding in findings if finding.is_open]
        verdict = audit_api.VerifyLogResponse(
            checked_events=count, total_events=count, finished=True, valid=not wrong, digest=self._bundle.sha256
        )
        verdict.message = f"{count:,} imported events: " + (
            wrong[0].message if wrong else "the chains are unbroken, the files are as listed"
        )
        for finding in findings:
            verdict.findings.add(
                kind=finding.kind,
                sequence=finding.sequence,
                subject=finding.subject,
                message=finding.message,
                tolerated=finding.tolerated,
            )
        if request.include_read_models:
            differing = await compare_models(self._sources, runtime_id)
            verdict.findings.extend(differing)
            wrong_models = [finding for finding in differing if not finding.tolerated]
            verdict.valid = verdict.valid and not wrong_models
            verdict.message += f"; {wrong_models[0].message}" if wrong_models else "; read models equal"
        yield verdict

    async def ExportBundle(
        self, request: audit_api.ExportBundleRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[audit_api.ExportBundleResponse]:
        """Give the bundle on as it came: its digest is the one that others may have noted."""
        with self._bundle.path.open("rb") as file:
            while block := file.read(_BLOCK):
                yield audit_api.ExportBundleResponse(chunk=block)


def imports_of(data_dir: Path, sources: Sources, refused: dict[str, str]) -> Imports[ImportedRuntime]:
    """Follow the imports of a data directory. `sources` are those of this installation; `refused` is kept up to date."""

    async def open_one(record: Import) -> ImportedRuntime:
        return await asyncio.to_thread(_open, record, sources, data_dir)

    def is_ours(runtime_id: str) -> bool:
        return runtime_id in sources.views.runtimes

    return Imports(data_dir, open_one, is_ours=is_ours, refused=refused)


def _open(record: Import, sources: Sources, folder: Path) -> ImportedRuntime:
    views = Views()
    for event in record.bundle.events:
        views.apply(event)
    views.sequence = record.bundle.sequence
    log = BundleLog(record.bundle)
    events = Events(log, views)
    audit = ImportedAudit(events, replace(sources, event_log=log, views=views), folder, record.bundle)
    return ImportedRuntime(record, views.runtimes[record.bundle.runtime_id], RuntimeQueries(views, events), audit)


class RuntimeRouting(Routing):
    """RuntimeService over the runtimes of this installation and the imported ones."""

    def __init__(self, own: Any, imports: Mapping[str, ImportedRuntime]) -> None:
        self._imports = imports
        super().__init__(RUNTIME, own, Part(imports, "queries"), READS)

    async def StartRuntime(self, request: api.StartRuntimeRequest, context: grpc.aio.ServicerContext) -> Any:
        if request.runtime_id in self._imports:
            raise InvalidArgument([Violation("runtime_id", "is the id of an imported runtime")])
        return await self.own.StartRuntime(request, context)

    async def GetRuntime(self, request: api.GetRuntimeRequest, context: grpc.aio.ServicerContext) -> Any:
        answer = await self.servicer(request, "GetRuntime", True).GetRuntime(request, context)
        self._mark(answer.runtime)
        return answer

    async def ListRuntimes(self, request: api.ListRuntimesRequest, context: grpc.aio.ServicerContext) -> Any:
        """Those of this installation first, then the imported ones, newest first. Counts are of the former."""
        size = request.page_size or listing.DEFAULT_PAGE
        if request.page_token.startswith(_TOKEN):
            first = request.page_token.removeprefix(_TOKEN)
            if not first.isdigit():
                raise InvalidArgument([Violation("page_token", "is not one that was given for this query")])
            asked = api.ListRuntimesRequest()
            asked.CopyFrom(request)
            asked.page_token, asked.page_size = "", 1
            answer = await self.own.ListRuntimes(asked, context)
            answer.ClearField("runtimes")
            answer.ClearField("next_page_token")
            start = int(first)
        else:
            answer = await self.own.ListRuntimes(request, context)
            start = 0
        foreign = [] if request.HasField("as_of") else self._listed(request.filter)
        answer.total_size += len(foreign)
        room = size - len(answer.runtimes)
        if foreign[start:] and not answer.next_page_token:
            left = ANSWER_BYTES - answer.ByteSize()
            shown = fitting((self._message(one) for one in foreign[start : start + room]), left, bool(answer.runtimes))
            answer.runtimes.extend(shown)
            if len(foreign) > start + len(shown):
                answer.next_page_token = f"{_TOKEN}{start + len(shown)}"
        return answer

    def _listed(self, text: str) -> list[ImportedRuntime]:
        accepts = listing.parse_predicate(text)
        chosen = [one for one in self._imports.values() if accepts(summarize(one.view))]
        return sorted(chosen, key=lambda one: one.record.time, reverse=True)

    async def WatchRuntimes(
        self, request: api.WatchRuntimesRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[api.WatchRuntimesResponse]:
        if not request.name and not request.after_sequence:
            # Nothing changes about them, so only whoever begins to watch is told.
            for one in self._listed(request.filter):
                yield api.WatchRuntimesResponse(runtime=self._message(one))
        async for answer in self.servicer(request, "WatchRuntimes", True).WatchRuntimes(request, context):
            self._mark(answer.runtime)
            yield answer

    def _message(self, one: ImportedRuntime) -> api.Runtime:
        message = runtime_message(one.view)
        message.imported.CopyFrom(one.record.message())
        return message

    def _mark(self, message: api.Runtime) -> None:
        mark(message, self._imports)


class AuditRouting(Routing):
    """AuditService over the runtimes of this installation and the imported ones."""

    def __init__(self, own: Any, imports: Mapping[str, ImportedRuntime]) -> None:
        self._imports = imports
        super().__init__(AUDIT, own, Part(imports, "audit"), AUDIT_READS)

    async def GetStateAt(self, request: audit_api.GetStateAtRequest, context: grpc.aio.ServicerContext) -> Any:
        answer = await self.servicer(request, "GetStateAt", True).GetStateAt(request, context)
        mark(answer.runtime, self._imports)
        return answer


def seam_of(imports: Mapping[str, ImportedRuntime], runtimes: Any, audit: Any) -> ImportSeam:
    """Return where the server of these servicers takes notice of imported runtimes."""
    return ImportSeam(imports, RuntimeRouting(runtimes, imports), AuditRouting(audit, imports))


def mark(message: api.Runtime, imports: Mapping[str, ImportedRuntime]) -> None:
    """Say of an imported runtime that it is one."""
    one = imports.get(message.runtime_id)
    if one is not None:
        message.imported.CopyFrom(one.record.message())
