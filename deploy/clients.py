"""Install the generators of clients that `make test-clients` uses, at the versions of `deploy/clients/`.

Those of TypeScript come with npm, as `package-lock.json` has them; the one of Python goes into `.venv-clients`. Neither is
installed again while its list stays the same.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

from vendor_web import VendorError, install

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "deploy" / "clients"
PYTHON = ROOT / ".venv-clients"
PIP_SECONDS = 300


def main() -> int:
    """Install what is missing. Returns 0, or 1 with what went wrong."""
    try:
        _install_for(FOLDER / "package-lock.json", FOLDER / "node_modules", _install_npm)
        _install_for(FOLDER / "python.txt", PYTHON, _install_pip)
    except (VendorError, subprocess.SubprocessError) as error:
        print(f"clients: the generators cannot be installed: {error}", file=sys.stderr)
        return 1
    return 0


def _install_for(listed: Path, target: Path, install_listed: Callable[[], None]) -> None:
    stamp = target / ".stamp"
    wanted = hashlib.sha256(listed.read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    install_listed()
    stamp.write_text(wanted)


def _install_npm() -> None:
    install(FOLDER, include_dev=True)


def _install_pip() -> None:
    venv.create(PYTHON, clear=True, with_pip=True)
    arguments = ("install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r", "python.txt")
    subprocess.run(
        [PYTHON / "bin" / "pip", *arguments], check=True, cwd=FOLDER, timeout=PIP_SECONDS, capture_output=True
    )


if __name__ == "__main__":
    sys.exit(main())
