"""Bounds that a client meets: how often it may ping, how large a write may be, how wide a delete.

The clients that ping run on stores of their own from the first test on, so that their time passes
beside the others'; the last test says what came of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import grpc
import pytest

from kubebraid.cli.layouts import read_layout
from kubebraid.cli.node import SHARD
from kubebraid.proto.etcd import rpc_pb2
from tests.e2e.grpcclient import Rpc, WatchStream
from tests.e2e.processes import Peers, Supervisor, wait_for
from tests.e2e.store import UNDER_TEST, Kind, Store
from tests.e2e.tap import Tap
from tests.e2e.twin import Twin

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("pinging")]

PING_S: Final = 5
PINGED_S: Final = 17.0  # three pings and some room
PINGS_WANTED: Final = 3
PING_OPTIONS: Final = (
    ("grpc.keepalive_time_ms", PING_S * 1000),
    ("grpc.keepalive_timeout_ms", 2000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)
NO_ERROR: Final = 0  # of HTTP/2's GOAWAY; too many pings is ENHANCE_YOUR_CALM, 11

REQUEST_BYTES_MAX: Final = 1536 * 1024
ROOM_BYTES: Final = 512  # etcd counts its own envelope of a request, whose size varies a little
TXN_OPS_MAX: Final = 128
TOO_LARGE: Final = "Error: etcdserver: request is too large"
TOO_MANY: Final = "Error: etcdserver: too many operations in txn request"
WIDE_KEYS: Final = 20_000
EVERYTHING: Final = b"\x00"  # as a key the first one, as an end no end


@dataclass
class Pinging:
    """One store, a client without calls and one with an idle watch, each behind a tap."""

    store: Store
    idle: Rpc
    watching: Rpc
    stream: WatchStream
    taps: tuple[Tap, Tap]
    began: float


@pytest.fixture(scope="module")
def pinging(
    peers: Peers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Kind, Pinging]]:
    """Clients that ping, on each kind of store."""
    with ExitStack() as stack:
        supervisor = stack.enter_context(Supervisor(tmp_path_factory.mktemp("pinging")))
        clients = {}
        for kind in UNDER_TEST:
            store = Store(supervisor, peers, kind, f"pinged-{kind.value}")
            store.start()
            taps = (stack.enter_context(Tap(store.port)), stack.enter_context(Tap(store.port)))
            idle, watching = (stack.enter_context(Rpc(tap.port, PING_OPTIONS)) for tap in taps)
            grpc.channel_ready_future(idle.channel).result(10)
            stream = WatchStream(watching)
            stack.callback(stream.close)
            stream.create(b"pinged")
            clients[kind] = Pinging(store, idle, watching, stream, taps, time.monotonic())
        yield clients


# ----------------------------------------------------------------------------------------- requests


def test_a_request_of_a_mebibyte_and_a_half_is_the_largest(twin: Twin) -> None:
    twin.ok("put", "size/fits", stdin="x" * (REQUEST_BYTES_MAX - ROOM_BYTES))
    assert twin.fails("put", "size/over", stdin="x" * REQUEST_BYTES_MAX) == TOO_LARGE
    assert twin.keys("size/", "--prefix", "--keys-only") == ["size/fits"]


def test_a_transaction_is_measured_as_a_whole(twin: Twin) -> None:
    """Large values cannot be given as words, so the sum is of many small ones."""
    value = "x" * (REQUEST_BYTES_MAX // TXN_OPS_MAX)
    puts = "".join(f"put sum/{number:03} {value}\n" for number in range(TXN_OPS_MAX))
    assert twin.fails("txn", stdin=f"\n{puts}\n\n") == TOO_LARGE
    assert twin.keys("sum/", "--prefix", "--keys-only") == []
    fits = puts.replace(value, value[:-100])
    twin.ok("txn", stdin=f"\n{fits}\n\n")
    assert len(twin.keys("sum/", "--prefix", "--keys-only")) == TXN_OPS_MAX


def test_each_branch_of_a_transaction_has_its_own_count(twin: Twin) -> None:
    full = "".join(f"get ops/{number}\n" for number in range(TXN_OPS_MAX))
    compares = "".join(f'ver("ops/{number}") = "0"\n' for number in range(TXN_OPS_MAX))
    twin.ok("txn", stdin=f"{compares}\n{full}\n{full}\n")
    assert twin.fails("txn", stdin=f"\n{full}get ops/more\n\n\n") == TOO_MANY
    assert twin.fails("txn", stdin=f"\n\n{full}get ops/more\n\n") == TOO_MANY
    over = f'{compares}ver("ops/more") = "0"\n'
    assert twin.fails("txn", stdin=f"{over}\n\n\n") == TOO_MANY


def test_a_message_beyond_what_a_server_receives_is_refused_by_grpc(twin: Twin) -> None:
    """Above the limit of requests there is one of messages, which never reach the store."""
    done = twin.both(*("put", "message/a", "--max-request-bytes=16777216"), stdin="x" * (4 << 20))
    assert done.code == 1
    assert twin.keys("message/", "--prefix", "--keys-only") == []


# ------------------------------------------------------------------------------------- wide deletes


def spread() -> list[bytes]:
    """Keys over all tablets of the layout that a new store has."""
    tablets = read_layout("kubernetes", SHARD)
    starts = [tablet.span.start for tablet in tablets.tablets]
    keys = [b"%s/k%05d" % (starts[number % len(starts)], number) for number in range(WIDE_KEYS)]
    owners = {tablets.tablet_of(key).id for key in keys}
    assert len(owners) == len(tablets.tablets) > 40
    return keys


def test_a_delete_of_everything_is_one_revision_for_every_watch(
    supervisor: Supervisor, peers: Peers, kind: Kind
) -> None:
    store = Store(supervisor, peers, kind, "wide")
    store.start()
    keys = spread()
    with Rpc(store.port) as rpc:
        written = 0
        for start in range(0, len(keys), TXN_OPS_MAX):
            written = rpc.put_all([(key, b"x") for key in keys[start : start + TXN_OPS_MAX]])
        live = WatchStream(rpc)
        live.create(EVERYTHING, EVERYTHING)
        began = time.monotonic()
        request = rpc_pb2.DeleteRangeRequest(key=EVERYTHING, range_end=EVERYTHING)
        deleted = rpc.call("KV/DeleteRange", request, rpc_pb2.DeleteRangeResponse)
        took = time.monotonic() - began
        assert deleted.deleted == WIDE_KEYS
        assert deleted.header.revision == written + 1
        late = WatchStream(rpc)
        late.create(EVERYTHING, EVERYTHING, start=written + 1, prev_kv=True)
        for stream, previous in ((live, False), (late, True)):
            events = [*stream.next().events]
            while len(events) < WIDE_KEYS:
                events += stream.next().events
            assert {event.kv.mod_revision for event in events} == {written + 1}
            assert sorted(event.kv.key for event in events) == sorted(keys)
            assert {event.type for event in events} == {event.DELETE for event in events}
            assert {event.HasField("prev_kv") for event in events} == {previous}
            stream.close()
        left = rpc.call(
            "KV/Range",
            rpc_pb2.RangeRequest(key=EVERYTHING, range_end=EVERYTHING, count_only=True),
            rpc_pb2.RangeResponse,
        )
        assert left.count == 0
        assert rpc.put(b"next", b"x") == written + 2
    print(f"{kind.value}: {WIDE_KEYS} keys deleted at one revision in {took:.2f} s")


# -------------------------------------------------------------------------------------------- pings


def test_clients_that_ping_every_five_seconds_are_not_sent_away(
    pinging: dict[Kind, Pinging], kind: Kind
) -> None:
    """gRPC servers drop who pings more often than they like; kube-apiserver pings while idle."""
    client = pinging[kind]
    wait_for("the pings", lambda: time.monotonic() - client.began > PINGED_S, PINGED_S + 1)
    pings = [tap.pings for tap in client.taps]
    print(f"{kind.value}: {pings} pings in {time.monotonic() - client.began:.0f} s")
    assert min(pings) >= PINGS_WANTED
    assert [tap.connections for tap in client.taps] == [1, 1]
    assert [tap.reasons for tap in client.taps] == [{}, {}]
    # Both connections are as good as new.
    revision = client.idle.put(b"pinged", b"x")
    (event,) = client.stream.next().events
    assert event.kv.mod_revision == revision
    # A server that stops says so by the frame that was not there before: the taps do see it.
    client.store.process.terminate()
    wait_for("a last word", lambda: all(tap.reasons for tap in client.taps), 10)
    assert {reason for tap in client.taps for reason in tap.reasons} == {NO_ERROR}
