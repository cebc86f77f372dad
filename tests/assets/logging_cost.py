"""Loops that measure what logging costs them; figures go as JSON into the file that `result` names."""

import json
import time
from pathlib import Path

import psutil
import torch

WORK_SECONDS = 0.001


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
    return {"mean_us": sum(spent) / len(spent) / 1000, "p99_us": spent[int(0.99 * len(spent))] / 1000}


def _cpu_seconds(steps, after):
    """Return seconds of CPU of this thread for steps whose own work is a fixed number of rounds."""
    before = time.thread_time()
    for index in range(steps):
        total = 0
        for number in range(ROUNDS):
            total += number
        after(index)
    return time.thread_time() - before


ROUNDS = 1


def _calibrate():
    """Find how many rounds are a step of one millisecond."""
    global ROUNDS
    ROUNDS = 20000
    best = min(_cpu_seconds(20, lambda index: None) for _ in range(5)) / 20
    ROUNDS = int(ROUNDS * WORK_SECONDS / best)


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
    _calls(trial, 100, of_tensors)
    figures["tensors"] = _summary(_calls(trial, steps, of_tensors))
    figures["memory_mib"] = (process.memory_info().rss - memory) / 2**20
    _calibrate()

    def five(index):
        trial.log({"a": 1.0, "b": index, "c": 0.5, "d": 2.5, "e": 1e-3})

    ratios = []
    for _ in range(9):
        without = _cpu_seconds(500, lambda index: None)
        ratios.append(_cpu_seconds(500, five) / without)
    figures["slowdown_percent"] = [100 * (ratio - 1) for ratio in ratios]
    Path(result).write_text(json.dumps(figures))
