"""Snapshots in an object store, against a server that speaks S3 (moto, in an environment of its own: `make test-s3`)."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from milepost import code_archive
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.storage import StorageUnavailable, below, check_writable, download, folder_of
from tests.integration.runtime.harness import Stack, refusal, running, storing
from tests.support.servers.servers import NatsServer, wait_until

pytestmark = [pytest.mark.s3, pytest.mark.timeout(240)]

ROOT = Path(__file__).resolve().parents[3]
SERVER = ROOT / ".venv-s3" / "bin" / "moto_server"
ASSETS = ROOT / "tests" / "assets"
SECRETS = {"KEY_ID": "tester", "KEY": "tester-secret"}
# The trainer gets its credentials by reference; those of the service are its own.
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": {"secret": "KEY_ID"},
    "AWS_SECRET_ACCESS_KEY": {"secret": "KEY"},
    "AWS_EC2_METADATA_DISABLED": "true",
}


@dataclass
class Store:
    """A server with one bucket."""

    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"s3://bucket/milepost?scheme=http&endpoint_override=127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [str(SERVER), "-H", "127.0.0.1", "-p", str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._answers, "the object store answers")

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def pause(self) -> None:
        """Make it refuse connections without losing what it holds: it is in memory."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def unpause(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def names(self, prefix: str = "milepost") -> list[str]:
        from pyarrow import fs

        store, _ = fs.FileSystem.from_uri(self.uri)
        found = store.get_file_info(fs.FileSelector(f"bucket/{prefix}", recursive=True, allow_not_found=True))
        return sorted(one.path for one in found if one.type == fs.FileType.File)

    def truncate(self, path: str) -> None:
        from pyarrow import fs

        store, _ = fs.FileSystem.from_uri(self.uri)
        with store.open_input_file(path) as file:
            content = file.read()
        with store.open_output_stream(path) as target:
            target.write(content[:-3])


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    assert SERVER.exists(), "run it by `make test-s3`, which makes .venv-s3"
    from pyarrow import fs

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", SECRETS["KEY_ID"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRETS["KEY"])
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    made = Store(port)
    made.start()
    try:
        fs.S3FileSystem(scheme="http", endpoint_override=f"127.0.0.1:{port}", allow_bucket_creation=True).create_dir(
            "bucket"
        )
        yield made
    finally:
        assert made.process is not None
        made.unpause()
        made.process.kill()
        made.process.wait()


def walk(store: Store, **changes: Any) -> str:
    configuration = {
        "name": "walk",
        "entrypoint": "loops.py:plain",
        "working_directory": str(ASSETS),
        "parameters": {"step_seconds": 0.4},
        "snapshots": {"every_steps": 6, "keep_last": 2, "storage": store.uri},
        "environment": ENVIRONMENT,
        **changes,
    }
    return json.dumps(configuration)


def snapshots_stored(store: Store) -> list[str]:
    return sorted({path.split("/")[-2] for path in store.names() if path.endswith("/manifest.json")})


async def resume(stack: Stack, name: str) -> None:
    await stack.stub.ResumeRuntime(api.ResumeRuntimeRequest(name=name))


