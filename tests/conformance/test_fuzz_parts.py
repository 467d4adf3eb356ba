"""The fuzz's own parts, without a server: comparison, watches, generator, shrinking.

A comparison that overlooks something makes the fuzz worthless without anybody noticing, so each
kind of difference is planted here and has to be found.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Final

import pytest

from kubebraid.proto.etcd import kv_pb2
from kubebraid.proto.etcd import rpc_pb2 as pb

from .case import Call, CallStream, Message, Send, op, put, putting, txn, watching
from .fuzz import FLOOR, NOW, OPS_MAX, Fuzz, Step, operations, sequence
from .fuzz_compare import FLOOR_HISTORY, NOTED_HASH, UNSORTED, Found, Tally, judge, readable
from .fuzz_keys import CROWDED, KEY_SETS
from .fuzz_run import shrink
from .fuzz_watch import FuzzView, Watches
from .runner import Outcome

# -- lies told by a fake second answer -------------------------------------------------------------

BASE: Final = 100
SHOWN: Final = pb.ResponseHeader(cluster_id=1, member_id=2, revision=109, raft_term=3)
ROWS: Final = tuple(
    kv_pb2.KeyValue(
        key=b"/n/%d" % number,
        create_revision=103,
        mod_revision=104 + number,
        version=2,
        value=b"v",
        lease=7,
    )
    for number in range(3)
)
EVENTS: Final = tuple(
    kv_pb2.Event(kv=row, prev_kv=kv_pb2.KeyValue(key=row.key, mod_revision=103, version=1))
    for row in ROWS
)
HONEST: Final[dict[str, Message]] = {
    "KV.Range": pb.RangeResponse(header=SHOWN, kvs=ROWS, more=True, count=9),
    "KV.Put": pb.PutResponse(header=SHOWN, prev_kv=ROWS[0]),
    "KV.DeleteRange": pb.DeleteRangeResponse(header=SHOWN, deleted=2, prev_kvs=ROWS[:2]),
    "KV.Txn": pb.TxnResponse(
        header=SHOWN,
        succeeded=True,
        responses=[pb.ResponseOp(response_range=pb.RangeResponse(kvs=ROWS, count=3))],
    ),
    "Lease.LeaseTimeToLive": pb.LeaseTimeToLiveResponse(
        header=SHOWN, ID=7, TTL=999, grantedTTL=1000, keys=[b"/n/0", b"/n/1"]
    ),
    "Watch": pb.WatchResponse(header=SHOWN, watch_id=5, created=True),
    "Events": pb.WatchResponse(events=EVENTS),
}


def told(answers: dict[str, Message], refused: Outcome) -> tuple[list[Step], list[Outcome]]:
    """Steps and what a server with these answers makes of them; watches tell at floor 105."""
    view = FuzzView(BASE, 2, bytes)
    steps: list[Step] = [Call(name, None) for name in answers if "." in name]
    calls = [step for step in steps if isinstance(step, Call)]
    outcomes: list[Outcome] = [view.plain(answers[call.method]) for call in calls]
    steps += [Call("KV.Put", putting("")), Send(watching("/n/"))]
    events = [view.plain(each) for each in answers["Events"].events]
    watched = {"": "Watched", "floor": view.revision(105), "watch 5": events}
    outcomes += [refused, [view.plain(answers["Watch"])], {"": "Watches", "s": watched}]
    return steps, outcomes


REFUSED: Final = {"": "refused", "code": "INVALID_ARGUMENT", "text": "etcdserver: key not found"}
Lie = Callable[[dict[str, Any]], object]
LIES: Final[dict[str, Lie]] = {
    "revision": lambda told: setattr(told["KV.Range"].header, "revision", 110),
    "no header": lambda told: told["KV.Put"].ClearField("header"),
    "a row lost": lambda told: told["KV.Range"].kvs.pop(),
    "a row twice": lambda told: told["KV.Range"].kvs.append(ROWS[2]),
    "rows in another order": lambda told: told["KV.Range"].kvs.reverse(),
    "value": lambda told: setattr(told["KV.Range"].kvs[1], "value", b"w"),
    "value lost": lambda told: told["KV.Range"].kvs[1].ClearField("value"),
    "version": lambda told: setattr(told["KV.Range"].kvs[1], "version", 3),
    "create revision": lambda told: setattr(told["KV.Range"].kvs[0], "create_revision", 104),
    "mod revision": lambda told: setattr(told["KV.Range"].kvs[0], "mod_revision", 103),
    "lease of a row": lambda told: setattr(told["KV.Range"].kvs[2], "lease", 8),
    "key": lambda told: setattr(told["KV.Range"].kvs[2], "key", b"/n/3"),
    "more": lambda told: setattr(told["KV.Range"], "more", False),
    "count": lambda told: setattr(told["KV.Range"], "count", 8),
    "previous version lost": lambda told: told["KV.Put"].ClearField("prev_kv"),
    "another previous version": lambda told: told["KV.Put"].prev_kv.CopyFrom(ROWS[1]),
    "deleted": lambda told: setattr(told["KV.DeleteRange"], "deleted", 1),
    "deleted rows": lambda told: told["KV.DeleteRange"].prev_kvs.reverse(),
    "the other branch": lambda told: setattr(told["KV.Txn"], "succeeded", False),
    "an operation unanswered": lambda told: told["KV.Txn"].responses.pop(),
    "inside a transaction": lambda told: told["KV.Txn"].responses[0].response_range.kvs.pop(),
    "lease gone": lambda told: setattr(told["Lease.LeaseTimeToLive"], "TTL", -1),
    "lease granted": lambda told: setattr(told["Lease.LeaseTimeToLive"], "grantedTTL", 1001),
    "lease of another key": lambda told: told["Lease.LeaseTimeToLive"].keys.pop(),
    "watch id": lambda told: setattr(told["Watch"], "watch_id", 6),
    "watch refused": lambda told: setattr(told["Watch"], "canceled", True),
    "watch header": lambda told: setattr(told["Watch"].header, "revision", 108),
    "an event lost": lambda told: told["Events"].events.pop(0),
    "an event twice": lambda told: told["Events"].events.append(EVENTS[2]),
    "events in another order": lambda told: told["Events"].events.reverse(),
    "kind of event": lambda told: setattr(told["Events"].events[0], "type", 1),
    "history lost": lambda told: told["Events"].events[2].ClearField("prev_kv"),
    "history lost at the floor": lambda told: told["Events"].events[1].ClearField("prev_kv"),
    "other history": lambda told: setattr(told["Events"].events[1].prev_kv, "version", 9),
    "a field of no name": lambda told: told["KV.Put"].MergeFromString(b"\xf8\x06\x01"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_planted_difference_is_found(name: str) -> None:
    """One field of one answer; nothing of it may get lost on the way to the comparison."""
    lie = copy.deepcopy(HONEST)
    LIES[name](lie)
    steps, theirs = told(HONEST, REFUSED)
    _, ours = told(lie, REFUSED)
    assert judge(steps, theirs, told(HONEST, REFUSED)[1], Tally()) is None
    assert judge(steps, theirs, ours, Tally()) is not None


@pytest.mark.parametrize(
    "other",
    [
        {**REFUSED, "code": "NOT_FOUND"},
        {**REFUSED, "text": "etcdserver: lease not found"},
        FuzzView(BASE, 2, bytes).plain(HONEST["KV.Put"]),
    ],
    ids=["code", "text", "no refusal"],
)
def test_another_refusal_is_found(other: Outcome) -> None:
    steps, theirs = told(HONEST, REFUSED)
    found = judge(steps, theirs, told(HONEST, other)[1], Tally())
    assert found is not None
    assert steps[found.index] == put("")
    assert judge(steps, told(HONEST, other)[1], theirs, Tally()) is not None


# -- what is excused -------------------------------------------------------------------------------


def excused(step: Step | None, want: Outcome, have: Outcome) -> str:
    """Under which title, if it is."""
    tally = Tally()
    steps = [] if step is None else [step]
    ends = [] if step is None else [{"": "Watches"}]
    found = judge(steps, [want, *ends], [have, *ends], tally)
    assert (found is None) == bool(tally.excused)
    return "".join(tally.excused)


def test_history_is_excused_at_the_floor_only() -> None:
    """Ours tells the previous version of an event at the floor; nowhere else, and not less."""
    _, ours = told(HONEST, REFUSED)
    for number, title in ((0, ""), (1, FLOOR_HISTORY), (2, "")):
        without = copy.deepcopy(HONEST)
        without["Events"].events[number].ClearField("prev_kv")
        _, theirs = told(without, REFUSED)
        assert excused(None, theirs[-1], ours[-1]) == title
        assert excused(None, ours[-1], theirs[-1]) == ""


def test_an_unsorted_stream_has_to_be_what_range_answers() -> None:
    view = FuzzView(BASE, 2, bytes)
    right, wrong = view.plain(HONEST["KV.Range"]), copy.deepcopy(HONEST["KV.Range"])
    wrong.kvs.reverse()
    mess = view.plain(wrong)
    by_create = pb.RangeRequest(key=b"k", sort_target=pb.RangeRequest.CREATE)
    stream = CallStream("KV.RangeStream", by_create)
    assert excused(stream, [mess, right], [right, right]) == UNSORTED
    assert excused(stream, [right, right], [mess, right]) == ""
    assert excused(stream, [mess, right], [right, mess]) == ""
    assert excused(stream, [mess, right], [REFUSED, right]) == ""
    ordinary = CallStream("KV.RangeStream", pb.RangeRequest(key=b"k"))
    assert excused(ordinary, mess, right) == ""


def test_a_noted_hash_is_excused_at_compacted_revisions_only() -> None:
    hashes = Call("Maintenance.HashKV", pb.HashKVRequest())
    gone = {"": "refused", "code": "OUT_OF_RANGE",
            "text": "etcdserver: mvcc: required revision has been compacted"}  # fmt: skip

    def answer(compacted: str, at: str) -> Outcome:
        return {"": "HashKVResponse", "compact_revision": compacted, "hash_revision": at}

    noted, ours = answer("base+1", "base+5"), answer("base+5", "base+5")
    assert excused(hashes, [noted, "base+5"], [ours, "base+5"]) == NOTED_HASH
    assert excused(hashes, [noted, "base+7"], [gone, "base+7"]) == NOTED_HASH
    assert excused(hashes, [noted, "base+5"], [gone, "base+5"]) == ""
    assert excused(hashes, [noted, "base+3"], [ours, "base+3"]) == ""
    assert excused(hashes, [noted, "base+5"], [answer("base+5", "base+6"), "base+5"]) == ""
    assert excused(hashes, [gone, "base+5"], [ours, "base+5"]) == ""


# -- watches ---------------------------------------------------------------------------------------


class FakeStream:
    """A server that answers each request with what is scripted next."""

    status: Outcome = None

    def __init__(self, *script: list[pb.WatchResponse]) -> None:
        self._script = list(script)
        self._arrived: list[pb.WatchResponse] = []

    def send(self, request: bytes) -> None:
        assert pb.WatchRequest.FromString(request).WhichOneof("request_union")
        self._arrived += self._script.pop(0) if self._script else []

    def take(self, enough: Callable[[list[Any]], bool], seconds: float) -> list[Any]:
        assert seconds > 0
        taken: list[Any] = []
        while self._arrived and not enough(taken):
            taken.append(self._arrived.pop(0))
        return taken

    def close(self) -> None:
        self._script.clear()


def watched(*script: list[pb.WatchResponse]) -> Outcome:
    """What a watch of a past revision has told at revision 109."""
    stream: Any = FakeStream(*script)
    watches = Watches(FuzzView(BASE, 2, bytes), lambda: stream)
    watches.create("s", watching("/n/", start_revision=104), 109, 103)
    return watches.settled(109, 103)["s"]


CREATED: Final = pb.WatchResponse(header=SHOWN, created=True)
MARK: Final = pb.WatchResponse(header=SHOWN, watch_id=-1)
SOME: Final = pb.WatchResponse(header=SHOWN, events=EVENTS[:2])
REST: Final = pb.WatchResponse(header=SHOWN, events=EVENTS[2:])


def test_events_are_told_up_to_the_mark_in_however_many_answers() -> None:
    whole = watched([CREATED], [pb.WatchResponse(header=SHOWN, events=EVENTS), MARK])
    assert len(whole["watch 0"]) == len(EVENTS)
    assert watched([CREATED, SOME], [REST, MARK]) == whole
    assert watched([CREATED], [], [], [SOME], [REST, MARK]) == whole, "requests may be ignored"
    assert watched([SOME, CREATED], [REST], [MARK]) == whole


def test_an_event_behind_its_mark_is_told() -> None:
    """etcd's promise of progress: whoever has the mark has all before it."""
    later = pb.WatchResponse(header=pb.ResponseHeader(revision=110), watch_id=-1)
    stream: Any = FakeStream([CREATED], [SOME, MARK], [REST, later])
    watches = Watches(FuzzView(BASE, 2, bytes), lambda: stream)
    watches.create("s", watching("/n/", start_revision=104), 109, 103)
    assert "late" not in watches.settled(109, 103)["s"]
    assert watches.settled(110, 103)["s"]["late"] == 1


