"""Random sequences of well-typed etcd requests, each a pure function of its seed.

What it is: the generator of the differential fuzz. What it is not: a client, or a judge of answers:
`fuzz_run` sends a sequence to etcd and to KubeBraid, `fuzz_compare` tells what differs.

Words: a sequence is a tuple of the steps of `case`: Call, CallStream and, for a watch, Send. A
*stand-in* is a number that each server replaces by its own: NOW + d is the newest revision that it
has shown plus d, FLOOR + d the compacted one plus d, `lease("s0")` the id that it has granted under
that name.

Invariants:
- a sequence without some of its steps is a sequence, which is what makes shrinking simple;
- no lease is short enough to expire, and no sort by a field that rows share sees more rows than
  fuzz_keys.SORTED_ROWS_MAX;
- nothing is sent that ends etcd's process (`_harmless`).

Worked example: `sequence(7, 400)` begins with the same requests as `sequence(7, 100)`.
Tested in test_fuzz_parts.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Final, TypeAlias

from kubebraid.base.keyspace import prefix_end
from kubebraid.proto.etcd import rpc_pb2 as pb
from tests.robustness.compare import METHODS
from tests.robustness.model import Request
from tests.robustness.traffic import Span, Traffic

from .case import LEASES, SPAN, Call, CallStream, Message, Send, lease, op
from .fuzz_keys import KEY_SETS

Step: TypeAlias = Call | CallStream | Send

NOW: Final = 1 << 56
FLOOR: Final = 1 << 57
HUGE: Final = (1 << 63) - 1
OPS_MAX: Final = 128  # etcd --max-txn-ops
REQUEST_BYTES_MAX: Final = 1536 * 1024  # etcd --max-request-bytes
BACK_MAX: Final = 30  # revisions that a stand-in lies behind its origin, at most
TTLS: Final = (1_000, 50_000, 100_000, 9_000_000_000, 9_000_000_001)  # far apart, the last too long
OWN_LEASES: Final = (7, 8, 9, -1)
SLOTS: Final = ("s0", "s1")  # leases whose ids the server chooses
STREAMS: Final = ("s", "t", "u")
VALUES: Final = (b"", b"v", b"w", b"x" * 99, b"y" * 2_000)
BULK_BYTES: Final = 1_400_000  # twice that, as with the versions before, needs fragments
LARGE: Final = (b"L" * 70_000, b"H" * 600_000)

# The stand-ins lie far apart, and far from every number that is meant as it is.
assert 2 * SPAN < NOW
assert NOW + SPAN < FLOOR - SPAN


class Requests(Traffic):
    """The robustness suite's traffic, with every option and other keys and numbers."""

    def __init__(self, seed: int) -> None:
        super().__init__(Random(seed), TTLS)
        self._keys = KEY_SETS[seed % len(KEY_SETS)]

    def key(self) -> bytes:
        if self.chance(1):
            return b""
        if self._keys.crowd and self.chance(50):
            return self.pick(self._keys.crowd)
        return self.pick(self._keys.hot)

    def span(self) -> Span:
        """Every form that (key, range_end) can have."""
        match self.pick(("prefix", "between", "key", "on", "all", "prefix", "equal", "key")):
            case "prefix":
                prefix = self.pick(self._keys.prefixes)
                return prefix, prefix_end(prefix) or b"\x00"
            case "between":  # inverted half the time
                return self.key(), self.key()
            case "on":
                return self.key(), b"\x00"
            case "all":
                return b"\x00", b"\x00"
            case "equal":
                key = self.key()
                return key, key
            case _:
                return self.key(), b""

    def revision(self, now: int, floor: int) -> int:
        if self.chance(50):
            return 0
        near = (now, now - 1, now - 2, now - 5, now - 15, floor, floor + 1, floor + 3)
        far = (now - self._random.randrange(BACK_MAX), floor - 1, now + 1, now + 9, -1, 1, HUGE)
        return self.pick((*near, *near, *far, -HUGE - 1))

    def value(self) -> bytes:
        return self.pick(LARGE) if self.chance(1) and self.chance(40) else self.pick(VALUES)

    def lease_id(self) -> int:
        return self.pick((*OWN_LEASES, lease("s0"), lease("s1"), 7, 7, 404, -404, 0))

    def put(self) -> pb.PutRequest:
        """One that is not refused, for the most part."""
        request = pb.PutRequest(key=self.key(), value=self.value(), prev_kv=self.chance(30))
        if self.chance(20):
            request.lease = self.lease_id()
        if self.chance(10):
            request.ignore_value = True
            request.value = b"v" if self.chance(10) else b""
        if self.chance(10):
            request.ignore_lease = True
            request.lease = 7 if self.chance(10) else 0
        return request

    def delete(self) -> pb.DeleteRangeRequest:
        key, range_end = self.span() if self.chance(30) else (self.key(), b"")
        return pb.DeleteRangeRequest(key=key, range_end=range_end, prev_kv=self.chance(40))

    def range(self, now: int, floor: int) -> pb.RangeRequest:
        key, range_end = self.span()
        request = pb.RangeRequest(
            key=key,
            range_end=range_end,
            revision=self.revision(now, floor),
            limit=self.pick((0, 0, 0, 1, 2, 3, 5, 9, 10, 11, 70, -1, HUGE)),
            serializable=self.chance(15),
            keys_only=self.chance(15),
            count_only=self.chance(12),
        )
        if self.chance(25):
            self._sort(request)
        if self.chance(20):
            self._filter(request, now)
        return request

    def _sort(self, request: pb.RangeRequest) -> None:
        targets = (0,) if self._keys.crowd else (0, 1, 2, 3, 4)
        request.sort_order = self.pick((0, 1, 2))  # type: ignore[assignment]  # an open enum
        request.sort_target = self.pick(targets)  # type: ignore[assignment]
        request.keys_only = self.chance(40)  # which field is sorted by decides what it shows

    def _filter(self, request: pb.RangeRequest, now: int) -> None:
        bounds = (0, 0, now, now - 1, now - 3, now - 8, 1, -1, HUGE)
        request.min_mod_revision = self.pick(bounds)
        request.max_mod_revision = self.pick(bounds)
        request.min_create_revision = self.pick(bounds)
        request.max_create_revision = self.pick(bounds)

    def compare(self, now: int) -> pb.Compare:
        compare = super().compare(now)
        if compare.WhichOneof("target_union") == "lease" and self.chance(50):
            compare.lease = self.lease_id()
            if compare.lease >= LEASES:  # servers choose other ids, so no order is right
                compare.result = pb.Compare.EQUAL
        elif self.chance(2):
            compare.result = self.pick((9, -1))  # type: ignore[assignment]  # an open enum
        if self.chance(2):
            compare.target = self.pick((9, -1))  # type: ignore[assignment]
        return compare

    def txn(self, now: int, floor: int, depth: int = 0) -> pb.TxnRequest:
        request = super().txn(now, floor, depth)
        if depth == 0:
            _harmless(request)
        return request

    def twice(self) -> pb.TxnRequest:
        """One revision that deletes keys and puts some again, or the other way round."""
        key = self.key()
        gone = pb.DeleteRangeRequest(key=key, range_end=b"\x00", prev_kv=self.chance(30))
        back = pb.PutRequest(key=key, value=self.pick(VALUES), prev_kv=self.chance(30))
        changes: list[Message] = [gone, back] if self.chance(60) else [back, gone]
        if self.chance(50):  # etcd takes both orders, too, of a nested deletion
            gone.range_end = b""
            changes = [pb.TxnRequest(success=[op(each)]) for each in changes]
        more = [pb.RangeRequest(key=key), pb.RangeRequest(key=b"\x00", range_end=b"\x00")]
        return pb.TxnRequest(success=[op(each) for each in (*changes, *more[: self.pick((0, 2))])])

    def bulk(self) -> pb.TxnRequest:
        """Many puts at one revision."""
        keys = sorted({*self._keys.hot, *self._keys.crowd})
        keys = keys[self._random.randrange(len(keys)) :][:OPS_MAX]
        heavy = b"B" * (BULK_BYTES // len(keys))
        value = heavy if self.chance(20) else self.pick(VALUES)
        return pb.TxnRequest(success=[op(pb.PutRequest(key=key, value=value)) for key in keys])


class Fuzz(Requests):
    """Steps, of which some are malformed."""

    def step(self) -> Step:
        """The next step, whatever came before."""
        kinds = (
            *(
                ["kv"] * 56
                + ["twice"] * 2
                + ["stream"] * 6
                + ["lease"] * 9
                + ["watch"] * 9
                + ["odd"] * 6
            ),
            *(["compact"] * 2 + ["hash"] * 2 + ["bulk"] * (5 if self._keys.crowd else 1)),
        )
        match self.pick(kinds):
            case "stream":
                return CallStream("KV.RangeStream", self._stream(), merge=True)
            case "lease":
                return self._lease()
            case "watch":
                return self._watch()
            case "odd":
                return self._call(self._odd())
            case "compact":
                return self._call(self.compaction(NOW, FLOOR))
            case "hash":
                revision = self.revision(NOW, FLOOR)
                return Call("Maintenance.HashKV", pb.HashKVRequest(revision=revision))
            case "bulk":
                return self._call(self.bulk())
            case "twice":
                return self._call(self.twice())
            case _:
                return self._call(self._kv())

    def _kv(self) -> Request:
        match self.pick(("put", "range", "txn", "put", "txn", "range", "put", "delete")):
            case "put":
                return self.put()
            case "range":
                return self.range(NOW, FLOOR)
            case "txn":
                return self.txn(NOW, FLOOR)
            case _:
                return self.delete()

    def compaction(self, now: int, floor: int) -> pb.CompactionRequest:
        revisions = (now - 4, now - 9, now - 1, now, floor + 1, floor, floor - 1, now + 1)
        return pb.CompactionRequest(
            revision=self.pick((*revisions, *revisions, 0, -1, HUGE)), physical=self.chance(30)
        )

    def _stream(self) -> pb.RangeRequest:
        """A range that is mostly neither sorted nor filtered: those are refused."""
        request = self.range(NOW, FLOOR)
        if self.chance(70):
            request.sort_order, request.sort_target = 0, 0  # type: ignore[assignment]
            request.min_mod_revision = request.max_mod_revision = 0
            request.min_create_revision = request.max_create_revision = 0
        return request

    def _lease(self) -> Call:
        match self.pick(("grant", "ttl", "grant", "revoke", "ttl", "list", "alive", "slot")):
            case "grant":
                request = pb.LeaseGrantRequest(ID=self.pick(OWN_LEASES), TTL=self.pick(TTLS))
                return Call("Lease.LeaseGrant", request)
            case "slot":
                request = pb.LeaseGrantRequest(TTL=self.pick(TTLS))
                return Call("Lease.LeaseGrant", request, save=self.pick(SLOTS))
            case "revoke":
                return Call("Lease.LeaseRevoke", pb.LeaseRevokeRequest(ID=self.lease_id()))
            case "alive":
                return Call("Lease.LeaseKeepAlive", pb.LeaseKeepAliveRequest(ID=self.lease_id()))
            case "list":
                return Call("Lease.LeaseLeases", pb.LeaseLeasesRequest())
            case _:
                asked = pb.LeaseTimeToLiveRequest(ID=self.lease_id(), keys=self.chance(60))
                return Call("Lease.LeaseTimeToLive", asked)

    # -- watches -------------------------------------------------------------------------------

    def _watch(self) -> Send:
        stream = self.pick(STREAMS)
        request = pb.WatchRequest()
        match self.pick(("create", "create", "cancel", "create", "progress")):
            case "create":
                request.create_request.CopyFrom(self._create())
            case "cancel":
                request.cancel_request.watch_id = self.pick((0, 1, 2, 3, 5, 6, 77))
            case _:
                request.progress_request.SetInParent()
        return Send(request, stream)

    def _create(self) -> pb.WatchCreateRequest:
        key, range_end = self.span()
        if self.chance(5):
            key = b""  # to a watch, the first key there can be
        past = (FLOOR, FLOOR + 1, NOW - 1, NOW - 3, NOW - 10, NOW)
        others = (0, 0, 0, NOW + 1, NOW + 3, FLOOR - 1, 1, -1)
        return pb.WatchCreateRequest(
            key=key,
            range_end=range_end,
            start_revision=self.pick((*past, *others)),
            prev_kv=self.chance(50),
            fragment=self.chance(30),
            filters=[kind for kind in (0, 1, 9) if self.chance(12)],  # type: ignore[misc]
            watch_id=self.pick((5, 6, -7, 1, HUGE)) if self.chance(20) else 0,
        )

    # -- malformed, but well-typed -------------------------------------------------------------

    def _odd(self) -> Request:
        """What a correct client would not send."""
        match self.pick(("sort", "many", "nested", "double", "empty", "large", "gap")):
            case "sort":
                return pb.RangeRequest(
                    key=self.key(),
                    sort_order=self.pick((3, -1, 0)),  # type: ignore[arg-type]  # an open enum
                    sort_target=self.pick((5, -1, 9)),  # type: ignore[arg-type]
                )
            case "many":
                return self._many(OPS_MAX + 1)
            case "nested":
                inner = self._many(self.pick((60, 70)))
                return pb.TxnRequest(success=[*self._many(64).success, op(inner)])
            case "double":
                key = self.key()
                twice: list[Message] = [pb.PutRequest(key=key), pb.PutRequest(key=key)]
                twice[self.pick((0, 1))] = self.delete()
                return pb.TxnRequest(success=[op(each) for each in twice])
            case "large":
                if self.chance(90):
                    return pb.PutRequest(key=self.key(), value=b"1", ignore_value=True)
                return pb.PutRequest(key=self.key(), value=b"T" * (REQUEST_BYTES_MAX + 1))
            case "gap":
                gap = pb.RequestOp()
                return pb.TxnRequest(success=[op(self.put()), gap], failure=[gap])
            case _:
                kinds: Sequence[Request] = (
                    pb.PutRequest(value=b"v"),
                    pb.RangeRequest(range_end=b"\x00"),
                    pb.DeleteRangeRequest(range_end=b"z"),
                    pb.TxnRequest(compare=[pb.Compare()]),
                    pb.TxnRequest(),
                )
                return self.pick(kinds)

    def _many(self, count: int) -> pb.TxnRequest:
        return pb.TxnRequest(success=[op(pb.RangeRequest(key=self.pick(self._keys.hot)))] * count)

    @staticmethod
    def _call(request: Request) -> Call:
        return Call(METHODS[type(request)], request)


# Leases there are from the beginning, or few keys would ever have one.
FIRST: Final[tuple[Step, ...]] = (
    Call("Lease.LeaseGrant", pb.LeaseGrantRequest(ID=7, TTL=TTLS[0])),
    Call("Lease.LeaseGrant", pb.LeaseGrantRequest(TTL=TTLS[1]), save=SLOTS[0]),
)


def _harmless(request: pb.TxnRequest) -> None:
    """No put that keeps a value or a lease after a deletion that may have taken its key.

    etcd looks for the key before the transaction, then indexes what it finds in it, and panics.
    Deletions that its checks see clash with the put; nested and "from the key on" they do not.
    """
    if any(op.HasField("request_delete_range") for op in operations(request)):
        for each in operations(request):
            if each.HasField("request_put"):
                each.request_put.ignore_value = each.request_put.ignore_lease = False


def operations(request: pb.TxnRequest) -> Iterator[pb.RequestOp]:
    """All of both branches, and below."""
    for each in (*request.success, *request.failure):
        yield each
        if each.HasField("request_txn"):
            yield from operations(each.request_txn)


def sequence(seed: int, requests: int) -> tuple[Step, ...]:
    """That many steps; a longer one of the same seed begins with them."""
    fuzz = Fuzz(seed)
    return (*FIRST, *(fuzz.step() for _ in range(requests - len(FIRST))))
