"""Tablets go from shard to shard on one TiKV, below writers, watches, kills and stops.

Marked `tikv`, as test_shards_on_tikv.py is. The tests share one cluster, whose hosts are started
again by the tests alone. Shards on one TiKV share the rows of keys, so a move copies none of them:
a target that reads a row too late, a source that writes one too late, or a sweep that takes what
stays would be found by the judge.

The judge: each watch tells every acknowledged write once and nothing that nobody wrote, routers
hold what the events make, and reads of the past are what they were (reshard_traffic.py). And a
lease that is revoked in the end takes all of its keys, and none before, wherever they lie by then.
KUBEBRAID_MOVES_SEED=7 chooses another seed.
"""

from __future__ import annotations

import os
import random
import secrets
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Final, NamedTuple

import pytest

from kubebraid.proto.etcd import rpc_pb2 as pb
from tests.e2e.etcdctl import Etcdctl
from tests.e2e.ledger import SHARD_NAMES
from tests.e2e.processes import Peers, Process, Supervisor, wait_for
from tests.e2e.reshard_ops import Tablet
from tests.e2e.reshard_site import Site as Moves
from tests.e2e.reshard_traffic import Router, Snapshots, Traffic, Watched, again, settled
from tests.e2e.store import Kind, Store, need_tikv_client, tikv_flags
from tests.e2e.tikv_hosts import Hosts
from tests.e2e.tikv_rows import TabletRows
from tests.tikv.cluster import Cluster

pytestmark = pytest.mark.tikv

NAME: Final = "v"  # of the stores
WRITTEN: Final = ("/registry/configmaps/", "/registry/pods/", "/registry/secrets/")
RESTS: Final = "/registry/events/"
EMPTY: Final = "/registry/nodes/"
LAYOUT: Final = ",".join((*WRITTEN, RESTS, EMPTY))
WRITERS: Final = 5  # below each of the three
PACE_S: Final = 0.1
GOES_ON_S_MAX: Final = 30.0
CTL_S_MAX: Final = 60.0
CI_SEED: Final = 5
MOVES_CI, MOVES_SOAK = 6, 60  # besides two of the tablet where leases live
LEASED: Final = 4  # keys of a lease below each of the three
LEASE_S: Final = 900
RESTING_CI, RESTING_SOAK = 2_000, 8_000  # keys
PUTS: Final = 100  # of a transaction
RESTING_S_MAX: Final = 10.0
SLOWER: Final = 10  # times
LOGGED: Final = 4_000  # log rows of a tablet that is split and merged
FILLERS: Final = 32
HELD_UP_S_MAX: Final = 2.0  # a tenth of it on a machine with nothing else to do
MAY_BE_SAID: Final = {"UNAVAILABLE", "DEADLINE_EXCEEDED"}  # to a writer below a kill


@dataclass
class Site:
    """The cluster of all tests here."""

    store: Store
    hosts: Hosts
    moves: Moves
    pd: str

    def move(self, tablet: Tablet, to: str) -> str:
        """To its end; the migration's id."""
        words = ("tablet", "move", str(tablet.id), f"--to={to}")
        (told,) = self.moves.ctl.change(*words)["migrations"]
        assert told["phase"] == "done"
        assert self.tablet(tablet.start).shard == to
        return str(told["id"])

    def router(self) -> closing[Router]:
        return closing(Router(self.store.endpoints[0]))

    def tablet(self, above: str) -> Tablet:
        """The one that begins there."""
        start = above.rstrip("/")
        (found,) = [tablet for tablet in self.moves.ctl.tablets() if tablet.start == start]
        return found

    def home(self) -> Tablet:
        """Where leases live: below all keys of clients."""
        return self.moves.ctl.tablets()[0]

    def written(self) -> list[Tablet]:
        """The tablets of all writers."""
        return [tablet for above in WRITTEN for tablet in self.moves.ctl.below(above)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, peers: Peers) -> Iterator[Site]:
    need_tikv_client()
    folder = tmp_path_factory.mktemp("moves")
    with Cluster.started(folder / "tikv") as tikv, Supervisor(folder) as supervisor:
        flags = (*tikv_flags(tikv.pd_address, NAME), "--no-restart", f"--tablets={LAYOUT}")
        store = Store(supervisor, peers, Kind.CLUSTER, flags=flags)
        store.start()
        yield Site(store, Hosts(store, supervisor), Moves(store, supervisor), tikv.pd_address)


def seed(default: int) -> int:
    chosen = int(os.environ.get("KUBEBRAID_MOVES_SEED", default))
    print(f"KUBEBRAID_MOVES_SEED={chosen}")
    return chosen


def other_than(draw: random.Random, *shards: str) -> str:
    return draw.choice([name for name in SHARD_NAMES if name not in shards])


# ------------------------------------------------------------------------------------------ writers


