"""Leases while tablets move: no key outlives its lease, and no lease that was granted is lost.

What it is: the home of a lease on the source, on the target and on a third shard, and its end at
every step of a move of keys, or of the home itself. What it is not: leases without migrations
(tests/property/test_guests.py).
"""

from __future__ import annotations

import pytest

from kubebraid.base import errors
from kubebraid.base.keyspace import KeyRange
from kubebraid.base.limits import LEASE_RETRY_MS
from kubebraid.base.reshard import Phase
from kubebraid.base.tabletmap import Tablet, TabletMap
from kubebraid.shard import maps
from kubebraid.shard.witness import epoch
from tests.moving import MOVED, SYSTEM, Moving
from tests.shared_rows import APART, stores

__all__ = ["stores"]
pytestmark = pytest.mark.usefixtures("stores")

SHARDS = ("shard-0", "shard-1", "shard-2")
STEPS = ("before", "copying", "verified", "final", "committed", "draining")


def placed(home: str) -> Moving:
    """[.., b) with the leases on `home`; [b, c) on shard-0; [c, ..) on shard-1."""
    tablets = (
        Tablet(SYSTEM, "system", KeyRange(b"", b"b"), home, 1),
        Tablet(MOVED, "moved", KeyRange(b"b", b"c"), "shard-0", 1),
        Tablet(3, "other", KeyRange(b"c", b"d"), "shard-1", 1),
        Tablet(4, "source", KeyRange(b"d", b"e"), "shard-0", 1),
        Tablet(5, "third", KeyRange(b"e", None), "shard-2", 1),
    )
    return Moving(TabletMap(1, tablets), SHARDS)


def reach(pair: Moving, step: str) -> None:
    if step == "before":
        return
    pair.move(MOVED, "shard-1")
    pair.phase(Phase.PREPARING)
    pair.settle(1 if step == "copying" else 300)
    if step in STEPS[3:]:
        pair.lead(Phase.READY, Phase.FROZEN)
        assert pair.reports["shard-1"].ends
    if step in STEPS[4:]:
        pair.commit()
    if step == "draining":
        pair.lead(Phase.DRAINING)


def go_on(pair: Moving, step: str) -> None:
    """To the end, from where `reach` has left it."""
    at = STEPS.index(step)
    if step == "before":
        pair.move(MOVED, "shard-1")
    if at <= 2:
        pair.lead(Phase.PREPARING, Phase.READY, Phase.FROZEN)
    if at <= 3:
        pair.settle(2 * LEASE_RETRY_MS)
        pair.commit()
    pair.lead(Phase.DRAINING, Phase.DONE)
    pair.settle(2 * LEASE_RETRY_MS + 100)


def nowhere(pair: Moving, lease: int) -> None:
    for name in SHARDS:
        assert lease not in pair.owned[name].leases, name
        low, high = b"k" + lease.to_bytes(8, "big"), b"k" + (lease + 1).to_bytes(8, "big")
        assert not pair.shown(name).scan(low, high, 10), name


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("home", SHARDS)
def test_inv21_a_lease_revoked_at_any_step_takes_its_keys(home: str, step: str) -> None:
    pair = placed(home)
    for lease in (1, 2):
        pair.grant(lease)
        for key in (b"b1", b"b2", b"c1"):
            pair.put(key + b"%d" % lease, lease=lease)
    reach(pair, step)
    told: list[object] = []
    pair.begin_revoke(1, told.append)
    pair.settle(3)
    go_on(pair, step)
    if not told or getattr(told[0], "error", None) is not None:
        assert pair.revoke(1).error is None, "again, as the router does"
    pair.settle(2 * LEASE_RETRY_MS)
    nowhere(pair, 1)
    left = pair.read("shard-1", KeyRange(b"b", b"d"), pair.sequencer.revision)
    assert left.keys == [b"b12", b"b22", b"c12"], "the other lease's keys stay"
    assert pair.revoke(2).error is None
    nowhere(pair, 2)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("home", SHARDS)
def test_inv21_a_lease_that_expires_at_any_step_takes_its_keys(home: str, step: str) -> None:
    """Its end begins at the step, and nobody asks twice."""
    pair = placed(home)
    pair.grant(1, ttl_s=100)
    pair.put(b"b1", lease=1)
    pair.put(b"c1", lease=1)
    reach(pair, step)
    pair.clock.ms += 100_000
    pair.settle(5)
    go_on(pair, step)
    pair.settle(3 * LEASE_RETRY_MS)
    nowhere(pair, 1)
    assert not pair.read("shard-1", KeyRange(b"b", b"d"), pair.sequencer.revision).keys


