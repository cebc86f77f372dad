"""MLflow's calls on experiments, one function each."""

from __future__ import annotations

from typing import Any

from milepost.errors import NotFound
from services.access import authentication as identity
from services.mlflow.bodies import MAX_KEY, Body, page_of, pairs_of, text_of
from services.mlflow.catalog import Catalog, Experiment
from services.mlflow.errors import invalid
from services.mlflow.filters import EXPERIMENTS, Candidate, order, parse

MAX_NAME, MAX_TAG = 500, 20_000
ARTIFACTS = "mlflow-artifacts:/"
# Of deleted and not deleted, those wanted.
VIEWS = {"ACTIVE_ONLY": frozenset({False}), "DELETED_ONLY": frozenset({True}), "ALL": frozenset({False, True})}


class Experiments:
    """What clients ask of experiments, which belong to everybody who may start runs."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def create(self, body: Body, caller: identity.Caller) -> dict[str, Any]:
        """Add an experiment."""
        name = text_of(body, "name", MAX_NAME)
        return {"experiment_id": self._catalog.create(name, pairs_of(body.get("tags"), "tags")).experiment_id}

    async def get(self, body: Body) -> dict[str, Any]:
        """Find one by its id."""
        return {"experiment": _content(self._catalog.by_id(text_of(body, "experiment_id", 32)))}

    async def get_by_name(self, body: Body) -> dict[str, Any]:
        """Find one by its name."""
        return {"experiment": _content(self._catalog.by_name(text_of(body, "experiment_name", MAX_NAME)))}

    async def search(self, body: Body) -> dict[str, Any]:
        """List those that a filter accepts."""
        view = VIEWS.get(str(body.get("view_type") or "ACTIVE_ONLY"))
        if view is None:
            raise invalid("view_type", f"must be one of {', '.join(VIEWS)}")
        clauses = body.get("order_by") or []
        clauses = [clauses] if isinstance(clauses, str) else clauses
        accepts = parse(text_of(body, "filter", 10_000, True), EXPERIMENTS)
        found = {one.experiment_id: one for one in self._catalog.all() if one.is_deleted in view}
        candidates = [candidate for one in found.values() if accepts(candidate := _candidate(one))]
        ordered = order(candidates, [str(clause) for clause in clauses], EXPERIMENTS)
        page, token = page_of([_content(found[one.attributes["experiment_id"]]) for one in ordered], body)
        return {"experiments": page, **token}

    async def rename(self, body: Body, caller: identity.Caller) -> dict[str, Any]:
        """Give one another name."""
        self._catalog.rename(text_of(body, "experiment_id", 32), text_of(body, "new_name", MAX_NAME))
        return {}

    async def delete(self, body: Body, caller: identity.Caller) -> dict[str, Any]:
        """Hide one, with its runs."""
        self._catalog.delete(text_of(body, "experiment_id", 32))
        return {}

    async def restore(self, body: Body, caller: identity.Caller) -> dict[str, Any]:
        """Show one again."""
        self._catalog.restore(text_of(body, "experiment_id", 32))
        return {}

    async def set_tag(self, body: Body, caller: identity.Caller) -> dict[str, Any]:
        """Set a tag."""
        experiment = self._catalog.by_id(text_of(body, "experiment_id", 32))
        key = text_of(body, "key", MAX_KEY)
        self._catalog.set_tags(
            experiment.experiment_id, {**experiment.tags, key: text_of(body, "value", MAX_TAG, True)}
        )
        return {}

    async def delete_tag(self, body: Body, caller: identity.Caller) -> dict[str, Any]:
        """Take a tag off."""
        experiment, key = self._catalog.by_id(text_of(body, "experiment_id", 32)), text_of(body, "key", MAX_KEY)
        if key not in experiment.tags:
            raise NotFound(f"the experiment has no tag {key!r}")
        left = {name: value for name, value in experiment.tags.items() if name != key}
        self._catalog.set_tags(experiment.experiment_id, left)
        return {}


def _candidate(experiment: Experiment) -> Candidate:
    attributes = {
        "experiment_id": experiment.experiment_id,
        "name": experiment.name,
        "creation_time": experiment.created_ms,
        "last_update_time": experiment.updated_ms,
    }
    return Candidate(attributes, tags=experiment.tags)


def _content(experiment: Experiment) -> dict[str, Any]:
    return {
        "experiment_id": experiment.experiment_id,
        "name": experiment.name,
        "artifact_location": f"{ARTIFACTS}{experiment.experiment_id}",
        "lifecycle_stage": "deleted" if experiment.is_deleted else "active",
        "creation_time": experiment.created_ms,
        "last_update_time": experiment.updated_ms,
        "tags": [{"key": key, "value": value} for key, value in experiment.tags.items()],
    }
