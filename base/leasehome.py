"""Where a lease lives: its home is the owner of one key of the system's own, which its id names.

What it is: the key, and who owns it. What it is not: the lease, or who else holds keys of it.

Invariant: every process with one map finds the same home; a map without a change of that tablet's
owner keeps it.

Worked example: lease 0x7b lives with the owner of the key `\\0lease/000000000000007b`.

Tested in tests/unit/base/test_leasehome.py.
"""

from __future__ import annotations

from typing import Final

from .revision import LeaseId
from .tabletmap import Tablet, TabletMap

HOMES: Final = b"\x00lease/"  # below every key that a client can name


def home_key(lease: LeaseId) -> bytes:
    return HOMES + b"%016x" % (lease & (1 << 64) - 1)


def home(tablets: TabletMap, lease: LeaseId) -> Tablet:
    """The tablet whose owner keeps the lease."""
    return tablets.tablet_of(home_key(lease))
