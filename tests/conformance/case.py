"""What an API case is: steps in order, written as the very messages that are sent.

What it is: the vocabulary in which the `cases_*` files are written. What it is not: anything that
talks to a server (`runner`), or that knows what etcd would answer: etcd itself is asked.

Words: a *name* is what a case calls its key; every server maps names to keys of its own
(`runner.KeySpace`), and answers are told in names again. Names begin with a letter; "" and "\0"
mean what they mean to etcd. A *stand-in* is a number that the runner replaces: `at(2)` by the
revision of the case's second write, `lease("x")` by the id of the lease granted under that name,
MEMBER by the id of the server's member.

Worked example: `put("a", "1")`, then `call("KV.Range", get("a", revision=at(1)))` reads on either
server what the first write of this case wrote.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from kubebraid.proto.etcd import rpc_pb2 as pb

Message: TypeAlias = Any  # any generated message

REVISIONS: Final = 1 << 52
LEASES: Final = 1 << 53
MEMBER: Final = 1 << 54
SPAN: Final = 1 << 40  # stand-ins lie this far around their origin
TAKE_S_MAX: Final = 10.0  # on a busy machine; what comes ends it sooner
QUIET_S: Final = 0.25  # etcd brings watchers that lag behind up to date every 0.1 s

LEASE_NAMES: Final[list[str]] = []  # position is the stand-in


def at(distance: int) -> int:
    """The revision so many writes after the case's beginning; 0 is the beginning itself."""
    assert abs(distance) < SPAN
    return REVISIONS + distance


def lease(name: str) -> int:
    """The lease that was granted under this name."""
    if name not in LEASE_NAMES:
        LEASE_NAMES.append(name)
    return LEASES + LEASE_NAMES.index(name)


@dataclass(frozen=True)
class Call:
    """A call with one answer. `save`: the lease it grants gets this name."""

    method: str
    request: Message
    save: str = ""
    metadata: tuple[tuple[str, str], ...] = ()
    gzip: bool = False


@dataclass(frozen=True)
class CallStream:
    """A call with one request and a stream that ends; `merge` makes one answer of its parts."""

    method: str
    request: Message
    merge: bool = False


@dataclass(frozen=True)
class Open:
    """Begin a stream that both sides write to. `first` is for one-request streams."""

    method: str = "Watch.Watch"
    stream: str = "s"
    metadata: tuple[tuple[str, str], ...] = ()
    first: Message | None = None


@dataclass(frozen=True)
class Send:
    """One message on an open stream."""

    request: Message
    stream: str = "s"


@dataclass(frozen=True)
class Take:
    """The next `count` answers, or those with the next `events` events."""

    count: int = 1
    stream: str = "s"
    seconds: float = TAKE_S_MAX
    events: int = 0


@dataclass(frozen=True)
class Quiet:
    """All that comes in this time, mostly nothing."""

    seconds: float = QUIET_S
    stream: str = "s"


@dataclass(frozen=True)
class HalfClose:
    """The client says that it will send no more."""

    stream: str = "s"


@dataclass(frozen=True)
class Ends:
    """What still comes, and the status that the stream ends with."""

    stream: str = "s"


@dataclass(frozen=True)
class Cancel:
    """The client goes away from a stream, or from a call that was opened as one."""

    stream: str = "s"


@dataclass(frozen=True)
class Sleep:
    """Time passes."""

    seconds: float


Step: TypeAlias = Call | CallStream | Open | Send | Take | Quiet | HalfClose | Ends | Cancel | Sleep


@dataclass(frozen=True)
class Case:
    """`name` is topic.what; `bad`: it sends something that a correct client would not send.

    `fresh`: on servers of its own, because it needs a store without history.
    """

    name: str
    steps: tuple[Step, ...]
    bad: bool = False
    fresh: bool = False
    methods: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        named = (getattr(step, "method", "") for step in self.steps)
        object.__setattr__(self, "methods", frozenset(filter(None, named)))


def case(name: str, *steps: Step | Sequence[Step], fresh: bool = False) -> Case:
    """A case; a sequence among the steps is flattened."""
    return Case(name, flat(steps), fresh=fresh)


def bad(name: str, *steps: Step | Sequence[Step]) -> Case:
    """A case of bad input."""
    return Case(name, flat(steps), bad=True)


def flat(steps: Sequence[Step | Sequence[Step]]) -> tuple[Step, ...]:
    found: list[Step] = []
    for step in steps:
        if isinstance(step, Sequence):
            found.extend(step)
        else:
            found.append(step)
    return tuple(found)


