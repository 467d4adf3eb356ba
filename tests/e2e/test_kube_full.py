"""Two kube-apiservers on one store that is compacted every few seconds and ended by SIGKILL.

The story: both see what either writes; thousands of ConfigMaps are listed in pages and by
watch-list; twenty writers count over both ends; a page's token expires by compaction and events by
their leases; then the store is killed again and again below all of this at once, and nothing that
was acknowledged is lost, and no watch was told anything but the exact history.

The store's first kind plays the whole, the others a reduced one. Each test needs the fixtures only.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Final

import pytest

from tests.e2e.kube import ApiServer, Rest, Watch, config_map, listed, version_of
from tests.e2e.kube_follow import Follower, Stretch, Told, agree, judge
from tests.e2e.kube_traffic import Counter, Expiring, Pager, beside, judge_expiry
from tests.e2e.load import Load
from tests.e2e.processes import Peers, Supervisor, wait_for
from tests.e2e.store import Kind, Store

pytestmark = pytest.mark.e2e

CORE: Final = "/api/v1"
MANY: Final = f"{CORE}/namespaces/many/configmaps"
SECRETS: Final = f"{CORE}/namespaces/paged/secrets"
LOAD: Final = f"{CORE}/namespaces/load/configmaps"
COUNT: Final = f"{CORE}/namespaces/count/configmaps"
NAMESPACES: Final = ("many", "paged", "load", "count", "quiet", "noisy")
CREATORS: Final = 20
COUNTING: Final = 4  # who adds to one counter while the store is killed
PAGE: Final = 500
EVENTS: Final = 40
COMPACTION_S: Final = 5
EVENTS_S_MAX: Final = 30.0
RECOVERY_S_MAX: Final = 60.0
LATE_S_MAX: Final = 5.0  # behind a lease's end: the store's rounds, its revoke, the watch
REUSE_SHARE: Final = 0.05  # of the TTL: how long one lease is given to new events
WRITES_BETWEEN: Final = 3  # of every writer, after each outage
WATCH_LIST: Final = {
    "sendInitialEvents": "true",
    "resourceVersionMatch": "NotOlderThan",
    "allowWatchBookmarks": "true",
    "resourceVersion": "",
}
FLAGS: Final = (
    f"--etcd-compaction-interval={COMPACTION_S}s",
    "--watch-cache-sizes=secrets#0",  # so that each of their pages is a read of the store
)
KILLS: Final = (pytest.param(0, id="ci"), pytest.param(60, id="soak", marks=pytest.mark.slow))


@dataclass(frozen=True)
class Scale:
    """How much of the story is played."""

    many: int
    writers: int
    additions: int  # of each writer
    ttl_s: int  # of events
    kills: int


WHOLE: Final = Scale(many=5_000, writers=20, additions=5, ttl_s=20, kills=5)
REDUCED: Final = Scale(many=600, writers=8, additions=5, ttl_s=5, kills=2)


@dataclass
class Pair:
    """A store, two apiservers on it, and their pids at the start."""

    scale: Scale
    store: Store
    servers: tuple[ApiServer, ApiServer]
    pids: tuple[int, ...]

    @property
    def rests(self) -> tuple[Rest, Rest]:
        """Requests to each."""
        return self.servers[0].rest, self.servers[1].rest

    def compactions(self) -> int:
        """How often an apiserver has asked for one."""
        pairs = self.store.etcdctl.json("get", "compact_rev_key").get("kvs", ())
        return max((pair["version"] for pair in pairs), default=0)

    def stored(self, prefix: str) -> dict[str, int]:
        """What the store holds below a key: the rest of each key, and its version."""
        answer = self.store.etcdctl.json("get", prefix, "--prefix", "--keys-only")
        return {
            base64.b64decode(pair["key"]).decode().removeprefix(prefix): pair["mod_revision"]
            for pair in answer.get("kvs", ())
        }


@pytest.fixture(scope="module")
def pair(module_supervisor: Supervisor, peers: Peers, shared_store: Store) -> Iterator[Pair]:
    """Two apiservers with the same keys, both ready, and the namespaces of the story."""
    scale = REDUCED if shared_store.kind is Kind.GRPCIO else WHOLE
    servers: list[ApiServer] = []
    for number in (1, 2):
        own = (f"--event-ttl={scale.ttl_s}s", f"--advertise-address=192.0.2.{number}")
        elder = servers[0] if servers else None
        server = ApiServer(
            module_supervisor,
            peers,
            shared_store.endpoint,
            f"apiserver-{number}",
            (*FLAGS, *own),
            elder,
        )
        print(f"apiserver {number} was ready after {server.start():.1f} s")
        servers.append(server)
    first, second = servers
    for name in NAMESPACES:
        first.rest.create(f"{CORE}/namespaces", {"metadata": {"name": name}})
    yield Pair(scale, shared_store, (first, second), (first.process.pid, second.process.pid))
    for server in servers:
        server.rest.close()


@pytest.fixture(scope="module")
def many(pair: Pair) -> dict[str, int]:
    """The ConfigMaps, created over both ends below a watch at each: name and version."""

    def create(number: int) -> tuple[int, tuple[str, str]]:
        name = f"many-{number:05}"
        made = pair.rests[number % 2].create(MANY, config_map(name, f"value {number}"))
        return version_of(made), (name, f"value {number}")

    began = time.monotonic()
    with Follower(pair.rests[0], MANY, 0) as one, Follower(pair.rests[1], MANY, 0) as other:
        with ThreadPoolExecutor(CREATORS) as pool:
            written = dict(pool.map(create, range(pair.scale.many)))
        took = time.monotonic() - began
        assert len(written) == pair.scale.many, "two writes were given one version"
        wanted = {name: version for version, (name, _) in written.items()}
        histories = [side.history(max(written), EVENTS_S_MAX) for side in (one, other)]
    for history in histories:
        judge(history, written, wanted)
    assert agree(*histories) == len(written)
    assert [len(history) for history in histories] == [1, 1]
    print(f"{len(written)} ConfigMaps in {took:.1f} s, {len(written) / took:.0f}/s")
    return wanted


def test_both_apiservers_are_members_of_one_cluster(pair: Pair) -> None:
    """Each keeps a lease under its address; either lists the addresses of both."""

    def known() -> bool:
        slices = [
            rest.get("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes")
            for rest in pair.rests
        ]
        return all(
            {address for end in found["endpoints"] for address in end["addresses"]}
            == {"192.0.2.1", "192.0.2.2"}
            for found in slices
        )

    wait_for("both addresses", known, EVENTS_S_MAX)


# ------------------------------------------------------------------------------- lists of thousands


def test_pages_at_either_end_and_at_both_in_turn_give_every_name_once(
    pair: Pair, many: Mapping[str, int]
) -> None:
    for rest in pair.rests:
        pages = list(rest.pages(MANY, PAGE))
        found = [item for page in pages for item in listed(page).items()]
        assert found == sorted(many.items())
        assert len({page["metadata"]["resourceVersion"] for page in pages}) == 1
        assert len(pages) == -(-len(many) // PAGE)
    pager = Pager(pair.rests, MANY, PAGE)
    pager.read()
    assert (pager.passes, pager.wanted) == (1, many)


def test_watch_list_at_either_end_gives_every_name_once_and_its_end(
    pair: Pair, many: Mapping[str, int]
) -> None:
    for rest in pair.rests:
        with Watch(rest, MANY, 0, WATCH_LIST) as watch:
            wait_for("the bookmark", lambda: watch.bookmarks, EVENTS_S_MAX)
            note = watch.bookmarks[0]["metadata"]["annotations"]
            assert note == {"k8s.io/initial-events-end": "true"}
            told = [(event.name, event.version) for event in watch.events]
            assert len(told) == len(many)
            assert dict(told) == many
            assert {event.kind for event in watch.events} == {"ADDED"}
            assert version_of(watch.bookmarks[0]) >= max(many.values())


# ---------------------------------------------------------------------------- conflicts, and aging


def test_writers_over_both_ends_lose_no_addition(pair: Pair) -> None:
    counter = Counter(pair.rests, COUNT, "calm", pair.scale.writers)

    def add(writer: int) -> None:
        for _ in range(pair.scale.additions):
            counter.add(writer)

    began = time.monotonic()
    with ThreadPoolExecutor(pair.scale.writers) as pool:
        list(pool.map(add, range(pair.scale.writers)))
    assert counter.judge() == pair.scale.writers * pair.scale.additions
    assert counter.conflicts > 0, "the writers never met: the test showed nothing"
    assert counter.lost_answers == 0
    took = time.monotonic() - began
    print(f"{counter.judge()} additions, {counter.conflicts} conflicts, {took:.1f} s")


def test_events_expire_with_their_lease_and_never_early(pair: Pair) -> None:
    ttl_s = pair.scale.ttl_s
    events = Expiring(pair.rests, "quiet")
    with (
        Follower(pair.rests[0], events.path, 0) as one,
        Follower(pair.rests[1], events.path, 0) as other,
    ):
        for _ in range(EVENTS):
            events.create()
        assert len(events.created) == EVENTS
        leases = pair.store.etcdctl.json("get", "/registry/events/quiet/", "--prefix")["kvs"]
        shared = len({found["lease"] for found in leases})
        assert 0 not in {found["lease"] for found in leases}
        assert (shared < EVENTS) == (ttl_s * REUSE_SHARE >= 1), "a lease is given to one event"
        for side in (one, other):
            wait_for("the last end", partial(has_told, side, 2 * EVENTS), ttl_s + 20)
        late_s = ttl_s * REUSE_SHARE + LATE_S_MAX
        for side in (one, other):
            least, most = judge_expiry(events.created, side.stretches[-1].told, ttl_s, late_s)
            print(f"of {ttl_s} s, {shared} leases: gone after {least:.2f} to {most:.2f} s")
    assert pair.stored("/registry/events/quiet/") == {}
    assert [rest.get(events.path)["items"] for rest in pair.rests] == [[], []]


def test_token_of_a_page_expires_by_compaction_and_the_one_it_is_given_goes_on(pair: Pair) -> None:
    """Of a kind without a cache: from its snapshots a cache serves what the store has dropped."""
    one, other = pair.rests
    for number in range(30):
        one.create(SECRETS, {"metadata": {"name": f"secret-{number:02}"}})
    lists = [stored_lists(server) for server in pair.servers]
    first = one.get(SECRETS, limit=10)
    token, version = first["metadata"]["continue"], version_of(first)
    began = time.monotonic()
    one.delete(f"{SECRETS}/secret-20")
    other.create(SECRETS, {"metadata": {"name": "secret-99"}})
    consistent = {"limit": 10, "continue": token}
    reads = 0

    def expired() -> bool:
        nonlocal reads
        reads += 1
        answers = [rest.send("GET", SECRETS, query=consistent) for rest in pair.rests]
        for answer in answers:
            if answer.status == 200:
                assert version_of(answer.json) == version
                assert list(listed(answer.json)) == [f"secret-{number}" for number in range(10, 20)]
        time.sleep(0.2)
        return {answer.status for answer in answers} == {410}

    wait_for("a compaction to overtake the token", expired, COMPACTION_S * 4)
    took = time.monotonic() - began
    print(f"the token of version {version} expired after {took:.1f} s, {reads} reads")
    grown = [stored_lists(server) for server in pair.servers]
    assert grown == [lists[0] + reads + 1, lists[1] + reads], "a page was not read from the store"
    assert took >= COMPACTION_S - 0.5, "what is compacted was taken down an interval ago"
    refusal = other.send("GET", SECRETS, query=consistent).expect(410)
    assert refusal["reason"] == "Expired"
    again = other.get(SECRETS, limit=50, **{"continue": refusal["metadata"]["continue"]})
    assert list(listed(again)) == [
        *(f"secret-{number}" for number in range(10, 30) if number != 20),
        "secret-99",
    ]
    assert version_of(again) > version
    with (
        pytest.raises(AssertionError, match=r"^410: .*too old"),
        Watch(one, SECRETS, version) as watch,
    ):
        watch.wait_for_version(version + 1)
    late = Follower(one, SECRETS, version)
    Watch.start(late)  # without the list it would begin with
    wait_for("a list in place of what is gone", lambda: late.stretches, EVENTS_S_MAX)
    late.stop()
    (stretch,) = late.stretches
    # The apiserver writes of its own meanwhile, so the list may be a little newer.
    assert stretch.version >= version_of(again)
    assert stretch == Stretch(stretch.version, listed(one.get(SECRETS)))


def stored_lists(server: ApiServer) -> float:
    """How many lists of secrets an apiserver has read from the store."""
    metric = "apiserver_storage_list_total"
    return sum(value for labels, value in server.samples(metric) if labels["resource"] == "secrets")


def has_told(watch: Watch, events: int) -> bool:
    """Did as many events come?"""
    return len(watch.events) >= events


# ------------------------------------------------------------------------------------------ crashes


@pytest.mark.parametrize("kills", KILLS)
def test_kills_of_the_store_lose_nothing_acknowledged_and_no_event(
    pair: Pair, many: Mapping[str, int], kills: int
) -> None:
    """Writers, a counter, pages of thousands and expiring events at both ends, all the while."""
    kills = kills or pair.scale.kills  # as the scale says, or more
    first, second = pair.rests
    load = Load(first, LOAD, f"load-{kills}", pair.scale.writers, others=(second,))
    counter = Counter(pair.rests, COUNT, f"counter-{kills}", COUNTING)
    pager = Pager(pair.rests, MANY, PAGE)
    events = Expiring(pair.rests, "noisy")
    compactions = pair.compactions()
    sides = [Follower(rest, LOAD, 0) for rest in pair.rests]
    listener = Follower(second, events.path, 0)
    adding = [partial(counter.add, number) for number in range(COUNTING)]
    with sides[0], sides[1], listener:
        with load, beside(*adding, pager.read, events.create):
            restarted_s = endure(pair, load, kills)
        marker = second.create(LOAD, config_map(f"marker-{kills}", "the end"))
        written = load.written() | {version_of(marker): (f"marker-{kills}", "the end")}
        wanted = {**load.state(), f"marker-{kills}": version_of(marker)}
        histories = [side.history(version_of(marker), EVENTS_S_MAX) for side in sides]
        for rest, history in zip(pair.rests, histories, strict=True):
            assert listed(rest.get(LOAD)) == wanted
            judge(history, written, wanted)
        shared = agree(*histories)
        assert shared >= len(load.acknowledged()) // 2, "the two hardly followed the same"
        judge_expiry_over_kills(pair, events, listener, restarted_s)
    print(
        f"{len(written)} writes, {load.open_outcomes} answers lost, {shared} events at both ends, "
        f"{[len(history) - 1 for history in histories]} relists; counted {counter.judge()} with "
        f"{counter.conflicts} conflicts, {counter.lost_answers} answers lost; {pager.passes} "
        f"passes over {len(many)} and {pager.broken_off} broken off; {len(events.created)} events"
    )
    assert pager.passes > 0
    assert pair.compactions() >= compactions + 2
    clear(pair, wanted)


def endure(pair: Pair, load: Load, kills: int) -> float:
    """Kill and restart the store at random moments; when the last restart was over."""
    random = Random(kills)
    restarted_s = time.monotonic()
    for _ in range(kills):
        time.sleep(random.uniform(0.2, 2.0))
        pair.store.kill()
        time.sleep(random.uniform(0.0, 1.0))
        up_s = pair.store.start()
        restarted_s = time.monotonic()
        load.wait_for_more(WRITES_BETWEEN, RECOVERY_S_MAX)
        print(f"up after {up_s:.1f} s, all write on after {time.monotonic() - restarted_s:.1f} s")
    return restarted_s


def judge_expiry_over_kills(
    pair: Pair, events: Expiring, listener: Follower, restarted_s: float
) -> None:
    """All that was created has expired, whatever was killed, and nothing did early."""
    ttl_s = pair.scale.ttl_s
    late_s = ttl_s * REUSE_SHARE + LATE_S_MAX
    wait_for(
        "the end of all events",
        lambda: not pair.stored("/registry/events/noisy/"),
        ttl_s + late_s + 1,
    )
    assert not listener.error, listener.error
    gone = gone_of(told_of(listener))
    created = events.created
    if len(listener.stretches) > 1:  # what went between two stretches is told to nobody
        created = {name: times for name, times in created.items() if name in gone}
    assert created, "no event was seen to expire"
    wait_for(
        "the last of them to be told",
        lambda: gone_of(told_of(listener)) >= created.keys(),
        EVENTS_S_MAX,
    )
    print(judge_expiry(created, told_of(listener), ttl_s, late_s, restarted_s))


def gone_of(told: Iterable[Told]) -> set[str]:
    """The names that a watch told the end of; a store's list may be empty before."""
    return {line.name for line in told if line.kind == "DELETED"}


