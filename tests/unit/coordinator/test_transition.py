"""Every change of the coordinator's state: total, and never downwards."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubebraid.base.ports import (
    ALARM_CORRUPT,
    ALARM_NOSPACE,
    NEVER_ADOPTED,
    Adoption,
    Alarm,
    ShardPlace,
)
from kubebraid.base.reshard import ENDED, HandOver, Phase, Removal
from kubebraid.base.tabletmap import TabletMap, layout, with_new_epochs
from kubebraid.coordinator.machine import UNFOUNDED
from kubebraid.coordinator.state import NEVER_COMPACTED, Lease, State, decode, encode
from kubebraid.coordinator.transition import (
    TRIED_MAX,
    Acquire,
    Adopted,
    Command,
    Found,
    RaiseFloor,
    Release,
    Renew,
    Seat,
    SetAlarm,
    StartShard,
    TakeReign,
    apply,
    refusal,
)
from tests.unit.coordinator.reshard_kit import at
from tests.unit.coordinator.reshard_kit import founded as resharded
from tests.unit.coordinator.test_commands import COMMANDS as ANY_COMMANDS


def state(floor: int = NEVER_COMPACTED) -> State:
    return State(3, floor, layout([b"/a/"]))


def two_shards() -> TabletMap:
    """Tablets 1 and 3 on s0, 2 on s1."""
    one, two, three = layout([b"/a/"]).tablets
    owned = (replace(one, shard="s0"), replace(two, shard="s1"), replace(three, shard="s0"))
    return TabletMap(4, owned)


def founded(holder: str = "a#1") -> State:
    """Reign 3, held by `holder`: up to 100, renewed twice."""
    return State(3, NEVER_COMPACTED, two_shards(), cluster="c", lease=Lease(holder, 100, 2))


def start(
    incarnation: int = 7, end: int = 60, cepoch: int = 3, store: str = "d", replaces: int = 0
) -> StartShard:
    ends = ((1, end), (3, end))
    return StartShard(cepoch, "s0", store, incarnation, f"h:{incarnation}", ends, replaces)


def come(made: State, incarnation: int, *previous: int) -> State:
    """A process of s0 comes with a store that says `previous`."""
    known = made.shard("s0")
    asked = start(incarnation, 75, replaces=0 if known is None else known.since)
    return apply(made, replace(asked, previous=Adoption(*previous)))


def confirm(made: State, incarnation: int, marks: int = 0) -> State:
    return apply(made, Adopted("s0", Adoption(incarnation, marks)))


# -- floor and alarms ------------------------------------------------------------------------------


def test_floor_below_the_present_one_changes_nothing() -> None:
    """The worked example of the module."""
    assert apply(state(100), RaiseFloor(90)) == state(100)
    assert apply(state(100), RaiseFloor(100)) == state(100)


def test_floor_rises_and_nothing_else_moves() -> None:
    assert apply(state(100), RaiseFloor(101)) == state(101)
    assert apply(state(), RaiseFloor(0)) == state(0), "etcd takes Compact(0) once"


def test_floor_below_every_floor_is_no_exception() -> None:
    """Total: a replicated command that raised would stop every replica."""
    assert apply(state(), RaiseFloor(-99)) == state()


def test_reign_takes_a_new_cepoch_and_every_tablet_anew() -> None:
    """Rule M6."""
    after = apply(state(100), TakeReign())
    assert (after.cepoch, after.compact_revision) == (4, 100)
    assert after.tablets.version == 2
    assert [t.oepoch for t in after.tablets.tablets] == [2, 2, 2]


def test_alarm_stands_until_it_is_disarmed_and_a_restart_keeps_it() -> None:
    """etcd: a full disk stays refused until the operator says otherwise."""
    full, damaged = Alarm(7, ALARM_NOSPACE), Alarm(7, ALARM_CORRUPT)
    made = apply(apply(state(), SetAlarm(full, True)), SetAlarm(damaged, True))
    assert apply(made, TakeReign()).alarms == {full, damaged}
    assert apply(made, SetAlarm(full, False)).alarms == {damaged}


def test_alarm_raised_twice_or_disarmed_twice_changes_nothing() -> None:
    full = Alarm(7, ALARM_NOSPACE)
    raised = apply(state(), SetAlarm(full, True))
    assert apply(raised, SetAlarm(full, True)) == raised
    assert apply(state(), SetAlarm(full, False)) == state()


# -- the lease -------------------------------------------------------------------------------------


def test_cluster_is_founded_once() -> None:
    after = apply(UNFOUNDED, Found("c", two_shards()))
    assert (after.cluster, after.tablets) == ("c", two_shards())
    assert apply(after, Found("other", layout([]))) is after


@pytest.mark.parametrize("command", [Acquire("a", 0, 0, 10), start(cepoch=0)])
def test_nothing_is_taken_before_there_is_a_cluster(command: Command) -> None:
    assert apply(UNFOUNDED, command) is UNFOUNDED


def test_inv13_acquisition_begins_a_reign_with_a_window_behind_the_last() -> None:
    after = apply(founded(), Acquire("b#1", 3, 2, 10))
    assert (after.cepoch, after.lease) == (4, Lease("b#1", 110, 0))


@pytest.mark.parametrize("holder", ["a#1", ""])
@pytest.mark.parametrize(("cepoch", "renewals", "length"), [(2, 2, 9), (3, 1, 9), (3, 2, 0)])
def test_inv13_acquisition_of_another_lease_than_was_seen_changes_nothing(
    holder: str, cepoch: int, renewals: int, length: int
) -> None:
    """Also of one that was released: who proposed it has not seen up to where it was used."""
    before = founded(holder)
    assert apply(before, Acquire("b#1", cepoch, renewals, length)) is before


def test_inv13_of_a_renewal_and_an_acquisition_that_race_one_changes_nothing() -> None:
    renew, acquire = Renew("a#1", 3, 2, 150), Acquire("b#1", 3, 2, 10)
    renewed = apply(founded(), renew)
    assert renewed.lease == Lease("a#1", 150, 3)
    assert apply(renewed, acquire) is renewed
    acquired = apply(founded(), acquire)
    assert apply(acquired, renew) is acquired


@pytest.mark.parametrize(
    "renew",
    [Renew("b#1", 3, 2, 150), Renew("a#1", 2, 2, 150), Renew("a#1", 3, 1, 150)],
)
def test_inv13_renewal_of_another_lease_changes_nothing(renew: Renew) -> None:
    before = founded()
    assert apply(before, renew) is before


def test_inv13_window_does_not_shrink_by_a_renewal() -> None:
    before = founded()
    assert apply(before, Renew("a#1", 3, 2, 99)) is before


def test_m09_release_leaves_the_window_at_what_was_handed_out() -> None:
    after = apply(founded(), Release("a#1", 3, 40))
    assert (after.cepoch, after.lease) == (3, Lease("", 40, 2))


@pytest.mark.parametrize(
    "release",
    [Release("b#1", 3, 40), Release("a#1", 2, 40), Release("a#1", 3, 101), Release("a#1", 3, 0)],
)
def test_m09_release_that_is_not_the_holders_or_beyond_its_window_changes_nothing(
    release: Release,
) -> None:
    before = founded()
    assert apply(before, release) is before


# -- shards ----------------------------------------------------------------------------------------


def test_m06_started_shard_gets_every_tablet_under_a_new_oepoch_that_begins_at_h() -> None:
    after = apply(founded(), start())
    assert after.tablets.version == 5
    assert after.shards == (ShardPlace("s0", "d", 7, "h:7", 5, tried=(7,)),)
    assert [(t.oepoch, t.begin) for t in after.tablets.tablets] == [(2, 60), (1, 0), (2, 60)]
    assert apply(after, start()) is after, "sent again"


def test_m06_every_start_takes_a_new_oepoch() -> None:
    after = apply(apply(founded(), start()), start(8, 75, replaces=5))
    assert after.shards == (ShardPlace("s0", "d", 8, "h:8", 6, tried=(7, 8)),)
    assert [(t.oepoch, t.begin) for t in after.tablets.tablets] == [(3, 75), (1, 0), (3, 75)]


@pytest.mark.parametrize("cepoch", [2, 4])
def test_m02_h_of_another_reign_changes_nothing(cepoch: int) -> None:
    """The sequencer that fixed it may have handed out more since, or its successor did."""
    before = founded()
    assert apply(before, start(cepoch=cepoch)) is before


def test_m02_h_below_where_the_tablet_begins_changes_nothing() -> None:
    before = apply(founded(), start())
    assert apply(before, start(8, 59, replaces=5)) is before


@pytest.mark.parametrize("replaces", [0, 4, 6])
def test_m02_h_that_was_fixed_for_another_process_changes_nothing(replaces: int) -> None:
    """Whoever took the tablets in between may have been given more."""
    before = apply(founded(), start())
    assert apply(before, start(8, 75, replaces=replaces)) is before


@pytest.mark.parametrize("ends", [(), ((1, 60),), ((1, 60), (2, 60), (3, 60)), ((9, 60),)])
def test_m02_h_of_other_tablets_than_the_shard_has_changes_nothing(
    ends: tuple[tuple[int, int], ...],
) -> None:
    before = founded()
    assert apply(before, replace(start(), ends=ends)) is before


def test_shard_on_another_disk_than_its_tablets_changes_nothing() -> None:
    before = apply(founded(), start())
    assert apply(before, start(8, 75, store="other", replaces=5)) is before


# -- older copies of a store -----------------------------------------------------------------------


def test_m06_confirmed_adoption_closes_the_door_to_every_copy_from_before() -> None:
    made = confirm(come(founded(), 7), 7)
    assert made.shard("s0") == ShardPlace("s0", "d", 7, "h:7", 5, Adoption(7))
    assert come(made, 8) is made, "a copy from before 7 came"
    made = confirm(come(made, 8, 7), 8)
    for older in ((), (7,), (7, 9)):
        assert come(made, 9, *older) is made
    assert come(made, 9, 8) is not made


def test_process_that_ended_before_its_adoption_was_durable_is_passed_over() -> None:
    """Crash point 1, three times: the store says 7 each time."""
    made = confirm(come(founded(), 7), 7)
    for incarnation in (8, 9, 10):
        after = come(made, incarnation, 7)
        assert after is not made
        made = after
    assert confirm(made, 10).shard("s0") == ShardPlace("s0", "d", 10, "h:10", 8, Adoption(10))


def test_process_that_ended_behind_its_durable_adoption_is_followed_by_another() -> None:
    """Crash point 2: the store says 8, of which the coordinators never heard. Nothing was
    acknowledged, so the store that still says 7 is as good, wherever the two come from."""
    made = come(confirm(come(founded(), 7), 7), 8, 7)
    again = come(made, 9, 8)
    assert again is not made
    assert come(again, 10, 9) is not again
    assert come(again, 10, 8) is not again, "9 ended before it was durable"
    assert come(again, 10, 7) is not again


def test_first_start_that_ended_early_is_followed_by_another() -> None:
    for said in ((), (7,)):
        made = come(come(founded(), 7), 8, *said)
        assert confirm(made, 8) is not made


def test_process_that_was_replaced_confirms_nothing() -> None:
    """Else the one that replaced it would be refused, although both have one store."""
    made = come(come(founded(), 7), 8)
    assert confirm(made, 7) is made
    assert apply(made, Adopted("s1", Adoption(8))) is made


def test_delayed_start_of_a_process_that_is_gone_locks_nobody_out() -> None:
    """8 died; its start arrives behind that of 9, which lives, and whose store says 9 by then."""
    made = come(come(confirm(come(founded(), 7), 7), 9, 7), 8, 7)
    shard = made.shard("s0")
    assert shard is not None
    assert shard.incarnation == 8
    assert come(made, 10, 9) is not made


def test_copy_from_before_a_confirmed_mark_is_older() -> None:
    made = confirm(confirm(come(founded(), 7), 7), 7, 2)
    assert confirm(made, 7, 1) is made
    assert confirm(made, 7, 2) is made
    assert come(made, 8, 7, 1) is made
    later = come(made, 8, 7, 3)
    assert later is not made, "the third was not confirmed any more"
    assert come(later, 9, 7, 2) is later, "and now it is known"


def test_endless_row_of_starts_stays_small() -> None:
    made = confirm(come(founded(), 7), 7)
    for incarnation in range(100, 200):
        made = come(made, incarnation, 7)
    shard = made.shard("s0")
    assert shard is not None
    assert len(shard.tried) == TRIED_MAX
    assert come(made, 8, 7) is not made
    made = come(made, 199 + 1, 190)
    for incarnation in range(300, 400):
        made = come(made, incarnation, 190)
    assert come(made, 8, 190) is not made
    assert len(encode(made)) < 2_000


def test_cluster_from_before_adoptions_lets_a_store_without_a_row_in_once() -> None:
    before = ShardPlace("s0", "d", 7, "h:7", 4)
    made = replace(founded(), shards=(before,))
    assert come(made, 8, 7) is made
    made = confirm(come(made, 8), 8)
    assert come(made, 9) is made


def test_release_of_what_nobody_holds_changes_nothing() -> None:
    """It was answered as a change: by nobody, down to where the window was."""
    made = founded("")
    assert apply(made, Release("", made.cepoch, made.lease.window)) is made


# -- any history -----------------------------------------------------------------------------------

HOSTS = st.sampled_from(("s0", "s1", "s2"))
NODES = st.sampled_from(("a#1", "b#1", ""))
SMALL = st.integers(0, 5)
REVISIONS = st.integers(-2, 40)
ALARMS = st.builds(Alarm, st.integers(1, 2), st.sampled_from((ALARM_NOSPACE, ALARM_CORRUPT)))
# Values near those that apply, so that long histories go somewhere.
COMMANDS: st.SearchStrategy[Command] = st.one_of(
    st.just(TakeReign()),
    st.builds(Found, st.sampled_from(("", "c", "d")), st.just(two_shards())),
    st.builds(Found, st.just("c"), st.just(layout([]))),
    st.builds(Acquire, NODES, SMALL, SMALL, st.integers(-1, 20)),
    st.builds(Renew, NODES, SMALL, SMALL, REVISIONS),
    st.builds(Release, NODES, SMALL, REVISIONS),
    st.builds(
        StartShard,
        SMALL,
        st.sampled_from(("s0", "s1", "s2")),
        st.sampled_from(("d", "e")),
        SMALL,
        st.just("h:1"),
        st.lists(st.tuples(st.integers(1, 3), REVISIONS), max_size=3).map(tuple),
        SMALL,
        st.builds(Adoption, SMALL, SMALL),
        st.just("") | HOSTS,
    ),
    st.builds(Seat, SMALL, HOSTS, HOSTS, st.just("") | HOSTS),
    st.builds(HandOver, HOSTS, HOSTS),
    st.builds(Adopted, st.sampled_from(("s0", "s1")), st.builds(Adoption, SMALL, SMALL)),
    st.builds(RaiseFloor, REVISIONS),
    st.builds(SetAlarm, ALARMS, st.booleans()),
    ANY_COMMANDS,
)


@given(
    st.sampled_from((UNFOUNDED, state(), founded(), founded(""))), st.lists(COMMANDS, max_size=30)
)
def test_no_sequence_of_commands_raises_or_moves_anything_down(
    before: State, commands: list[Command]
) -> None:
    """Within one reign a release lowers the window to what was handed out: no more was."""
    for command in commands:
        after = apply(before, command)
        assert after is before or after != before, "what changes nothing is the same object"
        assert after.cepoch >= before.cepoch
        assert after.compact_revision >= before.compact_revision
        assert after.tablets.version >= before.tablets.version
        released = isinstance(command, Release) and command.window == after.lease.window
        assert after.lease.window >= before.lease.window or released
        _oepochs_rise(before, after)
        _seats_hold(before, after)
        assert decode(encode(after)) == after
        before = after


def _oepochs_rise(before: State, after: State) -> None:
    if before.cluster != after.cluster:
        return
    for old, new in zip(before.tablets.tablets, after.tablets.tablets, strict=True):
        assert new.oepoch >= old.oepoch
        assert new.begin >= old.begin
        assert new.span == old.span
        taken = _placed(after) != _placed(before) or after.cepoch != before.cepoch
        assert new.oepoch == old.oepoch or taken


def _seats_hold(before: State, after: State) -> None:
    """Who is seated stays so at some host, and only that one is let in."""
    for old in before.shards:
        new = after.shard(old.name)
        if new is not None and old.host:
            assert new.host
            assert new.host == old.host or new.incarnation == old.incarnation


def _placed(made: State) -> list[tuple[str, int]]:
    return [(shard.name, shard.incarnation) for shard in made.shards]


@given(st.lists(COMMANDS, max_size=20))
def test_m06_shard_that_is_named_owns_its_tablets_by_the_map_of_that_version(
    commands: list[Command],
) -> None:
    """Whatever was sent, and how often: the newest start is the newest change of its tablets."""
    made = founded()
    for command in commands:
        after = apply(made, command)
        for shard in after.shards:
            if (shard.name, shard.incarnation) not in _placed(made):
                assert shard.since == after.tablets.version == made.tablets.version + 1
        made = after
    assert with_new_epochs(made.tablets).version == made.tablets.version + 1


# -- a shard that goes -----------------------------------------------------------------------------


def refused(before: State, shard: str) -> str:
    assert apply(before, Removal(shard)) is before
    return refusal(before, Removal(shard))


def test_shard_that_owns_nothing_is_forgotten_and_its_store_with_it() -> None:
    before = resharded()
    after = apply(before, Removal("s1"))
    assert [shard.name for shard in after.shards] == ["s0", "s2"]
    assert replace(after, shards=before.shards) == before
    assert refused(after, "s1") == "", "asked again it is so already"
    again = StartShard(1, "s1", "disk-s1", 8, "h:8", (), 0, Adoption(7))
    assert apply(after, again) is after, "the old directory"
    late = replace(again, replaces=1, previous=NEVER_ADOPTED)
    assert apply(after, late) is after, "asked before it was removed"
    empty = apply(after, replace(again, store="another disk", previous=NEVER_ADOPTED))
    assert empty.shard("s1") is not None


def test_shard_that_is_needed_is_not_removed() -> None:
    said = "s0 owns 3 tablets. Nothing was changed"
    assert refused(resharded(), "s0") == said
    for phase in Phase:
        before = at(phase, manual=True)
        if phase in ENDED:
            assert apply(before, Removal("s1")).shard("s1") is None
        else:
            said = "s1 is needed by m1, which has not ended. Nothing was changed"
            assert refused(before, "s1") == said


# -- hosts -----------------------------------------------------------------------------------------


def seated(host: str = "s0", shard: str = "s0") -> State:
    """`founded`, where `shard` is served by `host`."""
    ends = tuple((t.id, 60) for t in two_shards().tablets if t.shard == shard)
    made = StartShard(3, shard, "d", 7, "h:7", ends, 0, host=host)
    return apply(founded(), made)


def host_of(made: State, shard: str = "s0") -> str:
    place = made.shard(shard)
    assert place is not None
    return place.host


def served_as(before: State, after: State) -> bool:
    """Whether nothing but hosts differ: tablets, epochs and who serves stay as they are."""
    places = tuple(shard._replace(host="") for shard in before.shards)
    anew = tuple(shard._replace(host="") for shard in after.shards)
    return replace(before, shards=places) == replace(after, shards=anew)


def test_seat_names_another_host_and_nothing_else_moves() -> None:
    before = seated()
    after = apply(before, Seat(3, "s0", "s2", "s0"))
    assert (host_of(before), host_of(after)) == ("s0", "s2")
    assert served_as(before, after)
    assert after.tablets is before.tablets
    assert apply(after, Seat(3, "s0", "s2", "s0")) is after, "sent again"
    assert host_of(apply(after, Seat(3, "s0", "s1", "s2"))) == "s1"


@pytest.mark.parametrize(
    "seat",
    [
        Seat(2, "s0", "s2", "s0"),
        Seat(4, "s0", "s2", "s0"),
        Seat(3, "s0", "s2", "s1"),
        Seat(3, "s0", "s2", ""),
        Seat(3, "s1", "s2", "s1"),
        Seat(3, "s0", "s0", "s0"),
    ],
    ids=["reign before", "reign behind", "other host", "no host", "no such shard", "same host"],
)
def test_seat_by_who_saw_something_else_changes_nothing(seat: Seat) -> None:
    """Of an operator's hand-over and a seat that race, one is for a host that is none any more."""
    before = seated()
    assert apply(before, seat) is before


