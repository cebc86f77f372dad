"""Loops that measure what logging costs them; figures go as JSON into the file that `result` names."""

import json
import time
from pathlib import Path

import psutil
import torch


def _calls(trial, steps, make, pause=0.0):
    """Return nanoseconds of each call of `log`."""
    spent = [0] * steps
    clock = time.perf_counter_ns
    for index in range(steps):
        values = make(index)
        before = clock()
        trial.log(values)
        spent[index] = clock() - before
        if pause:
            time.sleep(pause)
    return spent


def _summary(spent):
    spent = sorted(spent)
    return {
        "mean_us": sum(spent) / len(spent) / 1000,
        "median_us": spent[len(spent) // 2] / 1000,
        "p99_us": spent[int(0.99 * len(spent))] / 1000,
    }


class _Least:
    """The least that a `log` written in Python can do: keep the row."""

    def __init__(self):
        self.rows = []

    def log(self, values):
        self.rows.extend((time.time(), *values.values()))


def measure(trial, result: str, steps: int = 20000):
    trial.restore()
    trial.plan(total_steps=3 * steps)
    process = psutil.Process()

    def floats(index):
        return {"train/loss": 1.0 / (index + 1), "train/accuracy": index * 0.5, "train/rate": 0.001}

    tensors = [torch.tensor(float(number)) for number in range(3)]

    def of_tensors(index):
        return {"t/a": tensors[0], "t/b": tensors[1], "t/c": tensors[2]}

    _calls(trial, 1000, floats)
    memory = process.memory_info().rss
    figures = {"flat_out": _summary(_calls(trial, steps, floats))}
    figures["paced"] = _summary(_calls(trial, steps // 10, floats, pause=0.001))
    figures["paced_least"] = _summary(_calls(_Least(), steps // 10, floats, pause=0.001))
    _calls(trial, 100, of_tensors)
    figures["tensors"] = _summary(_calls(trial, steps, of_tensors))
    figures["memory_mib"] = (process.memory_info().rss - memory) / 2**20
    Path(result).write_text(json.dumps(figures))


def flat_out(trial, result: str, steps: int = 200_000):
    """Log three floats a step as fast as it goes; say when it began and ended, and what CPU it took until all was sent."""
    trial.restore()
    used, began = time.process_time(), time.time()
    for index in range(steps):
        trial.log({"train/loss": 1.0 / (index + 1), "train/accuracy": index * 0.5, "train/rate": 0.001})
    ended = time.time()
    while trial._host._background.buffer.pending or trial._host._background._sender.unacknowledged():
        time.sleep(0.01)
    Path(result).write_text(json.dumps({"began": began, "ended": ended, "cpu_seconds": time.process_time() - used}))


def broker_away(trial, result: str, flag: str, seconds: float = 60.0):
    """Time `log` at 1,000 steps/s before, while and after the broker is away; `flag` appears when it may go."""
    trial.restore()
    figures = {}
    for name, duration in (("before", 10.0), ("away", seconds), ("after", 10.0)):
        if name != "before":
            Path(flag).with_suffix(f".{name}").touch()
        spent = []
        end = time.monotonic() + duration
        while time.monotonic() < end:
            values = {"train/loss": 1.0 / (len(spent) + 1), "train/accuracy": 0.5, "train/rate": 0.001}
            before = time.perf_counter_ns()
            trial.log(values)
            spent.append(time.perf_counter_ns() - before)
            time.sleep(0.001)
        figures[name] = _summary(spent)
    figures["steps"] = trial.step
    Path(result).write_text(json.dumps(figures))


def take_turns_saying(trial, turns: str, rounds: int, steps: int, count: int):
    """The same, where the side that logs also logs 64 samples of 2 kB every 10 steps."""
    from turns import nothing, serve

    trial.restore()
    texts = [f"{number} " * 500 for number in range(64)]
    called, spent = [0], [0, 0]

    def five_and_samples(index):
        trial.log({"a": 1.0, "b": index, "c": 0.5, "d": 2.5, "e": 1e-3})
        called[0] += 1
        if called[0] % 10 == 0:
            rows = [{"prompt": text[:1000], "completion": text, "reward": 0.5, "group": "g"} for text in texts]
            before = time.perf_counter_ns()
            trial.samples("eval/samples", rows)
            spent[0] += time.perf_counter_ns() - before
            spent[1] += 1

    serve(Path(turns), {"on": five_and_samples, "off": nothing}, rounds, steps, count)
    Path(turns, "spent.json").write_text(json.dumps(spent))


def take_turns(trial, turns: str, rounds: int, steps: int, count: int):
    """The sides of a comparison: one logs, one does not; see `turns.py`."""
    from turns import nothing, serve

    trial.restore()

    def five(index):
        trial.log({"a": 1.0, "b": index, "c": 0.5, "d": 2.5, "e": 1e-3})

    serve(Path(turns), {"on": five, "off": nothing}, rounds, steps, count)
