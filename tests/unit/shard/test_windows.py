"""What a shard is shown of rows that all shards have, against a row by row oracle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubebraid.base.across import TxnId
from kubebraid.base.keyspace import KeyRange
from kubebraid.base.tabletmap import Tablet, TabletMap
from kubebraid.shard import keycodec
from kubebraid.shard.storage.engine import Batch, Reader
from kubebraid.shard.storage.memory import MemoryEngine
from kubebraid.shard.storage.tikv_errors import EngineFenced
from kubebraid.shard.windows import WindowedEngine, Windows, window
from tests.shared_rows import Journal, Sharing, engines_that_share

US = "shard-0"
SHARDS = (US, "shard-1", "shard-2")
LAST = b"\xff" * 16
ALL = 1_000

# Bytes that are special in some kind of row: the escape and its marks, and the highest one.
KEYS = st.lists(st.sampled_from(b"\x00\x01ab\xfe\xff"), min_size=1, max_size=3).map(bytes)
STORED = st.one_of(
    KEYS.map(keycodec.newest),
    st.builds(keycodec.history, KEYS, st.integers(1, 9), st.sampled_from([0, keycodec.LAST_SUB])),
    st.builds(keycodec.attachment, st.sampled_from([1, 7, -1]), KEYS),
    st.builds(keycodec.log, st.integers(1, 14), st.integers(1, 9)),
    st.integers(1, 14).map(keycodec.fence),
    st.sampled_from([1, -1]).map(keycodec.lease),
    st.builds(keycodec.intent, st.builds(TxnId, st.integers(1, 2), st.integers(1, 3))),
    st.builds(keycodec.decision, st.builds(TxnId, st.integers(1, 2), st.integers(1, 3))),
    st.sampled_from(["adopted", "writer"]).map(keycodec.cell),
    st.just(keycodec.ROWS_ID),
)


@st.composite
def tablet_maps(draw: st.DrawFn, version: int = 1) -> TabletMap:
    """Some ranges, each one tablet or 2 or 4 buckets, on three shards; ids in no order."""
    borders = [b"", *sorted(draw(st.sets(KEYS, max_size=5)))]
    buckets = [draw(st.sampled_from([1, 1, 2, 4])) for _ in borders]
    ids = iter(draw(st.permutations(range(1, sum(buckets) + 1))))
    tablets = []
    for start, end, count in zip(borders, [*borders[1:], None], buckets, strict=True):
        for bucket in range(count):
            number, shard = next(ids), draw(st.sampled_from(SHARDS))
            span = KeyRange(start, end)
            tablets.append(Tablet(number, f"t{number}", span, shard, 1, bucket, count))
    return TabletMap(version, tuple(tablets))


def is_shown(tablets: TabletMap, stored: bytes) -> bool:
    """The oracle: whose a row is, by the row alone."""
    match stored[:1]:
        case b"n":
            return tablets.tablet_of(stored[1:]).shard == US
        case b"h":
            return tablets.tablet_of(keycodec.split_history(stored)[0]).shard == US
        case b"k":
            return tablets.tablet_of(stored[9:]).shard == US
        case b"l" | b"f":
            tablet = tablets.by_id().get(int.from_bytes(stored[1:5], "big"))
            return tablet is not None and tablet.shard == US
        case kind:
            return kind != b"r"


def filled(stored: set[bytes], engine: MemoryEngine | None = None) -> MemoryEngine:
    engine = engine or MemoryEngine()
    batch = Batch()
    for number, key in enumerate(sorted(stored)):
        batch.put(key, b"%d" % number)
    if len(batch):
        engine.write(batch, sync=True)
    return engine


def wanted(
    tablets: TabletMap, engine: Reader, start: bytes, end: bytes
) -> list[tuple[bytes, bytes]]:
    whole = engine.scan(start, end, ALL) if start < end else []
    return [pair for pair in whole if is_shown(tablets, pair[0])]


def agree(
    reader: Reader, rows: Sequence[tuple[bytes, bytes]], bounds: tuple[bytes, bytes], limit: int
) -> None:
    """All ways to read a range say what the oracle says, also where a limit ends it early."""
    for most in {limit, 1, 2, 3, max(1, len(rows) - 1)}:
        assert reader.scan(*bounds, most) == rows[:most]
        assert reader.scan(*bounds, most, reverse=True) == rows[::-1][:most]
        assert reader.keys(*bounds, most) == [key for key, _ in rows[:most]]
        assert reader.count(*bounds, most) == min(most, len(rows))


ROWS = st.sets(STORED, max_size=60)
# Also borders of kinds, and what lies between two rows.
PLACES = st.one_of(STORED, STORED.map(lambda row: row + b"\x00"), st.sampled_from([
    b"", b"e", b"f", b"g", b"h", b"i", b"k", b"l", b"m", b"n", b"na", b"o", b"r", b"s", LAST,
]))  # fmt: skip
BOUNDS = st.tuples(PLACES, PLACES)


@settings(max_examples=200, deadline=None)
@given(tablet_maps(), ROWS, BOUNDS, st.integers(1, 70))
def test_inv17_every_read_shows_the_rows_of_owned_keys_and_tablets_alone(
    tablets: TabletMap, stored: set[bytes], bounds: tuple[bytes, bytes], limit: int
) -> None:
    engine = filled(stored)
    shown = WindowedEngine(engine, lambda: tablets, US)
    for low, high in (bounds, (b"", LAST)):
        rows = wanted(tablets, engine, low, high)
        agree(shown, rows, (low, high), limit)
        agree(shown.snapshot(), rows, (low, high), limit)
        assert bool(shown.scan(low, high, 1)) is bool(rows)


@settings(max_examples=150, deadline=None)
@given(tablet_maps(), ROWS, BOUNDS)
def test_windows_are_in_order_apart_and_within_what_was_asked(
    tablets: TabletMap, stored: set[bytes], bounds: tuple[bytes, bytes]
) -> None:
    start, end = sorted(bounds)
    parts = Windows(tablets, US).cut(start, end)
    at = start
    for low, high, shows in parts:
        assert at <= low <= high <= end
        at = high
        for row in stored:
            if low <= row < high and shows is None:
                assert is_shown(tablets, row)
            elif low <= row < high and not is_shown(tablets, row) and row[:1] != b"k":
                key = row[1:] if row[:1] == b"n" else keycodec.split_history(row)[0]
                (buckets,) = tablets.ranges_of(KeyRange(key, key + b"\x00"))
                span = buckets[0].span
                owners = {t.shard for t in tablets.tablets if t.span == span}
                assert US in owners, "nothing is read of a range of which nothing is ours"
                assert len(owners) > 1


@settings(max_examples=100, deadline=None)
@given(tablet_maps(1), tablet_maps(2), ROWS, ROWS, BOUNDS)
def test_inv05_an_engine_follows_the_map_and_a_snapshot_keeps_its_own(
    first: TabletMap,
    second: TabletMap,
    stored: set[bytes],
    more: set[bytes],
    bounds: tuple[bytes, bytes],
) -> None:
    engine = filled(stored)
    now = first
    shown = WindowedEngine(engine, lambda: now, US)
    before = wanted(first, engine, *bounds)
    snapshot = shown.snapshot()
    agree(shown, before, bounds, ALL)
    now = second
    filled(more, engine)
    agree(shown, wanted(second, engine, *bounds), bounds, ALL)
    agree(snapshot, before, bounds, ALL)
    snapshot.close()


@settings(max_examples=50, deadline=None)
@given(tablet_maps(), ROWS)
def test_a_single_row_is_not_hidden(tablets: TabletMap, stored: set[bytes]) -> None:
    """Who asks for one has found its owner; of a tablet that comes the fence is read before."""
    engine = filled(stored)
    shown = WindowedEngine(engine, lambda: tablets, US)
    for row in (*stored, b"nnone"):
        assert shown.get(row) == shown.snapshot().get(row) == engine.get(row)


def two() -> TabletMap:
    """[.., b) ours, [b, ..) shard-1's."""
    return TabletMap(
        1,
        (
            Tablet(1, "ours", KeyRange(b"", b"b"), US, 1),
            Tablet(2, "theirs", KeyRange(b"b", None), "shard-1", 1),
        ),
    )


