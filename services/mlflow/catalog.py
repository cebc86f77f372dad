"""Experiments, and which runs and experiments MLflow clients have deleted: what Milepost itself has no word for.

MLflow may create an experiment before it has a run; from its runs on it is a label of runtimes. A deletion hides from
MLflow's clients and can be taken back; of the data of runs nothing is here.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from milepost.errors import AlreadyExists, NotFound, Unavailable
from services.mlflow.errors import BadRequest, invalid
from services.mlflow.names import DEFAULT_EXPERIMENT, experiment_id_of

MAX_EXPERIMENTS = 10_000
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS experiments"
    " (id TEXT PRIMARY KEY, name TEXT UNIQUE NOT NULL, created INTEGER NOT NULL, tags TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS deleted_runs (id TEXT PRIMARY KEY, deleted INTEGER NOT NULL)",
)
# Columns that files of earlier versions lack.
_LATER_COLUMNS = {"updated": "INTEGER NOT NULL DEFAULT 0", "deleted": "INTEGER NOT NULL DEFAULT 0"}


@dataclass(frozen=True, slots=True)
class Experiment:
    """A name under which runs are grouped. Times are milliseconds since 1970."""

    experiment_id: str
    name: str
    created_ms: int
    tags: dict[str, str] = field(default_factory=dict)
    updated_ms: int = 0
    is_deleted: bool = False


class Catalog:
    """Experiments in a small file. An id follows from the first name: a lost file is filled again by its users.

    Raises of every method: Unavailable, when the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # Known since the first use: every write to a run asks.
        self._deleted_runs: set[str] | None = None
        self._deleted_experiments: set[str] = set()

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(self._path, isolation_level=None, timeout=5)
            try:
                for statement in _SCHEMA:
                    database.execute(statement)
                known = {row[1] for row in database.execute("PRAGMA table_info(experiments)")}
                for name in _LATER_COLUMNS.keys() - known:
                    database.execute(f"ALTER TABLE experiments ADD COLUMN {name} {_LATER_COLUMNS[name]}")
                insert = "INSERT OR IGNORE INTO experiments (id, name, created, tags) VALUES (?, ?, ?, '{}')"
                database.execute(insert, (experiment_id_of(DEFAULT_EXPERIMENT), DEFAULT_EXPERIMENT, _now()))
                yield database
            finally:
                database.close()
        except (sqlite3.Error, OSError) as error:
            raise Unavailable(f"the catalog of experiments cannot be used: {error}") from error

    def _read(self, where: str, *parameters: object) -> list[Experiment]:
        columns = "id, name, created, tags, updated, deleted"
        with self._database() as database:
            rows = database.execute(f"SELECT {columns} FROM experiments {where}", parameters).fetchall()
        return [Experiment(row[0], row[1], row[2], json.loads(row[3]), row[4] or row[2], bool(row[5])) for row in rows]

    def _write(self, statement: str, *parameters: object) -> None:
        with self._database() as database:
            database.execute(statement, parameters)

    def create(self, name: str, tags: dict[str, str]) -> Experiment:
        """Add an experiment.

        Raises:
            AlreadyExists: there is one of that name, maybe a deleted one.
        """
        if self._read("WHERE name = ?", name):
            raise AlreadyExists(f"there is an experiment {name!r} already, or a deleted one")
        known = {experiment.experiment_id for experiment in self._read("")}
        if len(known) >= MAX_EXPERIMENTS:
            raise AlreadyExists(f"there are {MAX_EXPERIMENTS} experiments already; use one of them")
        experiment_id, seed = experiment_id_of(name), name
        while experiment_id in known:
            # The one that had this name has another one now.
            seed += "'"
            experiment_id = experiment_id_of(seed)
        now = _now()
        experiment = Experiment(experiment_id, name, now, tags, now)
        self._write(
            "INSERT OR IGNORE INTO experiments (id, name, created, tags) VALUES (?, ?, ?, ?)",
            experiment.experiment_id,
            name,
            experiment.created_ms,
            json.dumps(tags),
        )
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

    def set_tags(self, experiment_id: str, tags: dict[str, str]) -> None:
        """Give an experiment other tags."""
        statement = "UPDATE experiments SET tags = ?, updated = ? WHERE id = ?"
        self._write(statement, json.dumps(tags), _now(), experiment_id)

    def rename(self, experiment_id: str, name: str) -> None:
        """Give an experiment another name. Raises NotFound, BadRequest."""
        self._check(self.by_id(experiment_id), False)
        if any(other.experiment_id != experiment_id for other in self._read("WHERE name = ?", name)):
            raise BadRequest(f"there is an experiment {name!r} already, or a deleted one")
        self._write("UPDATE experiments SET name = ?, updated = ? WHERE id = ?", name, _now(), experiment_id)

    def delete(self, experiment_id: str) -> None:
        """Hide an experiment and its runs. Raises NotFound, also where it is hidden."""
        self._set_deleted(experiment_id, True)

    def restore(self, experiment_id: str) -> None:
        """Show an experiment and its runs again. Raises NotFound, also where it is shown."""
        self._set_deleted(experiment_id, False)

    def _set_deleted(self, experiment_id: str, deleted: bool) -> None:
        self._check(self.by_id(experiment_id), not deleted)
        self._write("UPDATE experiments SET deleted = ?, updated = ? WHERE id = ?", int(deleted), _now(), experiment_id)
        self._deleted_runs = None

    def _check(self, experiment: Experiment, deleted: bool) -> None:
        if experiment.is_deleted != deleted:
            word = "deleted" if deleted else "active"
            raise NotFound(f"there is no {word} experiment with the id {experiment.experiment_id!r}")

    def all(self) -> list[Experiment]:
        """List all experiments, newest first."""
        return self._read("ORDER BY created DESC, id")

    # --- runs

    def delete_run(self, runtime_id: str) -> None:
        """Hide a run."""
        self._write("INSERT OR IGNORE INTO deleted_runs VALUES (?, ?)", runtime_id, _now())
        self._deleted_runs = None

    def restore_run(self, runtime_id: str) -> None:
        """Show a run again."""
        self._write("DELETE FROM deleted_runs WHERE id = ?", runtime_id)
        self._deleted_runs = None

    def is_deleted(self, runtime_id: str, experiment_id: str) -> bool:
        """Return whether a run is hidden, or its experiment."""
        if self._deleted_runs is None:
            self._deleted_experiments = {one.experiment_id for one in self._read("WHERE deleted")}
            with self._database() as database:
                self._deleted_runs = {row[0] for row in database.execute("SELECT id FROM deleted_runs")}
        return runtime_id in self._deleted_runs or experiment_id in self._deleted_experiments

    def check_active(self, runtime_id: str, experiment_id: str) -> None:
        """Raise InvalidArgument where a run is hidden."""
        if self.is_deleted(runtime_id, experiment_id):
            raise invalid("run_id", "the run is deleted; restore it first")


def _now() -> int:
    return time.time_ns() // 1_000_000
