"""Scripts of other machines: who started a runtime gets the credentials of its attempt, and nobody else does."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.event.v1 import platform_events_pb2 as platform_facts
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.api.runtime.v1.runtime_service_pb2_grpc import RuntimeServiceStub
from milepost.api.training.v1 import launch_service_pb2 as launch_api
from milepost.api.training.v1.launch_service_pb2_grpc import LaunchServiceStub
from milepost.domain import runtime
from milepost.eventlog import PLATFORM_SUBJECT, codec
from milepost.eventlog.nats.connection import connect
from milepost.eventlog.nats.credentials import (
    ADMIN,
    credentials_path,
    open_authority,
    user_of,
    write_service_credentials,
)
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.eventlog.nats.streams import ensure_streams
from milepost.ids import new_runtime_id
from milepost.security.tokens import Role, TokenStore
from milepost.security.transport import ClientTls, open_aio_channel
from services.access.guard import open_access
from services.runtime.application import Application, Options
from services.runtime.policies.placement import Capacity
from services.runtime.readmodel.view import RuntimeView
from tests.integration.security.certificates import Certificates, make_certificates
from tests.integration.security.secured import settings_of
from tests.support.servers.servers import NatsServer, running_nats
from tests.support.trainers.attempts import Writer

Code = grpc.StatusCode
ROOT = Path(__file__).resolve().parents[3]
SECONDS = 60.0
SCRIPT = """
import milepost
trial = milepost.init("elsewhere", total_steps=20)
for step in range(1, 21):
    trial.log({"train/loss": 1.0 / step})
"""
# Arguments: id of the run to go on with, or "", and the step at which it fails.
RESUMABLE_SCRIPT = """
import sys
import milepost
trial = milepost.init("elsewhere", total_steps=20, snapshots={"every_steps": 5}, resume=sys.argv[1])
state = trial.restore() or {"step": 0}
for step in range(state["step"] + 1, 21):
    if step == int(sys.argv[2]):
        raise RuntimeError("no more data")
    trial.log({"train/loss": 1.0 / step})
    trial.maybe_snapshot(lambda: {"step": step})
