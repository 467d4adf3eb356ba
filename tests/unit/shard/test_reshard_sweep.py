"""What a migration has left goes, and nothing else does."""

from __future__ import annotations

from typing import Any

import pytest

from kubebraid.base.keyspace import KeyRange
from kubebraid.shard import keycodec
from kubebraid.shard.cells import Area, Cell, load, pack
from kubebraid.shard.fencing import Fence
from kubebraid.shard.reshard import sweep as sweep_module
from kubebraid.shard.reshard.sweep import sweep
from kubebraid.shard.storage.engine import DELETE, DELETE_RANGE, Batch
from tests.moving import MOVED, OTHER, Moving
from tests.shared_rows import TOGETHER, stores

__all__ = ["stores"]

SPAN = KeyRange(b"b", b"c")
CELL = Cell("m1", (MOVED,), (Area(SPAN),))


def left(*more: Cell, keys: int = 9) -> Moving:
    """shard-1 has the rows of [b, c), which shard-0 owns, and keys of its own."""
    pair = Moving()
    pair.grant(5)
    for n in range(keys):
        pair.put(b"b%d" % n)
        pair.put(b"b%d" % n, lease=5)
    pair.put(b"c1")
    batch = Batch()
    for stored, value in pair.rows("shard-0").items():
        batch.put(stored, value)
    for at, row in pair.log("shard-0", MOVED).items():
        batch.put(keycodec.log(MOVED, at), row)
    fence = pair.engines["shard-0"].get(keycodec.fence(MOVED))
    assert fence is not None
    batch.put(keycodec.fence(MOVED), fence)
    for cell in (CELL, *more):
        batch.put(cell.key, pack(cell))
    pair.engines["shard-1"].write(batch, sync=True)
    pair.owned["shard-1"].foreign.add(CELL, *more)
    return pair


def run(pair: Moving, name: str = "shard-1", *spared: Cell, keep_cell: bool = False) -> int:
    """The slices that it took."""
    engine, owned = pair.engines[name], pair.owned[name]
    return len([*sweep(engine, owned, CELL, lambda: spared, keep_cell)])


@pytest.mark.parametrize("rows", [1, 4, 512])
def test_all_that_is_not_ours_goes_with_the_cell_last(
    monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(sweep_module, "COPY_SWEEP_ROWS", rows)
    pair = left()
    own = pair.engines["shard-1"].scan(keycodec.newest(b"c"), keycodec.newest(b"d"), 9)
    slices = run(pair)
    assert (slices >= 20) is (rows == 1)
    assert not pair.rows("shard-1")
    assert not pair.log("shard-1", MOVED)
    assert pair.engines["shard-1"].get(keycodec.fence(MOVED)) is None
    assert not pair.cells("shard-1")
    assert not pair.owned["shard-1"].foreign.cells
    assert pair.engines["shard-1"].scan(keycodec.newest(b"c"), keycodec.newest(b"d"), 9) == own
    assert pair.log("shard-1", OTHER)


@pytest.mark.parametrize("buckets", [1, 2])
def test_slice_that_goes_as_a_whole_goes_as_a_range_too(
    monkeypatch: pytest.MonkeyPatch, buckets: int
) -> None:
    """A scan passes a range at once, and row by row it would read all that lies below: seconds,
    of 1 GB. Of a bucket the rows of the others lie in between."""
    pair = left(keys=20)
    engine, owned = pair.engines["shard-1"], pair.owned["shard-1"]
    rows = pair.rows("shard-1", b"nh")
    made: list[Any] = []
    write = engine.write

    def watched(batch: Batch, *, sync: bool) -> None:
        made.extend(batch.operations)
        write(batch, sync=sync)

    monkeypatch.setattr(engine, "write", watched)
    cell = CELL._replace(areas=(Area(SPAN, 1 if buckets > 1 else 0, buckets),))
    list(sweep(engine, owned, cell, list))
    ranges = [(low, high) for kind, low, high in made if kind == DELETE_RANGE and low[:1] in b"nh"]
    gone = [key for kind, key, _ in made if kind == DELETE and key[:1] in b"nh"]
    assert set(gone) == rows.keys() - pair.rows("shard-1", b"nh").keys()
    if buckets > 1:
        assert 0 < len(gone) < len(rows)
        assert not ranges
    else:
        assert len(gone) == len(rows)
        assert all(any(low <= key < high for low, high in ranges) for key in gone)


def test_inv17_nothing_that_the_map_gives_to_us_goes() -> None:
    pair = left()
    before = pair.rows("shard-0"), pair.log("shard-0", MOVED)
    pair.engines["shard-0"].write(Batch().put(CELL.key, pack(CELL)), sync=True)
    pair.owned["shard-0"].foreign.add(CELL)
    run(pair, "shard-0")
    assert (pair.rows("shard-0"), pair.log("shard-0", MOVED)) == before
    assert pair.engines["shard-0"].get(keycodec.fence(MOVED)) is not None
    assert not pair.cells("shard-0")


def test_inv05_what_another_migration_copies_stays() -> None:
    other = Cell("m2", (MOVED,), (Area(KeyRange(b"b5", b"c")),))
    pair = left(other)
    run(pair, "shard-1", other)
    keys = {stored[1:3] for stored in pair.rows("shard-1", b"n")}
    assert keys == {b"b5", b"b6", b"b7", b"b8"}
    assert {stored[-2:] for stored in pair.rows("shard-1", b"k")} == keys
    assert pair.log("shard-1", MOVED), "of the tablet that is copied"
    assert set(load(pair.engines["shard-1"])) == {"m2"}


def test_inv05_of_a_bucket_its_own_keys_alone() -> None:
    pair = left(keys=9)
    cell = CELL._replace(areas=(Area(SPAN, 1, 2),))
    engine, owned = pair.engines["shard-1"], pair.owned["shard-1"]
    before = len(pair.rows("shard-1", b"n"))
    for _ in sweep(engine, owned, cell, lambda: ()):
        pass
    assert 0 < len(pair.rows("shard-1", b"n")) < before


def test_what_comes_before_a_copy_keeps_the_cell() -> None:
    pair = left()
    run(pair, keep_cell=True)
    assert not pair.rows("shard-1")
    assert pair.cells("shard-1") == {"m1"}


@pytest.mark.parametrize("comes_back", ["owned", "copied"])
def test_log_that_goes_in_pages_stops_where_its_tablet_comes_back(
    monkeypatch: pytest.MonkeyPatch, comes_back: str
) -> None:
    """A store may take only so many rows in one batch, so maps change in the middle of a log."""
    monkeypatch.setattr(sweep_module, "COPY_SWEEP_ROWS", 4)
    pair = left()
    engine, owned = pair.engines["shard-1"], pair.owned["shard-1"]
    other = Cell("m2", (MOVED,), ())
    spared: list[Cell] = []
    before = len(pair.log("shard-1", MOVED))
    after = 0
    for _ in sweep(engine, owned, CELL, lambda: spared):
        if not after and len(pair.log("shard-1", MOVED)) < before:
            after = len(pair.log("shard-1", MOVED))
            if comes_back == "owned":
                owned.oepochs[MOVED] = 9
            else:
                spared.append(other)
    assert after == before - 4
    assert len(pair.log("shard-1", MOVED)) == after
    assert engine.get(keycodec.fence(MOVED)) is not None, "it goes last"


def test_log_whose_removal_was_cut_goes_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_module, "COPY_SWEEP_ROWS", 4)
    pair = left()
    before = len(pair.log("shard-1", MOVED))
    for _ in sweep(pair.engines["shard-1"], pair.owned["shard-1"], CELL, lambda: ()):
        if len(pair.log("shard-1", MOVED)) < before:
            break
    assert pair.log("shard-1", MOVED)
    run(pair)
    assert not pair.log("shard-1", MOVED)
    assert pair.engines["shard-1"].get(keycodec.fence(MOVED)) is None


