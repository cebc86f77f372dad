"""The JSON forms of messages, in both directions."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from milepost.api.event.v1 import recorded_event_pb2, trial_events_pb2
from milepost.api.log.v1 import log_service_pb2
from milepost.api.metric.v1 import metric_service_pb2
from milepost.api.runtime.v1 import runtime_service_pb2
from milepost.api.trial.v1 import trial_service_pb2
from milepost.errors import InvalidArgument
from milepost.protojson import from_json, from_query, to_json


def test_statuses_are_the_words_users_know_and_other_enums_lose_their_prefix() -> None:
    runtime = runtime_service_pb2.Runtime(
        status=runtime_service_pb2.RUNTIME_STATUS_STARTED, phase=runtime_service_pb2.RUNTIME_PHASE_QUEUED
    )
    trial = trial_service_pb2.Trial(
        status=trial_service_pb2.TRIAL_STATUS_WAITING, waiting_reason=trial_service_pb2.WAITING_REASON_RETRYING
    )
    assert (to_json(runtime)["status"], to_json(runtime)["phase"]) == ("Started", "QUEUED")
    assert (to_json(trial)["status"], to_json(trial)["waiting_reason"]) == ("Waiting", "RETRYING")
    assert to_json(trial)["failure_reason"] is None


def test_defaults_are_there_and_what_is_unset_is_null() -> None:
    progress = to_json(trial_service_pb2.Progress())
    assert progress["step"] == 0
    assert progress["total_steps"] is None
    assert progress["step_time"] is None
    assert to_json(trial_service_pb2.Progress(total_steps=0))["total_steps"] == 0


def test_members_of_a_oneof_are_there_only_when_set() -> None:
    event = recorded_event_pb2.RecordedEvent()
    event.trial_event.epoch_completed.step = 500
    document = to_json(event)
    said = {"attempt": 0, "epoch": 0, "step": 500, "batch": None, "batch_count": None}
    assert document["trial_event"] == {"epoch_completed": said}
    assert "runtime_event" not in document


def test_durations_are_seconds_and_times_are_rfc_3339() -> None:
    estimate = trial_service_pb2.Estimate()
    estimate.remaining.FromMilliseconds(90_500)
    estimate.finish_time.FromJsonString("2026-01-31T10:00:00Z")
    document = to_json(estimate)
    assert document["remaining"] == 90.5
    assert document["finish_time"] == "2026-01-31T10:00:00Z"


def test_values_that_are_not_finite_are_null_in_lists_and_named_beside() -> None:
    series = metric_service_pb2.SeriesData(lasts=[1.0, math.nan, math.inf, -math.inf])
    document = to_json(series)
    assert document["lasts"] == [1.0, None, None, None]
    assert document["lasts_non_finite"] == [[1, "NaN"], [2, "Infinity"], [3, "-Infinity"]]
    assert "means_non_finite" not in document


def test_finite_values_whose_sum_overflows_stay_as_they_are() -> None:
    series = metric_service_pb2.SeriesData(lasts=[1e308, 1e308])
    assert to_json(series)["lasts"] == [1e308, 1e308]
    assert "lasts_non_finite" not in to_json(series)


def test_single_values_and_values_of_maps_that_are_not_finite_are_words() -> None:
    completed = trial_events_pb2.EvaluationCompleted(values={"eval/loss": math.nan}, duration_seconds=math.inf)
    document = to_json(completed)
    assert document["values"] == {"eval/loss": "NaN"}
    assert document["duration_seconds"] == "Infinity"


def test_a_body_is_refused_with_every_violation_at_once() -> None:
    body = {"mode": "SOMEHOW", "deadline": "soon", "name": 3, "surprise": 1}
    with pytest.raises(InvalidArgument) as caught:
        from_json(body, runtime_service_pb2.StopRuntimeRequest)
    assert {violation.field for violation in caught.value.violations} == {"mode", "deadline", "name", "surprise"}
    (surprise,) = (one for one in caught.value.violations if one.field == "surprise")
    assert surprise.description.startswith("is not a known field; known: name, mode, ")


def test_an_integer_out_of_range_is_refused() -> None:
    with pytest.raises(InvalidArgument):
        from_json({"trial": 2**31}, runtime_service_pb2.PreviewStopRequest)
    with pytest.raises(InvalidArgument):
        from_query([("page_size", "1e3")], runtime_service_pb2.ListRuntimesRequest)


def test_two_members_of_one_oneof_are_refused() -> None:
    body = {"configuration": {"name": "a"}, "configuration_text": "name: a"}
    with pytest.raises(InvalidArgument, match="only one of"):
        from_json(body, runtime_service_pb2.StartRuntimeRequest)


def test_a_query_takes_repeated_parameters_flat_filters_and_moments() -> None:
    pairs = [("levels", "ERROR"), ("levels", "WARNING"), ("text", "oom"), ("as_of", "120/7"), ("page_size", "10")]
    request = from_query(pairs, log_service_pb2.QueryLogsRequest, "filter")
    assert to_json(request)["filter"]["levels"] == ["ERROR", "WARNING"]
    assert request.filter.text == "oom"
    assert (request.as_of.events_sequence, request.as_of.telemetry_sequence) == (120, 7)
    moment = from_query([("as_of", "2026-01-31T10:00:00+01:00")], trial_service_pb2.GetTrialRequest)
    assert moment.as_of.time.ToJsonString() == "2026-01-31T09:00:00Z"


def test_a_query_with_unknown_or_doubled_parameters_is_refused() -> None:
    pairs = [("page_size", "1"), ("page_size", "2"), ("colour", "red"), ("as_of.colour", "red")]
    with pytest.raises(InvalidArgument) as caught:
        from_query(pairs, runtime_service_pb2.ListRuntimesRequest)
    assert [violation.field for violation in caught.value.violations] == ["page_size", "colour", "as_of.colour"]


_numbers = st.floats(allow_nan=True, allow_infinity=True)


@settings(max_examples=100, deadline=None)
@given(lasts=st.lists(_numbers, max_size=20), steps=st.lists(st.integers(0, 2**53 - 1), max_size=20), raw=st.booleans())
def test_every_series_is_json_and_loses_nothing(lasts: list[float], steps: list[int], raw: bool) -> None:
    series = metric_service_pb2.SeriesData(lasts=lasts, first_steps=steps, raw=raw)
    document = json.loads(json.dumps(to_json(series), allow_nan=False))
    restored = list(document["lasts"])
    words = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
    for index, word in document.get("lasts_non_finite", []):
        restored[index] = words[word]
    assert [repr(value) for value in restored] == [repr(value) for value in lasts]
    assert document["first_steps"] == steps


def _round_trip(message: Message) -> Any:
    return from_json(json.loads(json.dumps(to_json(message), allow_nan=False)), type(message))


def test_a_message_comes_back_from_its_json() -> None:
    trial = trial_service_pb2.Trial(name="runtimes/rt-x/trials/1", status=trial_service_pb2.TRIAL_STATUS_RUNNING)
    trial.progress.total_steps = 2**40
    trial.last_values["train/loss"] = math.inf
    trial.elapsed.FromMilliseconds(1_250)
    trial.start_time.FromJsonString("2026-01-31T10:00:00.250Z")
    marker = trial.markers.add(kind=trial_service_pb2.MARKER_KIND_EPOCH_END, step=7)
    marker.values["eval/loss"] = 0.5
    assert _round_trip(trial) == trial
