"""After a failed write: what the fences tell, and that it is final once it was told."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from kubebraid.base import errors
from kubebraid.base.limits import SETTLE_TRIES_MAX
from kubebraid.shard import fencing, keycodec
from kubebraid.shard.fencing import Fence, FenceDamaged
from kubebraid.shard.settle import Found, Settler, find, refusal, void
from kubebraid.shard.storage.engine import (
    Batch,
    EngineClosed,
    EngineCorrupt,
    EngineError,
    EngineFull,
)
from kubebraid.shard.storage.tikv_errors import EngineConflict, EngineFenced
from tests.unit.shard.fakes import A, B, BreakableEngine, TightSpace

GONE = EngineError("the device is gone")
FULL = EngineFull("no space left")

Fences = dict[int, Fence]


def fences(*ids: int, last: int = 17) -> Fences:
    return {tablet: Fence(4, last, 6 + tablet) for tablet in ids}


def advanced(before: Mapping[int, Fence], *ids: int) -> Fences:
    """What a batch with one write of each tablet makes of the fences."""
    return {
        tablet: fencing.advance(before[tablet], 4, 18 + index) for index, tablet in enumerate(ids)
    }


def voided(after: Mapping[int, Fence]) -> Fences:
    return {tablet: void(fence) for tablet, fence in after.items()}


class Case:
    """An engine with fences, and a batch that is about to fail on it."""

    def __init__(self, *touched: int) -> None:
        self.engine = BreakableEngine()
        self.space = TightSpace()
        self.before = fences(A, B, 5)
        self.after = advanced(self.before, *touched)
        adoption = Batch()
        for tablet, fence in self.before.items():
            adoption.put(keycodec.fence(tablet), fence.pack())
        self.engine.write(adoption, sync=True)

    def fail(self, error: EngineError = GONE, *, landed: bool = False) -> EngineError:
        """Write the batch: what the writer is told."""
        batch = Batch().put(b"n/a/x", b"row")
        for tablet, fence in self.after.items():
            batch.put(keycodec.fence(tablet), fence.pack())
        self.engine.write_faults.append((error, landed))
        with pytest.raises(EngineError) as told:
            self.engine.write(batch, sync=True)
        return told.value

    def settle(self, error: EngineError) -> bool:
        return Settler(self.engine, self.space).settle(error, self.before, self.after)

    def insist_through(self, error: EngineError) -> None:
        """On the batch, whose first try meets the error."""
        batch = Batch()
        for tablet, fence in self.after.items():
            batch.put(keycodec.fence(tablet), fence.pack())
        self.engine.write_faults.append((error, False))
        Settler(self.engine, self.space).insist(batch, self.before, self.after)

    def stored(self) -> Fences:
        """What a crash right now would leave."""
        survivor = self.engine.clone()
        raws = {tablet: survivor.get(keycodec.fence(tablet)) for tablet in self.before}
        return {tablet: fencing.unpack(raw) for tablet, raw in raws.items() if raw is not None}

    def there(self) -> bool:
        return self.engine.clone().get(b"n/a/x") is not None


# -- find ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("touched", [(A,), (B, A), (A, B, 5)])
def test_each_of_the_three_states_is_found(touched: tuple[int, ...]) -> None:
    before = fences(A, B, 5)
    after = advanced(before, *touched)
    assert find(before, before, after) is Found.BEFORE
    assert find({**before, **after}, before, after) is Found.LANDED
    assert find({**before, **voided(after)}, before, after) is Found.VOID


def test_worked_example_of_the_module() -> None:
    before, after = {1: Fence(4, 17, 6)}, {1: Fence(4, 18, 7)}
    assert find({1: Fence(4, 18, 7)}, before, after) is Found.LANDED
    assert find({1: Fence(4, 17, 6)}, before, after) is Found.BEFORE
    assert void(after[1]) == Fence(4, 18, 8)


def test_batch_of_leases_alone_is_told_by_its_nonce() -> None:
    before = {1: Fence(4, 17, 6)}
    after = {1: fencing.touch(before[1], 4)}
    assert find(before, before, after) is Found.BEFORE
    assert find(after, before, after) is Found.LANDED
    assert find(voided(after), before, after) is Found.VOID


def test_fences_that_disagree_are_damaged() -> None:
    """A batch is atomic: half of it cannot be there, so somebody else was."""
    before = fences(A, B)
    after = advanced(before, A, B)
    states = (before, after, voided(after))
    for one in states:
        for other in states:
            if one is not other:
                with pytest.raises(FenceDamaged, match="neither"):
                    find({A: one[A], B: other[B]}, before, after)


@pytest.mark.parametrize(
    "foreign",
    [
        Fence(5, 17, 9),
        Fence(5, 18, 10),
        Fence(4, 17, 9),
        Fence(4, 18, 8),
        Fence(4, 18, 11),
        Fence(4, 19, 9),
    ],
)
def test_fence_of_somebody_else_is_damaged(foreign: Fence) -> None:
    """An owner with a newer epoch, or a commit that is not ours: this process has lost."""
    before = {A: Fence(4, 17, 8)}
    after = {A: Fence(4, 18, 9)}
    with pytest.raises(FenceDamaged):
        find({A: foreign}, before, after)


# -- settle ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("touched", [(A,), (A, B), (5, B, A)])
@pytest.mark.parametrize("error", [GONE, FULL, EngineCorrupt("?")], ids=lambda e: type(e).__name__)
def test_write_that_landed_is_told_so_and_nothing_is_written(
    error: EngineError, touched: tuple[int, ...]
) -> None:
    case = Case(*touched)
    told = case.fail(error, landed=True)
    writes = case.engine.writes
    assert case.settle(told)
    assert case.engine.writes == writes
    assert case.stored() == {**case.before, **case.after}
    assert case.there()


@pytest.mark.parametrize("touched", [(A,), (A, B), (5, B, A)])
def test_write_that_did_not_land_is_closed_in_every_fence(touched: tuple[int, ...]) -> None:
    case = Case(*touched)
    assert not case.settle(case.fail())
    assert case.stored() == {**case.before, **voided(case.after)}, "synced, the others untouched"
    assert not case.there()


def test_engine_takes_writes_again_after_either_outcome() -> None:
    for landed in (False, True):
        case = Case(A)
        case.settle(case.fail(landed=landed))
        case.engine.write(Batch().put(b"next", b""), sync=True)


def test_batch_of_leases_alone_is_settled_by_the_same_rule() -> None:
    for landed in (False, True):
        case = Case()
        case.after = {A: fencing.touch(case.before[A], 4)}
        assert case.settle(case.fail(landed=landed)) is landed
        expected = case.after[A] if landed else void(case.after[A])
        assert case.stored()[A] == expected
        assert case.stored()[A].last == 17, "no revision was taken"


@pytest.mark.parametrize("landed", [False, True])
@pytest.mark.parametrize("failures", range(1, SETTLE_TRIES_MAX))
def test_reopening_that_fails_a_few_times_is_tried_again(failures: int, landed: bool) -> None:
    case = Case(A, B)
    told = case.fail(landed=landed)
    case.engine.reopen_faults.extend([GONE] * failures)
    assert case.settle(told) is landed
    assert case.engine.reopens == failures + 1


DEPOSED = EngineFenced("another process took the store over")


def test_store_that_another_process_took_is_not_opened_again() -> None:
    case = Case(A)
    told = case.fail(DEPOSED)
    with pytest.raises(EngineFenced):
        case.settle(told)
    other = Case(A)
    with pytest.raises(EngineFenced):
        other.insist_through(DEPOSED)
    assert (case.engine.reopens, other.engine.reopens) == (0, 0)


def test_reopening_that_tells_of_another_process_is_the_last_one() -> None:
    """A conflict is a sign of it, which the reopening looks into."""
    for insists in (False, True):
        case = Case(A)
        conflict = EngineConflict("a commit met another one")
        case.engine.reopen_faults.append(DEPOSED)
        with pytest.raises(EngineFenced) as raised:
            case.insist_through(conflict) if insists else case.settle(case.fail(conflict))
        assert raised.value is DEPOSED
        assert case.engine.reopens == 1


def test_conflict_behind_which_the_store_is_still_ours_is_settled() -> None:
    case = Case(A, B)
    assert not case.settle(case.fail(EngineConflict("a commit met another one")))
    assert case.stored() == {**case.before, **voided(case.after)}


@pytest.mark.parametrize("landed", [False, True])
def test_reopening_that_always_fails_is_told_with_its_last_error(landed: bool) -> None:
    case = Case(A)
    told = case.fail(landed=landed)
    errors_met = [EngineError(str(number)) for number in range(SETTLE_TRIES_MAX)]
    case.engine.reopen_faults.extend(errors_met)
    with pytest.raises(EngineError) as raised:
        case.settle(told)
    assert raised.value is errors_met[-1]
    assert case.engine.reopens == SETTLE_TRIES_MAX
    untouched = case.after if landed else {}
    assert case.stored() == {**case.before, **untouched}, "the next start finds it out"


@pytest.mark.parametrize("void_lands", [False, True])
@pytest.mark.parametrize("failures", range(1, SETTLE_TRIES_MAX))
def test_closing_of_the_revisions_that_fails_is_made_again_or_found(
    failures: int, void_lands: bool
) -> None:
    """Also where the failed closing has landed: its fences are not written a second time."""
    case = Case(A, B)
    told = case.fail()
    case.engine.write_faults.extend([(GONE, False)] * (failures - 1) + [(GONE, void_lands)])
    assert not case.settle(told)
    assert case.stored() == {**case.before, **voided(case.after)}
    assert case.engine.reopens == failures + 1


def test_closing_that_always_fails_is_told() -> None:
    case = Case(A)
    told = case.fail()
    case.engine.breaks = True
    with pytest.raises(EngineError, match="gone"):
        case.settle(told)
    assert case.stored() == case.before
    assert case.engine.reopens == SETTLE_TRIES_MAX


def test_closing_whose_last_try_landed_is_still_not_known() -> None:
    """Nobody has read it back. The next start will: it finds the revisions closed."""
    case = Case(A)
    told = case.fail()
    lost = [(GONE, False)] * (SETTLE_TRIES_MAX - 1)
    case.engine.write_faults.extend([*lost, (GONE, True)])
    with pytest.raises(EngineError):
        case.settle(told)
    assert case.stored() == {**case.before, **voided(case.after)}


@pytest.mark.parametrize("landed", [False, True])
def test_foreign_fence_ends_the_settling_at_once_and_is_left_alone(landed: bool) -> None:
    case = Case(A, B)
    told = case.fail(landed=landed)
    case.engine.reopen()
    foreign = Fence(9, 40, 70)
    case.engine.write(Batch().put(keycodec.fence(B), foreign.pack()), sync=True)
    with pytest.raises(FenceDamaged):
        case.settle(told)
    assert case.stored()[B] == foreign
    assert case.stored()[A] == (case.after if landed else case.before)[A]


def test_missing_or_unreadable_fence_row_is_damage() -> None:
    for batch in (
        Batch().delete(keycodec.fence(A)),
        Batch().put(keycodec.fence(A), b"x"),
        Batch().put(keycodec.fence(A), bytes(28)),
    ):
        case = Case(A)
        told = case.fail()
        case.engine.reopen()
        case.engine.write(batch, sync=True)
        with pytest.raises(FenceDamaged):
            case.settle(told)


def test_fence_that_cannot_be_read_is_an_engine_error() -> None:
    case = Case(A)
    told = case.fail(landed=True)
    case.engine.faults[keycodec.fence(A)] = EngineCorrupt("checksum")
    with pytest.raises(EngineCorrupt):
        case.settle(told)


def test_damaged_fence_of_a_tablet_that_the_batch_does_not_touch_is_not_read() -> None:
    case = Case(A)
    told = case.fail()
    case.engine.faults[keycodec.fence(B)] = EngineCorrupt("checksum")
    assert not case.settle(told)


# -- the reserve -----------------------------------------------------------------------------------


def test_full_device_gets_the_reserve_before_the_store_is_opened_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An open writes: without the room it would fail as the write did."""
    case = Case(A)
    told = case.fail(FULL)
    at_release: list[int] = []
    monkeypatch.setattr(case.space, "release", lambda: at_release.append(case.engine.reopens))
    assert not case.settle(told)
    assert at_release == [0]


