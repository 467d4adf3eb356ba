"""The copy of one migration: what it asks for and when, and what it reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.limits import (
    COPY_AWAY_MS,
    COPY_FOLLOW_MS,
    COPY_REPORT_MS,
    COPY_RETRY_MS,
    COPY_TRIES_MAX,
)
from kubebraid.base.reshard import CopyCall, CopyReply, Digest, DigestCall, Migration, Phase, Report
from kubebraid.shard import keycodec
from kubebraid.shard.cells import load
from kubebraid.shard.reshard.copier import Copier, Here
from kubebraid.shard.storage.engine import Batch, EngineError
from tests.moving import MOVED, Moving

PIECE = CopyReply([], [], b"", 9, 0, ((MOVED, 9),))
EQUAL = Digest(0, 0)


class Slot:
    quiet = True


class Case:
    """On shard-1; the source answers as the test says."""

    def __init__(
        self, phase: Phase = Phase.PREPARING, since: int = -1, rate: int = 0, freeze: int = 0
    ) -> None:
        self.pair = Moving()
        self.pair.move(MOVED, "shard-1")
        self.migration = self.pair.migration._replace(phase=phase, rate=rate, freeze=freeze)
        self.engine = self.pair.engines["shard-1"]
        self.slot = Slot()
        self.asked: list[tuple[CopyCall | DigestCall, Callable[[object], None]]] = []
        self.names: list[str] = []
        self.reports: list[Report] = []
        self.mended: list[EngineError] = []
        owned, clock = self.pair.owned["shard-1"], self.pair.clock
        here = Here(
            self.engine, owned, clock, self.slot, self._port, self.reports.append, self._mend
        )
        self.copier = Copier(here, self.migration, since)

    def _port(self, name: str) -> Case:
        self.names.append(name)
        return self

    def _mend(self, error: EngineError) -> None:
        self.mended.append(error)
        self.engine.reopen()

    def copy(self, call: CopyCall, done: Callable[[CopyReply | RequestRefused], None]) -> None:
        self.asked.append((call, done))  # type: ignore[arg-type]  # what it is told is the test's

    def digest(self, call: DigestCall, done: Callable[[Digest | RequestRefused], None]) -> None:
        self.asked.append((call, done))  # type: ignore[arg-type]  # as above

    def lease_join(
        self, lease: int, guest: str, done: Callable[[int | RequestRefused], None]
    ) -> None:
        raise AssertionError("there are no leases")

    def turn(self, ms: int = 0) -> None:
        self.pair.clock.ms += ms
        while self.copier.turn(self.pair.clock.ms):
            pass

    def call(self, ms: int = 0) -> CopyCall:
        """The question that it asks then."""
        self.turn(ms)
        call, _ = self.asked[-1]
        assert isinstance(call, CopyCall), call
        return call

    def answer(self, said: object) -> None:
        _, done = self.asked.pop()
        assert not self.asked, "one question at a time"
        done(said)
        self.turn()

    def follow(self, phase: Phase, freeze: int = 0) -> None:
        self.migration = self.migration._replace(phase=phase, freeze=freeze)
        self.copier.follow(self.migration)

    @property
    def report(self) -> Report:
        self.turn()
        return self.reports[-1]


def copied(case: Case) -> None:
    """All is here: a round of everything, and one of what was overwritten meanwhile."""
    case.turn()
    case.answer(PIECE)
    case.answer(PIECE)


def verified(freeze: int = 0) -> Case:
    case = Case(freeze=freeze)
    copied(case)
    case.answer(EQUAL)
    assert case.report.verified
    return case


def test_inv17_the_cell_is_durable_and_the_area_swept_before_the_first_question() -> None:
    case = Case()
    stale = keycodec.newest(b"b1")
    row = next(iter(filled_row()))
    case.engine.write(Batch().put(stale, row), sync=True)
    case.engine.write_faults.append((EngineError("gone"), False))
    case.turn()
    assert not case.asked, "no cell, no copy"
    assert len(case.mended) == 1
    case.turn(COPY_RETRY_MS)
    assert load(case.engine).keys() == {"m1"}
    assert case.engine.get(stale) is None
    assert isinstance(case.asked[0][0], CopyCall)


def filled_row() -> list[bytes]:
    pair = Moving()
    pair.put(b"b1")
    return list(pair.rows("shard-0", b"n").values())


def test_rounds_go_on_where_the_one_before_ended() -> None:
    case = Case()
    assert case.call()[2:5] == (-1, 0, b"")
    case.answer(PIECE._replace(cursor=b"here"))
    assert case.call()[2:5] == (-1, 9, b"here")
    case.answer(PIECE)
    assert case.call()[2:5] == (9, 0, b""), "what was overwritten meanwhile"
    case.answer(PIECE)
    case.answer(EQUAL)
    assert case.call()[2:5] == (9, 0, b"")
    case.answer(PIECE._replace(upto=12))
    case.turn(COPY_FOLLOW_MS - 1)
    assert not case.asked, "it has caught up"
    assert case.call(1)[2:5] == (12, 0, b"")
    case.turn(COPY_REPORT_MS)
    assert (case.report.upto, case.report.lag) == (12, 3)


def test_a_refused_piece_is_asked_for_again_and_another_map_begins_the_round_anew() -> None:
    case = Case()
    case.turn()
    case.answer(PIECE._replace(cursor=b"here"))
    case.answer(errors.TIMED_OUT)
    assert not case.asked
    assert case.call(COPY_RETRY_MS)[2:5] == (-1, 9, b"here")
    case.answer(errors.OTHER_MAP)
    assert case.call(COPY_RETRY_MS)[2:5] == (-1, 0, b"")


def test_the_rate_is_kept() -> None:
    case = Case(rate=1_000)
    case.turn()
    case.answer(PIECE._replace(puts=[(b"h" + b"x" * 99, b"y" * 400)], cursor=b"here"))
    case.turn(499)
    assert not case.asked
    case.turn(1)
    assert case.asked


def slowed() -> Case:
    """A piece has used up what its rate allows for half a second."""
    case = Case(rate=1_000)
    case.turn()
    case.answer(PIECE._replace(puts=[(b"h" + b"x" * 99, b"y" * 400)], cursor=b"here"))
    case.turn(1)
    assert not case.asked
    return case


def test_another_rate_counts_at_once() -> None:
    case = slowed()
    case.migration = case.migration._replace(rate=0)
    case.copier.follow(case.migration)
    case.turn()
    assert case.asked


def test_writes_that_are_frozen_do_not_wait_for_the_rate() -> None:
    case = slowed()
    case.follow(Phase.FROZEN, freeze=1)
    case.turn()
    case.answer(PIECE._replace(puts=[(b"h" + b"x" * 99, b"y" * 400)], cursor=b"there"))
    assert case.asked


def test_inv05_a_copy_that_differs_is_made_anew_and_fails_in_the_end() -> None:
    case = Case()
    for tries in range(1, COPY_TRIES_MAX + 1):
        case.turn(COPY_RETRY_MS)
        copied(case)
        case.answer(Digest(1, 1))
        assert not case.report.verified
        assert bool(case.report.failed) is (tries == COPY_TRIES_MAX)
    case.turn(COPY_RETRY_MS)
    copied(case)
    case.answer(EQUAL)
    assert case.report.verified
    assert not case.report.failed


def test_a_compacted_source_is_summed_at_the_revision_alone() -> None:
    case = Case()
    copied(case)
    assert case.asked[0][0].floor == 0  # type: ignore[union-attr]  # a DigestCall
    case.answer(errors.COMPACTED)
    case.turn(COPY_RETRY_MS)
    assert case.asked[0][0].floor == 9  # type: ignore[union-attr]  # as above


def is_final(case: Case) -> bool:
    return case.copier.final


def sealed(case: Case, freeze: int, upto: int = 12) -> None:
    case.turn(COPY_FOLLOW_MS)
    case.answer(PIECE._replace(sealed=freeze, upto=upto, ends=((MOVED, upto),)))


def test_inv18_final_is_a_sealed_round_of_this_freeze() -> None:
    case = verified()
    sealed(case, 1)
    assert not is_final(case), "nobody has frozen it"
    case.follow(Phase.FROZEN, 2)
    sealed(case, 0)
    sealed(case, 1)
    assert not is_final(case)
    sealed(case, 2)
    assert is_final(case)
    assert (case.report.ends, case.report.freeze) == (((MOVED, 12),), 2)
    assert case.engine.get(keycodec.fence(MOVED)) is not None
    case.turn(COPY_REPORT_MS)
    assert not case.asked, "nothing more is asked"


@pytest.mark.parametrize("phase", [Phase.READY, Phase.FROZEN])
def test_inv18_final_ends_with_its_freeze(phase: Phase) -> None:
    """Also where the thaw between two freezes was missed."""
    case = verified(freeze=1)
    case.follow(Phase.FROZEN, 2)
    sealed(case, 2)
    assert is_final(case)
    case.follow(phase, 3)
    assert not is_final(case)
    assert case.report.ends == ()
    case.turn()
    assert case.asked


def test_inv15_not_final_while_a_share_waits_here() -> None:
    case = verified()
    case.slot.quiet = False
    case.follow(Phase.FROZEN, 1)
    sealed(case, 1)
    case.turn(COPY_FOLLOW_MS)
    assert not is_final(case)
    assert not case.asked, "the source has nothing to add"
    case.slot.quiet = True
    case.turn()
    assert is_final(case)


@pytest.mark.parametrize(("phase", "freeze"), [(Phase.READY, 1), (Phase.FROZEN, 2)])
def test_inv21_sealed_round_that_waited_here_is_void_behind_its_freeze(
    phase: Phase, freeze: int
) -> None:
    case = verified()
    case.slot.quiet = False
    case.follow(Phase.FROZEN, 1)
    sealed(case, 1)
    case.follow(phase, freeze)
    case.slot.quiet = True
    case.turn(COPY_FOLLOW_MS)
    assert not is_final(case)
    assert case.asked


def test_what_is_answered_to_an_earlier_copy_counts_for_nothing() -> None:
    case = Case()
    case.turn()
    _, late = case.asked.pop()
    case.copier.begin_anew("a reason")
    late(PIECE._replace(puts=[(keycodec.newest(b"b1"), filled_row()[0])]))
    assert case.engine.get(keycodec.newest(b"b1")) is None
    assert not case.report.failed


def test_an_old_owner_follows_the_new_one_also_when_it_begins_anew() -> None:
    case = Case(Phase.DRAINING, since=9)
    case.migration = replace_shards(case.migration)
    case.copier.follow(case.migration)
    assert case.call()[2:5] == (9, 0, b"")
    assert case.report.verified
    case.copier.begin_anew("its store failed")
    case.asked.clear()
    case.turn(COPY_RETRY_MS)
    copied(case)
    case.answer(EQUAL)
    assert set(case.names) == {"the new owner"}


def replace_shards(migration: Migration) -> Migration:
    targets = tuple(replace(target, shard="the new owner") for target in migration.targets)
    return migration._replace(source="shard-1", target="the new owner", targets=targets)


def test_reports_are_repeated() -> None:
    case = verified()
    told = len(case.reports)
    case.turn(COPY_REPORT_MS - 1)
    assert len(case.reports) == told
    assert case.copier.next_deadline_ms() <= case.pair.clock.ms + 1
    case.turn(1)
    assert len(case.reports) == told + 1


def following() -> Case:
    """It has caught up, and has asked for the next round COPY_FOLLOW_MS ago."""
    case = verified()
    case.turn(COPY_FOLLOW_MS)
    assert case.asked
    assert not case.report.away
    return case


@pytest.mark.parametrize("refused", [errors.OWNER_AWAY, errors.NO_LEADER])
def test_a_source_without_a_link_is_reported_away_until_it_answers(refused: RequestRefused) -> None:
    case = following()
    case.answer(refused)
    assert case.report.away
    case.turn(COPY_RETRY_MS)
    assert case.report.away, "asked again, and not answered yet"
    case.answer(PIECE)
    assert not case.report.away


def test_a_source_that_says_nothing_is_away_after_a_while() -> None:
    case = following()
    told = []
    for ms in (COPY_AWAY_MS - COPY_FOLLOW_MS - 1, 1):
        case.turn(ms)
        told.append(case.report.away)
    assert told == [False, True]
    case.answer(errors.TIMED_OUT)
    assert case.report.away, "a refusal brings nothing"


def test_a_source_that_refuses_once_is_there() -> None:
    case = following()
    case.answer(errors.TOO_MANY_REQUESTS)
    assert not case.report.away
