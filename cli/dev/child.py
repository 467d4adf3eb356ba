"""A process of dev-cluster: a role that does not outlive the process that started it.

What it is: `python -m kubebraid.cli.dev.child PARENT ROLE FLAGS...`; and with `PARENT -- PROGRAM
FLAGS...` another program. What it is not: another way to run a role; it does what `kubebraid ROLE
FLAGS...` does.

Invariants: when the parent is gone, however it ended, so is this process: the kernel kills it
(Linux, PR_SET_PDEATHSIG), also while it is stopped or busy, and behind an execve.

Worked example: dev-cluster is killed with SIGKILL: the eight processes are gone in the same moment.

Source: prctl(2). Tested in tests/e2e/test_dev_cluster.py.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from typing import Final

PR_SET_PDEATHSIG: Final = 1
EXIT_ORPHAN: Final = 1
PROGRAM: Final = "--"


def die_with(parent: int) -> bool:
    """Be killed when `parent`, which started this process, ends; False if it has ended already."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    return os.getppid() == parent


def main(argv: Sequence[str]) -> int:
    """The role's exit code. Raises OSError."""
    if not die_with(int(argv[0])):
        return EXIT_ORPHAN
    if argv[1] == PROGRAM:
        os.execv(argv[2], list(argv[2:]))  # and this process is that program
    # Behind the bond: these imports take a while.
    from ..roles import role

    return role(argv[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
