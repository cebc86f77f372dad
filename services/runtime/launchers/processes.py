"""Processes of this machine as `/proc` shows them: who is alive, who belongs to an attempt."""

from __future__ import annotations

import os
from collections.abc import Iterator

from services.processes import PROC
from services.processes import ProcessInfo as ProcessInfo
from services.processes import info as info


def all_processes() -> Iterator[ProcessInfo]:
    """List the processes of this machine that are alive."""
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            found = info(int(entry.name))
            if found is not None and found.alive:
                yield found


def has_environment(pid: int, entry: str) -> bool:
    """Return whether a process was started with `NAME=value` in its environment."""
    try:
        return entry.encode() in (PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return False


def family(leader: int | None, entry: str) -> set[int]:
    """Return the processes of an attempt: its session, its group, all descendants, and whoever carries its mark.

    Args:
        leader: pid of the driver, if it is alive.
        entry: `NAME=value` that the launcher put into its environment.
    """
    processes = {p.pid: p for p in all_processes()}
    members = {pid for pid in processes if has_environment(pid, entry)}
    if leader is not None and leader in processes:
        members |= {p.pid for p in processes.values() if leader in (p.pid, p.group, p.session)}
    while True:
        children = {p.pid for p in processes.values() if p.parent in members} - members
        if not children:
            return members - {os.getpid()}
        members |= children
