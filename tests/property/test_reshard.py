"""Migrations under random reports, deadlines, takeovers, restarts and a log that repeats itself.

What it is: the driver, the sequencer and the replicated state as a serving member puts them
together, with writers that use old maps and reports that are old. What it is not: the log's own
order (one list), the lease, or a copy: a report's ends are what a copy would have had at some time.

Invariants: the map covers every key and grows by one version; no (tablet, owner epoch) has two
owners; epochs and beginnings never fall; a retired id never comes back; nothing is allocated to a
tablet behind its commit under an older epoch, and nothing that was allocated lies above the end
that the target had; whatever is FROZEN leaves it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hypothesis import event, given
from hypothesis import strategies as st

from kubebraid.base.limits import RESHARD_FREEZE_MS
from kubebraid.base.ports import AllocRequest
from kubebraid.base.reshard import ENDED, Action, Control, Kind, Migration, Phase, Planned, Report
from kubebraid.base.revision import TabletId
from kubebraid.base.tabletmap import Tablet, TabletMap
from kubebraid.coordinator.migrations import Step
from kubebraid.coordinator.reshard import Resharding
from kubebraid.coordinator.sequencer import Sequencer
from kubebraid.coordinator.state import State, decode, encode
from kubebraid.coordinator.transition import Acquire, Command, StartShard, apply
from tests.unit.coordinator.reshard_kit import SHARDS, founded

Op = tuple[str, int, int]
RARE = ("old-write", "old-report", "served", "tick", "lose", "repeat", "late", "takeover")
OFTEN = ("write", "back", "back", "move", "merge", "stale", "report", "deliver", "go", "go")
NAMES = (*OFTEN, *OFTEN, *RARE, "restart", "word", "split")
OPS = st.lists(
    st.tuples(st.sampled_from(NAMES), st.integers(0, 1 << 10), st.integers(0, 1 << 10)),
    min_size=40,
    max_size=120,
)


class World:
    """One serving member's parts, and the truth about what was allocated and copied."""

    def __init__(self) -> None:
        self.state = founded()
        self.ms = 10_000
        self.number = 0
        self.truth = {t.id: 1 for t in self.state.tablets.tablets}  # highest ever allocated
        self.copied: dict[tuple[str, TabletId], int] = {}  # what a target's process has durably
        self.owners: dict[tuple[TabletId, int], tuple[str, int]] = {}
        self.maps = [self.state.tablets]
        self.pending: list[Step] = []
        self.late: list[Step] = []  # answered as unknown; the log may still take them
        self.reports: list[Report] = []
        self.reign(self.truth)

    def reign(self, last: dict[TabletId, int]) -> None:
        self.sequencer = Sequencer(self.state.cepoch, self.state.tablets, last)
        self.driver = Resharding()
        self.turn()

    # -- what a member does --------------------------------------------------------------------

    def turn(self) -> None:
        if self.state.tablets.version > self.sequencer.map_version:
            self.sequencer.adopt_map(self.state.tablets)
        self.sequencer.expect(self.state.next_tablet, self.state.coming)
        steps = self.driver.next(self.state, self.sequencer.last(), self.ms)
        self.sequencer.switch(self.driver.switching())
        self.pending += steps

    def take(self, command: Command) -> bool:
        """The log applies it. Answers: did it change anything?"""
        before, after = self.state, apply(self.state, command)
        assert decode(encode(after)) == after
        self.state = after
        self.check_maps(before, after)
        if isinstance(command, Step) and command.after is Phase.COMMITTED and after is not before:
            self.check_commit(before, command)
        self.turn()
        return after is not before

    # -- what must hold ------------------------------------------------------------------------

    def check_maps(self, before: State, after: State) -> None:
        old, new = before.tablets.by_id(), after.tablets.by_id()
        assert after.tablets.version - before.tablets.version in (0, 1)
        for tablet in after.tablets.tablets:
            place = after.shard(tablet.shard)
            assert place is not None
            who = (place.name, place.incarnation)
            owner = self.owners.setdefault((tablet.id, tablet.oepoch), who)
            assert owner == who or owner[0] == who[0], "one owner at one epoch (inv17)"
            if tablet.id in old:
                known = old[tablet.id]
                assert (tablet.oepoch, tablet.begin) >= (known.oepoch, known.begin)
                assert tablet.shard == known.shard or tablet.oepoch > known.oepoch
            else:
                assert all(tablet.id not in made.by_id() for made in self.maps), "given twice"
        if old != new:
            self.maps.append(after.tablets)

    def check_commit(self, before: State, commit: Step) -> None:
        """Nothing that was ever allocated is above the end, or missing at the target."""
        migration = before.migration(commit.id)
        assert migration is not None
        for tablet, end in commit.ends:
            assert end >= self.truth[tablet], "the end is below what was allocated (inv18)"
            assert self.copied[migration.target, tablet] >= end
        for target in migration.targets:
            self.truth.setdefault(target.id, max(end for _, end in commit.ends))
        event(f"committed {migration.kind.name}, reversed: {migration.back}")

    # -- what happens --------------------------------------------------------------------------

    def one(self, pick: int) -> Migration | None:
        open_ = [m for m in self.state.migrations if m.phase not in ENDED]
        return open_[pick % len(open_)] if open_ else None

    def write(self, tablet: Tablet, pick: int) -> None:
        self.number += 1
        ends = ((tablet.id, tablet.oepoch, 0),)
        request = AllocRequest(self.sequencer.cepoch, tablet.shard, self.number, 1, ends, pick)
        reply = self.sequencer.allocate(request)
        if reply is not None and not reply.refused:
            now = self.state.tablets.by_id()[tablet.id]
            assert now.oepoch == tablet.oepoch, "written under an epoch that is over"
            assert reply.first > max(now.begin, self.truth[tablet.id])
            self.truth[tablet.id] = reply.first

    def report(self, migration: Migration, pick: int) -> None:
        """As of now; its ends are all that was allocated, or one less."""
        place = self.state.shard(migration.target)
        assert place is not None
        last = self.sequencer.last()
        ends = tuple((t, last[t] - (pick % 5 == 0)) for t in migration.sources if t in last)
        if migration.phase is Phase.FROZEN:
            for tablet, end in ends:
                held = self.copied.get((migration.target, tablet), 0)
                self.copied[migration.target, tablet] = max(held, end)
        else:
            ends = ()
        made = Report(
            *(migration.id, migration.target, place.incarnation),
            verified=pick % 7 != 0,
            lag=0 if pick % 3 else 5_000,
            ends=ends,
            failed="broken" if pick % 41 == 0 else "",
            freeze=migration.freeze,
        )
        self.reports.append(made)
        self.driver.heard(made)

    def serve(self, migration: Migration) -> None:
        for name in (migration.source, migration.target):
            place = self.state.shard(name)
            assert place is not None
            if migration.phase in (Phase.COMMITTED, Phase.DRAINING):
                told = Report(
                    *(migration.id, name, place.incarnation),
                    verified=True,
                    served=True,
                    freeze=migration.freeze,
                )
                self.reports.append(told)
                self.driver.heard(told)

    def restart(self, name: str) -> None:
        place = self.state.shard(name)
        assert place is not None
        ends = self.sequencer.freeze(name, self.state.tablets)
        who = (name, place.store, place.incarnation + 1, place.address)
        start = StartShard(self.state.cepoch, *who, ends, place.since)
        assert self.take(replace(start, previous=place.confirmed)), "the process was let in"

    def takeover(self) -> None:
        base = self.sequencer.revision + 10
        self.take(Acquire("n", self.state.cepoch, self.state.lease.renewals, 10))
        self.late += self.pending
        self.pending.clear()
        self.reign({tablet.id: base for tablet in self.state.tablets.tablets})

    # -- plans ---------------------------------------------------------------------------------

    def plan(self, kind: str, pick: int, other: int) -> None:
        self.number += 1
        name, tablets = f"m{self.number}", self.state.tablets.tablets
        makers: dict[str, Callable[[], Migration | None]] = {
            "move": lambda: moved(name, tablets[pick % len(tablets)], SHARDS[other % 3]),
            "split": lambda: cut(name, tablets[pick % len(tablets)]),
            "merge": lambda: joined(name, tablets, pick % len(tablets)),
        }
        made = makers[kind]()
        if made is not None:
            self.take(
                Planned(
                    (made._replace(manual=other % 2 == 0 and kind == "move"),),
                    self.state.tablets.version,
                )
            )

    # -- one operation -------------------------------------------------------------------------

    def do(self, op: Op) -> None:
        name, pick, other = op
        migration = self.one(pick)
        match name:
            case "write":
                self.write(chosen(self.state.tablets, pick), pick)
            case "old-write":
                self.write(chosen(self.maps[other % len(self.maps)], pick), pick)
            case "old-report" if self.reports:
                self.driver.heard(self.reports[pick % len(self.reports)])
            case "tick":
                self.ms += pick
            case "takeover" | "restart":
                self.fault(name, pick, other)
            case "back":
                self.back()
            case "move" | "split" | "merge":
                self.plan(name, pick, other)
            case "deliver" | "lose" | "repeat" | "late":
                self.log(name, pick)
            case _:
                self.to(migration, name, other)
        self.turn()

    def to(self, migration: Migration | None, name: str, pick: int) -> None:
        """What happens to one migration, if there is any."""
        match name:
            case _ if migration is None:
                pass
            case "report":
                self.report(migration, pick)
            case "go":
                self.go(migration)
            case "stale" if migration.phase is Phase.FROZEN:
                self.stale(migration)
            case "served":
                self.serve(migration)
            case "word":
                self.take(Control(migration.id, list(Action)[pick % len(Action)]))
            case _:
                assert name in NAMES

    def back(self) -> None:
        """An operator reverses what he can."""
        for migration in self.state.migrations:
            if migration.phase is Phase.DRAINING:
                self.take(Control(migration.id, Action.REVERSE))

    def fault(self, name: str, pick: int, other: int) -> None:
        """Now and then: nothing would ever be committed otherwise."""
        if pick % 4 == 0 and name == "takeover":
            self.takeover()
        elif pick % 4 == 0:
            self.restart(SHARDS[other % 3])

    def log(self, name: str, pick: int) -> None:
        if name == "late" and self.late:
            self.take(self.late[pick % len(self.late)])
        elif self.pending:
            step = self.pending.pop(pick % len(self.pending))
            changed: bool | None = None
            if name in ("deliver", "repeat"):
                changed = self.take(step)
            if name in ("lose", "repeat"):
                self.late.append(step)
            self.driver.answered(step, None if name == "lose" else changed)

    def go(self, migration: Migration) -> None:
        """A while without faults."""
        self.report(migration, 1)
        self.serve(migration)
        self.turn()
        while self.pending:
            self.log("deliver", 0)

    def stale(self, migration: Migration) -> None:
        """A commit is lost on its way, the next freeze begins behind more writes, then it comes."""
        self.report(migration, 1)
        self.turn()
        while self.pending:
            self.log("lose", 0)
        for passed_ms in (RESHARD_FREEZE_MS, RESHARD_FREEZE_MS * 20):
            self.ms += passed_ms
            self.turn()
            while self.pending:
                self.log("deliver", 0)
            owned = [t for t in self.state.tablets.tablets if t.id in migration.sources]
            for tablet in owned:
                self.write(tablet, 1)
        for step in list(self.late):
            self.take(step)

    def settle(self) -> None:
        """No more faults or words: each freeze ends in time, and the last one too."""
        since: dict[tuple[str, int], int] = {}
        for _ in range(60):
            self.ms += RESHARD_FREEZE_MS // 2
            self.turn()
            while self.pending:
                self.log("deliver", 0)
            for migration in self.state.migrations:
                if migration.phase is Phase.FROZEN:
                    began = since.setdefault((migration.id, migration.freeze), self.ms)
                    assert self.ms - began <= RESHARD_FREEZE_MS, "frozen past its deadline"
            frozen = [m for m in self.state.migrations if m.phase is Phase.FROZEN]
            held = {tablet for migration in frozen for tablet in migration.sources}
            assert self.driver.switching() <= held, "nothing else is held back"


