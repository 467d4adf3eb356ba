"""The witness tells two states of a store apart, and the epoch one start from the next."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubebraid.shard import fencing, keycodec
from kubebraid.shard.fencing import Fence, FenceDamaged
from kubebraid.shard.storage.engine import Batch
from kubebraid.shard.storage.memory import MemoryEngine
from kubebraid.shard.witness import epoch, remove_fence, witness
from tests.unit.shard.fakes import (
    A,
    BreakableEngine,
    Stand,
    delete_call,
    grant_call,
    put_call,
    revoke_call,
)
from tests.unit.shard.test_counts import WRITES, Operation, call_of
from tests.unit.shard.test_settle import GONE


@settings(max_examples=60)
@given(st.lists(WRITES, min_size=1, max_size=8))
def test_every_commit_that_changes_something_changes_the_witness(
    batches: list[list[list[Operation]]],
) -> None:
    stand = Stand()
    seen = {witness(stand.engine): stand.owned.known}
    for writes in batches:
        stand.write(*[call_of(operations) for operations in writes])
        assert seen.setdefault(witness(stand.engine), stand.owned.known) == stand.owned.known
    assert len(seen) == len(set(seen.values()))


def test_commit_of_leases_alone_changes_it_too() -> None:
    """It takes no revision: only the fence's nonce tells."""
    stand = Stand()
    seen = [witness(stand.engine)]
    for call in (grant_call(7, 60), grant_call(8, 60), revoke_call(7)):
        stand.write(call)
        seen.append(witness(stand.engine))
    assert len(set(seen)) == 4
    assert stand.owned.known == 1


def test_what_changes_no_row_leaves_it() -> None:
    stand = Stand()
    stand.write(put_call(b"/a/x"))
    before = witness(stand.engine)
    stand.write(delete_call(b"/a/absent"))
    assert witness(stand.engine) == before
    assert witness(stand.engine.clone()) == before, "a copy has the same"


def test_write_that_failed_and_is_void_changes_it() -> None:
    """Its revisions are closed by a fence of their own."""
    engine = BreakableEngine()
    stand = Stand(engine=engine)
    stand.write(put_call(b"/a/x"))
    before = witness(engine)
    engine.write_faults.append((GONE, False))
    stand.write(put_call(b"/a/y"))
    assert witness(engine) != before


def test_cells_count_and_data_does_not() -> None:
    engine = Stand().engine
    before = witness(engine)
    engine.write(Batch().put(b"n/a/x", b"row").put(b"l", b"").put(b"o", b""), sync=True)
    assert witness(engine) == before
    engine.write(Batch().put(keycodec.cell("coordinator"), b"1"), sync=True)
    assert witness(engine) != before


def test_border_between_two_rows_counts() -> None:
    """Bytes that move from one row to the next are another state."""
    one, other = MemoryEngine(), MemoryEngine()
    one.write(Batch().put(b"ma", b"xmb").put(b"mc", b""), sync=True)
    other.write(Batch().put(b"ma", b"x").put(b"mbmc", b""), sync=True)
    assert witness(one) != witness(other)


def test_epoch_is_that_of_the_newest_adoption() -> None:
    assert epoch(MemoryEngine()) == 0
    stand = Stand()
    first = epoch(stand.engine)
    assert first == max(stand.owned.oepochs.values())
    stand.write(put_call(b"/a/x"), put_call(b"/b/x"))
    assert epoch(stand.engine) == first, "a commit is no start"
    later = fencing.adopt(fencing.unpack(raw(stand.engine)), first + 4)
    stand.engine.write(Batch().put(keycodec.fence(A), later.pack()), sync=True)
    assert epoch(stand.engine) == first + 4


def test_epoch_of_a_damaged_fence_is_refused() -> None:
    engine = Stand().engine
    engine.write(Batch().put(keycodec.fence(A), raw(engine)[:-1]), sync=True)
    with pytest.raises(FenceDamaged):
        epoch(engine)


def raw(engine: MemoryEngine) -> bytes:
    found = engine.get(keycodec.fence(A))
    assert found is not None
    return found


def test_epoch_stays_when_the_fence_that_had_it_is_removed() -> None:
    """A drained shard that is killed must not look like one that has lost its log."""
    engine = MemoryEngine()
    batch = Batch()
    for tablet, oepoch in ((1, 3), (7, 5)):
        batch.put(keycodec.fence(tablet), Fence(oepoch, 9, 0).pack())
    engine.write(batch, sync=True)
    for tablet in (7, 1, 7):
        batch = Batch().put(b"x", b"")
        remove_fence(engine, tablet, batch)
        engine.write(batch, sync=True)
        assert epoch(engine) == 5
    assert engine.get(keycodec.fence(7)) is None
