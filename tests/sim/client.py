"""The clients: what they ask, of which router, and what they were told, with the time of each.

What it is: random puts, compare-and-set, deletes, transactions, ranges, compactions and watches,
all in one record. What it is not: a judge (`checkers.py`, `watch_checks.py`).

Words: a call's *floor* is the newest revision that anybody had been shown when it was made: a
linearizable answer is not older (inv04), a write's revision is higher (inv02).

Invariants: each value is written by one call alone, so a value names its writer; a call ends as
answered, as refused, or as lost with its router.

Worked example: call 12 puts /b/1 = "12" at floor 40 and is answered revision 43: no later call's
floor is below 43.

Tested in tests/sim/test_sim.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from kubebraid.proto.etcd import rpc_pb2
from kubebraid.proto.server import METHOD_BY_PATH, Kind

from .edges import LOST, Edge
from .keepers import Keepers
from .leases import Leases
from .streams import Streams

if TYPE_CHECKING:
    from .world import World

KEYS: Final = (*(b"/%b/%d" % (p, n) for p in (b"a", b"b", b"c") for n in range(3)), b"z")
SPANS: Final = ((b"/a/", b"/a0"), (b"/b/", b"/b0"), (b"/c/", b"/c0"), (b"\x00", b"\x00"))
METHODS: Final = {
    name: METHOD_BY_PATH[f"/etcdserverpb.KV/{name}"]
    for name in ("Range", "Put", "DeleteRange", "Txn", "Compact")
} | {name: METHOD_BY_PATH[f"/etcdserverpb.Lease/{name}"] for name in ("LeaseGrant", "LeaseRevoke")}
ANSWERS: Final[dict[str, Any]] = {
    "Range": rpc_pb2.RangeResponse,
    "Put": rpc_pb2.PutResponse,
    "DeleteRange": rpc_pb2.DeleteRangeResponse,
    "Txn": rpc_pb2.TxnResponse,
    "Compact": rpc_pb2.CompactionResponse,
    "LeaseGrant": rpc_pb2.LeaseGrantResponse,
    "LeaseRevoke": rpc_pb2.LeaseRevokeResponse,
}
WRITES: Final = ("Put", "DeleteRange", "Txn")
CALLS_MAX: Final = 16  # open at once
NOBODY_US: Final = 20_000  # until it is looked again for a router that can be asked


@dataclass(slots=True)
class Call:
    """One call; as Asker it takes its answer."""

    clients: Clients
    number: int
    method: str
    request: Any
    floor: int
    compacted: int
    asked_us: int = 0
    took_us: int = 0
    answer: Any = None
    code: int | None = None  # None: open; 0: answered
    text: str = ""

    def answered(self, payload: bytes) -> None:
        assert self.code is None, "answered once"
        self.code = 0
        self.answer = ANSWERS[self.method].FromString(payload)
        self.clients.ended(self)

    def failed(self, code: int, text: str) -> None:
        assert self.code is None, "answered once"
        self.code, self.text = code, text
        self.clients.ended(self)

    @property
    def definite(self) -> bool:
        """Whether the refusal says that nothing happened."""
        return self.code not in (None, 0, LOST) and "timed out" not in self.text

    def __str__(self) -> str:
        said = self.answer if self.code == 0 else f"{self.code} {self.text}"
        asked = " ".join(str(self.request).split())
        return f"call {self.number} {self.method}({asked}), floor {self.floor}: " + " ".join(
            str(said).split()
        )


@dataclass(slots=True)
class Clients:
    """All of them."""

    world: World
    calls: list[Call] = field(default_factory=list)
    open: int = 0
    newest: int = 1  # the newest revision that anybody was shown
    compacted: int = 0  # the highest floor that was acknowledged
    compacting: int = 0  # ... that was asked for
    _on: bool = False
    _ending: bool = False
    _last: dict[int, Callable[[], Call]] = field(default_factory=dict)  # by number, until answered
    _mods: dict[bytes, int] = field(default_factory=dict)
    streams: Streams = field(init=False)
    leases: Leases = field(init=False)
    keepers: Keepers = field(init=False)

    def __post_init__(self) -> None:
        self.streams = Streams(self.world, self)
        self.leases = Leases(self.world)
        self.keepers = Keepers(self.world, self.leases)

    def begin(self) -> None:
        self._on = True
        self._next()
        if self.world.plan.reshard_gap_us:
            self.keepers.begin()

    def _next(self, patience_us: int = 1) -> None:
        gap = self.world.plan.gap_us
        self.world.after(int(self.world.random.expovariate(1 / gap)) + patience_us, self._act)

    def _act(self) -> None:
        if not self._on:
            return
        edge = self.world.edges.any()
        if edge is None:
            self._next(NOBODY_US)
            return
        if self.world.chance(0.12):
            self.streams.act(edge)
        for _ in range(self.world.random.choice((1, 1, 1, 2, 4))):
            if self.open < CALLS_MAX:
                self._ask(edge)
        self._next()

    # -- what is asked -------------------------------------------------------------------------

    def _ask(self, edge: Edge) -> None:
        if self.world.plan.reshard_gap_us and self.world.chance(0.2):
            self.ask(edge, *self.leases.request(self._value()))
            return
        draw = self.world.random.random()
        kinds: tuple[tuple[float, Callable[[], tuple[str, Any]]], ...] = (
            (0.30, self._put),
            (0.45, self._compare_and_set),
            (0.51, self._delete),
            (0.59, self._txn),
            (0.985, self._range),
            (1.01, self._compact),
        )
        make = next(make for below, make in kinds if draw < below)
        self.ask(edge, *make())

    def ask(self, edge: Edge, method: str, request: Any) -> Call:
        number = len(self.calls) + 1
        compacted = self._compacted_for(edge, method, request)
        call = Call(self, number, method, request, self.newest, compacted, self.world.now)
        self.calls.append(call)
        self.open += 1
        self.world.note("ask", edge.node.name, number)
        edge.call(Kind.CALL, METHODS[method], request.SerializeToString(), call)
        return call

    def _compacted_for(self, edge: Edge, method: str, request: Any) -> int:
        """Below it nothing may be answered: what was acknowledged; of a serializable read without a
        revision what its router has heard: like a member of etcd that lags it may know less."""
        role = edge.node.here
        if method == "Range" and request.serializable and not request.revision and role is not None:
            return min(self.compacted, role.client.compact_revision())
        return self.compacted

    def _value(self) -> bytes:
        return b"%d" % (len(self.calls) + 1)

    def _key(self) -> bytes:
        return self.world.random.choice(KEYS)

    def _put(self) -> tuple[str, Any]:
        prev = self.world.chance(0.3)
        return "Put", rpc_pb2.PutRequest(key=self._key(), value=self._value(), prev_kv=prev)

    def _compare_and_set(self) -> tuple[str, Any]:
        """As kube-apiserver writes: the key as it was last seen, or else read it."""
        key = self._key()
        request = rpc_pb2.TxnRequest()
        known = self._mods.get(key, 0)
        request.compare.add(key=key, target="MOD", result="EQUAL", mod_revision=known)
        if self.world.chance(0.8):
            request.success.add().request_put.key = key
            request.success[0].request_put.value = self._value()
        else:
            request.success.add().request_delete_range.key = key
        request.failure.add().request_range.key = key
        return "Txn", request

    def _delete(self) -> tuple[str, Any]:
        if self.world.chance(0.3):
            start, end = self.world.random.choice(SPANS[:3])
            return "DeleteRange", rpc_pb2.DeleteRangeRequest(key=start, range_end=end, prev_kv=True)
        return "DeleteRange", rpc_pb2.DeleteRangeRequest(key=self._key())

    def _txn(self) -> tuple[str, Any]:
        """Several keys at one revision; over the tablets of one shard or of several."""
        keys = KEYS[6:9] if self.world.chance(0.7) else tuple(self.world.random.sample(KEYS, 3))
        request = rpc_pb2.TxnRequest()
        for key in keys[:2]:
            put = request.success.add().request_put
            put.key, put.value = key, self._value()
        request.success.add().request_delete_range.key = keys[2]
        return "Txn", request

    def _range(self) -> tuple[str, Any]:
        random = self.world.random
        key, end = (self._key(), b"") if random.random() < 0.5 else random.choice(SPANS)
        request = rpc_pb2.RangeRequest(key=key, range_end=end)
        draw = random.random()
        if draw < 0.25:
            request.revision = max(1, self.newest - random.randrange(12) + 2)
        elif draw < 0.35:
            request.serializable = True
        if end and random.random() < 0.3:
            request.limit = random.choice((1, 2, 4))
        if end and random.random() < 0.1:
            request.count_only = True
        return "Range", request

    def _compact(self) -> tuple[str, Any]:
        revision = max(1, self.newest - self.world.random.randrange(15))
        self.compacting = max(self.compacting, revision)
        physical = self.world.chance(0.3)
        return "Compact", rpc_pb2.CompactionRequest(revision=revision, physical=physical)

    # -- what comes back -----------------------------------------------------------------------

    def ended(self, call: Call) -> None:
        self.open -= 1
        call.took_us = self.world.now - call.asked_us
        self.world.note("answer", str(call.number), call.code)
        self.leases.answered(call)
        if call.number in self._last:
            self._ended_last(call)
        if call.code == 0:
            self.shown(call.answer.header.revision)
            if call.method == "Range":
                for kv in call.answer.kvs:
                    self._mods[kv.key] = kv.mod_revision
            elif call.method == "Put":
                self._mods[call.request.key] = call.answer.header.revision
            elif call.method == "Compact":
                self.compacted = max(self.compacted, call.request.revision)

    def shown(self, revision: int) -> None:
        """Somebody has seen a state as of `revision`."""
        self.newest = max(self.newest, revision)

    # -- the end -------------------------------------------------------------------------------

    def finish(self) -> None:
        """No new traffic; a last write of each key and a last range by each router, as soon as
        everybody can be asked again, and until they are answered: a router that stood still while
        all was healed may find its links dead. Watches then have to reach that."""
        self._on = False
        self._ask_last()
        self.streams.finish()

    def _ask_last(self) -> None:
        edges = self.world.edges.all()
        if len(edges) < len(self.world.routers):
            self.world.after(20_000, self._ask_last)
            return
        self._ending = True
        for key in KEYS:
            self._lastly(partial(self._put_last, key))
        for edge in edges:
            everything = rpc_pb2.RangeRequest(key=b"\x00", range_end=b"\x00")
            self._lastly(partial(self.ask, edge, "Range", everything))

    def _lastly(self, ask: Callable[[], Call]) -> None:
        self._last[ask().number] = ask

    def _put_last(self, key: bytes) -> Call:
        edge = self.world.random.choice(self.world.edges.all())
        return self.ask(edge, "Put", rpc_pb2.PutRequest(key=key, value=self._value()))

    def _ended_last(self, call: Call) -> None:
        if call.code == 0:
            del self._last[call.number]
        else:
            self.world.after(NOBODY_US, lambda: self._lastly(self._last.pop(call.number)))

    def revoke(self) -> None:
        """Most of the leases that are left, and nobody keeps one; everything has settled before."""
        self.keepers.finish()
        for request in self.leases.last_requests():
            self.ask(self.world.random.choice(self.world.edges.all()), "LeaseRevoke", request)

    def finished(self) -> bool:
        return (
            self._ending
            and not self._last
            and not self.open
            and self.streams.finished()
            and self.world.spies.settled()
        )

    def unfinished(self) -> str:
        waits = [str(call) for call in self.calls if call.code is None or call.number in self._last]
        litter = self.world.spies.litter()[:5]
        return f"not answered: {waits[:5]}; {self.streams.unfinished()}; not removed: {litter}"
