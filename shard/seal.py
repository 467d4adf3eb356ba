"""Sealing: an evaluated batch and its first revision become rows, events and answers.

What it is: the pure step between `Alloc` and the engine write. What it is not: either of them.

Invariants:
- every changed key leaves its old version in the history space and one log row names it;
- a deletion of what an older revision wrote is told by that version's row (it *ends* the version),
  any other by a tombstone; the log row says which;
- a fence row of each touched tablet is in the same engine batch (inv15), and of our first tablet
  that stays (`prover`) where leases alone are written: of one that goes nothing may be written any
  more once its last rows were read;
- the answers' header revisions are first - 1 + position (invariant 4).

Worked example: put a (absent before) at first=11 in tablet 3 writes n/a, l/3/11, f/3=(.., 11, ..);
its deletion at 12 writes h/a/11, ended at 12, removes n/a and writes l/3/12 and the fence.

Tested in tests/unit/shard/test_seal.py and through tests/property/test_history.py.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Final

from kubebraid.base.record import Commit, Event
from kubebraid.base.revision import Epoch, Revision, TabletId
from kubebraid.proto.kvwire import tombstone

from . import fencing, keycodec
from .apply import Evaluation
from .draft import AnyRow, Change, DraftRow
from .fencing import Fence
from .lease import LeaseRow
from .storage.engine import Batch

LEASE_TTL_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Sealed:
    """What a commit writes and what it tells."""

    batch: Batch
    fences: Mapping[TabletId, Fence]
    commits: Mapping[TabletId, Sequence[Commit]]


def last_index(changes: Sequence[Change]) -> dict[TabletId, int]:
    """The index of each touched tablet's last write: what Alloc asks for."""
    return {change.tablet: change.index for change in changes}


def prover(oepochs: Mapping[TabletId, Epoch], going: Set[TabletId]) -> TabletId:
    """The tablet by whose fence a batch of leases alone is told. `going`: about to be another
    shard's; where all are, what is in flight is waited for (`reshard/source.py`)."""
    return min(oepochs.keys() - going or oepochs)


def seal(
    evaluation: Evaluation,
    first: Revision,
    fences: Mapping[TabletId, Fence],
    oepochs: Mapping[TabletId, Epoch],
    going: Set[TabletId] = frozenset(),
) -> Sealed:
    """Settle every drafted row and build the engine batch. `going`: see `prover`."""
    batch = Batch()
    for change in evaluation.changes:
        if change.new is not None:
            change.new.settle(first)
    # Nearly always: each write has changed one key.
    alone = len(evaluation.changes) == evaluation.writes
    build = _single if alone else _joint
    commits = build(batch, evaluation.changes, first)
    advanced = {
        tablet: fencing.advance(fences[tablet], oepochs[tablet], first + index)
        for tablet, index in last_index(evaluation.changes).items()
    }
    if not advanced and (evaluation.granted or evaluation.revoked):
        home = prover(oepochs, going)
        advanced = {home: fencing.touch(fences[home], oepochs[home])}
    for tablet, fence in advanced.items():
        batch.put(keycodec.fence(tablet), fence.pack())
    _write_leases(batch, evaluation)
    assert bool(len(batch)) == bool(advanced), "what is written can be told by a fence"
    return Sealed(batch, advanced, commits)


def _single(
    batch: Batch, changes: Sequence[Change], first: Revision
) -> dict[TabletId, list[Commit]]:
    """The rows and commits of writes that changed one key each."""
    commits: dict[TabletId, list[Commit]] = {}
    for change in changes:
        revision = first + change.index
        ended = _write_change(batch, change, revision, True)
        event = _event(change, revision)
        of_tablet = commits.get(change.tablet)
        if of_tablet is None:
            of_tablet = commits[change.tablet] = []
        of_tablet.append(Commit(revision, (event,)))
        logged = keycodec.pack_change(event.key, event.deleted, event.sub, event.before, ended)
        batch.put(keycodec.log(change.tablet, revision), logged)
    return commits


def _joint(
    batch: Batch, changes: Sequence[Change], first: Revision
) -> dict[TabletId, list[Commit]]:
    """The rows and commits of any writes."""
    last = {(change.index, change.key): change.sub for change in changes}
    ended: set[tuple[Revision, bytes]] = set()
    for change in changes:
        is_last = last[change.index, change.key] == change.sub
        revision = first + change.index
        if _write_change(batch, change, revision, is_last):
            ended.add((revision, change.key))
    commits = _commits(changes, first)
    for tablet, of_tablet in commits.items():
        for commit in of_tablet:
            batch.put(keycodec.log(tablet, commit.revision), _log_row(commit, ended))
    return commits


