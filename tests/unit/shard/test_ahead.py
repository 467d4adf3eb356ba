"""What a batch reads is told to the engine before: by an engine that counts single reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import pytest

from kubebraid.base.ports import PointCall, PointReply, WriteCall
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.shard import ahead, keycodec
from kubebraid.shard.storage.engine import EngineCorrupt
from tests.unit.shard.fakes import (
    A,
    BreakableEngine,
    Stand,
    delete_call,
    grant_call,
    put_call,
    revoke_call,
    txn_call,
)

MANY: Final = 100


class Far(BreakableEngine):
    """Wants to be told, and counts what it was not told of."""

    batches_reads = True  # type: ignore[misc]  # what a nearer engine says for good

    def __init__(self) -> None:
        super().__init__()
        self.expected: list[list[bytes]] = []
        self.single: list[bytes] = []
        self._told: set[bytes] = set()

    def expect(self, keys: Sequence[bytes]) -> None:
        self.expected.append(list(keys))
        self._told = set(keys)

    def get(self, key: bytes) -> bytes | None:
        if key not in self._told:
            self.single.append(key)
        return super().get(key)

    def forget(self) -> None:
        self.expected.clear()
        self.single.clear()
        self._told.clear()


def stand_of(engine: BreakableEngine, lease: int = 0) -> Stand:
    stand = Stand(engine=engine)
    if lease:
        stand.write(grant_call(lease, 60))
    stand.write(*[put_call(key(number), lease=lease) for number in range(MANY)])
    if isinstance(engine, Far):
        engine.forget()
    return stand


def key(number: int) -> bytes:
    return b"/a/%04d" % number


def compared(name: bytes, *ops: rpc_pb2.RequestOp) -> rpc_pb2.TxnRequest:
    same = rpc_pb2.Compare(
        key=name,
        target=rpc_pb2.Compare.VERSION,
        result=rpc_pb2.Compare.EQUAL,
        version=1,
    )
    got = rpc_pb2.RequestOp(request_range=rpc_pb2.RangeRequest(key=name))
    return rpc_pb2.TxnRequest(compare=[same], success=ops, failure=[got])


def put_op(name: bytes) -> rpc_pb2.RequestOp:
    return rpc_pb2.RequestOp(request_put=rpc_pb2.PutRequest(key=name, value=b"new"))


def delete_op(name: bytes) -> rpc_pb2.RequestOp:
    return rpc_pb2.RequestOp(request_delete_range=rpc_pb2.DeleteRangeRequest(key=name))


BATCHES: Final[dict[str, Callable[[int], WriteCall]]] = {
    "create": lambda number: put_call(b"/a/new%04d" % number),
    "update": lambda number: put_call(key(number)),
    "delete": lambda number: delete_call(key(number)),
    "apiserver's update": lambda number: txn_call(compared(key(number), put_op(key(number)))),
    "apiserver's delete": lambda number: txn_call(compared(key(number), delete_op(key(number)))),
    "transaction": lambda number: txn_call(
        compared(key(number), put_op(b"/a/other%d" % number), delete_op(b"/a/x%d" % number))
    ),
}


@pytest.mark.parametrize("kind", BATCHES)
def test_batch_of_a_hundred_is_read_at_once(kind: str) -> None:
    engine = Far()
    stand = stand_of(engine)
    replies = stand.write(*[BATCHES[kind](number) for number in range(MANY)])
    assert [reply.error for reply in replies] == [None] * MANY
    assert len(engine.expected) == 1
    assert len(engine.expected[0]) >= MANY
    assert engine.single == []


@pytest.mark.parametrize("kind", BATCHES)
def test_answers_are_those_of_an_engine_that_is_told_nothing(kind: str) -> None:
    calls = [BATCHES[kind](number) for number in range(MANY)]
    told, silent = stand_of(Far()), stand_of(BreakableEngine())
    assert told.write(*calls) == silent.write(*calls)


def test_keys_of_a_lease_that_ends_are_read_at_once() -> None:
    engine = Far()
    stand = stand_of(engine, lease=7)
    stand.write(revoke_call(7))
    (expected,) = engine.expected
    assert sorted(expected) == [keycodec.newest(key(number)) for number in range(MANY)]
    assert engine.single == []


def test_lone_key_and_a_range_are_left_to_their_own_calls() -> None:
    engine = Far()
    stand = stand_of(engine)
    stand.write(put_call(key(0)))
    stand.write(delete_call(b"/a/", b"/a0"), delete_call(b"/b/", b"/b0"))
    assert engine.expected == []
    assert engine.single == [keycodec.newest(key(0))]


def test_more_than_the_limit_is_left_to_calls_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "EXPECT_KEYS_MAX", 10)
    engine = Far()
    stand = stand_of(engine)
    stand.write(*[put_call(key(number)) for number in range(MANY)])
    assert [len(keys) for keys in engine.expected] == [10]
    assert len(engine.single) == MANY - 10


def test_engine_that_reads_nothing_ahead_is_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "op_of", lambda call: pytest.fail("decoded for nobody"))
    stand = stand_of(BreakableEngine())
    assert len(stand.write(*[put_call(key(number)) for number in range(MANY)])) == MANY


def test_attachments_that_cannot_be_read_refuse_their_revoke_alone() -> None:
    engine = Far()
    stand = stand_of(engine, lease=7)
    engine.faults = {keycodec.attachment(7, key(3)): EngineCorrupt("damaged")}
    replies = stand.write(put_call(b"/a/new"), put_call(key(1)), revoke_call(7))
    errors = {reply.tag: reply.error for reply in replies}
    assert errors.pop(("revoke", 7)) is not None
    assert errors == {b"/a/new": None, key(1): None}


def test_points_of_a_batch_are_read_at_once() -> None:
    engine = Far()
    stand = stand_of(engine)
    revision = stand.owned.closed[A]
    calls = [PointCall(key(n), revision, A, 0, 1, n) for n in range(MANY)]
    replies: list[PointReply] = []
    stand.owner.points(calls, replies.append)
    assert [reply.tag for reply in replies if reply.row is not None] == list(range(MANY))
    assert (len(engine.expected), engine.single) == (1, [])