def test_a_mark_from_before_a_watch_says_nothing_of_it() -> None:
    """It was asked for too early: what this watch has missed may still be to come."""
    canceled = pb.WatchResponse(header=SHOWN, canceled=True)
    stream: Any = FakeStream([CREATED], [], [MARK], [canceled, MARK], [CREATED], [SOME, MARK])
    watches = Watches(FuzzView(BASE, 2, bytes), lambda: stream)
    watches.create("s", watching("/n/", start_revision=104), 109, 103)
    assert "watch 0" not in watches.settled(109, 103)["s"]
    watches.cancel("s", pb.WatchRequest(cancel_request=pb.WatchCancelRequest()), 109, 103)
    watches.create("s", watching("/n/", start_revision=104), 109, 103)
    assert len(watches.settled(109, 103)["s"]["watch 0"]) == len(SOME.events)


def test_an_answer_that_nobody_asked_for_is_told() -> None:
    canceled = pb.WatchResponse(header=SHOWN, canceled=True, compact_revision=105)
    assert watched([CREATED], [canceled, MARK])["surprises"][0]["canceled"]


# -- generator and shrinking -----------------------------------------------------------------------


def test_a_sequence_is_a_function_of_its_seed() -> None:
    for seed in range(len(KEY_SETS)):
        assert sequence(seed, 60) == sequence(seed, 90)[:60]
        assert sequence(seed, 60) != sequence(seed + len(KEY_SETS), 60)