def _write_change(batch: Batch, change: Change, revision: Revision, is_last: bool) -> bool:
    """Its rows but the log's. Whether it ended the old version, so that no tombstone is written.

    What is deleted first and put again in one revision has a tombstone, too: an ended version is
    what no row of its key follows in the revision that ended it."""
    old, new = change.old, change.new
    ends = new is None and is_last and old is not None and old.mod < revision
    if old is not None:
        _supersede(batch, change.key, old, revision, revision if ends else 0)
    old_lease = old.lease if old is not None else 0
    new_lease = new.lease if new is not None else 0
    if old_lease and old_lease != new_lease:
        batch.delete(keycodec.attachment(old_lease, change.key))
    if new is None:
        if not ends:
            sub = keycodec.LAST_SUB if is_last else change.sub
            batch.put(keycodec.history(change.key, revision, sub), b"")
        batch.delete(keycodec.newest(change.key))
        return ends
    if new_lease and new_lease != old_lease:
        batch.put(keycodec.attachment(new_lease, change.key), b"")
    batch.put(keycodec.newest(change.key), keycodec.pack_row(new))
    return False


def _supersede(batch: Batch, key: bytes, old: AnyRow, revision: Revision, ended: Revision) -> None:
    """Move a version to the history space; one that its own write replaced keeps its place."""
    replaced_at_once = isinstance(old, DraftRow) and old.mod == revision
    sub = old.sub if isinstance(old, DraftRow) and replaced_at_once else keycodec.LAST_SUB
    batch.put(keycodec.history(key, old.mod, sub), keycodec.pack_row(old, ended))


def _commits(changes: Sequence[Change], first: Revision) -> dict[TabletId, list[Commit]]:
    grouped: dict[TabletId, dict[int, list[Event]]] = {}
    for change in changes:
        of_tablet = grouped.setdefault(change.tablet, {})
        of_tablet.setdefault(change.index, []).append(_event(change, first + change.index))
    return {
        tablet: [Commit(first + index, tuple(events)) for index, events in by_index.items()]
        for tablet, by_index in grouped.items()
    }


def _log_row(commit: Commit, ended: Set[tuple[Revision, bytes]]) -> bytes:
    """`ended`: the revisions that ended a version of a key."""
    changes = [
        keycodec.LogChange(
            event.key, event.deleted, event.sub, event.before, (commit.revision, event.key) in ended
        )
        for event in commit.events
    ]
    return keycodec.pack_changes(changes)


def _event(change: Change, revision: Revision) -> Event:
    previous = change.before.raw if change.before is not None else None
    before = change.before.mod if change.before is not None else 0
    if change.new is None:
        return Event(
            change.key, True, tombstone(change.key, revision), previous, change.sub, before
        )
    if change.new.create == revision:
        previous = None  # a creation has none, also after a deletion in the same revision
    return Event(change.key, False, change.new.raw, previous, change.sub, before)


def _write_leases(batch: Batch, evaluation: Evaluation) -> None:
    for lease, row in evaluation.granted.items():
        batch.put(keycodec.lease(lease), pack_lease(row))
    for lease in evaluation.revoked:
        batch.delete(keycodec.lease(lease))


def pack_lease(row: LeaseRow) -> bytes:
    """The value of a lease row: its TTL in seconds; of one that more than one shard knows also what
    it is here, and its guests."""
    ttl = struct.pack(">Q", row.ttl_s)
    if row == LeaseRow(row.ttl_s):
        return ttl
    return ttl + bytes([row.visiting | row.ended << 1]) + ",".join(row.guests).encode()


def unpack_lease(value: bytes) -> LeaseRow:
    """The inverse."""
    (ttl_s,) = struct.unpack_from(">Q", value)
    if len(value) == LEASE_TTL_BYTES:
        return LeaseRow(ttl_s)
    state, names = value[LEASE_TTL_BYTES], value[LEASE_TTL_BYTES + 1 :].decode()
    guests = tuple(names.split(",")) if names else ()
    return LeaseRow(ttl_s, guests, bool(state & 1), bool(state & 2))
