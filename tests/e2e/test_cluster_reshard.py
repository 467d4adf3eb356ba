"""Tablets are split, moved and merged below writers, watches and two kube-apiservers.

The tests share one cluster and run in their order. The seed decides which operations come, and is
printed; KUBEBRAID_RESHARD_SEED=7 chooses another, KUBEBRAID_RESHARD_OPERATIONS=5 how many.
"""

from __future__ import annotations

import os
import random
import secrets
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
import pytest

from kubebraid.base.limits import RESHARD_FREEZE_MS
from kubebraid.proto.adminreshard import Part, Progress, Step
from kubebraid.proto.etcd import kv_pb2
from tests.e2e.kube import Answer, ApiServer, Json, Rest, config_map, listed, version_of
from tests.e2e.kube_follow import Follower
from tests.e2e.kube_follow import judge as judge_history
from tests.e2e.ledger import EVERY_KEY
from tests.e2e.load import Load
from tests.e2e.processes import Peers, Supervisor
from tests.e2e.reshard_ops import SHARD_NAMES, Ctl, drawn, pauses, siblings
from tests.e2e.reshard_seen import LATE_MS_MAX, Lookout, Seen, Switch
from tests.e2e.reshard_traffic import (
    KEYS,
    PODS,
    Record,
    Router,
    Snapshots,
    State,
    Traffic,
    Watched,
    Write,
    below,
    equal,
    judge,
    name_of,
    record,
    settled,
    state_at,
)
from tests.e2e.store import Kind, Store

pytestmark = [pytest.mark.e2e, pytest.mark.cluster]

CI_SEED: Final = 21
CI_OPERATIONS: Final = 20
SOAK_OPERATIONS: Final = 200
DRAIN_EVERY: Final = 20
PAUSE_MS_MAX: Final = 1_000  # ten times the goal
WRITES_BETWEEN: Final = 1
GO_ON_S_MAX: Final = 30.0
EVENTS_S_MAX: Final = 60.0
CONFIG_MAPS: Final = "/api/v1/namespaces/default/configmaps"
ALL_PODS: Final = "/api/v1/pods"
FILLED: Final = "apiserver_watch_cache_initializations_total"
COMPLAINTS: Final = ("panic", "PrevKv=nil", "Cache consistency check failed", "too_many_pings")
GOAL_MS: Final = 100
LOAD_THREADS: Final = 2
LOAD_PACE_S: Final = 0.2
ROUTER_ASLEEP: Final = "router-1"
READERS: Final = 6
STEADY: Final = b"/steady/"  # of the last tablet, where no apiserver keeps anything
STEADY_WRITERS: Final = 4
STEADY_PACE_S: Final = 0.1
WRITES_MIN: Final = 20  # so that a percentile means something
DISTURBED: Final = 10  # times as slow as outside of all switches
FLOOR_MS: Final = 10.0  # below it a machine's own noise is more than ten times as much
AWAKE_S: Final = 3.0


@dataclass
class Site:
    """A cluster with an apiserver on each router."""

    store: Store
    ctl: Ctl
    servers: tuple[ApiServer, ...]
    pods: dict[int, tuple[str, str]] = field(default_factory=dict)  # all that were written
    maps: dict[int, tuple[str, str]] = field(default_factory=dict)

    def filled(self) -> list[dict[str, float]]:
        """How often each apiserver filled each of its caches."""
        return [
            {f"{labels['group']}/{labels['resource']}": n for labels, n in server.samples(FILLED)}
            for server in self.servers
        ]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, peers: Peers) -> Iterator[Site]:
    """The module's cluster, running."""
    with Supervisor(tmp_path_factory.mktemp("reshard")) as supervisor:
        store = Store(supervisor, peers, Kind.CLUSTER)
        store.start()
        servers: list[ApiServer] = []
        for number, endpoint in enumerate(store.endpoints):
            flags = (f"--advertise-address=192.0.2.{number + 1}",)
            elder = servers[0] if servers else None
            server = ApiServer(supervisor, peers, endpoint, f"apiserver-{number}", flags, elder)
            print(f"apiserver {number} was ready after {server.start():.1f} s")
            servers.append(server)
        yield Site(store, Ctl(store.endpoints), tuple(servers))
        for server in servers:
            server.rest.close()


class Paced(Rest):
    """A client that takes its time."""

    def send(self, method: str, path: str, body: Json | None = None, **how: Any) -> Answer:
        time.sleep(LOAD_PACE_S)
        return super().send(method, path, body, **how)


