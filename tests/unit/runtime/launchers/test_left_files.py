"""What an attempt can leave where its spools should be is not waited for, not followed, not trusted, and named."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from milepost import files
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1.trial_events_pb2 import AttemptEnded
from milepost.api.runtime.v1.runtime_service_pb2 import StartRuntimeRequest
from milepost.errors import FailedPrecondition, InvalidArgument, Violation
from milepost.installation.endpoints import Endpoints
from milepost.names import AttemptKey
from milepost.names import AttemptKey as LauncherKey
from milepost.training.script import syncing
from milepost.training.script.attempt import place as place_module
from milepost.training.script.attempt import registration
from milepost.training.spooling import owner
from milepost.training.spooling.journal import AttemptJournal, driver_sender
from milepost.training.spooling.owner import Life, OwnerLock, look, this_process
from milepost.training.spooling.recovery import attempt_number, earlier_spools
from milepost.training.spooling.spool import Spool, SpooledEvent, open_left
from services.runtime.launchers import MAX_DETAIL, last_word, local
from services.runtime.scheduling import recovery
from tests.unit.runtime.launchers.test_attempt_files import HUGE, folder, huge, link, noise, pipe

pytestmark = pytest.mark.timeout(60)
RUN = "rt-06h2897adlvbv6d8mfg4enk3lk"
KEY = AttemptKey(RUN, 1, 2)
EVENT = SpooledEvent("event-1", "milepost.trial.a.v1", b"x", datetime.now(UTC).isoformat(), "")

Plant = Callable[[Path], None]


@pytest.fixture
def attempt(tmp_path: Path) -> Path:
    made = tmp_path / "runtimes" / RUN / "trial-1" / "attempt-2"
    made.mkdir(parents=True)
    return made


def spool(path: Path, key: AttemptKey = KEY) -> Path:
    made = Spool(path, driver_sender(key))
    made.put("steps", lambda number: ({"mp-number": str(number)}, b"batch"), 1)
    made.put_event(EVENT)
    made.close()
    return path


def elsewhere(path: Path) -> None:
    """A spool of somebody else, which lies outside."""
    other = path.parent.parent / "elsewhere.sqlite"
    if not other.exists():
        spool(other)
    path.symlink_to(other)


def database(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as opened:
        for statement in statements:
            opened.execute(statement)


@pytest.mark.parametrize("ending", [".sqlite", ".owner", ".sqlite-wal", ".sqlite-shm"])
@pytest.mark.parametrize("plant", [pipe, link, elsewhere, folder])
def test_what_is_no_file_is_set_aside_and_neither_followed_nor_waited_for(
    attempt: Path, plant: Plant, ending: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = attempt / "spool-driver.sqlite"
    spool(path)
    planted = path.with_name("spool-driver" + ending)
    planted.unlink(missing_ok=True)
    plant(planted)
    outside = {one: one.read_bytes() for one in attempt.parent.iterdir() if one.is_file()}
    opened = open_left(path)
    if ending == ".sqlite":
        assert opened is None
    else:
        assert opened is not None
        assert [event.id for event in opened.events()] == ["event-1"], "the rest goes on"
        opened.close()
    assert os.path.lexists(attempt / (planted.name + files.DAMAGED))
    assert [record.__dict__["path"] for record in caplog.records if record.message == "file.damaged"] == [str(planted)]
    assert {one: one.read_bytes() for one in attempt.parent.iterdir() if one.is_file()} == outside


@pytest.mark.parametrize("plant", [huge, noise])
def test_a_file_that_is_no_spool_is_set_aside(attempt: Path, plant: Plant) -> None:
    path = attempt / "spool-driver.sqlite"
    plant(path)
    assert open_left(path) is None
    assert not path.exists()
    assert (attempt / "spool-driver.sqlite.damaged").exists()


def test_a_spool_that_is_longer_than_any_is_not_read(attempt: Path) -> None:
    path = spool(attempt / "spool-driver.sqlite")
    os.truncate(path, HUGE)
    assert open_left(path) is None
    assert (attempt / "spool-driver.sqlite.damaged").stat().st_size == HUGE


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO numbers VALUES ('other', 3)",
        "INSERT INTO numbers VALUES ('logs', 'many')",
        "INSERT INTO batches VALUES ('other', 1, '', x'00', 1, 1, 1, 0)",
        "INSERT INTO batches VALUES ('steps', 'first', '', x'00', 1, 1, 1, 0)",
        "INSERT INTO batches VALUES ('steps', 7, '', 'text', 1, 1, 1, 0)",
        "INSERT INTO batches VALUES ('steps', 7, '', 1000000000000, 1, 1, 1, 0)",
        "INSERT INTO batches VALUES ('steps', 7, '', zeroblob(20000000), 1, 1, 1, 0)",
        "INSERT INTO batches VALUES ('steps', 7, x'00', x'00', 1, 1, 1, 0)",
        "INSERT INTO batches VALUES ('steps', 7, '', x'00', 1, 9223372036854775807, 1, 0)",
        "INSERT INTO events (id, type, body, time, cause) VALUES (x'00', 'a', x'00', '', '')",
        "INSERT INTO events (id, type, body, time, cause) VALUES ('a', 'b', 'c', 'd', 'e')",
        "INSERT INTO events (id, type, body, time, cause) VALUES ('a' || char(10) || 'mp-actor: b', 'b', x'00', '', '')",
        "INSERT INTO sender VALUES (x'00', 'one', 'two', 3)",
    ],
)
def test_rows_that_no_spool_has_are_left_out_and_the_others_sent(attempt: Path, statement: str) -> None:
    path = spool(attempt / "spool-driver.sqlite")
    database(path, statement)
    opened = open_left(path)
    assert opened is not None
    assert (list(opened.held("steps")), list(opened.held("logs"))) == ([1], [])
    assert [event.id for event in opened.events()] == ["event-1"]
    assert (attempt / "spool-driver.sqlite.damaged").exists()
    opened.close()


@pytest.mark.parametrize(
    "statements",
    [
        (
            "DROP TABLE sender",
            "CREATE VIEW sender AS WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) "
            "SELECT n AS runtime_id, n AS trial, n AS attempt, n AS source FROM r WHERE n < 0",
        ),
        ("CREATE TRIGGER more AFTER INSERT ON batches BEGIN DELETE FROM events; END",),
        ("DROP TABLE events",),
        ("ALTER TABLE sender RENAME COLUMN source TO sauce",),
    ],
)
def test_a_database_that_does_more_or_less_than_a_spool_is_set_aside(
    attempt: Path, statements: tuple[str, ...]
) -> None:
    path = spool(attempt / "spool-driver.sqlite")
    database(path, *statements)
    opened = open_left(path)
    assert (attempt / "spool-driver.sqlite.damaged").exists()
    if opened is not None:
        opened.close()
        assert "DROP TABLE events" in statements, "only of tables that are as they should be something is taken"


def test_headers_that_are_none_are_left_out(attempt: Path) -> None:
    path = spool(attempt / "spool-driver.sqlite")
    database(path, "UPDATE batches SET headers = 'mp-number:1' || char(10) || 'nothing'")
    opened = open_left(path)
    assert opened is not None
    entry = opened.get("steps", 1)
    assert entry is not None and entry.headers == {"mp-number": "1"}
    opened.close()


@pytest.mark.parametrize("other", [AttemptKey(RUN, 2, 2), AttemptKey("rt-other", 1, 2), AttemptKey(RUN, 1, 3)])
def test_a_spool_of_somebody_else_is_not_sent(
    attempt: Path, other: AttemptKey, caplog: pytest.LogCaptureFixture
) -> None:
    path = spool(attempt / "spool-driver.sqlite", other)
    assert open_left(path, KEY.may_send) is None
    assert (attempt / "spool-driver.sqlite.damaged").exists()
    assert f"runtimes/{other.runtime_id}/trials/{other.trial}" in caplog.records[-1].__dict__["error"]
    earlier = spool(attempt / "spool-rank-0.sqlite", AttemptKey(RUN, 1, 1))
    sent = open_left(earlier, KEY.may_send)
    assert sent is not None
    sent.close()
    assert open_left(earlier, KEY.is_of) is None


async def test_an_event_that_cannot_be_read_does_not_keep_back_those_behind_it(attempt: Path) -> None:
    made = Spool(attempt / "spool-driver.sqlite", driver_sender(KEY))
    late = AttemptEnded(attempt=2)
    for number, (kind, time) in enumerate([("nothing", EVENT.time), ("milepost.trial.attempt_ended.v1", "soon")]):
        body = b"\xff" if not number else late.SerializeToString()
        made.put_event(SpooledEvent(f"event-{number}", kind, body, time, ""))
    unused: Any = None
    journal = AttemptJournal(unused, KEY, made)
    for _ in range(2):
        assert journal._decide() == []
    assert journal.waiting == 0
    assert made.events() == []
    made.close()


# --- owners


@pytest.mark.parametrize("plant", [pipe, link, folder])
def test_an_owner_that_is_no_file_is_not_known_and_nothing_is_written_through_it(attempt: Path, plant: Plant) -> None:
    path = attempt / "spool-driver.owner"
    plant(path)
    secret = attempt.parent / "secret"
    before = secret.read_bytes() if secret.exists() else b""
    assert look(path) == (Life.UNKNOWN, None)
    with pytest.raises(OSError):
        OwnerLock(path)
    assert (secret.read_bytes() if secret.exists() else b"") == before


@pytest.mark.parametrize(
    "changes",
    [
        {"process_id": "../../tmp"},
        {"process_id": -1},
        {"process_id": 1 << 40},
        {"process_id": True},
        {"process_start": 1.5},
        {"host": ["a"]},
        {"host": "a\x1b[2J"},
        {"locks": "yes"},
        {"inode": -(1 << 70)},
    ],
)
def test_an_owner_that_cannot_be_is_nobody(attempt: Path, changes: dict[str, Any]) -> None:
    path = attempt / "spool-driver.owner"
    path.write_text(json.dumps(asdict(this_process()) | changes))
    assert look(path)[1] is None
    path.write_text("[" * 4_000)
    assert look(path)[1] is None


def test_what_an_owner_says_leads_to_no_other_file(attempt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`/proc/<id>/stat` of an id that is a way out."""
    os.mkfifo(attempt / "stat")
    monkeypatch.setattr(owner, "_pid_namespace", lambda: "here")
    said = asdict(this_process()) | {"pid_namespace": "here", "process_id": f"..{attempt}", "process_start": 1}
    (attempt / "spool-driver.owner").write_text(json.dumps(said))
    assert look(attempt / "spool-driver.owner")[0] is Life.DEAD