def told_of(follower: Follower) -> list[Told]:
    """All lines of all stretches."""
    return [line for stretch in follower.stretches for line in stretch.told]


def clear(pair: Pair, names: Mapping[str, int]) -> None:
    """What the next round of the same test has to find: nothing."""
    for name in names:
        pair.rests[0].delete(f"{LOAD}/{name}")


def test_the_apiservers_and_their_caches_outlived_it_all(
    pair: Pair, many: Mapping[str, int]
) -> None:
    for server, pid in zip(pair.servers, pair.pids, strict=True):
        assert (server.process.alive, server.process.pid) == (True, pid)
        wait_for("readiness", server.ready, RECOVERY_S_MAX)
        items = server.rest.get(MANY)["items"]
        values = {item["metadata"]["name"]: item["data"]["value"] for item in items}
        assert values == {name: f"value {int(name[-5:])}" for name in many}
        assert listed(server.rest.get(MANY, resourceVersion="0")) == many
        log = server.process.text()
        for complaint in ("panic", "PrevKv=nil", "Cache consistency check failed"):
            assert complaint not in log, complaint
    assert pair.stored("/registry/configmaps/many/") == many


# ----------------------------------------------------------------------------------- planted faults

A_HISTORY: Final = (
    Told("ADDED", "a", 5, "one"),
    Told("ADDED", "b", 6, "two"),
    Told("MODIFIED", "a", 8, "three"),
    Told("DELETED", "b", 9),
    Told("BOOKMARK", "", 12),
)
A_WRITTEN: Final = {5: ("a", "one"), 6: ("b", "two"), 8: ("a", "three")}


