"""The RPCs that others are offered, by the name of their service, and which process answers them."""

from __future__ import annotations

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from milepost.api.audit.v1 import audit_service_pb2
from milepost.api.log.v1 import log_service_pb2
from milepost.api.metric.v1 import metric_service_pb2
from milepost.api.rule.v1 import rule_service_pb2
from milepost.api.runtime.v1 import runtime_service_pb2
from milepost.api.training.v1 import launch_service_pb2
from milepost.api.trial.v1 import trial_service_pb2

SERVICES: dict[str, ServiceDescriptor] = {
    "RuntimeService": runtime_service_pb2.DESCRIPTOR.services_by_name["RuntimeService"],
    "TrialService": trial_service_pb2.DESCRIPTOR.services_by_name["TrialService"],
    "MetricService": metric_service_pb2.DESCRIPTOR.services_by_name["MetricService"],
    "LogService": log_service_pb2.DESCRIPTOR.services_by_name["LogService"],
    "RuleService": rule_service_pb2.DESCRIPTOR.services_by_name["RuleService"],
    "AuditService": audit_service_pb2.DESCRIPTOR.services_by_name["AuditService"],
    "LaunchService": launch_service_pb2.DESCRIPTOR.services_by_name["LaunchService"],
}

# service -> the process that serves it
PROCESSES = {
    "RuntimeService": "runtime",
    "AuditService": "runtime",
    "TrialService": "trials",
    "MetricService": "metrics",
    "LogService": "metrics",
    "RuleService": "rules",
    "LaunchService": "runtime",
}


def method_of(rpc: str) -> MethodDescriptor:
    """Find an RPC by `Service.Method`."""
    service, _, method = rpc.partition(".")
    return SERVICES[service].methods_by_name[method]
