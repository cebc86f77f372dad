"""Run a command in this process, such that it ends with its parent: `leash.py <pid of the parent> <command>...`.

Started with `python -I -S`, so that it imports nothing but what it needs. The parent asks for this in a process of its
own rather than between fork and exec: there, code would run in a copy of the parent's threads, gRPC's among them.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit("the parent is gone")
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
