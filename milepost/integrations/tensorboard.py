"""TensorBoard event files: read into runs, and written from trials.

An event file is a sequence of records: length (8 bytes, little-endian), masked CRC-32C of it, data, masked CRC-32C of
that. Each holds one `Event` message, whose definition and whose checksum come from the package tensorboardX.

Records are framed here and not by its `RecordWriter`, which writes where it is told, at once. That costs four lines
(`_records`). For them an export replaces its file as a whole, synced, and is never seen half written.
"""

from __future__ import annotations

import base64
import hashlib
import re
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from milepost import files, series_names
from milepost.errors import FailedPrecondition, InvalidArgument, Violation
from milepost.ids import uuid7
from milepost.numbers import MAX_NUMBER
from milepost.series_names import MAX_SERIES

if TYPE_CHECKING:
    from milepost.client import Client
    from milepost.training.script.external_run import ExternalRun

PATTERN = "*tfevents*"
FOLLOW_SECONDS = 1.0
# What no event of scalars is as large as: a length that is damaged must not ask for all memory.
MAX_RECORD = 256 << 20
_HEADER, _CHECK = struct.Struct("<QI"), struct.Struct("<I")
_FLOAT, _DOUBLE = 1, 2
# What is not kept of the name of a run in that of a folder.
_NOT_IN_FOLDERS = re.compile(r"[^\w.]+")
_MAX_NAME = 60


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value of an event file. `seconds`: since 1970."""

    tag: str
    step: int
    seconds: float
    value: float


@dataclass(frozen=True, slots=True)
class Restart:
    """The writer began again (`purge_step`): what was written before from this step on does not count any more."""

    step: int


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something of an event file that no run can hold. `tag`: under which it was written; empty: none."""

    kind: str
    tag: str = ""


Item = Scalar | Restart | LeftOut
# What is left out beside values, in words.
_KINDS = {
    "image": "images",
    "histo": "histograms",
    "obsolete_old_style_histogram": "histograms",
    "audio": "audio clips",
    "text": "texts",
    "hparams": "hyperparameters",
    "pr_curves": "precision-recall curves",
    "mesh": "meshes",
    "graph_def": "graphs",
    "meta_graph_def": "graphs",
    "tagged_run_metadata": "profiles of a graph",
    "log_message": "log messages",
    "custom_scalars": "layouts of charts",
    "scalars": "scalars that are no float",
}
_MAX_TAGS = 3


@dataclass(slots=True)
class EventFile:
    """An event file that may still grow. `damage` says why nothing more of it can be read; empty: it can."""

    path: Path
    position: int = 0
    damage: str = ""
    _parse: Callable[[bytes], list[Item]] = field(init=False)

    def __post_init__(self) -> None:
        self._parse = _parser()

    def read(self) -> Iterator[Item]:
        """Yield what was written since the last call. A record that is not whole yet is left for the next one."""
        if self.damage:
            return
        check = _checksum()
        try:
            with self.path.open("rb") as file:
                file.seek(self.position)
                while (record := self._record(file, check)) is not None:
                    items = self._parse(record)
                    self.position += _HEADER.size + len(record) + _CHECK.size
                    yield from items
        except OSError as error:
            self.damage = f"{self.path.name} cannot be read: {error.strerror}"
        except ValueError as error:
            self.damage = f"{self.path.name} is damaged at byte {self.position:,}: {error}"

    def _record(self, file: IO[bytes], check: Callable[[bytes], int]) -> bytes | None:
        """Read the next record. None: it is not whole. Raises ValueError where it is damaged."""
        header = file.read(_HEADER.size)
        if len(header) < _HEADER.size:
            return None
        length, expected = _HEADER.unpack(header)
        if check(header[:8]) != expected or length > MAX_RECORD:
            raise ValueError("the length of a record is wrong")
        body = file.read(length + _CHECK.size)
        if len(body) < length + _CHECK.size:
            return None
        if check(body[:length]) != _CHECK.unpack(body[length:])[0]:
            raise ValueError("a record is not what its checksum says")
        return body[:length]

    def open_end(self) -> str:
        """Say what is behind the last record that is whole, where nobody waits for the rest; empty: nothing."""
        if self.damage:
            return self.damage
        rest = self.path.stat().st_size - self.position
        return f"{self.path.name} ends within a record: its last {rest:,} bytes are left out" if rest else ""


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


