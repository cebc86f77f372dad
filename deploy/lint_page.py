"""Check the modules and style sheets of the page: format, length of lines, types; with --format put them in format.

Prettier and the TypeScript compiler are those of `services/gateway/web/package-lock.json`. They are installed with npm
into `node_modules/`, where editors look for them too, once for each lock; the page's third-party files, whose types the
compiler reads, come from there along with them.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import vendor_web
from vendor_web import ROOT, WEB, VendorError, node

MODULES = ROOT / "node_modules"
STAMP = MODULES / ".stamp"
CACHE = MODULES / ".cache"
MAX_LINE = 120
LINT_SECONDS = 300
# What prettier formats; .prettierignore names what of it is not ours.
FORMATTED = (
    "services/gateway/web/**/*.{css,html,js,json,ts}",
    "tests/**/*.{js,mjs}",
    "deploy/**/*.mjs",
)
# The page's third-party modules lie beside each other, without their types, which the packages have.
TYPES = {
    "htm": "export { default } from 'htm'",
    "hooks": "export * from 'preact/hooks'",
    "preact": "export * from 'preact'",
    "signals": "export * from '@preact/signals'",
    "uplot": "export { default } from 'uplot'",
}
PRETTIER = ("--log-level=warn", "--cache", f"--cache-location={CACHE / 'prettier'}", *FORMATTED)
TYPESCRIPT = (
    "--project",
    str(WEB / "jsconfig.json"),
    "--incremental",
    "--tsBuildInfoFile",
    str(CACHE / "page.tsbuildinfo"),
)


def main() -> int:
    """Check, or put in format. Returns 0, or 1 with what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--format", action="store_true", help="write the format instead of checking anything")
    arguments = parser.parse_args()
    try:
        prepare()
    except VendorError as error:
        print(f"lint_page: the tools cannot be installed: {error}", file=sys.stderr)
        return 1
    if arguments.format:
        return start("prettier/bin/prettier.cjs", "--write", *PRETTIER).wait(LINT_SECONDS)
    types = start("typescript/bin/tsc", *TYPESCRIPT)
    formats = start("prettier/bin/prettier.cjs", "--check", *PRETTIER)
    wrong = [formats.wait(LINT_SECONDS), types.wait(LINT_SECONDS), long_lines()]
    if wrong[0]:
        print("run: make format")
    return int(any(wrong))


def prepare() -> None:
    """Install what is not there as the lock has it.

    Raises:
        VendorError: it could not be fetched.
    """
    wanted = vendor_web.stamp()
    if not (STAMP.is_file() and STAMP.read_text() == wanted):
        # Beside the place where it will be, so that it moves there whole.
        with tempfile.TemporaryDirectory(prefix=".node-", dir=ROOT) as temporary:
            fresh = vendor_web.install_locked(Path(temporary), include_dev=True)
            (fresh / STAMP.name).write_text(wanted)
            shutil.rmtree(MODULES, ignore_errors=True)
            fresh.rename(MODULES)
    if not vendor_web.page_is_current():
        vendor_web.copy_from(MODULES, [(WEB / "vendor", vendor_web.PAGE_FILES)], wanted)
    for name, text in TYPES.items():
        file = WEB / "vendor" / f"{name}.d.ts"
        if not file.is_file() or file.read_text() != f"{text}\n":
            file.write_text(f"{text}\n")


def start(script: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a tool in the root of the project."""
    return subprocess.Popen([*node(), str(MODULES / script), *arguments], cwd=ROOT)


def long_lines() -> int:
    """Print the lines that prettier leaves too long: words in a template, a text. Returns how many."""
    found = 0
    for file in modules_and_sheets():
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            if len(line) > MAX_LINE:
                print(f"{file.relative_to(ROOT)}:{number}: {len(line)} characters, {MAX_LINE} at most")
                found += 1
    return found


def modules_and_sheets() -> list[Path]:
    """Return what was written for this project."""
    folders = (WEB, ROOT / "tests", ROOT / "deploy")
    files = [file for folder in folders for file in folder.rglob("*") if file.suffix in (".css", ".js", ".mjs")]
    return sorted(file for file in files if not {"vendor", "node_modules"} & set(file.relative_to(ROOT).parts))


if __name__ == "__main__":
    sys.exit(main())
