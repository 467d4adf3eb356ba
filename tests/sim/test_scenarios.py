"""Stories of a cluster: one event, and what must follow from it, by the names of the rules.

What it is: invariants and rules of the design that a seed only meets by chance. What it is not: a
search; `test_sim.py` is.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kubebraid.proto.etcd import rpc_pb2
from kubebraid.router.merge import View
from kubebraid.shard.witness import epoch

from .breaches import on
from .nodes import ShardNode
from .scenario import SECOND, Calm, begun
from .streams import Stream, Watching

A, B = b"/b/1", b"/c/1"


@pytest.fixture
def calm() -> Iterator[Calm]:
    made = begun()
    yield made
    made.close()


def apart(calm: Calm) -> tuple[bytes, bytes]:
    """Two keys of two shards."""
    keys = [b"/a/1", b"/b/1", b"/c/1", b"z"]
    first = calm.world.first_map.tablet_of(keys[0]).shard
    return keys[0], next(k for k in keys if calm.world.first_map.tablet_of(k).shard != first)


def test_inv10_progress_answers_soon_when_all_is_idle(calm: Calm) -> None:
    revision = calm.put(A, b"1")
    stream, watching = calm.watch(b"\x00", b"\x00")
    calm.wait(SECOND)
    asked = calm.world.now
    stream.ask_progress()
    assert calm.world._until(lambda: watching.seen >= revision and bool(watching.told), SECOND)
    assert calm.world.now - asked < 10_000, "three round trips are less"


def test_inv10_the_end_waits_for_a_revision_that_every_watch_can_be_told(calm: Calm) -> None:
    """A stream with a watch that was resumed behind the newest revision gets no mark (etcd
    progressIfSync), so the last writes are asked for until they are made."""
    revision = calm.put(B, b"1")
    clients = calm.world.clients
    quiet = Watching(1, (A, b""), False, (), False, revision, revision)
    resumed = Watching(2, (B, b""), False, (), False, revision + 1, revision + 1)
    clients.streams.watchings += [quiet, resumed]
    clients.streams._streams.append(
        Stream(clients.streams, calm.world.edges.all()[0], [quiet, resumed])
    )
    calm.wait(SECOND)
    for node in calm.world.shards:
        node.kill()
    clients.finish()
    calm.wait(6 * SECOND)
    assert any(call.code for call in clients.calls), "routers have given up"
    assert quiet.seen < revision
    for node in calm.world.shards:
        node.start()
    assert calm.world._until(clients.finished, 10 * SECOND), clients.unfinished()
    assert quiet.seen == resumed.seen > revision


def beside_the_dead(calm: Calm) -> None:
    """One shard dies while a revision is on its way to it, which nobody closes therefore."""
    dead, alive = apart(calm)
    first = calm.put(dead, b"1")
    _, watching = calm.watch(alive, b"")
    last, tablet = calm.world.spies.last, calm.world.first_map.tablet_of(dead).id
    calm.ask("Put", rpc_pb2.PutRequest(key=dead, value=b"2"))
    assert calm.world._until(lambda: last[tablet] > first, SECOND)
    calm.owner_of(dead).kill()
    for number in range(20):
        asked = calm.world.now
        revision = calm.put(alive, b"%d" % (100 + number), router=1)
        assert calm.world._until(lambda: watching.seen >= revision, SECOND)  # noqa: B023
        assert calm.world.now - asked < 20_000, "nobody waits for the dead"
    assert watching.count == 20


def test_inv23_a_dead_shard_does_not_touch_watches_elsewhere(calm: Calm) -> None:
    beside_the_dead(calm)


def test_inv23_a_watch_that_waits_for_all_tablets_would_be_noticed(calm: Calm) -> None:
    """A deliberate breach: what may be shown of some tablets waits for the others too."""
    bound = View.bound

    def of_all(self: View, _tablets: object) -> int:
        return bound(self, self.closed)

    with on(View, "bound", of_all), pytest.raises(AssertionError):
        beside_the_dead(calm)


def test_inv23_a_client_that_does_not_read_delays_nobody(calm: Calm) -> None:
    stuck, _ = calm.watch(b"\x00", b"\x00")
    stuck.edge.stalled[stuck.call] = None
    _, watching = calm.watch(A, b"")
    for number in range(20):
        revision = calm.put(A, b"%d" % (200 + number))
        assert calm.world._until(lambda: watching.seen >= revision, SECOND)  # noqa: B023


def test_m01_after_a_takeover_idle_tablets_are_closed_again(calm: Calm) -> None:
    """last[t] of a new reign is the old window for all; reads wait until each owner registered."""
    first, second = apart(calm)
    calm.put(first, b"1")
    calm.world.members[0].kill()
    calm.world.members[0].start()
    answer = calm.get(b"\x00", range_end=b"\x00")
    assert [kv.key for kv in answer.kvs] == [first]
    assert answer.header.revision >= 10_000, "a new reign begins above the old window"
    calm.wait(SECOND)
    assert calm.world.spies.settled()
    assert calm.put(second, b"2") > answer.header.revision


def test_m12_an_adopter_is_closed_at_h(calm: Calm) -> None:
    """What was handed out and never written is void: reads at R do not wait for it."""
    first, second = apart(calm)
    calm.put(first, b"1")
    newest = calm.put(second, b"2")
    node = calm.owner_of(first)
    node.kill()
    node.start()
    answer = calm.get(first)
    assert answer.kvs[0].value == b"1"
    assert answer.header.revision >= newest
    calm.wait(SECOND)
    assert calm.world.spies.settled()


def test_m06_each_start_tells_the_owner_epoch_of_its_fences_before_it_serves(calm: Calm) -> None:
    """The marker of the data directory keeps it: behind a kill a store that lost the end of its log
    would else look like one that a crash cut."""
    node = calm.owner_of(A)
    assert isinstance(node, ShardNode)
    assert node.adopted == [epoch(node.engine)]
    node.kill()
    node.start()
    calm.wait(SECOND)
    calm.put(A, b"1")
    assert node.adopted[1:] == [epoch(node.engine)]
    assert node.adopted[0] < node.adopted[1]


def test_m14_a_read_at_a_past_revision_is_that_state_on_every_router(calm: Calm) -> None:
    revision = calm.put(A, b"1")
    later = calm.put(A, b"2")
    for router in (0, 1):
        old = calm.get(A, router, revision=revision)
        assert (old.kvs[0].value, old.kvs[0].mod_revision) == (b"1", revision)
        assert old.header.revision >= later
    ahead = calm.ask("Range", rpc_pb2.RangeRequest(key=A, revision=later + 1))
    assert calm.world._until(lambda: ahead.code is not None, SECOND)
    assert "future revision" in ahead.text


def test_m15_a_serializable_read_is_a_state_that_was(calm: Calm) -> None:
    calm.put(A, b"1")
    calm.wait(SECOND)
    calm.world.members[0].kill()  # nobody is asked for a revision
    answer = calm.get(b"\x00", range_end=b"\x00", serializable=True)
    calm.world.truth.check_history()
    wanted = calm.world.truth.at(A, answer.header.revision)
    assert [kv.value for kv in answer.kvs] == ([] if wanted is None else [wanted.value])


def test_inv20_a_serializable_read_is_not_below_a_floor_that_its_router_knows(calm: Calm) -> None:
    """Its router hears nothing of one shard, so what it may show by itself was compacted."""
    first, second = apart(calm)
    calm.put(first, b"1")
    calm.world.net.part("r0", calm.owner_of(second).name)
    newest = [calm.put(second, b"%d" % (100 + number), router=1) for number in range(5)][-1]
    calm.told(calm.ask("Compact", rpc_pb2.CompactionRequest(revision=newest), 1))
    calm.wait(SECOND // 10)
    answer = calm.get(first, serializable=True)
    assert answer.header.revision >= newest
    assert [kv.value for kv in answer.kvs] == [b"1"]
