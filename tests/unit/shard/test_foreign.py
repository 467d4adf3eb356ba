"""Rows of others are hidden, and a page has as many rows as were asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubebraid.base.keyspace import KeyRange
from kubebraid.shard import keycodec
from kubebraid.shard.cells import Area, Cell, pack
from kubebraid.shard.foreign import Foreign, Visible, VisibleSnapshot
from kubebraid.shard.storage.engine import Batch
from kubebraid.shard.storage.memory import MemoryEngine
from tests.unit.shard.fakes import CountingReader

SPAN = KeyRange(b"a", b"z")
CELL = Cell("m1", (7,), (Area(SPAN),))


def foreign(*cells: Cell) -> Foreign:
    """Keys that begin with o are ours, and tablet 1."""
    found = Foreign(lambda key: key.startswith(b"o"), {1}.__contains__, lambda area: False)
    found.add(*cells)
    return found


def filled(keys: list[bytes]) -> MemoryEngine:
    engine = MemoryEngine()
    batch = Batch().put(CELL.key, pack(CELL))
    for key in keys:
        batch.put(keycodec.newest(key), b"row")
    engine.write(batch, sync=True)
    return engine


@given(
    st.lists(st.sampled_from([b"m%d" % n for n in range(9)] + [b"o%d" % n for n in range(9)])),
    st.integers(1, 6),
    st.booleans(),
)
def test_inv05_a_page_is_full_or_the_last(keys: list[bytes], limit: int, reverse: bool) -> None:
    ours = sorted({keycodec.newest(key) for key in keys if key.startswith(b"o")}, reverse=reverse)
    view = Visible(filled(keys), foreign(CELL))
    low, high = keycodec.newest_bounds(SPAN)
    pairs = view.scan(low, high, limit, reverse=reverse)
    assert [stored for stored, _ in pairs] == ours[:limit]
    if not reverse:
        assert view.keys(low, high, limit) == ours[:limit]
    assert view.count(low, high, limit) == min(limit, len(ours))


def test_more_foreign_rows_than_a_count_takes_at_once() -> None:
    keys = [b"m%04d" % n for n in range(1_500)] + [b"o%04d" % n for n in range(1_100)]
    view = Visible(filled(keys), foreign(CELL))
    assert view.count(*keycodec.newest_bounds(SPAN), 1 << 62) == 1_100


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        (keycodec.newest(b"o1"), True),
        (keycodec.newest(b"m1"), False),
        (keycodec.history(b"o1", 5), True),
        (keycodec.history(b"m1", 5), False),
        (keycodec.attachment(9, b"o1"), True),
        (keycodec.attachment(9, b"m1"), False),
        (keycodec.log(1, 5), True),
        (keycodec.log(7, 5), False),
        (keycodec.fence(1), True),
        (keycodec.fence(7), False),
        (keycodec.lease(9), True),
        (CELL.key, False),
    ],
)
def test_inv17_every_kind_of_row_is_shown_by_its_owner(stored: bytes, shown: bool) -> None:
    engine = MemoryEngine()
    engine.write(Batch().put(stored, b"row"), sync=True)
    snapshot = VisibleSnapshot(engine.snapshot(), foreign(CELL))
    assert [key for key, _ in snapshot.scan(b"\x00", b"\xff", 10)] == [stored] * shown
    snapshot.close()


def test_where_no_cell_names_the_range_nothing_is_looked_at() -> None:
    """A read without a migration costs one test."""
    reader = CountingReader(filled([b"m1", b"o1"]))
    far = Cell("m1", (7,), (Area(KeyRange(b"x", b"y")),))
    for hiding in (foreign(), foreign(far)):
        view = Visible(reader, hiding)
        assert len(view.scan(*keycodec.newest_bounds(KeyRange(b"a", b"p")), 10)) == 2
    hiding = foreign(CELL)
    assert hiding.shows(*keycodec.newest_bounds(SPAN)) is not None
    hiding.remove("m1")
    assert hiding.shows(*keycodec.newest_bounds(SPAN)) is None