def asked(name: str, default: int) -> int:
    """By the environment, or else the default."""
    return int(os.environ.get(f"KUBEBRAID_RESHARD_{name}", default))


# ------------------------------------------------------------------------------------- operations


def operations(
    site: Site, traffic: Traffic, snapshots: Snapshots, count: int, draw: random.Random
) -> list[int]:
    """In a row, with the writes of everybody going on between two; the pauses, in milliseconds."""
    told: list[int] = []
    drains = {at + draw.randrange(DRAIN_EVERY) for at in range(0, count, DRAIN_EVERY)}
    keys = traffic.inside(bool)
    for turn in range(count):
        tablets = site.ctl.below(PODS.decode())
        words = drawn(draw, tablets, keys)
        if turn in drains:
            words = ("shard", "drain", draw.choice(SHARD_NAMES))
        ctl = Ctl(draw.sample(site.store.endpoints, len(site.store.endpoints)))
        revision, began = traffic.acknowledged()[-1].revision, time.monotonic()
        found = pauses(ctl.change(*words))
        took = time.monotonic() - began
        snapshots.take(revision)
        traffic.wait_for_more(WRITES_BETWEEN, GO_ON_S_MAX)
        longest_ms = traffic.longest_s(began) * 1_000
        print(
            f"{turn}: {' '.join(words)}: {took:.1f} s, pauses {found} ms, longest write "
            f"{longest_ms:.0f} ms, of {len(tablets)} tablets",
            flush=True,
        )
        traffic.check_calm()
        assert all(server.ready() for server in site.servers)
        assert max((*found, longest_ms)) <= PAUSE_MS_MAX, (words, found, longest_ms)
        told += found
    return told


@pytest.mark.parametrize(
    ("count", "seed"),
    [
        pytest.param(CI_OPERATIONS, CI_SEED, id="ci"),
        pytest.param(
            SOAK_OPERATIONS, secrets.randbelow(1 << 32), id="soak", marks=pytest.mark.slow
        ),
    ],
)
def test_operations_in_a_row_are_noticed_by_nobody(site: Site, count: int, seed: int) -> None:
    """By no writer, no watch, no read of the past, and by neither apiserver."""
    count, seed = asked("OPERATIONS", count), asked("SEED", seed)
    print(f"seed {seed}, {count} operations")
    traffic = Traffic(site.store.endpoints, f"calm{seed}")
    steady = Traffic(site.store.endpoints, f"calm{seed}", STEADY_WRITERS, STEADY, STEADY_PACE_S)
    lookout = Lookout(site.store.endpoints)
    snapshots = Snapshots(traffic)
    here, there = ([endpoint] for endpoint in site.store.endpoints)
    spans = (EVERY_KEY, below(traffic.prefix))
    watches = [Watched(end, span) for end in (here, there) for span in spans]
    first, second = (Paced(server.port) for server in site.servers)
    load = Load(first, CONFIG_MAPS, f"calm{seed}", LOAD_THREADS, others=(second,))
    followers = [Follower(rest, ALL_PODS, 0) for rest in (first, second)]
    mapped = [Follower(rest, CONFIG_MAPS, 0) for rest in (first, second)]
    filled = site.filled()
    assert all(one["/pods"] == 1 for one in filled), "the metric is not what it was"
    with ExitStack() as following:
        for client in (traffic, steady, first, second):
            following.callback(client.close)
        for watch in watches:
            following.enter_context(watch)
        for side in (*followers, *mapped):
            following.enter_context(side)
        with traffic, steady, load, lookout:
            for writers in (traffic, steady):
                writers.wait_for_more(2, GO_ON_S_MAX)
            told = operations(site, traffic, snapshots, count, random.Random(seed))
        events = settled(traffic, watches)
        settled(steady, watches[::2])
        marker = first.create(CONFIG_MAPS, config_map(f"marker{seed}", "the end"))
        written = load.written() | {version_of(marker): (f"marker{seed}", "the end")}
        site.maps |= written
        site.pods |= {w.revision: (name_of(w), "") for w in traffic.acknowledged() if w.value}
        for side in mapped:
            history = side.history(version_of(marker), EVENTS_S_MAX)
            judge_history(history, site.maps, listed(first.get(CONFIG_MAPS)))
        for side in followers:
            history = side.history(events[-1].kv.mod_revision, EVENTS_S_MAX)
            judge_history(history, site.pods, listed(second.get(ALL_PODS)))
    snapshots.judge(events)
    report(traffic, watches, told, lookout)
    steady.check_calm()
    undisturbed(steady.acknowledged(), lookout, site.ctl.holding(steady.prefix.decode()).id)
    assert not load.open_outcomes, "an apiserver was given an error"
    assert {watch.connections for watch in watches} == {1}
    assert [watch.gaps() for watch in watches[::2]] == [[], []]
    unnoticed(site, (*followers, *mapped))
    assert site.filled() == filled, "an apiserver filled a cache again"


