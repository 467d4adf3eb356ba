"""etcdctl on a cluster, its keys hashed over three shards, its commands typed at either router.

What it is: what one server cannot show: that one command reaches several shards at one revision,
that the other router shows it at once, and that all shards did the work. What it is not: the forms
and texts of the commands; `make cluster` runs test_etcdctl*.py on a cluster for these.

The tests share one cluster and a watch over every key, which the last tests judge: that every shard
had its share of what the tests before it wrote, and that this share lies on its disk.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final

import pytest

from kubebraid.proto.etcd import rpc_pb2 as pb
from kubebraid.shard import keycodec
from kubebraid.shard.storage.datadir import inspect
from tests.e2e.etcdctl import Etcdctl, Watch, text
from tests.e2e.grpcclient import Rpc
from tests.e2e.ledger import SHARD_NAMES, Ledger, buckets
from tests.e2e.processes import Peers, Supervisor, wait_for
from tests.e2e.store import Kind, Store

pytestmark = [pytest.mark.e2e, pytest.mark.cluster]

LAYOUT: Final = buckets(32, "pods", "events", "leases")
PODS: Final = "/registry/pods/"
EVENTS: Final = "/registry/events/"
KEYS: Final = 60
TTL_S: Final = 2
EXPIRY_S_MAX: Final = 15.0
COMPACTED: Final = "etcdserver: mvcc: required revision has been compacted"
LOCKERS: Final = 4
ALARM_S_MAX: Final = 5.0


@dataclass
class Cluster:
    """A cluster, etcdctl at each router, and the watch over all."""

    store: Store
    one: Etcdctl
    other: Etcdctl
    ledger: Ledger

    def shards_of(self, keys: list[str]) -> set[str]:
        """Who owns them, by the layout."""
        return {self.ledger.shard_of(key.encode()) for key in keys}

    def told(self, prefix: str) -> list[tuple[str, bool, int]]:
        """Everything that the watch over all said of a prefix: key, deletion, revision."""
        self.ledger.catch_up(self.one.revision())
        return [
            (told.key.decode(), told.is_delete, told.revision)
            for told in self.ledger.told
            if told.key.startswith(prefix.encode())
        ]


@pytest.fixture(scope="module")
def cluster_supervisor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervisor]:
    """Owner of the module's cluster."""
    with Supervisor(tmp_path_factory.mktemp("cluster")) as supervisor:
        yield supervisor


@pytest.fixture(scope="module")
def cluster(cluster_supervisor: Supervisor, peers: Peers) -> Iterator[Cluster]:
    """The module's cluster, running, and followed from its first revision on."""
    store = Store(cluster_supervisor, peers, Kind.CLUSTER, flags=(f"--tablets={LAYOUT}",))
    store.start()
    one, other = (Etcdctl(peers, endpoint) for endpoint in store.endpoints)
    with Ledger(store.endpoints, LAYOUT) as ledger:
        yield Cluster(store, one, other, ledger)


def spread(prefix: str, count: int = KEYS) -> list[str]:
    """Keys in their order."""
    return [f"{prefix}{number:03}" for number in range(count)]


def put_all(etcdctl: Etcdctl, keys: list[str], value: str, *flags: str) -> int:
    """One transaction; its revision."""
    puts = "".join(f"put {' '.join(flags)} {key} {value}\n" for key in keys)
    return int(etcdctl.json("txn", stdin=f"\n{puts}\n\n")["header"]["revision"])


# --------------------------------------------------------------------------------------------- keys


def test_single_writes_are_dense_and_shown_by_the_other_router(cluster: Cluster) -> None:
    before = cluster.one.revision()
    keys = spread(f"{PODS}single/", 24)
    writers = (cluster.one, cluster.other)
    revisions = [writers[number % 2].put(key, key) for number, key in enumerate(keys)]
    assert revisions == list(range(before + 1, before + 1 + len(keys)))
    assert cluster.shards_of(keys) == set(SHARD_NAMES)
    for reader in writers:
        assert list(reader.values(f"{PODS}single/").items()) == [(key, key) for key in keys]
    assert cluster.told(f"{PODS}single/") == [
        (key, False, revision) for key, revision in zip(keys, revisions, strict=True)
    ]


