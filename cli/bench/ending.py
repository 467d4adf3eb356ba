"""Signals that end a run, and children that must not outlive it.

What it is: SIGINT, SIGTERM and SIGHUP as exceptions, but never between the start of a child and the
moment when we know it. What it is not: the end of the children; the blocks that hold them unwind.

Invariant: a child that was started is in its owner's hands before an exception of a signal is
raised. A signal that was raised where Python drops exceptions (a destructor) is raised again at the
next start of a child.

Worked example: SIGINT comes while `Popen` has forked and has not returned: KeyboardInterrupt is
raised at the end of the block `with known():`, in which its result was kept.

Tested in tests/unit/cli/bench/test_ending.py and tests/e2e/test_bench.py.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Final

ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_came: list[int] = []
_starting: list[bool] = []


def install() -> None:
    """Take the signals, for the rest of the process."""
    _came.clear()
    for number in ENDING:
        signal.signal(number, _take)


def _take(number: int, _frame: FrameType | None) -> None:
    _came.append(number)
    if not _starting:
        _end()


def _end() -> None:
    if _came[-1] == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + _came[-1])


@contextmanager
def known() -> Iterator[None]:
    """A block that starts a child and keeps it."""
    if _came:
        _end()
    _starting.append(True)
    try:
        yield
    finally:
        _starting.pop()
    if _came:
        _end()


@contextmanager
def held(
    argv: Sequence[str], env: dict[str, str], stdout: int, stderr: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A program that makes load; killed where the block ends by an exception; else the block has
    waited for its end."""
    child: subprocess.Popen[bytes] | None = None
    try:
        with known():
            child = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, env=env
            )
        yield child
    except BaseException:
        if child is not None:
            child.kill()
            child.communicate()  # what it still said goes, its pipes are closed
        raise
