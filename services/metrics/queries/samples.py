"""Reading samples: which rows match, page by page, and which series of rows there are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from milepost.api.metric.v1 import metric_service_pb2 as pb
from milepost.api.telemetry.v1.telemetry_pb2 import Row
from milepost.numbers import MAX_NUMBER
from services.metrics.queries.names import Checker
from services.metrics.storage.selection import (
    Condition,
    Pin,
    StepRange,
    TrialRef,
    all_of,
    before,
    in_pieces,
    in_trials,
)
from services.metrics.storage.store import SAMPLES, Store

MAX_TEXT = 1_000
MAX_SCORES = 10
# What an answer may have: gRPC clients take 4 MiB unless they are told otherwise.
ANSWER_BYTES = 3_000_000
_COMPARISON = re.compile(
    r"\s*([^<>=\s](?:[^<>=]{0,248}[^<>=\s])?)\s*(<=|>=|<|>|=)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?)\s*"
)
_PROMPT_ID = re.compile(r"[0-9a-f]{16}")
_COLUMNS = (
    "runtime, trial, attempt, key, step, stream_id, log_seq, place, time_ms, form, prompt, prompt_id, completion, "
    "score_names, score_values, group_name, tags, content, edges, counts, media_sha256, media_type, media_bytes"
)
# Behind the step, which goes the other way where the newest come first.
_PLACE = "runtime, trial, attempt, stream_id, log_seq, place"


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose rows a query is about.

    Attributes:
        trials: those that were asked for.
        owned: what counts of them, and with ancestry of their ancestors.
        keys: series; empty: all.
        superseded: what a resume has abandoned too.
    """

    trials: Sequence[TrialRef]
    owned: Sequence[StepRange]
    keys: Sequence[str]
    pin: Pin
    superseded: bool = False

    @property
    def counts(self) -> Condition:
        """Select the rows that count."""
        return in_pieces(self.owned, pin=self.pin, table=SAMPLES)

    def condition(self) -> Condition:
        """Select the rows of the scope."""
        counts = self.counts
        parts = [Condition("kind = 'row'"), before(self.pin)]
        if self.superseded:
            own = in_trials(self.trials)
            parts.append(Condition(f"({own.sql}) OR ({counts.sql})", {**own.parameters, **counts.parameters}))
        else:
            parts.append(counts)
        loggers = {piece.trial for piece in self.owned} | set(self.trials)
        if len(loggers) == 1:
            # Said by itself, so that rows are read in the order in which they lie.
            (one,) = loggers
            parameters = {"one_runtime": one.runtime_id, "one_trial": one.trial}
            parts.append(Condition("runtime = {one_runtime:String} AND trial = {one_trial:UInt32}", parameters))
        if len(self.keys) == 1:
            parts.append(Condition("key = {one_key:String}", {"one_key": self.keys[0]}))
        elif self.keys:
            parts.append(Condition("key IN {keys:Array(String)}", {"keys": list(self.keys)}))
        return all_of(*parts)


@dataclass(frozen=True, slots=True)
class SampleQuery:
    """A checked filter."""

    matches: Condition
    first: int
    last: int
    latest: bool
    oldest_first: bool

    @property
    def steps(self) -> Condition:
        parts = []
        if self.first > 0:
            parts.append(f"step >= {self.first}")
        if self.last < MAX_NUMBER:
            parts.append(f"step <= {self.last}")
        return Condition(" AND ".join(parts) or "1")


def checked(check: Checker, request: pb.ListSamplesRequest) -> SampleQuery:
    """Check a filter; what is wrong is said to the checker."""
    first = check.number("first_step", request.first_step, 0, MAX_NUMBER)
    last = check.number("last_step", request.last_step, 0, MAX_NUMBER) or MAX_NUMBER
    if first > last:
        check.refuse("last_step", "must not be before first_step")
    parts = []
    for name in ("text", "prompt_text", "completion_text"):
        wanted = getattr(request, name)
        if len(wanted) > MAX_TEXT:
            check.refuse(name, f"must have at most {MAX_TEXT:,} characters")
        elif wanted:
            columns = ("prompt", "completion") if name == "text" else (name.removesuffix("_text"),)
            parts.append(_has_text(name, columns, wanted))
    if request.prompt_id and not _PROMPT_ID.fullmatch(request.prompt_id):
        check.refuse("prompt_id", "must be 16 hexadecimal digits, as an answer has them")
    elif request.prompt_id:
        parts.append(Condition("prompt_id = {prompt:UInt64}", {"prompt": int(request.prompt_id, 16)}))
    if request.group:
        parts.append(Condition("group_name = {group:String}", {"group": request.group}))
    if request.tag:
        parts.append(Condition("has(tags, {tag:String})", {"tag": request.tag}))
    if len(request.scores) > MAX_SCORES:
        check.refuse("scores", f"must be at most {MAX_SCORES}")
    for index, text in enumerate(request.scores[:MAX_SCORES]):
        comparison = _COMPARISON.fullmatch(text)
        if comparison is None:
            check.refuse(
                f"scores[{index}]", "must be a name, one of < <= = >= >, and a number, such as `reward >= 0.5`"
            )
        else:
            parts.append(_has_score(f"s{index}", *comparison.groups()))
    return SampleQuery(all_of(*parts), first, last, request.latest, request.oldest_first)


