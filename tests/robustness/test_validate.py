"""Each judge finds what breaks its promise, and a true delivery satisfies all of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kubebraid.proto.etcd import kv_pb2, rpc_pb2
from tests.robustness.model import Model
from tests.robustness.validate import Broken, judge

Deliveries = list[rpc_pb2.WatchResponse]


def put(key: bytes, value: bytes = b"v") -> rpc_pb2.PutRequest:
    return rpc_pb2.PutRequest(key=key, value=value)


def history() -> Model:
    """a@2, b@3, a@4, (a and b)@5 in one transaction, a deleted @6, z@7 outside of the watch."""
    model = Model()
    both = rpc_pb2.TxnRequest(
        success=[rpc_pb2.RequestOp(request_put=put(key, b"2")) for key in (b"a", b"b")]
    )
    delete = rpc_pb2.DeleteRangeRequest(key=b"a")
    for request in (put(b"a"), put(b"b"), put(b"a", b"1"), both, delete, put(b"z")):
        model.apply(request)
    assert model.revision == 7
    return model


def request(**options: object) -> rpc_pb2.WatchCreateRequest:
    made = rpc_pb2.WatchCreateRequest(key=b"a", range_end=b"c", start_revision=2, prev_kv=True)
    made.MergeFrom(rpc_pb2.WatchCreateRequest(**options))  # type: ignore[arg-type]
    return made


def answer(revision: int, *events: kv_pb2.Event) -> rpc_pb2.WatchResponse:
    return rpc_pb2.WatchResponse(
        header=rpc_pb2.ResponseHeader(revision=revision), watch_id=1, events=events
    )


def delivered(model: Model) -> Deliveries:
    """Created, 2, then 3 and 4 together, 5, a bookmark, 6, and a last bookmark."""
    created = answer(2)
    created.created = True
    two, three, four, five, six = (model.events[revision] for revision in range(2, 7))
    return [
        created, answer(2, *two), answer(4, *three, *four), answer(5, *five), answer(5),
        answer(6, *six), answer(7),
    ]  # fmt: skip


def test_true_delivery_satisfies_every_judge() -> None:
    model = history()
    judge(request(), delivered(model), model, complete_to=7)


def cancelled(floor: int) -> rpc_pb2.WatchResponse:
    return rpc_pb2.WatchResponse(
        header=rpc_pb2.ResponseHeader(revision=7), canceled=True, compact_revision=floor
    )


def _foreign(model: Model, told: Deliveries) -> None:
    told.append(answer(7, *model.events[7]))


def _late(model: Model, told: Deliveries) -> None:
    told[1], told[2] = told[2], told[1]


def _twice(model: Model, told: Deliveries) -> None:
    told[5].events.append(told[5].events[0])


def _split(model: Model, told: Deliveries) -> None:
    told[3:4] = [answer(5, event) for event in told[3].events]


def _half(model: Model, told: Deliveries) -> None:
    del told[3].events[1]


def _reordered(model: Model, told: Deliveries) -> None:
    first, second = told[3].events
    told[3] = answer(5, second, first)


def _gap(model: Model, told: Deliveries) -> None:
    del told[2]


def _beheaded(model: Model, told: Deliveries) -> None:
    del told[1]


def _unfinished(model: Model, told: Deliveries) -> None:
    del told[5:]


def _early_bookmark(model: Model, told: Deliveries) -> None:
    told[4].header.revision = 6


def _falling_bookmark(model: Model, told: Deliveries) -> None:
    told.append(answer(6))


def _header_ahead(model: Model, told: Deliveries) -> None:
    told[6].header.revision = 8


def _no_previous(model: Model, told: Deliveries) -> None:
    told[5].events[0].ClearField("prev_kv")


def _wrong_previous(model: Model, told: Deliveries) -> None:
    told[5].events[0].prev_kv.value = b"never"


def _false_create(model: Model, told: Deliveries) -> None:
    told[2].events[1].kv.create_revision = 4


def _wrong_value(model: Model, told: Deliveries) -> None:
    told[2].events[1].kv.value = b"never"


def _needless_cancel(model: Model, told: Deliveries) -> None:
    model.compacted = 6
    told.append(cancelled(6))


def _wrong_floor(model: Model, told: Deliveries) -> None:
    model.compacted = 3
    told[1:] = [cancelled(4)]


@pytest.mark.parametrize(
    ("harm", "promises"),
    [
        (_foreign, {"Filter"}),
        (_late, {"Ordered"}),
        (_twice, {"Unique"}),
        (_split, {"Atomic"}),
        (_half, {"Atomic"}),
        (_reordered, {"Atomic"}),
        (_gap, {"Reliable"}),
        (_beheaded, {"Resumable"}),
        (_unfinished, {"Reliable"}),
        (_early_bookmark, {"Bookmarkable"}),
        (_falling_bookmark, {"Bookmarkable"}),
        (_header_ahead, {"Bookmarkable"}),
        (_no_previous, {"PrevKV"}),
        (_wrong_previous, {"PrevKV"}),
        (_false_create, {"IsCreate"}),
        (_wrong_value, {"IsCreate"}),
        (_needless_cancel, {"Resumable"}),
        (_wrong_floor, {"Resumable"}),
    ],
)
def test_broken_delivery_is_found_and_named(
    harm: Callable[[Model, Deliveries], None], promises: set[str]
) -> None:
    model = history()
    told = delivered(model)
    harm(model, told)
    with pytest.raises(Broken) as found:
        judge(request(), told, model, complete_to=7)
    assert {found.value.promise} == promises


def test_watch_without_prev_kv_must_not_be_told_of_it() -> None:
    model = history()
    asked = request()
    asked.prev_kv = False
    with pytest.raises(Broken, match="PrevKV"):
        judge(asked, delivered(model), model)


def test_watch_that_filters_puts_is_told_of_deletions_alone() -> None:
    model = history()
    asked = request(filters=[rpc_pb2.WatchCreateRequest.NOPUT])
    told = [response for response in delivered(model) if response.created or not response.events]
    told.append(answer(7))
    with pytest.raises(Broken, match=r"Bookmarkable|Reliable"):
        judge(asked, told, model)
    created, bookmark, last, _ = told
    judge(asked, [created, bookmark, answer(6, *model.events[6]), last], model, complete_to=7)
