"""Bad input gets the code that docs/reliability.md lists, says what is wrong with which field, and changes nothing."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from milepost import ids
from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.api.event.v1 import recorded_event_pb2 as events_api
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from services.rpc.limits import Rate
from services.runtime import snapshots
from services.runtime.commands import base, preflight
from tests.integration.runtime.harness import Stack, refusal, running, text
from tests.support.servers.servers import NatsServer
from tests.support.trainers.events import NO_MOMENTS

LONG = {"parameters": {"steps": 100_000}}
UNKNOWN = f"runtimes/{ids.new_runtime_id()}"
BAD_IDS = ["", "*", ">", ".", "..", "a.b", "A", "-a", "a b", "\u0430", "a\n", "a\r", "a\0", "a" * 64, "\u202ea"]
SNAPSHOT = "runtimes/rt-1/trials/1/snapshots/step-000000000001-a1"


@dataclass(frozen=True)
class Row:
    """A call, the code and the reason it is refused with, and the field or the words that its message must name."""

    call: Any
    code: str
    reason: str
    says: str


def invalid(call: Any, field: str) -> Row:
    return Row(call, "INVALID_ARGUMENT", "INVALID_ARGUMENT", field)


@pytest.fixture
async def stack(shared_nats: NatsServer, tmp_path: Path) -> AsyncIterator[Stack]:
    async with running(shared_nats, tmp_path / "data") as stack:
        yield stack


def deep(levels: int) -> str:
    return json.dumps({"name": "deep"})[:-1] + ', "parameters": ' + '{"a": ' * levels + "1" + "}" * levels + "}"


def bad_starts(stub: Any) -> list[Row]:
    """Starts that are refused."""

    def start(**fields: Any) -> Any:
        return stub.StartRuntime(api.StartRuntimeRequest(**{"configuration_text": text(), **fields}))

    def configured(**changes: Any) -> Any:
        return start(configuration_text=text(**changes))

    return [
        invalid(stub.StartRuntime(api.StartRuntimeRequest()), "configuration_text"),
        invalid(start(configuration_text=""), "configuration_text"),
        invalid(start(configuration_text="a: ["), "configuration_text"),
        invalid(start(configuration_text="x" * 300_000), "configuration_text"),
        invalid(start(configuration_text=deep(25)), "configuration_text"),
        invalid(configured(surprise=1), "surprise"),
        invalid(configured(name="x" * 201), "name"),
        invalid(configured(name=f"with hf_{'a' * 34}"), "name"),
        invalid(configured(name="a\x07"), "name"),
        invalid(configured(parameters={"steps": float("nan")}), "configuration_text"),
        invalid(start(configuration_text="name: a\nentrypoint: a:b\nparameters: {x: .nan}"), "parameters.x"),
        invalid(configured(launcher="pbs"), "launcher"),
        invalid(configured(priority=10**9), "priority"),
        invalid(configured(resources={"workers": -1}), "resources.workers"),
        invalid(configured(snapshots={"every_steps": 0}), "snapshots.every_steps"),
        invalid(configured(snapshots={"keep_best": {"metric": "line\nfeed"}}), "snapshots.keep_best.metric"),
        invalid(configured(snapshots={"storage": "relative/path"}), "snapshots.storage"),
        invalid(configured(snapshots={"storage": "/a/../b"}), "snapshots.storage"),
        invalid(configured(snapshots={"storage": "s3://key:secret@bucket/path"}), "snapshots.storage"),
        invalid(configured(snapshots={"storage": "hdfs://nowhere.invalid/path"}), "snapshots.storage"),
        invalid(configured(snapshots={"storage": "/proc/nothing"}), "snapshots.storage"),
        invalid(configured(working_directory="relative"), "working_directory"),
        invalid(configured(working_directory="/tmp/../etc"), "working_directory"),
        invalid(configured(working_directory="/no/such/folder"), "working_directory"),
        invalid(configured(entrypoint="tests.no_such_module:train"), "entrypoint"),
        invalid(configured(entrypoint="tests.support.trainers.scripted_trainer:no_such_function"), "entrypoint"),
        invalid(configured(entrypoint="no_such_file.py:train", working_directory="/tmp"), "entrypoint"),
        invalid(configured(entrypoint="../escape.py:train", working_directory="/tmp"), "entrypoint"),
        invalid(configured(initialize_from="runtimes/*/trials/1/snapshots/x"), "initialize_from"),
        invalid(configured(labels={"Bad Key": "x"}), "labels"),
        invalid(configured(parameters={"api_key": "abc"}), "parameters.api_key"),
        invalid(configured(environment={"HF_TOKEN": "abc"}), "environment.HF_TOKEN"),
        invalid(configured(labels={"password": "abc"}), "labels.password"),
        invalid(configured(not_secret="api_key"), "not_secret"),
        invalid(start(runtime_id="rt-1"), "runtime_id"),
        invalid(start(runtime_id="*"), "runtime_id"),
        invalid(start(runtime_id="00000000-0000-0000-0000-000000000000"), "runtime_id"),
        invalid(start(request_id="x" * 200), "request_id"),
        invalid(start(request_id="a\nb"), "request_id"),
        Row(configured(resources={"cpus_per_worker": 64}), "RESOURCE_EXHAUSTED", "INFEASIBLE_RESOURCES", "64 CPUs"),
        Row(configured(resources={"gpus_per_worker": 9}), "RESOURCE_EXHAUSTED", "INFEASIBLE_RESOURCES", "9 GPUs"),
        Row(
            configured(resources={"memory_gigabytes_per_worker": 4_096}),
            "RESOURCE_EXHAUSTED",
            "INFEASIBLE_RESOURCES",
            "4096 GB",
        ),
        Row(configured(launcher="ray"), "FAILED_PRECONDITION", "LAUNCHER_UNAVAILABLE", "MILEPOST_RAY_ADDRESS"),
        Row(configured(initialize_from=SNAPSHOT), "NOT_FOUND", "SNAPSHOT_NOT_FOUND", SNAPSHOT),
        Row(
            configured(environment={"T": {"secret": "NONE"}}),
            "FAILED_PRECONDITION",
            "SECRET_UNKNOWN",
            "the secret NONE",
        ),
    ]


def bad_commands(stub: Any, name: str, request_id: str) -> list[Row]:
    """Commands on a runtime that trains, or on none."""
    resume, other = api.ResumeRuntimeRequest, UNKNOWN.removeprefix("runtimes/")
    reused = api.StartRuntimeRequest(configuration_text=text(name="another"), request_id=request_id)
    taken = api.StartRuntimeRequest(configuration_text=text(name="another"), runtime_id=name.removeprefix("runtimes/"))
    return [
        Row(stub.StartRuntime(reused), "ALREADY_EXISTS", "REQUEST_ID_REUSED", "another body"),
        Row(stub.StartRuntime(taken), "ALREADY_EXISTS", "RUNTIME_EXISTS", "another configuration"),
        Row(stub.StopRuntime(api.StopRuntimeRequest(name=UNKNOWN)), "NOT_FOUND", "RUNTIME_NOT_FOUND", other),
        invalid(stub.StopRuntime(api.StopRuntimeRequest(name=name, mode=9)), "mode"),  # type: ignore[arg-type]
        invalid(stub.StopRuntime(api.StopRuntimeRequest(name=name, reason="\x00")), "reason"),
        invalid(stub.StopRuntime(api.StopRuntimeRequest(name=name, reason="x" * 1_001)), "reason"),
        invalid(stub.StopRuntime(api.StopRuntimeRequest(name=name, deadline=Duration(seconds=-1))), "deadline"),
        invalid(stub.StopRuntime(api.StopRuntimeRequest(name=name, deadline=Duration(seconds=90_000))), "deadline"),
        Row(stub.StopRuntime(api.StopRuntimeRequest(name=name, etag="1")), "ABORTED", "ETAG_MISMATCH", "has changed"),
        Row(stub.DeleteRuntime(api.DeleteRuntimeRequest(name=name, etag="1")), "ABORTED", "ETAG_MISMATCH", "changed"),
        invalid(stub.StopTrial(api.StopTrialRequest(name=f"{name}/trials/0")), "name"),
        invalid(stub.ResumeTrial(api.ResumeTrialRequest(name=f"{name}/trials/x")), "name"),
        Row(
            stub.StopTrial(api.StopTrialRequest(name=f"{name}/trials/7")), "NOT_FOUND", "TRIAL_NOT_FOUND", "no trial 7"
        ),
        invalid(stub.ResumeRuntime(resume(name=name, configuration_changes_text="[")), "configuration_changes_text"),
        Row(
            stub.ResumeRuntime(resume(name=name, configuration_changes_text="entrypoint: c:d")),
            "FAILED_PRECONDITION",
            "NOT_A_CONTINUATION",
            "entrypoint",
        ),
        Row(
            stub.DeleteRuntime(api.DeleteRuntimeRequest(name=name)),
            "FAILED_PRECONDITION",
            "RUNTIME_IN_PROGRESS",
            "stop it first",
        ),
        Row(stub.DeleteRuntime(api.DeleteRuntimeRequest(name=UNKNOWN)), "NOT_FOUND", "RUNTIME_NOT_FOUND", other),
        Row(stub.CloneRuntime(api.CloneRuntimeRequest(name=UNKNOWN)), "NOT_FOUND", "RUNTIME_NOT_FOUND", other),
        invalid(
            stub.CloneRuntime(api.CloneRuntimeRequest(name=name, configuration_changes_text="nonsense: 1")), "nonsense"
        ),
        Row(stub.PreviewStop(api.PreviewStopRequest(name=name, trial=9)), "NOT_FOUND", "TRIAL_NOT_FOUND", "no trial 9"),
    ]


def bad_queries(stub: Any, name: str) -> list[Row]:
    """Queries that are refused."""

    def listed(**fields: Any) -> Any:
        return stub.ListRuntimes(api.ListRuntimesRequest(**fields))

    def events(**fields: Any) -> Any:
        return stub.ListEvents(api.ListEventsRequest(**{"parent": name, **fields}))

    def filtered(**fields: Any) -> Any:
        return events(filter=api.EventFilter(**fields))

    past_the_end = events_api.AsOf(events_sequence=2**40)
    ahead = [
        stub.WatchRuntimes(api.WatchRuntimesRequest(after_sequence=2**40)).read(),
        stub.WatchRuntimes(api.WatchRuntimesRequest(name=name, after_sequence=2**40)).read(),
        stub.WatchEvents(api.WatchEventsRequest(parent=name, after_sequence=2**40)).read(),
        stub.GetRuntime(api.GetRuntimeRequest(name=name, min_sequence=2**40)),
        listed(min_sequence=2**40),
        events(min_sequence=2**40),
    ]
    return [
        *(Row(call, "OUT_OF_RANGE", "PAST_THE_END", "begin again without a position") for call in ahead),
        invalid(stub.WatchRuntimes(api.WatchRuntimesRequest(after_sequence=-1)).read(), "after_sequence"),
        invalid(stub.WatchEvents(api.WatchEventsRequest(parent=name, after_sequence=2**53)).read(), "after_sequence"),
        *(
            invalid(stub.GetRuntime(api.GetRuntimeRequest(name=name, min_sequence=no)), "min_sequence")
            for no in (-1, 2**53)
        ),
        *(invalid(listed(min_sequence=no), "min_sequence") for no in (-1, 2**53)),
        *(invalid(events(min_sequence=no), "min_sequence") for no in (-1, 2**53)),
        *(invalid(stub.GetRuntime(api.GetRuntimeRequest(name=f"runtimes/{bad}")), "name") for bad in BAD_IDS),
        invalid(stub.GetRuntime(api.GetRuntimeRequest(name="")), "name"),
        Row(stub.GetRuntime(api.GetRuntimeRequest(name=UNKNOWN)), "NOT_FOUND", "RUNTIME_NOT_FOUND", "no runtime"),
        Row(
            stub.GetRuntime(api.GetRuntimeRequest(name=name, as_of=past_the_end)),
            "OUT_OF_RANGE",
            "PAST_THE_END",
            "the log ends at",
        ),
        *(invalid(stub.GetRuntime(api.GetRuntimeRequest(name=name, as_of=no)), "as_of") for no in NO_MOMENTS),
        *(invalid(events(as_of=no), "as_of") for no in NO_MOMENTS),
        *(invalid(stub.ListSnapshots(api.ListSnapshotsRequest(parent=name, as_of=no)), "as_of") for no in NO_MOMENTS),
        invalid(listed(page_size=-1), "page_size"),
        invalid(listed(page_size=1_001), "page_size"),
        invalid(listed(page_token="nonsense"), "page_token"),
        invalid(listed(filter="status=Sleeping"), "filter"),
        invalid(listed(filter="nonsense=1"), "filter"),
        invalid(listed(order_by="size"), "order_by"),
        invalid(events(parent="trials/1"), "parent"),
        invalid(events(after_sequence=-1), "after_sequence"),
        invalid(events(page_size=1_001), "page_size"),
        invalid(events(page_token="nonsense"), "page_token"),
        invalid(filtered(types=["x"]), "filter.types"),
        invalid(filtered(scope=9), "filter.scope"),
        invalid(filtered(categories=[99]), "filter.categories"),
        invalid(filtered(trial=-1), "filter.trial"),
        invalid(filtered(start_time=Timestamp(seconds=10**15)), "filter.start_time"),
        Row(events(parent=UNKNOWN), "NOT_FOUND", "RUNTIME_NOT_FOUND", "no runtime"),
        Row(events(behind_event_id="x"), "NOT_FOUND", "EVENT_NOT_FOUND", "no event"),
        invalid(events(parent="runtimes/-", behind_event_id="x"), "behind_event_id"),
        invalid(stub.ListSnapshots(api.ListSnapshotsRequest(parent="x")), "parent"),
    ]


def violated_fields(error: grpc.aio.AioRpcError) -> list[str]:
    """The fields that a refusal names; each has a description."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    request = error_details_pb2.BadRequest()
    for detail in status.details if status is not None else ():
        if detail.Unpack(request):
            assert all(violation.description for violation in request.field_violations)
            return [violation.field for violation in request.field_violations]
    return []


