"""How a role's process runs: signals, the loop, an orderly end.

What it is: the shell around `coordinator/main.py` and `shard/main.py`, and what a router's
(`role_fronts.py`) has in common with it. What it is not: flags (`role_flags.py`) or any decision.

Invariants: SIGTERM and SIGINT drain, then stop; a fatal error of the loop ends the process with
EXIT_FAILED, so that whoever supervises it starts another; EXIT_REMOVED is for who must not be
started again.

Worked example: SIGTERM of the sequencer: the lease is handed back through the log, then it ends.

Tested in tests/unit/cli/test_roles.py, tests/e2e/test_dev_cluster.py.
"""

from __future__ import annotations

import gc
import logging
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Final, Protocol

from kubebraid.base.errors import Removed
from kubebraid.base.loop import Loop

EXIT_FAILED: Final = 1
EXIT_REMOVED: Final = 4  # the cluster has forgotten this shard: a start would be refused
GC_THRESHOLD: Final = 50_000  # young collections are for cycles, and the hot path makes none
DRAIN_S_MAX: Final = 3.0  # a lease that cannot be handed back, without a quorum
# Where all coordinators are stopped at once, who holds the lease needs the others to hand it back;
# a lease that is not handed back costs the next start its wait, and the revisions of its window.
COORDINATOR_LINGER_S: Final = 1.0

_log = logging.getLogger("kubebraid.role")


class RoleProcess(Protocol):
    """What a role's main module makes."""

    @property
    def loop(self) -> Loop: ...

    def drain(self, done: Callable[[], None]) -> None:
        """On the loop's thread: make an end; `done` when it may stop."""

    def close(self) -> None:
        """After the loop has ended."""


class Fatal:
    """The first fatal error of a process."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.on_error: Callable[[], None] = nobody

    def __call__(self, error: BaseException) -> None:
        if self.error is None:
            self.error = error
            # What we refuse by ourselves is told with what to do; the rest with its place.
            hint = getattr(error, "hint", "") if getattr(error, "definite", False) else ""
            facts = {"hint": hint} if hint else {}
            _log.error("fatal error: %s", error, extra=facts, exc_info=None if hint else error)
            self.on_error()


def nobody() -> None:
    """The loop has ended by itself, which is all that there is to do."""


def tame_collector() -> None:
    """What was made until now stays."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)


def run(process: RoleProcess, fatal: Fatal, linger_s: float = 0.0) -> int:
    """Run the loop on this thread, which must be the main one; the exit code. `linger_s`: how long
    it goes on for its peers once it has drained."""
    loop = process.loop

    def stop(number: int, _frame: FrameType | None) -> None:
        _log.info("stop signal", extra={"signal": signal.Signals(number).name})
        loop.post(lambda: process.drain(drained))
        _later(DRAIN_S_MAX, loop.stop)

    def drained() -> None:
        if linger_s:
            _later(linger_s, loop.stop)
        else:
            loop.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    tame_collector()
    loop.run()
    process.close()
    return exit_code(fatal.error)


def exit_code(error: BaseException | None) -> int:
    """Of a process whose loop has ended, of this error or by a stop."""
    if error is None:
        return 0
    return EXIT_REMOVED if isinstance(error, Removed) else EXIT_FAILED


def _later(seconds: float, work: Callable[[], None]) -> None:
    """From a thread that does not keep the process."""
    timer = threading.Timer(seconds, work)
    timer.daemon = True
    timer.start()
