"""A tablet moves, splits and merges under random writes: what arrives is what was there.

What it is: random histories on the source while the copy runs, piece by piece; then the switch, and
a comparison of every stored row. What it is not: the coordinators' decisions, or links (tests/sim).
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubebraid.base import errors
from kubebraid.base.keyspace import KeyRange
from kubebraid.base.ports import WRITE_LEASE_REVOKE, WriteCall, WriteReply
from kubebraid.base.reshard import Kind, Phase
from kubebraid.base.tabletmap import Tablet, TabletMap
from kubebraid.proto import requests
from kubebraid.shard.reshard import copier as copier_module
from tests.moving import MOVED, SYSTEM, Moving
from tests.moving_steps import KEYS, WORDS, Ops, act
from tests.unit.shard.stones import with_tombstones

OPS = st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(KEYS)), max_size=60)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copier_module, "COPY_PIECE_BYTES_MAX", 200)


@settings(max_examples=60, deadline=None)
@given(OPS, OPS, OPS, st.booleans())
def test_inv05_a_move_brings_every_row(before: Ops, during: Ops, late: Ops, aged: bool) -> None:
    pair = Moving()
    act(pair, *before)
    if aged:
        with_tombstones(pair.engines["shard-0"])  # a program from before wrote it so far
    pair.move(MOVED, "shard-1")
    pair.phase(Phase.PREPARING)
    act(pair, *during)
    pair.settle(400)
    assert pair.reports["shard-1"].verified
    pair.phase(Phase.READY)
    act(pair, *late)
    before_switch = {**pair.rows("shard-0")}
    pair.phase(Phase.FROZEN)
    assert pair.put(KEYS[0]).error is errors.OTHER_MAP, "sealed"
    pair.settle(200)
    assert pair.rows("shard-0") == before_switch, "a sealed tablet does not change"
    assert pair.reports["shard-1"].ends, "final"
    pair.commit()
    assert pair.rows("shard-1") == before_switch
    assert pair.log("shard-1", MOVED) == pair.log("shard-0", MOVED)
    act(pair, *late)
    pair.phase(Phase.DRAINING)
    pair.settle(300)
    assert pair.reports["shard-0"].served, "clean"
    assert not pair.rows("shard-0"), "nothing is left behind"
    assert not pair.log("shard-0", MOVED)
    pair.phase(Phase.DONE)
    pair.settle(50)
    assert not pair.cells("shard-0") | pair.cells("shard-1")
    for lease in (1, 2):
        pair.revoke(lease)
    assert not pair.rows("shard-1", b"k"), "no key outlives its lease"


@settings(max_examples=40, deadline=None)
@given(OPS, OPS, st.booleans())
def test_inv07_a_split_cuts_the_log_by_its_keys(before: Ops, during: Ops, aged: bool) -> None:
    pair = Moving()
    act(pair, *before)
    if aged:
        with_tombstones(pair.engines["shard-0"])
    moved = pair.tablets.by_id()[MOVED]
    left = replace(moved, id=11, name="left", span=KeyRange(b"b", b"b3"))
    right = replace(moved, id=12, name="right", span=KeyRange(b"b3", b"c"))
    pair.plan(Kind.SPLIT, "shard-0", (MOVED,), left, right)
    pair.phase(Phase.PREPARING)
    act(pair, *during)
    pair.settle(300)
    pair.phase(Phase.READY)
    pair.phase(Phase.FROZEN)
    pair.settle(100)
    rows, log = pair.rows("shard-0"), pair.log("shard-0", MOVED)
    pair.commit()
    assert pair.rows("shard-0") == rows
    assert set(pair.log("shard-0", 11)) | set(pair.log("shard-0", 12)) == set(log)
    pair.put(b"b1")
    pair.put(b"b5")
    pair.phase(Phase.DRAINING)
    pair.settle(50)
    assert not pair.log("shard-0", MOVED), "the parent's log is gone"
    # And together again: the log is what it was, with what was written since.
    joined = replace(moved, id=13, name="joined")
    written = pair.log("shard-0", 11).keys() | pair.log("shard-0", 12).keys()
    pair.phase(Phase.DONE)
    pair.plan(Kind.MERGE, "shard-0", (11, 12), joined)
    for phase in (Phase.PREPARING, Phase.READY, Phase.FROZEN):
        pair.phase(phase)
        pair.settle(200)
    pair.commit()
    merged = pair.log("shard-0", 13)
    assert merged.keys() == written
    assert {revision: merged[revision] for revision in log} == log


def test_inv21_the_home_of_leases_moves() -> None:
    pair = Moving()
    pair.grant(1)
    pair.put(b"b1", lease=1)
    pair.put(b"c1", lease=1)
    pair.put(b"a1", lease=1)
    pair.move(SYSTEM, "shard-1")
    pair.phase(Phase.PREPARING)
    pair.settle(200)
    pair.phase(Phase.READY)
    pair.phase(Phase.FROZEN)
    assert pair.grant(2).error is errors.OTHER_MAP
    pair.settle(100)
    pair.commit()
    assert pair.owned["shard-1"].leases.is_home(1)
    assert not pair.owned["shard-0"].leases.is_home(1)
    pair.phase(Phase.DRAINING)
    pair.settle(50)
    revoke = pair.tablets.tablet_of(b"a")
    assert revoke.shard == "shard-1"
    told = _revoked(pair, 1)
    assert told.error is None
    pair.settle(50)
    for name, owner in pair.owners.items():
        assert 1 not in pair.owned[name].leases, name
        assert not [*pair.engines[name].scan(b"k", b"l", 10)], owner


def _revoked(pair: Moving, lease: int) -> WriteReply:
    told: list[WriteReply] = []
    payload = requests.encode_lease_revoke(lease)
    call = WriteCall(WRITE_LEASE_REVOKE, payload, (), pair.tablets.version, object())
    pair.owners["shard-1"].submit([call], told.append)
    pair.settle(50)
    return told[0]


def test_buckets_hide_what_is_not_ours() -> None:
    """Two buckets on one shard; one leaves, and its rows are seen by nobody here."""
    base = Moving().tablets
    moved = base.by_id()[MOVED]
    halves = [Tablet(21 + n, f"half.{n}", moved.span, "shard-0", 1, n, 2) for n in range(2)]
    tablets = TabletMap(1, (base.tablets[0], *halves, base.tablets[2]))
    pair = Moving(tablets)
    for n in range(40):
        pair.put(b"b%02d" % n)
    pair.move(22, "shard-1")
    pair.phase(Phase.PREPARING)
    pair.settle(300)
    assert pair.reports["shard-1"].verified
    pair.phase(Phase.FROZEN)
    pair.settle(100)
    pair.commit()
    ours = [n for n in range(40) if pair.tablets.tablet_of(b"b%02d" % n).id == 21]
    counts = pair.owners["shard-0"]._counts
    pair.phase(Phase.DRAINING)
    pair.settle(5)
    assert counts.known(KeyRange(b"b", b"c")) == len(ours)
    assert pair.owners["shard-1"]._counts.known(KeyRange(b"b", b"c")) == 40 - len(ours)


def test_a_busy_source_is_copied_at_the_first_try() -> None:
    """What is overwritten while everything is being copied makes no two versions of one."""
    pair = Moving()
    for n in range(40):
        pair.put(b"b%02d" % n)
    pair.move(MOVED, "shard-1")
    pair.phase(Phase.PREPARING)
    for n in range(400):
        pair.put(b"b%02d" % (n * 7 % 40), b"again %d" % n)
    (copier,) = pair.owners["shard-1"]._moves._copiers.values()
    assert copier._tries == 0
    pair.settle(100)
    assert pair.reports["shard-1"].verified
