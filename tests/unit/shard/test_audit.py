"""The offline check: a true store passes, whatever its past; each rule that is broken is told."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubebraid.base.tabletmap import layout
from kubebraid.proto.kvwire import key_value
from kubebraid.shard import keycodec
from kubebraid.shard.audit import FINDINGS_MAX, Audit, Report
from kubebraid.shard.compaction import Compactor
from kubebraid.shard.keycodec import LogChange
from kubebraid.shard.storage.engine import Batch, EngineCorrupt
from kubebraid.shard.storage.memory import MemoryEngine
from tests.unit.shard.fakes import (
    PREFIXES,
    A,
    B,
    BreakableEngine,
    Stand,
    delete_call,
    grant_call,
    put_call,
    revoke_call,
    row,
)
from tests.unit.shard.stones import with_tombstones
from tests.unit.shard.test_counts import WRITES, Operation, call_of

LEASE = 77
ALL = (b"\x00", b"\xff")


def audit(engine: MemoryEngine, floor: int = -1) -> Report:
    made = Audit(engine, layout(PREFIXES), floor)
    for _ in made.run():
        pass
    return made.report


def compact(engine: MemoryEngine, floor: int) -> None:
    tablets = layout(PREFIXES).tablets
    compactor = Compactor(engine, {tablet.id: floor for tablet in tablets})
    compactor.compact(floor, None)
    while compactor.turn():
        pass


def lived() -> Stand:
    """Puts, deletions and a lease, up to revision 12; /a/x was put at 2, 3 and 9, /a/gone deleted
    at 5."""
    stand = Stand()
    stand.write(put_call(b"/a/x"), put_call(b"/a/x"), put_call(b"/a/gone"), delete_call(b"/a/gone"))
    stand.write(grant_call(LEASE, 600))
    stand.write(*[put_call(b"/b/%d" % number, lease=LEASE) for number in range(3)])
    stand.write(put_call(b"/a/x", b"last"), put_call(b"c"), put_call(b"/b/1", lease=LEASE))
    stand.write(put_call(b"/b/2"))
    assert stand.owned.known == 12
    return stand


# -- true stores -----------------------------------------------------------------------------------


def test_true_store_is_whole_and_told_in_figures() -> None:
    report = audit(lived().engine)
    assert report.findings == []
    assert (report.wrong, report.revision, report.floor) == (0, 12, -1)
    assert (report.keys, report.versions, report.revisions, report.leases) == (5, 5, 11, 1)
    assert report.stored_bytes > 500


@pytest.mark.parametrize("floor", range(-1, 13))
def test_store_from_before_is_whole(floor: int) -> None:
    stand = lived()
    assert with_tombstones(stand.engine) == 1
    assert audit(stand.engine, floor).versions == 6
    compact(stand.engine, floor)
    assert audit(stand.engine, floor).findings == []


def test_empty_store_that_was_served_is_whole() -> None:
    report = audit(Stand().engine)
    assert (report.wrong, report.revision, report.keys) == (0, 1, 0)


@settings(max_examples=100)
@given(
    batches=st.lists(WRITES, max_size=8),
    compacted=st.one_of(st.none(), st.floats(0, 1)),
    leased=st.booleans(),
)
def test_no_history_is_blamed(
    batches: list[list[list[Operation]]], compacted: float | None, leased: bool
) -> None:
    """Transactions that change a key many times, deletions, leases, and a compaction."""
    stand = Stand()
    if leased:
        stand.write(grant_call(LEASE, 600), put_call(b"/a/01", lease=LEASE))
    for writes in batches:
        stand.write(*[call_of(operations) for operations in writes])
    floor = -1
    if compacted is not None:
        floor = round(1 + compacted * (stand.owned.known - 1))
        compact(stand.engine, floor)
    assert audit(stand.engine, floor).findings == []
    if leased:
        stand.write(revoke_call(LEASE))
        assert audit(stand.engine, floor).findings == []


@pytest.mark.parametrize("floor", range(2, 13))
def test_removal_that_was_interrupted_is_no_damage(floor: int) -> None:
    """The floor is raised first; a crash leaves what lies below it, for the next start."""
    stand = lived()
    compact(stand.engine, floor - 1)
    assert audit(stand.engine, floor).findings == []


# -- damaged ones ----------------------------------------------------------------------------------


def put_row(engine: MemoryEngine, key: bytes, value: bytes) -> None:
    engine.write(Batch().put(key, value), sync=True)


def drop(engine: MemoryEngine, key: bytes) -> None:
    assert engine.get(key) is not None
    engine.write(Batch().delete(key), sync=True)


def newest_gone(engine: MemoryEngine) -> None:
    drop(engine, keycodec.newest(b"/a/x"))


def newest_old(engine: MemoryEngine) -> None:
    old = engine.get(keycodec.history(b"/a/x", 3))
    assert old is not None
    put_row(engine, keycodec.newest(b"/a/x"), old)


def newest_foreign(engine: MemoryEngine) -> None:
    other = engine.get(keycodec.newest(b"c"))
    assert other is not None
    put_row(engine, keycodec.newest(b"/a/x"), other)


def newest_bare(engine: MemoryEngine) -> None:
    put_row(engine, keycodec.newest(b"/a/x"), bytes(keycodec.ROW_HEADER_BYTES))


def newest_header(engine: MemoryEngine) -> None:
    value = bytearray(engine.get(keycodec.newest(b"/a/x")) or b"")
    value[7] ^= 1
    put_row(engine, keycodec.newest(b"/a/x"), bytes(value))


def newest_never(engine: MemoryEngine) -> None:
    put_row(engine, keycodec.newest(b"/a/new"), keycodec.pack_row(row(b"/a/new", 7)))


def newest_backwards(engine: MemoryEngine) -> None:
    put_row(engine, keycodec.newest(b"/a/x"), keycodec.pack_row(row(b"/a/x", 9, create=11)))


def newest_future(engine: MemoryEngine) -> None:
    put_row(engine, keycodec.newest(b"/a/x"), keycodec.pack_row(row(b"/a/x", 40)))


def version_gone(engine: MemoryEngine) -> None:
    drop(engine, keycodec.history(b"/a/x", 3))


def version_moved(engine: MemoryEngine) -> None:
    value = engine.get(keycodec.history(b"/a/x", 3))
    assert value is not None
    put_row(engine, keycodec.history(b"/a/x", 2), value)


def version_nameless(engine: MemoryEngine) -> None:
    put_row(engine, b"h/a/x", b"")


def tombstone_gone(engine: MemoryEngine) -> None:
    with_tombstones(engine)
    drop(engine, keycodec.history(b"/a/gone", 5))


def end_at(engine: MemoryEngine, revision: int) -> None:
    stored = keycodec.history(b"/a/gone", 4)
    value = engine.get(stored)
    assert value is not None
    row, ended = keycodec.unpack_superseded(value)
    assert (row.mod, ended) == (4, 5)
    put_row(engine, stored, keycodec.pack_row(row, revision))


def end_gone(engine: MemoryEngine) -> None:
    end_at(engine, 0)


def end_late(engine: MemoryEngine) -> None:
    end_at(engine, 7)


def end_future(engine: MemoryEngine) -> None:
    end_at(engine, 40)


def end_backwards(engine: MemoryEngine) -> None:
    end_at(engine, 5)
    stored = keycodec.history(b"/a/gone", 4)
    value = bytearray(engine.get(stored) or b"")
    value[keycodec.ROW_HEADER_BYTES + 7] = 3
    put_row(engine, stored, bytes(value))


def end_of_the_newest(engine: MemoryEngine) -> None:
    put_row(engine, keycodec.newest(b"/a/x"), keycodec.pack_row(row(b"/a/x", 9), 10))


def end_cut(engine: MemoryEngine) -> None:
    value = engine.get(keycodec.history(b"/a/gone", 4)) or b""
    put_row(engine, keycodec.history(b"/a/gone", 4), value[: keycodec.ROW_HEADER_BYTES + 5])


def tombstone_never(engine: MemoryEngine) -> None:
    put_row(engine, keycodec.history(b"/a/gone", 7), b"")


def log_gone(engine: MemoryEngine) -> None:
    drop(engine, keycodec.log(A, 9))


def log_of_deletion_gone(engine: MemoryEngine) -> None:
    drop(engine, keycodec.log(A, 5))


def log_cut(engine: MemoryEngine) -> None:
    value = engine.get(keycodec.log(A, 9))
    assert value is not None
    put_row(engine, keycodec.log(A, 9), value[:-1])


def log_empty(engine: MemoryEngine) -> None:
    put_row(engine, keycodec.log(A, 9), b"")


def log_elsewhere(engine: MemoryEngine) -> None:
    changes = [LogChange(b"/a/x", False, 0, 0), LogChange(b"/b/0", False, 0, 0)]
    put_row(engine, keycodec.log(A, 9), keycodec.pack_changes(changes))


def log_before(engine: MemoryEngine) -> None:
    changes = [LogChange(b"/a/x", False, 0, 2)]
    put_row(engine, keycodec.log(A, 9), keycodec.pack_changes(changes))


def log_future(engine: MemoryEngine) -> None:
    changes = [LogChange(b"/a/x", False, 0, 0)]
    put_row(engine, keycodec.log(A, 99), keycodec.pack_changes(changes))


def fence_gone(engine: MemoryEngine) -> None:
    drop(engine, keycodec.fence(A))


def fence_flipped(engine: MemoryEngine) -> None:
    value = bytearray(engine.get(keycodec.fence(A)) or b"")
    value[15] ^= 1
    put_row(engine, keycodec.fence(A), bytes(value))


def fence_short(engine: MemoryEngine) -> None:
    put_row(engine, keycodec.fence(A), b"short")


def fence_old(engine: MemoryEngine) -> None:
    other = engine.get(keycodec.fence(1))
    assert other is not None
    put_row(engine, keycodec.fence(A), other)


def lease_gone(engine: MemoryEngine) -> None:
    drop(engine, keycodec.lease(LEASE))


def attachment_gone(engine: MemoryEngine) -> None:
    drop(engine, keycodec.attachment(LEASE, b"/b/0"))


def attachment_stale(engine: MemoryEngine) -> None:
    put_row(engine, keycodec.attachment(LEASE, b"/b/2"), b"")


Plant = Callable[[MemoryEngine], None]
PLANTS: tuple[tuple[Plant, str], ...] = (
    (newest_gone, "the log names b'/a/x' at 9, and no such row is there"),
    (newest_old, "the log names b'/a/x' at 9"),
    (newest_foreign, "the row of b'/a/x' at 10 does not hold what its header says"),
    (newest_bare, "the row of b'/a/x' is cut short"),
    (newest_header, "the row of b'/a/x' at 8 does not hold what its header says"),
    (newest_never, "the row of b'/a/new' at 7 is not in the log"),
    (newest_backwards, "has version 1 and was created at 11"),
    (newest_future, "b'/a/x' was written at 40, its tablet's fence says 9"),
    (version_gone, "the log names b'/a/x' at 3"),
    (version_moved, "the version of b'/a/x' at 2 says 3"),
    (version_nameless, "b'h/a/x' is no name of an older version"),
    (tombstone_gone, "the log names b'/a/gone' at 5"),
    (end_gone, "the log names b'/a/gone' at 5"),
    (end_late, "the row of b'/a/gone' at 7 is not in the log"),
    (end_future, "b'/a/gone' was written at 40, its tablet's fence says 9"),
    (end_backwards, "the version of b'/a/gone' at 4 was ended at 3"),
    (end_of_the_newest, "the newest row of b'/a/x' was ended at 10"),
    (end_cut, "the row of b'/a/gone' is cut short"),
    (tombstone_never, "the row of b'/a/gone' at 7 is not in the log"),
    (log_gone, "the row of b'/a/x' at 9 is not in the log"),
    (log_of_deletion_gone, "the row of b'/a/gone' at 5 is not in the log"),
    (log_cut, f"the log of tablet {A} cannot be read at 9"),
    (log_empty, f"the log of tablet {A} cannot be read at 9"),
    (log_elsewhere, f"the log of tablet {A} names b'/b/0', which is another's"),
    (log_future, f"the log of tablet {A} tells of 99, its fence of 9"),
    (fence_gone, "the fence row of tablet a is missing"),
    (fence_flipped, "fails its checksum"),
    (fence_short, "a fence row has 5 bytes"),
    (fence_old, "its tablet's fence says 1"),
    (lease_gone, "has the lease 4d, which is gone"),
    (attachment_gone, "b'/b/0' is not attached to its lease 4d"),
    (attachment_stale, "a lease holds b'/b/2', and the key does not say so"),
)


@pytest.mark.parametrize(
    ("plant", "sentence"), PLANTS, ids=lambda value: getattr(value, "__name__", "")
)
def test_each_planted_damage_is_told(plant: Plant, sentence: str) -> None:
    engine = lived().engine
    plant(engine)
    report = audit(engine)
    assert report.wrong >= 1
    assert any(sentence in told for told in report.findings), report.findings


def test_row_of_yesterday_is_found_below_the_floor_too() -> None:
    """There the log is gone, and only the older version above it tells."""
    stand = lived()
    stale = stand.engine.get(keycodec.history(b"/a/x", 2))
    assert stale is not None
    put_row(stand.engine, keycodec.newest(b"/a/x"), stale)
    assert audit(stand.engine, 12).findings == [
        "an older version of b'/a/x' is newer than its row at 2"
    ]


def test_findings_are_counted_and_the_first_ones_told() -> None:
    stand = Stand()
    stand.write(*[put_call(b"/a/%03d" % number) for number in range(50)])
    for number in range(50):
        drop(stand.engine, keycodec.newest(b"/a/%03d" % number))
    report = audit(stand.engine)
    assert (report.wrong, len(report.findings)) == (50, FINDINGS_MAX)


def test_row_that_the_engine_cannot_read_ends_the_audit() -> None:
    """Its own checksum says more than any rule of ours."""
    engine = BreakableEngine()
    stand = Stand(engine=engine)
    stand.write(put_call(b"/a/x"))
    engine.faults[keycodec.newest(b"/a/x")] = EngineCorrupt("checksum")
    with pytest.raises(EngineCorrupt):
        audit(engine)


# -- random damage ---------------------------------------------------------------------------------

WAYS = ("gone", "cut", "longer", "garbage", "empty", "another's")


def spoil(engine: MemoryEngine, random: Random, way: str) -> bytes | None:
    """Damage one row; its key, or None where nothing changed."""
    rows = engine.scan(*ALL, 1_000)
    key, value = random.choice(rows)
    if way == "gone":
        drop(engine, key)
        return key
    wrong = {
        "cut": value[: random.randrange(len(value))] if value else value,
        "longer": value + random.randbytes(3),
        "garbage": random.randbytes(len(value)),
        "empty": b"",
        "another's": random.choice([other for stored, other in rows if stored[:1] == key[:1]]),
    }[way]
    put_row(engine, key, wrong)
    return None if wrong == value else key


@pytest.mark.parametrize(
    ("floor", "way"), [*((-1, way) for way in WAYS), *((6, way) for way in WAYS[:-1])]
)
def test_any_damaged_row_is_found_and_none_is_a_crash(floor: int, way: str) -> None:
    """What no rule ties to anything, and so is not found: a lease's TTL, a lease without keys, the
    fence of an empty tablet at another's revision, and below the floor a key that is gone, the
    older versions and the log."""
    found = 0
    for seed in range(120):
        stand, random = lived(), Random(f"{way} {seed}")
        key = spoil(stand.engine, random, way)
        report = audit(stand.engine, floor)
        untied = b"ek" + b"nhl" * (floor >= 0) + b"f" * (way == "another's")
        if key is None or key[:1] in untied:
            continue
        assert report.wrong, (key, way)
        found += 1
    assert found >= 4, "there was enough to be found"


def test_key_that_is_garbage_is_no_crash() -> None:
    for seed in range(200):
        stand, random = lived(), Random(seed)
        kind = random.choice(b"nhlfke")
        name = bytes([kind]) + random.randbytes(random.choice((0, 1, 5, 9, 13, 20)))
        put_row(stand.engine, name, random.randbytes(random.choice((0, 3, 32, 40, 90))))
        report = audit(stand.engine)
        if kind in b"nhk":
            assert report.wrong, name


def test_audit_reads_values_that_are_no_messages() -> None:
    """Protobuf has an error of its own for these."""
    stand = lived()
    header = keycodec.pack_row(row(b"/a/x", 9))[: keycodec.ROW_HEADER_BYTES]
    for raw in (b"\x0a", b"\x0a\xff", b"\xff" * 30, key_value(b"/a/x", 9, 9, 1, b"v", 0)[:-1]):
        put_row(stand.engine, keycodec.newest(b"/a/x"), header + raw)
        assert audit(stand.engine).wrong


def test_one_tablet_whose_fence_is_lost_does_not_hide_the_others() -> None:
    stand = lived()
    fence_gone(stand.engine)
    drop(stand.engine, keycodec.log(B, 11))
    findings = audit(stand.engine).findings
    assert any("fence row" in told for told in findings)
    assert any("b'/b/1' at 11 is not in the log" in told for told in findings)
