"""Sealing: what a batch writes, and what it tells."""

from __future__ import annotations

import pytest

from kubebraid.base.ops import Op
from kubebraid.proto.etcd import kv_pb2
from kubebraid.shard import keycodec
from kubebraid.shard.apply import Evaluation
from kubebraid.shard.fencing import Fence, unpack
from kubebraid.shard.lease import LeaseRow
from kubebraid.shard.seal import Sealed, last_index, pack_lease, seal, unpack_lease
from kubebraid.shard.storage.engine import DELETE, PUT
from tests.unit.shard.fakes import A, B, Stand, delete, grant_call, put, put_call, txn

FIRST = 11


def sealed(stand: Stand, made: Evaluation) -> Sealed:
    return seal(made, FIRST, stand.owned.fences, stand.owned.oepochs)


def written(done: Sealed) -> dict[bytes, bytes | None]:
    """What the engine would hold: later operations win, None is deleted."""
    return {key: value if kind == PUT else None for kind, key, value in done.batch.operations}


def test_put_of_an_absent_key_writes_row_log_and_fence() -> None:
    """The worked example of the module."""
    stand = Stand()
    made = stand.evaluation()
    made.put(put(b"/a/x", b"1"))
    rows = written(sealed(stand, made))
    assert set(rows) == {keycodec.newest(b"/a/x"), keycodec.log(A, 11), keycodec.fence(A)}
    assert rows[keycodec.log(A, 11)] == keycodec.pack_changes(
        [keycodec.LogChange(b"/a/x", False, 0, 0)]
    )
    fence = rows[keycodec.fence(A)]
    assert fence is not None
    assert unpack(fence) == Fence(1, 11, 2)


def test_changed_key_leaves_its_old_version_in_the_history() -> None:
    stand = Stand()
    stand.write(put_call(b"/a/x", b"old"))
    made = stand.evaluation()
    made.put(put(b"/a/x", b"1"))
    made.put(put(b"/a/x", b"2"))
    rows = written(sealed(stand, made))
    kept = [rows[keycodec.history(b"/a/x", revision)] for revision in (2, 11)]
    values = [keycodec.unpack_row(raw).version for raw in kept if raw is not None]
    assert values == [1, 2]
    newest = rows[keycodec.newest(b"/a/x")]
    assert newest is not None
    assert keycodec.unpack_row(newest)[:4] == (12, 2, 3, 0)


def superseded(value: bytes | None) -> tuple[int, int]:
    """The revisions at which a version was written and ended."""
    assert value is not None
    row, ended = keycodec.unpack_superseded(value)
    return row.mod, ended


def test_deleted_key_leaves_a_version_that_tells_its_end_and_no_newest_row() -> None:
    """The worked example of the module: one row more than a creation has, and no tombstone."""
    stand = Stand()
    stand.write(put_call(b"/a/x"))
    made = stand.evaluation()
    made.delete(delete(b"/a/x"))
    done = sealed(stand, made)
    rows = written(done)
    assert rows.pop(keycodec.fence(A))
    assert rows.pop(keycodec.newest(b"/a/x"), b"") is None
    assert superseded(rows.pop(keycodec.history(b"/a/x", 2))) == (2, 11)
    change = keycodec.LogChange(b"/a/x", True, 0, 2, ended=True)
    assert rows == {keycodec.log(A, 11): keycodec.pack_changes([change])}
    assert len(done.batch) == 4


def test_key_put_and_deleted_by_one_group_is_ended_like_any_other() -> None:
    """Two revisions, though one batch: the row that the first drafted has its own by then."""
    stand = Stand()
    made = stand.evaluation()
    made.put(put(b"/a/x"))
    made.delete(delete(b"/a/x"))
    rows = written(sealed(stand, made))
    assert superseded(rows[keycodec.history(b"/a/x", 11)]) == (11, 12)
    assert keycodec.history(b"/a/x", 12) not in rows