# -- of rows that two shards share -----------------------------------------------------------------

LOG = CELL._replace(areas=())


def stored(pair: Moving, tablet: int) -> tuple[list[tuple[bytes, bytes]], bytes | None]:
    """The log and the fence, whosever they are."""
    engine = pair.engines["shard-1"]
    engine.catch_up()
    low, high = keycodec.log(tablet, 0), keycodec.log(tablet + 1, 0)
    return engine.scan(low, high, 1_000), engine.get(keycodec.fence(tablet))


def swept(pair: Moving, name: str, cell: Cell, *spared: Cell) -> None:
    engine, owned = pair.engines[name], pair.owned[name]
    engine.write(Batch().put(cell.key, pack(cell)), sync=True)
    owned.foreign.add(cell)
    for _ in sweep(engine, owned, cell, lambda: spared):
        pass
    assert not pair.cells(name)
    assert not owned.foreign.cells


@TOGETHER
@pytest.mark.usefixtures("stores")
@pytest.mark.parametrize("name", ["shard-0", "shard-1"])
def test_inv17_the_shared_log_of_a_tablet_that_the_map_names_stays(name: str) -> None:
    """Whosever it is."""
    pair = Moving()
    pair.put(b"b1")
    before = stored(pair, MOVED)
    assert len(before[0]) == 1
    assert before[1] is not None
    swept(pair, name, LOG)
    assert stored(pair, MOVED) == before
    assert pair.put(b"b2").error is None


@TOGETHER
@pytest.mark.usefixtures("stores")
@pytest.mark.parametrize("rows", [1, 4, 512])
def test_the_shared_log_and_fence_of_a_tablet_that_has_ended_go(
    monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(sweep_module, "COPY_SWEEP_ROWS", rows)
    pair = Moving()
    batch = Batch().put(keycodec.fence(9), Fence(3, 90, 2).pack())
    for at in range(9):
        batch.put(keycodec.log(9, at), b"")
    batch.put(keycodec.log(8, 5), b"").put(keycodec.log(10, 5), b"")
    pair.engines["shard-1"].write(batch, sync=True)
    pair.put(b"b1")
    before = pair.rows("shard-0")
    swept(pair, "shard-1", LOG._replace(tablets=(9,)))
    assert stored(pair, 9) == ([], None)
    assert len(stored(pair, 8)[0]) == len(stored(pair, 10)[0]) == 1
    assert pair.rows("shard-0") == before


@TOGETHER
@pytest.mark.usefixtures("stores")
def test_the_shared_log_that_another_migration_makes_stays() -> None:
    pair = Moving()
    pair.engines["shard-1"].write(Batch().put(keycodec.log(9, 5), b""), sync=True)
    swept(pair, "shard-1", LOG._replace(tablets=(9,)), Cell("m2", (9,), ()))
    assert len(stored(pair, 9)[0]) == 1


@TOGETHER
@pytest.mark.usefixtures("stores")
def test_inv17_shared_rows_of_keys_are_never_swept() -> None:
    pair = Moving()
    with pytest.raises(AssertionError, match="are not swept"):
        swept(pair, "shard-1", CELL)
