"""Whether clients notice that tablets move, split and merge while nothing fails.

What it is: the judge of the seeds that have migrations and no faults: each call is answered, and no
write waits for long. What it is not: a benchmark; the simulated network is fast, and the product's
own pauses are what is left.

Invariants that it judges: inv19 (zero client errors; a write waits for milliseconds while its
tablet is frozen. The goal of the design is a p99 below 100 ms; here a tenth of all writes may meet
one switch or two, so each of them is held against twice that).

Worked example: /b/1 is put while b is frozen for 20 ms: it is tried again after 2, 4, 8 and 16 ms,
and answered in the 31st.

Tested in tests/sim/test_breaches.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .checkers import EXPECTED
from .verdict import Violation

if TYPE_CHECKING:
    from .world import World

PAUSE_US: Final = 200_000


def check_pauses(world: World) -> None:
    """Of a run that is over."""
    for call in world.clients.calls:
        if call.code in EXPECTED:
            raise Violation("inv19", f"{call}: nothing had failed")
        if call.method in ("Put", "DeleteRange", "Txn") and call.took_us > PAUSE_US:
            raise Violation("inv19", f"{call} took {call.took_us / 1000:.0f} ms")
