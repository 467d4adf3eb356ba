"""Every change of the coordinator's state: total, and never downwards."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kubebraid.base.ports import ALARM_CORRUPT, ALARM_NOSPACE, Alarm
from kubebraid.base.tabletmap import layout
from kubebraid.coordinator.state import NEVER_COMPACTED, State
from kubebraid.coordinator.transition import Command, RaiseFloor, SetAlarm, TakeReign, apply


def state(floor: int = NEVER_COMPACTED) -> State:
    return State(3, floor, layout([b"/a/"]))


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


ALARMS = st.builds(Alarm, st.integers(1, 2), st.sampled_from((ALARM_NOSPACE, ALARM_CORRUPT)))
COMMANDS = st.one_of(
    st.builds(TakeReign),
    st.builds(RaiseFloor, st.integers(-5, 200)),
    st.builds(SetAlarm, ALARMS, st.booleans()),
)


@given(st.lists(COMMANDS, max_size=20))
def test_no_sequence_of_commands_moves_anything_down(commands: list[Command]) -> None:
    before = state()
    for command in commands:
        after = apply(before, command)
        assert after.cepoch >= before.cepoch
        assert after.compact_revision >= before.compact_revision
        assert after.tablets.version >= before.tablets.version
        for old, new in zip(before.tablets.tablets, after.tablets.tablets, strict=True):
            assert new.oepoch >= old.oepoch
            assert new.span == old.span
        before = after
