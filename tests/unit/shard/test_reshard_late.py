"""What is answered to a copy that is over lands nowhere."""

from __future__ import annotations

from typing import Any

from kubebraid.base.reshard import Kind, Phase
from kubebraid.base.tabletmap import Tablet
from tests.moving import MOVED, Moving


def held_back(pair: Moving, name: str) -> list[Any]:
    """The answers of a source of copies from now on, each to be told by calling it."""
    held: list[Any] = []
    copy = pair.owners[name].copy

    def late(call: Any, done: Any) -> None:
        copy(call, lambda reply: held.append(lambda: done(reply)))

    pair.owners[name].copy = late
    return held


def test_inv18_piece_that_comes_behind_the_end_of_its_copy_leaves_nothing() -> None:
    pair = Moving()
    pair.put(b"b1")
    pair.move(MOVED, "shard-1")
    held = held_back(pair, "shard-0")
    pair.lead(Phase.PREPARING)
    (answer,) = held
    pair.abort()
    assert not pair.cells("shard-1")
    answer()
    pair.settle(300)
    assert not pair.rows("shard-1")
    assert not pair.log("shard-1", MOVED)


def test_inv18_log_rows_of_a_split_that_was_cancelled_do_not_come_late() -> None:
    pair = Moving()
    pair.put(b"b1")
    whole = pair.tablets.by_id()[MOVED]
    parts = [
        Tablet(20 + n, f"b.{n}", whole.span, whole.shard, whole.oepoch + 1, n, 2) for n in range(2)
    ]
    pair.plan(Kind.SPLIT, whole.shard, (MOVED,), *parts)
    held = held_back(pair, whole.shard)
    pair.lead(Phase.PREPARING)
    (answer,) = held
    pair.abort()
    answer()
    pair.settle(300)
    assert not pair.log(whole.shard, 20)
    assert not pair.log(whole.shard, 21)
