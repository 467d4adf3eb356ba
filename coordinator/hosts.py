"""Hosts: which of them live, and who serves the shards of one that does not.

What it is: beats in, seats out: decisions, in memory, of the member that serves. What it is not:
the state (`transition.py:Seat`), or what a host does with a seat (shard/hosting.py).

Words: a *host* is a process that serves shards whose stores can be reached from anywhere, mostly
the one of its own name. A shard is *seated* at the host whose part it is to serve it. A host is
*away* when it was not heard of for HOST_AWAY_MS; it is *steady* when it has lived for so long.

Why a silence may be believed: it decides only when another process starts. That it takes the
shard's tablets, and that the one before can write nothing any more, is the store's and the log's
doing (`Starts`, docs/decisions/0014), whoever lives.

Invariants:
- a shard is taken from a host only if that one is away or leaves, and given to one that is steady
  and stays; while there is none it keeps its seat. So a cluster that is stopped as a whole comes
  back as it was;
- at the beginning of a reign everybody was heard of just now: nobody is taken for away by a
  member that could not hear him;
- at most one Seat of a shard is on its way.

Worked example: shard-1 was last heard at 10,000. At 12,500 its two tablets are seated at shard-2,
which has committed fewer batches of late than shard-0.

Tested in tests/unit/coordinator/test_hosts.py, tests/property/test_hosts.py.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from kubebraid.base.limits import HOST_AWAY_MS, HOST_LEAVE_MS
from kubebraid.base.ports import Beat, ShardPlace

from .state import State
from .transition import Seat

LOAD_KEPT: Final = 0.8  # of the figure before, from beat to beat


@dataclass(slots=True)
class _Host:
    """One that was heard. `since_ms`: it has lived without a gap from then on."""

    incarnation: int
    since_ms: int
    heard_ms: int
    load: float = 0.0
    leaves_ms: int | None = None  # what it has is given to others then

    def away(self, now_ms: int) -> bool:
        return now_ms - self.heard_ms >= HOST_AWAY_MS

    def stays(self, now_ms: int) -> bool:
        """Whether it lives and is not about to end: it may be given more, now or once steady."""
        return self.leaves_ms is None and not self.away(now_ms)

    def takes(self, now_ms: int) -> bool:
        """Whether it may be given more: it is steady, and stays."""
        return self.heard_ms - self.since_ms >= HOST_AWAY_MS and self.stays(now_ms)


class Hosts:
    """Those that one member has heard of in its present reign, which began at `now_ms`."""

    def __init__(self, now_ms: int) -> None:
        self._began_ms = now_ms
        self._known: dict[str, _Host] = {}
        self._seating: set[str] = set()  # shards with a Seat on its way

    def heard(self, beat: Beat, now_ms: int) -> int:
        """Answers: how many others could take its shards, now or soon; 0: there is nobody."""
        known = self._known.get(beat.host)
        if known is None or known.incarnation != beat.incarnation or known.away(now_ms):
            known = self._known[beat.host] = _Host(beat.incarnation, now_ms, now_ms)
        known.heard_ms = now_ms
        known.load = LOAD_KEPT * known.load + (1 - LOAD_KEPT) * beat.load
        if not beat.leaving:
            known.leaves_ms = None
        elif known.leaves_ms is None:
            known.leaves_ms = now_ms + HOST_LEAVE_MS
        others = sum(h.stays(now_ms) for name, h in self._known.items() if name != beat.host)
        # In a young reign others may live and not have been heard yet.
        return others or int(now_ms - self._began_ms < HOST_AWAY_MS)

    def hinders(self, host: str, now_ms: int) -> str:
        """Why an operator cannot give a shard to this host; empty: he can."""
        known = self._known.get(host)
        if known is None or known.away(now_ms):
            return f"{host} is no host that was heard of lately; start it, or look for its name"
        return "" if known.leaves_ms is None else f"{host} is about to end"

    def next(self, state: State, now_ms: int) -> tuple[Seat, ...]:
        """What to ask the log for; `seated` has to be told of each."""
        seats: list[Seat] = []
        given = Counter(place.host for place in state.shards)
        for place in state.shards:
            if place.name in self._seating or not self._lost(place, now_ms):
                continue
            host = self._least_loaded(place.host, given, now_ms)
            if host is not None:
                given[host] += 1
                self._seating.add(place.name)
                seats.append(Seat(state.cepoch, place.name, host, place.host))
        return tuple(seats)

    def seated(self, shard: str) -> None:
        """Its Seat is over, whatever came of it: the state tells."""
        self._seating.discard(shard)

    def _lost(self, place: ShardPlace, now_ms: int) -> bool:
        if not place.host:
            return False
        known = self._known.get(place.host)
        if known is None:
            return now_ms - self._began_ms >= HOST_AWAY_MS
        left = known.leaves_ms is not None and now_ms >= known.leaves_ms
        return left or known.away(now_ms)

    def _least_loaded(self, but: str, given: Counter[str], now_ms: int) -> str | None:
        """Fewest shards first: what one has been given just now shows in no figure yet."""
        able = [
            (given[name], known.load, name)
            for name, known in self._known.items()
            if name != but and known.takes(now_ms)
        ]
        return min(able)[2] if able else None

    def next_deadline_ms(self, state: State, now_ms: int) -> int | None:
        """When somebody may be away, although nothing was heard. Whoever is away already waits for
        a host that can be given more, which a beat tells."""
        of = [self._known[p.host] for p in state.shards if p.host in self._known]
        ends = [known.heard_ms + HOST_AWAY_MS for known in of]
        ends += [known.leaves_ms for known in of if known.leaves_ms is not None]
        if any(place.host and place.host not in self._known for place in state.shards):
            ends.append(self._began_ms + HOST_AWAY_MS)
        return min((end for end in ends if end > now_ms), default=None)
