"""Files of a backup: copied while somebody writes to them, and put back nowhere else."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from milepost.cli.local.backup import MANIFEST, NoBackup, copy_files, read_manifest


def test_a_database_in_use_is_copied_as_it_is_at_one_moment(tmp_path: Path) -> None:
    source = tmp_path / "spool.sqlite"
    with closing(sqlite3.connect(source)) as writer:
        writer.execute("PRAGMA journal_mode=WAL")
        writer.execute("CREATE TABLE batches (number INTEGER)")
        writer.executemany("INSERT INTO batches VALUES (?)", [(number,) for number in range(100)])
        writer.commit()
        # Under way: it is not in the copy.
        writer.execute("INSERT INTO batches VALUES (100)")
        copy_files({"mlflow/rt/spool.sqlite": source}, tmp_path / "backup")
    copy = tmp_path / "backup" / "mlflow" / "rt" / "spool.sqlite"
    with closing(sqlite3.connect(copy)) as reader:
        assert reader.execute("SELECT count(*), max(number) FROM batches").fetchone() == (100, 99)
    assert copy.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in copy.parent.iterdir()] == ["spool.sqlite"]


def test_a_spool_that_has_been_sent_meanwhile_is_left_out(tmp_path: Path) -> None:
    copy_files({"mlflow/a.sqlite": tmp_path / "gone.sqlite", "mlflow/b": tmp_path / "gone"}, tmp_path / "backup")
    assert not [path for path in (tmp_path / "backup").rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", ["../outside", "imports/../../outside", "/outside"])
def test_a_backup_names_no_file_outside_of_it(tmp_path: Path, name: str) -> None:
    (tmp_path / MANIFEST).write_text(f'{{"form": "milepost-backup-1", "files": {{"{name}": "{"0" * 64}"}}}}')
    with pytest.raises(NoBackup, match="outside of the backup"):
        read_manifest(tmp_path)
