"""What the tests of resharding share: a state with shards, migrations, and reports about them.

What it is: builders of values. What it is not: a test, or a driver.

Worked example: `founded()` has the tablets 1 (default-0), 2 (a) and 3 (default-1) on s0, and the
shards s0 to s2, each in its first process, in reign 1.
"""

from __future__ import annotations

from dataclasses import replace

from kubebraid.base.keyspace import KeyRange
from kubebraid.base.ports import ShardPlace
from kubebraid.base.reshard import Kind, Migration, Phase, Planned, Report
from kubebraid.base.tabletmap import Tablet, layout
from kubebraid.coordinator.migrations import Step
from kubebraid.coordinator.state import NEVER_COMPACTED, Lease, State
from kubebraid.coordinator.transition import apply

SHARDS = ("s0", "s1", "s2")
MAP = layout([b"/a/"], "s0")  # 1: default-0, 2: a, 3: default-1
TABLET_A = MAP.tablets[1]


def founded(**changed: object) -> State:
    places = tuple(ShardPlace(name, f"disk-{name}", 7, f"{name}:1", 1) for name in SHARDS)
    made = State(1, NEVER_COMPACTED, MAP, frozenset(), "cluster", Lease("a#1", 100, 0), places)
    return replace(made, **changed)  # type: ignore[arg-type]


def move(name: str = "m1", to: str = "s1", **changed: object) -> Migration:
    made = Migration(name, Kind.MOVE, "s0", to, (2,), (replace(TABLET_A, shard=to),))
    return made._replace(**changed)  # type: ignore[arg-type]


def split(name: str = "m1", **changed: object) -> Migration:
    """Tablet 2 at /a/m, on its shard."""
    start, end = TABLET_A.span
    halves = (KeyRange(start, b"/a/m"), KeyRange(b"/a/m", end))
    targets = tuple(
        Tablet(10 + number, f"a-{number}", span, "s0", 1) for number, span in enumerate(halves)
    )
    made = Migration(name, Kind.SPLIT, "s0", "s0", (2,), targets)
    return made._replace(**changed)  # type: ignore[arg-type]


def hashed(buckets: int, name: str = "m1") -> Migration:
    targets = tuple(Tablet(0, f"a.{n}", TABLET_A.span, "s0", 1, n, buckets) for n in range(buckets))
    return Migration(name, Kind.SPLIT, "s0", "s0", (2,), targets)


def merge(name: str = "m1") -> Migration:
    """Tablets 1 and 2 become one."""
    span = KeyRange(b"", TABLET_A.span.end)
    targets = (Tablet(0, "joined", span, "s0", 1),)
    return Migration(name, Kind.MERGE, "s0", "s0", (1, 2), targets)


def planned(*migrations: Migration, on: State | None = None) -> State:
    before = on or founded()
    after = apply(before, Planned(migrations, before.tablets.version))
    assert after is not before, "the plan was refused"
    return after


def at(phase: Phase, migration: Migration | None = None, **changed: object) -> State:
    """A state with one migration, which stands in `phase`, as if the steps had brought it there."""
    state = planned(migration or move())
    (made,) = state.migrations
    made = made._replace(phase=phase, freeze=int(phase >= Phase.FROZEN))
    return replace(state, migrations=(made._replace(**changed),))  # type: ignore[arg-type]


def only(state: State) -> Migration:
    (migration,) = state.migrations
    return migration


def step(state: State, after: Phase, **changed: object) -> Step:
    """A step of the only migration from where it stands."""
    migration = only(state)
    where = (migration.id, state.cepoch, migration.freeze, migration.phase)
    return replace(Step(*where, after), **changed)  # type: ignore[arg-type]


def commit(state: State, *ends: tuple[int, int]) -> Step:
    return step(state, Phase.COMMITTED, ends=ends)


def report(shard: str = "s1", **changed: object) -> Report:
    """Of the shard's present process: verified, and close behind."""
    made = Report("m1", shard, 7, verified=True, freeze=1)
    return made._replace(**changed)  # type: ignore[arg-type]