"""
SYNC = "import milepost; print(milepost.sync(seconds=20))"
NOWHERE = {"MILEPOST_RUNTIME_ADDRESS": "127.0.0.1:9", "MILEPOST_NATS_URL": "nats://127.0.0.1:9"}


@dataclass
class Installation:
    """A runtime service that asks for tokens, on a broker that asks for users."""

    application: Application
    nats: NatsServer
    data_dir: Path
    channel: grpc.aio.Channel
    # What a client on another machine is told besides its token.
    client_environment: dict[str, str]

    def token(self, name: str, role: Role = Role.OPERATOR) -> str:
        return TokenStore(self.data_dir / "tokens.json").create(name, role, created_by="local:test")[1]

    async def start(self, token: str, launcher: config.Launcher = config.LAUNCHER_EXTERNAL) -> str:
        """Start a runtime, and wait until its attempt is launched. Returns its id."""
        configuration = config.RuntimeConfiguration(name="mine", launcher=launcher)
        request = api.StartRuntimeRequest(configuration=configuration, runtime_id=new_runtime_id(), request_id="r" * 20)
        await RuntimeServiceStub(self.channel).StartRuntime(request, metadata=shown(token), timeout=SECONDS)  # type: ignore[misc]
        async with asyncio.timeout(SECONDS):
            while (
                1 not in (trials := self.application.views.runtimes[request.runtime_id].trials)
                or not trials[1].state.active
            ):
                await asyncio.sleep(0.05)
        return request.runtime_id

    async def take_up(self, token: str, runtime_id: str, attempt: int = 1) -> Any:
        stub: Any = LaunchServiceStub(self.channel)
        request = launch_api.TakeUpAttemptRequest(name=f"runtimes/{runtime_id}/trials/1", attempt=attempt)
        return await stub.TakeUpAttempt(request, metadata=shown(token), timeout=SECONDS)

    async def run(
        self, code: str, folder: Path, token: str, *arguments: str, **environment: str
    ) -> tuple[int, str, str]:
        """Run a script as on another machine: with addresses and a token, without keys."""
        folder.mkdir(exist_ok=True)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, *arguments, cwd=folder,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env={
                **os.environ, "PYTHONPATH": str(ROOT), "MILEPOST_DATA_DIR": str(folder), "MILEPOST_TOKEN": token,
                "MILEPOST_RUNTIME_ADDRESS": f"127.0.0.1:{self.application.port}", "MILEPOST_NATS_URL": self.nats.url,
                **self.client_environment, **environment,
            },
        )  # fmt: skip
        async with asyncio.timeout(SECONDS):
            out, errors = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), errors.decode()


def shown(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


@pytest.fixture
async def installation(tmp_path: Path) -> AsyncIterator[Installation]:
    async with running_installation(tmp_path / "server", None) as installed:
        yield installed


@asynccontextmanager
async def running_installation(folder: Path, certificates: Certificates | None) -> AsyncIterator[Installation]:
    """Run it; with certificates callers must speak TLS, on this machine also."""
    folder.mkdir()
    authority = open_authority(folder / "keys")
    write_service_credentials(folder / "keys")
    with running_nats(folder, authority=authority) as nats:
        async with await connect(nats.url, credentials=credentials_path(folder / "keys", "runtime")) as connection:
            await ensure_streams(connection)
        tls_settings = certificates.settings if certificates is not None else {}
        settings = settings_of(folder, authentication="required", **tls_settings)
        application = Application(
            Options(
                listen="127.0.0.1:0", data_dir=folder, nats_url=nats.url, metrics_address="", trials_address="",
                capacity=Capacity("here", 2, 4), keys_dir=folder / "keys",
                open_access=lambda observer: open_access(settings, "runtime", observer),
            )
        )  # fmt: skip
        await application.start()
        tls = ClientTls(certificates.ca if certificates is not None else None)
        environment = {"MILEPOST_TLS_CA": str(certificates.ca)} if certificates is not None else {}
        async with open_aio_channel(f"127.0.0.1:{application.port}", tls, []) as channel:
            yield Installation(application, nats, folder, channel, environment)
        await application.stop()


async def refused(call: Any) -> tuple[Code, str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value.code(), error.value.details() or ""


async def test_who_started_a_runtime_or_is_an_admin_gets_the_user_of_its_attempt(installation: Installation) -> None:
    ann, bob = installation.token("ann"), installation.token("bob")
    runtime_id = await installation.start(ann)
    for token in (ann, ann, installation.token("root", Role.ADMIN)):
        told = await installation.take_up(token, runtime_id)
        assert user_of(told.nats_credentials) == f"{runtime_id}_1_1"
        assert (told.launch.runtime_id, told.launch.attempt) == (runtime_id, 1)
    for token in (bob, installation.token("viewer", Role.VIEWER)):
        code, words = await refused(installation.take_up(token, runtime_id))
        assert code is Code.PERMISSION_DENIED, words
    assert (await refused(installation.take_up(ann, runtime_id, -1)))[0] is Code.INVALID_ARGUMENT
    assert (await refused(installation.take_up(ann, new_runtime_id())))[0] is Code.NOT_FOUND
    assert (await refused(installation.take_up("mp_x_y", runtime_id)))[0] is Code.UNAUTHENTICATED
    await installation.application._access_log.flush()
    seen = {(actor, fact.result) for actor, fact in await access_facts(installation) if "TakeUp" in fact.operation}
    allowed, denied = platform_facts.ACCESS_RESULT_ALLOWED, platform_facts.ACCESS_RESULT_PERMISSION_DENIED
    unknown = ("unauthenticated", platform_facts.ACCESS_RESULT_UNAUTHENTICATED)
    assert seen == {("ann", allowed), ("root", allowed), ("bob", denied), ("viewer", denied), unknown}


async def access_facts(installation: Installation) -> list[tuple[str, Any]]:
    credentials = credentials_path(installation.data_dir / "keys", ADMIN)
    async with await connect(installation.nats.url, credentials=credentials) as connection:
        events = await JetStreamLog(connection).read_chain(PLATFORM_SUBJECT)
    return [(event.actor, codec.decode(event.type, event.body)) for event in events]


async def test_a_script_of_another_machine_records_with_its_token_alone(
    installation: Installation, tmp_path: Path
) -> None:
    token = installation.token("ann")
    credentials = credentials_path(installation.data_dir / "keys", ADMIN)
    async with await connect(installation.nats.url, credentials=credentials) as own, Writer(own, "*") as writer:
        status, _, errors = await installation.run(SCRIPT, tmp_path / "elsewhere", token)
        assert status == 0, errors
        (view,) = installation.application.views.runtimes.values()
        await ended(installation)
        assert view.state.status is runtime.Status.COMPLETED, errors
        assert view.created is not None and view.created.actor == "ann"
        assert writer.points("train/loss")[1] == {step: 1.0 / step for step in range(1, 21)}
        (kept,) = (tmp_path / "elsewhere").rglob("nats.creds")
        assert kept.stat().st_mode & 0o077 == 0
        assert (await refused(installation.take_up(token, view.runtime_id)))[0] is Code.FAILED_PRECONDITION
        status, _, errors = await installation.run(SCRIPT, tmp_path / "viewer", installation.token("v", Role.VIEWER))
        assert status == 0, errors
        assert "refuses this run" in errors and len(installation.application.views.runtimes) == 1


async def test_over_tls_a_script_of_another_machine_records_goes_on_and_sends_later(tmp_path: Path) -> None:
    """Fails in the middle, goes on from its snapshot, and a third one finds no server and is sent afterwards."""
    elsewhere = tmp_path / "elsewhere"
    async with running_installation(tmp_path / "server", make_certificates(tmp_path / "certificates")) as installed:
        token = installed.token("ann")
        credentials = credentials_path(installed.data_dir / "keys", ADMIN)
        async with await connect(installed.nats.url, credentials=credentials) as own, Writer(own, "*") as writer:
            status, _, errors = await installed.run(RESUMABLE_SCRIPT, elsewhere, token, "", "13")
            assert status == 1, errors
            await ended(installed)
            (view,) = installed.application.views.runtimes.values()
            assert status_of(view) == "FAILED", errors
            bob = installed.token("bob")
            status, _, errors = await installed.run(RESUMABLE_SCRIPT, tmp_path / "bob", bob, view.runtime_id, "0")
            assert status == 1 and "bob did not start this runtime" in errors, errors
            resume = api.ResumeTrialRequest(name=f"runtimes/{view.runtime_id}/trials/1", request_id="r" * 20)
            stub: Any = RuntimeServiceStub(installed.channel)
            code, words = await refused(stub.ResumeTrial(resume, metadata=shown(bob), timeout=SECONDS))
            assert code is Code.PERMISSION_DENIED, words
            assert status_of(view) == "FAILED", "a resume that nobody could take up has not begun"
            status, _, errors = await installed.run(RESUMABLE_SCRIPT, elsewhere, token, view.runtime_id, "0")
            assert status == 0, errors
            await ended(installed)
            assert status_of(view) == "COMPLETED", errors
            points = writer.points("train/loss")
            # Which snapshot was whole when the script failed is up to the disk.
            restored = min(points[2]) - 1
            assert restored in (5, 10)
            assert (list(points[1]), list(points[2])) == (list(range(1, 13)), list(range(restored + 1, 21)))

            status, _, errors = await installed.run(SCRIPT, tmp_path / "offline", token, **NOWHERE)
            assert status == 0 and "`milepost sync` sends them" in errors, errors
            status, out, errors = await installed.run(SYNC, tmp_path / "offline", token)
            assert "events_left=0, batches_left=0" in out, errors
            await ended(installed)
    (later,) = [v for v in installed.application.views.runtimes.values() if v.runtime_id != view.runtime_id]
    assert later.state.status is runtime.Status.COMPLETED
    assert later.created is not None and later.created.actor == "ann"


def status_of(view: RuntimeView) -> str:
    return view.state.status.name if view.state.status is not None else ""


async def ended(installation: Installation) -> None:
    async with asyncio.timeout(SECONDS):
        while any(v.state.phase is not runtime.Phase.ENDED for v in installation.application.views.runtimes.values()):
            await asyncio.sleep(0.05)