def test_other_failures_keep_the_reserve() -> None:
    case = Case(A)
    assert not case.settle(case.fail(GONE))
    assert case.space.told == []


@pytest.mark.parametrize("where", ["reopening", "closing"])
def test_device_that_turns_out_to_be_full_later_gets_the_reserve_too(where: str) -> None:
    case = Case(A)
    told = case.fail(GONE)
    if where == "reopening":
        case.engine.reopen_faults.append(FULL)
    else:
        case.engine.write_faults.append((FULL, False))
    assert not case.settle(told)
    assert case.space.told == ["release"]


def test_mending_opens_the_store_again_and_tells_if_it_cannot() -> None:
    case = Case(A)
    settler = Settler(case.engine, case.space)
    settler.mend(case.fail(FULL))
    case.engine.write(Batch().put(b"next", b""), sync=True)
    assert (case.engine.reopens, case.space.told) == (1, ["release"])
    case.engine.reopen_faults.append(GONE)
    with pytest.raises(EngineError, match="gone"):
        settler.mend(case.fail(GONE))
    assert case.engine.reopens == 2


# -- refusals --------------------------------------------------------------------------------------


def test_damage_is_told_as_damage_and_everything_else_may_pass() -> None:
    assert refusal(EngineCorrupt("checksum")) is errors.CORRUPT
    for error in (GONE, FULL, EngineClosed("reopened")):
        assert refusal(error) is errors.TIMED_OUT


