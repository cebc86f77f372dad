"""A folder of code becomes an archive, and the archive the same folder elsewhere."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from milepost import code_archive, snapshots
from milepost.api.config.v1.configuration_pb2 import Code
from milepost.code_archive import CodeInvalid, fetch, pack
from milepost.errors import InvalidArgument
from milepost.storage import folder_of


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "package").mkdir(parents=True)
    (folder / "train.py").write_text("def train(trial): ...\n")
    (folder / "package" / "model.py").write_text("x = 1\n")
    for left_out in (".git", "__pycache__", ".venv"):
        (folder / left_out).mkdir()
        (folder / left_out / "secret").write_text("no")
    return folder


def archive_of(path: Path, *entries: tuple[tarfile.TarInfo, bytes]) -> Code:
    with tarfile.open(path, "w:gz") as archive:
        for entry, content in entries:
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return Code(uri=path.as_uri(), digest="sha256:" + hashlib.sha256(path.read_bytes()).hexdigest())


def test_what_was_packed_is_what_is_fetched(project: Path, tmp_path: Path) -> None:
    code = pack(project, tmp_path / "store")
    folder = fetch(code, tmp_path / "here")
    found = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    assert found == ["package/model.py", "train.py"]
    assert (folder / "train.py").read_text() == "def train(trial): ...\n"
    assert fetch(code, tmp_path / "here") == folder


def test_equal_folders_give_equal_archives(project: Path, tmp_path: Path) -> None:
    first = pack(project, tmp_path / "store")
    os.utime(project / "train.py", (1, 1))
    assert pack(project, tmp_path / "store") == first
    (project / "train.py").write_text("changed")
    assert pack(project, tmp_path / "store") != first


@pytest.fixture
def archived(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders of which an archive was made."""
    made: list[Path] = []
    make = code_archive._archive

    def watched(folder: Path, found: Any) -> Any:
        made.append(folder)
        return make(folder, found)

    monkeypatch.setattr(code_archive, "_archive", watched)
    return made


def settle(folder: Path, memory: Path) -> None:
    """Let what is remembered be older than what the clocks of file systems can tell apart."""
    for path in memory.iterdir():
        content = json.loads(path.read_bytes())
        content[3] += 10**10
        path.write_text(json.dumps(content))


