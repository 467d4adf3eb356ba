"""The judges of concurrent runs find what breaks each promise, and a true history passes.

The history: three clients and four streams over keys of two prefixes, with a write whose answer
never came, a gap between revisions as a change of sequencer leaves one, a compaction, and a lease.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.robustness.linear import judge_calls
from tests.robustness.records import (
    EVERYTHING,
    Call,
    Compact,
    Delete,
    Done,
    Event,
    Following,
    Get,
    Grant,
    History,
    Outcome,
    Page,
    Put,
    Range,
    Request,
    Revoke,
    Row,
    Told,
    Txn,
    save,
)
from tests.robustness.told import judge_chains, judge_complete, judge_followings
from tests.robustness.truth import Broken, Truth

A, B = "/a/1", "/b/1"
A2 = Row(A, "1.1", 2, 2, 1, 0)
B3 = Row(B, "2.1", 3, 3, 1, 0)
A50 = Row(A, "1.2", 2, 50, 2, 0)  # behind a gap
B50 = Row(B, "1.2", 3, 50, 2, 0)
A51 = Row(A, "2.2", 2, 51, 3, 0)
B53 = Row(B, "3.1", 53, 53, 1, 7)


def gone(key: str, revision: int) -> Row:
    return Row(key, "", 0, revision, 0, 0)


def call(
    client: int,
    at: int,
    request: Request,
    revision: int,
    answer: Page | Done | None = None,
    outcome: Outcome = Outcome.OK,
) -> Call:
    """From `at` to `at` + 5."""
    return Call(client, request, at, at + 5, outcome, revision, answer)


def cas(key: str, mod: int, op: Put | Delete) -> Txn:
    return Txn(((key, mod),), (op,), (Get(key),))


PUT = Done(True, (0,))
ALL = (EVERYTHING, EVERYTHING)
COMPACTED = "OUT_OF_RANGE: mvcc: required revision has been compacted"


def calls() -> list[Call]:
    both = Txn((), (Put(A, "1.2"), Put(B, "1.2")))
    lost = cas(A, 50, Put(A, "2.2"))
    told = [
        call(1, 0, Range("/", "0"), 1, Page((), 0)),
        call(1, 10, Txn((), (Put(A, "1.1"),)), 2, PUT),
        call(2, 20, Txn((), (Put(B, "2.1"),)), 3, PUT),
        call(3, 22, Range("/", "0", 0, 1), 2, Page((A2,), 1)),  # beside the put of b
        call(1, 30, both, 50, Done(True, (0, 0))),
        call(2, 40, lost, 0, None, Outcome.UNKNOWN),
        call(3, 60, Range("/", "0", 3, 1), 51, Page((A2,), 2, True)),
        call(3, 70, cas(B, 3, Put(B, "3.0")), 51, Done(False, (Page((B50,), 1),))),
        call(3, 80, cas(B, 50, Delete(B)), 52, Done(True, (1,))),
        call(1, 90, Compact(50), 52),
        call(1, 100, Range(A, "", 3), 0, None, Outcome.REFUSED),
        call(1, 110, Grant(7), 52),
        call(1, 120, Txn((), (Put(B, "3.1", 7),)), 53, PUT),
        call(1, 130, Revoke(7), 54),
        call(2, 140, Range("/", "0"), 54, Page((A51,), 1)),
    ]
    told[10].error = COMPACTED
    return told


def put(row: Row, previous: Row | None) -> Event:
    return Event(True, row, previous)


TWO = put(A2, None)
THREE = put(B3, None)
FIFTY = (put(A50, A2), put(B50, B3))
NEXT = put(A51, A50)
DELETED = Event(False, gone(B, 52), B50)
LEASED = put(B53, None)
REVOKED = Event(False, gone(B, 54), B53)


def followings() -> list[Following]:
    """`all` over two streams, `twin` over one, and `b` for one prefix."""
    first, second = Following("all", *ALL, 1, True), Following("all", *ALL, 52, True)
    first.told = [
        Told(1, 1, created=True),
        Told(14, 2, (TWO,)),
        Told(36, 50, (THREE, *FIFTY)),
        Told(37, 50),
        Told(50, 51, (NEXT,)),
    ]
    second.told = [
        Told(86, 52, created=True),
        Told(87, 52, (DELETED,)),
        Told(126, 53, (LEASED,)),
        Told(136, 54, (REVOKED,)),
        Told(150, 54),
    ]
    twin = Following("twin", *ALL, 1, True)
    events = (TWO,), (THREE,), FIFTY, (NEXT,), (DELETED,), (LEASED,), (REVOKED,)
    twin.told = [Told(1, 1, created=True)]
    twin.told += [Told(150, group[0].row.mod, group) for group in events]
    twin.told += [Told(151, 54)]
    b = Following("b", "/b/", "/b0", 1, True)
    some = (THREE, FIFTY[1], DELETED, LEASED, REVOKED)
    b.told = [Told(1, 1, created=True)]
    b.told += [Told(150, event.row.mod, (event,)) for event in some] + [Told(151, 54)]
    return [first, second, twin, b]


def true_history() -> History:
    return History(calls(), followings())


def judge_all(history: History) -> None:
    truth = Truth(history)
    judge_calls(history, truth)
    judge_followings(history, truth)
    judge_chains(history)
    judge_complete(history, ["all", "twin", "b"], 54)


def test_true_history_passes() -> None:
    history = true_history()
    judge_all(history)
    makers = judge_calls(history, Truth(history))
    assert makers[51] is history.calls[5], "the one that was not answered made the change"
    assert makers[54] is history.calls[13], "the end of a lease is its revoke's"


def test_unknown_write_that_never_happened_passes() -> None:
    history = true_history()
    history.calls.append(call(4, 60, cas(A, 50, Put(A, "4.1")), 0, None, Outcome.UNKNOWN))
    judge_all(history)


# -- planted: what calls can be told -----------------------------------------------------------


def _stale_read(history: History) -> None:
    history.calls[14].revision = 53
    history.calls[14].answer = Page((A51, B53), 2)


def _stale_rows(history: History) -> None:
    history.calls[14].answer = Page((A50,), 1)


def _lost_write(history: History) -> None:
    history.calls.append(call(4, 145, Txn((), (Put(A, "4.1"),)), 60, PUT))


def _applied_twice(history: History) -> None:
    again = put(Row(A, "2.2", 2, 60, 4, 0), A51)
    history.followings[1].told.append(Told(155, 60, (again,)))


def _same_revision(history: History) -> None:
    history.calls.append(replace(history.calls[1], client=4))


def _refused_write_happened(history: History) -> None:
    history.calls[5].outcome = Outcome.REFUSED
    history.calls[5].error = "RESOURCE_EXHAUSTED: etcdserver: too many requests"


def _write_in_the_past(history: History) -> None:
    history.followings[1].told.insert(2, Told(115, 53))


def _false_failure(history: History) -> None:
    history.calls[7].request = cas(B, 50, Put(B, "3.0"))


def _false_success(history: History) -> None:
    history.calls[8].request = cas(B, 3, Delete(B))


def _wrong_else(history: History) -> None:
    history.calls[7].answer = Done(False, (Page((B3,), 1),))


def _wrong_deleted(history: History) -> None:
    history.calls[8].request = Txn((("/b/2", 0),), (Delete("/b/2"), Delete(B)))
    history.calls[8].answer = Done(True, (1, 1))


def _wrong_count(history: History) -> None:
    history.calls[6].answer = Page((A2,), 3, True)


def _wrong_more(history: History) -> None:
    history.calls[6].answer = Page((A2,), 2, False)


def _below_the_floor(history: History) -> None:
    history.calls[10] = call(1, 100, Range(A, "", 3), 52, Page((A2,), 1))


def _future(history: History) -> None:
    history.calls[6].request = Range("/", "0", 52, 1)


def _refused_for_nothing(history: History) -> None:
    history.calls[6].outcome, history.calls[6].error = Outcome.REFUSED, COMPACTED


def _unknown_refusal(history: History) -> None:
    history.calls[6].outcome, history.calls[6].error = Outcome.REFUSED, "DATA_LOSS: hm"


def _outlives_lease(history: History) -> None:
    for following in history.followings:
        following.told = [told for told in following.told if REVOKED not in told.events]
    history.calls[14].answer = Page((A51, B53), 2)


def _told_before_it_was_asked(history: History) -> None:
    history.calls[5].called = 55


def _lost_in_all_watches(history: History) -> None:
    for following in history.followings:
        following.told = [told for told in following.told if NEXT not in told.events]
    history.calls[14].answer = Page((A50,), 1)
    history.calls.append(call(4, 145, Txn((), (Put(A, "4.1"),)), 60, PUT))
    history.followings[1].told.append(Told(155, 60, (put(Row(A, "4.1", 2, 60, 4, 0), A51),)))


# -- planted: what watches can tell ------------------------------------------------------------


def _lost_event(history: History) -> None:
    del history.followings[3].told[2]


def _lost_beginning(history: History) -> None:
    del history.followings[3].told[1]


def _twice(history: History) -> None:
    history.followings[3].told.insert(2, history.followings[3].told[1])


def _reordered(history: History) -> None:
    told = history.followings[2].told
    told[1], told[2] = told[2], told[1]


def _reordered_late(history: History) -> None:
    told = history.followings[3].told
    told[4:6] = [Told(150, 54, (REVOKED,)), Told(150, 54, (LEASED,))]


def _torn(history: History) -> None:
    history.followings[2].told[3] = Told(150, 50, FIFTY[:1])


def _split(history: History) -> None:
    history.followings[2].told[3:4] = [Told(150, 50, (event,)) for event in FIFTY]


def _swapped(history: History) -> None:
    history.followings[2].told[3] = Told(150, 50, FIFTY[::-1])


def _foreign_event(history: History) -> None:
    history.followings[3].told.insert(3, Told(150, 51, (NEXT,)))


def _before_the_start(history: History) -> None:
    history.followings[1].told.insert(1, Told(86, 51, (NEXT,)))


def _other_value(history: History) -> None:
    harmed = put(B50._replace(value="1.3"), B3)
    history.followings[3].told[2] = Told(150, 50, (harmed,))


def _wrong_previous(history: History) -> None:
    history.followings[3].told[3] = Told(150, 52, (DELETED._replace(previous=B3),))


def _no_previous(history: History) -> None:
    history.followings[3].told[5] = Told(150, 54, (REVOKED._replace(previous=None),))


def _unasked_previous(history: History) -> None:
    history.followings[3].prev_kv = False


def _early_bookmark(history: History) -> None:
    history.followings[3].told.insert(3, Told(150, 52))


def _falling_bookmark(history: History) -> None:
    history.followings[3].told.append(Told(152, 53))


def _event_behind_bookmark(history: History) -> None:
    told = history.followings[3].told
    told[4:6] = [Told(150, 53), told[4], told[5]]


def _header_behind(history: History) -> None:
    history.followings[3].told[4] = Told(150, 52, (LEASED,))


def _left_out(history: History) -> None:
    history.followings[1].start = 53
    del history.followings[1].told[1]


def _never_told_the_end(history: History) -> None:
    del history.followings[3].told[4:]


def _cancelled_for_nothing(history: History) -> None:
    history.followings[3].told.append(Told(152, 54, canceled=True, compacted=50))


def _cancelled_without_reason(history: History) -> None:
    history.followings[3].told.append(Told(152, 54, canceled=True))


def _floor_that_nobody_set(history: History) -> None:
    b = history.followings[3]
    b.told = [b.told[0], Told(60, 54, canceled=True, compacted=50)]


def _created_twice(history: History) -> None:
    history.followings[3].told.append(Told(152, 54, created=True))


PLANTED: dict[Callable[[History], None], str] = {
    _stale_read: "RealTime",
    _stale_rows: "Linearizable",
    _lost_write: "Lost",
    _lost_in_all_watches: "Lost",
    _applied_twice: "Foreign",
    _same_revision: "Unique",
    _refused_write_happened: "Foreign",
    _write_in_the_past: "RealTime",
    _false_failure: "Linearizable",
    _false_success: "Linearizable",
    _wrong_else: "Linearizable",
    _wrong_deleted: "Linearizable",
    _wrong_count: "Linearizable",
    _wrong_more: "Linearizable",
    _below_the_floor: "Refused",
    _future: "RealTime",
    _refused_for_nothing: "Refused",
    _unknown_refusal: "Refused",
    _outlives_lease: "Lease",
    _told_before_it_was_asked: "Foreign",
    _lost_event: "Reliable",
    _lost_beginning: "Resumable",
    _twice: "Unique",
    _reordered: "Resumable",
    _reordered_late: "Reliable",
    _torn: "Atomic",
    _split: "Atomic",
    _swapped: "Atomic",
    _foreign_event: "Filter",
    _before_the_start: "Filter",
    _other_value: "IsCreate",
    _wrong_previous: "PrevKV",
    _no_previous: "PrevKV",
    _unasked_previous: "PrevKV",
    _early_bookmark: "Bookmarkable",
    _falling_bookmark: "Bookmarkable",
    _event_behind_bookmark: "Bookmarkable",
    _header_behind: "Bookmarkable",
    _left_out: "Resumable",
    _never_told_the_end: "Reliable",
    _cancelled_for_nothing: "Resumable",
    _cancelled_without_reason: "Resumable",
    _floor_that_nobody_set: "Resumable",
    _created_twice: "Created",
}


@pytest.mark.parametrize(("harm", "promise"), PLANTED.items())
def test_planted_fault_is_found_and_named(harm: Callable[[History], None], promise: str) -> None:
    history = true_history()
    harm(history)
    with pytest.raises(Broken) as found:
        judge_all(history)
    assert found.value.promise == promise, found.value


def test_compacted_watch_that_begins_anew_passes() -> None:
    history = true_history()
    late = Following("late", "/b/", "/b0", 2, True)
    late.told = [Told(95, 52, created=True), Told(96, 52, canceled=True, compacted=50)]
    again = Following("late", "/b/", "/b0", 50, True)
    again.told = [Told(97, 52, created=True), *history.followings[3].told[2:]]
    history.followings += [late, again]
    judge_all(history)


def test_history_is_written_line_by_line(tmp_path: Path) -> None:
    history = true_history()
    save(history, tmp_path / "history.jsonl")
    told = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [line["type"] for line in told] == ["call"] * 15 + ["watch"] * 4
    assert told[8]["then"] == [{"op": "delete", "key": B}]
    assert told[8]["compares"] == [{"key": B, "mod": 50}]
    assert told[8]["results"] == [{"deleted": 1}]
    assert told[17]["told"][3]["events"][1]["previous"] == B3._asdict()
