"""Write `data-directory.tar.xz`: what a build leaves of all kinds of runs. `python tests/golden/write_data_directory.py FILE`.

Run it in a work tree of the build that is to be remembered, with that tree as PYTHONPATH. The archive beside this file
is of c4c3933, and so are its keys, which open nothing else. It is not written again: what matters is that an earlier
build has written it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import urllib.request
from pathlib import Path
from typing import Any

from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from tests.e2e.stack import FREE_PORTS, StackProcess, until

# A data directory stays where it is: events name the places of snapshots.
PLACE = Path("/tmp/milepost-c4c3933")
SIZES = {"width": 8, "layers": 1, "heads": 1, "context": 8, "batch_size": 2, "steps_per_epoch": 20, "eval_every": 10}
SCRIPT = """
import milepost
trial = milepost.init(name="offline", total_steps=20)
for step in range(20):
    trial.log({"train/loss": 1.0 / (step + 1)})
"""


def configuration(name: str, epochs: int) -> str:
    return json.dumps(
        {
            "name": name,
            "entrypoint": "milepost.recipes.language_model:train",
            "parameters": {**SIZES, "epochs": epochs},
            "snapshots": {"every_steps": 10, "keep_last": 1},
        }
    )


def start(stack: StackProcess, name: str, epochs: int) -> str:
    """Start a run by the command line. Returns its id."""
    done = stack.milepost("runtime", "start", "-", input=configuration(name, epochs))
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[0]


def record_with_mlflow(stack: StackProcess) -> None:
    """Leave a run of an MLflow client open."""

    def tell(path: str, **body: Any) -> Any:
        request = urllib.request.Request(
            f"{stack.endpoints.gateway}/mlflow/api/2.0/mlflow/{path}",
            json.dumps(body).encode(),
            {"content-type": "application/json"},
        )
        return json.load(urllib.request.urlopen(request, timeout=60))

    experiment = tell("experiments/create", name="earlier")["experiment_id"]
    run_id = tell("runs/create", experiment_id=experiment, run_name="open")["run"]["info"]["run_id"]
    for step in range(1, 6):
        tell(
            "runs/log-metric",
            run_id=run_id,
            key="loss",
            value=1.0 / step,
            timestamp=1_700_000_000_000 + step,
            step=step,
        )


def is_stored(stack: StackProcess, name: str) -> bool:
    found = stack.completeness(f"runtimes/{name}")
    return 0 < found.sent_points == found.stored_points


def is_deleted(stack: StackProcess, name: str) -> bool:
    found = stack.client.get_runtime(f"runtimes/{name}", show_deleted=True)
    return found.phase == runtime_api.RUNTIME_PHASE_DELETED


def export_elsewhere(stack: StackProcess, bundle: Path) -> str:
    """Run something in another installation and export it. Returns its id."""
    name = start(stack.start(), "imported", 1)
    stack.wait_for_end(f"runtimes/{name}")
    assert stack.milepost("audit", "export", name, "--file", str(bundle)).returncode == 0
    stack.stop()
    return name


def fill(stack: StackProcess, bundle: Path) -> list[str]:
    """Leave a run of each kind in a stack. Returns the ids of those that completed, were deleted and were stopped."""
    completed, deleted = start(stack.start(), "completed", 2), start(stack, "deleted", 1)
    stack.wait_for_end(f"runtimes/{completed}")
    stack.wait_for_end(f"runtimes/{deleted}")
    assert stack.milepost("runtime", "delete", deleted, "--yes").returncode == 0
    stopped = start(stack, "stopped", 500)
    stack.wait_for_step(f"runtimes/{stopped}", 30)
    assert stack.milepost("runtime", "stop", stopped).returncode == 0
    stack.wait_for_end(f"runtimes/{stopped}")
    assert stack.milepost("audit", "import", str(bundle)).returncode == 0
    record_with_mlflow(stack)
    until(lambda: is_stored(stack, stopped), "the points are stored")
    until(lambda: is_deleted(stack, deleted), "it is deleted")
    stack.stop()
    return [completed, deleted, stopped]


def main(target: Path, folder: Path) -> None:
    folder.mkdir()
    stacks = [StackProcess(folder / name, FREE_PORTS) for name in ("elsewhere", "data")]
    try:
        imported = export_elsewhere(stacks[0], folder / "elsewhere.zip")
        ids = [*fill(stacks[1], folder / "elsewhere.zip"), imported]
    finally:
        for stack in stacks:
            stack.end()
    environment = {**os.environ, "MILEPOST_DATA_DIR": str(folder / "data")}
    subprocess.run([sys.executable, "-c", SCRIPT], env=environment, check=True, cwd=folder)
    shutil.rmtree(folder / "data" / "logs")
    with tarfile.open(target, "w:xz", preset=9) as archive:
        archive.add(folder / "data", "data")
    shutil.rmtree(folder)
    print(target, target.stat().st_size, *ids)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), PLACE)
