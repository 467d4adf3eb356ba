"""A transaction over several shards: how it is cut into shares, and what router and shards say.

What it is: the messages of the protocol, and the pure part that both sides need: compares in one
order, the branches they choose, the operations that run. What it is not: the router's procedure
(`router/across.py`), a shard's part in it (`shard/across.py`), or bytes on a wire.

Words: a *participant* is a shard that owns keys which the transaction may read or change; the
*primary* is the first of them by name: its store decides. A *share* is what one participant reads
and changes. The *place* of an operation counts those that run, ranges too, from 0. A participant is
*locked* while it holds its batch slot for a transaction, *prepared* once it can apply its share
whatever happens to it. Its *lane* names its newest Alloc: the slot's holder lets no other be sent.

Invariants:
- compares are numbered in one order by both sides: those of the transaction itself, then those of
  nested ones, branch by branch;
- the path has one entry for each transaction that runs, in the order of their beginning.

Worked example: txn{if a=1 then [put x, txn{if b=2 then [put y] else [get z]}]}: compares are a=1
and b=2; verdicts true and false make the path (true, false); put x and get z run, places 0 and 1.

Source: etcd server/etcdserver/txn/txn.go (compareToPath). Tested in tests/unit/base/test_across.py,
tests/property/test_across.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum
from typing import NamedTuple, Protocol, TypeAlias

from .errors import RequestRefused
from .keyspace import KeyRange, single
from .ops import CompareOp, CompareResult, CompareTarget, DeleteOp, Op, PutOp, RangeOp, TxnOp
from .ports import OwnerPort, PeerPort
from .record import Row
from .revision import Epoch, Revision, TabletId

Leaf: TypeAlias = PutOp | DeleteOp | RangeOp


class TxnId(NamedTuple):
    """A number that the router's process drew at its start, and its count of transactions."""

    router: int
    number: int


class Step(IntEnum):
    """What a participant is asked to do. RESOLVE is asked by another participant."""

    LOCK = 1
    PREPARE = 2
    COMMIT = 3  # to the primary: decide for a revision, and apply it
    APPLY = 4  # to the others: it was decided so
    ABORT = 5
    FORGET = 6  # to the primary: everybody has applied
    RESOLVE = 7  # to the primary: what was decided? Where nothing was: ABORT from now on


class AcrossCall(NamedTuple):
    """One step of one transaction. LOCK has kind, payload (a WriteCall's) and map_version; PREPARE
    has path, known (R as of when all were locked; 0 if no operation names a revision) and all
    participants, the primary first; COMMIT and APPLY have the revision."""

    step: Step
    txn: TxnId
    kind: int = 0
    payload: bytes = b""
    map_version: int = 0
    path: tuple[bool, ...] = ()
    known: Revision = 0
    participants: tuple[str, ...] = ()
    revision: Revision = 0


class Verdict(NamedTuple):
    """A compare in one share: whether it met a live key, and whether all that it met satisfy it."""

    found: bool
    satisfied: bool


class Lane(NamedTuple):
    """The newest Alloc of a participant: as the sequencer knows it while the slot is held."""

    owner: str
    incarnation: int
    request_number: int


class OpShare(NamedTuple):
    """What one operation did and saw in one share. rows: a range's, or the previous ones of a put
    or a delete; revisions of what this transaction itself wrote are pending(0). total: all keys of
    the range, or the deleted ones."""

    place: int
    changes: int
    total: int
    rows: Sequence[Row]


class Prepared(NamedTuple):
    """The answer to PREPARE. ends: as of an AllocRequest, index 0 where the share changes the
    tablet. refused: the first operation that etcd refuses, and why; then nothing is changed."""

    cepoch: Epoch
    lane: Lane
    ends: tuple[tuple[TabletId, Epoch, int], ...]
    shares: Sequence[OpShare] = ()
    refused: tuple[int, RequestRefused] | None = None


