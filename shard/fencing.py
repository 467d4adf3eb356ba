"""The fence record: who may write a tablet, and up to where it was written.

What it is: the row that is rewritten inside every group commit, its bytes, and the rule of
adoption. What it is not: the engine write.

Words: (oepoch, last, nonce): the owner epoch that wrote it, the highest revision committed in the
tablet, and a counter that makes each rewrite differ.

Invariants:
- inv15: the sequence of (oepoch, last, nonce) of a tablet's fence is strictly increasing, in oepoch
  at an adoption, in last at a commit, in nonce at every write; none ever falls;
- M6: an owner serves a tablet only after the fence carries its own oepoch;
- no commit is made under an oepoch other than the stored one (checked by `advance`).

Worked example: stored (3, 17, 5); a process start with oepoch 4 writes (4, 17, 6); its first
commit at revision 18 writes (4, 18, 7).

Tested in tests/unit/shard/test_fencing.py.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final, NamedTuple

from kubebraid.base.errors import Refused, StaleEpoch
from kubebraid.base.revision import FIRST_REVISION, Epoch, Revision

_FENCE: Final = struct.Struct(">QQQI")


class FenceDamaged(Exception):
    """A fence row whose checksum is wrong: the store must not be served."""

    definite = True
    hint = "restore the data directory from a backup"


class MapBehind(Refused):
    """More was written here than the map knows of: it comes from coordinators that lost their
    state, or from those of another cluster."""

    hint = "give the coordinators their data back; do not start this shard with them"

    def __init__(self, tablet: str, last: Revision, begin: Revision) -> None:
        super().__init__(
            f"tablet {tablet} was written up to revision {last}, but its map says {begin}"
        )


class Fence(NamedTuple):
    """The fence record of one tablet."""

    oepoch: Epoch
    last: Revision
    nonce: int

    def pack(self) -> bytes:
        crc = zlib.crc32(struct.pack(">QQQ", *self))
        return _FENCE.pack(*self, crc)


NEW: Final = Fence(0, FIRST_REVISION, 0)  # a tablet that nobody has owned yet


def unpack(raw: bytes) -> Fence:
    """Raises FenceDamaged."""
    if len(raw) != _FENCE.size:
        raise FenceDamaged(f"a fence row has {len(raw)} bytes")
    *fields, crc = _FENCE.unpack(raw)
    if zlib.crc32(struct.pack(">QQQ", *fields)) != crc:
        raise FenceDamaged("a fence row fails its checksum")
    return Fence(*fields)


def adopt(stored: Fence, oepoch: Epoch, begin: Revision = 0) -> Fence:
    """The fence that a new owner writes; M12: at H (`begin`), for what was handed out between the
    last commit and H is void. Raises StaleEpoch if a newer owner was here."""
    if stored.oepoch >= oepoch:
        raise StaleEpoch(f"the fence is at owner epoch {stored.oepoch}, not below {oepoch}")
    return Fence(oepoch, max(stored.last, begin), stored.nonce + 1)


def advance(stored: Fence, oepoch: Epoch, last: Revision) -> Fence:
    """The fence of a commit that ends at `last`."""
    assert stored.oepoch == oepoch, f"commit under {oepoch}, fence at {stored.oepoch}"
    assert last > stored.last, f"{last} must follow {stored.last}"
    return Fence(oepoch, last, stored.nonce + 1)


def touch(stored: Fence, oepoch: Epoch) -> Fence:
    """The fence of a commit that changes no key (leases alone): it differs by its nonce, so that
    it tells whether the commit is there."""
    assert stored.oepoch == oepoch, f"commit under {oepoch}, fence at {stored.oepoch}"
    return Fence(oepoch, stored.last, stored.nonce + 1)
