"""The tree that a runtime is part of: who began at a snapshot of whom, and at what."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.domain import trial
from milepost.snapshots import snapshot_id
from services.runtime.readmodel.messages import PHASES, STATUSES
from services.runtime.readmodel.view import RuntimeView, TrialView
from services.runtime.readmodel.views import Views

MAX_NODES = 1_000


def tree(views: Views, view: RuntimeView, now: datetime) -> tuple[list[api.LineageNode], bool]:
    """List the runtimes of a tree, the root first, each behind its parent. Returns whether there are more with it."""
    nodes: list[api.LineageNode] = []
    for one in _walk(views, root_of(views, view)):
        if len(nodes) == MAX_NODES:
            return nodes, True
        nodes.append(_node(one, now))
    return nodes, False


def root_of(views: Views, view: RuntimeView) -> RuntimeView:
    """Return the oldest ancestor of a runtime."""
    while view.state.branch is not None:
        parent = views.runtimes.get(view.state.branch.origin.runtime_id)
        if parent is None:
            break
        view = parent
    return view


def children(view: RuntimeView) -> list[tuple[int, str]]:
    """List what other runtimes began at its snapshots and are not purged: step and id, in this order. An id tells the age."""
    found = {
        (snapshot.step, holder)
        for one in view.trials.values()
        for snapshot in one.state.snapshots
        for holder in snapshot.held_by
        if holder != view.runtime_id
    }
    return sorted(found)


def spent(view: RuntimeView, now: datetime) -> api.Spent:
    """Say what the attempts of a runtime have taken."""
    return _reserved(view, sum((_elapsed(one, now) for one in view.trials.values()), timedelta()))


def spent_with_ancestors(view: RuntimeView, now: datetime) -> api.Spent | None:
    """Add what its ancestors took up to where it began; None: it goes on from nobody. They reserved what it reserves."""
    branch = view.state.branch
    if branch is None or branch.weights_only:
        return None
    own = sum((_elapsed(one, now) for one in view.trials.values()), timedelta())
    return _reserved(view, own + branch.origin.elapsed.ToTimedelta())


def _elapsed(one: TrialView, now: datetime) -> timedelta:
    active = one.state.active
    began = one.attempt_starts.get(active.attempt) if active is not None else None
    under_way = max(timedelta(), now - began) if began is not None else timedelta()
    return timedelta(milliseconds=one.spent_ms) + under_way


def _reserved(view: RuntimeView, elapsed: timedelta) -> api.Spent:
    found = api.Spent(elapsed=Duration())
    found.elapsed.FromTimedelta(elapsed)
    if view.state.configuration is not None:
        resources = view.state.configuration.resources
        seconds = elapsed.total_seconds() * max(1, resources.workers)
        found.core_seconds = round(seconds * resources.cpus_per_worker, 3)
        found.gpu_seconds = round(seconds * resources.gpus_per_worker, 3)
    return found


def _walk(views: Views, root: RuntimeView) -> Iterator[RuntimeView]:
    # No recursion: chains may be long.
    waiting = [root]
    while waiting:
        view = waiting.pop()
        yield view
        known = (views.runtimes.get(runtime_id) for _, runtime_id in reversed(children(view)))
        waiting += [one for one in known if one is not None]


def _node(view: RuntimeView, now: datetime) -> api.LineageNode:
    state = view.state
    node = api.LineageNode(
        name=f"runtimes/{view.runtime_id}",
        runtime_id=view.runtime_id,
        display_name=state.configuration.name if state.configuration is not None else "",
        status=STATUSES[state.status] if state.status is not None else api.RUNTIME_STATUS_UNSPECIFIED,
        phase=PHASES[view.phase] if view.phase is not None else api.RUNTIME_PHASE_UNSPECIFIED,
        deleted=state.deleting,
        created_by=view.created.actor if view.created is not None else "",
        branch=state.branch,
        last_step=max((_last_step(view, number) for number in view.trials), default=0),
        trial_count=state.trial_count,
        child_count=len(children(view)),
        spent=spent(view, now),
        spent_with_ancestors=spent_with_ancestors(view, now),
    )
    if view.create_time is not None:
        node.create_time.FromDatetime(view.create_time)
    return node


def _last_step(view: RuntimeView, number: int) -> int:
    state = view.trials[number].state
    origin = state.origin.step if state.origin is not None else 0
    situation = state.situation
    done = getattr(situation, "last_step", 0)
    return max(origin, done, max((s.step for s in state.snapshots if not s.superseded), default=0))


def origin_at(
    view: RuntimeView, one: TrialView, record: trial.SnapshotRecord, given_anew: frozenset[str]
) -> common.SnapshotOrigin:
    """Describe a snapshot of a trial as that at which another trial begins.

    Args:
        given_anew: parameters that the other one is given itself, whatever this one was steered to.
    """
    steered = one.state.steering.in_force(record.step)
    return common.SnapshotOrigin(
        steered={name: text for name, text in steered.items() if name not in given_anew},
        elapsed=_elapsed_until(one, record),
        runtime_id=view.runtime_id,
        trial=one.number,
        attempt=record.attempt,
        snapshot_id=record.snapshot_id,
        step=record.step,
        epoch=record.epoch,
        batch=record.batch,
        uri=record.uri,
        manifest_sha256=record.manifest_sha256,
        trunk=trial.trunk_of(one.state, record),
    )


def _elapsed_until(one: TrialView, record: trial.SnapshotRecord) -> timedelta:
    """Sum up the running time that led to a snapshot: of the ancestors, and of the attempts that own its steps."""
    total = one.state.origin.elapsed.ToTimedelta() if one.state.origin is not None else timedelta()
    for segment in record.trunk:
        # Each of them ended, for this, with the snapshot that the next one goes on from.
        last = one.snapshots.get(snapshot_id(segment.last_step or 0, segment.attempt))
        start = one.attempt_starts.get(segment.attempt)
        if last is not None and start is not None:
            total += max(timedelta(), last.commit_time.ToDatetime(UTC) - start)
    return total
