"""The row that says how new a store is, and the marks that a serving shard leaves in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubebraid.base.limits import MARK_EVERY_MS
from kubebraid.base.ports import NEVER_ADOPTED, Adoption
from kubebraid.base.tabletmap import layout
from kubebraid.shard.adoption import ADOPTED_CELL, Marks, pack, stored
from kubebraid.shard.fencing import FenceDamaged, touch
from kubebraid.shard.ownership import Ownership, adopt
from kubebraid.shard.seams import ShardSeams
from kubebraid.shard.storage.engine import Batch, EngineError
from kubebraid.shard.storage.memory import MemoryEngine
from tests.unit.shard.fakes import SHARD, FakeClock

NUMBERS = st.integers(0, (1 << 64) - 1)


class Failing(MemoryEngine):
    """`fails`: how many writes do, from now on; `reopens`: whether it can be opened again."""

    fails = 0
    reopens = True
    reopened = 0

    def write(self, batch: Batch, *, sync: bool) -> None:
        if self.fails:
            self.fails -= 1
            raise EngineError("simulated")
        super().write(batch, sync=sync)

    def reopen(self) -> None:
        self.reopened += 1
        if not self.reopens:
            raise EngineError("gone")
        super().reopen()


class Stand:
    """A shard of incarnation 7 that serves one tablet."""

    def __init__(self) -> None:
        self.engine = Failing()
        self.clock = FakeClock()
        tablets = layout([], SHARD)
        fences = adopt(self.engine, SHARD, tablets)
        self.owned = Ownership(SHARD, 1, tablets, fences, lambda: -1, 7)
        self.confirmed: list[Adoption] = []
        self.fatal: list[BaseException] = []
        seams = ShardSeams(self.clock, self.fatal.append)
        self.marks = Marks(self.engine, self.owned, seams, self.confirmed.append)

    def write(self) -> None:
        """A commit, as the fences tell it."""
        fences = self.owned.fences
        fences.update({tablet: touch(fence, fence.oepoch) for tablet, fence in fences.items()})

    def run(self, ms: int) -> None:
        self.clock.ms += ms
        self.marks.turn(self.clock.ms)


@given(st.builds(Adoption, NUMBERS, NUMBERS))
def test_row_is_read_back(adoption: Adoption) -> None:
    engine = MemoryEngine()
    assert stored(engine) == NEVER_ADOPTED
    engine.write(Batch().put(ADOPTED_CELL, pack(adoption)), sync=True)
    assert stored(engine) == adoption


def test_any_flipped_bit_is_damage() -> None:
    raw = pack(Adoption(7, 3))
    for at in range(len(raw)):
        engine = MemoryEngine()
        damaged = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        engine.write(Batch().put(ADOPTED_CELL, damaged), sync=True)
        with pytest.raises(FenceDamaged, match="checksum"):
            stored(engine)


@pytest.mark.parametrize("raw", [b"", b"7", pack(Adoption(7, 3)) + b"\x00"])
def test_row_of_another_length_is_damage(raw: bytes) -> None:
    engine = MemoryEngine()
    engine.write(Batch().put(ADOPTED_CELL, raw), sync=True)
    with pytest.raises(FenceDamaged, match="bytes"):
        stored(engine)


def test_shard_that_writes_leaves_a_mark_when_it_is_due() -> None:
    """The worked example of the module. It is durable before anybody is told of it."""
    stand = Stand()
    stand.write()
    stand.run(MARK_EVERY_MS - 1)
    assert stand.confirmed == []
    stand.run(1)
    assert stand.confirmed == [Adoption(7, 1)]
    assert stored(stand.engine) == Adoption(7, 1)
    stand.write()
    stand.run(MARK_EVERY_MS)
    assert stand.confirmed == [Adoption(7, 1), Adoption(7, 2)]


def test_shard_that_wrote_nothing_leaves_none() -> None:
    stand = Stand()
    stand.run(MARK_EVERY_MS)
    stand.write()
    stand.run(MARK_EVERY_MS)
    stand.run(MARK_EVERY_MS)
    assert stand.confirmed == [Adoption(7, 1)]
    assert stand.marks.next_deadline_ms() == stand.clock.ms + MARK_EVERY_MS


def test_mark_that_failed_is_told_to_nobody_and_its_number_not_used_again() -> None:
    """It may have landed, and been copied: were it confirmed later, that copy would pass."""
    stand = Stand()
    stand.write()
    stand.engine.fails = 1
    stand.run(MARK_EVERY_MS)
    assert (stand.confirmed, stand.engine.reopened, stand.fatal) == ([], 1, [])
    stand.run(MARK_EVERY_MS)
    assert stand.confirmed == [Adoption(7, 2)]


def test_store_that_cannot_be_opened_again_ends_the_process() -> None:
    stand = Stand()
    stand.write()
    stand.engine.fails, stand.engine.reopens = 1, False
    stand.run(MARK_EVERY_MS)
    assert len(stand.fatal) == 1
