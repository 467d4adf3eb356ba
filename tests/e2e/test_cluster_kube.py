"""Two kube-apiservers on a cluster, each on a router of its own, while its processes are killed.

The story of test_kube_full.py, whose calm tests are played here again, on three shards that share
every collection, and then its crashes: a shard, the sequencer and a router are ended by SIGKILL
below twenty clients, and nothing that was acknowledged is lost, the watches of either apiserver are
told the exact history, and what its caches serve is what the store holds.

A watch over every key, past both apiservers, says that all shards did their share of it.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import pytest

from tests.e2e import test_kube_full as full
from tests.e2e.etcdctl import Etcdctl
from tests.e2e.kube import MERGE_PATCH, ApiServer, config_map, listed, version_of
from tests.e2e.kube_follow import Follower, agree, judge
from tests.e2e.kube_traffic import Counter, Expiring, Pager, beside
from tests.e2e.ledger import Ledger, buckets
from tests.e2e.load import Load
from tests.e2e.processes import Peers, Supervisor, wait_for
from tests.e2e.store import COORDINATORS, Kind, Store

pytestmark = [pytest.mark.e2e, pytest.mark.cluster]

RESOURCES: Final = ("configmaps", "events", "secrets", "namespaces", "leases")
LAYOUT: Final = buckets(32, *RESOURCES)
PATCHED: Final = f"{full.CORE}/namespaces/patched/configmaps"
COUNT: Final = 30
WRITE_S_MAX: Final = 30.0
# How often the sequencer may have changed: one coordinator may be asked in vain, and one that is
# killed as Raft's leader can take the lease of another with it.
REIGNS_MAX: Final = 2 * COORDINATORS


@dataclass
class Cluster(full.Pair):
    """The pair of test_kube_full.py, on a cluster, with the watch over every key."""

    ledger: Ledger


@pytest.fixture(scope="module")
def cluster_supervisor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervisor]:
    """Owner of the module's cluster and apiservers."""
    with Supervisor(tmp_path_factory.mktemp("cluster")) as supervisor:
        yield supervisor


@pytest.fixture(scope="module")
def store(cluster_supervisor: Supervisor, peers: Peers) -> Store:
    """The module's cluster, running."""
    store = Store(cluster_supervisor, peers, Kind.CLUSTER, flags=(f"--tablets={LAYOUT}",))
    store.start()
    return store


@pytest.fixture(scope="module")
def pair(cluster_supervisor: Supervisor, peers: Peers, store: Store) -> Iterator[Cluster]:
    """Two apiservers with the same keys, each on its own router."""
    scale = full.REDUCED
    servers: list[ApiServer] = []
    with Ledger(store.endpoints, LAYOUT) as ledger:
        for number, endpoint in enumerate(store.endpoints):
            flags = (
                *full.FLAGS,
                f"--event-ttl={scale.ttl_s}s",
                f"--advertise-address=192.0.2.{number + 1}",
            )
            elder = servers[0] if servers else None
            name = f"apiserver-{number + 1}"
            server = ApiServer(cluster_supervisor, peers, endpoint, name, flags, elder)
            print(f"apiserver {number} was ready after {server.start():.1f} s")
            servers.append(server)
        first, second = servers
        for name in (*full.NAMESPACES, "patched"):
            first.rest.create(f"{full.CORE}/namespaces", {"metadata": {"name": name}})
        pids = (first.process.pid, second.process.pid)
        yield Cluster(scale, store, (first, second), pids, ledger)
        for server in servers:
            server.rest.close()


many = full.many  # a fixture: the ConfigMaps, created over both ends below a watch at each

# The calm tests, word for word: what they need is a `pair`, and whatever is behind it.
test_both_apiservers_are_members = full.test_both_apiservers_are_members_of_one_cluster
test_pages_give_every_name_once = (
    full.test_pages_at_either_end_and_at_both_in_turn_give_every_name_once
)
test_watch_list_gives_every_name_once = (
    full.test_watch_list_at_either_end_gives_every_name_once_and_its_end
)
test_writers_over_both_ends_lose_nothing = full.test_writers_over_both_ends_lose_no_addition
test_events_expire_with_their_lease = full.test_events_expire_with_their_lease_and_never_early
test_token_of_a_page_expires = (
    full.test_token_of_a_page_expires_by_compaction_and_the_one_it_is_given_goes_on
)


def test_objects_are_created_patched_and_deleted_over_both_routers(pair: Cluster) -> None:
    """Each step at the other end than the one before, and both watches tell the same."""
    one, other = pair.rests
    written: dict[int, tuple[str, str]] = {}
    kept: dict[str, int] = {}
    with Follower(one, PATCHED, 0) as here, Follower(other, PATCHED, 0) as there:
        for number in range(COUNT):
            name = f"patched-{number:02}"
            path = f"{PATCHED}/{name}"
            made = (one, other)[number % 2].create(PATCHED, config_map(name, "new"))
            written[version_of(made)] = (name, "new")
            end = (other, one)[number % 2]
            patch = {"data": {"value": "patched"}}
            changed = end.send("PATCH", path, patch, content=MERGE_PATCH).expect(200)
            written[version_of(changed)] = (name, "patched")
            if number % 3:
                kept[name] = version_of(changed)
            else:
                (one, other)[number % 2].delete(path)
        marker = other.create(PATCHED, config_map("marker", "the end"))
        written[version_of(marker)] = ("marker", "the end")
        kept["marker"] = version_of(marker)
        histories = [side.history(version_of(marker), full.EVENTS_S_MAX) for side in (here, there)]
    for rest, history in zip(pair.rests, histories, strict=True):
        judge(history, written, kept)
        assert listed(rest.get(PATCHED)) == kept
    assert agree(*histories) == len(written) + COUNT // 3
    assert pair.stored("/registry/configmaps/patched/") == kept


