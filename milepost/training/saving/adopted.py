"""What can be known of a checkpoint that another library wrote, without that library: whether it is all there.

The library reads it at a resume, when nothing can be mended any more. So each file of a kind that is known is looked at
while it is adopted: the directory and the classes of an archive of `torch.save`, the header of a safetensors file, JSON. No
tensor is read again. Whether the library takes what it finds there only the library can say.
"""

from __future__ import annotations

import _compat_pickle
import json
import os
import pickle
import shutil
import time
import zipfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from milepost.training.saving.savable import StateNotSavable, refused_classes

# What `torch.save` writes begins with it.
_ARCHIVE = b"PK\x03\x04"
_SAVED = frozenset({".pt", ".pth", ".ckpt", ".bin", ".pkl"})
# Whatever is in them, training does not go on from it.
_BESIDE = frozenset({".txt", ".md", ".jinja", ".json", ".yaml", ".yml", ".model"})
# Larger ones, such as tokenizers, would hold the interpreter for long.
_MAX_JSON = 1 << 20
_MAX_HEADER = 100 << 20
# How long the files of other processes are waited for.
PARTS_SECONDS = 30.0
_POLL_SECONDS = 0.1


class CheckpointDamaged(RuntimeError):
    """A checkpoint lacks something, or was changed while it was copied: its library could not read it back."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """A checkpoint that another library has written."""

    # A file or a folder.
    source: Path
    # Names of files in it that other processes write, which may not be there yet.
    parts: Collection[str] = ()
    # Patterns of the names of files that the library reads with `torch.load(weights_only=True)`, if that is known.
    plain: Collection[str] = ()


@dataclass(slots=True)
class Examined:
    """What is known of the files of a checkpoint."""

    # Those that `torch.load(weights_only=True)` refuses, and for which classes.
    with_code: dict[str, list[str]] = field(default_factory=dict)
    # Those with state of which nothing is known but that they were copied as they were.
    unknown: list[str] = field(default_factory=list)


def copy_unchanged(source: str, target: str) -> str:
    """Copy a file as `shutil.copy2` does.

    Raises:
        CheckpointDamaged: somebody wrote to it meanwhile.
    """
    before = os.stat(source)  # noqa: PTH116
    shutil.copy2(source, target)
    after = os.stat(source)  # noqa: PTH116
    if (before.st_ino, before.st_size, before.st_mtime_ns) != (after.st_ino, after.st_size, after.st_mtime_ns):
        raise CheckpointDamaged(f"{Path(source).name} was changed while it was copied")
    return target


def wait_for_parts(folder: Path, names: Collection[str], seconds: float = PARTS_SECONDS) -> list[str]:
    """Wait for files that other processes write into a checkpoint. Returns those that did not come."""
    deadline = time.monotonic() + seconds
    missing = sorted(names)
    while True:
        missing = [name for name in missing if not _is_whole(folder / name)]
        if not missing or time.monotonic() > deadline:
            return missing
        time.sleep(_POLL_SECONDS)


def _is_whole(path: Path) -> bool:
    try:
        if _is_archive(path):
            _check_archive(path)
        return path.stat().st_size > 0
    except (OSError, CheckpointDamaged):
        return False


def examine(folder: Path, plain: Collection[str] = ()) -> Examined:
    """Look at every file of a checkpoint.

    Args:
        plain: patterns of the names of files that its library reads with `torch.load(weights_only=True)`.

    Raises:
        CheckpointDamaged: a file is not whole, or there is none.
        StateNotSavable: one of those files holds what is refused then; names it, and where it is.
    """
    found = Examined()
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    if not paths:
        raise CheckpointDamaged("the checkpoint has no files")
    for path in paths:
        name = path.relative_to(folder).as_posix()
        if path.stat().st_size == 0 and path.suffix in _SAVED | {".safetensors", ".json"}:
            raise CheckpointDamaged(f"{name} is empty")
        if _is_archive(path):
            _check_archive(path)
            if refused := refused_classes(path):
                found.with_code[name] = refused
                if any(fnmatch(path.name, pattern) for pattern in plain):
                    raise StateNotSavable(_refusal(path, name, refused))
        elif path.suffix == ".safetensors":
            _check_tensors(path)
        elif path.suffix == ".json" and path.stat().st_size <= _MAX_JSON:
            _check_json(path)
        elif path.suffix not in _BESIDE:
            found.unknown.append(name)
    return found


def _is_archive(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_ARCHIVE)) == _ARCHIVE


def _check_archive(path: Path) -> None:
    """Check the directory of an archive, which is written last, and that all that it names lies before it."""
    try:
        with zipfile.ZipFile(path) as archive:
            ends = [entry.header_offset + entry.compress_size for entry in archive.infolist()]
            is_whole = bool(ends) and max(ends) <= archive.start_dir
    except zipfile.BadZipFile as error:
        raise CheckpointDamaged(f"{path.name} is not whole: {error}") from error
    if not is_whole:
        raise CheckpointDamaged(f"{path.name} is not whole")


def _check_tensors(path: Path) -> None:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        text = file.read(length) if 0 < length <= min(_MAX_HEADER, size) else b""
    try:
        header = json.loads(text)
        ends = [one["data_offsets"][1] for name, one in header.items() if name != "__metadata__"]
        is_whole = 8 + length + max(ends, default=0) == size
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise CheckpointDamaged(f"{path.name} is not whole: its header cannot be read") from error
    if not is_whole:
        raise CheckpointDamaged(f"{path.name} is not whole: {size:,} bytes are fewer or more than its header says")


def _check_json(path: Path) -> None:
    try:
        json.loads(path.read_bytes())
    except ValueError as error:
        raise CheckpointDamaged(f"{path.name} is not whole: {error}") from error


def _refusal(path: Path, name: str, refused: list[str]) -> str:
    places = list(_places(path, frozenset(refused)))[:3]
    where = "".join(f", at {', '.join(places)}" if places else "")
    return f"{name}: holds {', '.join(refused)}{where}, which torch.load(weights_only=True) refuses at the resume"


class _Stub(dict[Any, Any]):
    """Stands for whatever a pickle names, so that none of it is run: takes everything, does nothing."""

    named = ""
    given: tuple[Any, ...] = ()
    state: Any = None

    def __new__(cls, *arguments: Any, **_: Any) -> _Stub:
        made = super().__new__(cls)
        made.given = arguments
        return made

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def extend(self, values: Any) -> None:
        self.given += tuple(values)

    def append(self, value: Any) -> None:
        self.given += (value,)

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)


class _Reader(pickle.Unpickler):
    """Reads the structure of a pickle, without any code of its own or of others."""

    def find_class(self, module: str, name: str) -> Any:
        # The protocol that PyTorch writes has the names of Python 2.
        module, name = _compat_pickle.NAME_MAPPING.get((module, name), (module, name))
        module = _compat_pickle.IMPORT_MAPPING.get(module, module)
        return type(name, (_Stub,), {"named": f"{module}.{name}"})

    def persistent_load(self, _: Any) -> None:
        return None


def _places(path: Path, refused: frozenset[str]) -> Iterator[str]:
    """Find where in a file of `torch.save` the objects of these classes are, as `['state'][0]['mode']`."""
    with zipfile.ZipFile(path) as archive:
        (name,) = [entry for entry in archive.namelist() if entry.endswith("/data.pkl")]
        with archive.open(name) as file:
            content = _Reader(file).load()
    waiting, seen = [(content, "")], set()
    while waiting:
        one, place = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        inner: list[tuple[Any, str]] = []
        if getattr(one, "named", "") in refused:
            yield place or "its top"
            continue
        if isinstance(one, _Stub):
            inner = [(value, place) for value in (*one.given, one.state)]
        if isinstance(one, dict):
            inner += [(value, f"{place}[{key!r}]") for key, value in one.items()]
        elif isinstance(one, list | tuple):
            inner += [(value, f"{place}[{index}]") for index, value in enumerate(one)]
        waiting += reversed([pair for pair in inner if isinstance(pair[0], dict | list | tuple | type)])
