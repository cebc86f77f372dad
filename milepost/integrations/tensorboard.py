"""TensorBoard event files: read into runs, and written from trials.

An event file is a sequence of records: length (8 bytes, little-endian), masked CRC-32C of it, data, masked CRC-32C of
that. Each holds one `Event` message, whose definition and whose checksum come from the package tensorboardX.
"""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from milepost.errors import FailedPrecondition, InvalidArgument, Unavailable, Violation
from milepost.ids import uuid7
from milepost.training.buffer import LARGEST_STEP, clean_key

if TYPE_CHECKING:
    from milepost.client import Client
    from milepost.training.external import ExternalRun

PATTERN = "*tfevents*"
FOLLOW_SECONDS = 1.0
# What no event of scalars is as large as: a length that is damaged must not ask for all memory.
LARGEST_RECORD = 256 << 20
_HEADER, _CHECK = struct.Struct("<QI"), struct.Struct("<I")
_FLOAT, _DOUBLE = 1, 2


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value of an event file. `seconds`: since 1970."""

    tag: str
    step: int
    seconds: float
    value: float


@dataclass(slots=True)
class EventFile:
    """An event file that may still grow. `damage` says why nothing more of it can be read; empty: it can."""

    path: Path
    position: int = 0
    damage: str = ""
    _scalars: Callable[[bytes], Iterator[Scalar]] = field(init=False)

    def __post_init__(self) -> None:
        self._scalars = _parser()

    def read(self) -> Iterator[Scalar]:
        """Yield what was written since the last call. A record that is not whole yet is left for the next one."""
        if self.damage:
            return
        check = _checksum()
        with self.path.open("rb") as file:
            file.seek(self.position)
            while True:
                header = file.read(_HEADER.size)
                if len(header) < _HEADER.size:
                    return
                length, expected = _HEADER.unpack(header)
                if check(header[:8]) != expected or length > LARGEST_RECORD:
                    self.damage = f"{self.path.name} is damaged at byte {self.position:,}"
                    return
                body = file.read(length + _CHECK.size)
                if len(body) < length + _CHECK.size:
                    return
                if check(body[:length]) != _CHECK.unpack(body[length:])[0]:
                    self.damage = f"{self.path.name} is damaged at byte {self.position:,}"
                    return
                self.position += len(header) + len(body)
                yield from self._scalars(body[:length])


def _package() -> Any:
    try:
        import tensorboardX
        import tensorboardX.proto.event_pb2
        import tensorboardX.record_writer
    except ImportError as error:
        raise FailedPrecondition(
            "event files need tensorboardX: pip install 'milepost[integrations]'", reason="NO_TENSORBOARDX"
        ) from error
    return tensorboardX


def _checksum() -> Callable[[bytes], int]:
    masked: Callable[[bytes], int] = _package().record_writer.masked_crc32c
    return masked


def _parser() -> Callable[[bytes], Iterator[Scalar]]:
    event_class = _package().proto.event_pb2.Event

    def scalars(record: bytes) -> Iterator[Scalar]:
        event = event_class.FromString(record)
        for value in event.summary.value:
            number = _number(value)
            if number is not None and 0 <= event.step <= LARGEST_STEP:
                yield Scalar(value.tag, event.step, event.wall_time, number)

    return scalars


def _number(value: Any) -> float | None:
    """Return the scalar of a summary, in its old form or as a tensor of one element; None: it is something else."""
    kind = value.WhichOneof("value")
    if kind == "simple_value":
        return float(value.simple_value)
    if kind != "tensor":
        return None
    tensor = value.tensor
    if tensor.dtype == _FLOAT:
        found = list(tensor.float_val) or list(
            struct.unpack(f"<{len(tensor.tensor_content) // 4}f", tensor.tensor_content)
        )
    elif tensor.dtype == _DOUBLE:
        content = tensor.tensor_content
        found = list(tensor.double_val) or list(struct.unpack(f"<{len(content) // 8}d", content))
    else:
        return None
    return float(found[0]) if len(found) == 1 else None


# --- import ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of one folder of event files."""

    folder: Path
    runtime_id: str
    points: int
    # Empty: it was imported now.
    passed_over: str = ""
    damage: tuple[str, ...] = ()


class FolderImport:
    """One folder of event files as one run: what one writer has written."""

    def __init__(self, folder: Path, name: str, data_dir: str | None) -> None:
        self.folder = folder
        self.points = 0
        self._name = name
        self._data_dir = data_dir
        self._files: dict[Path, EventFile] = {}
        self._run: ExternalRun | None = None
        self._step = 0

    @property
    def runtime_id(self) -> str:
        """The id of the run, the same at every import of this folder: nothing is imported twice."""
        first = min(self.folder.glob(PATTERN))
        return runtime_id_of(first)

    def read(self) -> int:
        """Record what was written since the last call. Returns the number of points."""
        added = 0
        for path in sorted(self.folder.glob(PATTERN)):
            for scalar in self._files.setdefault(path, EventFile(path)).read():
                run = self._run or self._open()
                run.log_at(scalar.step, scalar.seconds, {clean_key(scalar.tag): scalar.value})
                added += 1
                if scalar.step > self._step:
                    self._step = scalar.step
                    run.trial.advance(scalar.step)
        self.points += added
        return added

    def _open(self) -> ExternalRun:
        from milepost.training.external import open_run

        configuration = {"name": self._name[:100], "labels": {"imported": "tensorboard"}}
        self._run = open_run(configuration, runtime_id=self.runtime_id, data_dir=self._data_dir)
        self._run.trial.declare({"folder": str(self.folder)})
        self._run.trial.advance(0)
        return self._run

    def finish(self) -> Imported:
        """End the run."""
        if self._run is not None:
            self._run.finish()
        damage = tuple(file.damage for file in self._files.values() if file.damage)
        return Imported(self.folder, self.runtime_id, self.points, "" if self._run else "it has no scalars", damage)


