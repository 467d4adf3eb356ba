"""etcd's store as a sequential truth: one request after the other, nothing durable, nothing fast.

What it is: the answer that etcd 3.7 gives to every KV and Lease request, as short as it can be
said; the history that a watch must deliver. What it is not: concurrent, bounded, or aware of time:
a lease is a name that keys hang on, and whoever drives the model says when it ends.

Words: a *state* maps each live key to its mvccpb.KeyValue; `states[r]` is the state after revision
r; a *refusal* is a gRPC code with etcd's text. Values that are in a state are never changed again.

Invariants:
- a new store is at revision 1, and a request that changes keys makes exactly one more;
- all keys of a request share its revision; a refused request changes nothing;
- compares, also those of nested transactions, see the state before the request; ranges, deletes
  and puts of a transaction see what the operations before them wrote.

Worked example: on a new store `put a` answers revision 2; `delete [a, c)` then answers revision 3
with deleted=1, and the same delete again answers revision 3 with deleted=0: nothing changed.

What is not settled by etcd either: the order of equals when more than twelve rows are sorted.
Source: etcd 3.7.3, etcdserver/txn, api/v3rpc/key.go, storage/mvcc. Held equal to a real etcd by
test_model_is_etcd.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from kubebraid.proto.etcd import kv_pb2, rpc_pb2
from tests.robustness.checks import (
    COMPACTED,
    FUTURE,
    KEY_NOT_FOUND,
    LEASE_EXISTS,
    LEASE_NOT_FOUND,
    TTL_TOO_LARGE,
    Refusal,
    check_range,
    check_write,
)
from tests.robustness.reading import State, answer_range, header, holds, rows, taken

Request: TypeAlias = (
    rpc_pb2.RangeRequest
    | rpc_pb2.PutRequest
    | rpc_pb2.DeleteRangeRequest
    | rpc_pb2.TxnRequest
    | rpc_pb2.CompactionRequest
    | rpc_pb2.LeaseGrantRequest
    | rpc_pb2.LeaseRevokeRequest
    | rpc_pb2.LeaseTimeToLiveRequest
    | rpc_pb2.LeaseLeasesRequest
)
Response: TypeAlias = (
    rpc_pb2.RangeResponse
    | rpc_pb2.PutResponse
    | rpc_pb2.DeleteRangeResponse
    | rpc_pb2.TxnResponse
    | rpc_pb2.CompactionResponse
    | rpc_pb2.LeaseGrantResponse
    | rpc_pb2.LeaseRevokeResponse
    | rpc_pb2.LeaseTimeToLiveResponse
    | rpc_pb2.LeaseLeasesResponse
)


TTL_MIN_S: Final = 2
TTL_MAX_S: Final = 9_000_000_000


class Model:
    """The store. `apply` is everything; the rest is for whoever asks about the past."""

    def __init__(self) -> None:
        self.revision = 1
        self.compacted = -1  # as etcd has it before the first compaction
        self.states: dict[int, State] = {1: {}}
        self.events: dict[int, Sequence[kv_pb2.Event]] = {}
        self.leases: dict[int, int] = {}  # name -> granted TTL in seconds

    def copy(self) -> Model:
        """Another model of the same past, whose future is its own."""
        other = Model()
        other.revision, other.compacted = self.revision, self.compacted
        other.states, other.events = dict(self.states), dict(self.events)
        other.leases = dict(self.leases)
        return other

    @property
    def state(self) -> State:
        """What is there now."""
        return self.states[self.revision]

    def apply(self, request: Request) -> Response | Refusal:
        """Carry out one request and answer as etcd does."""
        match request:
            case rpc_pb2.RangeRequest():
                return self.range_at(request, self.revision)
            case rpc_pb2.PutRequest() | rpc_pb2.DeleteRangeRequest() | rpc_pb2.TxnRequest():
                return self._write(request)
            case rpc_pb2.CompactionRequest():
                return self._compact(request.revision)
            case rpc_pb2.LeaseGrantRequest():
                return self._grant(request)
            case rpc_pb2.LeaseRevokeRequest():
                return self._revoke(request.ID)
            case rpc_pb2.LeaseTimeToLiveRequest():
                return self._time_to_live(request)
            case rpc_pb2.LeaseLeasesRequest():
                leases = [rpc_pb2.LeaseStatus(ID=name) for name in sorted(self.leases)]
                return rpc_pb2.LeaseLeasesResponse(header=header(self.revision), leases=leases)

    def range_at(
        self, request: rpc_pb2.RangeRequest, revision: int
    ) -> rpc_pb2.RangeResponse | Refusal:
        """The answer to a range that was served when the store was at `revision`."""
        assert revision <= self.revision, f"{revision} is not there yet: {self.revision}"
        if (refusal := check_range(request)) is not None:
            return refusal
        if request.revision > revision:
            return FUTURE
        if 0 < request.revision < self.compacted:
            return COMPACTED
        at = request.revision if request.revision > 0 else revision
        return answer_range(request, self.states[at], revision)

    def _write(
        self, request: rpc_pb2.PutRequest | rpc_pb2.DeleteRangeRequest | rpc_pb2.TxnRequest
    ) -> Response | Refusal:
        if (refusal := check_write(request)) is not None:
            return refusal
        write = _Write(self)
        answer: Response | Refusal
        match request:
            case rpc_pb2.PutRequest():
                answer = write.refuse_put(request) or write.put(request)
            case rpc_pb2.DeleteRangeRequest():
                answer = write.delete_range(request)
            case rpc_pb2.TxnRequest():
                answer = write.refuse_txn(request) or write.txn(request, nested=False)
        self._commit(write)
        return answer

    def _commit(self, write: _Write) -> None:
        assert write.before is self.state, "a write began elsewhere"
        if write.events:
            self.revision += 1
            self.states[self.revision] = write.now
            self.events[self.revision] = tuple(write.events)

    def _compact(self, revision: int) -> rpc_pb2.CompactionResponse | Refusal:
        if revision <= self.compacted:
            return COMPACTED
        if revision > self.revision:
            return FUTURE
        self.compacted = revision
        return rpc_pb2.CompactionResponse(header=header(self.revision))

    def _grant(self, request: rpc_pb2.LeaseGrantRequest) -> rpc_pb2.LeaseGrantResponse | Refusal:
        assert request.ID != 0, "the store chooses a name: tell the model which one"
        if request.TTL > TTL_MAX_S:
            return TTL_TOO_LARGE
        if request.ID in self.leases:
            return LEASE_EXISTS
        self.leases[request.ID] = max(request.TTL, TTL_MIN_S)
        return rpc_pb2.LeaseGrantResponse(
            header=header(self.revision), ID=request.ID, TTL=self.leases[request.ID]
        )

    def _revoke(self, lease: int) -> rpc_pb2.LeaseRevokeResponse | Refusal:
        if lease not in self.leases:
            return LEASE_NOT_FOUND
        write = _Write(self)
        for key in self.keys_of(lease):
            write.delete_range(rpc_pb2.DeleteRangeRequest(key=key))
        del self.leases[lease]
        self._commit(write)
        return rpc_pb2.LeaseRevokeResponse(header=header(self.revision))

    def _time_to_live(
        self, request: rpc_pb2.LeaseTimeToLiveRequest
    ) -> rpc_pb2.LeaseTimeToLiveResponse:
        """TTL is the granted one, where etcd tells what is left of it."""
        answer = rpc_pb2.LeaseTimeToLiveResponse(
            header=header(self.revision), ID=request.ID, TTL=-1
        )
        if request.ID in self.leases:
            answer.TTL = answer.grantedTTL = self.leases[request.ID]
            answer.keys.extend(self.keys_of(request.ID) if request.keys else ())
        return answer

    def keys_of(self, lease: int) -> Sequence[bytes]:
        """The keys that hang on a lease."""
        return sorted(key for key, kv in self.state.items() if kv.lease == lease)


class _Write:
    """One changing request in the making. It becomes a revision if it has events."""

    def __init__(self, model: Model) -> None:
        self.before = model.state
        self.now = dict(model.state)
        self.events: list[kv_pb2.Event] = []
        self._model = model
        self._next = model.revision + 1

    def _revision(self) -> int:
        """What an operation's header says: etcd counts the request once it has changed a key."""
        return self._next if self.events else self._next - 1

    def refuse_put(self, request: rpc_pb2.PutRequest) -> Refusal | None:
        if request.lease and request.lease not in self._model.leases:
            return LEASE_NOT_FOUND
        if (request.ignore_value or request.ignore_lease) and request.key not in self.before:
            return KEY_NOT_FOUND
        return None

    def refuse_txn(self, request: rpc_pb2.TxnRequest) -> Refusal | None:
        """The first operation, on the branch that will be taken, that cannot be carried out."""
        for operation in taken(request, self.before):
            refusal: Refusal | None
            match operation.WhichOneof("request"):
                case "request_put":
                    refusal = self.refuse_put(operation.request_put)
                case "request_range":
                    refusal = self._refuse_range(operation.request_range.revision)
                case "request_txn":
                    refusal = self.refuse_txn(operation.request_txn)
                case _:
                    refusal = None
            if refusal is not None:
                return refusal
        return None

    def _refuse_range(self, revision: int) -> Refusal | None:
        """Stricter than outside a transaction: a negative revision lies below any floor."""
        if revision > self._model.revision:
            return FUTURE
        return COMPACTED if revision != 0 and revision < self._model.compacted else None

    def put(self, request: rpc_pb2.PutRequest) -> rpc_pb2.PutResponse:
        old = self.now.get(request.key)
        kv = kv_pb2.KeyValue(
            key=request.key,
            create_revision=old.create_revision if old else self._next,
            mod_revision=self._next,
            version=old.version + 1 if old else 1,
            value=old.value if old and request.ignore_value else request.value,
            lease=old.lease if old and request.ignore_lease else request.lease,
        )
        self.now[request.key] = kv
        self._record(kv_pb2.Event.PUT, kv)
        return rpc_pb2.PutResponse(
            header=header(self._next), prev_kv=old if request.prev_kv else None
        )

    def delete_range(self, request: rpc_pb2.DeleteRangeRequest) -> rpc_pb2.DeleteRangeResponse:
        gone = rows(self.now, request.key, request.range_end)
        for kv in gone:
            del self.now[kv.key]
            self._record(kv_pb2.Event.DELETE, kv_pb2.KeyValue(key=kv.key, mod_revision=self._next))
        return rpc_pb2.DeleteRangeResponse(
            header=header(self._revision()),
            deleted=len(gone),
            prev_kvs=gone if request.prev_kv else (),
        )

    def txn(self, request: rpc_pb2.TxnRequest, *, nested: bool) -> rpc_pb2.TxnResponse:
        operations = taken(request, self.before)
        answer = rpc_pb2.TxnResponse(
            succeeded=holds(request.compare, self.before),
            responses=[self._operation(operation) for operation in operations],
        )
        # A nested answer has a header, with nothing in it.
        answer.header.CopyFrom(header(0 if nested else self._revision()))
        return answer

    def _operation(self, operation: rpc_pb2.RequestOp) -> rpc_pb2.ResponseOp:
        match operation.WhichOneof("request"):
            case "request_range":
                found = self._range(operation.request_range)
                return rpc_pb2.ResponseOp(response_range=found)
            case "request_put":
                return rpc_pb2.ResponseOp(response_put=self.put(operation.request_put))
            case "request_delete_range":
                deleted = self.delete_range(operation.request_delete_range)
                return rpc_pb2.ResponseOp(response_delete_range=deleted)
            case "request_txn":
                inner = self.txn(operation.request_txn, nested=True)
                return rpc_pb2.ResponseOp(response_txn=inner)
            case _:
                raise AssertionError("check_write lets no empty operation through")

    def _range(self, request: rpc_pb2.RangeRequest) -> rpc_pb2.RangeResponse:
        state = self._model.states[request.revision] if request.revision > 0 else self.now
        return answer_range(request, state, self._revision())

    def _record(self, kind: kv_pb2.Event.EventType, kv: kv_pb2.KeyValue) -> None:
        """A watch is told what the key was before the whole revision."""
        self.events.append(kv_pb2.Event(type=kind, kv=kv, prev_kv=self.before.get(kv.key)))
