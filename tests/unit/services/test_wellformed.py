"""Times and durations that do not exist are refused by their place in the request."""

from __future__ import annotations

import pytest

from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.errors import InvalidArgument
from services.rpc.wellformed import check_well_formed


def test_every_place_is_named() -> None:
    request = api.ListEventsRequest(parent="runtimes/-")
    request.filter.start_time.seconds = -(1 << 63)
    request.filter.end_time.nanos = -1
    with pytest.raises(InvalidArgument) as refused:
        check_well_formed(request)
    assert [violation.field for violation in refused.value.violations] == ["filter.start_time", "filter.end_time"]


def test_a_duration_has_one_sign() -> None:
    request = api.StopRuntimeRequest(name="runtimes/rt-a")
    request.deadline.seconds = 5
    check_well_formed(request)
    request.deadline.nanos = -1
    with pytest.raises(InvalidArgument):
        check_well_formed(request)
