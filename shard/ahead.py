"""Which stored keys a batch will read: told to the engine before, where that is worth something.

What it is: the keys that the queued calls name. What it is not: their evaluation (`apply.py`), nor
the reading (`storage/tikv_ahead.py`): a key that is forgotten here is read by itself.

Invariants:
- only an engine that wants it pays for it (`Engine.batches_reads`), and no call is decoded twice;
- ranges are left alone, as each is one scan, whatever it finds.

Worked example: queued are a put of a and a transaction that compares b and deletes it: n/a and n/b
are expected.

Tested in tests/unit/shard/test_ahead.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain, islice
from typing import TypeVar

from kubebraid.base.keyspace import KeyRange
from kubebraid.base.limits import BATCH_WRITES_MAX, EXPECT_KEYS_MAX
from kubebraid.base.ops import DeleteOp, Op, PutOp, RangeOp, TxnOp
from kubebraid.base.ports import WRITE_LEASE_REVOKE, WriteCall
from kubebraid.proto import requests

from . import keycodec
from .outcome import op_of
from .storage.engine import Engine, EngineError
from .view import attached_keys

T = TypeVar("T")


def announce(engine: Engine, queue: deque[tuple[WriteCall, T]]) -> None:
    """Tell the engine what the next batch will read. Calls that came by a wire are decoded in their
    places, so that it is done once."""
    wanted: dict[bytes, None] = {}
    for at, (queued, done) in enumerate(list(islice(queue, BATCH_WRITES_MAX))):
        call = queued if queued.op is not None else queued._replace(op=op_of(queued))
        queue[at] = call, done
        wanted.update(dict.fromkeys(_named(engine, call)))
        if len(wanted) >= EXPECT_KEYS_MAX:
            break
    if len(wanted) > 1:
        engine.expect([keycodec.newest(key) for key in islice(wanted, EXPECT_KEYS_MAX)])


def _named(engine: Engine, call: WriteCall) -> Iterator[bytes]:
    if call.op is not None:
        yield from _read_by(call.op)
    elif call.kind == WRITE_LEASE_REVOKE:
        with suppress(EngineError):  # the evaluation meets it again, and tells
            yield from islice(
                attached_keys(engine, requests.lease_revoke(call.payload)), EXPECT_KEYS_MAX
            )


def _read_by(op: Op) -> Iterator[bytes]:
    """The keys that are read one by one, whatever branch is taken."""
    match op:
        case PutOp():
            yield op.key
        case DeleteOp():
            yield from _alone(op.span)
        case RangeOp():
            if op.revision == 0:
                yield from _alone(op.span)
        case TxnOp():
            if op.key is not None:
                yield op.key
                return
            for compare in op.compares:
                yield from _alone(compare.span)
            for inner in chain(op.success, op.failure):
                yield from _read_by(inner)


def _alone(span: KeyRange | None) -> Iterator[bytes]:
    if span is not None and span.is_single():
        yield span.start
