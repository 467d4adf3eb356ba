"""A whole cluster in one thread: nodes, network, clients and faults, stepped by one seed.

What it is: the agenda of what happens when, the plan of a seed, and the run: a beginning, so many
steps under faults, the healing, and the judgement. What it is not: a protocol; the nodes are the
processes that ship (`nodes.py`).

Words: a *step* is one turn of one node's loop; the *agenda* is what is to come, in true time; a
*plan* is what a seed draws before anything runs.

Invariants: the same seed and plan give the same trace; nothing is ordered by a set, a hash or an
id; a run that stops says the seed, the step and the last that happened.

Worked example: `World(7).run(1000)` returns, or raises Violation with "--seed=7" in its text.

Tested in tests/sim/test_sim.py.
"""

from __future__ import annotations

import heapq
import traceback
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from unittest import mock

from kubebraid.base.errors import StaleEpoch
from kubebraid.base.limits import BATCH_WRITES_MAX
from kubebraid.base.tabletmap import TabletMap, layout
from kubebraid.coordinator import reign
from kubebraid.coordinator.raft import core
from kubebraid.router import catch_up
from kubebraid.shard import apply, writer
from kubebraid.shard.reshard import checks, pieces, sweep
from kubebraid.shard.storage.engine import EngineError

from .checkers import check_calls
from .client import Clients
from .disk import FakeDisk
from .edges import Edges
from .faults import Faults
from .leases import BRIEF_S, check_leases
from .list_checks import check_lists
from .network import Net
from .nodes import CoordinatorNode, Node, RouterNode, ShardNode
from .operators import Operators
from .pause_checks import check_pauses
from .reshard_checks import check_stores, unsettled
from .row_space import RowSpace
from .spies import Spies, spied
from .truth import Truth
from .verdict import Violation
from .watch_checks import check_watches

PREFIXES = (b"/a/", b"/b/", b"/c/")
BOOT_US = 20_000_000  # a cluster that has not begun to serve by then never will
STORM_US = 30_000_000  # of a seed in which little happens
QUIET_US = 40_000_000  # ... and one that is healed answers everything by then
LOOK_US = 20_000  # between two looks at all stores
LAST_EVENTS = 60


@dataclass(frozen=True, slots=True)
class Plan:
    """What a seed has drawn. `gap_us`: between two actions of clients, on average. Bounds of the
    product that are small in some seeds, so that they are met: `window`: revisions that a reign has
    at least; `slice`: of the log, for one watcher; `snapshot`: entries until Raft makes one.
    `rows`: of one piece of a copy. `reshard_gap_us`: between two words of operators, on average;
    0: they say nothing. `shared`: the shards' rows of keys are one space."""

    members: tuple[str, ...]
    shards: tuple[str, ...]
    routers: tuple[str, ...]
    buckets: int
    gap_us: int
    fault_gap_us: int
    faults: tuple[str, ...]
    window: int
    slice: int
    snapshot: int
    reshard_gap_us: int = 0
    rows: int = 256
    shared: bool = False


def draw(random: Random) -> Plan:
    """Many small worlds, and some with three coordinators; in some of those that have migrations
    nothing fails, so that it can be seen how long clients wait for them."""
    members = ("m0", "m1", "m2") if random.random() < 0.2 else ("m0",)
    shards = ("s0", "s1", "s2")[: random.choice((1, 2, 2, 2, 3))]
    routers = ("r0", "r1")[: random.choice((1, 2, 2))]
    kinds = Faults.KINDS
    faults = tuple(kind for kind in kinds if random.random() < 0.5)
    gap_us = random.choice((4_000, 10_000, 25_000, 60_000))
    fault_gap_us = random.choice((60_000, 250_000, 1_000_000))
    buckets, window = random.choice((1, 2)), random.choice((10_000, 10_000, 60))
    log_slice, snapshot = random.choice((512, 3)), random.choice((50_000, 50_000, 12))
    reshard_gap_us, rows = random.choice((0, 0, 0, 0, 20_000, 80_000)), random.choice((256, 2))
    if reshard_gap_us and random.random() < 0.1:
        faults = ()
    shared = random.random() < 0.25
    return Plan(
        *(members, shards, routers, buckets, gap_us, fault_gap_us, faults),
        *(window, log_slice, snapshot, reshard_gap_us, rows, shared),
    )


