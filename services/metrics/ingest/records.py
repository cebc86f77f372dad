"""What the tables know of senders: which numbers are settled, what was sent and stored, how much text there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from services.metrics.ingest.quota import Usage
from services.metrics.ingest.ranges import RangeSet
from services.metrics.ingest.senders import Attempt
from services.metrics.storage.arrays import as_numpy
from services.metrics.storage.batches import KINDS, LAST, LINE_KINDS, LOGS, SETTLED, STEPS, SenderKey
from services.metrics.storage.samples import SampleUsage
from services.metrics.storage.store import Store

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


async def read_sample_usage(store: Store, runtime_id: str) -> SampleUsage:
    """Read how many bytes of samples a runtime has stored."""
    rows = await store.read(
        "SELECT sum(bytes) AS bytes FROM samples WHERE runtime = {runtime:String} AND kind = 'message'",
        {"runtime": runtime_id},
    )
    return SampleUsage(int(rows["bytes"][0].as_py() or 0))


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
        written: the highest batch number that the sender has said it has written; 0: not said.
        last: the number of the batch after which nothing follows; 0: not said.
        settled: distinct numbers that need not come again.
        stored: distinct numbers whose content is stored.
        sent_items: points or lines of the stored messages, as the messages say.
        stored_items: points or lines that are there as rows; of logs, with those that the quota left out.
        dropped_items: given up by the sender.
    """

    sender: SenderKey
    kind: str
    highest: int = 0
    written: int = 0
    last: int = 0
    settled: int = 0
    stored: int = 0
    duplicates: int = 0
    dropped: int = 0
    sent_items: int = 0
    stored_items: int = 0
    dropped_items: int = 0
    gaps: list[tuple[int, int]] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        """Whether the sender has said that nothing follows."""
        return self.last > 0 and self.last == max(self.highest, self.written)

    @property
    def waiting(self) -> int:
        """How many batches are known to be written and have not come, those of gaps aside."""
        return max(0, self.written - self.highest)


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
        f" max(number) AS highest, {over_quota} AS over_quota, toInt64(max({_written(kind)})) AS written,"
        f" maxIf(number, note = '{LAST}') AS last FROM {_of_messages(kind)} AND {where} AND number > 0 "
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
        found = await read_numbers(store, kind, list(dict.fromkeys(incomplete)))
        # It has others too: whoever began to send since, and nobody, of whom unreadable messages without a number are.
        for sender in records.keys() & found.keys():
            records[sender].gaps = found[sender].gaps()
    return sorted(records.values(), key=lambda r: (r.sender.trial, r.sender.attempt, r.sender.source))


def _add(record: SenderRecord, outcome: str, row: dict[str, int]) -> None:
    record.highest = max(record.highest, row["highest"])
    record.written = max(record.written, row["written"])
    record.last = max(record.last, row["last"])
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


def _written(kind: str) -> str:
    return "value" if kind == STEPS else "step"


def _of_messages(kind: str) -> str:
    return "points WHERE key = ''" if kind == STEPS else "logs WHERE kind != 'line'"


def _of_items(kind: str) -> str:
    # The quota's marker is a line of ours, not one that was sent.
    return "points WHERE key != ''" if kind == STEPS else "logs WHERE kind = 'line' AND logger != 'milepost.quota'"


def _senders(rows: pa.Table) -> list[SenderKey]:
    columns = (rows[name].to_pylist() for name in ("runtime", "trial", "attempt", "source"))
    return [SenderKey(*values) for values in zip(*columns, strict=True)]
