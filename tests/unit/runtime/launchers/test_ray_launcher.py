"""What the `ray` launcher makes of what a cluster says: how an attempt ended, what there is, who may be asked."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from milepost.api.config.v1.configuration_pb2 import Resources, RuntimeConfiguration
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import runtime_events_pb2 as runtime_facts
from milepost.eventlog.memory import MemoryKeyValue
from milepost.installation.settings import collect
from milepost.names import AttemptKey
from services.runtime.launchers.claims import Claims
from services.runtime.launchers.cluster import ray_options
from services.runtime.launchers.jobs import ClusterRefused, ClusterUnavailable, JobRefused, Use
from services.runtime.launchers.ray import (
    LAST_WORD,
    RayLauncher,
    RayOptions,
    cluster_capacity,
    entrypoint_resources,
    exit_of,
    job_id,
)
from services.runtime.launchers.ray_jobs import Job, JobServer
from services.runtime.policies.control import Process
from services.runtime.policies.placement import Allocated, Candidate, Need, Node, Waiting, need_of, why_never
from services.runtime.policies.sharing import share
from tests.support.servers.job_server import JobServerOnTest, answering

KEY = AttemptKey("rt-a", 1, 2)
LOST = "JOB_SUPERVISOR_ACTOR_DIED"
NO_ROOM = "JOB_SUPERVISOR_ACTOR_START_TIMEOUT"


def word(cause: str, detail: str) -> str:
    return f"something else\n{LAST_WORD}{json.dumps({'cause': cause, 'detail': detail})}\n"


@pytest.mark.parametrize(
    ("job", "printed", "claimed", "killed", "cause", "says"),
    [
        (Job("STOPPED"), "", True, True, common.EXIT_CAUSE_KILLED, "by Milepost"),
        (Job("STOPPED"), "", True, False, common.EXIT_CAUSE_SIGNAL, "not by Milepost"),
        (None, "", True, False, common.EXIT_CAUSE_LOST, "does not know its job"),
        (Job("FAILED", "node died", LOST), "", True, False, common.EXIT_CAUSE_LOST, "node died"),
        (Job("FAILED", "no room", NO_ROOM), "", False, False, common.EXIT_CAUSE_LAUNCH_FAILED, "no room"),
        (Job("FAILED", exit_code=1), "No module named trainer", False, False, common.EXIT_CAUSE_LAUNCH_FAILED, "named"),
        (Job("FAILED", exit_code=1), "Boom\nBang", True, False, common.EXIT_CAUSE_EXCEPTION, "exit code 1: Bang"),
        (Job("FAILED", exit_code=137), "", True, False, common.EXIT_CAUSE_SIGNAL, "SIGKILL"),
        (
            Job("FAILED", exit_code=1),
            word("EXIT_CAUSE_DETERMINISTIC", "no storage"),
            True,
            False,
            common.EXIT_CAUSE_DETERMINISTIC,
            "no storage",
        ),
        (Job("STOPPED"), word("EXIT_CAUSE_STOPPED", "step 9"), True, False, common.EXIT_CAUSE_STOPPED, "step 9"),
        (Job("FAILED", exit_code=1), f"{LAST_WORD}{{", True, False, common.EXIT_CAUSE_EXCEPTION, "exit code 1"),
    ],
)
def test_the_end_of_a_job_has_a_typed_cause(
    job: Job | None, printed: str, claimed: bool, killed: bool, cause: common.ExitCause, says: str
) -> None:
    ended = exit_of(job, printed, claimed=claimed, killed=killed)
    assert ended.cause == cause
    assert says in ended.detail


def configuration(**resources: Any) -> RuntimeConfiguration:
    return RuntimeConfiguration(resources=Resources(**resources))


def test_a_job_asks_for_what_its_one_process_needs_and_a_group_asks_by_itself() -> None:
    alone = configuration(cpus_per_worker=2, gpus_per_worker=1, memory_gigabytes_per_worker=1.5)
    assert entrypoint_resources(alone) == {
        "entrypoint_num_cpus": 2,
        "entrypoint_num_gpus": 1,
        "entrypoint_memory": 1_500_000_000,
    }
    assert entrypoint_resources(configuration(workers=4, cpus_per_worker=2)) == {}


OPTIONS = RayOptions("http://127.0.0.1:1")


def test_a_process_must_fit_on_one_machine_of_the_cluster() -> None:
    capacity = cluster_capacity(OPTIONS, [Node(4, 16, 1)] * 3, None, Use())
    assert why_never(need_of(configuration(workers=3, cpus_per_worker=4, gpus_per_worker=1)), capacity) == ""
    assert "one machine" in why_never(need_of(configuration(cpus_per_worker=6)), capacity)
    assert "room for 3" in why_never(need_of(configuration(workers=4, cpus_per_worker=3)), capacity)
    assert "has 3" in why_never(need_of(configuration(workers=4, gpus_per_worker=1)), capacity)


def test_a_cluster_that_grows_is_judged_by_what_it_may_become() -> None:
    options = RayOptions("http://127.0.0.1:1", cpus=64, gpus=8)
    capacity = cluster_capacity(options, [Node(2, 8)], Use(cpus=2), Use())
    assert "16 GB" in why_never(need_of(configuration(memory_gigabytes_per_worker=16)), capacity)
    assert why_never(need_of(configuration(workers=8, cpus_per_worker=8, gpus_per_worker=1)), capacity) == ""


def test_what_others_use_is_not_given_away_and_what_is_ours_is_not_counted_twice() -> None:
    capacity = cluster_capacity(OPTIONS, [Node(8, 32, 2)], Use(cpus=6, gpus=2), Use(cpus=2, gpus=1))
    assert capacity.others is not None
    assert (capacity.others.cpus, capacity.others.gpu_count) == (4, 1)
    [first] = share([Candidate("rt-a", 0, 1, Need(1, 0, 2), 1)], [], capacity, [])
    assert isinstance(first, Waiting)
    assert first.reason == runtime_facts.PENDING_REASON_INSUFFICIENT_GPU
    assert "1 of 2 are free" in first.detail
    [second] = share([Candidate("rt-a", 0, 1, Need(4, 0, 1), 1)], [], capacity, [])
    assert isinstance(second, Allocated)
    assert (second.allocation.gpus, second.allocation.gpu_count) == ((), 1.0)


# --- the job server


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.touch(mode=0o600)
    path.write_text("the-token\n")
    return path


async def test_the_token_is_shown_and_never_to_another_place(token_file: Path) -> None:
    with answering() as other, answering() as server:
        server.table["GET", "/api/jobs/a"] = (302, f"{other.address}/api/jobs/a")
        with pytest.raises(ClusterUnavailable, match="302"):
            await JobServer(server.address, token_file).find("a")
        assert server.seen == [("GET", "/api/jobs/a", "Bearer the-token")]
        assert other.seen == []


@pytest.mark.parametrize("status", [401, 403])
async def test_a_token_that_is_refused_is_told_from_a_cluster_that_is_away(status: int, token_file: Path) -> None:
    with answering({("GET", "/api/jobs/a"): (status, "Forbidden: Invalid authentication token")}) as server:
        with pytest.raises(ClusterRefused, match=r"refuses the token in .*MILEPOST_RAY_TOKEN_FILE"):
            await JobServer(server.address, token_file).find("a")
    with pytest.raises(ClusterUnavailable, match="does not answer"):
        await JobServer(server.address, token_file).find("a")


async def test_a_token_that_others_can_read_is_not_used(token_file: Path) -> None:
    token_file.chmod(0o644)
    with answering() as server:
        with pytest.raises(ClusterRefused, match="chmod 600"):
            await JobServer(server.address, token_file).find("a")
        assert server.seen == []


async def test_a_job_is_submitted_once() -> None:
    with answering({("POST", "/api/jobs/"): (200, "{}")}) as server:
        jobs = JobServer(server.address)
        assert await jobs.submit("a", {"entrypoint": "x"})
        server.table["POST", "/api/jobs/"] = (400, "ValueError: Job with submission_id a already exists.")
        assert not await jobs.submit("a", {"entrypoint": "x"})
        server.table["POST", "/api/jobs/"] = (400, "Traceback\nTypeError: entrypoint_num_cpus")
        with pytest.raises(JobRefused, match="entrypoint_num_cpus"):
            await jobs.submit("a", {"entrypoint": "x"})


async def test_what_is_no_job_server_is_said_to_be_none() -> None:
    with answering({("GET", "/api/jobs/a"): (200, "<html>")}) as server:
        with pytest.raises(ClusterUnavailable, match="no job server"):
            await JobServer(server.address).find("a")


# --- the launcher


def launcher(server: JobServerOnTest, claims: Claims, tmp_path: Path) -> RayLauncher:
    options = RayOptions(server.address)
    return RayLauncher(options, tmp_path, claims, lambda key: "ticket", lambda: "127.0.0.1:1")


def said(**fields: Any) -> tuple[int, str]:
    return 200, json.dumps(fields)


async def observed(of: RayLauncher, key: AttemptKey, *awaited: Process) -> Process:
    """Observe until something else than what is not known yet."""
    async with asyncio.timeout(20):
        while of.observe(key)[0] not in awaited:
            await asyncio.sleep(0.01)
    return of.observe(key)[0]


async def test_what_a_cluster_has_is_known_once_it_was_looked_at(tmp_path: Path) -> None:
    """A runtime that is asked for at once after a start of the service is judged like any other."""
    with answering({}) as server:
        made = launcher(server, Claims(MemoryKeyValue()), tmp_path)
        made.start()
        try:
            await made.looked()
            capacity = made.capacity()
        finally:
            await made.close()
    assert made.outage() is None
    assert capacity is not None
    assert why_never(need_of(configuration(cpus_per_worker=3)), capacity)


async def test_an_attempt_is_absent_only_if_nobody_has_its_launch(tmp_path: Path) -> None:
    """A cluster that was started anew knows no job, and must not be given the same attempt again."""
    claims = Claims(MemoryKeyValue())
    later = AttemptKey("rt-a", 1, 3)
    await claims.take(KEY, "somebody")
    with answering() as server:
        made = launcher(server, claims, tmp_path)
        made.start()
        try:
            assert await observed(made, later, Process.ABSENT, Process.GONE) is Process.ABSENT
            assert await observed(made, KEY, Process.ABSENT, Process.GONE) is Process.GONE
            assert made.observe(KEY)[1].cause == common.EXIT_CAUSE_LOST
        finally:
            await made.close()


async def test_a_job_that_waits_is_ended_by_withdrawing_its_launch(tmp_path: Path) -> None:
    claims = Claims(MemoryKeyValue())
    with answering({("GET", f"/api/jobs/{job_id(KEY)}"): said(status="PENDING")}) as server:
        made = launcher(server, claims, tmp_path)
        made.start()
        try:
            assert await observed(made, KEY, Process.PENDING) is Process.PENDING
            await made.kill(KEY)
            assert made.observe(KEY) == (Process.GONE, made.observe(KEY)[1])
            assert not await claims.take(KEY, "the job, when it begins")
            assert ("POST", f"/api/jobs/{job_id(KEY)}/stop", None) in server.seen
        finally:
            await made.close()


async def test_a_cluster_that_is_away_changes_nothing_that_is_known(tmp_path: Path) -> None:
    claims = Claims(MemoryKeyValue())
    await claims.take(KEY, "the job")
    path = ("GET", f"/api/jobs/{job_id(KEY)}")
    with answering({path: said(status="RUNNING")}) as server:
        made = launcher(server, claims, tmp_path)
        made.start()
        try:
            assert await observed(made, KEY, Process.RUNNING) is Process.RUNNING
            server.table[path] = (500, "the head is busy")
            seen = len(server.seen)
            while server.seen[seen:].count((*path, None)) < 2:
                assert made.observe(KEY)[0] is Process.RUNNING
                await asyncio.sleep(0.05)
            server.table[path] = said(status="FAILED", driver_exit_code=1)
            assert await observed(made, KEY, Process.GONE) is Process.GONE
        finally:
            await made.close()


async def test_jobs_that_are_over_are_not_looked_at_again(tmp_path: Path) -> None:
    """They only grow in number, and the looks come each second."""
    over = AttemptKey("rt-a", 1, 1)
    paths = {key: ("GET", f"/api/jobs/{job_id(key)}") for key in (over, KEY)}
    answers = {paths[over]: said(status="FAILED", driver_exit_code=1), paths[KEY]: said(status="RUNNING")}
    with answering(answers) as server:
        made = launcher(server, Claims(MemoryKeyValue()), tmp_path)
        made.start()
        try:
            assert await observed(made, over, Process.GONE) is Process.GONE
            assert await observed(made, KEY, Process.RUNNING) is Process.RUNNING
            seen = len(server.seen)
            while server.seen[seen:].count((*paths[KEY], None)) < 2:
                assert made.observe(over)[0] is Process.GONE
                await asyncio.sleep(0.05)
            assert (*paths[over], None) not in server.seen[seen:]
        finally:
            await made.close()


# --- settings


def settings(**changes: str) -> Any:
    return collect({"runtime_address": "milepost.example.org:8471", "nats_url": "nats://n:4222", **changes}, {})


def test_no_cluster_without_an_address() -> None:
    assert ray_options(settings(), {}) is None


def test_a_cluster_elsewhere_is_used_as_the_settings_say() -> None:
    options = ray_options(settings(ray_address="head:8265"), {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "/t"})
    assert options is not None
    assert (options.address, options.token_file) == ("http://head:8265", Path("/t"))
    assert options.runtime_address == "milepost.example.org:8471"


@pytest.mark.parametrize(
    "changes",
    [
        {"ray_address": "ray://head:10001"},
        {"ray_address": "http://user:secret@head:8265"},
        {"ray_address": "127.0.0.1:8265", "ray_cpus": "many"},
    ],
)
def test_settings_that_mean_nothing_are_refused_at_the_start(changes: dict[str, str]) -> None:
    with pytest.raises(SystemExit, match="ray_"):
        ray_options(settings(**changes), {})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "RAY_AUTH_MODE=token"),
        ({"ray_token_file": "/t", "runtime_address": "127.0.0.1:1"}, "RAY_RUNTIME_ADDRESS"),
        ({"ray_token_file": "/t", "nats_url": "nats://127.0.0.1:1"}, "RAY_NATS_URL"),
    ],
)
async def test_a_cluster_that_is_open_or_could_not_reach_us_is_not_used(
    changes: dict[str, str], says: str, tmp_path: Path
) -> None:
    options = ray_options(settings(ray_address="head:8265", **changes), {})
    assert options is not None
    made = RayLauncher(options, tmp_path, Claims(MemoryKeyValue()), lambda key: "ticket", lambda: "127.0.0.1:1")
    made.start()
    try:
        async with asyncio.timeout(10):
            while (outage := made.outage()) is None or not outage.detail:
                await asyncio.sleep(0.01)
        assert says in outage.detail
        assert not outage.passes
    finally:
        await made.close()