@dataclass
class Lease:
    """One with keys below all that is written."""

    etcdctl: Etcdctl
    id: str
    keys: list[str]

    @classmethod
    def granted(cls, site: Site, name: str, above: Collection[str]) -> Lease:
        etcdctl = site.store.etcdctl
        number = etcdctl.json("lease", "grant", str(LEASE_S))["ID"]
        keys = sorted(f"{start}leased-{name}{at}" for start in above for at in range(LEASED))
        request = pb.TxnRequest()
        for key in keys:
            put = request.success.add().request_put
            put.key, put.value, put.lease = key.encode(), b"v", number
        with site.router() as one:
            again("leased keys", partial(one.txn, request))
        return cls(etcdctl, f"{number:x}", keys)

    def revoke(self, site: Site) -> None:
        """It knows its keys, and they are there; it takes them with it."""
        told = self.etcdctl.ok("lease", "timetolive", self.id, "--keys")
        names = told.partition("attached keys([")[2].partition("])")[0].split()
        assert sorted(names) == self.keys, told
        assert self.left(site) == self.keys
        self.etcdctl.ok("lease", "revoke", self.id)
        assert self.left(site) == []

    def left(self, site: Site) -> list[str]:
        with site.router() as one:
            return [key for key in self.keys if one.range(key.encode()).kvs]


@dataclass
class Writing:
    """Writers below several tablets."""

    below: list[Traffic]

    def go_on(self, writes: int = 2) -> None:
        for traffic in self.below:
            traffic.wait_for_more(writes, GOES_ON_S_MAX)

    def errors(self) -> list[str]:
        return [error for traffic in self.below for error in traffic.errors()]


@contextmanager
def judged(site: Site, draw: random.Random, name: str) -> Iterator[Writing]:
    """Writers and a lease while the block runs, and the judge of them."""
    endpoints = site.store.endpoints
    lease = Lease.granted(site, name, WRITTEN)
    below = [Traffic(endpoints, name, WRITERS, above.encode(), PACE_S) for above in WRITTEN]
    writing = Writing(below)
    with ExitStack() as end:
        for traffic in below:
            end.callback(traffic.close)
        watches = [end.enter_context(Watched(turned)) for turned in (endpoints, endpoints[::-1])]
        with below[0], below[1], below[2]:
            writing.go_on(1)
            yield writing
            writing.go_on()
        lease.revoke(site)
        events = [judge_one(traffic, watches, draw) for traffic in below]
    errors = writing.errors()
    print(f"{sum(events)} events, {len(errors)} errors, e.g. {errors[:2]}")
    codes = {error.partition(" s: ")[2].partition(":")[0] for error in errors}
    assert codes <= MAY_BE_SAID, errors


def judge_one(traffic: Traffic, watches: list[Watched], draw: random.Random) -> int:
    """How many events it was."""
    traffic.check()
    events = settled(traffic, watches)
    snapshots = Snapshots(traffic)
    for write in draw.sample(traffic.acknowledged(), 3):
        snapshots.take(write.revision)
    snapshots.judge(events)
    return len(events)


# -------------------------------------------------------------------------------------------- moves


def moved(site: Site, count: int, draw: random.Random) -> None:
    """Moves; a split and a merge among them. No client is told anything."""
    with judged(site, draw, f"moves-{count}-") as writing:
        away(site, site.home(), draw)
        for number in range(count):
            if number == count // 3:
                split(site, draw)
            if number == 2 * count // 3:
                away(site, site.home(), draw)
            away(site, draw.choice(site.written()), draw)
        merge(site)
        writing.go_on()
    assert writing.errors() == []


def away(site: Site, tablet: Tablet, draw: random.Random) -> None:
    site.move(tablet, other_than(draw, tablet.shard))


def split(site: Site, draw: random.Random) -> None:
    """In two, on two shards of which none is its own."""
    tablet = site.tablet(draw.choice(WRITTEN))
    to = [name for name in SHARD_NAMES if name != tablet.shard]
    words = ("tablet", "split", str(tablet.id), "--parts=2", f"--to={','.join(to)}")
    site.moves.ctl.change(*words)
    assert sorted(part.shard for part in site.moves.ctl.below(tablet.start)) == to


def merge(site: Site) -> None:
    """What was split."""
    (parts,) = [parts for above in WRITTEN if len(parts := site.moves.ctl.below(above)) > 1]
    site.moves.ctl.change("tablet", "merge", *(str(part.id) for part in parts))
    assert len(site.written()) == len(WRITTEN)


def test_moves_below_writers_lose_nothing_and_tell_no_client(site: Site) -> None:
    moved(site, MOVES_CI, random.Random(seed(CI_SEED)))


@pytest.mark.slow
def test_sixty_moves_below_writers_lose_nothing_and_tell_no_client(site: Site) -> None:
    moved(site, MOVES_SOAK, random.Random(seed(secrets.randbelow(1_000_000))))


