"""TrialService over gRPC: translates between messages and the views."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from statistics import median

import grpc

from milepost.api.event.v1.recorded_event_pb2 import AsOf
from milepost.api.trial.v1 import trial_service_pb2 as api
from milepost.api.trial.v1 import trial_service_pb2_grpc as rpc
from milepost.domain import trial
from milepost.errors import InvalidArgument, NotFound, Violation
from services.readmodel.moments import check_moment, check_sequence
from services.rpc.limits import ANSWER_BYTES
from services.trials.live import ReadableViews
from services.trials.messages import (
    Rendered,
    render_attempt,
    render_trial,
    to_duration,
    to_estimate,
    to_timestamp,
    trial_name,
)
from services.trials.queries import Order, Scope, list_page, parse_parent, parse_trial_name
from services.trials.readmodel.progress import elapsed_nanoseconds
from services.trials.readmodel.runtime_estimates import estimate_in_turns
from services.trials.readmodel.view import IssuedEstimate, Key, TrialView
from services.trials.readmodel.views import Views
from services.trials.watches import BATCH, Position, Watch

MIN_COMPARED, MAX_COMPARED = 2, 10
# Estimates given before this share of the run do not count.
JUDGED_FROM = 0.2


class TrialService(rpc.TrialServiceServicer):
    """Reads of trials. `clock` returns nanoseconds since 1970."""

    def __init__(self, live: ReadableViews, clock: Callable[[], int] = time.time_ns) -> None:
        self._live = live
        self._clock = clock
        self._order = Order()
        self._rendered = Rendered()

    async def GetTrial(self, request: api.GetTrialRequest, context: grpc.aio.ServicerContext) -> api.GetTrialResponse:
        key = parse_trial_name(request.name)
        views, now = await self._moment(request.min_sequence, request.as_of, Scope(key.runtime_id, key.trial))
        return api.GetTrialResponse(trial=render_trial(views, _find(views, key), now))

    async def ListTrials(
        self, request: api.ListTrialsRequest, context: grpc.aio.ServicerContext
    ) -> api.ListTrialsResponse:
        scope = parse_parent(request.parent)
        views, now = await self._moment(request.min_sequence, request.as_of, scope, request.from_log)
        if scope.runtime_id and scope.runtime_id not in views.runtimes:
            raise NotFound(f"there is no runtime {scope.runtime_id}", reason="RUNTIME_NOT_FOUND")
        is_live = views is self._live.views
        page = list_page(views, scope, request, now, self._order if is_live else None)
        # Of before the rendering, during which the views go on.
        response = api.ListTrialsResponse(
            total_size=page.total_size,
            events_sequence=views.events_sequence,
            telemetry_sequence=views.telemetry_sequence,
            set_aside=views.what_was_set_aside(scope.runtime_id),
        )
        render = self._rendered.render if is_live else render_trial
        size = 0
        for index, view in enumerate(page.views):
            message = render(views, view, now, request.brief)
            size += message.ByteSize()
            if size > ANSWER_BYTES and index:
                break
            response.trials.append(message)
            if not request.brief or index % BATCH == BATCH - 1:
                await asyncio.sleep(0)
        response.next_page_token = page.token_after(len(response.trials))
        if scope.runtime_id:
            runtime = views.runtimes[scope.runtime_id]
            response.elapsed.CopyFrom(to_duration(elapsed_nanoseconds(runtime, now)))
            estimate = to_estimate(await estimate_in_turns(views, runtime, now), now)
            if estimate is not None:
                response.estimate.CopyFrom(estimate)
        return response

    async def WatchTrials(
        self, request: api.WatchTrialsRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[api.WatchTrialsResponse]:
        scope = parse_parent(request.parent, trial_allowed=True)
        check_sequence("after_events_sequence", request.after_events_sequence)
        check_sequence("after_telemetry_sequence", request.after_telemetry_sequence)
        await self._live.wait_for(request.after_events_sequence, request.after_telemetry_sequence)
        if scope.trial:
            _find(self._live.views, Key(scope.runtime_id, scope.trial))
        elif scope.runtime_id and scope.runtime_id not in self._live.views.runtimes:
            raise NotFound(f"there is no runtime {scope.runtime_id}", reason="RUNTIME_NOT_FOUND")
        resumed = request.after_events_sequence or request.after_telemetry_sequence
        after = Position(request.after_events_sequence, request.after_telemetry_sequence) if resumed else None
        async for response in Watch(self._live, scope, after, request.brief, self._clock).responses():
            yield response

    async def ListAttempts(
        self, request: api.ListAttemptsRequest, context: grpc.aio.ServicerContext
    ) -> api.ListAttemptsResponse:
        key = parse_trial_name(request.parent, "parent")
        views, _ = await self._moment(0, request.as_of, Scope(key.runtime_id, key.trial))
        return api.ListAttemptsResponse(attempts=[render_attempt(a) for a in _find(views, key).attempts])

    async def CompareTrials(
        self, request: api.CompareTrialsRequest, context: grpc.aio.ServicerContext
    ) -> api.CompareTrialsResponse:
        keys = check_compared(request)
        trials, parameters = [], []
        for key in keys:
            views, now = await self._moment(0, request.as_of, Scope(key.runtime_id, key.trial))
            view = _find(views, key)
            trials.append(render_trial(views, view, now, request.brief))
            parameters.append(view.parameters)
        return api.CompareTrialsResponse(trials=trials, differing_parameters=differing_parameters(parameters))

    async def ListEstimates(
        self, request: api.ListEstimatesRequest, context: grpc.aio.ServicerContext
    ) -> api.ListEstimatesResponse:
        key = parse_trial_name(request.parent, "parent")
        views, now = await self._moment(0, request.as_of, Scope(key.runtime_id, key.trial))
        view = _find(views, key)
        given = [_issued(view, estimate) for estimate in self._given(key) if estimate.time <= now]
        response = api.ListEstimatesResponse(estimates=given)
        errors = [
            abs(e.error_percent) for e in response.estimates if e.HasField("error_percent") and _is_judged(view, e.step)
        ]
        if errors:
            response.median_error_percent, response.worst_error_percent = median(errors), max(errors)
        return response

    def _given(self, key: Key) -> Sequence[IssuedEstimate]:
        """The estimates of a trial as they were given, which is not what would be estimated again from the streams."""
        return _find(self._live.views, key).estimates

    async def _moment(self, min_sequence: int, as_of: AsOf, scope: Scope, from_log: bool = False) -> tuple[Views, int]:
        """Return the views to read from, and the moment at which."""
        check_sequence("min_sequence", min_sequence)
        check_moment(as_of)
        await self._live.wait_for(min_sequence)
        if as_of.HasField("time") or as_of.events_sequence or as_of.telemetry_sequence:
            return await self._live.at(as_of, scope, from_log)
        return self._live.views, self._clock()


def check_compared(request: api.CompareTrialsRequest) -> list[Key]:
    """Return the trials to compare.

    Raises:
        InvalidArgument: they are too few, too many, not all different, or no trials.
    """
    if not MIN_COMPARED <= len(request.names) <= MAX_COMPARED:
        raise InvalidArgument([Violation("names", f"must be {MIN_COMPARED} to {MAX_COMPARED} names")])
    keys = [parse_trial_name(name, f"names[{index}]") for index, name in enumerate(request.names)]
    if len(set(keys)) != len(keys):
        raise InvalidArgument([Violation("names", "must be different from each other")])
    return keys


def differing_parameters(parameters: Sequence[Mapping[str, str]]) -> list[str]:
    """Name the parameters that are not the same in all of some trials."""
    names = sorted({name for of_one in parameters for name in of_one})
    return [name for name in names if len({of_one.get(name) for of_one in parameters}) > 1]


def _find(views: Views, key: Key) -> TrialView:
    view = views.trials.get(key)
    if view is None:
        raise NotFound(f"there is no {trial_name(key)}", reason="TRIAL_NOT_FOUND")
    return view


def _is_judged(view: TrialView, step: int) -> bool:
    return step >= JUDGED_FROM * (view.state.plan.total_steps or 0)


def _issued(view: TrialView, estimate: IssuedEstimate) -> api.IssuedEstimate:
    message = api.IssuedEstimate(
        time=to_timestamp(estimate.time),
        attempt=estimate.attempt,
        step=estimate.step,
        finish_time=to_timestamp(estimate.finish),
        finish_time_low=to_timestamp(estimate.low),
        finish_time_high=to_timestamp(estimate.high),
    )
    ended = next((a.end_time for a in view.attempts if a.number == estimate.attempt), 0)
    completed = isinstance(view.state.situation, trial.Completed) and view.state.attempt == estimate.attempt
    if completed and ended > estimate.time:
        message.error_percent = 100 * (ended - estimate.finish) / (ended - estimate.time)
    return message
