"""A lock whose transaction nobody knows: of a process that died while it locked its rows, with the
secondary rows locked and the primary not. It delays whoever meets it, no longer than locks last.

The lock is planted by TiKV's own call: no client can be killed in the right moment.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import grpc
import pytest

from kubebraid.cli.tikv_borders import encoded
from kubebraid.shard.storage.engine import Batch
from kubebraid.shard.storage.tikv import WRITE_S, TikvEngine
from tests.e2e.processes import wait_for

if TYPE_CHECKING:
    from tests.tikv.cluster import Cluster

pytestmark = pytest.mark.tikv

LOCK_MS: Final = 3_000
SHORTEST_S: Final = 1.5  # a wait that shows that there was a lock
CALL: Final = "/tikvpb.Tikv/KvPrewrite"
CALL_S: Final = 5.0


def message(**fields: int | bytes) -> bytes:
    """In protobuf's format, of fields that are named by their numbers: f1, f2, ..."""
    out = b""
    for name, value in fields.items():
        number = int(name[1:])
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            out += varint(number << 3 | 2) + varint(len(value)) + value
    return out


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes((value & 0x7F | 0x80,))
        value >>= 7
    return out + bytes((value,))


def region_of(cluster: Cluster, key: bytes) -> dict[str, Any]:
    name = encoded(key).hex().upper()
    found = [region for region in cluster.regions() if region["start_key"] <= name]
    return max(found, key=lambda region: str(region["start_key"]))


def planted(cluster: Cluster, engine: TikvEngine, key: bytes) -> None:
    """A lock of a transaction that begins now, whose primary is a row that nobody writes."""
    at = engine._link.call(lambda client: client.current_timestamp(), "ask", CALL_S)
    stored = engine._space.stored(key)
    region = region_of(cluster, stored)
    epoch, leader = region["epoch"], region["leader"]
    context = message(
        f1=region["id"],
        f2=message(f1=epoch["conf_ver"], f2=epoch["version"]),
        f3=message(f1=leader["id"], f2=leader["store_id"]),
    )
    put = message(f2=stored, f3=b"never")
    asked = message(f1=context, f2=put, f3=stored + b"primary", f4=at, f5=LOCK_MS)
    with grpc.insecure_channel(f"127.0.0.1:{cluster.store_ports[0]}") as channel:
        prewrite: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(CALL)
        # An error in the answer is the lock of the row's last commit, which ends behind its answer.
        wait_for("the lock", lambda: prewrite(asked, timeout=CALL_S) == b"", CALL_S)


@pytest.fixture
def engine(tikv_cluster: Cluster) -> Iterator[TikvEngine]:
    name = secrets.token_bytes(8)
    with closing(TikvEngine.open([tikv_cluster.pd_address], name, create=True)) as opened:
        opened.write(Batch().put(b"a", b"1").put(b"z", b"1"), sync=True)
        yield opened


def test_write_over_such_a_lock_waits_for_its_end_and_is_done(
    engine: TikvEngine, tikv_cluster: Cluster
) -> None:
    planted(tikv_cluster, engine, b"z")
    began = monotonic()
    engine.write(Batch().put(b"a", b"2").put(b"z", b"2"), sync=True)
    assert SHORTEST_S < monotonic() - began < WRITE_S
    assert engine.scan(b"", b"\xff", 9) == [(b"a", b"2"), (b"z", b"2")]


@pytest.mark.parametrize("way", ["get", "scan", "keys", "expect"])
def test_read_of_such_a_row_waits_for_its_end_and_finds_what_was_there_before(
    engine: TikvEngine, tikv_cluster: Cluster, way: str
) -> None:
    planted(tikv_cluster, engine, b"z")
    engine.write(Batch().put(b"a", b"2"), sync=True)  # so that what is read is behind the lock
    began = monotonic()
    if way == "get":
        assert engine.get(b"z") == b"1"
    elif way == "scan":
        assert engine.scan(b"", b"\xff", 9) == [(b"a", b"2"), (b"z", b"1")]
    elif way == "keys":
        assert engine.keys(b"", b"\xff", 9) == [b"a", b"z"]
    else:
        engine.expect([b"a", b"z"])
        assert engine.get(b"z") == b"1"
    assert SHORTEST_S < monotonic() - began < WRITE_S
