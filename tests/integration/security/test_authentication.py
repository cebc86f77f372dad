"""Every RPC: who is let in, who is not, and what is noted about it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from milepost.security.tokens import Role, TokenStore
from services import server
from services.access import authentication
from services.access.authentication import Result
from services.access.authorization import MLFLOW, RULES, Kind
from services.edge import spread
from services.edge.spread import OWN_CONNECTION
from services.gateway.app import Services
from services.server import MAX_CALLS_PER_CONNECTION
from tests.integration.security.secured import SecuredServer, all_methods, call, path_of, request_of, running_secured

Code = grpc.StatusCode
METHODS = all_methods()
RANKS = {Role.VIEWER: 1, Role.OPERATOR: 2, Role.ADMIN: 3}


@pytest.fixture
async def secured(tmp_path: Path) -> AsyncIterator[SecuredServer]:
    async with running_secured(tmp_path, authentication="required") as secured:
        yield secured


@pytest.fixture
async def channel(secured: SecuredServer) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(secured.address) as channel:
        yield channel


def test_every_rpc_has_a_rule_and_every_rule_an_rpc() -> None:
    reflection = {path for path in RULES if path.startswith("/grpc.reflection.")}
    assert {path_of(method) for method in METHODS} == RULES.keys() - reflection
    for method in METHODS:
        rule, fields = RULES[path_of(method)], set(method.input_type.fields_by_name)
        assert set(rule.resources) <= fields, method.full_name
        # A field that is not judged would let an attempt read what others run.
        naming = NAMING & fields if rule.trainer else set()
        assert naming <= set(rule.resources), method.full_name


def test_every_command_is_for_more_than_viewers_and_leaves_a_fact() -> None:
    reading = ("Get", "List", "Watch", "Query", "Stream", "Preview", "Compare", "Check", "Diff", "Report")
    for path, rule in RULES.items():
        name = path.rpartition("/")[2]
        # Requests of MLflow's clients write or read; the handler looks at who may (test_mlflow_access.py).
        if not name.startswith(reading) and not path.startswith("/grpc.") and path != f"{MLFLOW}Answer":
            assert rule.kind is not Kind.READ, path
        if rule.kind is Kind.COMMAND:
            assert rule.role is not Role.VIEWER, path
            assert not rule.trainer


# Fields of requests that name runtimes or trials.
NAMING = {"name", "names", "parent", "parents"}


async def test_nobody_gets_in_without_a_token(secured: SecuredServer, channel: grpc.aio.Channel) -> None:
    for method in METHODS:
        assert await call(channel, method, request_of(method)) is Code.UNAUTHENTICATED, method.full_name
    assert {o.result for o in secured.observations} == {Result.UNAUTHENTICATED}
    assert {o.actor for o in secured.observations} == {"unauthenticated"}
    assert {o.peer for o in secured.observations} == {"127.0.0.1"}


async def test_nobody_gets_in_with_a_token_that_is_not_valid(secured: SecuredServer, channel: grpc.aio.Channel) -> None:
    revoked = secured.token(Role.ADMIN)
    TokenStore(secured.data_dir / "tokens.json").revoke("admin")
    for token in ("mp_x_y", revoked, "mps_", "mpt_a.b", "x" * 4000):
        for method in METHODS[:: 7 if token != revoked else 1]:
            assert await call(channel, method, request_of(method), token) is Code.UNAUTHENTICATED, method.full_name


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.ADMIN])
async def test_a_role_opens_what_it_may_and_nothing_else(
    secured: SecuredServer, channel: grpc.aio.Channel, role: Role
) -> None:
    token = secured.token(role)
    for method in METHODS:
        needed = RULES[path_of(method)].role
        may = needed in RANKS and RANKS[role] >= RANKS[needed]
        expected = Code.UNIMPLEMENTED if may else Code.PERMISSION_DENIED
        assert await call(channel, method, request_of(method, "runtimes/rt-a"), token) is expected, method.full_name


async def test_services_may_read_and_do_what_is_theirs(secured: SecuredServer, channel: grpc.aio.Channel) -> None:
    token = secured.service_token()
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
async def test_an_attempt_may_not_touch_another_runtime(
    secured: SecuredServer, channel: grpc.aio.Channel, resource: str
) -> None:
    token = secured.trainer_token("rt-a")
    for method in METHODS:
        if method.name == "GetCaller":
            continue
        code = await call(channel, method, request_of(method, resource), token)
        assert code is Code.PERMISSION_DENIED, method.full_name


async def test_an_attempt_may_read_its_own_runtime_and_change_nothing(
    secured: SecuredServer, channel: grpc.aio.Channel
) -> None:
    token = secured.trainer_token("rt-a")
    for method in METHODS:
        rule = RULES[path_of(method)]
        expected = Code.UNIMPLEMENTED if rule.trainer else Code.PERMISSION_DENIED
        assert await call(channel, method, request_of(method, "runtimes/rt-a/trials/1"), token) is expected


async def test_a_launch_ticket_opens_the_claim_of_its_launch_and_nothing_else(
    secured: SecuredServer, channel: grpc.aio.Channel
) -> None:
    ticket = secured.launch_ticket("rt-a")
    for method in METHODS:
        expected = Code.UNIMPLEMENTED if method.name == "ClaimLaunch" else Code.PERMISSION_DENIED
        assert await call(channel, method, request_of(method, "runtimes/rt-a"), ticket) is expected, method.full_name


@pytest.mark.parametrize("name", ["QuerySeries", "ListSeries"])
async def test_several_names_of_which_one_is_foreign_are_refused(
    secured: SecuredServer, channel: grpc.aio.Channel, name: str
) -> None:
    method = next(m for m in METHODS if m.name == name)
    request = request_of(method, "runtimes/rt-a/trials/1")
    request.parents.append("runtimes/rt-b/trials/1")
    assert await call(channel, method, request, secured.trainer_token("rt-a")) is Code.PERMISSION_DENIED


async def test_calls_beyond_those_that_a_connection_takes_at_once_wait_and_are_answered(secured: SecuredServer) -> None:
    """Also those that begin before the client has heard of the limit."""
    method = next(m for m in METHODS if m.name == "GetRuntime")
    request, token = request_of(method, "runtimes/rt-a"), secured.token(Role.VIEWER)
    async with grpc.aio.insecure_channel(secured.address, [("grpc.use_local_subchannel_pool", 1)]) as fresh:
        calls = [call(fresh, method, request, token) for _ in range(3 * MAX_CALLS_PER_CONNECTION)]
        assert set(await asyncio.gather(*calls)) == {Code.UNIMPLEMENTED}


async def test_an_rpc_without_a_rule_is_closed_even_to_admins(
    secured: SecuredServer, channel: grpc.aio.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = METHODS[0]
    monkeypatch.delitem(RULES, path_of(method))
    assert await call(channel, method, request_of(method), secured.token(Role.ADMIN)) is Code.PERMISSION_DENIED


async def test_health_is_open_and_reflection_is_not(secured: SecuredServer, channel: grpc.aio.Channel) -> None:
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
    answer = await reflect(("authorization", f"Bearer {secured.token(Role.VIEWER)}"))
    assert "milepost.api.runtime.v1.RuntimeService" in [s.name for s in answer.list_services_response.service]


async def test_watchers_of_health_do_not_take_the_places_of_others(
    secured: SecuredServer, channel: grpc.aio.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    watches = [health.Watch(health_pb2.HealthCheckRequest(), timeout=60) for _ in range(100)]
    for watch in watches:
        await watch.read()
    # One connection has no more calls than these.
    async with grpc.aio.insecure_channel(secured.address, [OWN_CONNECTION]) as another:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            async for _ in health_pb2_grpc.HealthStub(another).Watch(health_pb2.HealthCheckRequest(), timeout=10):
                pass
    assert refused.value.code() is Code.RESOURCE_EXHAUSTED
    for watch in watches:
        watch.cancel()


async def test_on_loopback_the_command_line_is_known_by_its_user(tmp_path: Path) -> None:
    async with running_secured(tmp_path) as secured, grpc.aio.insecure_channel(secured.address) as channel:
        method = next(m for m in METHODS if m.name == "StopRuntime")
        for claimed, actor in (
            ("local:ann", "local:ann"),
            ("", "anonymous@loopback"),
            ("admin", "unverified:admin"),
            ("local:<b>", "unverified:local:?b?"),
        ):
            secured.observations.clear()
            metadata = {"mp_actor": claimed} if claimed else {}
            assert await call(channel, method, request_of(method), "", **metadata) is Code.UNIMPLEMENTED
            assert [o.actor for o in secured.observations] == [actor]
        # A token that is shown must be valid even where none is needed.
        assert await call(channel, method, request_of(method), "mp_x_y") is Code.UNAUTHENTICATED


async def test_with_a_token_a_claimed_name_counts_for_nothing(
    secured: SecuredServer, channel: grpc.aio.Channel
) -> None:
    method = next(m for m in METHODS if m.name == "StopRuntime")
    token = secured.token(Role.OPERATOR, "ann")
    await call(channel, method, request_of(method, "runtimes/rt-a"), token, mp_actor="local:root")
    (seen,) = secured.observations
    assert (seen.result, seen.actor, seen.resource) == (Result.ALLOWED, "ann", "runtimes/rt-a")
    assert seen.operation == "milepost.api.runtime.v1.RuntimeService/StopRuntime"


def test_a_server_that_others_could_reach_does_not_start_open(tmp_path: Path) -> None:
    from services.access.guard import open_access
    from tests.integration.security.secured import settings_of

    with pytest.raises(SystemExit, match="token create"):
        open_access(settings_of(tmp_path, runtime_listen="0.0.0.0:0"), "runtime")


async def test_one_reader_takes_no_place_of_others_and_none_of_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "MAX_READS": 4,
        "MAX_READS_PER_CALLER": 3,
        "MAX_WATCHES_PER_CALLER": 3,
        "MAX_EXPORTS": 2,
        "MAX_EXPORTS_PER_CALLER": 1,
    }.items():
        monkeypatch.setattr(authentication, name, value)
    going_on = asyncio.Event()

    async def slow(self: Any, request: Any, context: grpc.aio.ServicerContext) -> Any:
        await going_on.wait()
        await context.abort(Code.UNIMPLEMENTED, "let in")

    async def slow_stream(self: Any, request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        await going_on.wait()
        await context.abort(Code.UNIMPLEMENTED, "let in")
        yield

    behaviours = {"GetRuntime": slow, "WatchRuntimes": slow_stream, "ExportBundle": slow_stream}
    async with (
        running_secured(tmp_path, authentication="required", behaviours=behaviours) as secured,
        grpc.aio.insecure_channel(secured.address) as channel,
    ):
        viewer, admin = secured.token(Role.VIEWER), secured.token(Role.ADMIN)

        async def held(name: str, count: int) -> tuple[list[Code], list[asyncio.Task[Code]]]:
            """Have a viewer make calls. Returns what became of those that ended, and those that go on."""
            method = next(m for m in METHODS if m.name == name)
            calls = [asyncio.create_task(call(channel, method, request_of(method), viewer)) for _ in range(count)]
            while sum(one.done() for one in calls) < count - {"ExportBundle": 1}.get(name, 3):
                await asyncio.sleep(0.01)
            return [one.result() for one in calls if one.done()], [one for one in calls if not one.done()]

        going = []
        for name, count in (("GetRuntime", 10), ("ExportBundle", 5), ("WatchRuntimes", 10)):
            refused, kept = await held(name, count)
            assert set(refused) == {Code.RESOURCE_EXHAUSTED}, name
            going += kept
        stop = next(m for m in METHODS if m.name == "StopRuntime")
        answers = await asyncio.gather(*(call(channel, stop, request_of(stop), admin) for _ in range(10)))
        assert set(answers) == {Code.UNIMPLEMENTED}, "commands have places of their own"
        get, export = (next(m for m in METHODS if m.name == name) for name in ("GetRuntime", "ExportBundle"))
        others = [asyncio.create_task(call(channel, one, request_of(one), admin)) for one in (get, export)]
        await asyncio.sleep(0.1)
        assert not any(one.done() for one in others), "a place is left for another reader"
        going_on.set()
        assert set(await asyncio.gather(*going, *others)) == {Code.UNIMPLEMENTED}
        assert await call(channel, get, request_of(get), viewer) is Code.UNIMPLEMENTED, "the places are free again"


async def test_calls_whose_request_never_comes_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authentication, "MAX_UNBEGUN", 3)
    monkeypatch.setattr(authentication, "REQUEST_SECONDS", 0.2)
    async with (
        running_secured(tmp_path, authentication="required") as secured,
        grpc.aio.insecure_channel(secured.address) as channel,
    ):
        token = secured.token(Role.VIEWER)
        metadata = (("authorization", f"Bearer {token}"),)
        get, watch = (next(m for m in METHODS if m.name == name) for name in ("GetRuntime", "WatchRuntimes"))
        # A call of this kind is opened before there is anything to send.
        opening: Any = channel.stream_stream(path_of(get), bytes, bytes)
        opened = [opening(metadata=metadata, timeout=20) for _ in range(3)]
        for one in opened:
            await one.wait_for_connection()
        async with asyncio.timeout(20):
            while (late := opening(metadata=metadata, timeout=2)) is not None:
                await late.wait_for_connection()
                if await late.code() is Code.DEADLINE_EXCEEDED and "request" in (await late.details()):
                    break
        for method in (get, watch):
            assert await call(channel, method, request_of(method), token) is Code.UNIMPLEMENTED, "others are served"
        for one in opened:
            one.cancel()


async def test_calls_without_their_request_are_refused_beyond_a_share_of_each_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authentication, "MAX_UNBEGUN", 2)
    monkeypatch.setattr(authentication, "MAX_AWAITED_PER_CALLER", 3)
    monkeypatch.setattr(authentication, "REQUEST_SECONDS", 60.0)
    async with (
        running_secured(tmp_path, authentication="required") as secured,
        grpc.aio.insecure_channel(secured.address) as channel,
    ):
        greedy, other = secured.token(Role.VIEWER), secured.token(Role.ADMIN)
        get = next(m for m in METHODS if m.name == "GetRuntime")
        opening: Any = channel.stream_stream(path_of(get), bytes, bytes)
        # Two that gRPC waits for, three that are waited for here, and those that are refused.
        opened = [opening(metadata=(("authorization", f"Bearer {greedy}"),), timeout=60) for _ in range(9)]
        async with asyncio.timeout(20):
            while sum(one.done() for one in opened) < 4:
                await asyncio.sleep(0.01)
        refused = [one for one in opened if one.done()]
        assert {await one.code() for one in refused} == {Code.RESOURCE_EXHAUSTED}
        assert "end some" in await refused[0].details()
        assert await call(channel, get, request_of(get), other) is Code.UNIMPLEMENTED, "others are served"
        for one in opened:
            one.cancel()
        async with asyncio.timeout(20):
            while await call(channel, get, request_of(get), greedy) is not Code.UNIMPLEMENTED:
                await asyncio.sleep(0.01)


async def test_one_connection_has_few_calls_at_once_and_the_gateway_further_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAX_CALLS_PER_CONNECTION", 4)
    at_work: list[str] = []
    going_on = asyncio.Event()

    async def slow_stream(self: Any, request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        at_work.append(context.peer())
        await going_on.wait()
        await context.abort(Code.UNIMPLEMENTED, "let in")
        yield

    gone: set[str] = set()

    async def reached(count: int) -> None:
        async with asyncio.timeout(20):
            while sum(peer not in gone for peer in at_work) < count:
                await asyncio.sleep(0.01)

    watch, stop = (next(m for m in METHODS if m.name == name) for name in ("WatchEvents", "StopRuntime"))
    async with (
        running_secured(tmp_path, behaviours={"WatchEvents": slow_stream}) as secured,
        grpc.aio.insecure_channel(secured.address, [OWN_CONNECTION]) as greedy,
        grpc.aio.insecure_channel(secured.address, [OWN_CONNECTION]) as other,
        grpc.aio.insecure_channel(secured.address, [OWN_CONNECTION]) as first,
    ):
        watches = [asyncio.create_task(call(greedy, watch, request_of(watch))) for _ in range(20)]
        await reached(4)
        assert await call(other, stop, request_of(stop)) is Code.UNIMPLEMENTED, "a command of others is not behind it"
        assert len(at_work) == 4
        for one in watches:
            one.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
        # One of its calls may still come.
        gone.update(at_work)
        at_work.clear()
        monkeypatch.setattr(spread, "ROOM", 3)
        services = Services(
            {"runtime": first}, another=lambda name: grpc.aio.insecure_channel(secured.address, [OWN_CONNECTION])
        )
        request = request_of(watch)
        streams = [services.stream("RuntimeService.WatchEvents", request) for _ in range(20)]
        pages = [asyncio.ensure_future(anext(aiter(stream))) for stream in streams]
        await reached(20)
        assert len(set(at_work) - gone) == 7
        going_on.set()
        ended = await asyncio.gather(*pages, return_exceptions=True)
        assert {error.code() for error in ended if isinstance(error, grpc.aio.AioRpcError)} == {Code.UNIMPLEMENTED}
        await services.close()