def test_deletion_of_a_range_ends_each_of_its_keys() -> None:
    stand = Stand()
    stand.write(put_call(b"/a/x"), put_call(b"/a/y"))
    made = stand.evaluation()
    made.delete(delete(b"/a/", b"/a0"))
    rows = written(sealed(stand, made))
    ends = [superseded(rows[keycodec.history(k, r)]) for k, r in ((b"/a/x", 2), (b"/a/y", 3))]
    assert ends == [(2, 11), (3, 11)]
    log = rows[keycodec.log(A, 11)]
    assert log is not None
    assert [change.ended for change in keycodec.unpack_changes(log)] == [True, True]


def test_what_a_revision_changes_twice_has_a_tombstone_for_its_deletion() -> None:
    """Its place among the versions of the revision is told by the row's key alone."""
    for first, second in ((put, delete), (delete, put)):
        stand = Stand()
        stand.write(put_call(b"/a/x"), put_call(b"/a/y"))
        made = stand.evaluation()
        both: list[Op] = [txn([], [first(b"/a/x")]), txn([], [second(b"/a/x")]), delete(b"/a/y")]
        made.txn(txn([], both))
        rows = written(sealed(stand, made))
        assert superseded(rows[keycodec.history(b"/a/x", 2)]) == (2, 0)
        sub = keycodec.LAST_SUB if second is delete else 0
        assert rows[keycodec.history(b"/a/x", 11, sub)] == b""
        assert superseded(rows[keycodec.history(b"/a/y", 3)]) == (3, 11)
        log = rows[keycodec.log(A, 11)]
        assert log is not None
        ended = [(change.key, change.ended) for change in keycodec.unpack_changes(log)]
        assert ended == [(b"/a/x", False), (b"/a/x", False), (b"/a/y", True)]


def test_inv15_each_touched_tablet_has_its_fence_in_the_batch() -> None:
    stand = Stand()
    made = stand.evaluation()
    made.put(put(b"/a/x"))
    made.put(put(b"/b/x"))
    made.put(put(b"/a/y"))
    done = sealed(stand, made)
    assert {tablet: fence.last for tablet, fence in done.fences.items()} == {A: 13, B: 12}
    assert {key for key in written(done) if key[:1] == b"f"} == {
        keycodec.fence(A),
        keycodec.fence(B),
    }


def test_inv15_leases_alone_are_told_by_a_tablet_that_stays() -> None:
    """Of one that goes nothing may be written behind what its new owner has read last."""
    stand = Stand()
    made = stand.evaluation()
    made.lease_grant(7, 60)
    first, second, *_ = sorted(stand.owned.oepochs)
    for going, told in (((), first), ((first,), second), (stand.owned.oepochs, first)):
        done = seal(made, FIRST, stand.owned.fences, stand.owned.oepochs, frozenset(going))
        assert set(done.fences) == {told}


def test_last_index_is_what_alloc_asks_for() -> None:
    """The worked example of base/ports: pods, leases, pods are (pods, 2), (leases, 1)."""
    made = Stand().evaluation()
    for key in (b"/a/x", b"/b/x", b"/a/y"):
        made.put(put(key))
    assert last_index(made.changes) == {A: 2, B: 1}


def test_inv06_transaction_over_tablets_is_one_revision_in_each_log() -> None:
    stand = Stand()
    made = stand.evaluation()
    made.txn(txn([], [put(b"/a/x"), put(b"/b/x"), put(b"/a/y")]))
    done = sealed(stand, made)
    assert {t: [c.revision for c in commits] for t, commits in done.commits.items()} == {
        A: [11],
        B: [11],
    }
    assert [event.key for event in done.commits[A][0].events] == [b"/a/x", b"/a/y"]


