"""One transaction over three shards, and one fault at each of its steps.

What it is: every message and every turn of its life, each followed by each fault that there is: a
shard dies, the router dies, a line breaks, a reign begins, an Alloc stays on its way until all have
given up. The judge is that of test_across.py: one store must explain what is left.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Final

import pytest

from kubebraid.proto import requests
from kubebraid.proto.etcd import rpc_pb2
from tests.across import SHARDS, Cluster

from .test_across import Clients, judge

ROUTER: Final = "router-0"
ALLOCS: Final = (ROUTER, "sequencer")


def transfer(number: int) -> rpc_pb2.TxnRequest:
    """Compares on shard-1, writes on all."""
    request = rpc_pb2.TxnRequest()
    request.compare.add(key=b"b1", target="VERSION", result="GREATER", version=0)
    for key in (b"a1", b"b1", b"d1"):
        request.success.add().request_put.CopyFrom(
            rpc_pb2.PutRequest(key=key, value=b"%d" % number, prev_kv=True)
        )
    request.success.add().request_delete_range.CopyFrom(
        rpc_pb2.DeleteRangeRequest(key=b"c", range_end=b"d", prev_kv=True)
    )
    return request


def looking(_number: int) -> rpc_pb2.TxnRequest:
    """The same compare, and writes on two: shard-1 only looks."""
    request = transfer(_number)
    del request.success[1:]
    request.success.add().request_put.CopyFrom(rpc_pb2.PutRequest(key=b"d1", value=b"%d" % _number))
    return request


def _begun(transaction: Callable[[int], rpc_pb2.TxnRequest]) -> tuple[Cluster, Clients]:
    """Some keys are there, all is quiet, and the transaction has been asked."""
    cluster = Cluster(1)
    clients = Clients(cluster, 1)
    for key in (b"a1", b"b1", b"c1", b"c2", b"c3", b"d1"):
        payload = rpc_pb2.PutRequest(key=key, value=b"x").SerializeToString()
        clients.submit(requests.decode_put(payload), payload)
    cluster.settle(500)
    payload = transaction(len(clients.asked)).SerializeToString()
    clients.across(ROUTER, requests.decode_txn(payload), payload)
    return cluster, clients


def _step(cluster: Cluster, number: int) -> bool:
    """The step of that number: a message, or a turn of each shard. Whether anything was left."""
    if number % 3 == 2:
        for name in SHARDS:
            cluster.turn(name)
    else:
        cluster.network.deliver()
    free = all(shard.owner._writer.free for shard in cluster.shards.values())
    return bool(cluster.network.busy) or not free


def _late(cluster: Cluster) -> None:
    """The router's Alloc arrives when everybody else has long given up."""
    cluster.network.held = ALLOCS
    cluster.settle(6_000)
    cluster.network.held = ("", "")


def _crash_both(cluster: Cluster, name: str) -> None:
    cluster.crash_router(ROUTER)
    cluster.crash_shard(name)


def _cut(cluster: Cluster, name: str) -> None:
    cluster.routers[ROUTER].lines[name].cut()


def _lonely(cluster: Cluster, name: str) -> None:
    """The line breaks, and the shard dies before anybody can tell it more."""
    cluster.routers[ROUTER].lines[name].cut()
    cluster.crash_router(ROUTER)


FAULTS: Final[dict[str, Callable[[Cluster], None]]] = {
    "router": lambda cluster: cluster.crash_router(ROUTER),
    "reign": lambda cluster: cluster.new_reign(),
    "late alloc": _late,
    **{f"crash {name}": partial(Cluster.crash_shard, name=name) for name in SHARDS},
    **{f"crash {name} and router": partial(_crash_both, name=name) for name in SHARDS},
    **{f"cut {name}": partial(_cut, name=name) for name in SHARDS},
    **{f"cut {name}, then router": partial(_lonely, name=name) for name in SHARDS},
}


def sweep(fault: str, transaction: Callable[[int], rpc_pb2.TxnRequest]) -> int:
    """The fault at each step, each time from the start; answers how many steps there are."""
    for stop in count():
        cluster, clients = _begun(transaction)
        more = [_step(cluster, number) for number in range(stop)]
        FAULTS[fault](cluster)
        cluster.settle()
        judge(cluster, clients)
        if stop > 6 and not any(more[-6:]):
            return stop
    raise AssertionError("it never ends")


TRANSACTIONS: Final = (transfer, looking)


@pytest.mark.parametrize("transaction", TRANSACTIONS, ids=["all write", "one looks"])
@pytest.mark.parametrize("fault", FAULTS)
def test_inv06_a_fault_at_every_step(
    fault: str, transaction: Callable[[int], rpc_pb2.TxnRequest]
) -> None:
    assert sweep(fault, transaction) > 30, "the transaction has many steps"