@pytest.mark.parametrize("before", ["", "s0"])
def test_shard_whose_data_is_in_a_directory_is_never_seated(before: str) -> None:
    made = seated(host="")
    assert apply(made, Seat(3, "s0", "s2", before)) is made


def begun(made: State, host: str, incarnation: int = 8) -> State:
    """A process of s0 in `host` comes with the store."""
    known = made.shard("s0")
    assert known is not None
    asked = start(incarnation, 75, replaces=known.since)
    return apply(made, replace(asked, previous=Adoption(7), host=host))


def test_process_of_another_host_than_the_seat_gets_no_tablets() -> None:
    """Two hosts would take the store from each other, again and again."""
    made = seated("s2")
    for other in ("s0", "s1", ""):
        assert begun(made, other) is made
    after = begun(made, "s2")
    assert after.tablets.version == made.tablets.version + 1
    assert host_of(after) == "s2"


def test_host_before_is_refused_from_the_seat_on_and_the_new_one_let_in() -> None:
    made = apply(seated(), Seat(3, "s0", "s2", "s0"))
    assert begun(made, "s0") is made
    after = begun(made, "s2")
    assert [(t.oepoch, t.begin) for t in after.tablets.tablets] == [(3, 75), (1, 0), (3, 75)]
    assert confirm(after, 8).shard("s0") == ShardPlace(
        "s0", "d", 8, "h:8", 6, Adoption(8), host="s2"
    )