def test_what_is_a_shards_own_is_shown_as_it_is_and_the_spaces_id_is_not() -> None:
    private = {
        keycodec.lease(5),
        keycodec.intent(TxnId(1, 1)),
        keycodec.decision(TxnId(1, 1)),
        keycodec.cell("writer"),
    }
    engine = filled(private | {keycodec.ROWS_ID, keycodec.newest(b"c"), keycodec.fence(2)})
    nothing = replace(two().tablets[0], shard="shard-1")
    for tablets in (two(), TabletMap(2, (nothing, two().tablets[1]))):
        shown = WindowedEngine(engine, lambda tablets=tablets: tablets, US)  # type: ignore[misc]
        assert set(shown.keys(b"", LAST, ALL)) == private
        assert shown.get(keycodec.ROWS_ID) is not None


def test_the_example_of_the_head() -> None:
    """What is shard-1's in between is not read."""
    spans = [(b"", b"b"), (b"b", b"c"), (b"c", None)]
    shards = (US, "shard-1", US)
    tablets = TabletMap(1, tuple(
        Tablet(n, f"t{n}", KeyRange(*span), shard, 1)
        for n, (span, shard) in enumerate(zip(spans, shards, strict=True), 1)
    ))  # fmt: skip
    parts = Windows(tablets, US).cut(b"n", b"o")
    assert [(low, high) for low, high, _ in parts] == [(b"n", b"nb"), (b"nc", b"o")]