class AcrossReply(NamedTuple):
    """`error`: the step was not done. LOCK is answered by verdicts, one a compare; PREPARE by
    `prepared`; COMMIT and RESOLVE by the revision, 0 for ABORT."""

    error: RequestRefused | None = None
    verdicts: Sequence[Verdict] = ()
    prepared: Prepared | None = None
    revision: Revision = 0


class ParticipantPort(Protocol):
    """A shard as a participant."""

    def across(self, call: AcrossCall, done: Callable[[AcrossReply], None]) -> None:
        """One step; answered once, perhaps late. An error that is not definite says that the step
        may have been done."""


class ShardPort(OwnerPort, ParticipantPort, Protocol):
    """A shard as a router uses it."""


class ShardPeer(PeerPort, ParticipantPort, Protocol):
    """A shard as another shard uses it."""


# -- cutting -----------------------------------------------------------------------------------


def compares_of(op: TxnOp) -> list[CompareOp]:
    """All compares, nested ones too, whatever branch they lie in."""
    found = list(op.compares)
    for branch in (op.success, op.failure):
        for inner in branch:
            if isinstance(inner, TxnOp):
                found += compares_of(inner)
    return found


def holds_together(compare: CompareOp, verdicts: Sequence[Verdict]) -> bool:
    """Whether a compare holds of all shares together: if it met no key at all it is that of an
    absent one (shard/compare.py)."""
    if not all(verdict.satisfied for verdict in verdicts):
        return False
    if any(verdict.found for verdict in verdicts):
        return True
    return absent_holds(compare)


def absent_holds(compare: CompareOp) -> bool:
    """The compare of a key that is not there: all zeros, and no value ever."""
    if compare.target == CompareTarget.VALUE:
        return False
    operand = compare.operand
    assert isinstance(operand, int), "only values are bytes"
    match compare.result:
        case CompareResult.EQUAL:
            return operand == 0
        case CompareResult.NOT_EQUAL:
            return operand != 0
        case CompareResult.GREATER:
            return operand < 0
        case CompareResult.LESS:
            return operand > 0
        case _:
            return True  # etcd: an unknown result holds


def path_of(op: TxnOp, verdicts: Sequence[bool]) -> tuple[bool, ...]:
    """The branches that run, by what each of `compares_of` came to."""
    path: list[bool] = []
    rest = iter(verdicts)
    _walk(op, rest, path, taken=True)
    assert next(rest, None) is None, "a verdict for each compare"
    return tuple(path)


def _walk(op: TxnOp, verdicts: Iterator[bool], path: list[bool], *, taken: bool) -> None:
    mine = [next(verdicts) for _ in op.compares]
    succeeded = all(mine)
    if taken:
        path.append(succeeded)
    for branch, runs in ((op.success, succeeded), (op.failure, not succeeded)):
        for inner in branch:
            if isinstance(inner, TxnOp):
                _walk(inner, verdicts, path, taken=taken and runs)


def leaves_of(op: TxnOp, path: Sequence[bool]) -> list[Leaf]:
    """The operations that run, in order; an operation's index is its place."""
    rest = iter(path)
    found = _leaves(op, rest)
    assert next(rest, None) is None, "a branch for each transaction that runs"
    return found


def _leaves(op: TxnOp, path: Iterator[bool]) -> list[Leaf]:
    found: list[Leaf] = []
    for inner in op.success if next(path) else op.failure:
        if isinstance(inner, TxnOp):
            found += _leaves(inner, path)
        else:
            found.append(inner)
    return found


def leaf_span(op: Leaf) -> KeyRange | None:
    """The keys that an operation reads or changes; None: none."""
    return single(op.key) if isinstance(op, PutOp) else op.span


def every_leaf(op: TxnOp) -> Iterator[Leaf]:
    """The operations of all branches, whether they run or not."""
    for inner in op.success + op.failure:
        if isinstance(inner, TxnOp):
            yield from every_leaf(inner)
        else:
            yield inner


def as_txn(op: Op) -> TxnOp:
    """A single operation as a transaction without compares."""
    return op if isinstance(op, TxnOp) else TxnOp((), (op,), ())
