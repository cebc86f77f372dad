"""How the process of a script is named in the log, and whether one that is named so still runs."""

from __future__ import annotations

from milepost.api.event.v1.common_pb2 import ProcessIdentity
from milepost.training.spooling.owner import Owner, this_process


def own_identity() -> ProcessIdentity:
    """Name this process."""
    owner = this_process()
    return ProcessIdentity(
        host=owner.host,
        process_id=owner.process_id,
        boot_id=owner.boot_id,
        process_start=owner.process_start,
        pid_namespace=owner.pid_namespace,
    )


def is_running(process: ProcessIdentity) -> bool | None:
    """Return whether a process exists. None: it cannot be seen from here."""
    named = Owner(
        host=process.host,
        boot_id=process.boot_id,
        pid_namespace=process.pid_namespace,
        process_id=process.process_id,
        process_start=process.process_start,
        since="",
        locks=False,
        inode=0,
    )
    return named.is_running()
