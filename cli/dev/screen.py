"""What dev-cluster prints while it runs: one line of state, and a line for what happened.

What it is: text. On a terminal the line of state is drawn over itself; elsewhere it is printed when
processes came or went. What it is not: the log of any process, which is in its own file.

Invariants: an event never ends up within the line of state; that nobody reads is no error.

Worked example: `up 7/8  revision 4012  reign 2  down: shard-1`.

Tested in tests/unit/cli/test_dev_screen.py.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from typing import Final, TextIO

from .probe import Heard

CLEAR: Final = "\r\x1b[K"


def state_line(up: int, down: Sequence[str], serves: bool, heard: Heard | None) -> str:
    """Of the moment. `serves`: the cluster has served once; `heard`: what a router says now."""
    parts = [f"up {up}/{up + len(down)}"]
    if heard is None:
        parts.append("no answer" if serves else "starting")
    else:
        parts.append(f"revision {heard.revision}  reign {heard.reign}")
    if down:
        parts.append(f"down: {', '.join(down)}")
    return "  ".join(parts)


class Screen:
    """Where it is printed."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._terminal = out.isatty()
        self._line = ""
        self._key: object = None

    def event(self, text: str) -> None:
        """A line of its own, or several."""
        before = CLEAR if self._terminal and self._line else ""
        after = self._line if self._terminal else ""
        self._write(f"{before}{text}\n{after}")

    def state(self, line: str, key: object) -> None:
        """The line of state. `key` is what it has to tell of: off a terminal a line with the same
        key as the last one is not printed."""
        if self._terminal:
            cut = line[: shutil.get_terminal_size().columns - 1]
            if cut != self._line:
                self._write(CLEAR + cut)
            self._line = cut
        elif key != self._key:
            self._write(line + "\n")
        self._key = key

    def end(self) -> None:
        """The line of state is left as it is."""
        if self._terminal and self._line:
            self._line = ""
            self._write("\n")

    def _write(self, text: str) -> None:
        try:
            self._out.write(text)
            self._out.flush()
        except BrokenPipeError:
            # Nobody reads any more, which is no reason to end the cluster. What is still in the
            # buffer has to go somewhere, or the end of the process would fail by it.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._out.fileno())
            os.close(nowhere)
