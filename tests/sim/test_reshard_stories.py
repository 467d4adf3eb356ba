"""Stories of migrations without chance: what clients see while the map changes under them.

What it is: rules of the design that name a map change. What it is not: a search; the seeds are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from kubebraid.base.reshard import ENDED, Action, Control, Migration, Phase, Planned
from kubebraid.proto.adminreshard import PlanRequest, Verb
from kubebraid.router.draft import Scene, Standing
from kubebraid.router.planner import plan
from kubebraid.shard import keycodec

from .reshard_checks import unsettled
from .scenario import ONE, SECOND, Calm, begun

KEYS = (b"/a/1", b"/a/2", b"/b/1", b"/b/2", b"/c/1", b"z")
EVERYTHING = (b"\x00", b"\x00")


@pytest.fixture
def calm() -> Iterator[Calm]:
    made = begun()
    yield made
    made.close()


class Operator:
    """One who asks router 0."""

    def __init__(self, calm: Calm) -> None:
        self._calm = calm
        self._drawn = 0

    def _draw(self) -> int:
        self._drawn += 1
        return self._drawn

    def known(self) -> tuple[Migration, ...]:
        role = self._calm.world.routers[0].here
        assert role is not None
        return role.client.view.migrations

    def ask(self, request: Planned | Control) -> None:
        node, told = self._calm.world.routers[0], list[object]()
        assert node.loop is not None
        assert node.here is not None
        client = node.here.client
        node.loop.post(lambda: client.reshard(request, told.append))
        node.wake(self._calm.world.now)
        assert self._calm.world._until(lambda: bool(told), SECOND)
        assert told == [None], told

    def reshard(self, request: PlanRequest) -> list[str]:
        """Planned; the ids."""
        role = self._calm.world.routers[0].here
        assert role is not None
        view = role.client.view
        shards = {tablet.shard: Standing(True) for tablet in view.tablets.tablets}
        made = plan(request, Scene(view.tablets, shards, migrations=view.migrations), self._draw)
        self.ask(Planned(made.migrations, view.tablets.version))
        return [migration.id for migration in made.migrations]

    def until(self, name: str, *phases: Phase) -> None:
        def there() -> bool:
            return any(m.id == name and m.phase in phases for m in self.known())

        assert self._calm.world._until(there, 20 * SECOND), self.known()

    def done(self, request: PlanRequest) -> None:
        for name in self.reshard(request):
            self.until(name, *ENDED)
            assert next(m for m in self.known() if m.id == name).phase is Phase.DONE


def listed(calm: Calm, revision: int = 0) -> tuple[int, dict[bytes, int]]:
    """(revision, key -> the revision that wrote it)"""
    start, end = EVERYTHING
    found = calm.get(start, range_end=end, revision=revision)
    return found.header.revision, {kv.key: kv.mod_revision for kv in found.kvs}


def away(calm: Calm, name: str) -> str:
    """A shard that does not own the tablet."""
    tablets = calm.world.truth.owners.newest.tablets
    owner = next(tablet.shard for tablet in tablets if tablet.name == name)
    return next(shard.name for shard in calm.world.shards if shard.name != owner)


def test_inv12_a_list_and_its_watch_give_the_later_list_over_changes_of_the_map(
    calm: Calm,
) -> None:
    operator = Operator(calm)
    _, watching = calm.watch(*EVERYTHING)
    lists = []
    changes: tuple[Callable[[], PlanRequest], ...] = (
        lambda: PlanRequest(Verb.SPLIT, ("a",), at=b"/a/2"),
        lambda: PlanRequest(Verb.MOVE, ("a-2",), to=(away(calm, "a-2"),)),
        lambda: PlanRequest(Verb.SPLIT, ("b",), buckets=2),
        lambda: PlanRequest(Verb.MOVE, ("b.1",), to=(away(calm, "b.1"),)),
        lambda: PlanRequest(Verb.MERGE, ("a-1", "a-2")),
        lambda: PlanRequest(Verb.MERGE, ("b.0", "b.1")),
    )
    for number, change in enumerate(changes):
        for at, key in enumerate(KEYS):
            if (at + number) % 3:
                calm.put(key, b"%d" % (100 * number + at))
        lists.append(listed(calm))
        operator.done(change())
        calm.put(KEYS[number], b"%d" % (1_000 + number))
        lists.append(listed(calm))
    newest = lists[-1][0]
    assert calm.world._until(lambda: watching.seen >= newest, 5 * SECOND)
    events = [event for told in watching.told for event in told.events]
    for early, old in lists:
        for late, new in lists:
            if early <= late:
                between = [event for event in events if early < event[0] <= late]
                told = {key: revision for revision, key, *_ in between}
                assert old | told == new, (early, late)
    for revision, old in lists:
        assert listed(calm, revision)[1] == old, "history is whole behind every change"


def test_inv18_a_move_is_reversed_and_comes_to_rest(calm: Calm) -> None:
    operator = Operator(calm)
    calm.put(b"/b/1", b"1")
    home = calm.world.first_map.tablet_of(b"/b/1").shard
    request = PlanRequest(Verb.MOVE, ("b",), to=(away(calm, "b"),), manual=True)
    (name,) = operator.reshard(request)
    operator.until(name, Phase.READY)
    operator.ask(Control(name, Action.SWITCH))
    operator.until(name, Phase.DRAINING)
    moved = calm.put(b"/b/1", b"2")
    operator.ask(Control(name, Action.REVERSE))
    operator.until(name, Phase.DONE)
    assert calm.get(b"/b/1").kvs[0].mod_revision == moved
    assert calm.world.truth.owners.newest.tablet_of(b"/b/1").shard == home
    assert calm.world._until(lambda: not unsettled(calm.world), 5 * SECOND)


def test_inv19_writes_wait_for_milliseconds_while_a_tablet_goes_elsewhere(calm: Calm) -> None:
    """Without faults; the freeze itself has a deadline (tests/unit/coordinator)."""
    operator = Operator(calm)
    calm.put(b"/b/1", b"1")
    (name,) = operator.reshard(PlanRequest(Verb.MOVE, ("b",), to=(away(calm, "b"),)))
    longest, number = 0, 0
    while not any(m.id == name and m.phase in ENDED for m in operator.known()):
        asked, number = calm.world.now, number + 1
        calm.put(b"/b/1", b"%d" % (100 + number))
        longest = max(longest, calm.world.now - asked)
    assert number > 3, "it went on meanwhile"
    assert longest < 100_000, longest


def test_inv05_a_sealed_owner_of_shared_rows_answers_as_of_the_revision() -> None:
    """It has not heard that its tablet went, its router has not, and the rows are the next owner's:
    what is there now is not what was there."""
    calm = begun(plan=replace(ONE, shared=True))
    operator, world = Operator(calm), calm.world
    old = calm.put(b"/b/1", b"1")
    source = next(s for s in world.shards if s.name == world.first_map.tablet_of(b"/b/1").shard)
    target = away(calm, "b")
    (name,) = operator.reshard(PlanRequest(Verb.MOVE, ("b",), to=(target,), manual=True))
    operator.until(name, Phase.READY)
    operator.ask(Control(name, Action.SWITCH))
    assert source.here is not None
    owned = source.here._owned
    assert owned is not None
    assert world._until(lambda: bool(owned.sealed), SECOND)
    for node in (source.name, "r1"):
        world.net.part(node, "m0")
    operator.until(name, Phase.DRAINING)
    calm.put(b"/b/1", b"2")
    new = calm.put(b"/b/2", b"3")
    calm.wait(SECOND)
    assert owned.sealed, "it has heard nothing"
    source.engine.catch_up()  # the keeper's doing
    assert source.engine.get(keycodec.newest(b"/b/2")) is not None, "and sees the rows"
    for limit in (0, 1):
        found = calm.get(b"/b/", 1, range_end=b"/b0", revision=old, limit=limit, serializable=True)
        assert [(kv.key, kv.mod_revision) for kv in found.kvs] == [(b"/b/1", old)]
        assert (found.count, found.more) == (1, False)
    assert new > old
    calm.close()
