"""Takes a picture of the page of each integration's run, from the programs of `docs/guides`: `make pictures-integrations`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser

from milepost.api.runtime.v1 import runtime_service_pb2 as runtimes
from tests.browser.gallery.pictures import PICTURES, looking, picture
from tests.browser.pages import CHROMIUM, chromium
from tests.e2e.stack import ROOT, StackProcess
from tests.support.programs.guides import read_guide, run_program

PYTHON = ROOT / ".venv-integrations" / "bin" / "python"
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
# Page of the guides, how its program is launched.
PROGRAMS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("pytorch", ()),
    ("torchrun", TORCHRUN),
    ("transformers", ()),
    ("lightning", ()),
    ("accelerate", ()),
    ("mlflow", ()),
)


def main() -> int:
    """Take all pictures. Returns 0, or 1 without a browser or the libraries."""
    if CHROMIUM is None or not PYTHON.exists():
        print("pictures: needs chromium, and what `make test-integrations` installs", file=sys.stderr)
        return 1
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mp-pictures-") as folder, chromium() as browser:
        stack = StackProcess(Path(folder) / "data")
        try:
            stack.start()
            for page, launch in PROGRAMS:
                take(stack, browser, Path(folder), page, launch)
        finally:
            stack.end()
    return 0


def take(stack: StackProcess, browser: Browser, folder: Path, page: str, launch: tuple[str, ...]) -> None:
    """Run the program of a page, and look at its run."""
    here = folder / page
    here.mkdir()
    program = read_guide(page, here).after.replace("http://127.0.0.1:8470", stack.endpoints.gateway)
    environment = {"MILEPOST_DATA_DIR": str(stack.data_dir), "CUDA_VISIBLE_DEVICES": "", "GIT_PYTHON_REFRESH": "quiet"}
    done = run_program(program, here, environment, str(PYTHON), launch)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    request = runtimes.ListRuntimesRequest(page_size=1, order_by="create_time desc")
    (newest,) = stack.client.runtimes.ListRuntimes(request).runtimes
    stack.wait_for_end(newest.name)
    with looking(stack, browser) as visit:
        picture(visit, f"/{newest.name}", f"integration-{page}")


if __name__ == "__main__":
    sys.exit(main())
