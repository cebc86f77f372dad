"""How the clusters of the launchers `ray` and `slurm` are used: checked before the service starts."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from milepost.security.transport import is_loopback_address
from services.runtime.launchers.ray import RayOptions
from services.runtime.launchers.slurm import SlurmOptions


def ray_options(settings: Mapping[str, str], environment: Mapping[str, str] = os.environ) -> RayOptions | None:
    """Read what the launcher needs. None: there is no cluster.

    Raises:
        SystemExit: a setting cannot be understood; the message says which.
    """
    address = settings["ray_address"]
    if not address:
        return None
    url = urlsplit(address if "://" in address else f"http://{address}")
    if url.scheme not in ("http", "https") or not url.hostname or url.username:
        raise SystemExit(f"ray_address is the http(s) address of the cluster's dashboard, not {address!r}")
    token_file = settings["ray_token_file"]
    if not token_file and environment.get("RAY_AUTH_MODE", "").lower() == "token":
        token_file = environment.get("RAY_AUTH_TOKEN_PATH", "")
    local = is_loopback_address(f"{url.hostname}:0")
    return RayOptions(
        address=f"{url.scheme}://{url.netloc}{url.path}",
        token_file=Path(token_file).expanduser() if token_file else None,
        ca_file=Path(settings["tls_ca"]).expanduser() if settings["tls_ca"] else None,
        runtime_address=settings["ray_runtime_address"] or ("" if local else settings["runtime_address"]),
        nats_url=settings["ray_nats_url"],
        python=settings["ray_python"],
        work_dir=settings["ray_work_dir"],
        cpus=_number(settings, "ray_cpus"),
        gpus=_number(settings, "ray_gpus"),
        memory_gigabytes=_number(settings, "ray_memory_gigabytes"),
        problem="" if local else _problem(settings, token_file),
    )


def slurm_options(settings: Mapping[str, str]) -> SlurmOptions | None:
    """Read what the launcher needs. None: there is no Slurm.

    Raises:
        SystemExit: a setting cannot be understood; the message says which.
    """
    command = settings["slurm_command"]
    if not command:
        return None
    try:
        prefix = () if command == "local" else tuple(shlex.split(command))
    except ValueError as error:
        raise SystemExit(f"slurm_command is `local` or words such as `ssh login`, not {command!r}: {error}") from error
    for name in ("slurm_work_dir", "slurm_output_dir", "slurm_setup"):
        text = settings[name]
        if text and (not text.startswith("/") or not text.isprintable() or set(text) & set("%\\")):
            raise SystemExit(f"{name} is an absolute path without % and backslash, not {text!r}")
    runtime_address = settings["slurm_runtime_address"]
    return SlurmOptions(
        prefix=prefix,
        # On loopback the nodes are this host.
        runtime_address=runtime_address
        or ("" if is_loopback_address(settings["runtime_address"]) else settings["runtime_address"]),
        nats_url=settings["slurm_nats_url"],
        python=settings["slurm_python"],
        work_dir=settings["slurm_work_dir"],
        output_dir=settings["slurm_output_dir"].rstrip("/"),
        setup=settings["slurm_setup"],
        problem=_slurm_problem(settings) if prefix else "",
    )


def _slurm_problem(settings: Mapping[str, str]) -> str:
    """Say why a Slurm behind another host is not used: its nodes would look for us on themselves."""
    if is_loopback_address(settings["slurm_runtime_address"] or settings["runtime_address"]):
        return (
            "the nodes of Slurm cannot reach the runtime service on 127.0.0.1: "
            "set MILEPOST_SLURM_RUNTIME_ADDRESS to the address they reach it at"
        )
    nats = urlsplit((settings["slurm_nats_url"] or settings["nats_url"]).split(",")[0])
    if is_loopback_address(f"{nats.hostname}:0"):
        return (
            "the nodes of Slurm cannot reach NATS on 127.0.0.1: "
            "set MILEPOST_SLURM_NATS_URL to the address they reach it at"
        )
    return ""


def _problem(settings: Mapping[str, str], token_file: str) -> str:
    """Say why a cluster on other machines is not used: anybody could, or its nodes would look for us on themselves."""
    if not token_file:
        return (
            "a Ray cluster on other machines is used with its token only, for whoever reaches it sees the tickets of "
            "its jobs: start it with RAY_AUTH_MODE=token and set MILEPOST_RAY_TOKEN_FILE"
        )
    if is_loopback_address(settings["ray_runtime_address"] or settings["runtime_address"]):
        return (
            "the nodes of the Ray cluster cannot reach the runtime service on 127.0.0.1: "
            "set MILEPOST_RAY_RUNTIME_ADDRESS to the address they reach it at"
        )
    nats = urlsplit((settings["ray_nats_url"] or settings["nats_url"]).split(",")[0])
    if is_loopback_address(f"{nats.hostname}:0"):
        return (
            "the nodes of the Ray cluster cannot reach NATS on 127.0.0.1: "
            "set MILEPOST_RAY_NATS_URL to the address they reach it at"
        )
    return ""


def _number(settings: Mapping[str, str], name: str) -> float | None:
    text = settings[name]
    try:
        return float(text) if text else None
    except ValueError as error:
        raise SystemExit(f"{name} is a number, not {text!r}") from error