def _parser() -> Callable[[bytes], list[Item]]:
    from google.protobuf.message import DecodeError

    events = _package().proto.event_pb2
    # A writer may say with the first value of a tag only what all of them are.
    plugins: dict[str, str] = {}

    def parse(record: bytes) -> list[Item]:
        try:
            event = events.Event.FromString(record)
            what = event.WhichOneof("what")
            if what == "session_log" and event.session_log.status == events.SessionLog.START:
                return [Restart(event.step)]
            if what in _KINDS:
                return [LeftOut(_KINDS[what])]
            return [_item(event, value, plugins) for value in event.summary.value]
        except (DecodeError, struct.error) as error:
            raise ValueError("a record is no event") from error

    return parse


def _item(event: Any, value: Any, plugins: dict[str, str]) -> Item:
    plugin = value.metadata.plugin_data.plugin_name
    if plugin:
        plugins[value.tag] = plugin
    number = _number(value)
    if number is None:
        kind = value.WhichOneof("value")
        known = plugins.get(value.tag, "tensors") if kind in ("tensor", None) else kind
        return LeftOut(_KINDS.get(known, known), value.tag)
    if not 0 <= event.step <= MAX_NUMBER:
        return LeftOut(
            "values of a step below 0" if event.step < 0 else "values of a step that is too large", value.tag
        )
    return Scalar(value.tag, event.step, event.wall_time, number)


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
    # What could not be read: files that are damaged, or end within a record.
    damage: tuple[str, ...] = ()
    # What was read and is not in the run, in words.
    left_out: tuple[str, ...] = ()
    # Points that the writer took back when it began again.
    taken_back: int = 0