def _where(error: BaseException) -> str:
    """An exception and where it comes from, innermost first."""
    frames = [
        f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    return f"{error!r} at " + " < ".join(reversed(frames[-8:]))


class World:
    """One run."""

    def __init__(self, seed: int, plan: Plan | None = None, echo: bool = False) -> None:
        """`echo`: print what happens, as it does."""
        self.seed = seed
        self.random = Random(seed)
        self.plan = draw(self.random) if plan is None else plan
        self.now = 0
        self.steps = 0
        self.hash = 0
        self._echo = echo
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._order = 0
        self._last: deque[tuple[int, str, str, object]] = deque(maxlen=LAST_EVENTS)
        self.first_map = self._layout()
        self.net = Net(self)
        self.space = RowSpace() if self.plan.shared else None
        self.truth = Truth(self.first_map, self.plan.shared)
        self.spies = Spies(self)
        self.edges = Edges(self)
        self.faults = Faults(self)
        self.disks = {name: FakeDisk() for name in self.plan.members}
        owners = sorted({tablet.shard for tablet in self.first_map.tablets})
        self.members = [CoordinatorNode(self, name) for name in self.plan.members]
        self.shards = [ShardNode(self, name) for name in owners]
        self.routers = [RouterNode(self, name) for name in self.plan.routers]
        self.clients = Clients(self)
        self.operators = Operators(self)

    def _layout(self) -> TabletMap:
        return layout(PREFIXES, list(self.plan.shards), {PREFIXES[0]: self.plan.buckets})

    @property
    def nodes(self) -> Sequence[Node]:
        return [*self.members, *self.shards, *self.routers]

    # -- time and chance -----------------------------------------------------------------------

    def at(self, when_us: int, what: Callable[[], None]) -> None:
        assert when_us >= self.now, "the past is over"
        self._order += 1
        heapq.heappush(self._agenda, (when_us, self._order, what))

    def after(self, us: int, what: Callable[[], None]) -> None:
        self.at(self.now + us, what)

    def chance(self, likely: float) -> bool:
        return self.random.random() < likely

    def note(self, what: str, who: str, more: object = "") -> None:
        """Into the trace."""
        self.hash = zlib.crc32(f"{self.now} {what} {who} {more}".encode(), self.hash)
        self._last.append((self.now, what, who, more))
        if self._echo:
            print(f"{self.now / 1000:12.3f} {what:9} {who} {more}")

    # -- a run ---------------------------------------------------------------------------------

    def run(self, steps: int) -> None:
        """Raises Violation."""
        try:
            with spied(self.spies), self._bounds():
                self._begin()
                self._storm(steps)
                self._calm()
                self._judge()
        except Violation as broken:
            raise self._explained(broken) from broken.__cause__
        except Exception as error:
            raise self._explained(Violation("crash", _where(error))) from error

    @contextmanager
    def _bounds(self) -> Iterator[None]:
        """The plan's. As base/limits has it, half a window has room for any batch."""
        batch = min(BATCH_WRITES_MAX, self.plan.window // 2)
        with (
            mock.patch.object(writer, "BATCH_WRITES_MAX", batch),
            mock.patch.object(reign, "WINDOW_REVISIONS_MIN", self.plan.window),
            mock.patch.object(catch_up, "LOG_SLICE_REVISIONS", self.plan.slice),
            mock.patch.object(core, "RAFT_COMPACT_ENTRIES", self.plan.snapshot),
            mock.patch.object(pieces, "ROWS", self.plan.rows),
            mock.patch.object(apply, "LEASE_TTL_S_MIN", min(BRIEF_S)),
            mock.patch.object(checks, "COPY_CHECK_KEYS", self.plan.rows),
            mock.patch.object(sweep, "COPY_SWEEP_ROWS", self.plan.rows),
        ):
            yield

    def _explained(self, broken: Violation) -> Violation:
        lines = [f"{at / 1000:12.3f} {what:9} {who} {more}" for at, what, who, more in self._last]
        told = (
            f"{broken.what}\n  seed {self.seed}, step {self.steps}, {self.now / 1e6:.3f} s, "
            f"{self.plan}\n  the last that happened:\n    " + "\n    ".join(lines) + "\n"
            f"  again: python -m tests.sim --seed={self.seed} --trace"
        )
        return Violation(broken.checker, told)

    def _until(self, done: Callable[[], bool], limit_us: int) -> bool:
        end, agenda, pop = self.now + limit_us, self._agenda, heapq.heappop
        while not done():
            if agenda[0][0] > end:
                return False
            self.now, _, what = pop(agenda)
            what()
        return True

    def _begin(self) -> None:
        for node in self.nodes:
            self.after(int(self.random.random() * 200_000), node.start)
        if not self._until(lambda: all(router.ready for router in self.routers), BOOT_US):
            raise Violation("liveness", "the cluster never began to serve")

    def _storm(self, steps: int) -> None:
        end = self.steps + steps
        self.clients.begin()
        self.operators.begin()
        self.faults.begin()
        self._until(lambda: self.steps >= end, STORM_US)

    def _calm(self) -> None:
        """Heal everything, let everybody finish, and see that all do."""
        self.note("heal", "world")
        self.faults.heal()
        self.operators.finish()
        self.clients.finish()
        if not self._until(self.clients.finished, QUIET_US):
            raise Violation("liveness", self.clients.unfinished())
        if self.plan.reshard_gap_us:
            self._settle()

    def _settle(self) -> None:
        """inv18: every migration ends, and nothing of it stays."""
        looked = 0

        def settled() -> bool:
            nonlocal looked
            if self.now < looked or not self.clients.finished():
                return False
            looked = self.now + LOOK_US
            return not unsettled(self)

        def over() -> bool:
            return settled() and not any(self.clients.leases.overdue())

        for done, last in ((settled, self.clients.revoke), (over, lambda: None)):
            if not self._until(done, QUIET_US):
                raise self._unsettled()
            last()

    def _unsettled(self) -> Violation:
        """Whose promise is not kept, in the end."""
        if unsettled(self):
            return Violation("inv18", f"in the end: {unsettled(self)[:8]}")
        if self.spies.litter():
            return Violation("inv20", f"never removed: {self.spies.litter()[:8]}")
        overdue = list(self.clients.leases.overdue())
        if overdue:
            return Violation("inv21", f"expired long ago: {overdue[:8]}")
        return Violation("liveness", self.clients.unfinished())

    def _judge(self) -> None:
        """Everything that can be said only when the run is over."""
        self.truth.check_history()
        self.spies.check_end()
        check_lists(self)
        check_calls(self)
        check_watches(self)
        if self.plan.reshard_gap_us:
            check_stores(self)
            check_leases(self)
            if not self.plan.faults:
                check_pauses(self)

    # -- what nodes tell -----------------------------------------------------------------------

    def turned(self, node: Node, heard: int) -> None:
        """`heard`: how much had come to it. Idle turns are no steps: they are Raft's ticks."""
        self.steps += heard > 0
        if isinstance(node, ShardNode):
            node.listen()
            node.keep()
            self.spies.shard_turned(node)
        elif isinstance(node, CoordinatorNode):
            self.spies.member_turned(node)

    def died(self, node: Node, error: BaseException) -> None:
        """A process ended by itself: a replaced shard may, and one whose disk fails; anything else
        is a defect."""
        if not (isinstance(error, StaleEpoch | EngineError) and isinstance(node, ShardNode)):
            raise Violation("crash", f"{node.name} ended: {_where(error)}") from error
        node.kill()
        self.faults.restart_later(node)
