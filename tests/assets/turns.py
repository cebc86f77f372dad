"""A loop that runs in turns, with telemetry and without. `python turns.py` prints how many rounds of its work are 1 ms.

A turn begins when the file `<side>-<number>` appears, and ends with `<side>-<number>.json`: seconds of CPU of the loop's
thread, of the whole process, and by the clock.
"""

import hashlib
import json
import time

POLL_SECONDS = 0.002


def work(rounds):
    """Compute outside the interpreter, as training does. What Python code itself takes varies by where its objects lie."""
    hashlib.pbkdf2_hmac("sha256", b"", b"", rounds)


def serve(folder, sides, rounds, steps, count):
    """Take `count` turns of each side, in any order within a turn.

    A turn is `steps` steps, each of `rounds` rounds of work and a call of the function of its side.
    """
    for turn in range(count):
        waiting = dict(sides)
        while waiting:
            for side in [side for side in waiting if (folder / f"{side}-{turn}").exists()]:
                _take(folder / f"{side}-{turn}", waiting.pop(side), rounds, steps)
            time.sleep(POLL_SECONDS)


def _take(file, after, rounds, steps):
    clock, process, thread = time.perf_counter(), time.process_time(), time.thread_time()
    for index in range(steps):
        work(rounds)
        after(index)
    figures = {
        "thread": time.thread_time() - thread,
        "process": time.process_time() - process,
        "clock": time.perf_counter() - clock,
    }
    temporary = file.with_suffix(".new")
    temporary.write_text(json.dumps(figures))
    temporary.rename(file.with_suffix(".json"))


def nothing(index):
    """What a side without telemetry does."""


def calibrate():
    """Return how many rounds are a millisecond."""
    rounds = 2_000
    best = 1.0
    for _ in range(20):
        before = time.thread_time()
        work(rounds)
        best = min(best, time.thread_time() - before)
    return int(rounds * 0.001 / best)


if __name__ == "__main__":
    print(calibrate())
