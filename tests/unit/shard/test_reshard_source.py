"""When a round begins, when it is sealed, and who is not answered at all."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.limits import COPY_WAITING_MAX
from kubebraid.base.reshard import Brings, CopyCall, CopyReply, Digest, DigestCall
from kubebraid.shard import keycodec
from kubebraid.shard.cells import Cell, load
from kubebraid.shard.reshard.source import Source
from kubebraid.shard.storage.engine import EngineError
from tests.moving import MOVED, SYSTEM, Moving

CALL = CopyCall("m1", (MOVED,), -1, 0, b"", 1 << 20, Brings.KEYS | Brings.LOG)
SUM = DigestCall("m1", (MOVED,), b"b", b"c", 0, 9)


class Slot:
    quiet = True


class Case:
    """The source of a shard that has heard of m1."""

    def __init__(self) -> None:
        self.pair = Moving()
        self.pair.grant(5)
        self.pair.put(b"b1", lease=5)
        self.pair.settle(3)
        self.owned = self.pair.owned["shard-0"]
        self.engine = self.pair.engines["shard-0"]
        self.slot = Slot()
        self.mended: list[EngineError] = []
        self.source = Source(self.engine, self.owned, self.slot, self._mend)
        self.source.active = {"m1": 3}
        self.told: list[CopyReply | RequestRefused] = []

    def _mend(self, error: EngineError) -> None:
        self.mended.append(error)
        self.engine.reopen()

    def ask(self, call: CopyCall = CALL) -> CopyReply | RequestRefused | None:
        self.told.clear()
        self.source.copy(call, self.told.append)
        self.source.turn()
        return self.told[0] if self.told else None

    def round(self, call: CopyCall = CALL) -> CopyReply:
        found = self.ask(call)
        assert isinstance(found, CopyReply), found
        return found


def test_inv15_a_round_begins_when_nobody_has_the_slot() -> None:
    case = Case()
    case.slot.quiet = False
    assert case.ask() is None
    case.slot.quiet = True
    case.source.turn()
    (told,) = case.told
    assert isinstance(told, CopyReply)
    assert told.upto == case.owned.closed[MOVED]
    assert told.ends == ((MOVED, told.upto),)


def test_a_round_that_has_begun_is_answered_at_once() -> None:
    case = Case()
    case.slot.quiet = False
    assert isinstance(case.ask(CALL._replace(upto=2)), CopyReply)


def sealed(case: Case) -> None:
    case.owned.sealed = frozenset((MOVED,))


def other_sealed(case: Case) -> None:
    case.owned.sealed = frozenset((SYSTEM,))


def unproved(case: Case) -> None:
    sealed(case)
    case.owned.proved = 0


@pytest.mark.parametrize(
    ("prepare", "freeze"), [(sealed, 3), (other_sealed, 0), (unproved, 0), (lambda case: None, 0)]
)
def test_inv18_sealed_names_the_freeze(prepare: Callable[[Case], None], freeze: int) -> None:
    case = Case()
    prepare(case)
    assert case.round().sealed == freeze


def test_a_sealed_round_has_the_leases_that_live_there() -> None:
    case = Case()
    case.owned.sealed = frozenset((SYSTEM, MOVED))
    assert case.round().leases == ()
    system = CALL._replace(tablets=(SYSTEM,))
    assert [stored for stored, _ in case.round(system).leases] == [keycodec.lease(5)]
    assert case.round(system._replace(brings=Brings.LOG)).leases == ()
    case.owned.sealed = frozenset()
    assert case.round(system).leases == ()


@pytest.mark.parametrize(
    "call",
    [
        CALL._replace(migration="m2"),
        CALL._replace(tablets=()),
        CALL._replace(tablets=(MOVED, 3)),
        CALL._replace(upto=9, cursor=b"\x00\x09x"),
    ],
)
def test_inv17_what_is_not_its_own_is_refused(call: CopyCall) -> None:
    assert Case().ask(call) is errors.OTHER_MAP


def test_inv17_a_tablet_that_goes_while_the_round_waits() -> None:
    case = Case()
    case.slot.quiet = False
    case.ask()
    del case.owned.oepochs[MOVED]
    case.slot.quiet = True
    case.source.turn()
    assert case.told == [errors.OTHER_MAP]


def test_a_shard_that_has_stopped_begins_nothing() -> None:
    case = Case()
    case.owned.doubt()
    assert case.ask() is None


def test_waiting_rounds_are_bounded() -> None:
    case = Case()
    case.slot.quiet = False
    for _ in range(COPY_WAITING_MAX):
        case.source.copy(CALL, case.told.append)
    assert case.told == []
    case.source.copy(CALL, case.told.append)
    assert case.told == [errors.TOO_MANY_REQUESTS]


def test_inv17_the_cell_is_there_before_the_first_piece() -> None:
    case = Case()
    case.engine.write_faults.append((EngineError("gone"), False))
    assert isinstance(case.ask(), RequestRefused)
    assert len(case.mended) == 1, "the store takes the next write"
    assert load(case.engine) == {}
    case.round(CALL._replace(brings=Brings.LOG))
    assert load(case.engine) == {}, "of a split nothing stays behind"
    case.round()
    assert load(case.engine)["m1"].tablets == (MOVED,)
    writes = case.engine.writes
    case.round()
    assert case.engine.writes == writes, "once"


def test_of_a_move_of_shared_rows_nothing_stays_behind() -> None:
    """What is the next owner's must never be swept: so there is no cell."""
    case = Case()
    found = case.round(CALL._replace(brings=Brings.LEASES))
    assert [stored for stored, _ in found.puts] == [keycodec.attachment(5, b"b1")]
    assert load(case.engine) == {}
    assert not case.owned.foreign.cells


def test_inv17_of_shared_tablets_that_end_the_log_stays_behind() -> None:
    case = Case()
    call = CALL._replace(tablets=(MOVED, SYSTEM), brings=Brings.LEASES | Brings.LOG)
    case.round(call)
    assert load(case.engine) == {"m1": Cell("m1", (MOVED, SYSTEM), ())}
    assert case.owned.foreign.cells == load(case.engine)
    writes = case.engine.writes
    case.round(call)
    assert case.engine.writes == writes, "once"


@pytest.mark.parametrize("brings", [Brings.LEASES, Brings.LEASES | Brings.LOG])
def test_inv21_a_sealed_round_of_shared_rows_has_the_leases_that_live_there(
    brings: Brings,
) -> None:
    case = Case()
    case.owned.sealed = frozenset((SYSTEM,))
    found = case.round(CALL._replace(tablets=(SYSTEM,), brings=brings))
    assert [stored for stored, _ in found.leases] == [keycodec.lease(5)]


def test_sums_are_of_what_is_owned_and_kept() -> None:
    case = Case()
    told: list[Digest | RequestRefused] = []
    case.source.digest(SUM, told.append)
    case.source.digest(SUM._replace(start=b"b2"), told.append)
    case.source.digest(SUM._replace(revision=1), told.append)
    case.source.digest(SUM._replace(tablets=(3,)), told.append)
    case.pair.floor = 5
    case.source.digest(SUM, told.append)
    assert isinstance(told[0], Digest)
    assert told[0].versions == 1
    assert told[1:] == [Digest(0, 0), Digest(0, 0), errors.OTHER_MAP, errors.COMPACTED]
