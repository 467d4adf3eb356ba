"""The phase table: what it has, what it must never have, and what becomes of a map."""

from __future__ import annotations

from itertools import product

import pytest

from kubebraid.base.reshard import ENDED, UNDECIDED, Kind, Phase
from kubebraid.coordinator import phases
from kubebraid.coordinator.phases import DRIVEN, ROWS, TABLE, Word
from tests.unit.coordinator.reshard_kit import MAP, at, hashed, merge, move, only, planned, split

BEHIND = tuple(phase for phase in Phase if phase not in UNDECIDED and phase not in ENDED)


def test_table_has_one_row_for_each_arrow() -> None:
    assert len(ROWS) == len(TABLE)


@pytest.mark.parametrize("phase", list(Phase))
def test_a_migration_can_be_cancelled_before_it_is_committed_and_never_later(phase: Phase) -> None:
    row = ROWS.get((phase, Phase.ABORTED))
    assert (row is not None and Word.OPERATOR in row.words) is (phase in UNDECIDED)


@pytest.mark.parametrize("phase", list(ENDED))
def test_what_has_ended_stays_so(phase: Phase) -> None:
    assert not [row for row in TABLE if row.before is phase]


def test_m05_only_the_log_leads_out_of_frozen_and_a_deadline_has_no_row_elsewhere() -> None:
    with_deadline = {row.before for row in TABLE if Word.DEADLINE in row.words}
    assert with_deadline == {Phase.FROZEN}


def test_inv18_one_row_commits_and_it_alone_carries_the_ends() -> None:
    fixed = [(row.before, row.after) for row in TABLE if row.fixed]
    into = [(row.before, row.after) for row in TABLE if row.after is Phase.COMMITTED]
    assert fixed == into == [(Phase.FROZEN, Phase.COMMITTED)]


def test_every_phase_is_reached_and_every_unfinished_one_is_left() -> None:
    assert {row.after for row in TABLE} | {Phase.PLANNED} == set(Phase)
    assert {row.before for row in TABLE} == set(Phase) - ENDED


@pytest.mark.parametrize(("before", "after"), list(product(BEHIND, UNDECIDED)))
def test_behind_the_commit_only_a_reversed_move_goes_back(before: Phase, after: Phase) -> None:
    row = ROWS.get((before, after))
    if (before, after) == (Phase.DRAINING, Phase.READY):
        assert row is not None
        assert (set(row.words), set(row.kinds)) == ({Word.OPERATOR}, {Kind.MOVE})
    else:
        assert row is None


@pytest.mark.parametrize("phase", list(Phase))
def test_m02_takeover_leads_from_frozen_to_ready_and_changes_nothing_else(phase: Phase) -> None:
    before = only(at(phase))
    after = phases.taken_over(before)
    if phase is Phase.FROZEN:
        assert (after.phase, after.tries, bool(after.why)) == (Phase.READY, 0, True)
    else:
        assert after == before


@pytest.mark.parametrize(
    ("shard", "phase", "then"),
    [
        ("s1", Phase.PREPARING, Phase.PREPARING),
        ("s1", Phase.READY, Phase.PREPARING),
        ("s1", Phase.FROZEN, Phase.PREPARING),
        ("s1", Phase.COMMITTED, Phase.COMMITTED),
        ("s0", Phase.READY, Phase.READY),
        ("s0", Phase.FROZEN, Phase.READY),
        ("s0", Phase.DRAINING, Phase.DRAINING),
        ("s2", Phase.FROZEN, Phase.FROZEN),
    ],
)
def test_restart_of_a_side(shard: str, phase: Phase, then: Phase) -> None:
    assert phases.restarted(only(at(phase)), shard).phase is then


def test_each_freeze_has_a_number_of_its_own() -> None:
    ready = only(at(Phase.READY))
    frozen = phases.moved(ready, Phase.FROZEN)
    again = phases.moved(phases.taken_over(frozen), Phase.FROZEN)
    assert (frozen.freeze, again.freeze) == (ready.freeze + 1, ready.freeze + 2)


def test_reversal_exchanges_the_sides_and_keeps_counting_freezes() -> None:
    """A late commit of the way there must not fit the way back."""
    there = only(at(Phase.DRAINING, manual=True, ends=((2, 90),), version=2, freeze=3))
    back = phases.sent_back(there)
    assert (back.source, back.target, back.phase) == ("s1", "s0", Phase.READY)
    assert [tablet.shard for tablet in back.targets] == ["s0"]
    assert (back.freeze, back.manual, back.ends, back.version) == (3, False, (), 0)


def test_deadline_is_a_word_that_a_step_can_stand_on() -> None:
    frozen = only(at(Phase.FROZEN))
    assert phases.allows(frozen, Phase.READY, DRIVEN)
    assert not phases.allows(only(at(Phase.DRAINING)), Phase.READY, DRIVEN)


# -- the map -----------------------------------------------------------------------------------


def test_move_keeps_all_but_the_owner() -> None:
    made = phases.map_behind(move(), MAP, {2: 90})
    before, after = MAP.by_id()[2], made.by_id()[2]
    assert (after.shard, after.oepoch, after.begin) == ("s1", before.oepoch + 1, 90)
    assert (after.name, after.span) == (before.name, before.span)
    assert made.version == MAP.version + 1
    assert {1: made.by_id()[1], 3: made.by_id()[3]} == {1: MAP.tablets[0], 3: MAP.tablets[2]}


def test_split_begins_where_its_parent_ended() -> None:
    made = phases.map_behind(only(planned(split())), MAP, {2: 90})
    assert [(t.id, t.oepoch, t.begin) for t in made.tablets] == [
        (1, 1, 0),
        (4, 2, 90),
        (5, 2, 90),
        (3, 1, 0),
    ]
    assert made.tablet_of(b"/a/x").id == 5


def test_merge_begins_behind_all_of_its_parents() -> None:
    made = phases.map_behind(only(planned(merge())), MAP, {1: 40, 2: 90})
    assert [(t.id, t.oepoch, t.begin) for t in made.tablets] == [(4, 2, 90), (3, 1, 0)]


def test_hash_split_covers_the_range_with_buckets() -> None:
    made = phases.map_behind(only(planned(hashed(4))), MAP, {2: 5})
    assert {t.id for t in made.tablets} == {1, 4, 5, 6, 7, 3}
