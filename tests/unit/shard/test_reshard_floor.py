"""A copy is verified although the compaction floor lies above all that its tablet has."""

from __future__ import annotations

from kubebraid.base import errors
from kubebraid.base.reshard import Phase
from tests.moving import MOVED, Moving


def test_inv18_copy_of_a_tablet_that_was_idle_below_the_floor_is_verified() -> None:
    pair = Moving()
    pair.put(b"b1")
    for n in range(10):
        pair.put(b"x%d" % n)
    pair.move(MOVED, "shard-1")
    pair.compact(8)
    assert pair.owned["shard-0"].closed[MOVED] < 8
    pair.lead(Phase.PREPARING)
    pair.settle(600)
    assert pair.reports["shard-1"].verified
    pair.lead(Phase.READY, Phase.FROZEN)
    pair.commit()
    pair.lead(Phase.DRAINING, Phase.DONE)
    assert pair.rows("shard-1")


def test_inv18_floor_that_passes_a_copy_while_it_is_compared_costs_a_round() -> None:
    """What the source has written since is no difference of the copy."""
    pair = Moving()
    pair.put(b"b1")
    pair.move(MOVED, "shard-1")
    source = pair.owners["shard-0"]
    digest = source.digest
    source.digest = lambda _call, done: done(errors.OWNER_AWAY)
    pair.phase(Phase.PREPARING)
    pair.settle(100)
    (copier,) = pair.owners["shard-1"]._moves._copiers.values()
    for n in range(10):
        pair.put(b"b%d" % n)
    pair.compact(8)
    assert copier._checks is not None, "it waits for the sums"
    source.digest = digest
    pair.settle(1_500)
    assert pair.reports["shard-1"].verified
    assert copier._generation == 0, "it did not begin anew"
