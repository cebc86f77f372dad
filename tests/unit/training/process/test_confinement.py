"""What an attempt writes about its snapshots is data: nothing outside of the storage of its run is read or removed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from milepost.snapshots import MANIFEST, Manifest, SnapshotInvalid, confined, fetch, verify
from milepost.storage import NameOutside, below, folder_of

RUNTIME = "rt-06h2897adlvbv6d8mfg4enk3lk"
ID = "step-000000000020-a1"
OWN = f"runtimes/{RUNTIME}/trial-1/snapshots"
INNER = "http%3A%2F%2F169.254.169.254"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "data" / OWN / ID).mkdir(parents=True)
    (tmp_path / "precious").mkdir()
    return tmp_path / "data"


def test_a_snapshot_of_the_trial_is_found_by_path_by_uri_and_through_links_of_the_operator(root: Path) -> None:
    expected = root / OWN / ID
    own = below(str(root), *OWN.split("/"))
    for uri in (str(expected), expected.as_uri()):
        assert folder_of(confined(uri, ID, RUNTIME, 1, own).uri).name == ID
        assert confined(uri, ID, RUNTIME, 1, None).uri == expected.as_uri()
    disk = root.with_name("disk")
    (root / "runtimes").rename(disk)
    (root / "runtimes").symlink_to(disk)
    assert confined(str(expected), ID, RUNTIME, 1, own).uri == (disk / RUNTIME / "trial-1/snapshots" / ID).as_uri()


FOREIGN: dict[str, Callable[[Path], tuple[str, str]]] = {
    "any folder": lambda root: (str(root.parent / "precious"), ID),
    "any folder, under the name of a snapshot": lambda root: (str(root.parent / "precious" / ID), ID),
    "the root": lambda root: ("/", ID),
    "nothing": lambda root: ("", ID),
    "its own folder of snapshots": lambda root: (str(root / OWN), ID),
    "a way up": lambda root: (f"{root / OWN}/{ID}/../../../../../../precious", ID),
    "a way up in its id": lambda root: (str(root.parent / "precious"), "../../../../../precious"),
    "a way up, encoded": lambda root: (f"{(root / OWN).as_uri()}/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/precious", ID),
    "a relative path": lambda root: (f"{OWN}/{ID}", ID),
    "another trial": lambda root: (str(root / OWN.replace("trial-1", "trial-2") / ID), ID),
    "another snapshot": lambda root: (str(root / OWN / "step-000000000040-a1"), ID),
    "another run": lambda root: (str(root / OWN.replace(RUNTIME, "rt-0" * 7) / ID), ID),
    "a store of somebody": lambda root: (f"s3://bucket/{OWN}/{ID}?endpoint_override={INNER}", ID),
    "a null byte": lambda root: (f"{root / OWN / ID}\0", ID),
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("by_script", [False, True], ids=["in the storage of the run", "of a script"])
def test_a_snapshot_that_is_said_to_be_elsewhere_is_not_looked_at(root: Path, name: str, by_script: bool) -> None:
    uri, identifier = FOREIGN[name](root)
    own = None if by_script else below(str(root), *OWN.split("/"))
    with pytest.raises(SnapshotInvalid, match="outside of the storage of its run"):
        confined(uri, identifier, RUNTIME, 1, own)


def test_another_object_store_than_that_of_the_run_is_not_looked_at() -> None:
    own = f"s3://bucket/prefix/{OWN}?region=eu-central-1"
    for uri in (
        f"s3://bucket/prefix/{OWN}/{ID}?region=eu-central-1&endpoint_override={INNER}",
        f"s3://other/prefix/{OWN}/{ID}?region=eu-central-1",
        f"s3://bucket/prefix/{OWN}/../{ID}?region=eu-central-1",
        f"/prefix/{OWN}/{ID}",
    ):
        with pytest.raises(SnapshotInvalid, match="outside of the storage"):
            confined(uri, ID, RUNTIME, 1, own)


@pytest.mark.parametrize("link", [OWN, f"runtimes/{RUNTIME}/trial-1", f"runtimes/{RUNTIME}", f"{OWN}/{ID}"])
def test_a_link_that_an_attempt_puts_in_the_place_of_a_folder_leads_nowhere(root: Path, link: str) -> None:
    precious = root.parent / "precious"
    below_link = Path(f"{OWN}/{ID}").relative_to(link)
    (precious / below_link).mkdir(parents=True, exist_ok=True)
    (root / link).rename(root.parent / "away")
    (root / link).symlink_to(precious)
    own = below(str(root), *OWN.split("/"))
    for place in (own, None):
        with pytest.raises(SnapshotInvalid, match="outside of the storage"):
            confined(str(root / OWN / ID), ID, RUNTIME, 1, place)


def written(folder: Path, files: Any) -> str:
    """Write a manifest that names `files`. Returns its SHA-256."""
    encoded = Manifest(RUNTIME, 1, 1, ID, 20, 0, 0, 1, files).encode()
    (folder / MANIFEST).write_bytes(encoded)
    return hashlib.sha256(encoded).hexdigest()


def entry(content: bytes) -> list[Any]:
    return [hashlib.sha256(content).hexdigest(), len(content)]


@pytest.mark.parametrize(
    "name", ["../outside", "a/../../outside", "/etc/hostname", "", ".", "a//b", "a\\..\\b", "a\0b", MANIFEST]
)
def test_a_manifest_names_only_files_below_its_folder(root: Path, name: str) -> None:
    folder = root / OWN / ID
    (folder.parent / "outside").write_bytes(b"kept")
    digest = written(folder, {name: entry(b"kept")})
    with pytest.raises(SnapshotInvalid, match="no file below the snapshot"):
        verify(str(folder), digest)


@pytest.mark.parametrize("files", [{"a": 1}, {"a": ["x", "y"]}, {"a": []}, ["a"], None, 3])
def test_a_manifest_of_another_form_is_no_manifest(root: Path, files: Any) -> None:
    folder = root / OWN / ID
    with pytest.raises(SnapshotInvalid, match="manifest"):
        verify(str(folder), written(folder, files))


def test_a_link_in_a_snapshot_that_leads_out_of_it_is_not_read(root: Path) -> None:
    folder = root / OWN / ID
    secret = root.parent / "precious" / "secret"
    secret.write_bytes(b"secret")
    (folder / "state.pt").symlink_to(secret)
    with pytest.raises(SnapshotInvalid, match="leads out of"):
        verify(str(folder), written(folder, {"state.pt": entry(b"secret")}))
    for name in ("state.pt", "../../x"):
        with pytest.raises(NameOutside):
            folder_of(str(folder)).put(secret, name)


class Elsewhere:
    """A store that is not on this machine, and gives whatever name it is asked for."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.uri, self.name, self._files = "s3://bucket/snapshot", ID, files

    def open(self, name: str) -> Any:
        import io

        return io.BytesIO(self._files[name])

    def size(self, name: str) -> int:
        return len(self._files[name])


