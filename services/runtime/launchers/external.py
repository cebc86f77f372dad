"""Scripts that registered themselves: nothing is started or ended here, and only a known death is seen.

A script that is not heard of may train on: its network is gone, it is suspended, a call holds its interpreter. It is
dead for sure when nobody holds the lock on its spool, in the data directory of this service; one that gave the lock up
has ended and could not say so. Then what it left can be taken in as well. Everything else is `Process.UNSEEN`: where its
spool is not to be had, whoever has it may still send it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from milepost.names import AttemptKey
from milepost.training.spooling.journal import driver_spool_path
from milepost.training.spooling.owner import Life, look, owner_file
from services.runtime.launchers import Blind
from services.runtime.policies.control import Exit, Process


class External(Blind):
    """The launcher of scripts, of which those of this installation keep their attempts below its data directory.

    Args:
        locks: tells whether the process of an attempt is of a version that locks what it writes.
    """

    takes_over = False

    def __init__(self, data_dir: Path, locks: Callable[[AttemptKey], bool]) -> None:
        self._data_dir = data_dir
        self._locks = locks

    def observe(self, key: AttemptKey) -> tuple[Process, Exit]:
        spool = driver_spool_path(key.directory(self._data_dir))
        life, owner = look(owner_file(spool))
        given_up = life is Life.NOBODY and spool.exists() and self._locks(key)
        if life is not Life.DEAD and not given_up:
            return Process.UNSEEN, Exit()
        return Process.GONE, Exit(detail=f"{owner or 'its process'} is gone without having said why")
