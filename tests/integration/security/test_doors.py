"""Every RPC: who is let in, who is not, and what is noted about it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from milepost.tokens import Role, TokenStore
from services.authentication import Result
from services.authorization import RULES, Kind
from tests.integration.security.doors import Doors, all_methods, call, path_of, request_of, running_doors

Code = grpc.StatusCode
METHODS = all_methods()
RANKS = {Role.VIEWER: 1, Role.OPERATOR: 2, Role.ADMIN: 3}


@pytest.fixture
async def doors(tmp_path: Path) -> AsyncIterator[Doors]:
    async with running_doors(tmp_path, authentication="required") as doors:
        yield doors


@pytest.fixture
async def channel(doors: Doors) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(doors.address) as channel:
        yield channel


def test_every_rpc_has_a_rule_and_every_rule_an_rpc() -> None:
    reflection = {path for path in RULES if path.startswith("/grpc.reflection.")}
    assert {path_of(method) for method in METHODS} == RULES.keys() - reflection
    for method in METHODS:
        resource = RULES[path_of(method)].resource
        assert not resource or resource in method.input_type.fields_by_name, method.full_name


def test_every_command_is_for_more_than_viewers_and_leaves_a_fact() -> None:
    reading = ("Get", "List", "Watch", "Query", "Stream", "Preview", "Compare", "Check", "Diff", "Report")
    for path, rule in RULES.items():
        name = path.rpartition("/")[2]
        if not name.startswith(reading) and not path.startswith("/grpc."):
            assert rule.kind is not Kind.READ, path
        if rule.kind is Kind.COMMAND:
            assert rule.role is not Role.VIEWER, path
            assert not rule.trainer


async def test_nobody_gets_in_without_a_token(doors: Doors, channel: grpc.aio.Channel) -> None:
    for method in METHODS:
        assert await call(channel, method, request_of(method)) is Code.UNAUTHENTICATED, method.full_name
    assert {o.result for o in doors.observations} == {Result.UNAUTHENTICATED}
    assert {o.actor for o in doors.observations} == {"unauthenticated"}
    assert {o.peer for o in doors.observations} == {"127.0.0.1"}


async def test_nobody_gets_in_with_a_token_that_is_not_valid(doors: Doors, channel: grpc.aio.Channel) -> None:
    revoked = doors.token(Role.ADMIN)
    TokenStore(doors.data_dir / "tokens.json").revoke("admin")
    for token in ("mp_x_y", revoked, "mps_", "mpt_a.b", "x" * 4000):
        for method in METHODS[:: 7 if token != revoked else 1]:
            assert await call(channel, method, request_of(method), token) is Code.UNAUTHENTICATED, method.full_name


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.ADMIN])
async def test_a_role_opens_what_it_may_and_nothing_else(doors: Doors, channel: grpc.aio.Channel, role: Role) -> None:
    token = doors.token(role)
    for method in METHODS:
        needed = RULES[path_of(method)].role
        may = needed in RANKS and RANKS[role] >= RANKS[needed]
        expected = Code.UNIMPLEMENTED if may else Code.PERMISSION_DENIED
        assert await call(channel, method, request_of(method, "runtimes/rt-a"), token) is expected, method.full_name


async def test_services_may_read_and_do_what_is_theirs(doors: Doors, channel: grpc.aio.Channel) -> None:
    token = doors.service_token()
    for method in METHODS:
        rule = RULES[path_of(method)]
        may = rule.service or rule.role in (Role.VIEWER, Role.SERVICE)
        expected = Code.UNIMPLEMENTED if may else Code.PERMISSION_DENIED
        assert await call(channel, method, request_of(method), token) is expected, method.full_name
    theirs = {method for method, rule in RULES.items() if rule.service or rule.role is Role.SERVICE}
    assert {method.rpartition("/")[2] for method in theirs} == {
        "ExportRows",
        "PurgeRuntime",
        "ReportAccess",
        "VerifyStored",
    }


@pytest.mark.parametrize("resource", ["", "runtimes/rt-b", "runtimes/-", "runtimes/rt-a-b", "runtimes/rt-a/../rt-b"])
async def test_an_attempt_may_not_touch_another_runtime(doors: Doors, channel: grpc.aio.Channel, resource: str) -> None:
    token = doors.trainer_token("rt-a")
    for method in METHODS:
        if method.name == "GetCaller":
            continue
        code = await call(channel, method, request_of(method, resource), token)
        assert code is Code.PERMISSION_DENIED, method.full_name


async def test_an_attempt_may_read_its_own_runtime_and_change_nothing(doors: Doors, channel: grpc.aio.Channel) -> None:
    token = doors.trainer_token("rt-a")
    for method in METHODS:
        rule = RULES[path_of(method)]
        expected = Code.UNIMPLEMENTED if rule.trainer else Code.PERMISSION_DENIED
        assert await call(channel, method, request_of(method, "runtimes/rt-a/trials/1"), token) is expected


async def test_a_launch_ticket_opens_the_claim_of_its_launch_and_nothing_else(
    doors: Doors, channel: grpc.aio.Channel
) -> None:
    ticket = doors.launch_ticket("rt-a")
    for method in METHODS:
        expected = Code.UNIMPLEMENTED if method.name == "ClaimLaunch" else Code.PERMISSION_DENIED
        assert await call(channel, method, request_of(method, "runtimes/rt-a"), ticket) is expected, method.full_name


async def test_several_names_of_which_one_is_foreign_are_refused(doors: Doors, channel: grpc.aio.Channel) -> None:
    method = next(m for m in METHODS if m.name == "QuerySeries")
    request = request_of(method, "runtimes/rt-a/trials/1")
    request.parents.append("runtimes/rt-b/trials/1")
    assert await call(channel, method, request, doors.trainer_token("rt-a")) is Code.PERMISSION_DENIED


async def test_an_rpc_without_a_rule_is_closed_even_to_admins(
    doors: Doors, channel: grpc.aio.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = METHODS[0]
    monkeypatch.delitem(RULES, path_of(method))
    assert await call(channel, method, request_of(method), doors.token(Role.ADMIN)) is Code.PERMISSION_DENIED


async def test_health_is_open_and_reflection_is_not(doors: Doors, channel: grpc.aio.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=10)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=10)
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()

    async def reflect(*metadata: tuple[str, str]) -> Any:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        call = stub.ServerReflectionInfo(metadata=metadata, timeout=10)
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        answer = await call.read()
        call.cancel()
        return answer

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await reflect()
    assert refused.value.code() is Code.UNAUTHENTICATED
    answer = await reflect(("authorization", f"Bearer {doors.token(Role.VIEWER)}"))
    assert "milepost.api.runtime.v1.RuntimeService" in [s.name for s in answer.list_services_response.service]


async def test_watchers_of_health_do_not_take_the_places_of_others(
    doors: Doors, channel: grpc.aio.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    watches = [health.Watch(health_pb2.HealthCheckRequest(), timeout=60) for _ in range(100)]
    for watch in watches:
        await watch.read()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        async for _ in health.Watch(health_pb2.HealthCheckRequest(), timeout=10):
            pass
    assert refused.value.code() is Code.RESOURCE_EXHAUSTED
    for watch in watches:
        watch.cancel()


async def test_on_loopback_the_command_line_is_known_by_its_user(tmp_path: Path) -> None:
    async with running_doors(tmp_path) as doors, grpc.aio.insecure_channel(doors.address) as channel:
        method = next(m for m in METHODS if m.name == "StopRuntime")
        for claimed, actor in (
            ("local:ann", "local:ann"),
            ("", "anonymous@loopback"),
            ("admin", "unverified:admin"),
            ("local:<b>", "unverified:local:?b?"),
        ):
            doors.observations.clear()
            metadata = {"mp_actor": claimed} if claimed else {}
            assert await call(channel, method, request_of(method), "", **metadata) is Code.UNIMPLEMENTED
            assert [o.actor for o in doors.observations] == [actor]
        # A token that is shown must be valid even where none is needed.
        assert await call(channel, method, request_of(method), "mp_x_y") is Code.UNAUTHENTICATED


async def test_with_a_token_a_claimed_name_counts_for_nothing(doors: Doors, channel: grpc.aio.Channel) -> None:
    method = next(m for m in METHODS if m.name == "StopRuntime")
    token = doors.token(Role.OPERATOR, "ann")
    await call(channel, method, request_of(method, "runtimes/rt-a"), token, mp_actor="local:root")
    (seen,) = doors.observations
    assert (seen.result, seen.actor, seen.resource) == (Result.ALLOWED, "ann", "runtimes/rt-a")
    assert seen.operation == "milepost.api.runtime.v1.RuntimeService/StopRuntime"


def test_a_server_that_others_could_reach_does_not_start_open(tmp_path: Path) -> None:
    from services.access import open_access
    from tests.integration.security.doors import settings_of

    with pytest.raises(SystemExit, match="token create"):
        open_access(settings_of(tmp_path, runtime_listen="0.0.0.0:0"), "runtime")