# --- folders


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("attempt-2", 2),
        ("attempt-²", 0),
        ("attempt-٣", 0),
        ("attempt-02", 0),
        ("attempt-" + "9" * 40, 0),
        ("attempt-", 0),
    ],
)
def test_only_a_plain_number_is_an_attempt(name: str, number: int) -> None:
    assert attempt_number(Path(name)) == number


def test_spools_of_earlier_attempts_are_not_looked_for_behind_a_link(attempt: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    spool(tmp_path / "other" / "spool-driver.sqlite")
    (attempt.parent / "attempt-1").symlink_to(tmp_path / "other")
    (attempt.parent / "attempt-²").mkdir()
    assert earlier_spools(attempt) == []


async def test_the_service_takes_nothing_from_a_folder_that_is_a_link(
    attempt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    other = tmp_path / "other"
    attempt.rename(other)
    spool(other / "spool-driver.sqlite")
    attempt.symlink_to(other)

    async def connect(*arguments: object, **options: object) -> None:
        raise AssertionError("nothing is sent")

    monkeypatch.setattr(recovery, "connect", connect)
    taking = recovery.Recovery(tmp_path, "", lambda key: None)
    key = LauncherKey(RUN, 1, 2)
    await taking.take_events(key)
    taking.send_telemetry(key)
    assert not taking._sending
    assert {record.message for record in caplog.records} == {"leftovers.elsewhere"}
    assert (other / "spool-driver.sqlite").exists()


# --- the last word of an attempt, and its lock


@pytest.mark.parametrize(
    "said",
    [
        '{"cause": 99}',
        '{"cause": "EXIT_CAUSE_OF_A_LATER_VERSION"}',
        json.dumps({"detail": "a" * 900_000}),
    ],
)
def test_a_last_word_is_within_bounds(said: str) -> None:
    word = last_word(said)
    assert word is not None
    assert word.cause in common.ExitCause.values() and len(word.detail) <= MAX_DETAIL


@pytest.mark.parametrize("said", ["", "7", "[" * 100_000, '{"detail": ' * 50_000, '{"cause": 1e400}', "\ufffd"])
def test_what_is_no_last_word_says_nothing(said: str) -> None:
    assert last_word(said) is None


@pytest.mark.parametrize(
    "said",
    ["[" * 100_000, '{"pid": Infinity, "start": 1}', '{"pid": -5, "start": 1}', '{"pid": 1e99, "start": 1}',
     '{"pid": 99999999999999999999, "start": 1}', '{"pid": true, "start": 1}', '{"pid": "1", "start": 1}'],
)  # fmt: skip
def test_a_process_that_cannot_be_is_none(attempt: Path, said: str) -> None:
    (attempt / "process.json").write_text(said)
    assert local._read_process(attempt) is None


@pytest.mark.parametrize("plant", [pipe, link, folder])
def test_a_lock_or_log_that_is_no_file_is_neither_held_nor_written_through(attempt: Path, plant: Plant) -> None:
    for name in ("attempt.lock", "driver.log"):
        plant(attempt / name) if plant is not link else elsewhere(attempt / name)
    outside = attempt.parent / "elsewhere.sqlite"
    if plant is link:
        holder = os.open(outside, os.O_RDWR)
        fcntl.flock(holder, fcntl.LOCK_EX)
    assert not local._is_locked(attempt)
    with pytest.raises(OSError):
        local._open_log(attempt)
    if plant is link:
        os.close(holder)


# --- what scripts leave


@pytest.fixture
def script(attempt: Path) -> Path:
    """The folder of a run of a script that is not known yet."""
    made = attempt.with_name("attempt-1")
    attempt.rename(made)
    configuration = {"name": "mine", "launcher": "LAUNCHER_EXTERNAL"}
    launch = {"runtime_id": RUN, "trial": 1, "attempt": 1, "configuration": configuration}
    (made / "attempt.json").write_text(json.dumps(launch))
    return made.parent.parent


@pytest.mark.parametrize("plant", [pipe, huge, link, folder, noise])
def test_a_beginning_that_is_no_file_is_made_again(script: Path, plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(script / "start.json")
    read = registration._read_start(script / "start.json")
    assert (read.runtime_id, read.configuration.name) == (RUN, "mine")
    assert os.path.lexists(script / "start.json.damaged")
    assert json_format.Parse((script / "start.json").read_text(), StartRuntimeRequest()) == read


@pytest.mark.parametrize("plant", [pipe, huge, link, folder, noise])
def test_what_an_attempt_was_told_may_be_anything(script: Path, plant: Plant) -> None:
    told = script / "trial-1" / "attempt-1" / "attempt.json"
    told.unlink()
    plant(told)
    assert syncing._is_external(told), "no launcher has locked it"
    (script / "start.json").write_bytes(b"")
    with pytest.raises(FailedPrecondition, match="is damaged"):
        registration._read_start(script / "start.json")


@pytest.mark.parametrize(
    "error",
    [
        OSError(5, "bad disk"),
        sqlite3.OperationalError("full"),
        InvalidArgument([Violation("configuration", "is none")]),
    ],
)
async def test_one_run_that_cannot_be_sent_keeps_no_other_back(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    for name in ("rt-1", "rt-2"):
        made = tmp_path / "runtimes" / name / "trial-1"
        made.mkdir(parents=True)
        for folder_name in ("attempt-1", "attempt-²"):
            (made / folder_name).mkdir()
            (made / folder_name / "attempt.json").write_text('{"configuration": {"launcher": "LAUNCHER_EXTERNAL"}}')
    (tmp_path / "runtimes" / "rt-3").symlink_to(tmp_path / "runtimes" / "rt-2")
    sent = []

    async def answers(address: str) -> None:
        return

    async def send(directory: Path, endpoints: Endpoints, seconds: float) -> tuple[int, int]:
        name = directory.parent.parent.name
        if name == RUN:
            raise error
        sent.append((name, directory.name))
        return 0, 0

    monkeypatch.setattr(syncing, "check_answers", answers)
    monkeypatch.setattr(syncing, "_sync_attempt", send)
    with pytest.raises((FailedPrecondition, InvalidArgument)):
        await syncing._sync(tmp_path, Endpoints(data_dir=str(tmp_path)), 1.0)
    assert sorted(sent) == [("rt-1", "attempt-1"), ("rt-2", "attempt-1")]


@pytest.mark.parametrize("plant", [pipe, link, folder])
def test_credentials_that_are_no_file_are_made_again(
    script: Path, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = script / "trial-1" / "attempt-1"
    place = place_module.Place(AttemptKey(RUN, 1, 1), directory, Endpoints(data_dir=str(script.parents[1])))
    plant(place.credentials)
    monkeypatch.setattr(place_module, "find_authority", lambda folder: None)
    told = type("Told", (), {"nats_credentials": "made"})
    monkeypatch.setattr(place_module, "take_up", lambda *arguments: told)
    assert place.find_user() == place.credentials
    assert place.credentials.read_text() == "made" and not place.credentials.is_symlink()
