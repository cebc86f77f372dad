"""Imported trials as the trial service answers for them: folded from the events and batches of their bundle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC
from pathlib import Path
from typing import Any

import grpc.aio
from google.protobuf.json_format import ParseDict

from milepost import names
from milepost.api.event.v1.recorded_event_pb2 import AsOf
from milepost.api.trial.v1 import trial_service_pb2 as api
from milepost.bundle import Bundle
from milepost.errors import OutOfRange
from milepost.eventlog.telemetry import parse_telemetry_subject
from services.readmodel.imports import Import, Imports, Routing, runtimes_in
from services.readmodel.moments import past_the_end
from services.rpc.limits import ANSWER_BYTES, fitting
from services.trials.live import Listener
from services.trials.queries import Scope, page_size_of
from services.trials.readmodel.view import IssuedEstimate, Key, nanoseconds
from services.trials.readmodel.views import Views
from services.trials.service import TrialService, check_compared, differing_parameters

SERVICE = api.DESCRIPTOR.services_by_name["TrialService"]
READS = frozenset(method.name for method in SERVICE.methods)


class BundleViews:
    """What `LiveViews` is for a running installation: views at the end of a bundle, and at any moment before."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self.views, self.moment = self._fold(AsOf())

    async def wait_for(self, events: int = 0, telemetry: int = 0) -> None:
        """Nothing more will come; what is asked for is there or never will be.

        Raises:
            OutOfRange: the bundle does not go that far.
        """
        for what, last, asked in (
            ("the log of the bundle", self._bundle.sequence, events),
            ("TELEMETRY of the bundle", self._bundle.telemetry_sequence, telemetry),
        ):
            if asked > last:
                raise past_the_end(what, last, asked)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Nothing changes, so nobody is ever called."""
        return lambda: None

    async def at(self, as_of: AsOf, scope: Scope, from_log: bool = False) -> tuple[Views, int]:
        """Return the views as of a moment, always folded from nothing, and that moment in nanoseconds since 1970.

        Raises:
            OutOfRange: the moment lies behind the end of the bundle.
        """
        return await asyncio.to_thread(self._fold, as_of)

    def _fold(self, as_of: AsOf) -> tuple[Views, int]:
        bundle, views = self._bundle, Views()
        until = as_of.events_sequence or bundle.sequence
        if until > bundle.sequence:
            raise OutOfRange(f"the bundle ends at {bundle.sequence}", reason="PAST_THE_END")
        moment = nanoseconds(as_of.time.ToDatetime(UTC)) if as_of.HasField("time") else 0
        for event in bundle.events:
            if event.sequence > until or (moment and nanoseconds(event.recorded_time) > moment):
                break
            views.apply_event(event)
        # A lone sequence of events means: telemetry that was there by then.
        if as_of.events_sequence and not as_of.telemetry_sequence:
            moment = views.events_time
        for batch in bundle.batches:
            if as_of.telemetry_sequence and batch.sequence > as_of.telemetry_sequence:
                break
            if moment and batch.time > moment:
                break
            runtime_id, number, attempt, _ = parse_telemetry_subject(batch.subject)
            views.apply_telemetry(batch.sequence, batch.time, Key(runtime_id, number), attempt, batch.headers)
        views.events_sequence = max(views.events_sequence, as_of.events_sequence)
        if not as_of.ByteSize():
            views.events_sequence, views.telemetry_sequence = bundle.sequence, bundle.telemetry_sequence
        return views, moment or max(views.events_time, views.telemetry_time)


class ImportedTrials(TrialService):
    """Reads of imported trials. Time has stopped where the bundle was made."""

    def __init__(self, bundle: Bundle, folded: BundleViews) -> None:
        super().__init__(folded, lambda: folded.moment)
        self._estimates = bundle.estimates

    def _given(self, key: Key) -> Sequence[IssuedEstimate]:
        """Those that the bundle has: what was estimated depended on what had been read by then."""
        kept = ParseDict(self._estimates.get(str(key.trial), {}), api.ListEstimatesResponse())
        return [
            IssuedEstimate(
                one.time.ToNanoseconds(),
                one.attempt,
                one.step,
                one.finish_time.ToNanoseconds(),
                one.finish_time_low.ToNanoseconds(),
                one.finish_time_high.ToNanoseconds(),
            )
            for one in kept.estimates
        ]


def imports_of(data_dir: Path, own: Views) -> Imports[TrialService]:
    """Follow the imports of a data directory. `own`: the views of this installation."""

    async def open_one(record: Import) -> TrialService:
        folded = await asyncio.to_thread(BundleViews, record.bundle)
        return ImportedTrials(record.bundle, folded)

    return Imports(data_dir, open_one, is_ours=lambda runtime_id: runtime_id in own.runtimes)


class TrialRouting(Routing):
    """TrialService over the trials of this installation and the imported ones."""

    def __init__(self, own: TrialService, imports: Mapping[str, TrialService]) -> None:
        super().__init__(SERVICE, own, imports, READS)

    async def ListTrials(self, request: api.ListTrialsRequest, context: grpc.aio.ServicerContext) -> Any:
        """For all runtimes: the trials of this installation, and as far as the last page has room, imported ones."""
        answer = await self.servicer(request, "ListTrials", True).ListTrials(request, context)
        if request.parent != names.ALL or request.HasField("as_of") or answer.next_page_token:
            return answer
        room = page_size_of(request.page_size) - len(answer.trials)
        wanted = set(request.runtime_ids)
        for runtime_id, servicer in sorted(self.imported.items()):
            if wanted and runtime_id not in wanted:
                continue
            if room <= 0:
                break
            asked = api.ListTrialsRequest(
                parent=f"runtimes/{runtime_id}",
                filter=request.filter,
                order_by=request.order_by,
                page_size=room,
                brief=request.brief,
            )
            found = await servicer.ListTrials(asked, context)
            answer.trials.extend(fitting(found.trials, ANSWER_BYTES - answer.ByteSize(), bool(answer.trials)))
            room -= len(found.trials)
        return answer

    async def WatchTrials(
        self, request: api.WatchTrialsRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[api.WatchTrialsResponse]:
        begins = not request.after_events_sequence and not request.after_telemetry_sequence
        if request.parent == names.ALL and begins:
            # Nothing changes about them, so only whoever begins to watch is told.
            for runtime_id, servicer in sorted(self.imported.items()):
                asked = api.ListTrialsRequest(parent=f"runtimes/{runtime_id}", page_size=1_000, brief=request.brief)
                while True:
                    page = await servicer.ListTrials(asked, context)
                    for trial in page.trials:
                        yield api.WatchTrialsResponse(trial=trial)
                    asked.page_token = page.next_page_token
                    if not asked.page_token:
                        break
        async for answer in self.servicer(request, "WatchTrials", True).WatchTrials(request, context):
            yield answer

    async def CompareTrials(self, request: api.CompareTrialsRequest, context: grpc.aio.ServicerContext) -> Any:
        if not runtimes_in(request) & self.imported.keys():
            return await self.own.CompareTrials(request, context)
        check_compared(request)
        trials = []
        for name in request.names:
            asked = api.GetTrialRequest(name=name, as_of=request.as_of)
            trials.append((await self.servicer(asked, "GetTrial", True).GetTrial(asked, context)).trial)
        if request.brief:
            for trial in trials:
                trial.ClearField("markers")
                trial.ClearField("instances")
        differing = differing_parameters([dict(trial.parameters) for trial in trials])
        return api.CompareTrialsResponse(trials=trials, differing_parameters=differing)