def test_an_exact_history_is_accepted() -> None:
    judge([Stretch(4, {}, list(A_HISTORY))], A_WRITTEN, {"a": 8})
    relisted = [Stretch(4, {}, list(A_HISTORY[:1])), Stretch(8, {"a": 8, "b": 6}, [A_HISTORY[3]])]
    judge(relisted, A_WRITTEN, {"a": 8})
    assert agree(relisted, [Stretch(4, {}, list(A_HISTORY))]) == 2


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        pytest.param([0, 2, 3, 4], "but known=False|never told", id="lost"),
        pytest.param([0, 1, 3, 4], "never told", id="lost update"),
        pytest.param([0, 1, 2, 4], "ends as b at 6", id="lost deletion"),
        pytest.param([0, 1, 1, 2, 3, 4], "came after version 6", id="doubled"),
        pytest.param([0, 2, 1, 3, 4], "came after version 8", id="reordered"),
        pytest.param([4, 0, 1, 2, 3], "came after version 12", id="behind a bookmark"),
    ],
)
def test_a_history_with_a_fault_is_refused(told: list[int], sentence: str) -> None:
    stretch = Stretch(4, {}, [A_HISTORY[number] for number in told])
    with pytest.raises(AssertionError, match=sentence):
        judge([stretch], A_WRITTEN, {"a": 8})


