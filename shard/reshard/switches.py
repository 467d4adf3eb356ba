"""The switches that are under way, as one shard knows them: whatever can wait waits for them.

What it is: which shards take part in a switch now, and until when that counts. What it is not: who
waits (`moves.py`, `shard/owner.py`), or the switch itself.

Words: a migration *switches* from FROZEN until its target serves (DRAINING): writes of its tablets
wait for it. What a loop does meanwhile besides serving (a sweep, a sum, a piece of another copy, a
slice of compaction) makes all of them wait longer, by as long as it takes.

Invariant: no phase of a switch holds anything up for longer than RESHARD_FREEZE_MS since it was
heard of first: a target that is down must not keep other shards from compacting.

Worked example: m1 (shard-0 to shard-1) is FROZEN at 1,000: at 1,030 both are `busy`, shard-2 is
not; at 2,000 nobody is.

Tested in tests/unit/shard/test_reshard_switches.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from kubebraid.base.limits import RESHARD_FREEZE_MS
from kubebraid.base.reshard import Migration, Phase

SWITCHING: Final = frozenset((Phase.FROZEN, Phase.COMMITTED))


class Switches:
    """All of the newest state."""

    def __init__(self) -> None:
        # By migration, phase and freeze: the shards of it, and when it counts no more.
        self._known: dict[tuple[str, Phase, int], tuple[frozenset[str], int]] = {}

    def follow(self, migrations: Iterable[Migration], now_ms: int) -> None:
        """A newer state."""
        before, until_ms = self._known, now_ms + RESHARD_FREEZE_MS
        self._known = {}
        for m in migrations:
            if m.phase in SWITCHING:
                name = (m.id, m.phase, m.freeze)
                self._known[name] = before.get(name, (frozenset((m.source, m.target)), until_ms))

    def busy(self, shards: Iterable[str], now_ms: int) -> bool:
        """Whether one of these takes part in a switch."""
        if not self._known:  # asked in each turn of a loop, which has no switch as a rule
            return False
        named = frozenset(shards)
        return any(
            now_ms < until_ms and not named.isdisjoint(of) for of, until_ms in self._known.values()
        )

    def next_deadline_ms(self, now_ms: int) -> int | None:
        """When something may go on although no newer state was heard."""
        ends = [until_ms for _, until_ms in self._known.values() if now_ms < until_ms]
        return min(ends, default=None)