def test_event_carries_the_new_row_and_the_one_before() -> None:
    stand = Stand()
    stand.write(put_call(b"/a/x", b"old"))
    made = stand.evaluation()
    made.put(put(b"/a/x", b"new"))
    made.delete(delete(b"/a/x"))
    put_event, gone = [c.events[0] for c in sealed(stand, made).commits[A]]
    assert put_event.previous is not None
    old, new = (kv_pb2.KeyValue.FromString(raw) for raw in (put_event.previous, put_event.raw))
    assert (old.value, old.mod_revision) == (b"old", 2)
    assert (new.value, new.mod_revision, new.version) == (b"new", 11, 2)
    assert gone.deleted
    assert gone.previous == put_event.raw
    stone = kv_pb2.KeyValue.FromString(gone.raw)
    assert stone == kv_pb2.KeyValue(key=b"/a/x", mod_revision=12)


def test_event_of_a_key_that_was_absent_has_no_previous() -> None:
    stand = Stand()
    made = stand.evaluation()
    made.put(put(b"/a/x"))
    assert sealed(stand, made).commits[A][0].events[0].previous is None


def test_key_changed_twice_in_one_revision_was_what_it_was_before_the_revision() -> None:
    """etcd lets a nested delete follow a put; it looks prev_kv up at the revision before."""
    stand = Stand()
    stand.write(put_call(b"/a/x", b"old"))
    made = stand.evaluation()
    made.txn(txn([], [txn([], [put(b"/a/x", b"new")]), txn([], [delete(b"/a/x")])]))
    first, second = sealed(stand, made).commits[A][0].events
    assert first.previous is not None
    assert second.previous == first.previous


def test_attachment_follows_the_lease_of_the_row() -> None:
    stand = Stand()
    stand.write(grant_call(7, 60), grant_call(8, 60))
    stand.write(put_call(b"/a/x", lease=7), put_call(b"/a/y", lease=7), put_call(b"/a/z", lease=7))
    made = stand.evaluation()
    made.put(put(b"/a/x", lease=8))
    made.put(put(b"/a/y"))
    made.put(put(b"/a/z", lease=7))
    operations = sealed(stand, made).batch.operations
    leases = [(kind, key) for kind, key, _ in operations if key[:1] == b"k"]
    assert leases == [
        (DELETE, keycodec.attachment(7, b"/a/x")),
        (PUT, keycodec.attachment(8, b"/a/x")),
        (DELETE, keycodec.attachment(7, b"/a/y")),
    ]


def test_inv21_revoked_lease_and_its_keys_leave_in_one_batch() -> None:
    """etcd: one backend transaction, or a crash in between would keep keys without a lease."""
    stand = Stand()
    stand.write(grant_call(7, 60))
    stand.write(put_call(b"/a/x", lease=7))
    made = stand.evaluation()
    made.lease_revoke(7)
    rows = written(sealed(stand, made))
    assert rows[keycodec.lease(7)] is None
    assert rows[keycodec.newest(b"/a/x")] is None
    assert rows[keycodec.attachment(7, b"/a/x")] is None


def test_granted_lease_is_a_row_with_its_ttl() -> None:
    stand = Stand()
    made = stand.evaluation()
    made.lease_grant(7, 60)
    done = sealed(stand, made)
    home = min(stand.owned.oepochs)
    fence = stand.owned.fences[home]
    touched = fence._replace(nonce=fence.nonce + 1)
    assert done.fences == {home: touched}, "without it nobody could tell whether the batch is there"
    assert written(done) == {
        keycodec.lease(7): pack_lease(LeaseRow(60)),
        keycodec.fence(home): touched.pack(),
    }
    assert unpack_lease(pack_lease(LeaseRow(60))) == LeaseRow(60)


@pytest.mark.parametrize(
    "row",
    [
        LeaseRow(1),
        LeaseRow(60, ("shard-1", "shard-2")),
        LeaseRow(60, (), visiting=True),
        LeaseRow(60, ("shard-1",), ended=True),
        LeaseRow(60, (), ended=True),
    ],
)
def test_lease_row_says_what_it_is_here(row: LeaseRow) -> None:
    assert unpack_lease(pack_lease(row)) == row


def test_batch_that_changes_nothing_writes_nothing() -> None:
    stand = Stand()
    made = stand.evaluation()
    made.delete(delete(b"/a/x"))
    done = sealed(stand, made)
    assert len(done.batch) == 0
    assert done.fences == {}