def chosen(made: TabletMap, pick: int) -> Tablet:
    return made.tablets[pick % len(made.tablets)]


def moved(name: str, tablet: Tablet, to: str) -> Migration | None:
    if tablet.shard == to:
        return None
    target = replace(tablet, shard=to)
    return Migration(name, Kind.MOVE, tablet.shard, to, (tablet.id,), (target,))


def cut(name: str, tablet: Tablet) -> Migration | None:
    if tablet.buckets > 1:
        return None
    targets = tuple(Tablet(0, f"{name}.{n}", tablet.span, tablet.shard, 1, n, 2) for n in range(2))
    return Migration(name, Kind.SPLIT, tablet.shard, tablet.shard, (tablet.id,), targets)


def joined(name: str, tablets: tuple[Tablet, ...], at: int) -> Migration | None:
    """The buckets of a range become one."""
    cuts = [t for t in tablets if t.buckets > 1]
    found = [t for t in cuts if t.span == cuts[at % len(cuts)].span]
    if not found or len({t.shard for t in found}) > 1:
        return None
    owner = found[0].shard
    target = Tablet(0, name, found[0].span, owner, 1)
    return Migration(name, Kind.MERGE, owner, owner, tuple(t.id for t in found), (target,))


@given(OPS)
def test_inv17_inv18_m02_m05_whatever_happens(ops: list[Op]) -> None:
    """One run; what must hold is asserted at each step of it."""
    world = World()
    for op in ops:
        world.do(op)
    world.settle()