def _has_text(name: str, columns: Sequence[str], text: str) -> Condition:
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    # The index is over lower(...), which knows the case of ASCII letters only.
    if text.isascii():
        alternatives = [f"lower({column}) LIKE {{{name}:String}}" for column in columns]
        return Condition(" OR ".join(alternatives), {name: f"%{escaped.lower()}%"})
    return Condition(" OR ".join(f"{column} ILIKE {{{name}:String}}" for column in columns), {name: f"%{escaped}%"})


def _has_score(parameter: str, name: str, sign: str, number: str) -> Condition:
    """`sign` is one of `_COMPARISON`."""
    return Condition(
        f"arrayExists((n, v) -> n = {{{parameter}n:String}} AND v {sign} {{{parameter}v:Float64}}, score_names, score_values)",
        {f"{parameter}n": name, f"{parameter}v": float(number)},
    )


async def read_samples(
    store: Store, scope: Scope, query: SampleQuery, after: list[Any] | None, size: int
) -> tuple[list[pb.Sample], list[Any] | None]:
    """Read a page of rows. Returns them, and what `after` is of the next page; None: there is none."""
    where = scope.condition()
    matches = [where, query.steps, query.matches]
    if query.latest:
        same = "key" if len(scope.trials) == 1 else "runtime, trial, key"
        last = all_of(where, query.steps)
        matches.append(
            Condition(f"({same}, step) IN (SELECT {same}, max(step) FROM {SAMPLES} WHERE {last.sql} GROUP BY {same})")
        )
    if after is not None:
        matches.append(_behind(after, query.oldest_first))
    condition = all_of(*matches)
    counts = scope.counts if scope.superseded else Condition()
    order = "ASC" if query.oldest_first else "DESC"
    rows = await store.read(
        f"SELECT {_COLUMNS}, NOT ({counts.sql}) AS superseded FROM {SAMPLES} WHERE {condition.sql} "
        f"ORDER BY step {order}, {_PLACE} LIMIT {int(size) + 1}",
        {**condition.parameters, **counts.parameters},
    )
    found = rows.to_pylist()
    samples: list[pb.Sample] = []
    taken = 0
    for row in found[:size]:
        sample = _sample(row)
        taken += sample.ByteSize() + 8
        if taken > ANSWER_BYTES and samples:
            break
        samples.append(sample)
    following = None
    if len(samples) < len(found):
        end = found[len(samples) - 1]
        following = [end[name] for name in ("step", *_PLACE.split(", "))]
    return samples, following


def _behind(after: list[Any], oldest_first: bool) -> Condition:
    step, runtime, trial, attempt, stream_id, sequence, place = after
    sign = ">" if oldest_first else "<"
    return Condition(
        f"step {sign} {{a_step:Int64}} OR (step = {{a_step:Int64}} AND ({_PLACE}) > ({{a_runtime:String}}, "
        "{a_trial:UInt32}, {a_attempt:UInt32}, {a_stream:UInt64}, {a_sequence:UInt64}, {a_place:UInt32}))",
        {
            "a_step": step, "a_runtime": runtime, "a_trial": trial, "a_attempt": attempt, "a_stream": stream_id,
            "a_sequence": sequence, "a_place": place,
        },
    )  # fmt: skip


def _sample(row: dict[str, Any]) -> pb.Sample:
    logged = Row(
        key=row["key"],
        step=row["step"],
        time_ms=row["time_ms"],
        form=row["form"],
        prompt=row["prompt"],
        completion=row["completion"],
        group=row["group_name"],
        tags=row["tags"],
        content=row["content"],
        edges=row["edges"],
        counts=row["counts"],
        media_sha256=row["media_sha256"],
        media_type=row["media_type"],
        media_bytes=row["media_bytes"],
    )
    for name, value in zip(row["score_names"], row["score_values"], strict=True):
        logged.scores.add(name=name, value=value)
    return pb.Sample(
        parent=TrialRef(row["runtime"], row["trial"]).name,
        attempt=row["attempt"],
        superseded=bool(row["superseded"]),
        row=logged,
        prompt_id=f"{row['prompt_id']:016x}" if row["prompt_id"] else "",
    )


async def read_sample_series(store: Store, scope: Scope) -> list[pb.SampleSeries]:
    """Read which series of rows there are."""
    if not scope.owned:
        return []
    condition = scope.condition()
    rows = await store.read(
        "SELECT key, argMax(form, step) AS form, count() AS row_count, min(step) AS first_step, max(step) AS last_step, "
        "uniqExact(step) AS step_count, arraySort(groupUniqArrayArray(score_names)) AS score_names "
        f"FROM {SAMPLES} WHERE {condition.sql} GROUP BY key ORDER BY key",
        condition.parameters,
    )
    return [pb.SampleSeries(**row) for row in rows.to_pylist()]


async def rows_over_quota(store: Store, runtime_id: str, trial: int) -> int:
    """Count the rows of a trial that the quota left out."""
    rows = await store.read(
        f"SELECT sum(over_quota) AS over_quota FROM {SAMPLES} "
        "WHERE runtime = {runtime:String} AND trial = {trial:UInt32} AND kind = 'message'",
        {"runtime": runtime_id, "trial": trial},
    )
    return int(rows["over_quota"][0].as_py() or 0)
