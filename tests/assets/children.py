"""A script with children of every kind, each of which logs. What becomes of them is printed."""

import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import milepost

trial = milepost.init(name="script")
NUMBERS = [1, 2, 3, 4]
OWN = "import milepost; milepost.init(name='program'); milepost.log({'train/loss': 5.0})"


def work(number: int) -> int:
    """Log, and do all else that must not be done for the parent."""
    milepost.log({"train/loss": 99.0})
    milepost.declare({"children": 1})
    milepost.current().snapshot(dict)
    milepost.finish()
    return number


def own_run(number: int) -> None:
    """Begin a run of one's own."""
    milepost.init(name=f"child {number}")
    milepost.log({"train/loss": float(number)})
    sys.exit(number)


class Data:
    """A data set whose items are logged where they are read."""

    def __len__(self) -> int:
        return len(NUMBERS)

    def __getitem__(self, index: int) -> int:
        os.write(1, b"reader: an item\n")
        return work(NUMBERS[index])


def say(what: str, result: object) -> None:
    print(f"{what}: {result}", flush=True)


def with_pools(method: str) -> None:
    context = multiprocessing.get_context(method)
    with context.Pool(2) as pool:
        say(f"{method}, pool", pool.map(work, NUMBERS))
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        say(f"{method}, executor", list(executor.map(work, NUMBERS)))


def with_loaders(method: str) -> None:
    from torch.utils.data import DataLoader

    loader = DataLoader(Data(), num_workers=2, batch_size=None, multiprocessing_context=method)
    say(f"{method}, loader", list(loader))


def with_forks() -> None:
    """Fork by hand: children that exit, leave at once, become another program, and outlive the one that made them."""
    for leave in (sys.exit, os._exit):
        child = os.fork()
        if child == 0:
            work(1)
            leave(3)
        say(f"fork, {leave.__name__}", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    child = os.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-c", "raise SystemExit(4)"])
    say("fork, exec", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    if os.fork() == 0:
        if os.fork() != 0:
            os._exit(0)
        work(1)
        sys.exit(0)
    os.wait()


def with_own_runs(method: str) -> None:
    processes = [multiprocessing.get_context(method).Process(target=own_run, args=(number,)) for number in (0, 7)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    say(f"{method}, own", [process.exitcode for process in processes])


def main() -> None:
    kinds = sys.argv[1:]
    milepost.log({"train/loss": 1.0})
    for kind, method in (kind.split("-") for kind in kinds):
        {"pools": with_pools, "loaders": with_loaders, "own": with_own_runs}[kind](method)
    with_forks()
    with ThreadPoolExecutor(1) as executor:
        executor.submit(milepost.log, {"train/loss": 2.0}).result()
    say("program", subprocess.run([sys.executable, "-c", OWN], check=False).returncode)
    milepost.log({"train/loss": 3.0})


if __name__ == "__main__":
    main()