@pytest.mark.slow
def test_split_and_merge_of_a_long_log_hold_up_no_other_tablet_of_the_shard(site: Site) -> None:
    below, beside, ctl = RESTS, WRITTEN[0], site.moves.ctl
    with site.router() as router, ThreadPoolExecutor(FILLERS) as pool:
        keys = (b"%slog-%05d" % (below.encode(), number) for number in range(LOGGED))
        list(pool.map(lambda key: again("a put", partial(router.put, key, b"v")), keys))
    split, other = site.tablet(below), site.tablet(beside)
    if other.shard != split.shard:
        site.move(other, split.shard)
    traffic = Traffic(site.store.endpoints, "beside-", WRITERS, beside.encode(), PACE_S)
    with closing(traffic), traffic:
        traffic.wait_for_more(2, GOES_ON_S_MAX)
        began_s = time.monotonic()
        ctl.change("tablet", "split", str(split.id), "--parts=2")
        ctl.change("tablet", "merge", *(str(part.id) for part in ctl.below(below)))
        traffic.wait_for_more(2, GOES_ON_S_MAX)
        traffic.check_calm()
        longest_s = traffic.longest_pause_s(began_s)
    print(f"longest pause of a writer beside it: {longest_s:.2f} s")
    assert longest_s < HELD_UP_S_MAX


# ------------------------------------------------------------------------------------------ at rest


