"""Tablets move, split and merge between shards that share rows: no row of a key is written for it.

What it is: the two shards of tests/moving.py on one row space, random writes at each step, and who
wrote what. What it is not: the copy between stores (test_reshard_copy.py), a source that has not
heard of the new map (test_reshard_lag.py), or TiKV (tests/contract/test_tikv_shared.py).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubebraid.base import errors
from kubebraid.base.keyspace import KeyRange
from kubebraid.base.reshard import Kind, Phase
from kubebraid.base.tabletmap import Tablet, TabletMap
from kubebraid.coordinator.phases import sent_back
from kubebraid.shard import fencing, keycodec
from kubebraid.shard.fencing import Fence
from kubebraid.shard.reshard import copier as copier_module
from kubebraid.shard.storage.engine import DELETE_RANGE, Batch
from kubebraid.shard.storage.tikv_errors import EngineFenced
from tests import moving
from tests.moving import MOVED, SYSTEM, Moving
from tests.moving_steps import KEYS, WORDS, Ops, act
from tests.shared_rows import Journal, Sharing, engines_that_share

OPS = st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(KEYS)), max_size=40)
Rows: TypeAlias = dict[bytes, bytes]
LEFT, RIGHT, JOINED = 11, 12, 13


@pytest.fixture(autouse=True)
def one_row_space(monkeypatch: pytest.MonkeyPatch) -> None:
    """And small pieces."""
    monkeypatch.setattr(moving, "engines_of", engines_that_share)
    monkeypatch.setattr(copier_module, "COPY_PIECE_BYTES_MAX", 100)


# -- what is stored, and who wrote it --------------------------------------------------------------


def journal(pair: Moving) -> Journal:
    engine = pair.engines["shard-0"]
    assert isinstance(engine, Sharing)
    return engine.journal


def is_of(stored: bytes, tablets: tuple[int, ...]) -> bool:
    """Whether it is a row of a key of [b, c), or a log row of one of these."""
    match stored[:1]:
        case b"n":
            return stored[1:2] == b"b"
        case b"h":
            return keycodec.split_history(stored)[0][:1] == b"b"
        case b"k":
            return keycodec.attached_key(stored)[:1] == b"b"
        case b"l":
            return int.from_bytes(stored[1:5], "big") in tablets
        case _:
            return False


def space(pair: Moving, *tablets: int) -> Rows:
    """The rows of [b, c) and the logs of some tablets, as whoever comes next would find them."""
    reader = Sharing()
    reader.join(journal(pair))
    rows = reader.scan(b"", b"\xff", 1_000_000)
    return {stored: value for stored, value in rows if is_of(stored, tablets)}


def written(pair: Moving, name: str, since: int, *tablets: int) -> list[bytes]:
    """Of the same rows, and the fences of the tablets: those that a shard has written."""
    made = journal(pair)
    fences = {keycodec.fence(tablet) for tablet in tablets}
    found = []
    for (kind, key, _), by in list(zip(made.operations, made.by, strict=True))[since:]:
        if by is pair.engines[name]:
            assert kind != DELETE_RANGE or key[:1] == b"l", "only a sweep of a log"
            if key in fences or is_of(key, tablets):
                found.append(key)
    return found


def fence(pair: Moving, tablet: int) -> Fence | None:
    raw = journal(pair).guarded.get(keycodec.fence(tablet))
    return None if raw is None else fencing.unpack(raw)


def refused(pair: Moving, name: str, tablet: int) -> None:
    """What a shard that has a tablet no more would write for it."""
    known = pair.tablets.by_id()[tablet]
    last = pair.sequencer.sample().last[tablet]
    late = Fence(known.oepoch - 1, last + 1, 99)
    batch = Batch().put(b"nb-late", b"").put(keycodec.fence(tablet), late.pack())
    before = len(journal(pair).operations)
    with pytest.raises(EngineFenced):
        pair.engines[name].write(batch, sync=True)
    assert len(journal(pair).operations) == before, "none of it is there"


def taken(pair: Moving, tablet: int, before: Fence | None) -> None:
    """The fence goes on behind what it was, as the map says."""
    assert before is not None
    known = pair.tablets.by_id()[tablet]
    assert known.oepoch > before.oepoch
    assert known.begin >= before.last
    assert fence(pair, tablet) == Fence(known.oepoch, known.begin, before.nonce + 1)


def ended(pair: Moving) -> None:
    """At the end nothing of a migration is left, and each lease takes its keys with it."""
    pair.lead(Phase.DRAINING)
    assert pair.reports[pair.migration.source].served, "clean"
    pair.lead(Phase.DONE)
    assert not pair.cells("shard-0") | pair.cells("shard-1")


def without_leases(pair: Moving) -> None:
    for lease in (1, 2):
        pair.revoke(lease)
    pair.settle(50)
    assert not [stored for stored in space(pair) if stored[:1] == b"k"]


# -- moves -----------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(OPS, OPS, OPS)
def test_inv05_a_move_writes_no_row_of_a_key(before: Ops, during: Ops, late: Ops) -> None:
    pair = Moving()
    act(pair, *before)
    start = len(journal(pair).operations)
    pair.move(MOVED, "shard-1")
    pair.phase(Phase.PREPARING)
    act(pair, *during)
    pair.settle(400)
    assert pair.reports["shard-1"].verified
    pair.phase(Phase.READY)
    act(pair, *late)
    rows, source = space(pair, MOVED), fence(pair, MOVED)
    pair.phase(Phase.FROZEN)
    assert pair.put(KEYS[0]).error is errors.OTHER_MAP, "sealed"
    pair.settle(200)
    assert pair.reports["shard-1"].ends, "final"
    assert pair.reports["shard-1"].rows == 0, "nothing was copied"
    assert (space(pair, MOVED), fence(pair, MOVED)) == (rows, source)
    assert not written(pair, "shard-1", start, MOVED), "before the adoption"
    pair.commit()
    assert space(pair, MOVED) == rows
    assert written(pair, "shard-1", start, MOVED) == [keycodec.fence(MOVED)], "the adoption"
    taken(pair, MOVED, source)
    refused(pair, "shard-0", MOVED)
    behind = len(journal(pair).operations)
    act(pair, *late)
    rows = space(pair, MOVED)
    ended(pair)
    assert space(pair, MOVED) == rows, "nothing is swept"
    assert not written(pair, "shard-0", behind, MOVED)
    without_leases(pair)


@settings(max_examples=30, deadline=None)
@given(OPS, OPS, OPS)
def test_inv05_a_manual_move_is_reversed(before: Ops, there: Ops, late: Ops) -> None:
    pair = Moving()
    act(pair, *before)
    pair.move(MOVED, "shard-1")
    pair.phase(Phase.PREPARING, manual=True)
    pair.settle(300)
    pair.lead(Phase.READY, Phase.FROZEN)
    pair.commit()
    gone = len(journal(pair).operations)
    pair.phase(Phase.DRAINING)
    act(pair, *there)
    pair.settle(300)
    assert pair.reports["shard-0"].verified, "it may turn back"
    pair.migrations = (sent_back(pair.migration),)
    pair.tell()
    act(pair, *late)
    pair.settle(100)
    rows, source = space(pair, MOVED), fence(pair, MOVED)
    pair.lead(Phase.FROZEN)
    assert space(pair, MOVED) == rows
    assert not written(pair, "shard-0", gone, MOVED)
    pair.commit()
    assert space(pair, MOVED) == rows
    taken(pair, MOVED, source)
    refused(pair, "shard-1", MOVED)
    act(pair, *late)
    ended(pair)
    without_leases(pair)


@settings(max_examples=30, deadline=None)
@given(OPS, OPS)
def test_inv21_the_home_of_leases_moves(before: Ops, during: Ops) -> None:
    pair = Moving()
    act(pair, *before)
    for lease in (1, 2, 3):
        pair.grant(lease)
    pair.put(b"b1", lease=1)
    pair.put(b"c1", lease=1)
    pair.put(b"a1", lease=1)
    pair.move(SYSTEM, "shard-1")
    pair.phase(Phase.PREPARING)
    act(pair, *during)
    pair.settle(300)
    pair.lead(Phase.READY, Phase.FROZEN)
    source = fence(pair, SYSTEM)
    assert pair.grant(4).error is errors.OTHER_MAP
    homes = {lease for lease in (1, 2, 3) if pair.owned["shard-0"].leases.is_home(lease)}
    assert 3 in homes
    pair.commit()
    taken(pair, SYSTEM, source)
    refused(pair, "shard-0", SYSTEM)
    for lease in homes:
        assert pair.owned["shard-1"].leases.is_home(lease)
        assert not pair.owned["shard-0"].leases.is_home(lease)
    act(pair, *during)
    ended(pair)
    pair.revoke(3)
    without_leases(pair)
    for name in pair.owners:
        assert not set(pair.owned[name].leases.ids(visits=True)), name


def halves() -> Moving:
    """[b, c) in two buckets of shard-0."""
    base = Moving().tablets
    span = base.by_id()[MOVED].span
    cut = [Tablet(21 + n, f"half.{n}", span, "shard-0", 1, n, 2) for n in range(2)]
    return Moving(TabletMap(1, (base.tablets[0], *cut, base.tablets[2])))


@settings(max_examples=30, deadline=None)
@given(OPS, OPS, OPS)
def test_inv05_of_two_buckets_one_moves_with_its_keys(before: Ops, during: Ops, late: Ops) -> None:
    pair = halves()
    act(pair, *before)
    start = len(journal(pair).operations)
    pair.move(22, "shard-1")
    pair.phase(Phase.PREPARING)
    act(pair, *during)
    pair.settle(300)
    pair.lead(Phase.READY, Phase.FROZEN)
    rows, source = space(pair, 21, 22), fence(pair, 22)
    assert not written(pair, "shard-1", start, 21, 22)
    pair.commit()
    assert space(pair, 21, 22) == rows
    taken(pair, 22, source)
    for op in late:
        act(pair, op)
    pair.lead(Phase.DRAINING)
    buckets(pair)
    ended(pair)
    without_leases(pair)


def buckets(pair: Moving) -> None:
    """Each shard shows and counts the keys of its bucket."""
    pair.settle(5)
    span = KeyRange(b"b", b"c")
    live = [stored[1:] for stored in space(pair) if stored[:1] == b"n"]
    newest = pair.sequencer.revision
    for name in pair.owners:
        mine = sorted(key for key in live if pair.tablets.tablet_of(key).shard == name)
        assert pair.read(name, span, newest).keys == mine
        assert pair.owners[name]._counts.known(span) == len(mine)


# -- splits and merges -----------------------------------------------------------------------------


def split(pair: Moving) -> None:
    moved = replace(pair.tablets.by_id()[MOVED], shard="shard-1")
    left = replace(moved, id=LEFT, name="left", span=KeyRange(b"b", b"b3"))
    right = replace(moved, id=RIGHT, name="right", span=KeyRange(b"b3", b"c"))
    pair.plan(Kind.SPLIT, "shard-1", (MOVED,), left, right)


def logged(rows: Rows, *tablets: int) -> dict[int, dict[int, bytes]]:
    """tablet -> revision -> its log row."""
    found: dict[int, dict[int, bytes]] = {tablet: {} for tablet in tablets}
    for stored, value in rows.items():
        if stored[:1] == b"l":
            found[int.from_bytes(stored[1:5], "big")][keycodec.log_revision(stored)] = value
    return found


def keys_only(rows: Rows) -> Rows:
    return {stored: value for stored, value in rows.items() if stored[:1] != b"l"}


@settings(max_examples=40, deadline=None)
@given(OPS, OPS, OPS)
def test_inv07_a_tablet_is_split_to_another_shard_and_merged_back(
    before: Ops, during: Ops, late: Ops
) -> None:
    pair = Moving()
    act(pair, *before)
    start = len(journal(pair).operations)
    split(pair)
    pair.phase(Phase.PREPARING)
    act(pair, *during)
    pair.settle(400)
    pair.lead(Phase.READY, Phase.FROZEN)
    rows = space(pair, MOVED)
    assert not keys_written(written(pair, "shard-1", start, MOVED)), "nothing of the parent"
    assert not keys_written(written(pair, "shard-1", start, LEFT, RIGHT)), "but the log"
    pair.commit()
    assert space(pair, MOVED) == rows
    log = logged(rows, MOVED)[MOVED]
    halves = logged(space(pair, LEFT, RIGHT), LEFT, RIGHT)
    assert halves[LEFT].keys() | halves[RIGHT].keys() == log.keys()
    for revision, value in log.items():
        parts = {t: keycodec.unpack_changes(halves[t].get(revision, b"")) for t in (LEFT, RIGHT)}
        assert all(change.key < b"b3" for change in parts[LEFT])
        assert all(change.key >= b"b3" for change in parts[RIGHT])
        assert sorted(parts[LEFT] + parts[RIGHT]) == sorted(keycodec.unpack_changes(value))
    for tablet in (LEFT, RIGHT):
        known = pair.tablets.by_id()[tablet]
        assert fence(pair, tablet) == Fence(known.oepoch, known.begin, 1)
        refused(pair, "shard-0", tablet)
    act(pair, *late)
    ended(pair)
    assert not logged(space(pair, MOVED), MOVED)[MOVED], "the parent's log is gone"
    assert fence(pair, MOVED) is None
    merged_back(pair, log, late)


def keys_written(stored: list[bytes]) -> list[bytes]:
    return [key for key in stored if key[:1] in (b"n", b"h", b"k")]


def merged_back(pair: Moving, log: dict[int, bytes], during: Ops) -> None:
    start = len(journal(pair).operations)
    span = KeyRange(b"b", b"c")
    joined = replace(
        pair.tablets.by_id()[LEFT], id=JOINED, name="joined", span=span, shard="shard-0"
    )
    pair.plan(Kind.MERGE, "shard-0", (LEFT, RIGHT), joined)
    pair.phase(Phase.PREPARING)
    act(pair, *during)
    pair.settle(400)
    pair.lead(Phase.READY, Phase.FROZEN)
    rows = space(pair, LEFT, RIGHT)
    assert not keys_written(written(pair, "shard-0", start, LEFT, RIGHT, JOINED))
    pair.commit()
    assert keys_only(space(pair)) == keys_only(rows)
    whole = logged(space(pair, JOINED), JOINED)[JOINED]
    halves = logged(rows, LEFT, RIGHT)
    assert whole.keys() == halves[LEFT].keys() | halves[RIGHT].keys()
    assert {revision: whole[revision] for revision in log} == log, "as it was"
    ended(pair)
    assert not any(logged(space(pair, LEFT, RIGHT), LEFT, RIGHT).values())
    assert fence(pair, LEFT) is fence(pair, RIGHT) is None
    act(pair, *during)
    without_leases(pair)


# -- ways back -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Kind.MOVE, Kind.SPLIT])
@pytest.mark.parametrize("turns", [0, 1, 2, 5, 20, 300, "ready", "frozen", "final"])
def test_inv18_an_aborted_one_leaves_the_space_as_it_was(kind: Kind, turns: int | str) -> None:
    pair = Moving()
    for n, key in enumerate(KEYS * 3):
        act(pair, (WORDS[n % 5], key), ("other", key))
    rows, source = space(pair, MOVED, LEFT, RIGHT), fence(pair, MOVED)
    start = len(journal(pair).operations)
    if kind is Kind.MOVE:
        pair.move(MOVED, "shard-1")
    else:
        split(pair)
    pair.phase(Phase.PREPARING)
    pair.settle(turns if isinstance(turns, int) else 300)
    if isinstance(turns, str):
        pair.lead(Phase.READY)
        pair.phase(Phase.READY if turns == "ready" else Phase.FROZEN)
        pair.settle(1 if turns == "frozen" else 300)
        assert bool(pair.reports["shard-1"].ends) is (turns == "final")
    pair.abort()
    assert (space(pair, MOVED, LEFT, RIGHT), fence(pair, MOVED)) == (rows, source)
    assert not written(pair, "shard-1", start, MOVED)
    assert fence(pair, LEFT) is fence(pair, RIGHT) is None
    assert not pair.cells("shard-0") | pair.cells("shard-1")
    pair.migrations = ()
    pair.tell()
    act(pair, *[("put", key) for key in KEYS])
    pair.start("shard-1")
    pair.start("shard-0")
    act(pair, *[("twice", key) for key in KEYS])
    pair.move(MOVED, "shard-1")
    pair.switch()
    act(pair, *[("put", key) for key in KEYS])
    without_leases(pair)
