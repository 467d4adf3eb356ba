"""Stored intents and decisions: what is written is what a start finds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubebraid.base.across import TxnId
from kubebraid.base.ops import DeleteOp
from kubebraid.base.ports import WRITE_DELETE, WRITE_TXN
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.shard import keycodec
from kubebraid.shard.intents import (
    Decision,
    Intent,
    decisions,
    pack_decision,
    pack_intent,
    undecided,
    unpack_decision,
    unpack_intent,
)
from kubebraid.shard.storage.engine import Batch
from kubebraid.shard.storage.memory import MemoryEngine

NAMES = st.lists(st.text("abc-0", min_size=1, max_size=9), min_size=2, max_size=4).map(tuple)
TXNS = st.builds(TxnId, st.integers(0, (1 << 63) - 1), st.integers(0, (1 << 63) - 1))


@given(st.lists(st.booleans(), max_size=200).map(tuple), NAMES, st.binary())
def test_intent_comes_back(path: tuple[bool, ...], names: tuple[str, ...], payload: bytes) -> None:
    intent = Intent(WRITE_TXN, path, names, payload)
    assert unpack_intent(pack_intent(intent)) == intent
    assert intent.primary == names[0]


@given(st.integers(1, 1 << 62), NAMES)
def test_decision_comes_back(revision: int, names: tuple[str, ...]) -> None:
    decision = Decision(revision, names)
    assert unpack_decision(pack_decision(decision)) == decision


@given(TXNS)
def test_keys_name_their_transaction_and_lie_apart(txn: TxnId) -> None:
    for stored, bounds in (
        (keycodec.intent(txn), keycodec.INTENTS),
        (keycodec.decision(txn), keycodec.DECISIONS),
    ):
        assert bounds[0] <= stored < bounds[1]
        assert keycodec.txn_id(stored) == txn


def test_deletion_is_a_transaction_of_one_operation() -> None:
    payload = rpc_pb2.DeleteRangeRequest(key=b"a", range_end=b"z").SerializeToString()
    (op,) = Intent(WRITE_DELETE, (True,), ("s", "t"), payload).op().success
    assert isinstance(op, DeleteOp)


def test_start_finds_the_intent_and_every_decision() -> None:
    engine = MemoryEngine()
    assert undecided(engine) is None
    assert decisions(engine) == {}
    intent = Intent(WRITE_TXN, (True,), ("s", "t"), b"")
    batch = Batch().put(keycodec.intent(TxnId(7, 1)), pack_intent(intent))
    wanted = {TxnId(7, number): Decision(number, ("s", "t")) for number in range(2, 1_500)}
    for txn, decision in wanted.items():
        batch.put(keycodec.decision(txn), pack_decision(decision))
    engine.write(batch, sync=True)
    assert undecided(engine) == (TxnId(7, 1), intent)
    assert decisions(engine) == wanted


def test_two_intents_are_not_possible() -> None:
    """A store with two was never written by a shard that holds its slot."""
    engine = MemoryEngine()
    batch = Batch()
    for number in (1, 2):
        batch.put(keycodec.intent(TxnId(7, number)), pack_intent(Intent(2, (), ("s", "t"), b"")))
    engine.write(batch, sync=True)
    with pytest.raises(AssertionError, match="one slot"):
        undecided(engine)
