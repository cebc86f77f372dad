"""What we rely on in Ray beyond its public interface, held against the version that is installed."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import ray
from ray._private.node import Node
from ray.train._internal.base_worker_group import BaseWorkerGroup
from ray.train.v2._internal.execution.callback import ControllerCallback, WorkerGroupCallback
from ray.train.v2._internal.execution.controller.state import ErroredState, PreemptingState
from ray.train.v2._internal.execution.scaling_policy import ResizeDecision
from ray.train.v2._internal.execution.worker_group.state import WorkerGroupContext
from ray.train.v2._internal.execution.worker_group.worker import ActorMetadata, Worker

from milepost.api.training.v1.training_pb2 import InstanceReport
from trainer.on_ray import callbacks, lean_trainer, ray_host, rendezvous
from trainer.on_ray.announcer import Announcer
from trainer.on_ray.callbacks import GroupEvents, why_waiting

WHY = f"Ray {ray.__version__} is not what trainer/ expects"


class Told(Announcer):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__("127.0.0.1:1", "token", 1)
        self.said: list[tuple[str, str]] = []

    def _put(self, report: InstanceReport | None) -> None:
        assert report is not None
        event = report.event.cluster_state_observed
        self.said.append((event.state, event.message))


def test_callbacks_and_the_controller_in_this_process_are_available() -> None:
    assert callbacks.AVAILABLE, WHY
    assert lean_trainer.LEAN, WHY


def test_ranks_on_one_host_can_meet_in_a_way_of_our_own() -> None:
    assert rendezvous.AVAILABLE, WHY
    assert rendezvous.OneHostConfig(backend="gloo").backend_cls is rendezvous.OneHostBackend
    for name, parameters in {
        "execute": ["self", "func", "args", "kwargs"],
        "execute_single": ["self", "worker_index", "func", "args", "kwargs"],
        "execute_single_async": ["self", "worker_index", "func", "args", "kwargs"],
    }.items():
        found = list(inspect.signature(getattr(BaseWorkerGroup, name)).parameters)
        assert [word.lstrip("_") for word in found] == parameters, f"{WHY}: {name}{found}"


def test_services_that_are_left_out_are_started_by_methods_of_the_node() -> None:
    for name in ray_host.NOT_STARTED:
        assert hasattr(Node, name), f"{WHY}: no Node.{name}"


def test_every_hook_overrides_one_of_rays_with_the_same_parameters() -> None:
    """A hook that Ray renamed would never be called, and nobody would notice."""
    hooks = {name: hook for name, hook in vars(GroupEvents).items() if name.startswith(("after_", "before_"))}
    assert len(hooks) == 7
    for name, hook in hooks.items():
        base = getattr(ControllerCallback, name, None) or getattr(WorkerGroupCallback, name, None)
        assert base is not None, f"{WHY}: no hook {name}"
        assert list(inspect.signature(hook).parameters) == list(inspect.signature(base).parameters), name


def test_what_the_hooks_read_is_there() -> None:
    def fields(kind: Any) -> set[str]:
        return {field.name for field in dataclasses.fields(kind)}

    assert {"num_workers", "resources_per_worker"} <= fields(ResizeDecision), WHY
    assert {"num_workers", "resources_per_worker"} <= fields(WorkerGroupContext), WHY
    assert {"metadata", "distributed_context"} <= fields(Worker), WHY
    assert {"hostname", "accelerator_ids"} <= fields(ActorMetadata), WHY
    assert hasattr(ActorMetadata, "gpu_ids")
    assert "training_failed_error" in inspect.signature(ErroredState.__init__).parameters, WHY
    assert "preemption_info" in inspect.signature(PreemptingState.__init__).parameters, WHY


def test_a_hook_that_fails_harms_nothing() -> None:
    """Whatever Ray hands over."""
    told = Told()
    events = GroupEvents(told, lambda: ({}, {}))
    for name in ("before_controller_execute_resize_decision", "before_worker_group_start", "after_worker_group_start"):
        getattr(events, name)(object())
    events.after_controller_state_update(object(), object())
    assert told.said == []


def test_decisions_about_the_size_are_told() -> None:
    told = Told()
    events = GroupEvents(told, lambda: ({}, {}))
    events.before_controller_execute_resize_decision(ResizeDecision(2, {"CPU": 1, "GPU": 0.5}))
    events.before_controller_execute_resize_decision(ResizeDecision(4, {"CPU": 1, "GPU": 0.5}))
    assert told.said == [
        ("worker_group.scheduling", "asks for 2 workers with 1 CPU, 0.5 GPU each"),
        ("worker_group.resizing", "from 2 to 4 workers with 1 CPU, 0.5 GPU each"),
    ]


def test_what_a_group_waits_for_is_said() -> None:
    assert why_waiting({"CPU": 2}, 2, {"CPU": 4}, {"CPU": 1}) == (
        "asks for 2 workers with 2 CPU each: it needs 4 CPU where 1 of 4 are free"
    )
    assert why_waiting({"CPU": 1, "GPU": 1}, 2, {"CPU": 4, "GPU": 1}, {"CPU": 4, "GPU": 1}) == (
        "asks for 2 workers with 1 CPU, 1 GPU each: it needs 2 GPU where the cluster has 1 in all"
    )
    assert why_waiting({"memory": 2e9}, 1, {"memory": 4e9}, {"memory": 4e9}).endswith("the workers start")
