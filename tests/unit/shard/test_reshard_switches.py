"""Who takes part in a switch, and for how long that counts."""

from __future__ import annotations

import pytest

from kubebraid.base.limits import RESHARD_FREEZE_MS
from kubebraid.base.reshard import Kind, Migration, Phase
from kubebraid.shard.reshard.switches import Switches


def moved(phase: Phase, freeze: int = 1) -> Migration:
    return Migration("m1", Kind.MOVE, "shard-0", "shard-1", (7,), (), phase=phase, freeze=freeze)


@pytest.mark.parametrize("phase", Phase)
def test_a_switch_is_what_writes_wait_for(phase: Phase) -> None:
    switches = Switches()
    switches.follow([moved(phase)], 1_000)
    is_switch = phase in (Phase.FROZEN, Phase.COMMITTED)
    for shard in ("shard-0", "shard-1"):
        assert switches.busy((shard,), 1_030) is is_switch
    assert not switches.busy(("shard-2",), 1_030)
    assert switches.busy(("shard-2", "shard-1"), 1_030) is is_switch


def test_each_phase_counts_for_so_long_however_often_it_is_told() -> None:
    switches = Switches()
    for at_ms in range(1_000, 1_000 + RESHARD_FREEZE_MS, 100):
        switches.follow([moved(Phase.FROZEN)], at_ms)
    end_ms = 1_000 + RESHARD_FREEZE_MS
    assert switches.busy(("shard-0",), end_ms - 1)
    assert switches.next_deadline_ms(end_ms - 1) == end_ms
    assert not switches.busy(("shard-0",), end_ms)
    assert switches.next_deadline_ms(end_ms) is None
    switches.follow([moved(Phase.COMMITTED)], end_ms)
    assert switches.busy(("shard-0",), end_ms)
    switches.follow([moved(Phase.FROZEN, 2)], end_ms + 10)
    assert switches.busy(("shard-0",), end_ms + RESHARD_FREEZE_MS + 9)


def test_what_has_ended_is_forgotten() -> None:
    switches = Switches()
    switches.follow([moved(Phase.COMMITTED)], 1_000)
    switches.follow([moved(Phase.DRAINING)], 1_010)
    assert not switches.busy(("shard-0", "shard-1"), 1_010)
    assert switches.next_deadline_ms(1_010) is None
