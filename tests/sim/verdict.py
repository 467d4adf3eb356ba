"""What a broken promise is called.

What it is: the exception that names its checker. What it is not: the checks (`truth.py`,
`spies.py`, `checkers.py`, `watch_checks.py`).

Tested in tests/sim/test_breaches.py: each deliberate breach ends in one of these.
"""

from __future__ import annotations


class Violation(AssertionError):
    """`checker` names the promise: an invariant of the design (inv01 ...), "liveness", "crash"."""

    def __init__(self, checker: str, what: str) -> None:
        super().__init__(f"{checker}: {what}")
        self.checker = checker
        self.what = what