def test_no_request_is_sent_that_ends_etcd() -> None:
    """A put that keeps what a deletion before it in the same transaction may have taken."""
    seen = 0
    for seed in range(4 * len(KEY_SETS)):
        for step in sequence(seed, 200):
            if isinstance(step, Call) and isinstance(step.request, pb.TxnRequest):
                found = list(operations(step.request))
                puts = [each.request_put for each in found if each.HasField("request_put")]
                keeps = any(each.ignore_value or each.ignore_lease for each in puts)
                deletes = any(each.HasField("request_delete_range") for each in found)
                assert not (keeps and deletes)
                seen += keeps
    assert seen > 0, "and without deletions it is sent"


def test_operations_are_those_of_all_branches_and_levels() -> None:
    inner = txn(success=[putting("a")], failure=[putting("b")])
    outer = pb.TxnRequest(success=[op(inner)], failure=[op(putting("c"))])
    assert len(list(operations(outer))) == 4


def test_crowds_fill_transactions_and_slices() -> None:
    """Long scans and large transactions need many keys."""
    fuzz = Fuzz(KEY_SETS.index(CROWDED))
    assert max(len(fuzz.bulk().success) for _ in range(50)) == OPS_MAX


@pytest.mark.parametrize("needed", [{0}, {99}, {3, 50}, {10, 11, 12, 98}, set(range(40, 60))])
def test_shrinking_leaves_what_the_difference_needs(needed: set[int]) -> None:
    assert shrink(range(100), lambda left: needed <= set(left), 10) == sorted(needed)


def test_shrinking_ends_in_time() -> None:
    assert shrink(range(100), lambda _: True, 0) == list(range(100))


def test_a_difference_says_where_it_is() -> None:
    found = Found(3, ("request 3: ...", "    answer.count"))
    assert str(found).splitlines() == list(found.lines)


def test_requests_are_told_in_words() -> None:
    """What a person reads of a difference: stand-ins by name, long values by length."""
    text = readable(Call("KV.Range", pb.RangeRequest(key=b"a" * 130, revision=NOW - 3)))
    assert "revision: NOW-3" in text
    assert "a*130" in text
    assert "revision: FLOOR+0" in readable(Call("KV.Compact", pb.CompactionRequest(revision=FLOOR)))
