"""What locks and elections are made of: requests to KV, Lease and Watch, and what they answer.

What it is: the bytes that the two services send to the router's own services, read out of those
services' answers, and the bodies that they answer their clients with. What it is not: the order of
the requests (`router/lock.py`, `router/election.py`), or the decoding of what clients send
(`requests.py`).

Words: a *seat* is the key that one lease has below the name of a lock or of an election; the
oldest seat holds the lock, or leads.

Worked example: `acquire(b"l/1f", b"l/", 0x1f)` puts the empty seat l/1f if it is not there, reads
it if it is, and reads the oldest seat below l/ in the same transaction.

Source: etcd client/v3/concurrency (mutex.go, election.go, key.go). Tested in
tests/unit/proto/test_concurrency.py.
"""

from __future__ import annotations

from typing import NamedTuple

from kubebraid.base.keyspace import prefix_end
from kubebraid.base.revision import LeaseId, Revision

from .etcd import election_pb2, kv_pb2, rpc_pb2
from .kvwire import blob
from .requests import LeaderKey

_SORT = rpc_pb2.RangeRequest


class Seat(NamedTuple):
    """A seat as it is stored; `raw` is its serialized KeyValue."""

    key: bytes
    value: bytes
    created: Revision
    raw: bytes


class Reply(NamedTuple):
    """The answer of a transaction or a read: seats in the order of the branch's reads."""

    revision: Revision
    succeeded: bool
    seats: tuple[Seat, ...]


class Happening(NamedTuple):
    """One event of a watch."""

    deleted: bool
    key: bytes
    raw: bytes
    revision: Revision


class News(NamedTuple):
    """One message of a watch; `over` tells that nothing follows."""

    revision: Revision
    happenings: tuple[Happening, ...]
    over: bool


def seat_key(prefix: bytes, lease: LeaseId) -> bytes:
    """The key of a lease's seat: as Go prints the lease in hexadecimal, the sign in front."""
    return prefix + b"%x" % lease


# -- requests ----------------------------------------------------------------------------------


def acquire(key: bytes, prefix: bytes, lease: LeaseId) -> bytes:
    """TxnRequest: take the seat `key` or read it, and read the oldest one."""
    owner = rpc_pb2.RequestOp(request_range=_edge_of(prefix, _SORT.ASCEND))
    mine = rpc_pb2.RequestOp(request_range=rpc_pb2.RangeRequest(key=key))
    return rpc_pb2.TxnRequest(
        compare=[_created_at(key, 0)],
        success=[_put(key, b"", lease), owner],
        failure=[mine, owner],
    ).SerializeToString()


def stand(key: bytes, value: bytes, lease: LeaseId) -> bytes:
    """TxnRequest: take the seat `key` with this value, or read it."""
    mine = rpc_pb2.RequestOp(request_range=rpc_pb2.RangeRequest(key=key))
    return rpc_pb2.TxnRequest(
        compare=[_created_at(key, 0)], success=[_put(key, value, lease)], failure=[mine]
    ).SerializeToString()


def proclaim(key: bytes, created: Revision, value: bytes, lease: LeaseId) -> bytes:
    """TxnRequest: a new value for the seat, if it is still the one created then."""
    return rpc_pb2.TxnRequest(
        compare=[_created_at(key, created)], success=[_put(key, value, lease)]
    ).SerializeToString()


def resign(key: bytes, created: Revision) -> bytes:
    """TxnRequest: give the seat up, if it is still the one created then."""
    gone = rpc_pb2.RequestOp(request_delete_range=rpc_pb2.DeleteRangeRequest(key=key))
    return rpc_pb2.TxnRequest(
        compare=[_created_at(key, created)], success=[gone]
    ).SerializeToString()


def read(key: bytes) -> bytes:
    """RangeRequest of one seat."""
    return rpc_pb2.RangeRequest(key=key).SerializeToString()


def read_oldest(prefix: bytes) -> bytes:
    """RangeRequest of the seat that holds."""
    return _edge_of(prefix, _SORT.ASCEND).SerializeToString()