def runtime_id_of(first: Path) -> str:
    """Make the id of the run that begins with an event file: of its time, and of where it lies."""
    seconds = _time_in_name(first.name) or first.stat().st_mtime
    made = uuid7(int(seconds * 1000)).int >> 80 << 80
    digest = int.from_bytes(hashlib.sha256(str(first.resolve()).encode()).digest()[:10])
    value = (made | digest) & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return "rt-" + base64.b32hexencode(value.to_bytes(16)).decode().rstrip("=").lower()


def _time_in_name(name: str) -> float:
    """Read `events.out.tfevents.<seconds>.<host>...`; 0: it says none."""
    digits = name.partition("tfevents.")[2].partition(".")[0]
    return float(digits) if digits.isdigit() and 0 < len(digits) <= 11 else 0.0


def find_folders(root: Path) -> list[Path]:
    """List the folders below a folder, itself included, that hold event files.

    Raises:
        InvalidArgument: there are none.
    """
    folders = sorted({path.parent for path in root.rglob(PATTERN) if path.is_file()})
    if not folders:
        raise InvalidArgument([Violation("directory", f"{root} has no event files (*tfevents*) in it")])
    return folders


def import_folders(
    root: Path,
    *,
    name: str = "",
    data_dir: str | None = None,
    is_known: Callable[[str], bool] = lambda runtime_id: False,
    follow: Callable[[], bool] | None = None,
) -> Iterator[Imported]:
    """Record every folder of event files below a folder as a run.

    Args:
        root: the folder, such as `runs/`.
        name: in front of the names of the runs. Default: the name of the folder.
        data_dir: where the record waits until it is stored.
        is_known: whether a runtime exists already; its folder is passed over.
        follow: asked again and again whether to go on reading what is still being written. None: read once.

    Raises:
        InvalidArgument: there are no event files.
        FailedPrecondition: tensorboardX is not installed.
    """
    _package()
    imports: dict[Path, FolderImport] = {}
    passed: set[Path] = set()
    while True:
        for folder in find_folders(root):
            if folder in passed:
                continue
            if folder not in imports:
                made = FolderImport(folder, _name_of(root, folder, name), data_dir)
                if is_known(made.runtime_id):
                    passed.add(folder)
                    yield Imported(folder, made.runtime_id, 0, "it was imported before")
                    continue
                imports[folder] = made
            imports[folder].read()
            if follow is None:
                passed.add(folder)
                yield imports.pop(folder).finish()
        if follow is None or not follow():
            break
        try:
            time.sleep(FOLLOW_SECONDS)
        except KeyboardInterrupt:
            break
    for one in imports.values():
        one.read()
        yield one.finish()


def _name_of(root: Path, folder: Path, name: str) -> str:
    base = name or root.resolve().name
    return base if folder == root else f"{base}/{folder.relative_to(root).as_posix()}"


# --- export ---------------------------------------------------------------------------------------------------------


def export_trial(client: Client, trial: str, folder: Path) -> tuple[Path, int]:
    """Write every point of a trial's lineage as an event file. Returns it, and the number of points.

    TensorBoard keeps values as 32-bit floats.

    Raises:
        NotFound: there is no such trial.
        FailedPrecondition: tensorboardX or pyarrow is not installed.
        Unavailable: the file cannot be written.
    """
    from milepost.series import read_series

    package = _package()
    table = read_series(client, trial)
    rows = table.sort_by([("step", "ascending"), ("time", "ascending"), ("key", "ascending")])
    runtime, number = trial.split("/")[1], trial.rpartition("/")[2]
    path = folder / f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{runtime}-{number}"
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            for record in _records(package, rows):
                file.write(record)
        temporary.rename(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise Unavailable(f"{path} cannot be written: {error.strerror}") from error
    return path, rows.num_rows


def _records(package: Any, rows: Any) -> Iterator[bytes]:
    event_pb2, check = package.proto.event_pb2, _checksum()

    def framed(event: Any) -> bytes:
        data = event.SerializeToString()
        length = struct.pack("<Q", len(data))
        return length + _CHECK.pack(check(length)) + data + _CHECK.pack(check(data))

    yield framed(event_pb2.Event(wall_time=time.time(), file_version="brain.Event:2"))
    for batch in rows.to_batches(10_000):
        columns: Mapping[str, list[Any]] = batch.select(["key", "step", "time", "value"]).to_pydict()
        for key, step, moment, value in zip(*columns.values(), strict=True):
            event = event_pb2.Event(wall_time=moment.timestamp(), step=step)
            event.summary.value.add(tag=key, simple_value=value)
            yield framed(event)