class FolderImport:
    """One folder of event files as one run: what one writer has written, as TensorBoard shows it."""

    def __init__(self, folder: Path, name: str, data_dir: str | None) -> None:
        self.folder = folder
        self.points = 0
        self._name = name
        self._data_dir = data_dir
        self._files: dict[Path, EventFile] = {}
        self._run: ExternalRun | None = None
        self._step = 0
        self._series: set[str] = set()
        self._left_out: Counter[LeftOut] = Counter()
        self._taken_back = 0

    @property
    def runtime_id(self) -> str:
        """The id of the run, the same at every import of this folder: nothing is imported twice."""
        first = min(self.folder.glob(PATTERN))
        return runtime_id_of(first)

    def read(self) -> int:
        """Record what was written since the last call. Returns the number of points."""
        added = 0
        for scalar in self.scalars():
            self._record(scalar)
            added += 1
        self.points += added
        return added

    def scalars(self) -> Iterator[Scalar]:
        """Yield what was written since the last call and counts, as far as is known: restarts drop what was before."""
        ahead = self._restarts_ahead()
        for path in sorted(self.folder.glob(PATTERN)):
            for item in self._files.setdefault(path, EventFile(path)).read():
                if isinstance(item, Restart):
                    self._begin_again(item)
                    del ahead[:1]
                elif isinstance(item, LeftOut):
                    self._left_out[item] += 1
                elif ahead and item.step >= ahead[0]:
                    self._taken_back += 1
                elif self._has_room(item.tag):
                    yield item

    def _has_room(self, tag: str) -> bool:
        """Return whether a trial can have this series too, and note it where it cannot."""
        key = series_names.key_of(tag)
        if key not in self._series and len(self._series) >= MAX_SERIES:
            self._left_out[LeftOut(f"values of series after the first {MAX_SERIES:,}", tag)] += 1
            return False
        self._series.add(key)
        return True

    def _restarts_ahead(self) -> list[int]:
        """Look through what was written since the last call: before each restart, the steps below which points count."""
        steps: list[int] = []
        for path in sorted(self.folder.glob(PATTERN)):
            known = self._files.get(path)
            if known is None or not known.damage:
                ahead = EventFile(path, known.position if known is not None else 0)
                steps += [item.step for item in ahead.read() if isinstance(item, Restart)]
        return list(accumulate(reversed(steps), min))[::-1]

    def _record(self, scalar: Scalar) -> None:
        run = self._run or self._open()
        run.log_at(scalar.step, scalar.seconds, {scalar.tag: scalar.value})
        if scalar.step > self._step:
            self._step = scalar.step
            run.trial.advance(scalar.step)

    def _begin_again(self, restart: Restart) -> None:
        if self._run is not None and restart.step <= self._step:
            self._run.warn(
                f"restart {restart.step}",
                f"{self.folder} began again at step {restart.step:,} after points from there on were recorded; "
                "they stay until newer ones of their steps come",
            )

    def _open(self) -> ExternalRun:
        from milepost.training.script.opening import open_run

        configuration = {"name": self._name[:100], "labels": {"imported": "tensorboard"}}
        self._run = open_run(configuration, runtime_id=self.runtime_id, data_dir=self._data_dir)
        self._run.trial.declare({"folder": str(self.folder)})
        self._run.trial.advance(0)
        return self._run

    def finish(self) -> Imported:
        """End the run."""
        if self._run is not None:
            self._run.finish()
        return Imported(
            self.folder,
            self.runtime_id,
            self.points,
            "" if self._run else "it has no scalars",
            tuple(filter(None, (file.open_end() for file in self._files.values()))),
            in_words(self._left_out),
            self._taken_back,
        )


def in_words(left_out: Mapping[LeftOut, int]) -> tuple[str, ...]:
    """Say what is left out, by kind: how many, and under which tags."""
    counts: Counter[str] = Counter()
    tags: dict[str, list[str]] = {}
    for one, count in left_out.items():
        counts[one.kind] += count
        tags.setdefault(one.kind, []).extend([one.tag] if one.tag else [])
    return tuple(f"{kind} ({count:,}{_listed(tags[kind])})" for kind, count in counts.items())


def _listed(tags: list[str]) -> str:
    if not tags:
        return ""
    more = f" and {len(tags) - _MAX_TAGS:,} more" if len(tags) > _MAX_TAGS else ""
    return f": {', '.join(tags[:_MAX_TAGS])}{more}"


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

    The file lies in a folder of its own, which is what TensorBoard takes for a run. Exporting again replaces it.
    TensorBoard keeps values as 32-bit floats.

    Raises:
        NotFound: there is no such trial.
        FailedPrecondition: tensorboardX or pyarrow is not installed.
        OSError: the file cannot be written.
    """
    from milepost.series import read_series

    package = _package()
    table = read_series(client, trial)
    # Stable: of several values of a series at one step the newest stays the last.
    rows = table.sort_by([("step", "ascending")])
    runtime = client.get_runtime(trial.partition("/trials/")[0], show_deleted=True)
    path = (
        folder / _folder_of(trial, runtime.display_name) / f"events.out.tfevents.{runtime.create_time.seconds}.milepost"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_pieces(path, _records(package, rows))
    return path, rows.num_rows


def _folder_of(trial: str, display_name: str) -> str:
    """Name the folder of a trial: what people call the run, as far as a file may be called so, and what it is."""
    _, runtime_id, _, number = trial.split("/")
    called = _NOT_IN_FOLDERS.sub("-", display_name).strip("-.")[:_MAX_NAME]
    return f"{called}-{runtime_id}-{number}" if called else f"{runtime_id}-{number}"


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