def test_a_folder_in_an_object_store_is_like_one_on_disk(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content" * 1_000)
    for root in (store.uri, str(tmp_path / "root")):
        folder = folder_of(below(root, "one"))
        assert folder_of(root).folders() == []
        with pytest.raises(FileNotFoundError):
            folder.size("file")
        with pytest.raises(FileNotFoundError):
            folder.open("file")
        folder.remove()
        folder.put(tmp_path / "file", "file")
        assert (folder.name, folder.size("file"), folder_of(root).folders()) == ("one", 7_000, ["one"])
        download(folder, "file", tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == b"content" * 1_000
        check_writable(root)
        assert folder_of(root).folders() == ["one"], "the probe is gone"
        folder.remove()
        assert folder_of(root).folders() == []


def test_a_store_that_refuses_is_told_from_a_file_that_is_not_there(store: Store) -> None:
    elsewhere = store.uri.replace("bucket", "no-such-bucket")
    with pytest.raises(StorageUnavailable):
        check_writable(elsewhere)


def test_an_archive_of_code_goes_through_an_object_store(store: Store, tmp_path: Path) -> None:
    code = code_archive.pack(ASSETS / "project", below(store.uri, "code"))
    assert code.uri.startswith("s3://bucket/milepost/code/")
    folder = code_archive.fetch(code, tmp_path / "unpacked")
    assert (folder / "trainer.py").read_text() == (ASSETS / "project" / "trainer.py").read_text()


async def test_a_run_is_stopped_resumed_and_deleted_with_its_snapshots_in_an_object_store(
    store: Store, nats_server: NatsServer, tmp_path: Path
) -> None:
    async with running(nats_server, tmp_path / "data", trainer_command=(), secrets=SECRETS.get) as stack:
        request = api.StartRuntimeRequest(configuration_text=walk(store))
        runtime = (await stack.stub.StartRuntime(request)).runtime
        async with storing(nats_server, runtime.runtime_id):
            await stack.wait_event(runtime.name, "snapshot_committed", 3)
            await stack.stub.StopRuntime(api.StopRuntimeRequest(name=runtime.name))
            await stack.wait_ended(runtime.name)
        stopped = [e.trial_event.trial_stopped for e in await stack.events(runtime.name) if "trial_stopped" in e.type]
        assert [fact.lost_steps for fact in stopped] == [0]
        listed = await stack.stub.ListSnapshots(api.ListSnapshotsRequest(parent=runtime.name))
        known = {snapshot.snapshot_id for snapshot in listed.snapshots}
        assert known == set(snapshots_stored(store)), "what retention gave up is gone from the store"
        newest = listed.snapshots[0]
        assert newest.uri.startswith("s3://bucket/milepost/runtimes/")
        assert SECRETS["KEY"] not in newest.uri
        store.truncate(next(path for path in store.names() if f"{newest.snapshot_id}/state.pt" in path))

        await resume(stack, runtime.name)
        ended = await stack.wait_ended(runtime.name)
        assert ended.status == api.RUNTIME_STATUS_COMPLETED, await stack.story(runtime.name)
        events = await stack.events(runtime.name)
        launched = [e.trial_event.attempt_launched for e in events if "attempt_launched" in e.type]
        assert list(launched[1].rejected_snapshot_ids) == [newest.snapshot_id]
        assert launched[1].snapshot_step == listed.snapshots[1].step
        started = [e.trial_event.attempt_started for e in events if "attempt_started" in e.type]
        assert [fact.restored_step for fact in started] == [0, listed.snapshots[1].step]
        assert not list((tmp_path / "data").rglob("staging/**/*.pt")), "nothing is left of what was on its way"

        await stack.stub.DeleteRuntime(api.DeleteRuntimeRequest(name=runtime.name))
        await stack.wait_phase(runtime.name, api.RUNTIME_PHASE_DELETED)
        assert snapshots_stored(store) == []


async def test_a_store_that_does_not_answer_is_no_reason_to_give_up_a_snapshot(
    store: Store, nats_server: NatsServer, tmp_path: Path
) -> None:
    """A resume is refused for now, with the cause; nothing is called corrupt; later it is taken."""
    async with running(nats_server, tmp_path / "data", trainer_command=(), secrets=SECRETS.get) as stack:
        request = api.StartRuntimeRequest(configuration_text=walk(store))
        runtime = (await stack.stub.StartRuntime(request)).runtime
        await stack.wait_event(runtime.name, "snapshot_committed")
        await stack.stub.StopRuntime(api.StopRuntimeRequest(name=runtime.name))
        await stack.wait_ended(runtime.name)
        before = await stack.types(runtime.name)
        store.pause()
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await resume(stack, runtime.name)
        assert refusal(error.value) == ("UNAVAILABLE", "STORAGE_UNAVAILABLE")
        assert await stack.types(runtime.name) == before
        store.unpause()
        await resume(stack, runtime.name)
        ended = await stack.wait_ended(runtime.name)
        assert ended.status == api.RUNTIME_STATUS_COMPLETED
        assert "snapshot_deleted" not in {
            e.type.split(".")[2] for e in await stack.events(runtime.name) if e.actor == "service:scheduler"
        }


async def test_a_storage_that_cannot_be_written_to_is_refused_at_the_start(
    store: Store, nats_server: NatsServer, tmp_path: Path
) -> None:
    async with running(nats_server, tmp_path / "data", trainer_command=(), secrets=SECRETS.get) as stack:
        elsewhere = {"storage": store.uri.replace("bucket", "no-such-bucket")}
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stack.stub.StartRuntime(api.StartRuntimeRequest(configuration_text=walk(store, snapshots=elsewhere)))
        assert refusal(error.value)[0] == "INVALID_ARGUMENT"
