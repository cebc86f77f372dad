"""RuntimeService: translates requests into commands and views into answers."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import grpc.aio
from google.protobuf.duration_pb2 import Duration

from milepost import configuration as configurations
from milepost import names
from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.domain import runtime, trial
from milepost.errors import FailedPrecondition, InvalidArgument, NotFound, Violation
from services.runtime.commands.base import check_etag, checked_reason
from services.runtime.commands.deletions import DeleteCommands
from services.runtime.commands.previews import preview
from services.runtime.commands.resumes import ResumeCommands
from services.runtime.commands.starts import StartCommands
from services.runtime.commands.trial_commands import TrialCommands
from services.runtime.readmodel.messages import runtime_message
from services.runtime.readmodel.view import RuntimeView, configuration_of, labels_of

MAX_STOP_SECONDS = 86_400.0
MAX_LABELS = 64
MAX_LABEL = 250


class RuntimeService(StartCommands, ResumeCommands, TrialCommands, DeleteCommands):
    """The commands on runtimes, and what can be asked of them."""

    async def PreviewStop(
        self, request: api.PreviewStopRequest, context: grpc.aio.ServicerContext
    ) -> api.PreviewStopResponse:
        view = self._known(names.parse_runtime(request.name))
        if request.trial < 0 or (request.trial and request.trial not in view.trials):
            raise NotFound(f"{view.runtime_id} has no trial {request.trial}", reason="TRIAL_NOT_FOUND")
        return preview(view, request.trial, self._steps.last, self._clock())

    async def StopRuntime(
        self, request: api.StopRuntimeRequest, context: grpc.aio.ServicerContext
    ) -> api.StopRuntimeResponse:
        runtime_id = names.parse_runtime(request.name)
        view = self._known(runtime_id)
        check_etag(view, request.etag)
        mode = _stop_mode(view, request.mode)
        command = runtime.StopRuntime(mode, self._deadline(view, request), checked_reason(request.reason))
        await self._decide_once(request, runtime_id, {None: [command]})
        return api.StopRuntimeResponse(runtime=runtime_message(view))

    async def StopTrial(
        self, request: api.StopTrialRequest, context: grpc.aio.ServicerContext
    ) -> api.StopTrialResponse:
        runtime_id, number = names.parse_trial(request.name)
        view = self._known_trial(runtime_id, number)
        mode = _stop_mode(view, request.mode)
        command = trial.StopTrial(mode, self._deadline(view, request), checked_reason(request.reason))
        await self._decide_once(request, runtime_id, {number: [command]})
        return api.StopTrialResponse(runtime=runtime_message(view))

    def _deadline(self, view: RuntimeView, request: Any) -> datetime:
        seconds = configuration_of(view).limits.stop_deadline_seconds
        if request.HasField("deadline"):
            seconds = _seconds(request.deadline, "deadline")
        return self._clock() + timedelta(seconds=seconds)

    async def LabelRuntime(
        self, request: api.LabelRuntimeRequest, context: grpc.aio.ServicerContext
    ) -> api.LabelRuntimeResponse:
        runtime_id = names.parse_runtime(request.name)
        view = self._known(runtime_id)
        check_etag(view, request.etag)
        _check_labels(view, request)
        command = runtime.LabelRuntime(dict(request.labels), frozenset(request.removed_labels))
        await self._decide_once(request, runtime_id, {None: [command]})
        return api.LabelRuntimeResponse(runtime=runtime_message(view))


def _stop_mode(view: RuntimeView, mode: common.StopMode) -> common.StopMode:
    if mode not in common.StopMode.values():
        raise InvalidArgument([Violation("mode", f"{mode} is not a known value")])
    if mode == common.STOP_MODE_ABRUPT and configuration_of(view).launcher == config.LAUNCHER_EXTERNAL:
        raise FailedPrecondition(
            "Milepost did not start this process and cannot kill it; ask for a graceful stop",
            reason="EXTERNAL_LAUNCHER",
        )
    return mode or common.STOP_MODE_GRACEFUL


def _seconds(value: Duration, field: str) -> float:
    seconds = value.seconds + value.nanos / 1e9
    if not 0 < seconds <= MAX_STOP_SECONDS:
        raise InvalidArgument([Violation(field, f"must be above 0 and at most {MAX_STOP_SECONDS:,.0f} seconds")])
    return seconds


def _check_labels(view: RuntimeView, request: api.LabelRuntimeRequest) -> None:
    """Refuse labels that a configuration could not have, and those that look like a secret. Raises InvalidArgument."""
    plain = configurations.to_plain(configuration_of(view))
    kept = {key: text for key, text in labels_of(view).items() if key not in request.removed_labels}
    plain["labels"] = dict(request.labels)
    merged = configurations.resolve(plain)
    violations = [v for v in configurations.secret_violations(merged) if v.field.startswith("labels.")]
    if len(kept | dict(request.labels)) > MAX_LABELS and not request.labels.keys() <= kept.keys():
        violations.append(Violation("labels", f"a runtime has at most {MAX_LABELS} labels"))
    if len(request.removed_labels) > MAX_LABELS or any(len(key) > MAX_LABEL for key in request.removed_labels):
        violations.append(
            Violation("removed_labels", f"must be at most {MAX_LABELS}, each of at most {MAX_LABEL} characters")
        )
    if both := sorted(set(request.labels) & set(request.removed_labels)):
        violations.append(Violation("removed_labels", f"{both[0]} is set, too"))
    if violations:
        raise InvalidArgument(violations)
