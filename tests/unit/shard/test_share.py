"""One shard's share of a transaction: verdicts, checks, operations, and their places."""

from __future__ import annotations

from kubebraid.base import errors
from kubebraid.base.across import Leaf, Verdict, leaf_span
from kubebraid.base.keyspace import prefix_end
from kubebraid.base.ops import CompareOp, CompareResult, CompareTarget
from kubebraid.base.revision import is_pending
from kubebraid.proto.kvwire import key_of, value_of
from kubebraid.shard.share import Share
from tests.unit.shard.fakes import Stand, compare, counted, delete, get, put, put_call, txn


def owns(leaf: Leaf) -> bool:
    """This shard owns what begins with /a/."""
    span = leaf_span(leaf)
    return span is not None and span.start.startswith((b"/a", b"/\0"))


def share(stand: Stand) -> Share:
    owned = stand.owned
    counts = counted(stand.engine).known
    return Share(stand.engine, owned.tablet_of, owned.leases, owned.known, -1, counts)


def test_verdict_says_whether_a_key_was_met_and_whether_all_hold() -> None:
    stand = Stand()
    stand.write(put_call(b"/a/x"), put_call(b"/a/y"), put_call(b"/a/y"))
    span = get(b"/a/", prefix_end(b"/a/") or b"").span
    first = CompareOp(span, CompareTarget.VERSION, CompareResult.EQUAL, 1)
    some = CompareOp(span, CompareTarget.VERSION, CompareResult.GREATER, 0)
    other = compare(b"/z", CompareTarget.VERSION, CompareResult.EQUAL, 7)
    one = compare(b"/a/y", CompareTarget.VERSION, CompareResult.EQUAL, 1)
    of_others = share(stand).verdicts(txn([one]), lambda key: key != b"/a/y")
    assert of_others == [Verdict(False, True)], "whatever row is here"
    assert share(stand).verdicts(txn([first, some, other]), lambda key: True) == [
        Verdict(True, False),
        Verdict(True, True),
        Verdict(False, True),
    ]


def test_operations_of_others_keep_their_places() -> None:
    """Puts of other shards are not done here, but counted."""
    stand = Stand()
    stand.write(put_call(b"/a/x", b"old"))
    op = txn([], [put(b"/z"), put(b"/a/x", b"new", prev_kv=True), get(b"/z"), delete(b"/a/x")])
    made = share(stand)
    assert made.check(op, (True,), owns, known=0) is None
    first, second = made.run(op, (True,), owns)
    assert (first.place, first.changes) == (1, 1)
    assert value_of(first.rows[0].raw) == b"old"
    assert (second.place, second.changes, second.total) == (3, 1, 1)
    assert [change.sub for change in made.changes] == [1, 3]
    assert made.writes == 1


def test_row_of_the_transaction_itself_is_pending() -> None:
    """The router puts the revision in, once there is one."""
    stand = Stand()
    op = txn([], [put(b"/a/x", b"new"), get(b"/a/x")])
    seen = share(stand).run(op, (True,), owns)[1]
    (row,) = seen.rows
    assert is_pending(row.mod)
    assert is_pending(row.create)
    assert (key_of(row.raw), value_of(row.raw)) == (b"/a/x", b"new")


def test_first_refusal_of_ours_is_told_with_its_place() -> None:
    """Somebody else's put is not checked here."""
    stand = Stand()
    missing = put(b"/a/x", b"", ignore_value=True)
    op = txn([], [put(b"/z", b"", ignore_value=True), missing, missing])
    assert share(stand).check(op, (True,), owns, known=0) == (1, errors.KEY_NOT_FOUND)


def test_future_is_judged_by_what_the_router_has_heard() -> None:
    stand = Stand()
    op = txn([], [get(b"/a/x", revision=9)])
    assert share(stand).check(op, (True,), owns, known=8) == (0, errors.FUTURE_REVISION)
    assert share(stand).check(op, (True,), owns, known=9) is None


def test_lease_of_another_shard_that_its_home_did_not_know_is_not_found() -> None:
    stand = Stand()
    op = txn([], [put(b"/a/x", lease=77)])
    assert share(stand).check(op, (True,), owns, known=0) == (0, errors.LEASE_NOT_FOUND)


def test_evaluated_again_it_changes_the_same() -> None:
    stand = Stand()
    stand.write(put_call(b"/a/x"), put_call(b"/a/y"))
    op = txn([], [delete(b"/a/", b"/b"), put(b"/a/z")])
    made = [share(stand), share(stand)]
    for each in made:
        each.run(op, (True,), owns)
    assert made[0].changes == made[1].changes
    assert len(made[0].changes) == 3
