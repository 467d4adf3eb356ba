"""Transfers between accounts on several shards, while shards and routers are killed.

Each transfer compares and writes two accounts, mostly of two shards; whoever reads all accounts at
one revision, in the storm or behind it, finds that no money came or went.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from typing import Any, Final

import grpc
import pytest

from kubebraid.proto.etcd import rpc_pb2
from tests.e2e.grpcclient import Rpc
from tests.e2e.processes import Peers, Supervisor
from tests.e2e.store import Kind, Store

pytestmark = [pytest.mark.e2e, pytest.mark.cluster]

ACCOUNTS: Final = tuple(b"/%c/%d" % (prefix, number) for prefix in b"abcd" for number in (1, 2))
EACH: Final = 100
WORKERS: Final = 4
STORM_S: Final = 15.0
CALM_S: Final = 5.0
CALL_S: Final = 6.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, peers: Peers) -> Iterator[Store]:
    with Supervisor(tmp_path_factory.mktemp("bank")) as supervisor:
        flags = ("--tablets=/a/,/b/,/c/=4,/d/",)
        store = Store(supervisor, peers, Kind.CLUSTER, flags=flags)
        store.start()
        yield store


class Bank:
    """Clients that transfer and look until they are told to stop."""

    def __init__(self, endpoints: list[str]) -> None:
        self._rpcs = [Rpc(int(endpoint.rpartition(":")[2])) for endpoint in endpoints]
        self._until = 0.0
        self._lock = threading.Lock()
        self.done = 0
        self.sums: set[int] = set()
        self.broken: list[str] = []
        self._rpcs[0].put_all([(account, b"%d" % EACH) for account in ACCOUNTS])

    def run(self, seconds: float) -> list[threading.Thread]:
        self._until = time.monotonic() + seconds
        threads = [threading.Thread(target=self._work, args=(n,)) for n in range(WORKERS)]
        for thread in threads:
            thread.start()
        return threads

    def _work(self, seed: int) -> None:
        chance = random.Random(seed)
        while time.monotonic() < self._until:
            try:
                self._transfer(chance)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    self.broken.append(str(error))
                time.sleep(0.05)

    def _call(self, rpc: Rpc, method: str, request: Any, answer: Any) -> Any:
        unary: Any = rpc.channel.unary_unary(
            f"/etcdserverpb.KV/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        return unary(request, timeout=CALL_S)

    def read(self, rpc: Rpc, revision: int = 0) -> dict[bytes, Any]:
        request = rpc_pb2.RangeRequest(key=b"/", range_end=b"0", revision=revision)
        answer = self._call(rpc, "Range", request, rpc_pb2.RangeResponse)
        found = {kv.key: kv for kv in answer.kvs}
        with self._lock:
            self.sums.add(sum(int(kv.value) for kv in found.values()))
        return found

    def _transfer(self, chance: random.Random) -> None:
        rpc = chance.choice(self._rpcs)
        found = self.read(rpc)
        source, target = chance.sample(ACCOUNTS, 2)
        request = rpc_pb2.TxnRequest()
        for account, change in ((source, -1), (target, 1)):
            kv = found[account]
            request.compare.add(
                key=account, target="MOD", result="EQUAL", mod_revision=kv.mod_revision
            )
            value = b"%d" % (int(kv.value) + change)
            put = rpc_pb2.PutRequest(key=account, value=value)
            request.success.add().request_put.CopyFrom(put)
        if self._call(rpc, "Txn", request, rpc_pb2.TxnResponse).succeeded:
            with self._lock:
                self.done += 1


def test_inv06_money_neither_comes_nor_goes_while_processes_are_killed(cluster: Store) -> None:
    bank = Bank(cluster.endpoints)
    threads = bank.run(STORM_S)
    chance = random.Random(7)
    end = time.monotonic() + STORM_S - CALM_S
    killed = []
    while time.monotonic() < end:
        time.sleep(chance.uniform(0.5, 2))
        name = chance.choice(("shard-0", "shard-1", "shard-2", "router-0", "router-1"))
        try:
            cluster.members.signal(name)
            killed.append(name)
        except ProcessLookupError:
            pass  # it has not been started again yet
    for thread in threads:
        thread.join()
    assert bank.sums == {EACH * len(ACCOUNTS)}
    assert bank.broken == []
    assert bank.done > 20, "transfers went through"
    assert len(killed) >= 4
    calm = bank.done
    for thread in bank.run(CALM_S):
        thread.join()
    assert bank.done > calm + 20, "no slot is held for ever"
    assert bank.sums == {EACH * len(ACCOUNTS)}


def test_every_old_revision_has_the_whole_sum(cluster: Store) -> None:
    """Also behind the storm: history has no revision with half a transfer."""
    bank = Bank(cluster.endpoints)
    for thread in bank.run(2):
        thread.join()
    rpc = bank._rpcs[0]
    last = rpc.revision()
    for revision in range(max(2, last - 300), last + 1):
        bank.read(rpc, revision)
    assert bank.sums == {EACH * len(ACCOUNTS)}
