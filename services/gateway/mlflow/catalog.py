"""The names of experiments. MLflow may create one before it has a run; from its runs on it is a label of runtimes."""

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import dataclass, field
from pathlib import Path

from milepost.errors import AlreadyExists, NotFound, Unavailable
from services.gateway.mlflow.names import DEFAULT_EXPERIMENT, experiment_id_of

MAXIMUM_EXPERIMENTS = 10_000


@dataclass(frozen=True, slots=True)
class Experiment:
    """A name under which runs are grouped. Times are milliseconds since 1970."""

    experiment_id: str
    name: str
    created_ms: int
    tags: dict[str, str] = field(default_factory=dict)


class Catalog:
    """Experiments in a small file. An id follows from its name: a lost file is filled again by its users.

    Raises of every method: Unavailable, when the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def _database(self) -> sqlite3.Connection:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(self._path, isolation_level=None, timeout=5)
            database.execute(
                "CREATE TABLE IF NOT EXISTS experiments"
                " (id TEXT PRIMARY KEY, name TEXT UNIQUE NOT NULL, created INTEGER NOT NULL, tags TEXT NOT NULL)"
            )
            insert = "INSERT OR IGNORE INTO experiments VALUES (?, ?, ?, '{}')"
            database.execute(insert, (experiment_id_of(DEFAULT_EXPERIMENT), DEFAULT_EXPERIMENT, _now()))
        except (sqlite3.Error, OSError) as error:
            raise Unavailable(f"the catalog of experiments cannot be used: {error}") from error
        return database

    def _read(self, where: str, *parameters: object) -> list[Experiment]:
        database = self._database()
        try:
            rows = database.execute(f"SELECT id, name, created, tags FROM experiments {where}", parameters).fetchall()
        finally:
            database.close()
        return [Experiment(row[0], row[1], row[2], json.loads(row[3])) for row in rows]

    def create(self, name: str, tags: dict[str, str]) -> Experiment:
        """Add an experiment.

        Raises:
            AlreadyExists: there is one of that name.
        """
        if self._read("WHERE name = ?", name):
            raise AlreadyExists(f"there is an experiment {name!r} already")
        if len(self._read("")) >= MAXIMUM_EXPERIMENTS:
            raise AlreadyExists(f"there are {MAXIMUM_EXPERIMENTS} experiments already; use one of them")
        experiment = Experiment(experiment_id_of(name), name, _now(), tags)
        database = self._database()
        try:
            database.execute(
                "INSERT OR IGNORE INTO experiments VALUES (?, ?, ?, ?)",
                (experiment.experiment_id, name, experiment.created_ms, json.dumps(tags)),
            )
        finally:
            database.close()
        return experiment

    def by_name(self, name: str) -> Experiment:
        """Find an experiment by its name. Raises NotFound."""
        for experiment in self._read("WHERE name = ?", name):
            return experiment
        raise NotFound(f"there is no experiment {name!r}")

    def by_id(self, experiment_id: str) -> Experiment:
        """Find an experiment by its id. Raises NotFound."""
        for experiment in self._read("WHERE id = ?", experiment_id):
            return experiment
        raise NotFound(f"there is no experiment with the id {experiment_id!r}")

    def set_tag(self, experiment_id: str, key: str, value: str) -> None:
        """Set a tag of an experiment. Raises NotFound."""
        tags = {**self.by_id(experiment_id).tags, key: value}
        database = self._database()
        try:
            database.execute("UPDATE experiments SET tags = ? WHERE id = ?", (json.dumps(tags), experiment_id))
        finally:
            database.close()

    def all(self) -> list[Experiment]:
        """List all experiments, newest first."""
        return self._read("ORDER BY created DESC, id")


def _now() -> int:
    return time.time_ns() // 1_000_000
