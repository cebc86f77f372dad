"""Attempts as a user of their own: what user code can read and change when it tries. Needs root."""

from __future__ import annotations

import asyncio
import os
import pwd
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from milepost.api.training.v1.training_pb2 import AttemptLaunch
from milepost.installation.settings import Settings, collect
from milepost.names import AttemptKey
from milepost.security.tokens import Role, ServiceToken, TokenStore
from services.runtime.launchers import local_runs
from services.runtime.launchers.local import LocalLauncher, LocalPolicy
from services.runtime.launchers.local_runs import local_policy
from services.runtime.policies.control import Process
from services.runtime.policies.placement import Capacity

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start programs as another user")

NAME = "nobody"
KEY = AttemptKey("rt-a", 1, 1)
# What runs in the place of a trainer. Each line says what it could do.
SCRIPT = """
data=../../../..
try() { what=$1; shift; if "$@" >/dev/null 2>&1; then echo "could $what"; else echo "could not $what"; fi; }
echo "user $(id -un) groups $(id -G) home $HOME"
try "read keys" cat $data/keys/service.token
try "list keys" ls $data/keys
try "read tokens" cat $data/tokens.json
try "read secrets" cat $data/secrets/HF_TOKEN
try "list the data" ls $data
try "read the log" ls $data/nats
try "read the environment of the service" cat /proc/$PPID/environ
try "read its launch" cat attempt.json
try "read its credentials" cat nats.creds
try "change its launch" sh -c 'echo x >> attempt.json'
try "replace its launch" sh -c 'echo x > mine && mv -f mine attempt.json'
try "remove the word on its process" rm -f process.json
try "forge another attempt" mkdir ../attempt-2
try "write here" sh -c 'echo x > own && rm own'
try "save" mkdir -p ../snapshots/s1
echo done
"""


@pytest.fixture
def settings() -> Iterator[Settings]:
    """Those of an installation in a folder that others may pass; temporary folders of tests are closed to them."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="mp-user-") as name:
        Path(name).chmod(0o711)
        data_dir = Path(name) / "data"
        (data_dir / "secrets").mkdir(parents=True)
        (data_dir / "secrets" / "HF_TOKEN").write_text("hf_abcdef")
        (data_dir / "nats").mkdir()
        found = collect({"data_dir": str(data_dir), "authentication": "required", "local_user": NAME}, {})
        ServiceToken(found.keys_dir)
        TokenStore(found.tokens_file).create("ann", Role.ADMIN, created_by="local:test")
        yield found


@pytest.fixture
def policy(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> LocalPolicy:
    # The Python of these tests may lie where only root gets.
    monkeypatch.setattr(local_runs.sys, "executable", "/bin/sh")
    return local_policy(settings)


async def test_user_code_reads_no_key_and_changes_nothing_that_is_not_its_own(
    settings: Settings, policy: LocalPolicy
) -> None:
    data_dir = settings.data_dir
    script = data_dir.parent / "trainer.sh"
    script.write_text(SCRIPT)
    launcher = LocalLauncher(
        data_dir, Capacity("here", 1, 1), ("/bin/sh", str(script)), lambda key: "credentials", policy
    )
    snapshots = data_dir / "runtimes" / "rt-a" / "trial-1" / "snapshots"
    launch = AttemptLaunch(runtime_id="rt-a", trial=1, attempt=1, snapshot_storage_uri=str(snapshots))
    assert launcher.outage() is None
    await launcher.launch(KEY, launch, {"MILEPOST_SECRET": "x"})
    async with asyncio.timeout(30):
        while launcher.observe(KEY)[0] is not Process.GONE:
            await asyncio.sleep(0.05)
    await launcher.kill(KEY)
    await launcher.close()
    user = pwd.getpwnam(NAME)
    told = (KEY.directory(data_dir) / "driver.log").read_text().splitlines()
    assert told[0] == f"user {NAME} groups {user.pw_gid} home {KEY.directory(data_dir)}"
    could = {line.removeprefix("could ") for line in told if not line.startswith("could not")}
    assert could - {told[0]} == {"read its launch", "read its credentials", "write here", "save", "done"}
    assert (snapshots / "s1").stat().st_uid == user.pw_uid


def test_it_starts_with_no_key_that_runs_can_read(settings: Settings, policy: LocalPolicy) -> None:
    """What somebody has opened since is named at the next start."""
    assert policy.user is not None and policy.user.name == NAME
    key = settings.data_dir.parent / "tls.key"
    key.write_text("x")
    key.chmod(0o644)
    with pytest.raises(SystemExit, match=r"nobody can read .*tls\.key; run: chmod"):
        local_policy(collect({**settings, "tls_key": str(key)}, {}))


def test_it_says_what_runs_cannot_get_to(settings: Settings, policy: LocalPolicy) -> None:
    settings.data_dir.parent.chmod(0o700)
    with pytest.raises(SystemExit, match=r"nobody cannot get to /tmp/mp-user-.*, which runs need"):
        local_policy(settings)


def test_where_nobody_is_asked_on_this_machine_a_user_of_their_own_is_no_use(settings: Settings) -> None:
    open_here = {**settings, "authentication": "loopback", "gateway_listen": "0.0.0.0:8470"}
    with pytest.raises(SystemExit, match="Set --authentication required"):
        local_policy(collect(open_here, {}))
