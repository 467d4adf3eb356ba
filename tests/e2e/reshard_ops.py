"""Operators of a cluster that is resharded: `kubebraid ctl`, and operations drawn by a seed.

What it is: a command to its exit code and JSON, the tablets of one resource, and what can be asked
of them next. What it is not: what is written meanwhile (reshard_traffic.py).

Invariants: what is drawn is possible on the map that it was drawn from, so that a refusal is a
fault of the product; the same seed on the same maps draws the same.

Worked example: pods lies in one tablet: a split, or its move, is drawn; in two that are neighbours:
also their merge.

Tested in test_cluster_reshard.py.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, NamedTuple

from kubebraid.cli.ctl.ask import Routers
from tests.e2e.processes import Finished, run
from tests.e2e.store import SHARDS, kubebraid_environment

SHARD_NAMES: Final = tuple(f"shard-{number}" for number in range(SHARDS))
CTL_S_MAX: Final = 240.0
TABLETS_MAX: Final = 12  # of the resource; with more of them only merges are drawn
KEYS_MIN: Final = 4  # of a tablet that is cut by sampled keys
BUCKETS: Final = (2, 4)
PARTS: Final = (2, 3)

Json = dict[str, Any]


class Tablet(NamedTuple):
    """As `tablet list` has it."""

    id: int
    name: str
    start: str
    end: str | None
    bucket: int
    buckets: int
    shard: str

    def holds(self, key: str) -> bool:
        """Whether it is in the range; of a bucket nothing more is known."""
        return self.start <= key and (self.end is None or key < self.end)


@dataclass(frozen=True)
class Ctl:
    """The command, on some routers."""

    endpoints: Sequence[str]

    def argv(self, *words: str) -> tuple[str, ...]:
        flag = f"--endpoint={','.join(self.endpoints)}"
        return (sys.executable, "-m", "kubebraid", "ctl", flag, *words)

    def run(self, *words: str) -> Finished:
        return run(self.argv(*words), env=kubebraid_environment(), seconds=CTL_S_MAX)

    def json(self, *words: str) -> Json:
        """Of a command that has to succeed."""
        found = json.loads(self.run(*words, "--output=json").ok())
        assert isinstance(found, dict)
        return found

    def change(self, *words: str) -> Json:
        """Done, to its end."""
        return self.json(*words, "--yes")

    def tablets(self) -> list[Tablet]:
        """In the order of their keys. Raises KubeBraidError."""
        return [
            Tablet(told.id, told.name, told.start, told.end, told.bucket, told.buckets, told.shard)
            for told in Routers(self.endpoints).status().tablets
        ]

    def holding(self, key: str) -> Tablet:
        """The one whose range has it; of hash buckets the first."""
        return next(tablet for tablet in self.tablets() if tablet.holds(key))

    def below(self, prefix: str) -> list[Tablet]:
        """The tablets that lie inside."""
        end = f"{prefix.rstrip('/')}0"
        return [
            tablet
            for tablet in self.tablets()
            if tablet.start >= prefix.rstrip("/") and tablet.end is not None and tablet.end <= end
        ]


def pauses(done: Json) -> list[int]:
    """Milliseconds of each switch that is known."""
    return [told["pause_ms"] for told in done["migrations"] if told["pause_ms"] is not None]


def drawn(draw: random.Random, tablets: Sequence[Tablet], keys: Sequence[str]) -> tuple[str, ...]:
    """A command about one resource's tablets, whose keys these are."""
    merges = _merges(tablets)
    if len(tablets) >= TABLETS_MAX:
        return draw.choice(merges)
    splits = [words for tablet in tablets for words in _splits(draw, tablet, keys)]
    moved = draw.choice(tablets)
    to = draw.choice([name for name in SHARD_NAMES if name != moved.shard])
    moves = [("tablet", "move", str(moved.id), f"--to={to}")]
    return draw.choice(draw.choice([found for found in (moves, splits, merges) if found]))


def siblings(tablets: Sequence[Tablet], tablet: Tablet) -> list[str]:
    """The ids of those with which it can be merged into one: of all buckets of its range."""
    return [str(other.id) for other in tablets if other.start == tablet.start]


def _merges(tablets: Sequence[Tablet]) -> list[tuple[str, ...]]:
    groups = [
        [one, other]
        for one, other in pairwise(tablets)
        if one.buckets == other.buckets == 1 and one.end == other.start
    ]
    hashed: dict[str, list[Tablet]] = {}
    for tablet in tablets:
        if tablet.buckets > 1:
            hashed.setdefault(tablet.start, []).append(tablet)
    groups += hashed.values()
    return [("tablet", "merge", *(str(tablet.id) for tablet in group)) for group in groups]


def _splits(draw: random.Random, tablet: Tablet, keys: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """One of each sort that is possible."""
    inner = [key for key in keys if tablet.holds(key) and key > tablet.start]
    if tablet.buckets > 1 or not inner:
        return
    word = ("tablet", "split", str(tablet.id))
    yield (*word, f"--at={draw.choice(inner)}")
    yield (*word, f"--hash={draw.choice(BUCKETS)}")
    if len(inner) >= KEYS_MIN:
        yield (*word, f"--parts={draw.choice(PARTS)}")