def test_transaction_over_all_shards_is_one_revision_and_one_answer(
    cluster: Cluster, supervisor: Supervisor
) -> None:
    watch = Watch.start_many(supervisor, cluster.other, [f"watch {PODS}txn/ --prefix"])
    keys = spread(f"{PODS}txn/")
    before = cluster.one.revision()
    assert put_all(cluster.one, keys, "x") == before + 1
    assert cluster.shards_of(keys) == set(SHARD_NAMES)
    assert [(event.key, event.revision) for event in watch.wait(KEYS)] == [
        (key, before + 1) for key in keys
    ]
    assert [len(answer["Events"]) for answer in watch.answers()] == [KEYS]
    # Its compares look at every shard, too: one that fails on the last shard undoes all.
    compares = "".join(f'value("{key}") = "x"\n' for key in keys)
    done = cluster.other.json("txn", stdin=f"{compares}\nput {keys[0]} y\n\nput {keys[1]} z\n\n")
    assert done.get("succeeded") is True
    done = cluster.one.json("txn", stdin=f"{compares}\nput {keys[0]} z\n\nget {keys[0]}\n\n")
    assert done.get("succeeded", False) is False
    assert cluster.one.ok("get", keys[0], "--print-value-only") == "y\n"
    assert cluster.other.revision() == before + 2


def test_lists_over_shards_are_in_order_and_cut_where_asked(cluster: Cluster) -> None:
    keys = spread(f"{EVENTS}list/")
    put_all(cluster.one, list(reversed(keys)), "x")
    for etcdctl in (cluster.one, cluster.other):
        flags = (f"{EVENTS}list/", "--prefix", "--keys-only")
        assert etcdctl.ok("get", *flags).split() == keys
        assert etcdctl.ok("get", *flags, "--limit=7").split() == keys[:7]
        assert etcdctl.ok("get", *flags, "--order=DESCEND", "--limit=3").split() == keys[:-4:-1]
        assert etcdctl.ok("get", keys[10], keys[20], "--keys-only").split() == keys[10:20]
        counted = etcdctl.ok("get", *flags[:2], "--count-only", "-w", "fields")
        assert f'"Count" : {KEYS}\n' in counted


def test_deletion_over_shards_is_one_revision_and_tells_what_went(cluster: Cluster) -> None:
    keys = spread(f"{PODS}del/")
    put_all(cluster.other, keys, "gone")
    before = cluster.one.revision()
    printed = cluster.one.ok("del", f"{PODS}del/", "--prefix", "--prev-kv").split()
    assert printed == [str(KEYS), *(word for key in keys for word in (key, "gone"))]
    assert cluster.told(f"{PODS}del/")[KEYS:] == [(key, True, before + 1) for key in keys]
    assert cluster.other.ok("get", f"{PODS}del/", "--prefix") == ""
    old = cluster.other.json("get", f"{PODS}del/", "--prefix", f"--rev={before}")
    assert [text(pair["key"]) for pair in old["kvs"]] == keys


# --------------------------------------------------------------------------------------- compaction


def test_compaction_reaches_every_shard(cluster: Cluster) -> None:
    keys = spread(f"{PODS}compact/")
    first = put_all(cluster.one, keys, "one")
    last = put_all(cluster.one, keys, "two")
    cluster.other.ok("compact", str(last), "--physical")
    for etcdctl in (cluster.one, cluster.other):
        for key in keys[:6]:
            refused = etcdctl.run("get", key, f"--rev={first}")
            assert (refused.code, COMPACTED in refused.stderr) == (1, True), refused
        found = etcdctl.values(f"{PODS}compact/")
        assert found == dict.fromkeys(keys, "two")


# ------------------------------------------------------------------------------------------- leases