@pytest.mark.parametrize("step", STEPS)
def test_inv21_a_lease_joined_at_any_step_is_known_where_its_keys_go(step: str) -> None:
    pair = placed("shard-2")
    pair.grant(1)
    reach(pair, step)
    reply = pair.put(b"b1", lease=1)
    assert reply.error is (errors.OTHER_MAP if step == "final" else None)
    go_on(pair, step)
    if step == "final":
        assert pair.put(b"b1", lease=1).error is None
    assert "shard-1" in pair.owned["shard-2"].leases.row(1).guests
    assert pair.revoke(1).error is None
    pair.settle(2 * LEASE_RETRY_MS)
    nowhere(pair, 1)


def test_inv21_a_lease_granted_between_two_freezes_is_not_lost() -> None:
    """A grant takes no revision. The target has missed that the freeze before was over."""
    pair = placed("shard-0")
    pair.move(SYSTEM, "shard-1")
    pair.lead(Phase.PREPARING, Phase.READY, Phase.FROZEN)
    assert pair.reports["shard-1"].ends
    pair.phase(Phase.READY, tell=False)
    pair.tell("shard-1")
    assert pair.grant(5).error is None
    pair.phase(Phase.FROZEN)
    pair.settle(300)
    pair.commit()
    assert pair.owned["shard-1"].leases.is_home(5)
    assert pair.put(b"b1", lease=5).error is None


def test_inv21_what_the_source_has_sealed_for_an_older_freeze_is_not_final() -> None:
    """The source has not heard that its freeze is over; it will grant leases when it does."""
    pair = placed("shard-0")
    pair.move(SYSTEM, "shard-1")
    pair.lead(Phase.PREPARING, Phase.READY)
    pair.phase(Phase.FROZEN, tell=False)
    pair.tell("shard-1")
    pair.settle(50)
    assert not pair.reports["shard-1"].ends, "the source is not sealed yet"
    pair.tell()
    pair.phase(Phase.READY, tell=False)
    pair.tell("shard-0")
    pair.phase(Phase.FROZEN, tell=False)
    pair.tell("shard-0")
    pair.settle(50)
    assert not pair.reports["shard-1"].ends, "of the freeze before"
    pair.tell()
    pair.settle(100)
    pair.commit()


@pytest.mark.parametrize(("home", "at"), [("shard-0", Phase.READY), ("shard-2", Phase.FROZEN)])
def test_inv21_a_key_does_not_come_while_its_lease_is_being_left(home: str, at: Phase) -> None:
    """The target visits the lease. It was told to leave before the copy was final, and would do so
    behind that: nobody would delete the key that came."""
    pair = placed(home)
    pair.grant(1)
    pair.put(b"b1", lease=1)
    pair.put(b"c1", lease=1)
    pair.move(MOVED, "shard-1")
    pair.lead(Phase.PREPARING, Phase.READY)
    slot = pair.owners["shard-1"]._writer
    slot.held = True
    told: list[object] = []
    for phase in (Phase.READY, Phase.FROZEN):
        pair.lead(phase)
        if phase is at:
            pair.begin_revoke(1, told.append)
            pair.settle(3)
    slot.held = False
    pair.settle(50)
    if not pair.reports["shard-1"].ends:
        pair.lead(Phase.READY)
        pair.begin_revoke(1, told.append)  # again, as the router does
        pair.settle(2 * LEASE_RETRY_MS)
        pair.lead(Phase.FROZEN)
    pair.commit()
    pair.lead(Phase.DRAINING, Phase.DONE)
    pair.begin_revoke(1, told.append)
    pair.settle(2 * LEASE_RETRY_MS)
    nowhere(pair, 1)
    assert not pair.read("shard-1", KeyRange(b"b", b"d"), pair.sequencer.revision).keys


@pytest.mark.parametrize("who", ["shard-0", "shard-1"])
def test_inv21_the_home_moves_and_both_restart(who: str) -> None:
    pair = placed("shard-0")
    pair.grant(1)
    for key in (b"a1", b"b1", b"c1", b"e1"):
        pair.put(key, lease=1)
    pair.move(SYSTEM, "shard-1")
    pair.lead(Phase.PREPARING, Phase.READY, Phase.FROZEN)
    pair.commit()
    pair.start(who)
    assert pair.owned["shard-1"].leases.row(1).guests == ("shard-0", "shard-2")
    assert not pair.owned["shard-0"].leases.is_home(1)
    pair.lead(Phase.DRAINING, Phase.DONE)
    pair.start(who)
    assert pair.revoke(1).error is None
    pair.settle(2 * LEASE_RETRY_MS)
    nowhere(pair, 1)


