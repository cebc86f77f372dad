"""What a request to steer a trial says."""

from __future__ import annotations

from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.domain import steering
from milepost.errors import InvalidArgument, Violation
from milepost.security.redaction import Redactor
from services.runtime.commands.branching import read_mapping


def read_values(request: api.SteerTrialRequest) -> dict[str, object]:
    """Read the new values, whatever they are; whether they may be that the decider says.

    Raises:
        InvalidArgument: there are none, too many, or something in them looks like a secret.
    """
    values = read_mapping(request.parameters_text, "parameters_text")
    if not 1 <= len(values) <= steering.MAX_STEERABLES:
        description = f"must give 1 to {steering.MAX_STEERABLES} values by name, such as learning_rate: 0.0001"
        raise InvalidArgument([Violation("parameters_text", description)])
    redactor = Redactor()
    redactor.scalars({name: steering.shown(value) for name, value in values.items()})
    if redactor.found:
        raise InvalidArgument([Violation("parameters_text", redactor.said)])
    return values
