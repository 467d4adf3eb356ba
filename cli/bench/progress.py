"""One line on a terminal: how far the run is.

What it is: a bar on stderr, redrawn in place. What it is not: a log; where stderr is no terminal
it writes nothing.

Tested in tests/unit/cli/bench/test_progress.py.
"""

from __future__ import annotations

from typing import Final, TextIO

WIDTH: Final = 24
LINE_MAX: Final = 78


def line(done: int, total: int, what: str) -> str:
    """Like [######----] 12/60 put/64 round 2 on etcd."""
    assert 0 <= done <= total, (done, total)
    full = WIDTH * done // total if total else WIDTH
    return f"[{'#' * full}{'-' * (WIDTH - full)}] {done}/{total} {what}"[:LINE_MAX]


class Progress:
    """The bar of one run; `total` steps."""

    def __init__(self, total: int, stream: TextIO) -> None:
        self._total = total
        self._done = 0
        self._stream = stream
        self._shown = stream.isatty()

    def step(self, what: str) -> None:
        """This begins now; all before it is done."""
        if self._shown:
            self._stream.write(f"\r\033[K{line(self._done, self._total, what)}")
            self._stream.flush()
        self._done = min(self._done + 1, self._total)

    def clear(self) -> None:
        """Leave the line to the table."""
        if self._shown:
            self._stream.write("\r\033[K")
            self._stream.flush()
