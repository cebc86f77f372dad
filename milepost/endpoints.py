"""Where the parts of a running stack are: `endpoints.json` in its data directory."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

FILE = "endpoints.json"
# What the client looks for without being told: the stack of this folder first, then the user's.
LOCAL_DATA_DIR = Path(".milepost")
USER_DATA_DIR = Path("~/.milepost")

_VARIABLES = {
    "gateway": "MILEPOST_GATEWAY_ADDRESS",
    "runtime": "MILEPOST_RUNTIME_ADDRESS",
    "trials": "MILEPOST_TRIALS_ADDRESS",
    "metrics": "MILEPOST_METRICS_ADDRESS",
    "nats": "MILEPOST_NATS_URL",
}


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Addresses of the parts: `gateway` an http address, `runtime`, `trials`, `metrics` host:port, `nats` a NATS one.

    `pid` is the supervisor of a local stack, 0 where there is none.
    """

    gateway: str = "http://127.0.0.1:8470"
    runtime: str = "127.0.0.1:8471"
    trials: str = "127.0.0.1:8472"
    metrics: str = "127.0.0.1:8473"
    nats: str = "nats://127.0.0.1:8474"
    nats_monitoring: str = "http://127.0.0.1:8475"
    pid: int = 0
    data_dir: str = ""


def write(endpoints: Endpoints, data_dir: Path) -> None:
    """Replace the file at once: a reader sees the old or the new one, never half of one."""
    temporary = data_dir / f"{FILE}.new"
    temporary.write_text(json.dumps(asdict(endpoints), indent=2) + "\n")
    temporary.replace(data_dir / FILE)


def read(data_dir: Path) -> Endpoints | None:
    """Read the file of a data directory. None: there is none, or it is not one."""
    try:
        content = json.loads((data_dir / FILE).read_text())
        return Endpoints(**{name: content[name] for name in Endpoints.__dataclass_fields__ if name in content})
    except (OSError, ValueError, TypeError):
        return None


def find(data_dir: str | Path | None = None, environment: Mapping[str, str] = os.environ) -> Endpoints:
    """Find the stack to talk to.

    Each `MILEPOST_*_ADDRESS` that is set wins. The rest is from the `endpoints.json` of `data_dir`, else of
    `MILEPOST_DATA_DIR`, else of `./.milepost`, else of `~/.milepost`, else the default ports of this machine.
    """
    named = data_dir or environment.get("MILEPOST_DATA_DIR")
    folders = [Path(named)] if named else [LOCAL_DATA_DIR, USER_DATA_DIR]
    found = Endpoints()
    for folder in folders:
        there = read(folder.expanduser())
        if there is not None:
            found = there
            break
    given = {field: environment[name] for field, name in _VARIABLES.items() if environment.get(name)}
    if "gateway" in given and "://" not in given["gateway"]:
        given["gateway"] = f"http://{given['gateway']}"
    return replace(found, **given)  # type: ignore[arg-type]