def test_a_copy_of_a_snapshot_from_elsewhere_writes_nothing_outside_of_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = {"../../escaped": entry(b"x")}
    encoded = Manifest(RUNTIME, 1, 1, ID, 20, 0, 0, 1, named).encode()
    store = Elsewhere({MANIFEST: encoded, "../../escaped": b"x"})
    monkeypatch.setattr("milepost.snapshots.folder_of", lambda uri: store)
    with pytest.raises(SnapshotInvalid, match="no file below"):
        fetch("s3://bucket/snapshot", tmp_path / "a" / "b", hashlib.sha256(encoded).hexdigest())
    assert not list(tmp_path.rglob("escaped"))


def test_weights_under_another_manifest_than_the_committed_one_are_not_loaded(root: Path) -> None:
    folder = root / OWN / ID
    (folder / "state.pt").write_bytes(b"weights")
    committed = written(folder, {"state.pt": entry(b"weights")})
    verify(str(folder), committed)
    (folder / "state.pt").write_bytes(b"planted")
    written(folder, {"state.pt": entry(b"planted")})
    assert json.loads((folder / MANIFEST).read_bytes())["files"]["state.pt"] == entry(b"planted")
    from milepost.training.saving.snapshots import load_weights

    with pytest.raises(SnapshotInvalid, match="not the one that was committed"):
        load_weights(str(folder), root, committed)
