"""Which writes may be queued while tablets are about to go."""

from __future__ import annotations

import pytest

from kubebraid.base import errors
from kubebraid.base.ports import (
    WRITE_LEASE_GRANT,
    WRITE_LEASE_REVOKE,
    WRITE_LEASE_ROW,
    WRITE_PUT,
    WriteCall,
)
from kubebraid.proto import requests
from kubebraid.shard.admission import refused
from kubebraid.shard.foreign import Visible
from tests.moving import MOVED, OTHER, SYSTEM, Moving

GRANT = WriteCall(WRITE_LEASE_GRANT, requests.encode_lease_grant(9, 60), (), 1, None)
ROW = WriteCall(WRITE_LEASE_ROW, b"", (), 1, None)


def put(*tablets: int, version: int = 1) -> WriteCall:
    return WriteCall(WRITE_PUT, b"", tablets, version, None)


def revoke(lease: int) -> WriteCall:
    return WriteCall(WRITE_LEASE_REVOKE, requests.encode_lease_revoke(lease), (), 1, None)


@pytest.mark.parametrize(
    ("sealed", "call", "admitted"),
    [
        ((), put(MOVED), True),
        ((), put(MOVED, version=0), False),
        ((), put(MOVED, version=2), False),
        ((MOVED,), put(MOVED), False),
        ((MOVED,), put(SYSTEM, MOVED), False),
        ((MOVED,), put(SYSTEM), True),
        ((MOVED,), revoke(5), False),  # b1 is attached
        ((MOVED,), revoke(6), True),  # a1 alone
        ((MOVED,), GRANT, True),
        ((SYSTEM,), GRANT, False),  # the leases live there
        ((SYSTEM,), ROW, False),
        ((SYSTEM,), revoke(5), False),
        ((SYSTEM,), put(MOVED), True),
    ],
)
def test_inv15_nothing_that_would_change_a_sealed_tablet(
    sealed: tuple[int, ...], call: WriteCall, admitted: bool
) -> None:
    pair = Moving()
    for lease, key in ((5, b"b1"), (6, b"a1")):
        pair.grant(lease)
        pair.put(key, lease=lease)
    owned = pair.owned["shard-0"]
    owned.sealed = frozenset(sealed)
    reader = Visible(pair.engines["shard-0"], owned.foreign)
    assert refused(owned, reader, call) is (None if admitted else errors.OTHER_MAP)
    assert errors.OTHER_MAP.definite


def test_inv15_no_lease_is_written_where_nothing_stays() -> None:
    """A guest all of whose tablets go: there is no fence by which the visit could be told."""
    pair = Moving()
    owned = pair.owned["shard-1"]
    reader = Visible(pair.engines["shard-1"], owned.foreign)
    assert refused(owned, reader, ROW) is None
    owned.sealed = frozenset((OTHER,))
    assert refused(owned, reader, ROW) is errors.OTHER_MAP
