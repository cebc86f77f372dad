"""What the tables know of senders: which numbers are settled, what was sent and stored, how much text there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from services.metrics.arrays import as_numpy
from services.metrics.batches import KINDS, LINE_KINDS, LOGS, SETTLED, STEPS, SenderKey
from services.metrics.quota import Usage
from services.metrics.ranges import RangeSet
from services.metrics.senders import Attempt
from services.metrics.store import Store

# Attempts asked for in one query.
ATTEMPTS_PER_QUERY = 50
_SETTLED = ", ".join(f"'{kind}'" for kind in SETTLED)


async def read_numbers(store: Store, kind: str, attempts: Sequence[Attempt]) -> dict[SenderKey, RangeSet]:
    """Read the settled batch numbers of some attempts."""
    found: dict[SenderKey, RangeSet] = {}
    for start in range(0, len(attempts), ATTEMPTS_PER_QUERY):
        parameters: dict[str, object] = {}
        conditions = []
        for index, (runtime_id, trial, attempt) in enumerate(attempts[start : start + ATTEMPTS_PER_QUERY]):
            parameters |= {f"r{index}": runtime_id, f"t{index}": trial, f"a{index}": attempt}
            conditions.append(
                f"(runtime = {{r{index}:String}} AND trial = {{t{index}:UInt32}} AND attempt = {{a{index}:UInt32}})"
            )
        rows = await store.read(
            f"SELECT runtime, trial, attempt, source, groupArray(number) AS numbers FROM {_of_messages(kind)} "
            f"AND kind IN ({_SETTLED}) AND ({' OR '.join(conditions)}) GROUP BY runtime, trial, attempt, source",
            parameters,
        )
        for sender, numbers in zip(_senders(rows), rows["numbers"], strict=True):
            found[sender] = RangeSet.of(as_numpy(pa.chunked_array([numbers.values])))
    return found


async def read_usage(store: Store, runtime_id: str) -> Usage:
    """Read how much log text a runtime has stored."""
    rows = await store.read(
        f"SELECT trial, sum(bytes) AS bytes, sum(over_quota) AS over_quota FROM {_of_messages(LOGS)} "
        "AND runtime = {runtime:String} GROUP BY trial",
        {"runtime": runtime_id},
    )
    usage = Usage()
    for row in rows.to_pylist():
        usage.bytes += row["bytes"]
        if row["over_quota"]:
            usage.marked_trials.add(row["trial"])
    return usage


async def read_series(store: Store, runtime_id: str, trial: int) -> list[str]:
    """Read the names of the series of a trial."""
    rows = await store.read(
        f"SELECT key FROM {_of_items(STEPS)} AND runtime = {{runtime:String}} AND trial = {{trial:UInt32}} GROUP BY key",
        {"runtime": runtime_id, "trial": trial},
    )
    names: list[str] = rows["key"].to_pylist()
    return names


@dataclass(slots=True)
class SenderRecord:
    """What is known of one sender and kind, counted from the rows.

    Attributes:
        highest: the highest batch number that came.
        settled: distinct numbers that need not come again.
        stored: distinct numbers whose content is stored.
        sent_items: points or lines of the stored messages, as the messages say.
        stored_items: points or lines that are there as rows; of logs, with those that the quota left out.
        dropped_items: given up by the sender.
    """

    sender: SenderKey
    kind: str
    highest: int = 0
    settled: int = 0
    stored: int = 0
    duplicates: int = 0
    dropped: int = 0
    sent_items: int = 0
    stored_items: int = 0
    dropped_items: int = 0
    gaps: list[tuple[int, int]] = field(default_factory=list)


async def read_records(store: Store, kind: str, runtime_id: str, trial: int) -> list[SenderRecord]:
    """Count what a runtime (trial 0) or a trial has sent and what of it is there, by sender."""
    where = "runtime = {runtime:String}" + (" AND trial = {trial:UInt32}" if trial else "")
    parameters = {"runtime": runtime_id, "trial": trial}
    over_quota = "sum(over_quota)" if kind == LOGS else "toInt64(0)"
    # Before the messages: what is inserted between the two reads must not look like more stored than was sent.
    rows = await store.read(
        f"SELECT runtime, trial, attempt, source, count() AS items FROM {_of_items(kind)} AND {where} "
        "GROUP BY runtime, trial, attempt, source",
        parameters,
    )
    messages = await store.read(
        "SELECT runtime, trial, attempt, source, toInt8(kind) AS outcome, count() AS batches, sum(items) AS item_count,"
        f" max(number) AS highest, {over_quota} AS over_quota FROM {_of_messages(kind)} AND {where} AND number > 0 "
        "GROUP BY runtime, trial, attempt, source, kind",
        parameters,
    )
    records: dict[SenderKey, SenderRecord] = {}
    for sender, row in zip(_senders(messages), messages.to_pylist(), strict=True):
        _add(
            records.setdefault(sender, SenderRecord(sender, kind)),
            (KINDS if kind == STEPS else LINE_KINDS)[row["outcome"]],
            row,
        )
    for sender, items in zip(_senders(rows), rows["items"].to_pylist(), strict=True):
        records.setdefault(sender, SenderRecord(sender, kind)).stored_items += items
    incomplete = [
        (s.runtime_id, s.trial, s.attempt) for s, record in records.items() if record.settled < record.highest
    ]
    if incomplete:
        for sender, numbers in (await read_numbers(store, kind, list(dict.fromkeys(incomplete)))).items():
            records[sender].gaps = numbers.gaps()
    return sorted(records.values(), key=lambda r: (r.sender.trial, r.sender.attempt, r.sender.source))


def _add(record: SenderRecord, outcome: str, row: dict[str, int]) -> None:
    record.highest = max(record.highest, row["highest"])
    if outcome in SETTLED:
        record.settled += row["batches"]
    if outcome == "stored":
        record.stored += row["batches"]
        record.sent_items += row["item_count"]
        record.stored_items += row["over_quota"]
    elif outcome == "duplicate":
        record.duplicates += row["batches"]
    elif outcome in ("tombstone", "rejected"):
        record.dropped += row["batches"]
        record.dropped_items += row["item_count"]


def _of_messages(kind: str) -> str:
    return "points WHERE key = ''" if kind == STEPS else "logs WHERE kind != 'line'"


def _of_items(kind: str) -> str:
    # The quota's marker is a line of ours, not one that was sent.
    return "points WHERE key != ''" if kind == STEPS else "logs WHERE kind = 'line' AND logger != 'milepost.quota'"


def _senders(rows: pa.Table) -> list[SenderKey]:
    columns = (rows[name].to_pylist() for name in ("runtime", "trial", "attempt", "source"))
    return [SenderKey(*values) for values in zip(*columns, strict=True)]