# -- requests: names are text, fields as etcd calls them -------------------------------------------


def raw(name: str | bytes) -> bytes:
    return name.encode() if isinstance(name, str) else name


def get(name: str, end: str = "", **fields: Any) -> pb.RangeRequest:
    return pb.RangeRequest(key=raw(name), range_end=raw(end), **fields)


def putting(name: str | bytes, value: str | bytes = "", **fields: Any) -> pb.PutRequest:
    return pb.PutRequest(key=raw(name), value=raw(value), **fields)


def deleting(name: str, end: str = "", **fields: Any) -> pb.DeleteRangeRequest:
    return pb.DeleteRangeRequest(key=raw(name), range_end=raw(end), **fields)


def op(request: Message) -> pb.RequestOp:
    """The request as one operation of a transaction."""
    match request:
        case pb.RangeRequest():
            return pb.RequestOp(request_range=request)
        case pb.PutRequest():
            return pb.RequestOp(request_put=request)
        case pb.DeleteRangeRequest():
            return pb.RequestOp(request_delete_range=request)
        case pb.TxnRequest():
            return pb.RequestOp(request_txn=request)
        case pb.RequestOp():
            return request
        case _:
            raise AssertionError(f"{type(request)} is no operation")


def txn(
    compare: Sequence[pb.Compare] = (),
    success: Sequence[Message] = (),
    failure: Sequence[Message] = (),
) -> pb.TxnRequest:
    return pb.TxnRequest(
        compare=compare, success=[op(each) for each in success], failure=[op(e) for e in failure]
    )


def watching(name: str = "", end: str = "", **fields: Any) -> pb.WatchRequest:
    create = pb.WatchCreateRequest(key=raw(name), range_end=raw(end), **fields)
    return pb.WatchRequest(create_request=create)


def canceling(watch_id: int) -> pb.WatchRequest:
    return pb.WatchRequest(cancel_request=pb.WatchCancelRequest(watch_id=watch_id))


PROGRESS: Final = pb.WatchRequest(progress_request=pb.WatchProgressRequest())


# -- steps -----------------------------------------------------------------------------------------


def ranged(name: str, end: str = "", **fields: Any) -> Call:
    return Call("KV.Range", get(name, end, **fields))


def streamed(name: str, end: str = "", **fields: Any) -> CallStream:
    return CallStream("KV.RangeStream", get(name, end, **fields), merge=True)


def put(name: str | bytes, value: str | bytes = "", **fields: Any) -> Call:
    return Call("KV.Put", putting(name, value, **fields))


def delete(name: str, end: str = "", **fields: Any) -> Call:
    return Call("KV.DeleteRange", deleting(name, end, **fields))


def transact(
    compare: Sequence[pb.Compare] = (),
    success: Sequence[Message] = (),
    failure: Sequence[Message] = (),
) -> Call:
    return Call("KV.Txn", txn(compare, success, failure))


def compact(revision: int, *, physical: bool = False) -> Call:
    return Call("KV.Compact", pb.CompactionRequest(revision=revision, physical=physical))


def grant(name: str, ttl: int = 1000, lease_id: int = 0) -> Call:
    return Call("Lease.LeaseGrant", pb.LeaseGrantRequest(TTL=ttl, ID=lease_id), save=name)


def revoke(lease_id: int) -> Call:
    return Call("Lease.LeaseRevoke", pb.LeaseRevokeRequest(ID=lease_id))


def time_to_live(lease_id: int, *, keys: bool = False) -> Call:
    return Call("Lease.LeaseTimeToLive", pb.LeaseTimeToLiveRequest(ID=lease_id, keys=keys))


def keep_alive(*lease_ids: int) -> tuple[Step, ...]:
    """A stream with these messages, each answered before the next."""
    steps: list[Step] = [Open("Lease.LeaseKeepAlive", "k")]
    for lease_id in lease_ids:
        steps += [Send(pb.LeaseKeepAliveRequest(ID=lease_id), "k"), Take(1, "k")]
    return (*steps, HalfClose("k"), Ends("k"))


FRUITS: Final = (
    put("pear", "3"),
    put("apple", "4"),
    put("plum", "1"),
    put("fig", "2"),
    put("fig", "0"),
    put("apple", "5"),
    put("fig", "2"),
)
"""Four keys whose order differs by key, value, version, create and mod."""
