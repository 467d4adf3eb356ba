"""Migrations as their list told them, looked at again and again while a test goes on.

What it is: which phase each was seen in, from when to when; from that, how long it was frozen, and
when it switched. What it is not: the phases' order (coordinator/phases.py), or writers' view of a
switch (reshard_traffic.py).

Words: a *stay* is a row of looks that found a migration in one phase of one freeze. A *switch* goes
from the last look before FROZEN to the first behind it (DRAINING, DONE, or READY again), so it is
longer than the switch was by two looks at most.

Invariants: what was not seen is not told; a switch that fell between two looks is told all the same
where its migration was seen before and behind it, or is new and behind it.

Worked example: looks at 1.0, 1.1 and 1.2 s find a move in ready, frozen (for 20 ms) and draining:
it was frozen for 20 ms at least, and its switch lies between 1.0 and 1.2.

Tested by made-up lists in test_cluster_reshard.py.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, NamedTuple, Self

from kubebraid.base.errors import KubeBraidError
from kubebraid.base.limits import RESHARD_FREEZE_MS
from kubebraid.cli.ctl.ask import Routers
from kubebraid.proto import adminreshard as wire
from kubebraid.proto.adminreshard import Progress

LOOK_EVERY_S: Final = 0.1
ASK_S_MAX: Final = 5.0
JOIN_S_MAX: Final = 60.0
SWITCHING: Final = ("frozen", "committed")
BEHIND: Final = ("draining", "done")
LATE_MS_MAX: Final = 1_000  # a deadline's way through the log, on a busy machine
ELECTION_S_MAX: Final = 8.0  # the freeze of a sequencer that died ends with the next one's reign


@dataclass
class Stay:
    """first: when the first look was answered, last: when the last one was asked, in seconds;
    longest_ms: by the serving coordinator's clock."""

    phase: str
    first_s: float
    last_s: float
    longest_ms: int = 0


class Switch(NamedTuple):
    """When one may have been, in seconds, and the tablets that it replaced."""

    from_s: float
    to_s: float
    tablets: frozenset[int]

    def meets(self, from_s: float, to_s: float) -> bool:
        return self.from_s <= to_s and from_s <= self.to_s


@dataclass
class Seen:
    """All that was told."""

    stays: dict[str, list[Stay]] = field(default_factory=dict)
    tablets: dict[str, frozenset[int]] = field(default_factory=dict)
    _looked_s: float | None = None

    def take(self, asked_s: float, answered_s: float, found: Iterable[Progress]) -> None:
        """One answer, of all migrations that are known."""
        for one in found:
            stays = self.stays.setdefault(one.step.id, [])
            self.tablets[one.step.id] = frozenset(part.id for part in one.step.sources)
            if not stays and self._looked_s is not None:
                stays.append(Stay("", self._looked_s, self._looked_s))
            last = stays[-1] if stays else None
            if last is None or last.phase != one.phase or one.phase_ms < last.longest_ms:
                stays.append(Stay(one.phase, answered_s, asked_s, one.phase_ms))
            else:
                last.last_s, last.longest_ms = asked_s, one.phase_ms
        self._looked_s = asked_s

    def switches(self) -> Iterator[Switch]:
        """Of all migrations."""
        for name, stays in self.stays.items():
            from_s: float | None = None
            for before, after in pairwise(stays):
                unseen = after.phase in BEHIND and before.phase not in (*SWITCHING, *BEHIND)
                if from_s is None and (after.phase in SWITCHING or unseen):
                    from_s = before.last_s
                if from_s is not None and after.phase not in SWITCHING:
                    yield Switch(from_s, after.first_s, self.tablets[name])
                    from_s = None

    def check_freezes(self) -> list[int]:
        """None went on behind its deadline; how long each was seen, in milliseconds."""
        found = []
        for name, stays in self.stays.items():
            for stay, after in pairwise([*stays, stays[-1]]):
                if stay.phase != "frozen":
                    continue
                found.append(stay.longest_ms)
                limit_ms = RESHARD_FREEZE_MS + LATE_MS_MAX
                assert stay.longest_ms <= limit_ms, f"{name} was frozen for {stay.longest_ms} ms"
                end_s = stay.last_s if after is stay else after.first_s
                long_s = end_s - stay.first_s
                assert long_s <= limit_ms / 1_000 + ELECTION_S_MAX, f"{name}: {long_s:.1f} s"
        return found


class Lookout(Seen):
    """A thread that looks; as a context while the block runs."""

    def __init__(self, endpoints: Sequence[str]) -> None:
        super().__init__()
        self._routers = Routers(endpoints)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        body = wire.encode_list_request(())
        while not self._stop.wait(LOOK_EVERY_S):
            asked_s = time.monotonic()
            try:
                found = self._routers.call(wire.LIST_RESHARD, body, wire.decode_list, ASK_S_MAX)
            except KubeBraidError:
                continue  # nobody serves: what is frozen then is seen before and behind
            self.take(asked_s, time.monotonic(), found)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(JOIN_S_MAX)
        assert not self._thread.is_alive(), "a look hangs"