def test_inv21_keys_and_home_move_one_after_the_other() -> None:
    pair = placed("shard-0")
    pair.grant(1)
    pair.put(b"b1", lease=1)
    pair.move(MOVED, "shard-1")
    pair.switch()
    pair.move(SYSTEM, "shard-2")
    pair.switch()
    pair.put(b"a1", lease=1)
    pair.move(MOVED, "shard-2")
    pair.switch()
    assert pair.owned["shard-2"].leases.is_home(1)
    assert pair.revoke(1).error is None
    pair.settle(2 * LEASE_RETRY_MS)
    nowhere(pair, 1)


# -- shards that own nothing -----------------------------------------------------------------------


def drained() -> Moving:
    """shard-2 owned [e, ..), with keys of a lease, and owns nothing any more."""
    pair = placed("shard-0")
    pair.grant(1)
    pair.put(b"e1", lease=1)
    pair.move(5, "shard-1")
    pair.switch()
    assert not pair.owned["shard-2"].oepochs
    return pair


@APART
def test_a_drained_shard_has_not_lost_its_owner_epoch() -> None:
    """By it a killed process is told from one whose log was cut."""
    pair = placed("shard-0")
    for _ in range(3):
        pair.start("shard-2")
    reached = epoch(pair.engines["shard-2"])
    assert reached == 4
    pair.move(5, "shard-1")
    pair.switch()
    assert not pair.shown("shard-2").scan(b"f", b"g", 1), "no fence is left"
    assert epoch(pair.engines["shard-2"]) == reached


def test_inv21_a_drained_shard_leaves_every_lease() -> None:
    pair = drained()
    assert not len(pair.owned["shard-2"].leases)
    assert not pair.shown("shard-2").scan(b"e", b"f", 1), "durably"
    assert pair.revoke(1).error is None
    nowhere(pair, 1)


def test_inv21_of_more_leases_than_a_batch_may_hold_each_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(maps, "LEASES_WIPED", 2)
    pair = placed("shard-0")
    for lease in range(1, 6):
        pair.grant(lease)
        pair.put(b"e%d" % lease, lease=lease)
    assert len(pair.shown("shard-2").scan(b"e", b"f", 9)) > 2
    pair.move(5, "shard-1")
    pair.switch()
    assert not len(pair.owned["shard-2"].leases)
    assert not pair.engines["shard-2"].clone().scan(b"e", b"f", 1), "durably"


def test_a_drained_shard_runs_restarts_and_receives() -> None:
    pair = drained()
    pair.settle(50)
    pair.owners["shard-2"].begin_reign(2)
    assert pair.owners["shard-2"].status().tablets == 0
    pair.owned["shard-2"].cepoch = 1  # the reign goes on for the others of this test
    pair.start("shard-2")
    pair.settle(50)
    pair.move(5, "shard-2")
    pair.switch()
    assert pair.put(b"e2", lease=1).error is None
    assert pair.read("shard-2", KeyRange(b"e", None), pair.sequencer.revision).keys == [
        b"e1",
        b"e2",
    ]
    assert pair.revoke(1).error is None
    pair.settle(2 * LEASE_RETRY_MS)
    nowhere(pair, 1)


def test_a_shard_that_never_owned_anything_receives() -> None:
    base = Moving().tablets
    pair = Moving(base, SHARDS)
    pair.settle(20)
    pair.put(b"b1")
    pair.start("shard-2")
    pair.move(MOVED, "shard-2")
    pair.switch()
    assert pair.put(b"b2").error is None
    pair.start("shard-2")
    assert pair.read("shard-2", KeyRange(b"b", b"c"), pair.sequencer.revision).keys == [
        b"b1",
        b"b2",
    ]


def test_a_shard_that_owns_nothing_admits_nothing() -> None:
    pair = drained()
    told: list[object] = []
    pair.begin_revoke(1, told.append, at="shard-2")
    assert getattr(told[0], "error", None) is errors.OTHER_MAP
    left: list[object] = []
    pair.owners["shard-2"].lease_leave(1, left.append)
    assert left == [None]
