"""The curve of a branch as ClickHouse gives it, against one put together by hand: raw, in buckets, again, and after more."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from milepost.api.event.v1.common_pb2 import AncestorSteps
from milepost.eventlog.telemetry import StoredMessage
from services.metrics.queries.kept_parts import KeptParts
from services.metrics.queries.series import SeriesReader
from services.metrics.storage.batches import StepsBlock, decode
from services.metrics.storage.selection import Pin, StepRange, TrialRef, clip, trunk_pieces
from services.metrics.storage.store import Store, open_embedded
from tests.support.servers.metrics_service import ROOT, step_batch

CHAINS = 4
KEYS = ("train/loss", "eval/score")
# Each step by itself; buckets from the points; from the roll-ups of 128 and of 4,096 steps.
SHIFTS = (0, 3, 8, 12)


def test_curves_through_ancestors_are_those_put_together_by_hand(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told == {"chains": CHAINS, "compared": CHAINS * 3 * (1 + len(SHIFTS)), "kept": True}


@dataclass
class Chain:
    """Branches of branches: who owns which steps, and the curve that this makes."""

    name: str
    heir: TrialRef
    trunk: list[AncestorSteps] = field(default_factory=list)
    # Series -> step -> value.
    curve: dict[str, dict[int, float]] = field(default_factory=lambda: {key: {} for key in KEYS})

    @property
    def pieces(self) -> list[StepRange]:
        first = self.trunk[-1].last_step
        return [*trunk_pieces(self.trunk, self.heir, {first: (1,)}), StepRange(self.heir, 1, first)]


class Writing:
    """Stores points of runtimes, each message at a position of its own."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._block = StepsBlock(1)
        self.position = 0

    async def flush(self) -> None:
        """Store what was written as one block."""
        await self._store.insert("points", self._block.table())
        self._block = StepsBlock(1)

    def points(self, trial: TrialRef, number: int, values: dict[str, dict[int, float]]) -> None:
        for key, of_key in values.items():
            if not of_key:
                continue
            self.position += 1
            batch = step_batch(
                trial.runtime_id, number + KEYS.index(key), np.array(list(of_key)), {key: np.array([*of_key.values()])}
            )
            subject = f"telemetry.{trial.runtime_id}.1.1.steps"
            self._block.add(decode(StoredMessage(self.position, subject, {}, batch.SerializeToString(), 1, 0)))

    def chain(self, name: str, chance: random.Random) -> Chain:
        """Write a chain. Some parents went on behind the snapshot; some heirs logged again at the step they began at."""
        generations = chance.randint(2, 7)
        made = Chain(name, TrialRef(f"rt-{name}-{generations - 1}", 1))
        begin = 0
        for generation in range(generations):
            trial, own = TrialRef(f"rt-{name}-{generation}", 1), chance.choice((1, 40, 128, 700, 4_096, 6_000))
            own += chance.randint(0, 9)
            is_last = generation == generations - 1
            last = begin + own + (0 if is_last else chance.choice((0, 3, 5_000)))
            loss = {step: step + generation / 10 for step in range(begin + 1, last + 1)}
            score = {step: -step - generation / 10 for step in range(begin + 1, last + 1) if step % 10 == 0}
            if begin and chance.random() < 0.5:
                score[begin] = 1_000.0 + generation
            self.points(trial, 1, {"train/loss": loss, "eval/score": dict(sorted(score.items()))})
            for key, values in (("train/loss", loss), ("eval/score", score)):
                # What it did before its heir began; the heir's own replaces what comes at that step again.
                made.curve[key] |= {step: value for step, value in values.items() if is_last or step <= begin + own}
            if not is_last:
                made.trunk.append(
                    AncestorSteps(
                        runtime_id=trial.runtime_id, trial=1, attempt=1, first_step=begin + 1, last_step=begin + own
                    )
                )
            begin += own
        return made


async def compare(reader: SeriesReader, chain: Chain, pin: Pin, first: int, last: int) -> int:
    """Compare everything in a range of steps. Returns how many answers were compared."""
    survey = await reader.survey(clip(chain.pieces, first, last), KEYS, by_attempt=False)
    raw = await reader.points(survey.pieces, KEYS, pin, False, survey.marks)
    found = {ref.key: dict(zip(one.steps.tolist(), one.values.tolist(), strict=True)) for ref, one in raw.items()}
    wanted = {key: {s: v for s, v in sorted(of.items()) if first <= s <= last} for key, of in chain.curve.items()}
    assert found == {key: values for key, values in wanted.items() if values}, (chain, first, last)
    assert {ref.trial for ref in raw} <= {chain.heir}
    assert all(survey.extents[ref].points >= len(one.steps) for ref, one in raw.items()), "an extent is an upper bound"
    for shift in SHIFTS:
        buckets = await reader.buckets(survey.pieces, KEYS, shift, pin, False, survey.marks)
        for ref, one in buckets.items():
            of_key = wanted[ref.key]
            by_bucket: dict[int, list[int]] = {}
            for step in of_key:
                by_bucket.setdefault(step >> shift, []).append(step)
            assert one.buckets.tolist() == sorted(by_bucket), (chain, shift)
            assert one.counts.tolist() == [len(by_bucket[b]) for b in sorted(by_bucket)], (chain, shift)
            assert one.lasts.tolist() == [of_key[by_bucket[b][-1]] for b in sorted(by_bucket)], (chain, shift)
            assert one.maxs.tolist() == [max(of_key[s] for s in by_bucket[b]) for b in sorted(by_bucket)]
        assert {ref.key for ref in buckets} == {key for key, values in wanted.items() if values}
    return 1 + len(SHIFTS)


async def check(directory: Path) -> dict[str, object]:
    """Compare chains as they are stored, and again when each owner has logged more steps behind what is known."""
    store = await open_embedded(directory)
    writing, parts, chance = Writing(store), KeptParts(), random.Random(25)
    chains = [writing.chain(f"c{number}", chance) for number in range(CHAINS)]
    await writing.flush()
    compared, kept = 0, False
    for chain in chains:
        reader = SeriesReader(store, chain.heir, parts)
        end = max(chain.curve["train/loss"])
        ranges = ((0, 1 << 40), (end // 3, end - end // 4))
        for first, last in (*ranges, ranges[0]):
            compared += await compare(reader, chain, Pin(1, writing.position), first, last)
        kept = kept or parts.count > 0
    # Of each chain one value more, at the step that is cut off from a unit: where it is asked for, it is there.
    known = Pin(1, writing.position)
    for chain in chains:
        end_of_eldest = chain.trunk[0].last_step
        writing.points(TrialRef(chain.trunk[0].runtime_id, 1), 50, {"train/loss": {end_of_eldest: 7.5}})
    await writing.flush()
    for chain in chains:
        reader = SeriesReader(store, chain.heir, parts)
        await compare(reader, chain, known, 0, 1 << 40)
        survey = await reader.survey(chain.pieces, KEYS[:1], by_attempt=False)
        (buckets,) = (
            await reader.buckets(survey.pieces, KEYS[:1], 8, Pin(1, writing.position), False, survey.marks)
        ).values()
        assert int(buckets.counts.sum()) == len(chain.curve["train/loss"]) + 1, chain
    await store.close()
    return {"chains": len(chains), "compared": compared, "kept": kept}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(check(Path(sys.argv[1])))) + "\n")