def test_lease_ends_over_all_shards(cluster: Cluster) -> None:
    """Its keys go with an event each, not early, wherever they are."""
    keys = spread(f"{EVENTS}lease/", 24)
    lease = f"{cluster.one.json('lease', 'grant', str(TTL_S))['ID']:x}"
    began = time.monotonic()
    put_all(cluster.other, keys, "x", f"--lease={lease}")
    assert cluster.shards_of(keys) == set(SHARD_NAMES)
    told = cluster.other.json("lease", "timetolive", lease, "--keys")
    assert sorted(text(key) for key in told["keys"]) == keys
    assert f"{int(lease, 16)}" in str(cluster.other.json("lease", "list"))

    def gone() -> bool:
        return cluster.one.ok("get", f"{EVENTS}lease/", "--prefix") == ""

    wait_for("the end of the lease", gone, TTL_S + EXPIRY_S_MAX)
    assert time.monotonic() - began >= TTL_S * 0.9
    ends = cluster.told(f"{EVENTS}lease/")[len(keys) :]
    assert sorted(key for key, is_delete, _ in ends if is_delete) == keys
    assert len(ends) == len(keys)
    wait_for(
        "its list to be empty", lambda: cluster.one.ok("lease", "list") == "found 0 leases\n", 5
    )


def test_lease_is_revoked_and_kept_alive_at_either_router(cluster: Cluster) -> None:
    keys = spread(f"{EVENTS}revoke/", 12)
    lease = f"{cluster.other.json('lease', 'grant', '3600')['ID']:016x}"
    put_all(cluster.one, keys, "x", f"--lease={lease}")
    for etcdctl in (cluster.one, cluster.other):
        kept = etcdctl.ok("lease", "keep-alive", "--once", lease)
        assert f"lease {lease} keepalived with TTL(3600)" in kept
    assert cluster.one.ok("lease", "revoke", lease) == f"lease {lease} revoked\n"
    assert cluster.other.ok("get", f"{EVENTS}revoke/", "--prefix") == ""
    refused = cluster.other.run("put", f"{EVENTS}revoke/000", "x", f"--lease={lease}")
    assert "requested lease not found" in refused.stderr


# ----------------------------------------------------------------------------- locks and elections


def test_lock_is_held_by_one_at_a_time_over_both_routers(cluster: Cluster) -> None:
    """Each holder adds one by a read and a write that only the lock keeps together."""
    counter, lock = f"{PODS}counter", "/registry/leases/lock"
    cluster.one.put(counter, "0")

    def add(number: int) -> None:
        own = (cluster.one, cluster.other)[number % 2]
        binary = own.argv()[0]
        script = (
            f"n=$({binary} --endpoints={own.endpoint} get {counter} --print-value-only); "
            f"{binary} --endpoints={own.endpoint} put {counter} $((n+1))"
        )
        own.ok("lock", lock, "--ttl=20", "--", "sh", "-c", script)

    with ThreadPoolExecutor(LOCKERS) as pool:
        list(pool.map(add, range(LOCKERS)))
    assert cluster.one.ok("get", counter, "--print-value-only") == f"{LOCKERS}\n"


def test_election_is_seen_at_the_other_router(cluster: Cluster, supervisor: Supervisor) -> None:
    name = "/registry/leases/vote"
    argv = cluster.one.argv("elect", name, "first")
    leader = supervisor.add("leader", argv).start()
    wait_for("the leader", lambda: "first" in leader.text(), 10)
    listening = supervisor.add("listener", cluster.other.argv("elect", "-l", name)).start()
    wait_for("the listener", lambda: "first" in listening.text(), 10)
    second = supervisor.add("second", cluster.other.argv("elect", name, "second")).start()
    leader.terminate()
    wait_for("the heir", lambda: "second" in second.text(), 30)
    wait_for("the news", lambda: "second" in listening.text(), 10)


# ---------------------------------------------------------------------------------------- endpoints


def test_both_routers_say_that_they_are_one_cluster(cluster: Cluster) -> None:
    both = f"--endpoints={','.join(cluster.store.endpoints)}"
    health = cluster.one.bare("endpoint", "health", both).ok()
    assert health.count(" is healthy: ") == len(cluster.store.endpoints)
    headers = [etcdctl.header for etcdctl in (cluster.one, cluster.other)]
    assert headers[0]["cluster_id"] == headers[1]["cluster_id"]
    assert headers[0]["member_id"] != headers[1]["member_id"]
    for number, etcdctl in enumerate((cluster.one, cluster.other)):
        (member,) = etcdctl.json("member", "list")["members"]
        assert (member["name"], member["clientURLs"]) == (f"router-{number}", [etcdctl.endpoint])
        (status,) = etcdctl.json("endpoint", "status")
        assert status["Status"]["version"] == "3.7.3"
        assert status["Status"]["dbSize"] > 0


