"""What needs a GPU: the recipe and its resume on each one that is found, tensors read beside the loop, NCCL with two."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.eventlog.nats.connection import Connection
from milepost.training.telemetry import system_metrics
from milepost.training.telemetry.batches import Position
from tests.support.servers.servers import NatsServer
from tests.support.trainers.attempts import TrialOnTest, Writer

GPUS = torch.cuda.device_count()
ASSETS = Path(__file__).resolve().parent.parent / "assets"
RECIPE = "milepost.recipes.language_model:train"
SMALL = {"width": 32, "layers": 1, "heads": 2, "context": 32, "batch_size": 16, "steps_per_epoch": 40, "eval_every": 30}
SECONDS = 300.0

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(600),
    pytest.mark.skipif(GPUS == 0, reason="PyTorch finds no GPU here"),
]
two_gpus = pytest.mark.skipif(GPUS < 2, reason=f"NCCL between GPUs needs two; PyTorch finds {GPUS} here")


@pytest.fixture
async def trial(connection: Connection, shared_nats: NatsServer, tmp_path: Path) -> TrialOnTest:
    return TrialOnTest(connection, shared_nats.url, tmp_path)


async def killed_and_resumed(trial: TrialOnTest, workers: int, gpus: list[int]) -> dict[int, float]:
    """Train the recipe, kill it after a snapshot, and let it go on. Returns its loss by step."""
    visible = ",".join(map(str, gpus))
    await trial.create(SMALL)
    async with Writer(trial.connection, trial.runtime_id) as writer:
        first = await trial.launch(RECIPE, SMALL, every_steps=25, workers=workers, gpus=gpus)
        first.start(CUDA_VISIBLE_DEVICES=visible)
        await first.wait_for(facts.SnapshotCommitted, SECONDS)
        first.kill()
        await trial.append(facts.AttemptFenced(attempt=1, reason=facts.FENCE_REASON_EXITED))
        await trial.conclude(facts.TrialStopped(attempt=1))
        second = await trial.launch(RECIPE, SMALL, every_steps=25, workers=workers, gpus=gpus)
        second.start(CUDA_VISIBLE_DEVICES=visible)
        assert await second.wait(SECONDS) == 0, second.driver_log
    assert (await second.ended()).outcome == facts.ATTEMPT_OUTCOME_COMPLETED, await second.ended()
    assert (await trial.payloads(facts.AttemptStarted))[-1].restored_step >= 25
    return writer.lineage("train/loss", await trial.state())


def assert_learns(losses: dict[int, float]) -> None:
    assert list(losses) == list(range(1, 121))
    assert all(map(math.isfinite, losses.values()))
    assert losses[120] < losses[1] - 0.8


@pytest.mark.parametrize("gpu", range(GPUS))
async def test_the_recipe_is_killed_and_resumed_on_each_gpu(trial: TrialOnTest, gpu: int) -> None:
    assert_learns(await killed_and_resumed(trial, 0, [gpu]))
    assert {tuple(one.devices) for one in await trial.payloads(facts.InstanceStarted)} == {(f"cuda:{gpu}",)}


async def test_tensors_are_logged_without_a_wait_for_the_device(trial: TrialOnTest) -> None:
    """PyTorch raises on any wait in the loop; the values are those at the time of `log`."""
    await trial.create({})
    async with Writer(trial.connection, trial.runtime_id) as writer:
        attempt = await trial.launch("loops.py:device_values", {}, code=ASSETS, gpus=[0])
        attempt.start()
        assert await attempt.wait(SECONDS) == 0, attempt.driver_log
    assert (await attempt.ended()).outcome == facts.ATTEMPT_OUTCOME_COMPLETED, writer.text()
    assert writer.points("train/loss")[1] == {step: 2.0 * (step - 1) for step in range(1, 51)}
    assert writer.points("train/grad_norm")[1] == {step: 2.0 * (step - 1) + 1 for step in range(1, 51)}


def test_use_and_memory_of_each_gpu_are_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system_metrics, "SAMPLE_SECONDS", 0.0)
    sampler = system_metrics.SystemSampler(0, tmp_path)
    sampler.begin(0)
    kept = torch.ones(1 << 20, device="cuda")
    found = sampler.sample(Position(step=1, samples=1))
    for index in range(GPUS):
        assert 0.0 <= found[f"system/gpu_{index}_percent"] <= 100.0
        assert found[f"system/gpu_{index}_memory_bytes"] > 0.0
    assert found[f"system/gpu_{kept.device.index}_memory_bytes"] > kept.nbytes


async def test_a_worker_group_of_one_gets_its_gpu_from_ray(trial: TrialOnTest) -> None:
    """NCCL, also with one rank."""
    assert_learns(await killed_and_resumed(trial, 1, [0]))
    (devices,) = {tuple(one.devices) for one in await trial.payloads(facts.InstanceStarted)}
    assert devices[0].startswith("cuda:0 ")


@two_gpus
async def test_a_worker_group_over_all_gpus_is_killed_and_resumed(trial: TrialOnTest) -> None:
    """DDP over NCCL; every rank names a GPU of its own."""
    gpus = list(range(GPUS))
    assert_learns(await killed_and_resumed(trial, GPUS, gpus))
    started = [one for one in await trial.payloads(facts.InstanceStarted) if one.attempt == 2]
    assert sorted(one.devices[0].split()[0] for one in started) == [f"cuda:{gpu}" for gpu in gpus]
