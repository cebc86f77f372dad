"""Make `.venv` hold what requirements.lock and TORCH name, and with --dev the tools too; quick when it already does.

Running needs requirements.lock alone; requirements-dev.lock is all of it, in the same versions, and what tests need.

Run by the Makefile with any Python that is new enough. Says in a few lines of its own what it does; pip's output goes
to `.venv/install.log` and is shown only when pip fails.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOCK = ROOT / "requirements.lock"
DEV_LOCK = ROOT / "requirements-dev.lock"
STAMP = VENV / "milepost.stamp"
DEV_STAMP = VENV / "milepost-dev.stamp"
LOG = VENV / "install.log"
OLDEST_PYTHON = (3, 11)


def fingerprint(lock: Path, torch: str, index: str) -> str:
    """Hash everything that decides what is in the environment."""
    parts = [lock.read_bytes(), torch.encode(), index.encode(), "{}.{}".format(*sys.version_info).encode()]
    parts.append((ROOT / "pyproject.toml").read_bytes().partition(b"[tool.")[0])
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def pip(*arguments: str) -> None:
    """Run pip in the environment.

    Raises:
        SystemExit: it failed; its output is on stderr.
    """
    command = [str(VENV / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    with LOG.open("ab") as log:
        log.write(f"$ {' '.join(command)}\n".encode())
        log.flush()
        status = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
    if status != 0:
        tail = LOG.read_text(errors="replace").splitlines()[-40:]
        print("\n".join(tail), file=sys.stderr)
        raise SystemExit(f"milepost: pip failed (exit status {status}); the whole of its output is in {LOG}")


def say(text: str) -> None:
    print(f"milepost: {text}", flush=True)


def install(lock: Path, torch: str, index: str) -> None:
    """Create the environment where necessary and bring it up to date."""
    started = time.monotonic()
    if not (VENV / "bin" / "python").exists():
        say(f"making a Python {'{}.{}'.format(*sys.version_info)} environment in .venv")
        venv.create(VENV, with_pip=True, symlinks=True)
    LOG.unlink(missing_ok=True)
    count = sum("==" in line for line in lock.read_text().splitlines())
    say(f"[1/3] installing {count} packages, each checked against its hash (a few minutes the first time)")
    pip("install", "--no-deps", "--require-hashes", "-r", str(lock))
    say(f"[2/3] installing {torch}" + (f" from {index}" if index else ""))
    pip("install", torch, *(["--index-url", index] if index else []))
    say("[3/3] installing milepost itself, editable")
    # The tools have what builds it; without them pip fetches that for this moment.
    isolation = ["--no-build-isolation"] if lock == DEV_LOCK else []
    pip("install", "--no-deps", *isolation, "--editable", str(ROOT))
    say(f"the environment is ready, after {time.monotonic() - started:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--torch", default="torch", help="requirement for PyTorch, for example torch==2.13.0")
    parser.add_argument("--torch-index", default="", help="package index to take PyTorch from; empty: pip's own")
    parser.add_argument("--dev", action="store_true", help="also what tests and checks need")
    arguments = parser.parse_args()
    if sys.version_info < OLDEST_PYTHON:
        raise SystemExit(
            f"milepost needs Python 3.11 or newer, this is {sys.version.split()[0]}; try make PYTHON=python3.11"
        )
    tools = DEV_STAMP, fingerprint(DEV_LOCK, arguments.torch, arguments.torch_index)
    running = STAMP, fingerprint(LOCK, arguments.torch, arguments.torch_index)
    # Where the tools are, what runs is too.
    enough = [tools] if arguments.dev else [running, tools]
    if any(stamp.exists() and stamp.read_text() == wanted for stamp, wanted in enough):
        return
    if VENV.is_symlink() and (VENV / "bin" / "python").exists():
        say(".venv belongs to another checkout and is left as it is")
        return
    stamp, wanted = enough[0]
    install(DEV_LOCK if arguments.dev else LOCK, arguments.torch, arguments.torch_index)
    stamp.write_text(wanted)


if __name__ == "__main__":
    main()
