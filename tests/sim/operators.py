"""The operators: plans of migrations and words about them, through a router, as `ctl` sends them.

What it is: random moves, splits, merges and drains made by the shipped planner, words about them,
and a record of what was answered. What it is not: a judge (`reshard_checks.py`).

Words: a migration is *left* where it waits for an operator who says nothing any more.

Invariants: a plan or word whose outcome is unknown may be sent again as it was; behind the end of
the faults no manual migration is left READY, for it would keep others waiting.

Worked example: /a/ is split at /a/1 by hand: PREPARING, READY, and at the end SWITCH or CANCEL.

Tested in tests/sim/test_sim.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kubebraid.base.errors import RequestRefused
from kubebraid.base.leasehome import home, home_key
from kubebraid.base.reshard import ENDED, Action, Control, Migration, Phase, Planned
from kubebraid.base.tabletmap import TabletMap
from kubebraid.proto.adminreshard import PlanRequest, Verb
from kubebraid.router.draft import Scene, Standing
from kubebraid.router.planner import plan

from .client import KEYS
from .leases import LEASES_MAX

if TYPE_CHECKING:
    from .nodes import RouterNode
    from .world import World

HOMES_OF: Final = (3, LEASES_MAX // 4)  # leases, whose homes are to move too
BORDERS: Final = (*KEYS, *map(home_key, HOMES_OF))
TABLETS_MAX: Final = 14  # then the operators merge
LAST_WORDS_US: Final = 250_000  # between two rounds of them, at the end
WORDS: Final = (
    *(Action.SWITCH, Action.SWITCH, Action.SWITCH, Action.REVERSE, Action.REVERSE),
    *(Action.COMPLETE, Action.COMPLETE, Action.CANCEL, Action.RATE),
)


@dataclass(slots=True)
class Order:
    """What was asked. `outcome`: None: open, or lost with its router; otherwise "done", "refused"
    (nothing happened) or "unknown"."""

    request: Planned | Control
    outcome: str | None = None


class Operators:
    """Of one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._on = False
        self._named = 0
        self._last_words: dict[str, Action | None] = {}
        self.orders: list[Order] = []

    def begin(self) -> None:
        self._on = self._world.plan.reshard_gap_us > 0
        if self._on:
            self._next()

    def finish(self) -> None:
        """Nothing new is planned; whoever waits for a word hears one, or is left."""
        if self._on:
            self._on = False
            self._say_last()

    def _next(self) -> None:
        gap = self._world.plan.reshard_gap_us
        self._world.after(int(self._world.random.expovariate(1 / gap)) + 1, self._act)

    def _act(self) -> None:
        if not self._on:
            return
        node = self._router()
        if node is not None:
            draw = self._world.random.random()
            request = self._plan(node) if draw < 0.6 else self._word(node, draw)
            if request is not None:
                self._send(node, Order(request))
        self._next()

    def _router(self) -> RouterNode | None:
        edge = self._world.edges.any()
        return None if edge is None else edge.node

    def _send(self, node: RouterNode, order: Order) -> None:
        """As the router's admin service would."""
        loop, role, life = node.loop, node.here, node.life
        if loop is None or role is None:
            return
        self.orders.append(order)
        number = len(self.orders)
        self._world.note("order", node.name, f"{number} {_short(order.request)}")

        def done(refused: RequestRefused | None) -> None:
            if node.life == life:
                definite = refused is not None and refused.definite
                order.outcome = "done" if refused is None else "refused" if definite else "unknown"
                self._world.note("ordered", str(number), f"{order.outcome} {refused or ''}")

        loop.post(lambda: role.client.reshard(order.request, done))
        node.wake(self._world.now)

    # -- what is asked -------------------------------------------------------------------------

    def _plan(self, node: RouterNode) -> Planned | None:
        """By the planner that ships; None where it refuses, or there is nothing to do."""
        again = [order for order in self.orders if order.outcome == "unknown"]
        if again and self._world.chance(0.2):
            repeated = self._world.random.choice(again).request
            return repeated if isinstance(repeated, Planned) else None
        assert node.here is not None
        view = node.here.client.view
        names = {tablet.shard for tablet in view.tablets.tablets}
        shards = {name: Standing(True) for name in names | {place.name for place in view.shards}}
        scene = Scene(view.tablets, shards, migrations=view.migrations)
        try:
            made = plan(self._request(view.tablets, sorted(shards)), scene, self._name)
        except RequestRefused:
            return None
        return Planned(made.migrations, view.tablets.version) if made.migrations else None

    def _name(self) -> int:
        self._named += 1
        return self._named

    def _request(self, tablets: TabletMap, shards: list[str]) -> PlanRequest:
        random = self._world.random
        tablet = random.choice((*tablets.tablets, *[home(tablets, lease) for lease in HOMES_OF]))
        manual, keep = random.random() < 0.3, random.random() < 0.1
        rate = random.choice((0, 0, 0, 5_000))
        draw = random.random() if len(tablets.tablets) < TABLETS_MAX else 0.8
        if draw < 0.4:
            asked = PlanRequest(Verb.MOVE, (tablet.name,), to=(random.choice(shards),))
        elif draw < 0.55:
            border = random.choice(BORDERS)
            name, to = tablets.tablet_of(border).name, self._some(shards)
            asked = PlanRequest(Verb.SPLIT, (name,), at=border, to=to)
        elif draw < 0.68:
            name, to = tablets.tablet_of(random.choice(BORDERS)).name, self._some(shards)
            asked = PlanRequest(Verb.SPLIT, (name,), buckets=random.choice((2, 2, 4)), to=to)
        elif draw < 0.94:
            asked = PlanRequest(Verb.MERGE, self._joint(tablets))
        else:
            asked = PlanRequest(Verb.DRAIN, (random.choice(shards),))
        return asked._replace(manual=manual, keep_source=keep, rate=rate)

    def _some(self, shards: list[str]) -> tuple[str, ...]:
        return tuple(shards) if self._world.chance(0.4) else ()

    def _joint(self, tablets: TabletMap) -> tuple[str, ...]:
        """Two neighbours, or all buckets of a range."""
        at = self._world.random.randrange(len(tablets.tablets))
        tablet = tablets.tablets[at]
        if tablet.buckets > 1:
            return tuple(t.name for t in tablets.tablets if t.span == tablet.span)
        return tuple(t.name for t in tablets.tablets[at : at + 2])

    def _word(self, node: RouterNode, draw: float) -> Control | None:
        assert node.here is not None
        known = node.here.client.view.migrations
        alive = [m for m in known if m.phase not in ENDED]
        migrations = alive if alive and draw < 0.95 else list(known)
        if not migrations:
            return None
        random = self._world.random
        return Control(
            random.choice(migrations).id,
            random.choice(WORDS),
            rate=random.choice((0, 20_000)),
            pause_ms=random.choice((0, 0, 3, 200)),
            keep_source=random.random() < 0.2,
        )

    # -- the end -------------------------------------------------------------------------------

    def _say_last(self) -> None:
        node = self._router()
        migrations = () if node is None or node.here is None else node.here.client.view.migrations
        for migration in migrations:
            action = self._last_word(migration)
            if node is not None and action is not None:
                self._send(node, Order(Control(migration.id, action)))
        self._world.after(LAST_WORDS_US, self._say_last)

    def _last_word(self, migration: Migration) -> Action | None:
        if not migration.manual or migration.phase not in (Phase.READY, Phase.DRAINING):
            return None
        ready = migration.phase is Phase.READY
        place = f"{migration.id} {ready}"
        if place not in self._last_words:
            words = (
                (Action.SWITCH, Action.SWITCH, Action.CANCEL)
                if ready
                else (Action.COMPLETE, Action.REVERSE, None)
            )
            reversible = migration.copies or ready
            chosen = self._world.random.choice(words) if reversible else Action.COMPLETE
            self._last_words[place] = chosen
        return self._last_words[place]

    def left(self, migration: Migration) -> bool:
        """Whether it waits for an operator for ever."""
        draining = migration.manual and migration.phase is Phase.DRAINING
        place = f"{migration.id} False"
        return draining and self._last_words.get(place, Action.COMPLETE) is None


def _short(request: Planned | Control) -> str:
    if isinstance(request, Control):
        return f"{request.action.name} {request.id}"
    return ", ".join(
        f"{m.id} {m.source}->{m.target} {m.sources}{' manual' if m.manual else ''}"
        for m in request.migrations
    )