def test_shard_that_was_seated_nowhere_gets_the_host_it_comes_with() -> None:
    assert host_of(begun(seated(host=""), "s1")) == "s1"
    assert host_of(begun(seated(host=""), "")) == ""


def test_hand_over_is_a_seat_by_an_operators_word() -> None:
    before = seated()
    after = apply(before, HandOver("s0", "s2"))
    assert host_of(after) == "s2"
    assert served_as(before, after)
    assert refusal(before, HandOver("s0", "s2")) == ""
    assert apply(after, HandOver("s0", "s2")) is after
    assert refusal(after, HandOver("s0", "s2")) == "", "it is so already"
    assert apply(after, TakeReign()).shards == after.shards, "another reign keeps it"


def test_hand_over_of_what_nobody_else_can_serve_is_refused() -> None:
    before = seated(host="")
    assert apply(before, HandOver("s0", "s2")) is before
    assert refusal(before, HandOver("s0", "s2")) == (
        "s0 keeps its data in a directory, which no other process can serve; move its tablets. "
        "Nothing was changed"
    )


def test_hand_over_of_a_shard_that_was_never_started_is_refused() -> None:
    before = seated()
    for unknown in ("s1", "s9"):
        assert apply(before, HandOver(unknown, "s0")) is before
        assert refusal(before, HandOver(unknown, "s0")) == (
            f"there is no shard {unknown} that was started once. Nothing was changed"
        )


