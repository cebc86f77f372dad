"""A server with every service of the contract behind the real authentication; handlers answer UNIMPLEMENTED when let in."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import grpc
import grpc.aio
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor

from milepost.installation.settings import Settings, collect
from milepost.security.tokens import LaunchTickets, Role, ServiceToken, TokenStore, TrainerTokens
from services.access.access_service import AccessService
from services.access.authentication import Observation
from services.access.guard import open_access
from services.server import Server

MODULES = {
    "milepost.api.runtime.v1.runtime_service": "RuntimeService",
    "milepost.api.audit.v1.audit_service": "AuditService",
    "milepost.api.trial.v1.trial_service": "TrialService",
    "milepost.api.metric.v1.metric_service": "MetricService",
    "milepost.api.log.v1.log_service": "LogService",
    "milepost.api.rule.v1.rule_service": "RuleService",
    "milepost.api.access.v1.access_service": "AccessService",
    "milepost.api.training.v1.launch_service": "LaunchService",
    "milepost.api.mlflow.v1.mlflow_service": "MlflowService",
}


def all_methods() -> list[MethodDescriptor]:
    """Every RPC of the contract."""
    found = []
    for module in MODULES:
        for service in importlib.import_module(f"{module}_pb2").DESCRIPTOR.services_by_name.values():
            found += list(service.methods)
    return found


def path_of(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


def request_of(method: MethodDescriptor, resource: str = "") -> Any:
    """An empty request, or one that is about a resource."""
    request = message_factory.GetMessageClass(method.input_type)()
    for name in ("name", "parent"):
        if name in method.input_type.fields_by_name and resource:
            setattr(request, name, resource)
    for name in ("names", "parents"):
        if name in method.input_type.fields_by_name and resource:
            getattr(request, name).append(resource)
    return request


@dataclass
class SecuredServer:
    """The server, and what its authentication saw."""

    address: str
    data_dir: Path
    observations: list[Observation] = field(default_factory=list)

    def observe(self, observation: Observation) -> None:
        self.observations.append(observation)

    def token(self, role: Role, name: str = "") -> str:
        return TokenStore(self.data_dir / "tokens.json").create(name or role, role, created_by="local:test")[1]

    def trainer_token(self, runtime_id: str) -> str:
        return TrainerTokens(self.data_dir / "keys").create(runtime_id, 1, 1)

    def launch_ticket(self, runtime_id: str) -> str:
        return LaunchTickets(self.data_dir / "keys").create(runtime_id, 1, 1)

    def service_token(self) -> str:
        return ServiceToken(self.data_dir / "keys").text


def settings_of(data_dir: Path, **changes: str) -> Settings:
    return collect({"data_dir": str(data_dir), "runtime_listen": "127.0.0.1:0", **changes}, {})


@asynccontextmanager
async def running_secured(
    data_dir: Path,
    access_service: AccessService | None = None,
    behaviours: Mapping[str, Callable[..., Any]] = MappingProxyType({}),
    **changes: Any,
) -> AsyncIterator[SecuredServer]:
    """Serve every service of the contract on a free port. `changes` are settings; `behaviours` of RPCs go by name."""
    secured = SecuredServer("", data_dir)
    access = open_access(settings_of(data_dir, **changes), "runtime", secured)

    def register(server: grpc.aio.Server) -> None:
        for module, service in MODULES.items():
            grpc_module = importlib.import_module(f"{module}_pb2_grpc")
            servicer = _Answering(grpc_module, service, behaviours)
            if service == "AccessService" and access_service is not None:
                servicer = access_service
            getattr(grpc_module, f"add_{service}Servicer_to_server")(servicer, server)

    async def healthy() -> str | None:
        return None

    names = [f"{module.rpartition('.')[0]}.{service}" for module, service in MODULES.items()]
    server = Server(access.listen, register, names, healthy, access=access)
    secured.address = f"127.0.0.1:{await server.start()}"
    try:
        yield secured
    finally:
        await server.stop()


def _Answering(module: Any, service: str, behaviours: Mapping[str, Callable[..., Any]]) -> Any:
    """Make a servicer that implements nothing else, as generators where the contract streams."""
    base = getattr(module, f"{service}Servicer")
    pb2 = importlib.import_module(module.__name__.removesuffix("_grpc"))
    methods: dict[str, Any] = {}
    for method in pb2.DESCRIPTOR.services_by_name[service].methods:
        methods[method.name] = behaviours.get(method.name) or (_stream if method.server_streaming else _unary)
    return type(service, (base,), methods)()


async def _unary(self: Any, request: Any, context: grpc.aio.ServicerContext) -> Any:
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "let in")


async def _stream(self: Any, request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "let in")
    yield


async def call(
    channel: grpc.aio.Channel, method: MethodDescriptor, request: Any, token: str = "", **metadata: str
) -> grpc.StatusCode:
    """Call an RPC and return what became of it."""
    pairs = [(key.replace("_", "-"), value) for key, value in metadata.items()]
    if token:
        pairs.append(("authorization", f"Bearer {token}"))
    make = channel.unary_stream if method.server_streaming else channel.unary_unary
    answer = message_factory.GetMessageClass(method.output_type)
    rpc: Any = make(
        path_of(method), request_serializer=lambda m: m.SerializeToString(), response_deserializer=answer.FromString
    )
    try:
        if method.server_streaming:
            async for _ in rpc(request, metadata=pairs, timeout=20):
                pass
        else:
            await rpc(request, metadata=pairs, timeout=20)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK
