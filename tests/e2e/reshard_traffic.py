"""Writers below one prefix while its tablets change, and the judge of what became of their writes.

What it is: threads that own keys and remember, for each write, what they were promised; watches
that keep whole events; and the comparison of the two, and of reads. What it is not: resharding
(reshard_ops.py).

Words: a write is *acknowledged* with a revision; one that got an error is *open*: it may have been
done, and may even be done later. A *state* is each key's whole record: its three numbers and value.

Invariants that `judge` holds a watch to:
- every acknowledged write is told exactly once, under its revision and with its value, and nothing
  is told that is neither acknowledged nor open;
- the numbers of each event (created, version) follow from the events of the key before it.

The values are pods in JSON, which kube-apiserver reads as well as its own encoding: one that
watches pods below the same store sees each write as an event of its own.

Worked example: a writer is promised 90 for pods/w1/k0; a watch that tells the key at 91, or at 90
and again at 95 without a write of 95, is refused.

Tested by planted faults in test_cluster_reshard.py.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any, Final, NamedTuple

import grpc

from kubebraid.base.keyspace import prefix_end
from kubebraid.proto.etcd import kv_pb2
from kubebraid.proto.etcd import rpc_pb2 as pb
from tests.e2e.crew import Crew
from tests.e2e.ledger import EVERY_KEY, Ledger, buckets
from tests.e2e.processes import Timeout

PODS: Final = b"/registry/pods/"
WRITERS: Final = 20
KEYS: Final = 8  # of each writer
PACE_S: Final = 0.3  # between two writes of one
DELETES: Final = 6  # one write in so many, if there is something to delete
CALL_S_MAX: Final = 15.0
AGAIN_S: Final = 0.1
SETTLE_S_MAX: Final = 60.0
ANY_LAYOUT: Final = buckets(2, "pods")  # which shard has what is asked of the cluster here
OPTIONS: Final = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1))


class Record(NamedTuple):
    """A key's record, as a read or an event has it."""

    created: int
    modified: int
    version: int
    value: bytes


State = dict[bytes, Record]


def record(kv: kv_pb2.KeyValue) -> Record:
    return Record(kv.create_revision, kv.mod_revision, kv.version, kv.value)


class Write(NamedTuple):
    """One attempt. revision 0: none was told; value None: a delete; began, took: seconds."""

    key: bytes
    value: bytes | None
    revision: int
    began_s: float
    took_s: float


