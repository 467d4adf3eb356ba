"""Whether a write may be queued: as it was planned, and for tablets that are not about to go.

What it is: the check of one call against what the shard owns. What it is not: the bounds of the
queue (`writer.py`).

Words: *sealed* tablets are about to become another shard's: what is admitted would not be copied.

Invariants:
- inv17: a call that was planned with a map that names our tablets otherwise is refused;
- inv15, inv18: nothing that would change a sealed tablet is admitted: not by its keys, nor by a
  lease that lives there or has a key there;
- a shard that owns nothing, or nothing that stays, admits nothing: there is no fence by which a
  batch could be told;
- each refusal is definite: the router plans anew and tries again.

Worked example: `pods` is sealed: a put of a pod is refused, and so is the revoke of a lease that a
pod is attached to; a put of a node is taken.

Tested in tests/unit/shard/test_admission.py.
"""

from __future__ import annotations

from typing import Final

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.keyspace import KeyRange, prefix_end
from kubebraid.base.leasehome import HOMES
from kubebraid.base.ports import (
    WRITE_LEASE_GRANT,
    WRITE_LEASE_REVOKE,
    WRITE_LEASE_ROW,
    WriteCall,
)
from kubebraid.proto import requests

from .ownership import Ownership
from .storage.engine import Reader
from .view import attached_keys

_HOMES: Final = KeyRange(HOMES, prefix_end(HOMES))
_LEASES: Final = frozenset((WRITE_LEASE_GRANT, WRITE_LEASE_REVOKE, WRITE_LEASE_ROW))


def refused(owned: Ownership, reader: Reader, call: WriteCall) -> RequestRefused | None:
    """Why the call may not be queued; None if it may. Raises EngineError."""
    if not owned.oepochs or not owned.knows(call.map_version):
        return errors.OTHER_MAP
    if owned.sealed and _changes_sealed(owned, reader, call):
        return errors.OTHER_MAP
    return None


def _changes_sealed(owned: Ownership, reader: Reader, call: WriteCall) -> bool:
    if not owned.sealed.isdisjoint(call.tablets):
        return True
    if call.kind not in _LEASES:
        return False
    if owned.sealed >= owned.oepochs.keys():
        return True
    if any(tablet in owned.sealed for tablet in owned.tablets_of(_HOMES)):
        return True
    return call.kind == WRITE_LEASE_REVOKE and _has_sealed_key(owned, reader, call)


def _has_sealed_key(owned: Ownership, reader: Reader, call: WriteCall) -> bool:
    keys = attached_keys(reader, requests.lease_revoke(call.payload))
    return any(owned.tablet_of(key) in owned.sealed for key in keys)
