"""Record when things happened in real runs: `python -m tests.benchmarks.parts.record_runs [NAME[:FILE] ...]`; minutes each.

The recipe runs on a whole stack. What the read model of trials saw of it, the facts and the headers of step batches with
their times, is written beside the time of every step to `recorded/<name>.jsonl`, for `recorded_runs.py` to play again.
Nothing in it names the machine. The constants of `services/trials/readmodel/eta.py` must not be tuned to these runs.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict

from milepost.api.event.v1 import runtime_events_pb2 as runtime_facts
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.api.telemetry.v1 import telemetry_pb2 as telemetry
from milepost.eventlog import codec, events_of, parse_subject
from milepost.eventlog.nats.connection import connect
from milepost.eventlog.nats.credentials import find_credentials
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.eventlog.telemetry import Telemetry, parse_telemetry_subject
from tests.e2e.runs import ENTRYPOINT
from tests.e2e.stack import StackProcess

FOLDER = Path(__file__).parent / "recorded"
RUN_SECONDS = 900.0
# They name a machine, or say nothing about time.
LEFT_OUT = frozenset(
    [
        "uri",
        "snapshot_uri",
        "host",
        "process_id",
        "software",
        "devices",
        "detail",
        "message",
        "manifest_sha256",
        "runtime_id",
        "not_before_time",
    ]
)

Line = list[Any]


def _leave_alone(stack: StackProcess, name: str) -> None:
    pass


def _kill_in_the_middle(stack: StackProcess, name: str) -> None:
    """Kill the training process at about 45 %; the scheduler resumes it from its last snapshot."""
    total = stack.trial(name).progress.total_steps
    stack.wait_for_step(name, int(0.45 * total))
    for trainer in stack.trainers():
        trainer.kill()


@dataclass(frozen=True)
class Recipe:
    """A run that is recorded. `parameters` of the language model; `disturb` is called when steps are being done."""

    parameters: dict[str, int]
    snapshots: dict[str, int]
    search: dict[str, Any] | None = None
    disturb: Callable[[StackProcess, str], None] = _leave_alone
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def configuration(self) -> str:
        plain: dict[str, Any] = {
            "name": "recorded",
            "entrypoint": ENTRYPOINT,
            "parameters": self.parameters,
            "snapshots": {"keep_last": 2, **self.snapshots},
            **self.more,
        }
        return json.dumps(plain | ({"search": self.search} if self.search is not None else {}))


RECIPES = {
    "default": Recipe({"epochs": 4}, {"every_steps": 200}),
    "slow-evaluations-and-snapshots": Recipe(
        {"epochs": 2, "width": 192, "layers": 3, "batch_size": 48, "eval_every": 60}, {"every_steps": 40}
    ),
    "killed-and-resumed": Recipe(
        {"epochs": 3, "width": 128, "eval_every": 150},
        {"every_steps": 120},
        disturb=_kill_in_the_middle,
        more={"retries": {"max_retries": 2, "backoff_seconds": 5}},
    ),
}


def record(recipe: Recipe) -> list[Line]:
    """Run it to its end and return the lines of its recording."""
    with tempfile.TemporaryDirectory(prefix="milepost-record-") as folder:
        stack = StackProcess(Path(folder) / "data").start()
        try:
            name = stack.client.start_runtime(recipe.configuration).name
            stack.wait_for_step(name, 1)
            recipe.disturb(stack, name)
            ended = stack.wait_for_end(name, RUN_SECONDS)
            assert ended.status == runtime_api.RUNTIME_STATUS_COMPLETED, ended.reason
            credentials = find_credentials(stack.data_dir / "keys", "trials")
            return asyncio.run(read_lines(stack.endpoints.nats, credentials, name.removeprefix("runtimes/")))
        finally:
            stack.end()


async def read_lines(nats_url: str, credentials: Path | None, runtime_id: str) -> list[Line]:
    """Read what was told of a runtime, in the order of the server's time."""
    lines: list[tuple[float, Line]] = []
    async with await connect(nats_url, name="record", credentials=credentials) as connection:
        event_log = JetStreamLog(connection)
        begin: float | None = None
        async for event in events_of(event_log.read(subjects=(f"events.{runtime_id}.>",))):
            at = event.recorded_time.timestamp()
            begin = begin if begin is not None else at
            line = _fact(event.subject, codec.decode(event.type, event.body), at - begin, event.time.timestamp() - at)
            if line is not None:
                lines.append((at, line))
        assert begin is not None, "the runtime has events"
        stored = Telemetry(connection)
        end = (await stored.state()).last_sequence
        async with stored.consume(subjects=(f"telemetry.{runtime_id}.*.*.steps",)) as reader:
            await reader.open(10.0)
            while messages := await reader.next_batch(wait_seconds=1.0):
                for message in messages:
                    lines += _batch(message.subject, message.time / 1e9, begin, message.headers, message.body)
                if messages[-1].sequence >= end:
                    break
    return [line for _, line in sorted(lines, key=lambda pair: pair[0])]


def _fact(subject: str, payload: Any, at: float, writer_ahead: float) -> Line | None:
    """`["fact", seconds, trial, attempt or null, type, fields, how far the writer's clock was ahead]`."""
    if isinstance(payload, runtime_facts.RuntimeRequested):
        return None
    place = parse_subject(subject)
    fields = MessageToDict(payload, preserving_proto_field_name=True)
    kept = {name: value for name, value in fields.items() if name not in LEFT_OUT}
    return ["fact", round(at, 4), place.trial, place.attempt, type(payload).__name__, kept, round(writer_ahead, 4)]


def _batch(subject: str, time: float, begin: float, headers: Any, body: bytes) -> Iterator[tuple[float, Line]]:
    """`["steps", trial, attempt, first step, [milliseconds since the start]]` and `["batch", seconds, ..., headers]`."""
    _, trial, attempt, _ = parse_telemetry_subject(subject)
    told = {name.removeprefix("mp-"): text for name, text in headers.items() if name.startswith("mp-")}
    told["time"] = str(round(float(told["time"]) - begin * 1_000))
    for group in telemetry.StepBatch.FromString(body).groups:
        if any(column.key == "train/loss" for column in group.columns):
            steps = memoryview(group.steps).cast("q").tolist()
            times = [round(at - begin * 1_000) for at in memoryview(group.times_ms).cast("q")]
            assert steps == list(range(steps[0], steps[0] + len(steps))), "the loss is logged at every step"
            yield time, ["steps", trial, attempt, steps[0], times]
    yield time, ["batch", round(time - begin, 4), trial, attempt, told]


def main(names: list[str]) -> None:
    FOLDER.mkdir(exist_ok=True)
    for name in names or list(RECIPES):
        recipe, _, file = name.partition(":")
        lines = record(RECIPES[recipe])
        path = FOLDER / f"{file or recipe}.jsonl"
        path.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
        print(f"{path.name}: {len(lines)} lines, {path.stat().st_size:,} bytes", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