def test_hashes_of_one_revision_are_alike_at_both_routers_and_notice_a_write(
    cluster: Cluster,
) -> None:
    put_all(cluster.one, spread(f"{PODS}hash/"), "x")
    revision = cluster.one.revision()

    def hashed(etcdctl: Etcdctl, at: int) -> int:
        (answer,) = etcdctl.json("endpoint", "hashkv", f"--rev={at}")
        assert answer["HashKV"]["hash_revision"] == at
        return int(answer["HashKV"]["hash"])

    before = hashed(cluster.one, revision)
    assert before == hashed(cluster.other, revision)
    seen = {before}
    for shard in SHARD_NAMES:
        # One more write on each shard, and each of them changes the sum.
        key = next(key for key in spread(f"{PODS}hash/") if cluster.shards_of([key]) == {shard})
        at = cluster.one.put(key, "another")
        seen.add(hashed(cluster.other, at))
        assert hashed(cluster.one, at) in seen
    assert len(seen) == 1 + len(SHARD_NAMES)
    assert hashed(cluster.other, revision) == before


def test_alarm_that_one_router_raised_stops_writes_at_both(cluster: Cluster) -> None:
    with Rpc(cluster.store.port) as rpc:
        raised = pb.AlarmRequest(
            action=pb.AlarmRequest.ACTIVATE,
            memberID=cluster.one.header["member_id"],
            alarm=pb.NOSPACE,
        )
        rpc.call("Maintenance/Alarm", raised, pb.AlarmResponse)
    told = f"memberID:{cluster.one.header['member_id']} alarm:NOSPACE"
    for etcdctl in (cluster.one, cluster.other):
        wait_for("the alarm", partial(lists_alarm, etcdctl, told), ALARM_S_MAX)
        refused = etcdctl.run("put", f"{PODS}alarm", "x")
        assert "etcdserver: mvcc: database space exceeded" in refused.stderr, refused
    cluster.other.ok("alarm", "disarm")
    for etcdctl in (cluster.one, cluster.other):
        wait_for("its end", partial(lists_alarm, etcdctl, ""), ALARM_S_MAX)
        etcdctl.put(f"{PODS}alarm", "x")


def lists_alarm(etcdctl: Etcdctl, told: str) -> bool:
    """Is this what it knows of alarms?"""
    return etcdctl.ok("alarm", "list").split() == told.split()


def test_space_is_given_back_while_writes_go_on(cluster: Cluster) -> None:
    keys = spread(f"{EVENTS}defrag/")
    put_all(cluster.one, keys, "x" * 1_000)
    both = f"--endpoints={','.join(cluster.store.endpoints)}"
    printed = cluster.one.bare("defrag", both, "--command-timeout=60s").ok()
    assert printed.count("Finished defragmenting etcd member") == len(cluster.store.endpoints)
    assert list(cluster.other.values(f"{EVENTS}defrag/")) == keys


# --------------------------------------------------------------------------------------- the shares


def test_every_shard_did_its_share_of_all_that(cluster: Cluster) -> None:
    cluster.ledger.catch_up(cluster.one.revision())
    commits = cluster.ledger.judge()
    print(f"commits: {dict(commits)}; {len(cluster.ledger.told)} events over one watch")
    assert cluster.ledger.connections == 1


def test_keys_lie_on_the_disks_that_the_layout_names(cluster: Cluster) -> None:
    """What the shares of every cluster test rest on; and each shard says it by its own rows."""
    wanted: dict[str, set[bytes]] = {shard: set() for shard in SHARD_NAMES}
    answer = cluster.one.json("get", "", "--prefix", "--keys-only")
    for pair in answer["kvs"]:
        key = text(pair["key"]).encode()
        wanted[cluster.ledger.shard_of(key)].add(key)
    assert cluster.store.terminate() == 0
    for shard in SHARD_NAMES:
        with inspect(cluster.store.data_dir / shard) as (engine, _):
            rows = engine.scan(b"n", keycodec.NEWEST_END, 1 << 20)
            found = {stored[1:] for stored, _ in rows}
        assert found == wanted[shard], shard
        assert len(found) >= len(answer["kvs"]) // 5