def test_every_shard_did_its_share_of_the_calm(pair: Cluster, many: Mapping[str, int]) -> None:
    assert many
    pair.ledger.catch_up(pair.store.etcdctl.revision())
    commits = pair.ledger.judge()
    print(f"commits: {dict(commits)}; {len(pair.ledger.told)} events over one watch")
    assert pair.ledger.connections == 1


# ------------------------------------------------------------------------------------------ crashes


def kill(store: Store, name: str) -> None:
    """SIGKILL, and a new process in its place."""
    pid = store.members.signal(name, signal.SIGKILL)
    store.members.restarted(name, pid)


def kill_sequencer(store: Store) -> None:
    """Coordinators, one after the other, until the reign is another's."""
    before = reign(store.etcdctl)
    for number in range(COORDINATORS):
        kill(store, f"coordinator-{number}")
        if wait_for("the sequencer", lambda: reign(store.etcdctl), WRITE_S_MAX) > before:
            return
    raise AssertionError("every coordinator was killed, and the sequencer is still the same")


def reign(etcdctl: Etcdctl) -> int:
    """How often the sequencer has changed, or 0 while nobody can say: a header's term."""
    done = etcdctl.run("put", "reign", "x", "-w", "fields")
    lines = [line for line in done.stdout.splitlines() if line.startswith('"RaftTerm" : ')]
    return int(lines[0].rpartition(" ")[2]) if done.code == 0 and lines else 0


FAULTS: Final[tuple[tuple[str, Callable[[Store], None]], ...]] = (
    ("a shard", lambda store: kill(store, "shard-1")),
    ("the sequencer", kill_sequencer),
    ("the first router", lambda store: kill(store, "router-0")),
)


def test_kills_below_both_apiservers_lose_nothing_acknowledged_and_no_event(
    pair: Cluster, many: Mapping[str, int]
) -> None:
    """Writers, a counter, pages and expiring events at both ends, all the while."""
    first, second = pair.rests
    load = Load(first, full.LOAD, "load", pair.scale.writers, others=(second,))
    counter = Counter(pair.rests, full.COUNT, "counter", full.COUNTING)
    pager = Pager(pair.rests, full.MANY, full.PAGE)
    events = Expiring(pair.rests, "noisy")
    compactions = pair.compactions()
    sides = [Follower(rest, full.LOAD, 0) for rest in pair.rests]
    listener = Follower(second, events.path, 0)
    adding = [partial(counter.add, number) for number in range(full.COUNTING)]
    with sides[0], sides[1], listener:
        with load, beside(*adding, pager.read, events.create):
            restarted_s = endure(pair.store, load)
        marker = second.create(full.LOAD, config_map("marker", "the end"))
        written = load.written() | {version_of(marker): ("marker", "the end")}
        wanted = {**load.state(), "marker": version_of(marker)}
        histories = [side.history(version_of(marker), full.EVENTS_S_MAX) for side in sides]
        for rest, history in zip(pair.rests, histories, strict=True):
            assert listed(rest.get(full.LOAD)) == wanted
            judge(history, written, wanted)
        shared = agree(*histories)
        assert shared >= len(load.acknowledged()) // 2, "the two hardly followed the same"
        full.judge_expiry_over_kills(pair, events, listener, restarted_s)
    print(
        f"{len(written)} writes, {load.open_outcomes} answers lost, {shared} events at both ends, "
        f"{[len(history) - 1 for history in histories]} relists; counted {counter.judge()} with "
        f"{counter.conflicts} conflicts, {counter.lost_answers} answers lost; {pager.passes} "
        f"passes over {len(many)} and {pager.broken_off} broken off; {len(events.created)} events"
    )
    assert pager.passes > 0
    assert pair.compactions() > compactions


def endure(store: Store, load: Load) -> float:
    """One fault after the other, each once all writers go on; when the last was over."""
    restarted_s = time.monotonic()
    for what, fault in FAULTS:
        load.wait_for_more(full.WRITES_BETWEEN, full.RECOVERY_S_MAX)
        began = time.monotonic()
        fault(store)
        restarted_s = time.monotonic()
        load.wait_for_more(full.WRITES_BETWEEN, full.RECOVERY_S_MAX)
        took = time.monotonic() - began
        print(f"killed {what}: all write on after {took:.1f} s")
    return restarted_s


test_the_apiservers_and_their_caches_outlived_it = (
    full.test_the_apiservers_and_their_caches_outlived_it_all
)


def test_every_shard_did_its_share_of_it_all(pair: Cluster) -> None:
    """Also behind the kills: one watch, resumed at the other router, misses no revision."""
    pair.ledger.catch_up(pair.store.etcdctl.revision())
    commits = pair.ledger.judge(gaps_max=REIGNS_MAX)
    told = pair.ledger
    print(f"commits: {dict(commits)}; {told.connections} connections; gaps: {told.gaps()}")
