"""Rows of transactions over several shards: intents and decisions, and what a start finds.

What it is: the values of i and d rows. What it is not: the protocol (`across.py`).

Words: an *intent* is what a prepared participant needs to apply its share after a crash: the
request and the branches that run. A *decision* is written by the primary alone: COMMIT at a
revision. There is no row for ABORT: see `across.py`.

Invariants:
- a store holds one intent at most, for its shard holds its batch slot from then to the decision;
- decode(encode(x)) == x.

Worked example: the intent of shard-1 in a transaction that shard-0 decides names (shard-0, shard-1)
and holds the client's TxnRequest.

Tested in tests/unit/shard/test_intents.py.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from kubebraid.base.across import TxnId, as_txn
from kubebraid.base.ops import TxnOp
from kubebraid.base.ports import WRITE_DELETE, WRITE_TXN
from kubebraid.base.revision import Revision
from kubebraid.proto import requests

from . import keycodec
from .storage.engine import Reader

_HEAD: Final = struct.Struct(">BHH")  # kind, path, bytes of names
_DECIDED: Final = struct.Struct(">Q")


class Intent(NamedTuple):
    """A prepared share. `participants`: all of them, the primary first."""

    kind: int
    path: tuple[bool, ...]
    participants: tuple[str, ...]
    payload: bytes

    @property
    def primary(self) -> str:
        return self.participants[0]

    def op(self) -> TxnOp:
        """The whole transaction."""
        return decoded(self.kind, self.payload)


class Decision(NamedTuple):
    """COMMIT at a revision."""

    revision: Revision
    participants: tuple[str, ...]


def decoded(kind: int, payload: bytes) -> TxnOp:
    """A client's request as a transaction."""
    if kind == WRITE_DELETE:
        return as_txn(requests.decode_delete(payload))
    assert kind == WRITE_TXN, kind
    return requests.decode_txn(payload)


def pack_intent(intent: Intent) -> bytes:
    """The value of an i row."""
    names = _names(intent.participants)
    head = _HEAD.pack(intent.kind, len(intent.path), len(names))
    return head + bytes(intent.path) + names + intent.payload


def unpack_intent(value: bytes) -> Intent:
    kind, branches, size = _HEAD.unpack_from(value)
    at = _HEAD.size
    path = tuple(map(bool, value[at : at + branches]))
    names = value[at + branches : at + branches + size]
    return Intent(kind, path, _unnamed(names), value[at + branches + size :])


def pack_decision(decision: Decision) -> bytes:
    """The value of a d row."""
    return _DECIDED.pack(decision.revision) + _names(decision.participants)


def unpack_decision(value: bytes) -> Decision:
    (revision,) = _DECIDED.unpack_from(value)
    return Decision(revision, _unnamed(value[_DECIDED.size :]))


def _names(participants: Sequence[str]) -> bytes:
    return "\0".join(participants).encode()


def _unnamed(names: bytes) -> tuple[str, ...]:
    return tuple(names.decode().split("\0"))


def undecided(reader: Reader) -> tuple[TxnId, Intent] | None:
    """The share that this store is prepared for, if there is one."""
    found = reader.scan(*keycodec.INTENTS, 2)
    assert len(found) <= 1, "one slot, one intent"
    return (keycodec.txn_id(found[0][0]), unpack_intent(found[0][1])) if found else None


def decisions(reader: Reader) -> Mapping[TxnId, Decision]:
    """What this store decided and not everybody has confirmed."""
    found: dict[TxnId, Decision] = {}
    start, end = keycodec.DECISIONS
    while page := reader.scan(start, end, 1_000):
        found |= {keycodec.txn_id(stored): unpack_decision(value) for stored, value in page}
        start = page[-1][0] + b"\x00"
    return found
