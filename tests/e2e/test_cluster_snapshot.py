"""Snapshots of a cluster whose shards write while they are taken, restored to one process.

What it is: the judge that is not ours to bend: the cluster itself, asked what it held at the
snapshot's revision, against the restored store, key by key and by the sum of all versions. What it
is not: the forms of the commands; `make cluster` runs test_etcdctl_snapshot.py for these.
"""

from __future__ import annotations

import random
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import grpc
import pytest

from kubebraid.base import dump
from kubebraid.base.limits import SNAPSHOTS_MAX
from kubebraid.proto.etcd import rpc_pb2 as pb
from kubebraid.proto.etcd.kv_pb2 import KeyValue
from kubebraid.shard import keycodec
from tests.e2e.grpcclient import CALL_S_MAX, Rpc
from tests.e2e.ledger import SHARD_NAMES, buckets
from tests.e2e.processes import Finished, Peers, Supervisor, run, wait_for
from tests.e2e.store import Kind, Store, kubebraid_environment

pytestmark = [pytest.mark.e2e, pytest.mark.cluster]

LAYOUT: Final = buckets(8, "pods", "events")
PREFIXES: Final = (b"/registry/pods/", b"/registry/events/", b"plain/", b"")
KEYS: Final = [prefix + b"k%02d" % number for prefix in PREFIXES for number in range(40)]
WRITERS: Final = 4
WRITES_MAX: Final = 20_000  # of one writer
SNAPSHOTS: Final = 3
SAVES_MAX: Final = 20  # until a write came between the moments of two shards
LARGE: Final = bytes(1 << 20)
LARGE_KEYS: Final = 60  # more than all buffers between the last shard and a client hold
KEEP_S: Final = 3_600


@pytest.fixture
def cluster(supervisor: Supervisor, peers: Peers) -> Store:
    store = Store(supervisor, peers, Kind.CLUSTER, flags=(f"--tablets={LAYOUT}",))
    store.start()
    return store


def ctl(*args: str) -> Finished:
    """`kubebraid ctl ...`."""
    return run((sys.executable, "-m", "kubebraid", "ctl", *args), env=kubebraid_environment())


class Writers:
    """Clients at either router: puts, deletes, leases, and transactions over shards that give two
    keys one value."""

    def __init__(self, store: Store) -> None:
        self._ports = [int(endpoint.rpartition(":")[2]) for endpoint in store.endpoints]
        self._stop = threading.Event()
        self.done = [0] * WRITERS

    def write(self, seed: int) -> None:
        chance = random.Random(seed)
        with Rpc(self._ports[seed % len(self._ports)]) as rpc:
            leases = [0]
            for number in range(WRITES_MAX):
                if self._stop.is_set():
                    return
                self._one(rpc, chance, leases)
                self.done[seed] = number

    def _one(self, rpc: Rpc, chance: random.Random, leases: list[int]) -> None:
        value = b"%d" % chance.randrange(1_000_000)
        what = chance.random()
        if what < 0.4:
            rpc.put_all([(chance.choice(KEYS) + b"%d" % n, value) for n in range(3)])
        elif what < 0.5:
            rpc.put_all([(b"/registry/pods/twin", value), (b"plain/twin", value)])
        elif what < 0.6:
            request = pb.DeleteRangeRequest(key=chance.choice(KEYS))
            rpc.call("KV/DeleteRange", request, pb.DeleteRangeResponse)
        elif what < 0.64:
            grant = pb.LeaseGrantRequest(TTL=KEEP_S)
            leases.append(rpc.call("Lease/LeaseGrant", grant, pb.LeaseGrantResponse).ID)
        elif what < 0.66 and len(leases) > 1:
            revoke = pb.LeaseRevokeRequest(ID=leases.pop())
            rpc.call("Lease/LeaseRevoke", revoke, pb.LeaseRevokeResponse)
        else:
            put = pb.PutRequest(key=chance.choice(KEYS), value=value, lease=chance.choice(leases))
            rpc.call("KV/Put", put, pb.PutResponse)

    def __enter__(self) -> Writers:
        self._pool = ThreadPoolExecutor(WRITERS)
        self._running = [self._pool.submit(self.write, seed) for seed in range(WRITERS)]
        return self

    def go_on(self, count: int) -> None:
        """Until each of them has written so many more."""
        wanted = [done + count for done in self.done]

        def far() -> bool:
            broken = [f for f in self._running if f.done() and f.exception()]
            return bool(broken) or all(map(int.__ge__, self.done, wanted))

        wait_for("the writers to go on", far, CALL_S_MAX)

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pool.shutdown()
        for writer in self._running:
            writer.result()
        assert max(self.done) < WRITES_MAX - 1, "the load ended before the snapshots did"


def everything(port: int, revision: int = 0) -> list[KeyValue]:
    """All keys with all that is known of them."""
    request = pb.RangeRequest(key=b"\0", range_end=b"\0", revision=revision)
    with Rpc(port) as rpc:
        return list(rpc.call("KV/Range", request, pb.RangeResponse).kvs)