async def commanded(stack: Stack, name: str) -> list[str]:
    """What was appended because of commands; the run trains meanwhile, and the scheduler watches it."""
    return [event.type for event in await stack.events(name) if not event.actor.startswith("service:")]


async def test_bad_input_gets_its_code_says_what_is_wrong_and_appends_nothing(stack: Stack) -> None:
    request = api.StartRuntimeRequest(configuration_text=text(**LONG), request_id=ids.new_event_id())
    name = (await stack.stub.StartRuntime(request)).runtime.name
    await stack.wait_phase(name, api.RUNTIME_PHASE_RUNNING)
    before = await commanded(stack, name)
    assert len(before) == 2, "its request and its trial"
    known = set(stack.application.views.runtimes)
    stub = stack.stub
    table = [*bad_starts(stub), *bad_commands(stub, name, request.request_id), *bad_queries(stub, name)]
    wrong: list[tuple[int, str, tuple[str, str], str | None]] = []
    for number, row in enumerate(table):
        try:
            await row.call
        except grpc.aio.AioRpcError as refused:
            error = refused
        else:
            wrong.append((number, row.says, ("OK", ""), "it was accepted"))
            continue
        named = violated_fields(error) if row.code == "INVALID_ARGUMENT" else [error.details() or ""]
        if refusal(error) != (row.code, row.reason) or not any(row.says in words for words in named):
            wrong.append((number, row.says, refusal(error), error.details()))
    assert not wrong, wrong
    assert await commanded(stack, name) == before
    assert set(stack.application.views.runtimes) == known, "no runtime was made"
    print(f"{len(table)} refusals")
    await stack.stub.DeleteRuntime(api.DeleteRuntimeRequest(name=name, force=True))
    await stack.wait_phase(name, api.RUNTIME_PHASE_DELETED)


