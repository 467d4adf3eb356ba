"""When two answers are the same, and in which order concurrent requests took effect.

What it is: the comparison of a store's answers with the model's. What it is not: a judge of
watches (`validate`).

Words: an *outcome* is a response or a refusal; to *explain* a batch is to find an order of its
requests in which the model, asked one by one, gives exactly the outcomes that came.

Invariants: requests of a batch are concurrent, so any order may be the true one; an order that
explains all outcomes keeps every promise on headers, because headers are part of the outcomes.

Worked example: `put a` answered with revision 3 and a range answered with revision 2 and no rows,
in one batch on a store at revision 2, are explained by (range, put), whoever was sent first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from kubebraid.proto.etcd import rpc_pb2
from tests.robustness.checks import Refusal
from tests.robustness.model import Model, Request, Response

Outcome: TypeAlias = Response | Refusal

METHODS: Final[dict[type[Request], str]] = {
    rpc_pb2.RangeRequest: "KV.Range",
    rpc_pb2.PutRequest: "KV.Put",
    rpc_pb2.DeleteRangeRequest: "KV.DeleteRange",
    rpc_pb2.TxnRequest: "KV.Txn",
    rpc_pb2.CompactionRequest: "KV.Compact",
    rpc_pb2.LeaseGrantRequest: "Lease.LeaseGrant",
    rpc_pb2.LeaseRevokeRequest: "Lease.LeaseRevoke",
    rpc_pb2.LeaseTimeToLiveRequest: "Lease.LeaseTimeToLive",
    rpc_pb2.LeaseLeasesRequest: "Lease.LeaseLeases",
}

# Their headers say where the store was when the answer left, not when the request took effect.
_LATE_HEADERS: Final = (
    rpc_pb2.CompactionResponse,
    rpc_pb2.LeaseGrantResponse,
    rpc_pb2.LeaseRevokeResponse,
    rpc_pb2.LeaseTimeToLiveResponse,
    rpc_pb2.LeaseLeasesResponse,
)


def comparable(outcome: Outcome) -> Outcome:
    """The outcome without what a model cannot know: who answered, clocks, orders left open."""
    if isinstance(outcome, Refusal):
        return outcome
    kept = type(outcome).FromString(outcome.SerializeToString())
    revision = kept.header.revision
    kept.header.Clear()
    kept.header.revision = revision
    if isinstance(kept, rpc_pb2.LeaseTimeToLiveResponse):
        kept.TTL = min(kept.TTL, 0)  # what is left of it is the clock's matter
        keys = sorted(kept.keys)
        del kept.keys[:]
        kept.keys.extend(keys)
    if isinstance(kept, rpc_pb2.LeaseLeasesResponse):
        kept.leases.sort(key=lambda lease: lease.ID)
    return kept


def same(got: Outcome, want: Outcome, late_up_to: int = 0) -> bool:
    """Whether they are equal; a header that tells a later moment may go up to `late_up_to`."""
    left, right = comparable(got), comparable(want)
    if (
        isinstance(left, _LATE_HEADERS)
        and isinstance(right, _LATE_HEADERS)
        and right.header.revision <= left.header.revision <= late_up_to
    ):
        left.header.revision = right.header.revision
    return left == right


def explain(model: Model, requests: Sequence[Request], outcomes: Sequence[Outcome]) -> Model | None:
    """The model after an order of the requests that gives these outcomes; None if there is none."""
    assert len(requests) == len(outcomes)
    headers = [o.header.revision for o in outcomes if not isinstance(o, Refusal)]
    latest = max(headers, default=model.revision)
    return _explain(model, list(zip(requests, outcomes, strict=True)), latest)


def _explain(model: Model, open_calls: list[tuple[Request, Outcome]], latest: int) -> Model | None:
    candidates: list[tuple[int, Model]] = []
    for index, (request, outcome) in enumerate(open_calls):
        after = model.copy()
        if not same(outcome, after.apply(request), latest):
            continue
        if unchanged(model, after):
            # It fits here and disturbs nobody: if there is an order at all, there is this one.
            rest = open_calls[:index] + open_calls[index + 1 :]
            return _explain(model, rest, latest)
        candidates.append((index, after))
    if not open_calls:
        return model
    for index, after in candidates:
        rest = open_calls[:index] + open_calls[index + 1 :]
        if (explained := _explain(after, rest, latest)) is not None:
            return explained
    return None


def unchanged(before: Model, after: Model) -> bool:
    """Whether a request left no trace."""
    return (
        before.revision == after.revision
        and before.compacted == after.compacted
        and before.leases == after.leases
    )


def tell(requests: Sequence[Request], outcomes: Sequence[Outcome], model: Model) -> str:
    """What a failed test shows: each call, its outcome, and what the model would say first."""
    lines = [f"at revision {model.revision}, compacted {model.compacted}:"]
    for request, outcome in zip(requests, outcomes, strict=True):
        lines.append(f"{METHODS[type(request)]} {_short(request)}")
        lines.append(f"   got  {_short(comparable(outcome))}")
        lines.append(f"   want {_short(comparable(model.copy().apply(request)))} (if first)")
    return "\n".join(lines)


def _short(message: object) -> str:
    return " ".join(str(message).split())
