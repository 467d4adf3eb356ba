"""Sealing: an evaluated batch and its first revision become rows, events and answers.

What it is: the pure step between `Alloc` and the engine write. What it is not: either of them.

Invariants:
- every changed key leaves its old version in the history space and one log row names it;
- a fence row of each touched tablet is in the same engine batch (inv15);
- the answers' header revisions are first - 1 + position (invariant 4).

Worked example: put a (absent before) at first=11 in tablet 3 writes n/a, l/3/11, f/3=(.., 11, ..).

Tested in tests/unit/shard/test_seal.py and through tests/property/test_history.py.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kubebraid.base.record import Commit, Event
from kubebraid.base.revision import Epoch, Revision, TabletId
from kubebraid.proto.kvwire import tombstone

from . import fencing, keycodec
from .apply import Evaluation
from .draft import Change, DraftRow
from .fencing import Fence
from .storage.engine import Batch


@dataclass(frozen=True, slots=True)
class Sealed:
    """What a commit writes and what it tells."""

    batch: Batch
    fences: Mapping[TabletId, Fence]
    commits: Mapping[TabletId, Sequence[Commit]]


def last_index(changes: Sequence[Change]) -> dict[TabletId, int]:
    """The index of each touched tablet's last write: what Alloc asks for."""
    return {change.tablet: change.index for change in changes}


def seal(
    evaluation: Evaluation,
    first: Revision,
    fences: Mapping[TabletId, Fence],
    oepochs: Mapping[TabletId, Epoch],
) -> Sealed:
    """Settle every drafted row and build the engine batch."""
    batch = Batch()
    for change in evaluation.changes:
        if change.new is not None:
            change.new.settle(first)
    for change in evaluation.changes:
        _write_change(batch, change, first + change.index)
    commits = _commits(evaluation.changes, first)
    for tablet, of_tablet in commits.items():
        for commit in of_tablet:
            changed = [(event.key, event.deleted, event.sub) for event in commit.events]
            batch.put(keycodec.log(tablet, commit.revision), keycodec.pack_changes(changed))
    advanced = {
        tablet: fencing.advance(fences[tablet], oepochs[tablet], first + index)
        for tablet, index in last_index(evaluation.changes).items()
    }
    for tablet, fence in advanced.items():
        batch.put(keycodec.fence(tablet), fence.pack())
    _write_leases(batch, evaluation)
    return Sealed(batch, advanced, commits)


def _write_change(batch: Batch, change: Change, revision: Revision) -> None:
    old, new = change.old, change.new
    if old is not None:
        settled = old.row() if isinstance(old, DraftRow) else old
        batch.put(keycodec.history(change.key, settled.mod), keycodec.pack_row(settled))
    old_lease = old.lease if old is not None else 0
    new_lease = new.lease if new is not None else 0
    if old_lease and old_lease != new_lease:
        batch.delete(keycodec.attachment(old_lease, change.key))
    if new is None:
        batch.put(keycodec.history(change.key, revision), b"")
        batch.delete(keycodec.newest(change.key))
        return
    if new_lease and new_lease != old_lease:
        batch.put(keycodec.attachment(new_lease, change.key), b"")
    batch.put(keycodec.newest(change.key), keycodec.pack_row(new.row()))


def _commits(changes: Sequence[Change], first: Revision) -> dict[TabletId, list[Commit]]:
    grouped: dict[TabletId, dict[int, list[Event]]] = {}
    for change in changes:
        of_tablet = grouped.setdefault(change.tablet, {})
        of_tablet.setdefault(change.index, []).append(_event(change, first + change.index))
    return {
        tablet: [Commit(first + index, tuple(events)) for index, events in by_index.items()]
        for tablet, by_index in grouped.items()
    }


def _event(change: Change, revision: Revision) -> Event:
    previous = change.old.raw if change.old is not None else None
    if change.new is None:
        return Event(change.key, True, tombstone(change.key, revision), previous, change.sub)
    return Event(change.key, False, change.new.raw, previous, change.sub)


def _write_leases(batch: Batch, evaluation: Evaluation) -> None:
    for lease, ttl_s in evaluation.granted.items():
        batch.put(keycodec.lease(lease), pack_lease(ttl_s))
    for lease in evaluation.revoked:
        batch.delete(keycodec.lease(lease))


def pack_lease(ttl_s: int) -> bytes:
    """The value of a lease row: its granted TTL in seconds."""
    return struct.pack(">Q", ttl_s)


def unpack_lease(value: bytes) -> int:
    (ttl_s,) = struct.unpack(">Q", value)
    assert isinstance(ttl_s, int)
    return ttl_s