def hash_at(port: int, revision: int) -> int:
    with Rpc(port) as rpc:
        request = pb.HashKVRequest(revision=revision)
        return rpc.call("Maintenance/HashKV", request, pb.HashKVResponse).hash


def test_snapshots_under_writers_hold_what_the_cluster_held_at_their_revision(
    cluster: Store, supervisor: Supervisor, peers: Peers, tmp_path: Path
) -> None:
    with Rpc(cluster.port) as rpc, Writers(cluster) as writers:
        writers.go_on(30)
        rpc.compact(rpc.revision() // 2)
        taken = [tmp_path / f"{number}.db" for number in range(SAVES_MAX)]
        for number, file in enumerate(taken, 1):
            writers.go_on(10)
            cluster.etcdctl.ok("snapshot", "save", str(file))
            if number >= SNAPSHOTS and any(map(newer_rows, taken[:number])):
                break
        writers.go_on(10)
    # Those that a write met between the moments of two shards, if not all.
    files = sorted(filter(Path.exists, taken), key=newer_rows)[-SNAPSHOTS:]
    behind = newer = 0
    for number, file in enumerate(files):
        told = ctl("snapshot", "status", str(file)).ok()
        found = re.match(r"revision (\d+), compacted below \d+, (\d+) keys, ", told)
        assert found is not None, told
        assert f" of {len(SHARD_NAMES)} shards: whole" in told
        revision, keys = int(found[1]), int(found[2])
        expected = everything(cluster.port, revision)
        assert keys == len(expected)
        data_dir = file.with_suffix(".data")
        ctl("snapshot", "restore", str(file), "--data-dir", str(data_dir)).ok()
        assert "is whole" in ctl("data", "check", str(data_dir)).ok()
        store = Store(supervisor, peers, Kind.NATIVE, f"restored-{number}", data_dir)
        store.start()
        assert everything(store.port, revision) == expected
        assert hash_at(store.port, revision) == hash_at(cluster.port, revision)
        twins = {kv.value for kv in expected if kv.key.endswith(b"/twin")}
        assert len(twins) == 1
        lost = [kv.lease for kv in expected if kv.lease]
        assert lost, "leases are among what is compared"
        behind += cluster.etcdctl.revision() - revision
        newer += newer_rows(file)
        store.process.terminate()
    assert behind > 0, "they wrote while the snapshots were taken"
    assert newer > 0, "and between the moments of two shards"
    shards_are_whole(cluster)


def shards_are_whole(cluster: Store) -> None:
    """What lies on the disks of the stopped cluster."""
    assert cluster.terminate() == 0
    for shard in SHARD_NAMES:
        told = ctl("data", "check", str(cluster.data_dir / shard)).ok()
        assert told.startswith(f"the store of {shard}, a shard of a cluster")
        assert "is whole; nothing was changed" in told


def newer_rows(path: Path) -> int:
    """Revisions in a file that are newer than its own."""
    with path.open("rb") as file:
        head, source = dump.read_head(file)
        logged = (key for key, _ in dump.read_pairs(source, file) if key[:1] == b"l")
        return sum(keycodec.log_revision(key) > head.revision for key in logged)


def snapshot_stream(rpc: Rpc) -> Any:
    """The parts as they come; what is not taken stays on the way."""
    method: Any = rpc.channel.unary_stream(
        "/etcdserverpb.Maintenance/Snapshot",
        request_serializer=pb.SnapshotRequest.SerializeToString,
        response_deserializer=pb.SnapshotResponse.FromString,
    )
    return method(pb.SnapshotRequest(), timeout=CALL_S_MAX)


def fill_large(rpc: Rpc) -> None:
    """Some megabytes on every shard."""
    for number in range(LARGE_KEYS):
        rpc.put(b"/registry/pods/large%03d" % number, LARGE)


def test_slow_client_is_waited_for_and_a_shard_that_dies_fails_the_stream(cluster: Store) -> None:
    """The other shards go on, also with the next snapshot."""
    with Rpc(cluster.port) as rpc:
        fill_large(rpc)
        slow = snapshot_stream(rpc)
        first = next(slow)
        assert first.remaining_bytes > LARGE_KEYS * len(LARGE)
        pid = cluster.members.signal(SHARD_NAMES[-1])
        with pytest.raises(grpc.RpcError) as failed:
            for _ in slow:
                pass
        assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
        cluster.members.restarted(SHARD_NAMES[-1], pid)
        again = snapshot_stream(rpc)
        size = sum(len(part.blob) for part in again)
        assert size % 512 == 32
        assert size > LARGE_KEYS * len(LARGE)
    shards_are_whole(cluster)


def test_cancelled_snapshot_lets_the_shards_go(cluster: Store, tmp_path: Path) -> None:
    with Rpc(cluster.port) as rpc:
        fill_large(rpc)
        # More than may be open at once, so none that was cancelled counts.
        for _ in range(SNAPSHOTS_MAX * 2):
            stream = snapshot_stream(rpc)
            assert next(stream).remaining_bytes > 0
            stream.cancel()
    cluster.etcdctl.ok("snapshot", "save", str(tmp_path / "file.db"), "--command-timeout=60s")
    assert ": whole" in ctl("snapshot", "status", str(tmp_path / "file.db")).ok()