def test_a_folder_that_did_not_change_is_packed_once(
    project: Path, tmp_path: Path, archived: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even read, once its files are older than what was remembered; and into each storage."""
    store, memory = tmp_path / "store", tmp_path / "memory"
    first = pack(project, store, memory)
    assert pack(project, store, memory) == first
    settle(project, memory)
    read: list[Path] = []
    hash_file = snapshots.hash_file

    def watched(path: Path) -> str:
        read.append(path)
        return hash_file(path)

    monkeypatch.setattr(code_archive, "hash_file", watched)
    assert pack(project, store, memory) == first
    assert read == [store / f"{first.digest.removeprefix('sha256:')}.tar.gz"]
    assert len(archived) == 1
    assert pack(project, tmp_path / "other", memory).digest == first.digest
    assert (tmp_path / "other").is_dir()
    os.utime(project / "train.py", (1, 1))
    assert pack(project, store, memory) == first
    assert len(archived) == 2, "a file that was touched is read, and is as it was"


@pytest.mark.parametrize("settled", [False, True])
def test_whatever_changes_is_packed_anew(project: Path, tmp_path: Path, archived: list[Path], settled: bool) -> None:
    """Also what keeps its size and its time, in the moment in which it was packed."""
    store, memory, code = tmp_path / "store", tmp_path / "memory", project / "package" / "model.py"

    def rewrite() -> None:
        before = code.stat()
        code.write_text("x = 2\n")
        os.utime(code, ns=(before.st_atime_ns, before.st_mtime_ns))

    changes = [
        rewrite,
        lambda: code.chmod(0o755),
        lambda: (project / "new.py").write_text(""),
        lambda: code.rename(project / "package" / "moved.py"),
        (project / "new.py").unlink,
    ]
    found = [pack(project, store, memory)]
    for change in changes:
        if settled:
            settle(project, memory)
        change()
        found.append(pack(project, store, memory))
        assert found[-1] == pack(project, store), "as without a memory"
        assert found[-1] != found[-2]


@pytest.mark.parametrize("content", ["", "{", "[1]", "[1, 2, 3, 4, [[1]]]", '[0, "a", 1, 1, []]'])
def test_a_memory_that_is_unreadable_costs_time_only(
    project: Path, tmp_path: Path, archived: list[Path], content: str
) -> None:
    first = pack(project, tmp_path / "store", tmp_path / "memory")
    (remembered,) = (tmp_path / "memory").iterdir()
    remembered.write_text(content)
    assert pack(project, tmp_path / "store", tmp_path / "memory") == first
    assert len(archived) == 2
    assert pack(project, tmp_path / "store", tmp_path / "memory") == first
    assert len(archived) == 2


def test_a_link_that_leads_out_is_not_packed(project: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("private")
    (project / "link.py").symlink_to(tmp_path / "outside")
    with pytest.raises(InvalidArgument, match="leads out"):
        pack(project, tmp_path / "store")


def test_too_much_is_not_packed(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_archive, "MAX_BYTES", 10)
    with pytest.raises(InvalidArgument, match="keep data elsewhere"):
        pack(project, tmp_path / "store")
    with pytest.raises(InvalidArgument, match="no folder"):
        pack(project / "none", tmp_path / "store")


def test_an_archive_that_was_changed_or_is_gone_is_refused(project: Path, tmp_path: Path) -> None:
    code = pack(project, tmp_path / "store")
    path = Path(code.uri.removeprefix("file://"))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(CodeInvalid, match="digest"):
        fetch(code, tmp_path / "here")
    path.unlink()
    with pytest.raises(CodeInvalid, match="not readable"):
        fetch(code, tmp_path / "here")


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    """A pipe has no end before somebody writes to it, `/dev/zero` has none at all."""
    os.mkfifo(tmp_path / "pipe.tar.gz")
    for path in (tmp_path / "pipe.tar.gz", Path("/dev/zero"), tmp_path):
        with pytest.raises(CodeInvalid, match="is not readable"):
            fetch(Code(uri=path.as_uri(), digest="sha256:" + "0" * 64), tmp_path / "here")
    (tmp_path / "taken").mkdir()
    os.mkfifo(tmp_path / "taken" / "probe")
    with pytest.raises(OSError):
        folder_of(str(tmp_path / "taken")).put(Path(__file__), "probe")


def test_what_is_too_large_is_not_copied(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = pack(project, tmp_path / "store")
    monkeypatch.setattr(code_archive, "MAX_BYTES", 100)
    with pytest.raises(CodeInvalid, match="more than"):
        fetch(code, tmp_path / "here")
    assert not list((tmp_path / "here").iterdir())


def test_a_header_that_says_it_is_huge_is_not_read(tmp_path: Path) -> None:
    header = tarfile.TarInfo("header")
    header.type = tarfile.XHDTYPE
    code = archive_of(tmp_path / "header.tar.gz", (header, bytes(8 << 20)), (tarfile.TarInfo("a.py"), b"x = 1"))
    with pytest.raises(CodeInvalid, match="a header of 8,388,608 bytes"):
        fetch(code, tmp_path / "here")


def test_what_no_archive_of_code_holds_is_refused(tmp_path: Path) -> None:
    link = tarfile.TarInfo("link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    for name, entry in (("up", tarfile.TarInfo("../up.py")), ("link", link)):
        code = archive_of(tmp_path / f"{name}.tar.gz", (entry, b""))
        with pytest.raises(CodeInvalid):
            fetch(code, tmp_path / "here")
    torn = tmp_path / "torn.tar.gz"
    torn.write_bytes(b"no archive")
    digest = "sha256:" + hashlib.sha256(b"no archive").hexdigest()
    with pytest.raises(CodeInvalid, match="cannot be unpacked"):
        fetch(Code(uri=torn.as_uri(), digest=digest), tmp_path / "here")
    assert not (tmp_path / "up.py").exists()
    assert [p.name for p in (tmp_path / "here").iterdir()] == []