# -- rows that shards share ------------------------------------------------------------------------


def started(made: State, shard: str, rows: str, incarnation: int = 7) -> State:
    """A process of the shard comes, whose rows are there."""
    known = made.shard(shard)
    ends = tuple((t.id, 75) for t in made.tablets.tablets if t.shard == shard)
    who = (shard, f"disk-{shard}", incarnation, f"h:{incarnation}")
    since, previous = (0, NEVER_ADOPTED) if known is None else (known.since, known.confirmed)
    return apply(made, StartShard(made.cepoch, *who, ends, since, previous, "", rows))


@pytest.mark.parametrize(("first", "other"), [("", "r"), ("r", ""), ("r", "q")])
def test_first_shard_decides_where_all_keep_their_rows(first: str, other: str) -> None:
    """A tablet moves without a copy between two that say the same."""
    made = started(founded(), "s0", first)
    assert [shard.rows for shard in made.shards] == [first]
    assert started(made, "s1", other) is made
    both = started(made, "s1", first)
    assert [shard.rows for shard in both.shards] == [first, first]
    assert started(both, "s0", other, 8) is both, "nor does one that is known come back so"
    again = started(both, "s0", first, 8).shard("s0")
    assert again is not None
    assert (again.incarnation, again.rows) == (8, first)


def test_shard_that_was_removed_decides_nothing_any_more() -> None:
    made = started(started(founded(), "s2", "r"), "s0", "r")
    assert started(made, "s1", "q") is made
    tablets = tuple(replace(tablet, shard="s1") for tablet in made.tablets.tablets)
    empty = replace(made, tablets=replace(made.tablets, tablets=tablets))
    one_less = apply(empty, Removal("s0"))
    assert started(one_less, "s1", "q") is one_less
    none_left = apply(one_less, Removal("s2"))
    assert none_left.shards == ()
    assert started(none_left, "s1", "q").shard("s1") is not None
