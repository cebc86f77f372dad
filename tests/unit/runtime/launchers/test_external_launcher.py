"""Scripts: only a known death is seen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from milepost.names import AttemptKey
from milepost.training.spooling.journal import driver_spool_path
from milepost.training.spooling.owner import OwnerLock, owner_file
from services.runtime.launchers.external import External
from services.runtime.policies.control import Process

KEY = AttemptKey("rt-1", 1, 1)
OWN = (
    "import sys, milepost.training.spooling.owner as o; from pathlib import Path; lock = o.OwnerLock(Path(sys.argv[1]));"
    "print(flush=True); sys.stdin.read()"
)


def test_a_script_is_dead_when_the_lock_on_its_spool_is_free(tmp_path: Path) -> None:
    lock = owner_file(driver_spool_path(KEY.directory(tmp_path)))
    lock.parent.mkdir(parents=True)
    launcher = External(tmp_path, lambda key: True)
    assert launcher.observe(KEY)[0] is Process.UNSEEN, "its spool is elsewhere, or it has no lock yet"
    with subprocess.Popen(
        [sys.executable, "-c", OWN, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert launcher.observe(KEY)[0] is Process.UNSEEN, "it lives"
        process.kill()
        process.wait()
    found, exit_ = launcher.observe(KEY)
    assert found is Process.GONE
    assert f"process {process.pid} on " in exit_.detail
    assert exit_.detail.endswith("is gone without having said why")
    with_somebody = OwnerLock(lock)
    assert launcher.observe(KEY)[0] is Process.UNSEEN, "somebody sends what it left"
    with_somebody.release()
    assert launcher.observe(KEY)[0] is Process.UNSEEN, "nothing is left of it"
    driver_spool_path(KEY.directory(tmp_path)).touch()
    assert launcher.observe(KEY)[0] is Process.GONE, "it gave its lock up, and left something"
    of_old = External(tmp_path, lambda key: False)
    assert of_old.observe(KEY)[0] is Process.UNSEEN, "an older version has no locks, and may live"