def read_before(prefix: bytes, created_max: Revision) -> bytes:
    """RangeRequest of the youngest seat among those created up to then."""
    request = _edge_of(prefix, _SORT.DESCEND)
    request.max_create_revision = created_max
    return request.SerializeToString()


def delete(key: bytes) -> bytes:
    """DeleteRangeRequest of one seat."""
    return rpc_pb2.DeleteRangeRequest(key=key).SerializeToString()


def watch(key: bytes, start: Revision, *, below: bool = False) -> bytes:
    """WatchRequest of one key, or of everything below it."""
    create = rpc_pb2.WatchCreateRequest(key=key, start_revision=start)
    if below:
        create.range_end = _end(key)
    return rpc_pb2.WatchRequest(create_request=create).SerializeToString()


def grant(ttl_s: int) -> bytes:
    """LeaseGrantRequest of an id that the server chooses."""
    return rpc_pb2.LeaseGrantRequest(TTL=ttl_s).SerializeToString()


def _end(prefix: bytes) -> bytes:
    end = prefix_end(prefix)
    assert end is not None, "the prefix of seats ends with a slash"
    return end


def _edge_of(prefix: bytes, order: rpc_pb2.RangeRequest.SortOrder) -> rpc_pb2.RangeRequest:
    return rpc_pb2.RangeRequest(
        key=prefix,
        range_end=_end(prefix),
        limit=1,
        sort_target=_SORT.CREATE,
        sort_order=order,
    )


def _created_at(key: bytes, revision: Revision) -> rpc_pb2.Compare:
    return rpc_pb2.Compare(
        key=key,
        target=rpc_pb2.Compare.CREATE,
        result=rpc_pb2.Compare.EQUAL,
        create_revision=revision,
    )


def _put(key: bytes, value: bytes, lease: LeaseId) -> rpc_pb2.RequestOp:
    put = rpc_pb2.PutRequest(key=key, value=value, lease=lease)
    return rpc_pb2.RequestOp(request_put=put)


# -- their answers -----------------------------------------------------------------------------


def txn_reply(payload: bytes) -> Reply:
    answer = rpc_pb2.TxnResponse.FromString(payload)
    reads = (each.response_range for each in answer.responses if each.HasField("response_range"))
    seats = tuple(_seat(kv) for part in reads for kv in part.kvs)
    return Reply(answer.header.revision, answer.succeeded, seats)


def range_reply(payload: bytes) -> Reply:
    answer = rpc_pb2.RangeResponse.FromString(payload)
    return Reply(answer.header.revision, True, tuple(map(_seat, answer.kvs)))


def revision_of(payload: bytes) -> Revision:
    """Of a DeleteRangeResponse."""
    return rpc_pb2.DeleteRangeResponse.FromString(payload).header.revision


def granted(payload: bytes) -> LeaseId:
    """The id that a LeaseGrantResponse tells."""
    return rpc_pb2.LeaseGrantResponse.FromString(payload).ID


def news(payload: bytes) -> News:
    """One WatchResponse."""
    message = rpc_pb2.WatchResponse.FromString(payload)
    happenings = tuple(
        Happening(
            each.type == kv_pb2.Event.DELETE,
            each.kv.key,
            each.kv.SerializeToString(),
            each.kv.mod_revision,
        )
        for each in message.events
    )
    return News(message.header.revision, happenings, message.canceled)


def _seat(kv: kv_pb2.KeyValue) -> Seat:
    return Seat(kv.key, kv.value, kv.create_revision, kv.SerializeToString())


# -- bodies for the clients --------------------------------------------------------------------


def lock_body(key: bytes) -> bytes:
    """LockResponse without its header."""
    return blob(2, key)


def campaign_body(leader: LeaderKey) -> bytes:
    """CampaignResponse without its header."""
    return election_pb2.CampaignResponse(
        leader=election_pb2.LeaderKey(
            name=leader.name, key=leader.key, rev=leader.created, lease=leader.lease
        )
    ).SerializeToString()


def leader_body(raw: bytes) -> bytes:
    """LeaderResponse without its header."""
    return blob(2, raw)