# -- batches that may not be given up --------------------------------------------------------------


class Insisting(Case):
    """The batch is written by `insist`, on an engine with these faults."""

    def insist(self, *faults: tuple[EngineError, bool] | None) -> bool:
        batch = Batch().put(b"n/a/x", b"row")
        for tablet, fence in self.after.items():
            batch.put(keycodec.fence(tablet), fence.pack())
        self.engine.write_faults.extend(faults)
        return Settler(self.engine, self.space).insist(batch, self.before, self.after)


@pytest.mark.parametrize("faults", [(), ((GONE, True),), ((GONE, False),), ((GONE, False),) * 2])
def test_batch_that_others_rely_on_is_there_once(
    faults: tuple[tuple[EngineError, bool], ...],
) -> None:
    case = Insisting(A, B)
    assert not case.insist(*faults)
    assert case.there()
    assert case.stored() == {**case.before, **case.after}, "its own fences, not those of a void"


def test_full_device_is_told_and_has_its_reserve_released() -> None:
    case = Insisting(A)
    assert case.insist((FULL, False))
    assert case.there()
    assert "release" in case.space.told


def test_device_that_never_takes_it_is_an_error() -> None:
    case = Insisting(A)
    with pytest.raises(EngineError):
        case.insist(*[(GONE, False)] * SETTLE_TRIES_MAX)
    assert not case.there()
