"""The coordinator of one process: nothing is answered from a state that is not stored."""

from __future__ import annotations

import pytest

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.ports import ALARM_NOSPACE, Alarm
from kubebraid.base.tabletmap import TabletMap, layout
from kubebraid.coordinator.coordinator import Coordinator
from kubebraid.coordinator.state import NEVER_COMPACTED, StateUnreadable, decode

FIRST_MAP = layout([b"/a/"])


class Cell:
    """A durable cell that can be made to fail."""

    def __init__(self) -> None:
        self.raw: bytes | None = None
        self.broken = False

    def load(self) -> bytes | None:
        return self.raw

    def save(self, raw: bytes) -> None:
        if self.broken:
            raise OSError("the device is gone")
        self.raw = raw


def started(cell: Cell, first_map: TabletMap = FIRST_MAP) -> Coordinator:
    return Coordinator(cell, first_map)


def test_new_store_is_never_compacted_and_has_the_first_map() -> None:
    made = started(Cell())
    assert made.compact_revision() == NEVER_COMPACTED
    assert [t.span for t in made.tablet_map().tablets] == [t.span for t in FIRST_MAP.tablets]
    assert made.cepoch == 1


def test_every_start_takes_a_new_reign_and_new_owner_epochs() -> None:
    """Rule M6: two incarnations of one process must never be taken for each other."""
    cell = Cell()
    seen = []
    for _ in range(3):
        made = started(cell)
        seen.append((made.cepoch, made.tablet_map().tablets[0].oepoch))
    assert seen == [(1, 2), (2, 3), (3, 4)]


def test_new_reign_is_stored_before_anybody_sees_it() -> None:
    cell = Cell()
    made = started(cell)
    assert cell.raw is not None
    stored = decode(cell.raw)
    assert (stored.cepoch, stored.tablets) == (made.cepoch, made.tablet_map())


def test_start_that_cannot_store_its_reign_does_not_serve() -> None:
    cell = Cell()
    cell.broken = True
    with pytest.raises(OSError, match="device"):
        started(cell)


def test_map_of_a_store_that_exists_is_its_own() -> None:
    """Another layout on the command line must not move keys."""
    cell = Cell()
    started(cell)
    made = started(cell, layout([]))
    assert len(made.tablet_map().tablets) == 3


def test_floor_is_stored_before_it_is_answered() -> None:
    cell = Cell()
    made = started(cell)
    answers: list[RequestRefused | None] = []
    made.compact(90, answers.append)
    assert answers == [None]
    assert made.compact_revision() == 90
    assert started(cell).compact_revision() == 90


def test_floor_that_cannot_be_stored_is_neither_answered_nor_seen() -> None:
    """Else a read would be refused now and served again after the restart."""
    cell = Cell()
    made = started(cell)
    cell.broken = True
    answers: list[RequestRefused | None] = []
    with pytest.raises(OSError, match="device"):
        made.compact(90, answers.append)
    assert answers == []
    assert made.compact_revision() == NEVER_COMPACTED


@pytest.mark.parametrize("revision", [90, 89])
def test_floor_that_does_not_rise_is_refused_as_compacted(revision: int) -> None:
    """Two compactions may both have been checked against the floor before either of them."""
    made = started(Cell())
    made.compact(90, lambda _: None)
    refused: list[RequestRefused | None] = []
    made.compact(revision, refused.append)
    assert refused == [errors.COMPACTED]
    assert made.compact_revision() == 90


def test_alarm_is_stored_and_tells_whether_it_stood_before() -> None:
    cell = Cell()
    made = started(cell)
    told: list[bool | RequestRefused] = []
    for raised in (True, True, False, False):
        made.set_alarm(Alarm(7, ALARM_NOSPACE), raised, told.append)
        assert started(cell).alarms() == made.alarms()
    assert told == [False, True, True, False]


def test_alarm_that_cannot_be_stored_is_neither_answered_nor_raised() -> None:
    cell = Cell()
    made = started(cell)
    cell.broken = True
    told: list[bool | RequestRefused] = []
    with pytest.raises(OSError, match="device"):
        made.set_alarm(Alarm(7, ALARM_NOSPACE), True, told.append)
    assert (told, made.alarms()) == ([], frozenset())


def test_damaged_state_stops_the_start_and_stays_as_it_is() -> None:
    cell = Cell()
    started(cell)
    assert cell.raw is not None
    cell.raw = damaged = cell.raw[:-1]
    with pytest.raises(StateUnreadable):
        started(cell)
    assert cell.raw == damaged


def test_sequencer_belongs_to_the_reign_and_its_map() -> None:
    made = started(Cell())
    sample = made.sequencer({1: 5, 2: 9, 3: 1}).sample()
    assert sample == (made.cepoch, made.tablet_map().version, 9, {1: 5, 2: 9, 3: 1}, -1)
