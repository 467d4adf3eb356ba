"""Which cluster a data directory belongs to, how it begins, and how a lost one is replaced.

What it is: the file `identity` and the two ways to make it: the first start of a cluster and a
refill. What it is not: who asks for a refill and when (`transport.py`, `node.py`).

Why a refill: a member that lost its disk forgot what it acknowledged and for whom it voted, so as
a voter it could elect a leader that lacks committed entries. A directory without an identity thus
never votes. Its member asks (with a token, so that no older answer will do), a running member takes
a barrier and sends its state as of then. Why that suffices: the barrier was begun after the loss
and is held by a quorum without the lost member; a candidate that had its lost vote lacks the
barrier, and needs a vote from that quorum, which refuses a shorter log.

Invariants:
- `identity` is written last: a directory that has it has a whole journal;
- the cluster's number comes from its token and its members' names: another list, another cluster;
- a refilled member's vote of that term is spent, so it can only vote in a later one.

Worked example: {"cluster": "5c1f...", "members": ["a", "b", "c"], "name": "b"}, sealed.

Tested in tests/unit/coordinator/raft/test_identity.py.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from . import snapshot
from .disk import Disk, replace_file
from .journal import Journal
from .journal_codec import Entry, Head, Vote, seal, unseal
from .journal_file import wipe
from .log import IdentityRefused, JournalDamaged
from .wire import NO_OP

NAME: Final = "identity"
MAGIC: Final = b"kbident1"
SIZES: Final = (1, 3, 5)
_REFILL: Final = struct.Struct("<QQH")
_REFILL_MAGIC: Final = b"kbfill1"
FIRST_ENTRY: Final = Entry(bytes([NO_OP]), 1, 0)  # what PySyncObj begins every log with


class Identity(NamedTuple):
    """Of one data directory."""

    cluster: int
    name: str
    members: tuple[str, ...]


class Refill(NamedTuple):
    """A member's state for one that lost its own. `term`, `giver`: the vote that is spent."""

    token: int
    term: int
    giver: str
    image: bytes


def cluster_of(token: str, members: Sequence[str]) -> int:
    """The cluster's number: 64 bits of its token and its sorted members' names."""
    text = "\n".join([token, *sorted(members)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def load(disk: Disk, name: str, members: Sequence[str]) -> Identity | None:
    """None: this directory has none. Raises IdentityRefused, JournalDamaged."""
    if len(members) not in SIZES or len(set(members)) != len(members) or name not in members:
        raise IdentityRefused(f"{name} of {list(members)}: 1, 3 or 5 names, this one among them")
    if NAME not in disk.names():
        return None
    said = json.loads(unseal(MAGIC, disk.read(NAME)))
    found = Identity(int(said["cluster"], 16), said["name"], tuple(said["members"]))
    if found.name != name or sorted(found.members) != sorted(members):
        raise IdentityRefused(f"the directory is of {found}, this is {name} of {list(members)}")
    return found


def _write(disk: Disk, identity: Identity) -> Identity:
    cluster, name, members = identity
    said = {"cluster": f"{cluster:016x}", "members": sorted(members), "name": name}
    replace_file(disk, NAME, seal(MAGIC, json.dumps(said).encode()))
    return identity


def bootstrap(disk: Disk, token: str, name: str, members: Sequence[str]) -> Identity:
    """The first start of the first directory: an empty log in term 0. Raises OSError."""
    wipe(disk)
    identity = Identity(cluster_of(token, members), name, tuple(members))
    Journal.create(disk, Head(1, identity.cluster, name), Vote(0, None), [FIRST_ENTRY])
    return _write(disk, identity)


def encode_refill(refill: Refill) -> bytes:
    giver = refill.giver.encode()
    head = _REFILL.pack(refill.token, refill.term, len(giver))
    return seal(_REFILL_MAGIC, head + giver + refill.image)


def decode_refill(data: bytes) -> Refill:
    """Raises JournalDamaged."""
    payload = unseal(_REFILL_MAGIC, data)
    if len(payload) < _REFILL.size:
        raise JournalDamaged("a refill is cut short")
    token, term, length = _REFILL.unpack_from(payload)
    at = _REFILL.size + length
    return Refill(token, term, payload[_REFILL.size : at].decode(), payload[at:])


def install_refill(disk: Disk, refill: Refill, name: str, members: Sequence[str]) -> Identity:
    """Make the directory from what a member gave. Raises JournalDamaged, OSError."""
    image = snapshot.decode(refill.image)
    wipe(disk)
    replace_file(disk, snapshot.NAME, refill.image)
    Journal.create(
        disk,
        Head(1, image.cluster, name),
        Vote(max(refill.term, image.last.term), refill.giver),
        [image.previous, image.last],
    )
    return _write(disk, Identity(image.cluster, name, tuple(members)))