def unnoticed(site: Site, followers: Sequence[Follower]) -> None:
    """By the watches of the apiservers' clients, and by the apiservers' own logs."""
    for side in followers:
        assert (len(side.stretches), side.away, side.connections) == (1, 0, 1), side.path
    for server in site.servers:
        assert server.ready()
        assert not [word for word in COMPLAINTS if word in server.process.text()]


def report(traffic: Traffic, watches: Sequence[Watched], told: Sequence[int], seen: Seen) -> None:
    """For people; no freeze outlived its deadline."""
    _told(traffic.acknowledged(), "of the tablets that changed")
    print(
        f"{len(told)} pauses: {sum(pause <= GOAL_MS for pause in told)} within {GOAL_MS} ms, "
        f"longest {max(told, default=0)} ms; events: {[len(watch.events) for watch in watches]}"
    )
    freezes = seen.check_freezes()
    print(f"{len(freezes)} freezes were seen, longest {max(freezes, default=0)} ms")


def undisturbed(writes: Sequence[Write], seen: Seen, own: int) -> None:
    """Writes of a tablet, apart from its own moves: those during others' switches took no longer.
    Raises AssertionError where they took ten times as long."""
    switches = list(seen.switches())
    mine, others = ([s for s in switches if (own in s.tablets) is its] for its in (True, False))
    calm = [w for w in writes if not _during(w, mine)]
    inside = [w for w in calm if _during(w, others)]
    outside = [w for w in calm if not _during(w, others)]
    assert min(len(inside), len(outside)) >= WRITES_MIN, "too few writes"
    (p50, p99), (p50_else, p99_else) = (
        _told(writes, f"of another tablet, {where} {len(others)} switches")
        for writes, where in ((inside, "in"), (outside, "outside of"))
    )
    assert p50 <= DISTURBED * max(p50_else, FLOOR_MS)
    assert p99 <= DISTURBED * max(p99_else, FLOOR_MS)


def _during(write: Write, switches: Sequence[Switch]) -> bool:
    return any(s.meets(write.began_s, write.began_s + write.took_s) for s in switches)