class Router:
    """One router, by plain calls that are sent once."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._channel = grpc.insecure_channel(endpoint.removeprefix("http://"), options=OPTIONS)
        self._txn = self._method("Txn", pb.TxnRequest, pb.TxnResponse)
        self._range = self._method("Range", pb.RangeRequest, pb.RangeResponse)

    def _method(self, name: str, request: Any, answer: Any) -> Any:
        return self._channel.unary_unary(
            f"/etcdserverpb.KV/{name}",
            request_serializer=request.SerializeToString,
            response_deserializer=answer.FromString,
        )

    def txn(self, request: pb.TxnRequest) -> pb.TxnResponse:
        """Raises grpc.RpcError."""
        answer: pb.TxnResponse = self._txn(request, timeout=CALL_S_MAX)
        return answer

    def put(self, key: bytes, value: bytes) -> int:
        """Its revision. Raises grpc.RpcError."""
        request = pb.TxnRequest()
        written = request.success.add().request_put
        written.key, written.value = key, value
        return int(self.txn(request).header.revision)

    def range(self, key: bytes, end: bytes = b"", revision: int = 0) -> pb.RangeResponse:
        """A linearizable read. Raises grpc.RpcError."""
        request = pb.RangeRequest(key=key, range_end=end, revision=revision)
        answer: pb.RangeResponse = self._range(request, timeout=CALL_S_MAX)
        return answer

    def state(self, prefix: bytes, revision: int = 0) -> State:
        """Of all keys below it. Raises grpc.RpcError."""
        answer = self.range(*below(prefix), revision)
        return {kv.key: record(kv) for kv in answer.kvs}

    def close(self) -> None:
        self._channel.close()


def again(what: str, call: Callable[[], Any], seconds: float = SETTLE_S_MAX) -> Any:
    """Until it is answered. Raises Timeout."""
    end = time.monotonic() + seconds
    while True:
        try:
            return call()
        except grpc.RpcError as error:
            if time.monotonic() > end:
                raise Timeout(f"{what} failed for {seconds:g} s: {error}") from error
            time.sleep(AGAIN_S)


@dataclass
class Slot:
    """One key and its newest known write; modified 0: it is not there."""

    key: bytes
    modified: int = 0
    open: list[Write] = field(default_factory=list)


class Writer:
    """Keys of its own, written in turn by transactions that compare, over all routers in turn."""

    def __init__(self, routers: Sequence[Router], folder: bytes, pace_s: float = PACE_S) -> None:
        self._routers = routers
        self._pace_s = pace_s
        self.folder = folder
        self.slots = [Slot(b"%s/%s-k%d" % (folder, _last(folder), at)) for at in range(KEYS)]
        self.acknowledged: list[Write] = []
        self.errors: list[str] = []  # answers that were none
        self.wrong: list[str] = []  # what must never be
        self.count = 0  # of attempts

    @property
    def done(self) -> int:
        """How many writes were acknowledged."""
        return len(self.acknowledged)

    def run(self, stop: threading.Event) -> None:
        """Until told to stop, or something was wrong."""
        while not stop.wait(self._pace_s) and not self.wrong:
            self._step(self.slots[self.count % KEYS], self._routers[self.count % 2])
            self.count += 1

    def _step(self, slot: Slot, router: Router) -> None:
        delete = slot.modified and self.count % DELETES == DELETES - 1
        value = None if delete else self._pod(slot.key)
        began = time.monotonic()
        try:
            answer = router.txn(_request(slot, value))
        except grpc.RpcError as error:
            took = time.monotonic() - began
            self.errors.append(f"{router.endpoint} after {took:.3f} s: {_told(error)}")
            slot.open.append(Write(slot.key, value, 0, began, took))
            again(f"a read of {slot.key!r}", lambda: self._look(slot, router))
            return
        if not answer.succeeded:
            self._found(slot, answer.responses[0].response_range)
            return
        revision = answer.header.revision
        took = time.monotonic() - began
        self.acknowledged.append(Write(slot.key, value, revision, began, took))
        slot.modified = 0 if value is None else revision

    def _look(self, slot: Slot, router: Router) -> None:
        found = router.range(slot.key)
        if (found.kvs[0].mod_revision if found.kvs else 0) != slot.modified:
            self._found(slot, found)

    def _found(self, slot: Slot, found: pb.RangeResponse) -> None:
        """The key is not as this, its only writer, knew it: then an open write was done."""
        value = found.kvs[0].value if found.kvs else None
        if all(value != write.value for write in slot.open):
            told = f"{slot.key!r} was at {slot.modified}, and is {found}"
            self.wrong.append(f"{told}; open: {slot.open}")
            return
        slot.modified = found.kvs[0].mod_revision if found.kvs else 0

    def _pod(self, key: bytes) -> bytes:
        name, namespace = _last(key).decode(), _last(self.folder).decode()
        metadata = {"name": name, "namespace": namespace, "annotations": {"n": str(self.count)}}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": []}}
        return json.dumps(pod).encode()


def name_of(write: Write) -> str:
    """Of the pod that it is about."""
    return _last(write.key).decode()


def _last(key: bytes) -> bytes:
    return key.rpartition(b"/")[2]


def _told(error: grpc.RpcError) -> str:
    return f"{error.code().name}: {error.details()}"


def _request(slot: Slot, value: bytes | None) -> pb.TxnRequest:
    request = pb.TxnRequest()
    compare = request.compare.add(key=slot.key, target=pb.Compare.MOD)
    compare.mod_revision = slot.modified
    done = request.success.add()
    if value is None:
        done.request_delete_range.key = slot.key
    else:
        done.request_put.key, done.request_put.value = slot.key, value
    request.failure.add().request_range.key = slot.key
    return request


class Traffic(Crew[Writer]):
    """The writers, below one prefix."""

    def __init__(
        self,
        endpoints: Sequence[str],
        name: str,
        writers: int = WRITERS,
        above: bytes = PODS,
        pace_s: float = PACE_S,
    ) -> None:
        self.routers = [Router(endpoint) for endpoint in endpoints]
        self.prefix = above + name.encode()
        folders = (b"%s-%02d" % (self.prefix, number) for number in range(writers))
        super().__init__([Writer(self.routers, folder, pace_s) for folder in folders])

    def check_calm(self) -> None:
        """Nothing was wrong so far, and no client was told an error."""
        self.check()
        errors = self.errors()
        assert not errors, errors

    def errors(self) -> list[str]:
        return [text for writer in self.writers for text in writer.errors]

    def acknowledged(self) -> list[Write]:
        """A copy, in the order of revisions."""
        found = (write for writer in self.writers for write in tuple(writer.acknowledged))
        return sorted(found, key=lambda write: write.revision)

    def open(self) -> list[Write]:
        slots = (slot for writer in self.writers for slot in writer.slots)
        return [write for slot in slots for write in slot.open]

    def inside(self, holds: Callable[[str], bool]) -> list[str]:
        """The writers' keys of which this is so."""
        keys = (slot.key.decode() for writer in self.writers for slot in writer.slots)
        return sorted(key for key in keys if holds(key))

    def longest_s(self, since_s: float) -> float:
        """Of the acknowledged writes that began since then."""
        return max((w.took_s for w in self.acknowledged() if w.began_s >= since_s), default=0.0)

    def longest_pause_s(self, since_s: float) -> float:
        """From one acknowledged write of a writer to its next, with all errors between them."""
        longest_s = 0.0
        for writer in self.writers:
            ends = [write.began_s + write.took_s for write in tuple(writer.acknowledged)]
            gaps = (end - before for before, end in pairwise(ends) if end >= since_s)
            longest_s = max(longest_s, *gaps, 0.0)
        return longest_s

    def close(self) -> None:
        for router in self.routers:
            router.close()