def test_a_stale_list_and_a_foreign_content_are_refused() -> None:
    with pytest.raises(AssertionError, match="its newest is 8"):
        judge([Stretch(9, {"a": 5})], A_WRITTEN, {"a": 8})
    foreign = [A_HISTORY[0]._replace(value="other"), *A_HISTORY[1:]]
    with pytest.raises(AssertionError, match="but written was"):
        judge([Stretch(4, {}, foreign)], A_WRITTEN, {"a": 8})
    with pytest.raises(AssertionError, match="told apart"):
        agree([Stretch(4, {}, list(A_HISTORY))], [Stretch(4, {}, [A_HISTORY[0], A_HISTORY[2]])])


@pytest.mark.parametrize(("gone_s", "sentence"), [(9.9, "of its 10"), (13.0, "too late")])
def test_an_event_that_goes_early_or_late_is_refused(gone_s: float, sentence: str) -> None:
    told = [Told("DELETED", "event", 7, at_s=gone_s)]
    with pytest.raises(AssertionError, match=sentence):
        judge_expiry({"event": (0.0, 0.1)}, told, 10, 2)
    with pytest.raises(AssertionError, match="never told as gone"):
        judge_expiry({"event": (0.0, 0.1)}, [], 10, 2)


def test_a_key_that_vanishes_behind_the_apiservers_is_noticed(pair: Pair) -> None:
    """The load's own reckoning, the list and the counter all have to see it."""
    prefix = "/registry/configmaps"
    load = Load(pair.rests[0], LOAD, "robbed", 2, others=(pair.rests[1],))
    counter = Counter(pair.rests, COUNT, "robbed", 1)
    counter.add(0)
    with load:
        load.wait_for_more(WRITES_BETWEEN, RECOVERY_S_MAX)
    name = next(iter(load.state()))
    assert pair.store.etcdctl.run("del", f"{prefix}/load/{name}").ok() == "1\n"
    for rest in pair.rests:
        found = {at: version for at, version in listed(rest.get(LOAD)).items() if "robbed" in at}
        assert found == {at: version for at, version in load.state().items() if at != name}
    assert pair.store.etcdctl.run("del", f"{prefix}/count/robbed").ok() == "1\n"
    with pytest.raises(AssertionError, match="404"):
        counter.judge()