def _told(writes: Sequence[Write], what: str) -> tuple[float, float]:
    """p50 and p99, in milliseconds; printed."""
    took = sorted(write.took_s * 1_000 for write in writes)
    p50, p99 = took[len(took) // 2], took[len(took) * 99 // 100]
    print(
        f"{len(took)} writes {what}: p50 {p50:.0f} ms, p99 {p99:.0f} ms, longest {took[-1]:.0f} ms"
    )
    return p50, p99


# ------------------------------------------------------------------------------ a router that slept


@dataclass
class Reader:
    """Reads through one router, each held against what was acknowledged before it was sent."""

    router: Router
    traffic: Traffic
    prefix: bytes
    answers: list[tuple[int, int, State]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def read(self) -> None:
        """Once."""
        before = self.traffic.acknowledged()[-1].revision
        try:
            answer = self.router.range(*below(self.prefix))
        except grpc.RpcError as error:
            self.errors.append(str(error))
            return
        state = {kv.key: record(kv) for kv in answer.kvs}
        self.answers.append((before, answer.header.revision, state))

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self.read()

    def judge(self, events: Sequence[kv_pb2.Event]) -> None:
        mine = [event for event in events if event.kv.key.startswith(self.prefix)]
        for before, revision, state in self.answers:
            assert revision >= before, f"a read is of {revision}, and {before} was acknowledged"
            equal(state, state_at(mine, revision), f"a read at {revision}")


def test_router_that_slept_over_two_maps_never_answers_stale(site: Site) -> None:
    """It is stopped, tablets are moved and split, it goes on: reads wait for it all the while."""
    awake, asleep = site.store.endpoints
    traffic = Traffic([awake, awake], "asleep")
    router = Router(asleep)
    folders = [writer.folder for writer in traffic.writers[: READERS - 1]]
    readers = [Reader(router, traffic, prefix) for prefix in (traffic.prefix, *folders)]
    watches = [Watched([end], below(traffic.prefix)) for end in site.store.endpoints]
    stop = threading.Event()
    threads = [threading.Thread(target=reader.run, args=(stop,), daemon=True) for reader in readers]
    with watches[0], watches[1]:
        with traffic:
            traffic.wait_for_more(KEYS, GO_ON_S_MAX)
            site.store.members.signal(ROUTER_ASLEEP, signal.SIGSTOP)
            try:
                changed = change_twice(Ctl([awake]), traffic)
                for thread in threads:
                    thread.start()
                traffic.wait_for_more(2, GO_ON_S_MAX)
            finally:
                site.store.members.signal(ROUTER_ASLEEP, signal.SIGCONT)
            stop.wait(AWAKE_S)
            stop.set()
            for thread in threads:
                thread.join(GO_ON_S_MAX)
        traffic.check_calm()
        events = settled(traffic, watches)
    answers = [len(reader.answers) for reader in readers]
    print(f"{changed}; reads through the router that slept: {answers}")
    assert not [reader.errors for reader in readers if reader.errors]
    assert min(answers) > 1
    for reader in readers:
        reader.judge(events)
    for client in (router, traffic):
        client.close()


def change_twice(ctl: Ctl, traffic: Traffic) -> list[int]:
    """A move and a split of what is written; the pauses."""
    key = traffic.writers[len(traffic.writers) // 2].slots[0].key.decode()
    whole = ctl.below(PODS.decode())
    moved = next(tablet for tablet in whole if tablet.holds(key))
    to = next(name for name in SHARD_NAMES if name != moved.shard)
    found = pauses(ctl.change("tablet", "move", str(moved.id), f"--to={to}"))
    how = f"--at={key}" if moved.buckets == 1 and key > moved.start else ""
    if how:
        return found + pauses(ctl.change("tablet", "split", str(moved.id), how))
    return found + pauses(ctl.change("tablet", "merge", *siblings(whole, moved)))


# -------------------------------------------------------------------------------------- the judge

KEY: Final = b"/registry/pods/a/k"


def put(revision: int, created: int, version: int, value: bytes = b"v") -> kv_pb2.Event:
    kv = kv_pb2.KeyValue(
        key=KEY, mod_revision=revision, create_revision=created, version=version, value=value
    )
    return kv_pb2.Event(type=kv_pb2.Event.PUT, kv=kv)


def removal(revision: int) -> kv_pb2.Event:
    kv = kv_pb2.KeyValue(key=KEY, mod_revision=revision)
    return kv_pb2.Event(type=kv_pb2.Event.DELETE, kv=kv)


def wrote(revision: int, value: bytes | None = b"v") -> Write:
    return Write(KEY, value, revision, 0.0, 0.0)


HISTORY: Final = (put(5, 5, 1), put(7, 5, 2), removal(8), put(9, 9, 1))
WRITES: Final = (wrote(5), wrote(7), wrote(8, None), wrote(9))


def test_judge_accepts_what_was_written_and_what_may_have_been() -> None:
    state = judge(HISTORY, WRITES)
    assert state == {KEY: Record(9, 9, 1, b"v")}
    assert state_at(HISTORY, 7) == {KEY: Record(5, 7, 2, b"v")}
    assert state_at(HISTORY, 8) == {}
    open_ = [wrote(0, None), wrote(0)]
    assert judge(HISTORY, WRITES[:2], open_) == state
    equal(state, dict(state), "itself")


@pytest.mark.parametrize(
    ("events", "complaint"),
    [
        pytest.param((HISTORY[0], *HISTORY[2:]), "was not there|never told", id="lost"),
        pytest.param((*HISTORY[:2], *HISTORY[1:]), "told twice", id="doubled"),
        pytest.param((put(5, 5, 1), put(7, 7, 2), *HISTORY[2:]), "told behind", id="created"),
        pytest.param((put(5, 5, 1), put(7, 5, 3), *HISTORY[2:]), "told behind", id="version"),
        pytest.param((put(5, 5, 1, b"w"), *HISTORY[1:]), "was told with", id="value"),
        pytest.param((*HISTORY, put(11, 9, 2)), "nobody wrote it", id="foreign"),
        pytest.param((HISTORY[2], *HISTORY[:2], HISTORY[3]), "was not there", id="late"),
    ],
)
def test_judge_notices(events: Sequence[kv_pb2.Event], complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        judge(events, WRITES)


def test_judge_notices_a_read_that_differs() -> None:
    state = judge(HISTORY, WRITES)
    for wrong in ({}, {KEY: Record(9, 9, 2, b"v")}, {**state, b"b": state[KEY]}):
        with pytest.raises(AssertionError, match="1 keys differ"):
            equal(wrong, state, "a read")


PART: Final = Part(7, "pods", "", None, 0, 0)
STEP: Final = Step("m1", "move", "shard-0", "shard-1", (PART,), (PART,))


def looks(*phases: tuple[str, int]) -> Seen:
    """Of one move, each tenth of a second; the first does not have it yet."""
    seen = Seen()
    seen.take(0.0, 0.0, ())
    for number, (phase, phase_ms) in enumerate(phases, 1):
        seen.take(number / 10, number / 10, [Progress(STEP, phase, phase_ms=phase_ms)])
    return seen


SWITCHED: Final = (("ready", 90), ("frozen", 20), ("draining", 5), ("draining", 105), ("done", 1))


@pytest.mark.parametrize(
    ("phases", "switches"),
    [
        pytest.param(SWITCHED, [(0.1, 0.3)], id="seen"),
        pytest.param((*SWITCHED[:1], *SWITCHED[2:]), [(0.1, 0.2)], id="between-looks"),
        pytest.param(SWITCHED[-1:], [(0.0, 0.1)], id="unknown-before"),
        pytest.param((*SWITCHED[:2], ("ready", 3), ("frozen", 1)), [(0.1, 0.3)], id="undone"),
        pytest.param((("planned", 1), ("aborted", 1)), [], id="none"),
    ],
)
def test_switches_are_told_by_what_was_seen(
    phases: Sequence[tuple[str, int]], switches: list[tuple[float, float]]
) -> None:
    found = [(switch.from_s, switch.to_s) for switch in looks(*phases).switches()]
    assert found == switches


def test_freeze_behind_its_deadline_is_noticed() -> None:
    assert looks(*SWITCHED).check_freezes() == [20]
    late_ms = RESHARD_FREEZE_MS + LATE_MS_MAX + 1
    with pytest.raises(AssertionError, match=f"frozen for {late_ms} ms"):
        looks(("frozen", 1), ("frozen", late_ms)).check_freezes()
    nobody_serves = looks(("frozen", 1))
    nobody_serves.take(20.0, 20.0, ())
    assert nobody_serves.check_freezes() == [1]
    nobody_serves.take(20.1, 20.1, [Progress(STEP, "ready", phase_ms=1)])
    with pytest.raises(AssertionError, match="m1: "):
        nobody_serves.check_freezes()


def test_writes_that_others_switches_disturb_are_noticed() -> None:
    seen = looks(*SWITCHED)
    calm = [Write(KEY, b"v", 5, 1.0, 0.005)] * WRITES_MIN
    undisturbed([*calm, *(Write(KEY, b"v", 5, 0.2, 0.05) for _ in calm)], seen, own=8)
    slow = [Write(KEY, b"v", 5, 0.2, 0.3)] * WRITES_MIN
    with pytest.raises(AssertionError):
        undisturbed([*calm, *slow], seen, own=8)
    with pytest.raises(AssertionError, match="too few"):
        undisturbed([*calm, *slow], seen, own=7)


def test_pause_of_a_writer_spans_its_errors() -> None:
    traffic = Traffic([], "none", 2)
    ends = ((0.0, 1.0, 3.5), (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0))
    for writer, at in zip(traffic.writers, ends, strict=True):
        writer.acknowledged = [Write(KEY, b"v", 5, end, 0.25) for end in at]
    assert traffic.longest_pause_s(0.0) == 2.5
    assert traffic.longest_pause_s(3.8) == 0.0


def test_reader_that_was_answered_stale_is_noticed() -> None:
    traffic = Traffic([], "none", 0)
    reader = Reader(Router("http://127.0.0.1:1"), traffic, KEY, [(7, 7, state_at(HISTORY, 7))])
    reader.judge(HISTORY)
    reader.answers[:] = [(8, 7, state_at(HISTORY, 7))]
    with pytest.raises(AssertionError, match="8 was acknowledged"):
        reader.judge(HISTORY)
    reader.answers[:] = [(7, 8, state_at(HISTORY, 7))]
    with pytest.raises(AssertionError, match="a read at 8"):
        reader.judge(HISTORY)
    reader.router.close()