class Watched(Ledger):
    """A watch that keeps whole events."""

    def __init__(self, endpoints: Sequence[str], span: tuple[bytes, bytes] = EVERY_KEY) -> None:
        super().__init__(endpoints, ANY_LAYOUT, span)
        self.events: list[kv_pb2.Event] = []

    def take(self, answer: pb.WatchResponse) -> None:
        super().take(answer)
        self.events += answer.events

    def within(self, prefix: bytes) -> list[kv_pb2.Event]:
        """What was told of the keys below it."""
        return [event for event in self.events if event.kv.key.startswith(prefix)]


def below(prefix: bytes) -> tuple[bytes, bytes]:
    """A watch's key and end, or a range's."""
    end = prefix_end(prefix)
    assert end is not None, prefix
    return prefix, end


def judge(
    events: Iterable[kv_pb2.Event], acknowledged: Iterable[Write], open_: Iterable[Write] = ()
) -> State:
    """Fail unless the events are what was written, once each; the state that they end in."""
    promised = {(write.revision, write.key): write.value for write in acknowledged}
    possible = {(write.key, write.value) for write in open_}
    told: dict[tuple[int, bytes], bytes | None] = {}
    state: State = {}
    for event in events:
        key, at = event.kv.key, (event.kv.mod_revision, event.kv.key)
        value = None if event.type == kv_pb2.Event.DELETE else event.kv.value
        assert at not in told, f"{at} was told twice"
        told[at] = value
        if at in promised:
            assert promised[at] == value, f"{at} was told with {value!r}, not {promised[at]!r}"
        else:
            assert (key, value) in possible, f"{at} was told, and nobody wrote it: {value!r}"
        _apply(state, event)
    lost = sorted(promised.keys() - told.keys())
    assert not lost, f"never told: {lost[:5]}, {len(lost)} in all"
    return state


def _apply(state: State, event: kv_pb2.Event) -> None:
    kv = event.kv
    before = state.get(kv.key)
    if event.type == kv_pb2.Event.DELETE:
        assert before is not None, f"{kv.key!r} was deleted at {kv.mod_revision}, and was not there"
        del state[kv.key]
        return
    created = kv.mod_revision if before is None else before.created
    wanted = Record(created, kv.mod_revision, 1 if before is None else before.version + 1, kv.value)
    assert record(kv) == wanted, f"{record(kv)} was told behind {before}"
    state[kv.key] = wanted


def state_at(events: Iterable[kv_pb2.Event], revision: int) -> State:
    """What the events up to a revision make."""
    state: State = {}
    for event in events:
        if event.kv.mod_revision <= revision:
            _apply(state, event)
    return state


def settled(traffic: Traffic, watches: Sequence[Watched]) -> list[kv_pb2.Event]:
    """Behind all writes: each watch told the same, and it is what both routers hold."""
    acknowledged, open_ = traffic.acknowledged(), traffic.open()
    revision = max(router.range(b"no-such-key").header.revision for router in traffic.routers)
    for watch in watches:
        watch.catch_up(revision)
    histories = [watch.within(traffic.prefix) for watch in watches]
    for events in histories:
        state = judge(events, acknowledged, open_)
        assert events == histories[0], "two watches tell apart"
        for router in traffic.routers:
            equal(router.state(traffic.prefix), state, router.endpoint)
    return histories[0]


def equal(found: Mapping[bytes, Record], wanted: Mapping[bytes, Record], where: str) -> None:
    """Fail with the first keys that differ."""
    wrong = [key for key in {*found, *wanted} if found.get(key) != wanted.get(key)]
    pairs = [(key, found.get(key), wanted.get(key)) for key in sorted(wrong)[:3]]
    assert not wrong, f"{where}: {len(wrong)} keys differ (key, found, wanted): {pairs}"


@dataclass
class Snapshots:
    """Reads of the past, made while tablets change; judged when all events are known."""

    traffic: Traffic
    taken: list[tuple[str, int, State]] = field(default_factory=list)
    compacted: int = 0

    def take(self, revision: int) -> None:
        """Over each router, each of which tells the same."""
        read = map(partial(self._read, revision), self.traffic.routers)
        told = [state for state in read if state is not None]
        for state in told:
            equal(state, told[0], f"another router at {revision}")

    def _read(self, revision: int, router: Router) -> State | None:
        try:
            state = router.state(self.traffic.prefix, revision)
        except grpc.RpcError as error:
            if "required revision has been compacted" not in str(error.details()):
                raise
            self.compacted += 1
            return None
        self.taken.append((router.endpoint, revision, state))
        return state

    def judge(self, events: list[kv_pb2.Event]) -> None:
        """Each is what the events up to its revision make."""
        for endpoint, revision, state in self.taken:
            equal(state, state_at(events, revision), f"{endpoint} at {revision}")
        print(f"{len(self.taken)} reads of the past, {self.compacted} below the floor")
        assert len(self.taken) > self.compacted