def test_ranges_of_ours_that_meet_are_one_window() -> None:
    tablets = TabletMap(1, (two().tablets[0], replace(two().tablets[1], shard=US)))
    for kind in (b"h", b"n"):
        end = bytes((kind[0] + 1,))
        parts = Windows(tablets, US).cut(kind, end)
        assert [(part.low, part.high) for part in parts] == [(kind, end)]


def test_only_rows_that_are_shared_are_hidden() -> None:
    apart, shared = MemoryEngine(), Sharing()
    assert window(apart, two, US) is apart
    shown = window(shared, two, US)
    assert isinstance(shown, WindowedEngine)
    assert shown.shares_rows
    with pytest.raises(AssertionError, match="within the stored rows"):
        shown.scan(b"", LAST + b"\x00", 1)


# -- the engines that tests share ------------------------------------------------------------------


def test_what_others_write_is_seen_when_an_engine_catches_up() -> None:
    a, b = engines_that_share(("a", "b")).values()
    snapshot = b.snapshot()
    a.write(Batch().put(b"nx", b"1").put(keycodec.lease(5), b"mine"), sync=True)
    assert b.get(b"nx") is None
    b.catch_up()
    assert b.get(b"nx") == b"1"
    assert b.get(keycodec.lease(5)) is None, "no shared row"
    assert snapshot.get(b"nx") is None
    a.write(Batch().put(b"nx", b"2"), sync=True)
    b.write(Batch().put(b"ny", b"3"), sync=True)
    assert b.get(b"nx") == b"2", "a write of its own catches up"


def test_a_fence_that_is_another_is_refused_with_its_whole_batch() -> None:
    journal = Journal()
    a, b = Sharing(), Sharing()
    for engine in (a, b):
        engine.join(journal)
    fence = keycodec.fence(1)
    a.write(Batch().put(fence, b"a"), sync=True)
    with pytest.raises(EngineFenced):
        b.write(Batch().put(b"nx", b"b").put(fence, b"b"), sync=True)
    b.catch_up()
    assert b.get(b"nx") is None
    assert b.get(fence) == b"a"
    b.write(Batch().put(fence, b"b"), sync=True)
    a.catch_up()
    with pytest.raises(EngineFenced):
        a.write(Batch().put(fence, b"again"), sync=True)  # it was not read since
    assert journal.guarded == {fence: b"b"}