async def test_all_violations_of_a_configuration_come_at_once(stack: Stack) -> None:
    wrong = text(name="x" * 201, surprise=1, priority=10**9, snapshots={"every_steps": 0}, parameters={"a b": 1})
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stack.stub.StartRuntime(api.StartRuntimeRequest(configuration_text=wrong))
    assert set(violated_fields(caught.value)) == {
        "name", "surprise", "priority", "snapshots.every_steps", "parameters",
    }  # fmt: skip


async def test_a_typed_configuration_is_refused_with_all_that_is_wrong_with_it(stack: Stack) -> None:
    """A parameter that is no scalar, or one that looks like a secret, hides neither other fields nor the missing file."""
    for parameters in ({"x": "adam"}, {"api_key": '"abc"'}):
        wrong = RuntimeConfiguration(
            entrypoint="no_such_file.py:train", working_directory="/tmp", parameters=parameters
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stack.stub.StartRuntime(api.StartRuntimeRequest(configuration=wrong))
        assert violated_fields(caught.value) == [f"parameters.{next(iter(parameters))}", "entrypoint"]


async def test_a_refusal_with_very_many_violations_arrives_and_says_how_many(stack: Stack) -> None:
    """A status travels in metadata, whose size is limited."""
    wrong = text(**{f"surprise_{number}_{'ä' * 50}": 1 for number in range(500)})
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stack.stub.StartRuntime(api.StartRuntimeRequest(configuration_text=wrong))
    assert refusal(caught.value) == ("INVALID_ARGUMENT", "INVALID_ARGUMENT")
    fields = violated_fields(caught.value)
    assert fields[0].startswith("surprise_0_")
    assert fields[-1] == "..."
    assert 5 < len(fields) < 500


async def test_ended_runtimes_and_unverified_snapshots_are_refused(stack: Stack) -> None:
    """What the state does not allow, and a snapshot that was changed: FAILED_PRECONDITION, with the cause."""
    runtime = await stack.start()
    await stack.wait_ended(runtime.name)
    snapshots = (await stack.stub.ListSnapshots(api.ListSnapshotsRequest(parent=runtime.name))).snapshots
    file = Path(snapshots[0].uri.removeprefix("file://")) / "state.pt"
    file.write_bytes(b"x" + file.read_bytes()[1:])
    sequence = (await stack.get(runtime.name)).sequence
    from_changed = api.StartRuntimeRequest(configuration_text=text(initialize_from=snapshots[0].name))
    table = [
        Row(
            stack.stub.StopRuntime(api.StopRuntimeRequest(name=runtime.name)),
            "FAILED_PRECONDITION",
            "RUNTIME_ENDED",
            "Completed",
        ),
        Row(
            stack.stub.ResumeRuntime(api.ResumeRuntimeRequest(name=runtime.name)),
            "FAILED_PRECONDITION",
            "RUNTIME_COMPLETED",
            "larger total",
        ),
        Row(
            stack.stub.StopTrial(api.StopTrialRequest(name=f"{runtime.name}/trials/1")),
            "FAILED_PRECONDITION",
            "TRIAL_ENDED",
            "Completed",
        ),
        Row(stack.stub.StartRuntime(from_changed), "FAILED_PRECONDITION", "SNAPSHOT_INVALID", "another checksum"),
    ]
    for row in table:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await row.call
        assert refusal(caught.value) == (row.code, row.reason)
        assert row.says in (caught.value.details() or "")
    assert (await stack.get(runtime.name)).sequence == sequence


async def test_what_a_configuration_names_may_hang_and_holds_up_nobody_else(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe.tar.gz")
    code = {"uri": (tmp_path / "pipe.tar.gz").as_uri(), "digest": "sha256:" + "0" * 64}
    hangs = threading.Event()
    for name, seconds in (("STORAGE_SECONDS", 0.5), ("READ_SECONDS", 1.0), ("FETCH_SECONDS", 1.0)):
        monkeypatch.setattr(preflight, name, seconds)
    monkeypatch.setattr(snapshots, "check_writable", lambda storage: hangs.wait())

    async def start(caller: str, **changes: Any) -> str:
        request = api.StartRuntimeRequest(configuration_text=text(**changes), validate_only=bool(changes))
        try:
            answer = await stack.stub.StartRuntime(request, metadata=(("mp-actor", f"local:{caller}"),), timeout=20)
        except grpc.aio.AioRpcError as error:
            return refusal(error)[1]
        return str(answer.runtime.name)

    try:
        piped = await asyncio.gather(*(start("ann", code=code, entrypoint="train.py:main") for _ in range(8)))
        assert set(piped) == {"CODE_INVALID"}, "a pipe is not waited for"
        slow = {"storage": str(tmp_path / "slow")}
        hung = await asyncio.gather(*(start("ann", snapshots=slow) for _ in range(16)))
        assert set(hung) == {"INVALID_ARGUMENT", "TOOK_TOO_LONG"}
        assert await start("ann", entrypoint="tests.support.trainers.scripted_trainer:nothing") == "TOOK_TOO_LONG"
        name = await start("bob")
        await stack.wait_ended(name)
    finally:
        hangs.set()


async def test_checks_in_vain_are_held_back_before_commands_are(
    shared_nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "COMMAND_RATE", Rate(per_second=1, burst=80))
    async with running(shared_nats, tmp_path / "data") as stack:

        async def reason(caller: str, validate_only: bool, **changes: Any) -> str:
            request = api.StartRuntimeRequest(configuration_text=text(**changes), validate_only=validate_only)
            try:
                await stack.stub.StartRuntime(request, metadata=(("mp-actor", f"local:{caller}"),), timeout=20)
            except grpc.aio.AioRpcError as error:
                return refusal(error)[1]
            return ""

        answers = [await reason("ann", False, surprise=1), await reason("ann", True), await reason("ann", False)]
        assert answers == ["INVALID_ARGUMENT", "", "RATE_EXCEEDED"]
        assert [await reason("bob", False) for _ in range(5)] == [""] * 5, "starts count as what they are"
