"""What moves, splits and merges of one tablet cost: records to figures.

What it is: arithmetic on what a coordinator told, what writers saw and what processes used. What it
is not: a measurement; see `reshard.py`.

Words: a *change* is one move, split or merge; its *pause* is what the coordinators say that writes
waited; the *switch* is the time between two looks at it, the last before the pause and the first
behind it, so that the longest write of the tablet that touches it is what writers saw. *Quiet* is
the time before the first change, with the same writers.

Invariants: a pause that nobody knows is in no figure, and the count of pauses shows that; extra CPU
is what was used beyond the quiet rate, and is 0 where there is none.

Worked example: a quiet source uses 0.2 s of CPU a second; while 100 MB are copied in 10 s it uses
5 s: 3 s are extra, 30 ms a MB.

Tested in tests/unit/cli/bench/test_switches.py.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from .figures import Figure, enough
from .goals import LONG_PAUSES
from .writers import Wrote

MOVED: Final = "moved"  # the group of writers whose tablet is changed; others are named by shard
KINDS: Final = ("move", "split", "merge")
BOUNDS_MS: Final = (0, 25, 50, 75, 100, 150, 200, 400)
LONG_MS: Final = 100
SHARE: Final = 0.99

Cpu = dict[str, float]  # seconds of CPU by the name of the process


class Change(NamedTuple):
    """Times are of one monotonic clock, in seconds. began: it was recorded; copied: the copy was
    complete, and its sums equal; before, behind: the switch lies between them. cpu: from began to
    copied."""

    kind: str
    source: str
    target: str
    began_s: float
    copied_s: float
    before_s: float
    behind_s: float
    pause_ms: int
    cpu: Cpu


class Quiet(NamedTuple):
    """What was before the first change."""

    began_s: float
    ended_s: float
    cpu: Cpu

    def rate(self, process: str) -> float:
        """CPU seconds a second."""
        return self.cpu[process] / (self.ended_s - self.began_s)


def figures(
    changes: Sequence[Change], quiet: Quiet, wrote: Sequence[Wrote], size: float
) -> list[Figure]:
    """All of them; `size`: bytes that each move copies."""
    return [
        *pauses(changes),
        *seen(changes, wrote),
        *copies(changes, quiet, size / 1e6),
        *latencies(changes, quiet, wrote),
        Figure("writes meanwhile", "/s", len(wrote) / (changes[-1].behind_s - quiet.began_s)),
    ]


# -- pauses ----------------------------------------------------------------------------------------


def pauses(changes: Sequence[Change]) -> list[Figure]:
    """As the coordinators tell them: middle, longest, and a histogram."""
    known = [change.pause_ms for change in changes if change.pause_ms]
    found = [Figure("changes", "", len(changes)), Figure("pauses known", "", len(known))]
    if not known:
        return found
    found += [Figure("pause, median", "ms", statistics.median(known))]
    for kind in KINDS:
        of_kind = [c.pause_ms for c in changes if c.pause_ms and c.kind == kind]
        found += [Figure(f"pause, longest {kind}", "ms", max(of_kind))] if of_kind else []
    found += [Figure(name, "", count) for name, count in histogram(known)]
    return [*found, Figure(LONG_PAUSES, "", sum(pause >= LONG_MS for pause in known))]


def histogram(known: Sequence[float]) -> list[tuple[str, int]]:
    """How many pauses lie in each part of the scale; parts behind the longest are left out."""
    found = [
        (f"pauses of {low} to {high} ms", sum(low <= pause < high for pause in known))
        for low, high in pairwise(BOUNDS_MS)
        if low <= max(known)
    ]
    above = sum(pause >= BOUNDS_MS[-1] for pause in known)
    return [*found, (f"pauses from {BOUNDS_MS[-1]} ms", above)] if above else found


def seen(changes: Sequence[Change], wrote: Sequence[Wrote]) -> list[Figure]:
    """The longest write of the tablet in each switch."""
    longest = [
        max(touching) * 1e3
        for change in changes
        if (touching := [w.took_s for w in wrote if w.group == MOVED and _touches(w, change)])
    ]
    if not longest:
        return []
    return [
        Figure("longest write of a switch, median", "ms", statistics.median(longest)),
        Figure("longest write of all switches", "ms", max(longest)),
    ]


def _touches(write: Wrote, change: Change) -> bool:
    return write.began_s < change.behind_s and write.began_s + write.took_s > change.before_s


# -- copies ----------------------------------------------------------------------------------------


def copies(changes: Sequence[Change], quiet: Quiet, megabytes: float) -> list[Figure]:
    """Rate, and CPU beyond the quiet rate, of the moves."""
    moves = [change for change in changes if change.kind == "move"]
    if not moves:
        return []
    took_s = sum(move.copied_s - move.began_s for move in moves)
    rates = [megabytes / (move.copied_s - move.began_s) for move in moves]
    source = sum(extra(move, quiet, move.source) for move in moves)
    target = sum(extra(move, quiet, move.target) for move in moves)
    base = sum(quiet.rate(process) for process in quiet.cpu) * took_s
    copied = megabytes * len(moves)
    return [
        Figure("copy, median", "MB/s", statistics.median(rates)),
        Figure("copy, slowest", "MB/s", min(rates)),
        Figure("extra CPU of the source", "ms/MB", source / copied * 1e3),
        Figure("extra CPU of the target", "ms/MB", target / copied * 1e3),
        Figure("extra CPU / all CPU when quiet", "x", (source + target) / base if base else 0.0),
    ]


def extra(move: Change, quiet: Quiet, process: str) -> float:
    """CPU seconds."""
    return max(0.0, move.cpu[process] - quiet.rate(process) * (move.copied_s - move.began_s))


# -- writers ---------------------------------------------------------------------------------------


def latencies(changes: Sequence[Change], quiet: Quiet, wrote: Sequence[Wrote]) -> list[Figure]:
    """p99 before and during, of the tablet and of others; told where enough writes stand behind."""
    before = [w for w in wrote if quiet.began_s <= w.began_s < quiet.ended_s]
    moves = [change for change in changes if change.kind == "move"]
    during = [w for w in wrote if any(m.began_s <= w.began_s < m.copied_s for m in moves)]
    whole = [w for w in wrote if any(c.began_s <= w.began_s < c.behind_s for c in changes)]
    held = [
        w
        for w in wrote
        if any(m.began_s <= w.began_s < m.copied_s and w.group == m.source for m in moves)
    ]
    groups = (
        ("the tablet, quiet", [w for w in before if w.group == MOVED]),
        ("the tablet, being copied", [w for w in during if w.group == MOVED]),
        ("other tablets, quiet", [w for w in before if w.group != MOVED]),
        ("other tablets, during changes", [w for w in whole if w.group != MOVED]),
        ("other tablets of a copy's source", held),
    )
    return [
        Figure(f"p99 of {name}", "ms", percentile([w.took_s for w in some], SHARE) * 1e3)
        for name, some in groups
        if some and enough(len(some), SHARE)
    ]


def percentile(values: Sequence[float], share: float) -> float:
    """The least value that so many are not above."""
    return sorted(values)[math.ceil(share * len(values)) - 1]
