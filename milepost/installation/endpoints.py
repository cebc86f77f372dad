"""Where the parts of a running stack are: `endpoints.json` in its data directory."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from milepost import files
from milepost.installation import data_folder

FILE = "endpoints.json"

_VARIABLES = {
    "gateway": "MILEPOST_GATEWAY_ADDRESS",
    "runtime": "MILEPOST_RUNTIME_ADDRESS",
    "trials": "MILEPOST_TRIALS_ADDRESS",
    "metrics": "MILEPOST_METRICS_ADDRESS",
    "rules": "MILEPOST_RULES_ADDRESS",
    "nats": "MILEPOST_NATS_URL",
}


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Addresses of the parts: `gateway` an http address, `runtime`, `trials`, `metrics`, `rules` host:port, `nats` a NATS one.

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
    rules: str = "127.0.0.1:8477"

    def is_supervised(self) -> bool:
        """Return whether the supervisor of this stack runs on this machine: it starts again what ends."""
        if self.pid <= 0:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


def write(endpoints: Endpoints, data_dir: Path) -> None:
    """Replace the file at once: a reader sees the old or the new one, never half of one."""
    files.write(data_dir / FILE, json.dumps(asdict(endpoints), indent=2) + "\n")


def read(data_dir: Path) -> Endpoints | None:
    """Read the file of a data directory. None: there is none, or it is not one."""
    try:
        content = json.loads((data_dir / FILE).read_text())
        return Endpoints(**{name: content[name] for name in Endpoints.__dataclass_fields__ if name in content})
    except (OSError, ValueError, TypeError):
        return None


def is_named(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether variables say where a stack is."""
    return any(environment.get(name) for name in _VARIABLES.values())


def find(data_dir: str | Path | None = None, environment: Mapping[str, str] = os.environ) -> Endpoints:
    """Find the stack to talk to.

    Each `MILEPOST_*_ADDRESS` that is set wins. The rest is from the `endpoints.json` of the data folder
    (`milepost.installation.data_folder` has the rule), else the default ports of this machine. `data_dir` is the data folder.
    """
    folder = data_folder.find(data_dir, environment).path
    found = replace(read(folder) or Endpoints(), data_dir=str(folder))
    given = {field: environment[name] for field, name in _VARIABLES.items() if environment.get(name)}
    if "gateway" in given and "://" not in given["gateway"]:
        given["gateway"] = f"http://{given['gateway']}"
    return replace(found, **given)  # type: ignore[arg-type]
