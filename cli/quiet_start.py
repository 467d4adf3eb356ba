"""A calm log at the start of a cluster: who is not there yet is told of only if it stays away.

What it is: a filter that holds back the warnings of links that cannot be had yet. What it is not:
a judge of what matters; every warning is either answered by its link or told in the end.

Invariants: only the first moments of a process are quiet; what is held back is told after them, or
dropped because the link to that address has come.

Worked example: a router dials three shards that still start: three warnings are held back. Two
shards come; ten seconds after the router's start its log has one warning, about the third.

Tested in tests/unit/cli/test_logs.py.
"""

from __future__ import annotations

import atexit
import logging
import threading
from typing import Final

QUIET_S: Final = 10.0  # all processes of a cluster start within it, also on a busy machine
# Of proto/links/endpoints.py.
LINKS: Final = "kubebraid.links"
AWAY: Final = "no link; it is tried again"
OPENED: Final = "link opened"


class QuietStart(logging.Filter):
    """Of one handler."""

    def __init__(self, handler: logging.Handler) -> None:
        super().__init__()
        self._handler = handler
        self._held: dict[object, logging.LogRecord] | None = {}
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name != LINKS:
            return True
        address = getattr(record, "address", None)
        with self._lock:
            if self._held is None:
                return True
            if record.msg == OPENED:
                self._held.pop(address, None)
            if record.msg == AWAY:
                self._held[address] = record
                return False
        return True

    def end(self) -> None:
        """From now on everything is told at once, and first what was held back."""
        with self._lock:
            held, self._held = self._held or {}, None
        for record in held.values():
            self._handler.handle(record)


def begin_quietly() -> None:
    """Called once, behind `logs.set_up`."""
    for handler in logging.getLogger().handlers:
        quiet = QuietStart(handler)
        handler.addFilter(quiet)
        timer = threading.Timer(QUIET_S, quiet.end)
        timer.daemon = True
        timer.start()
        atexit.register(quiet.end)  # who ends early may have ended because of it