def filled(site: Site, count: int) -> None:
    """Keys at rest; a tenth is written twice, a twentieth removed again."""
    with site.router() as router:
        numbers = [*range(count), *range(count // 10)]
        for at in range(0, len(numbers), PUTS):
            request = pb.TxnRequest()
            for number in numbers[at : at + PUTS]:
                put = request.success.add().request_put
                put.key, put.value = resting(number), b"%d at %d" % (number, at)
            again("a fill", partial(router.txn, request))
        request = pb.TxnRequest()
        gone = request.success.add().request_delete_range
        gone.key, gone.range_end = resting(0), resting(count // 20)
        again("a deletion", partial(router.txn, request))


def resting(number: int) -> bytes:
    return b"%srest-%06d" % (RESTS.encode(), number)


class Moved(NamedTuple):
    """took: seconds of the whole command, to its end."""

    took: float
    pause_ms: int
    copied: dict[str, int]


def led(site: Site, tablet: Tablet) -> Moved:
    """By hand, for the status of one that has ended does not say any more what it copied."""
    ctl = site.moves.ctl
    to = other_than(random.Random(tablet.id), tablet.shard)
    began = time.monotonic()
    (told,) = ctl.change("tablet", "move", str(tablet.id), f"--to={to}", "--manual")["migrations"]
    copied = ctl.json("reshard", "status", told["id"])["copied"]
    assert ctl.json("reshard", "verify", told["id"])["verified"] is True
    switched = ctl.json("reshard", "switch", told["id"])
    ctl.json("reshard", "complete", told["id"])
    took = time.monotonic() - began
    assert site.tablet(tablet.start).shard == to
    return Moved(took, switched["pause_ms"], copied)


def stays(site: Site, count: int) -> None:
    """Of a tablet that is moved no row is written, and it takes no longer than an empty one."""
    filled(site, count)
    lease = Lease.granted(site, "rest-", [RESTS])
    etcdctl, tablet = site.store.etcdctl, site.tablet(RESTS)
    keys = etcdctl.json("get", RESTS, "--prefix", "--keys-only")["kvs"]
    with TabletRows(site.pd, NAME) as rows:
        before = rows.of(tablet)
        noted = rows.noted(before)
        told = led(site, tablet)
        assert rows.of(tablet) == before
        print(f"{rows.kinds(before)} rows: {told}")
        assert not rows.written(noted), "a row that stays was written"
        assert (told.copied["rows"], told.copied["bytes"]) == (0, 0)
        noted = rows.noted(before)
        etcdctl.put(resting(count - 1).decode(), "planted")
        assert rows.written(noted), "the comparison finds no write at all"
        kinds = rows.kinds(before)
    assert set(kinds) == set("hkln")
    assert kinds["n"] == len(keys) == count - count // 20 + LEASED
    empty = led(site, site.tablet(EMPTY))
    print(f"an empty tablet: {empty}")
    assert told.took < min(RESTING_S_MAX, SLOWER * empty.took)
    lease.revoke(site)


def test_tablet_at_rest_is_moved_without_a_row_being_written(site: Site) -> None:
    stays(site, RESTING_CI)


@pytest.mark.slow
def test_large_tablet_at_rest_is_moved_without_a_row_being_written(site: Site) -> None:
    stays(site, RESTING_SOAK)


# ---------------------------------------------------------------------------------- kills and stops


class Case(NamedTuple):
    """What is done to whose host, as soon as the migration is in this phase; and where its operator
    wants it to end: there, or back."""

    done: str
    role: str
    phase: str
    end: str


PHASES: Final = ("planned", "preparing", "ready", "frozen", "committed", "draining")
BEGINS: Final = PHASES[:2]  # without an operator's word
KILLED, STOPPED = "killed", "stopped"
CASES_CI: Final = (
    Case(KILLED, "source", "frozen", "there"),
    Case(KILLED, "target", "frozen", "back"),
    Case(STOPPED, "source", "frozen", "there"),
)
ALL: Final = tuple(product(("source", "target"), PHASES, ("there", "back")))
KILLS_SOAK, STOPS_SOAK = 10, 5


def hurt(site: Site, writing: Writing, case: Case, draw: random.Random) -> str:
    """A host is killed, or stopped, below a move, which then goes where its operator wants it. One
    that wakes behind that may say nothing any more."""
    hosts = site.hosts
    tablet = draw.choice([site.home(), *site.written()])
    to, seats = other_than(draw, tablet.shard), hosts.seats()
    victim = seats[tablet.shard if case.role == "source" else to]
    hosts.others_old_enough({victim})
    operator, name, seen = begun(site, tablet, to, case.phase)
    found = hosts.deposed(victim) + list(seats.values()).count(victim)
    (hosts.kill if case.done == KILLED else hosts.stop)(victim)
    try:
        writing.go_on()
        operator.wait(CTL_S_MAX)
        ended = end(site, name, tablet, to, case.end)
        assert victim not in hosts.seats().values()
    finally:
        if case.done == STOPPED:
            hosts.resume(victim)
    if case.done == KILLED:
        hosts.spare(victim)
    else:
        hosts.spare_again(victim, found)
    return f"{victim}, {case.role} of {name}, was {case.done} in {seen}: {ended}"


def begun(site: Site, tablet: Tablet, to: str, phase: str) -> tuple[Process, str, str]:
    """The operator who waits, the migration, and the phase in which it was seen last."""
    moves, known = site.moves, site.moves.known()
    operator = moves.operator("tablet", "move", str(tablet.id), f"--to={to}", "--manual")
    name = moves.new(known).step.id
    if phase not in BEGINS:
        moves.settled(name, ("ready",))
        operator.wait(CTL_S_MAX)
    if phase not in (*BEGINS, "ready"):
        operator = moves.operator("reshard", "switch", name)
    return operator, name, moves.reached(name, phase)


def end(site: Site, name: str, tablet: Tablet, to: str, wanted: str) -> str:
    """Where the operator wants it; then the map is the old or the new one."""
    phase = site.moves.settled(name, ("ready", "draining")).phase
    if (phase, wanted) == ("ready", "back"):
        say(site, "cancel", name, "aborted")
        assert site.tablet(tablet.start) == tablet
        return "cancelled"
    if phase == "ready":
        say(site, "switch", name, "draining")
    say(site, "complete" if wanted == "there" else "reverse", name, "done")
    shard = to if wanted == "there" else tablet.shard
    assert site.tablet(tablet.start) == tablet._replace(shard=shard)
    return "completed" if wanted == "there" else "reversed"


def say(site: Site, word: str, name: str, goal: str) -> None:
    """Until it is done: who was hurt may not have been replaced yet."""

    def said() -> bool:
        return site.moves.ctl.run("reshard", word, name, "--yes").code == 0

    wait_for(f"{word} of {name}", said, GOES_ON_S_MAX)
    site.moves.settled(name, (goal,))


def hurt_all(site: Site, cases: Collection[Case], draw: random.Random) -> None:
    with judged(site, draw, f"hurt-{len(cases)}-") as writing:
        for case in cases:
            began = time.monotonic()
            told = hurt(site, writing, case, draw)
            writing.go_on()
            print(f"{told}; {time.monotonic() - began:.1f} s in all", flush=True)


def test_move_whose_host_is_killed_or_stopped_ends_in_the_old_or_the_new_map(site: Site) -> None:
    hurt_all(site, CASES_CI, random.Random(seed(CI_SEED)))


@pytest.mark.slow
def test_ten_moves_whose_host_is_killed_end_in_the_old_or_the_new_map(site: Site) -> None:
    draw = random.Random(seed(secrets.randbelow(1_000_000)))
    hurt_all(site, [Case(KILLED, *of) for of in draw.sample(ALL, KILLS_SOAK)], draw)


@pytest.mark.slow
def test_nothing_of_five_hosts_that_were_stopped_in_moves_lands_when_they_wake(site: Site) -> None:
    draw = random.Random(seed(secrets.randbelow(1_000_000)))
    hurt_all(site, [Case(STOPPED, *of) for of in draw.sample(ALL, STOPS_SOAK)], draw)
