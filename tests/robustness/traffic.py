"""Random requests that are likely to meet: few keys, many options, revisions near the border.

What it is: a generator of requests over any `random.Random`, Hypothesis' own included. What it is
not: a load; it aims at the corners of the semantics.

Words: the *layout* is the list of prefixes that a store is cut by; KEYS lie inside, between and
exactly on the borders of its tablets.

Worked example: `Traffic(Random(1)).request(now=9, floor=3)` may be a range at revision 2, which
is compacted, or at 10, which is future, but hardly ever one at 1000.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Final, TypeVar

from kubebraid.proto.etcd import rpc_pb2
from tests.robustness.model import Request

T = TypeVar("T")

# Seven tablets: one a prefix, and four gaps; /registry/pods without its slash begins the pods.
LAYOUT: Final = (b"/a/", b"/registry/events/", b"/registry/pods/")
KEYS: Final = (
    b"/registry/pods/ns/a",
    b"/registry/pods/ns/b",
    b"/registry/pods",
    b"/registry/pods0",
    b"/registry/events/ns/a",
    b"/registry/events/ns/b",
    b"/a",
    b"/a/x",
    b"compact_rev_key",
    b"\x00",
    b"\xff\xff",
)
SPANS: Final = (
    (b"/registry/pods/", b"/registry/pods0"),
    (b"/registry/", b"/registry0"),
    (b"\x00", b"\x00"),
    (b"/registry/events/", b"/registry/events0"),
    (b"/registry/pods", b"/registry/pods\x00"),
    (b"/a", b"/registry/pods/ns/b"),
    (b"/registry/pods/ns/b", b"\x00"),
    (b"/registry/pods0", b"/registry/pods/"),  # inverted: names no key
)
LEASES: Final = (7, 8, 9)
VALUES: Final = (b"", b"v", b"w")

Span = tuple[bytes, bytes]


class Traffic:
    """Requests, one after the other. `now` and `floor` aim the revisions."""

    def __init__(
        self, random: Random, ttls: Sequence[int] = (60, 5, 1, 0, -1, 9_000_000_001)
    ) -> None:
        self._random = random
        self._ttls = ttls

    def pick(self, options: Sequence[T]) -> T:
        """One of them; the first is the simplest."""
        return options[self._random.randrange(len(options))]

    def chance(self, percent: int) -> bool:
        """True that often; False is the simplest."""
        return self._random.randrange(100) >= 100 - percent

    def request(self, now: int, floor: int) -> Request:
        """Anything that KV or Lease answers, compactions aside."""
        kinds: tuple[Callable[[], Request], ...] = (
            self.put,
            lambda: self.range(now, floor),
            self.delete,
            lambda: self.txn(now, floor),
            lambda: self.range(now, floor),
            self.put,
            lambda: self.txn(now, floor),
            self.lease,
        )
        return self.pick(kinds)()

    def change(self) -> Request:
        """A request that most likely changes keys, often several, often of several tablets."""
        match self.pick(("put", "delete", "txn", "put", "span", "txn", "put")):
            case "put":
                return rpc_pb2.PutRequest(key=self.pick(KEYS), value=self.pick(VALUES))
            case "delete":
                return rpc_pb2.DeleteRangeRequest(key=self.pick(KEYS))
            case "span":
                key, range_end = self.pick(SPANS)
                return rpc_pb2.DeleteRangeRequest(key=key, range_end=range_end)
            case _:
                return self.several()

    def several(self) -> rpc_pb2.TxnRequest:
        """A transaction that puts some keys and deletes others."""
        keys = list(KEYS)
        self._random.shuffle(keys)
        puts = [rpc_pb2.PutRequest(key=key, value=self.pick(VALUES)) for key in keys[:2]]
        gone = [rpc_pb2.DeleteRangeRequest(key=key) for key in keys[2 : 2 + self.pick((1, 2, 0))]]
        operations = [rpc_pb2.RequestOp(request_put=put) for put in puts]
        operations += [rpc_pb2.RequestOp(request_delete_range=delete) for delete in gone]
        return rpc_pb2.TxnRequest(success=operations)

    def key(self) -> bytes:
        return b"" if self.chance(1) else self.pick(KEYS)

    def span(self) -> Span:
        return (self.key(), b"") if self.chance(50) else self.pick(SPANS)

    def revision(self, now: int, floor: int) -> int:
        """Mostly one that can be read, sometimes just outside."""
        if self.chance(60):
            return 0
        return self.pick((now, max(floor, 1), max(floor, 1) + 1, now - 1, floor - 1, now + 1, -1))

    def put(self) -> rpc_pb2.PutRequest:
        return rpc_pb2.PutRequest(
            key=self.key(),
            value=self.pick(VALUES),
            lease=self.pick((0, 0, 0, *LEASES)),
            prev_kv=self.chance(30),
            ignore_value=self.chance(8),
            ignore_lease=self.chance(8),
        )

    def delete(self) -> rpc_pb2.DeleteRangeRequest:
        key, range_end = self.span() if self.chance(40) else (self.key(), b"")
        return rpc_pb2.DeleteRangeRequest(key=key, range_end=range_end, prev_kv=self.chance(40))

    def range(self, now: int, floor: int) -> rpc_pb2.RangeRequest:
        key, range_end = self.span()
        request = rpc_pb2.RangeRequest(
            key=key,
            range_end=range_end,
            revision=self.revision(now, floor),
            limit=self.pick((0, 0, 1, 2, 3, -1)),
            keys_only=self.chance(15),
            count_only=self.chance(15),
        )
        if self.chance(25):
            request.sort_order = self.pick((0, 1, 2))  # type: ignore[assignment]  # an open enum
            request.sort_target = self.pick((0, 1, 2, 3, 4))  # type: ignore[assignment]
        if self.chance(20):
            request.min_mod_revision = self.pick((0, now - 2, now))
            request.max_mod_revision = self.pick((0, now - 1, now))
            request.min_create_revision = self.pick((0, 1, now - 3))
            request.max_create_revision = self.pick((0, now, now - 2))
        return request

    def compare(self, now: int) -> rpc_pb2.Compare:
        key, range_end = self.span() if self.chance(25) else (self.key(), b"")
        compare = rpc_pb2.Compare(
            key=key,
            range_end=range_end,
            result=self.pick((0, 1, 2, 3)),  # type: ignore[arg-type]  # an open enum
        )
        match self.pick(("mod", "version", "create", "value", "lease", "unset")):
            case "mod":
                compare.target = rpc_pb2.Compare.MOD
                compare.mod_revision = self.pick((0, now, now - 1))
            case "version":
                compare.target = rpc_pb2.Compare.VERSION
                compare.version = self.pick((0, 1, 2))
            case "create":
                compare.target = rpc_pb2.Compare.CREATE
                compare.create_revision = self.pick((0, now, now - 1))
            case "value":
                compare.target = rpc_pb2.Compare.VALUE
                compare.value = self.pick(VALUES)
            case "lease":
                compare.target = rpc_pb2.Compare.LEASE
                compare.lease = self.pick((0, *LEASES))
            case _:  # the operand is of another kind than the target
                compare.target = rpc_pb2.Compare.MOD
                compare.version = 1
        return compare

    def txn(self, now: int, floor: int, depth: int = 0) -> rpc_pb2.TxnRequest:
        return rpc_pb2.TxnRequest(
            compare=[self.compare(now) for _ in range(self.pick((1, 0, 2)))],
            success=[self.operation(now, floor, depth) for _ in range(self.pick((1, 0, 2, 3)))],
            failure=[self.operation(now, floor, depth) for _ in range(self.pick((0, 1, 2)))],
        )

    def operation(self, now: int, floor: int, depth: int) -> rpc_pb2.RequestOp:
        match self.pick(("put", "range", "delete", "put", "txn")):
            case "range":
                return rpc_pb2.RequestOp(request_range=self.range(now, floor))
            case "delete":
                return rpc_pb2.RequestOp(request_delete_range=self.delete())
            case "txn" if depth < 2:
                return rpc_pb2.RequestOp(request_txn=self.txn(now, floor, depth + 1))
            case _:
                if self.chance(1):
                    return rpc_pb2.RequestOp()
                return rpc_pb2.RequestOp(request_put=self.put())

    def lease(self) -> Request:
        name = self.pick(LEASES)
        match self.pick(("grant", "grant", "revoke", "ttl", "list")):
            case "grant":
                ttl = self.pick(self._ttls)
                return rpc_pb2.LeaseGrantRequest(ID=name, TTL=ttl)
            case "revoke":
                return rpc_pb2.LeaseRevokeRequest(ID=name)
            case "ttl":
                return rpc_pb2.LeaseTimeToLiveRequest(ID=name, keys=self.chance(50))
            case _:
                return rpc_pb2.LeaseLeasesRequest()

    def compaction(self, now: int, floor: int) -> rpc_pb2.CompactionRequest:
        revision = self.pick((now, now - 1, floor + 1, floor, now + 1, now - 3, 0, -1))
        return rpc_pb2.CompactionRequest(revision=revision, physical=self.chance(30))
