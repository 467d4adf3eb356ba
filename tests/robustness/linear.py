"""Whether every answer of concurrent clients is one that a single store could have given then.

What it is: strict serializability, judged without a search, because the store hands out the order:
a write stands at its revision, an answered read at the revision of its header, and what is left to
check is that this order respects real time and that each answer is what the history says there.
What it is not: a judge of watches (`told`).

Words: the *bound* of a call is the newest revision that anybody had been told before it was called.

Invariants, each with its promise in Broken:
- RealTime: a write comes behind its bound, a read not before it;
- Linearizable: an answer shows exactly the rows of its revision, a compare is as true as it says;
- Refused: only what may be refused is, and nothing below a floor is answered.

Worked example: client 1 was told of revision 9; client 2 then reads with header 8: RealTime.

Source: etcd, "KV API guarantees". Tested by planted faults in test_judges.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tests.robustness.records import (
    Call,
    Compact,
    Delete,
    Done,
    Get,
    History,
    Outcome,
    Page,
    Put,
    Range,
    Revoke,
    Txn,
)
from tests.robustness.truth import (
    Broken,
    Floors,
    Sightings,
    Truth,
    changed,
    effects,
    explain,
    holds,
    told_effects,
)

COMPACTED: Final = "required revision has been compacted"
BUSY: Final = "too many requests"


@dataclass(frozen=True)
class _Known:
    history: History
    truth: Truth
    sightings: Sightings
    floors: Floors


def judge_calls(history: History, truth: Truth) -> Mapping[int, Call]:
    """All promises of all calls; who made each change."""
    known = _Known(history, truth, Sightings(history), Floors(history))
    makers = explain(history, truth, known.sightings)
    _judge_values(makers, truth)
    for call in history.calls:
        match call.outcome:
            case Outcome.OK:
                _judge_order(call, known)
                _judge_answer(call, known)
            case Outcome.REFUSED:
                _judge_refusal(call, known)
            case Outcome.UNKNOWN:
                pass  # `explain` has asked it for what it may have done
    _judge_revoked(history, truth)
    return makers


def _judge_values(makers: Mapping[int, Call], truth: Truth) -> None:
    """What stands in the history at a call's revision is what it asked for, on that state."""
    for revision, call in makers.items():
        if isinstance(call.request, Txn):
            want = effects(call.request, truth, revision - 1)
            got = told_effects(truth.events[revision])
            if want != got:
                raise Broken("Linearizable", f"{call} changed {got} at {revision}, not {want}")


def _judge_order(call: Call, known: _Known) -> None:
    if not isinstance(call.request, Range | Txn):
        return  # what else has a header tells a later moment, or none
    bound = known.sightings.before(call.called)
    if call.revision < bound + changed(call):
        raise Broken("RealTime", f"{bound} was known before {call}")


def _judge_answer(call: Call, known: _Known) -> None:
    match call.request, call.answer:
        case Range() as request, Page() as page:
            at = request.revision or call.revision
            if at > call.revision:
                raise Broken("RealTime", f"asked for {at}, before which the header lies: {call}")
            floor = known.floors.sure(call.called)
            if request.revision and request.revision < floor:
                raise Broken("Refused", f"{floor} was compacted before {call}")
            _judge_page(call, request, page, known.truth, at)
        case Txn() as txn, Done() as done:
            _judge_txn(call, txn, done, known.truth)
        case _:
            pass


def _judge_page(call: Call, request: Range, page: Page, truth: Truth, at: int) -> None:
    rows = truth.rows(request.key, request.end, at)
    shown = [] if request.count_only else rows[: request.limit or None]
    if list(page.rows) != shown or page.total != len(rows):
        want = f"{shown} of {len(rows)}"
        raise Broken("Linearizable", f"{call} at {at}, where the history has {want}")
    more = not request.count_only and len(shown) < len(rows)
    if page.more != more:
        raise Broken("Linearizable", f"more={page.more} of {len(shown)} in {len(rows)}: {call}")


def _judge_txn(call: Call, txn: Txn, done: Done, truth: Truth) -> None:
    before = call.revision - 1 if changed(call) else call.revision
    if holds(txn, truth, before) != done.succeeded:
        raise Broken("Linearizable", f"compares on {before} do not say so: {call}")
    ops = txn.then if done.succeeded else txn.otherwise
    for op, result in zip(ops, done.results, strict=True):
        match op, result:
            case Get(key), Page() as page:
                _judge_page(call, Range(key), page, truth, call.revision)
            case Delete(key), int(deleted):
                if deleted != (truth.at(key, before) is not None):
                    raise Broken("Linearizable", f"deleted={deleted} on {before}: {call}")
            case Put(), 0:
                pass
            case _:
                raise Broken("Linearizable", f"{result} is no answer to {op}: {call}")


def _judge_refusal(call: Call, known: _Known) -> None:
    match call.request:
        case _ if BUSY in call.error:
            return
        case Range(revision=revision) | Compact(revision=revision) if COMPACTED in call.error:
            floor = known.floors.possible(call.returned)
            again = isinstance(call.request, Compact)
            if revision and revision < floor + again:
                return
        case _:
            pass
    raise Broken("Refused", f"there was no reason to: {call}")


def _judge_revoked(history: History, truth: Truth) -> None:
    """No key hangs on a lease whose revoke was acknowledged."""
    requests = [call.request for call in history.calls if call.outcome is Outcome.OK]
    revoked = {request.lease for request in requests if isinstance(request, Revoke)}
    for row in truth.rows("", "\0", truth.last):
        if row.lease in revoked:
            raise Broken("Lease", f"{row} outlived its lease")
