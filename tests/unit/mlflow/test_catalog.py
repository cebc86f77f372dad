"""Experiments: their names and ids, and what is deleted."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import pytest

from milepost.errors import MilepostError
from services.mlflow.catalog import Catalog, Experiment
from services.mlflow.names import (
    experiment_id_of,
)


def test_experiments_are_known_by_name_and_by_id(tmp_path: Any) -> None:
    catalog = Catalog(tmp_path / "experiments.sqlite")
    made = catalog.create("mine", {"owner": "ada"})
    assert catalog.by_id(made.experiment_id) == catalog.by_name("mine") == made
    catalog.set_tags(made.experiment_id, {"owner": "grace"})
    assert Catalog(tmp_path / "experiments.sqlite").by_name("mine").tags == {"owner": "grace"}
    with pytest.raises(MilepostError):
        catalog.create("mine", {})
    assert {experiment.name for experiment in catalog.all()} == {"Default", "mine"}
    assert experiment_id_of("Default") == "0" and experiment_id_of("mine") == made.experiment_id


def test_what_is_deleted_is_hidden_and_comes_back(tmp_path: Any) -> None:
    catalog = Catalog(tmp_path / "experiments.sqlite")
    made = catalog.create("mine", {}).experiment_id
    assert not catalog.is_deleted("rt-1", made)
    catalog.delete_run("rt-1")
    assert catalog.is_deleted("rt-1", made) and not catalog.is_deleted("rt-2", made)
    catalog.restore_run("rt-1")
    catalog.delete(made)
    assert Catalog(tmp_path / "experiments.sqlite").is_deleted("rt-2", made)
    with pytest.raises(MilepostError):
        catalog.delete(made)
    catalog.restore(made)
    assert not catalog.is_deleted("rt-1", made)
    catalog.rename(made, "ours")
    assert catalog.create("mine", {}).experiment_id != made, "its id follows from the name that another has given up"


def test_a_catalog_of_an_earlier_version_is_read(tmp_path: Any) -> None:
    path = tmp_path / "experiments.sqlite"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE experiments (id TEXT PRIMARY KEY, name TEXT UNIQUE, created INTEGER, tags TEXT)")
        database.execute("INSERT INTO experiments VALUES ('7', 'old', 5, '{\"a\": \"b\"}')")
    assert Catalog(path).by_id("7") == Experiment("7", "old", 5, {"a": "b"}, 5)
