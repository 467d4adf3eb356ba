"""No lease of a copied key is unknown where the copy is final."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.limits import COPY_JOINS_MAX
from kubebraid.shard import keycodec
from kubebraid.shard.reshard.joins import Joins
from kubebraid.shard.storage.engine import Batch
from tests.moving import Moving
from tests.shared_rows import TOGETHER, stores

__all__ = ["stores"]


class Home:
    """Answers when the test says so."""

    def __init__(self) -> None:
        self.asked: dict[int, Callable[[int | RequestRefused], None]] = {}

    def lease_join(
        self, lease: int, guest: str, done: Callable[[int | RequestRefused], None]
    ) -> None:
        assert guest == "shard-1"
        assert lease not in self.asked, "one question at a time"
        self.asked[lease] = done

    def answer(self, lease: int, said: int | RequestRefused = 60) -> None:
        self.asked.pop(lease)(said)


def _every(_key: bytes) -> bool:
    return True


class Case:
    """On shard-1; leases live on shard-0. Keys of the leases 7 and 8 are staged."""

    def __init__(self) -> None:
        self.pair = Moving()
        self.home = Home()
        self.joins = Joins(self.pair.owned["shard-1"], {"shard-0": self.home}.get)
        self.engine = self.pair.engines["shard-1"]
        batch = Batch()
        for lease in (7, 8):
            batch.put(keycodec.attachment(lease, b"b%d" % lease), b"")
        self.engine.write(batch, sync=True)
        self.leases = {7, 8}

    def complete(self) -> bool:
        return self.joins.complete(self.leases, self.engine, lambda key: key.startswith(b"b"))


def test_inv21_complete_when_each_lease_is_joined() -> None:
    case = Case()
    assert not case.complete()
    case.home.answer(7)
    assert not case.complete()
    case.home.answer(8, 90)
    assert case.complete()
    assert case.joins.joined == {7: 60, 8: 90}


def test_a_lease_that_is_visited_already_is_not_asked_for() -> None:
    case = Case()
    case.pair.grant(7)
    case.pair.put(b"c1", lease=7)
    case.joins.turn(case.leases)
    assert set(case.home.asked) == {8}


def test_inv21_a_join_is_forgotten_with_its_lease_and_so_is_its_answer() -> None:
    case = Case()
    case.joins.turn(case.leases)
    case.home.answer(7)
    answer = case.home.asked.pop(8)
    for lease in (7, 8):
        case.joins.forget(lease)
    answer(60)
    assert case.joins.joined == {}
    assert not case.complete()
    assert set(case.home.asked) == {7, 8}, "asked anew"


def test_inv21_a_lease_that_is_gone_holds_the_copy_up_while_a_key_names_it() -> None:
    case = Case()
    case.joins.turn(case.leases)
    case.home.answer(7)
    case.home.answer(8, errors.LEASE_NOT_FOUND)
    assert not case.complete()
    case.engine.write(Batch().delete(keycodec.attachment(8, b"b8")), sync=True)
    assert case.complete()
    assert case.leases == {7}


def test_a_key_that_an_earlier_migration_has_left_here_does_not_hold_the_copy_up() -> None:
    """Its removal waits for the switch, and the switch must not wait for it."""
    case = Case()
    case.joins.turn(case.leases)
    case.home.answer(7)
    case.home.answer(8, errors.LEASE_NOT_FOUND)
    batch = Batch().delete(keycodec.attachment(8, b"b8"))
    case.engine.write(batch.put(keycodec.attachment(8, b"left"), b""), sync=True)
    assert case.complete()
    assert case.leases == {7}


def test_questions_are_bounded_and_a_home_that_is_away_is_asked_later() -> None:
    case = Case()
    many = range(1, COPY_JOINS_MAX + 10)
    case.joins.turn(many)
    assert len(case.home.asked) == COPY_JOINS_MAX
    away = Joins(case.pair.owned["shard-1"], lambda name: None)
    away.turn({7})
    assert not away.complete({7}, case.engine, _every)


def test_inv21_a_home_never_asks_itself() -> None:
    """A lease that has ended here may be granted anew before the answer: no home is a guest."""
    case = Case()
    joins = Joins(case.pair.owned["shard-0"], lambda name: case.home)
    joins.turn({7})
    assert not case.home.asked
    assert not joins.complete({7}, case.engine, _every), "until its key is gone"
    case.pair.grant(7)
    assert joins.complete({7}, case.engine, _every)


# -- of rows that two shards share -----------------------------------------------------------------


@TOGETHER
@pytest.mark.usefixtures("stores")
@pytest.mark.parametrize("attaches", [True, False])
def test_inv21_a_lease_of_shared_rows_is_dropped_by_what_the_source_has_written(
    attaches: bool,
) -> None:
    """What this store has read last may lack an attachment that the source has made since, or show
    one that it has removed."""
    case = Case()
    source = case.pair.engines["shard-0"]
    source.catch_up()
    stored = keycodec.attachment(8, b"b8")
    source.write(Batch().delete(stored), sync=True)
    case.engine.catch_up()
    if attaches:
        source.write(Batch().put(stored, b""), sync=True)
        assert case.engine.get(stored) is None, "not read yet"
    else:
        case.engine.write(Batch().put(stored, b""), sync=True)
        source.write(Batch().delete(stored), sync=True)
        assert case.engine.get(stored) is not None, "not read yet"
    case.joins.turn(case.leases)
    case.home.answer(7)
    case.home.answer(8, errors.LEASE_NOT_FOUND)
    assert case.complete() is not attaches
    assert case.leases == ({7, 8} if attaches else {7})
