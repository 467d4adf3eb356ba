"""The router's end of a link to a shard: packing, answers, bounds, and what a lost link means."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from kubebraid.base import errors, limits
from kubebraid.base.errors import RequestRefused
from kubebraid.base.keyspace import EVERYTHING
from kubebraid.base.limits import OWNER_BACKLOG_BYTES_MAX, OWNER_CALLS_MAX, OWNER_MESSAGE_BYTES
from kubebraid.base.ports import (
    WRITE_PUT,
    LogCall,
    PointCall,
    PointReply,
    Publication,
    ReadCall,
    ReadChunk,
    Sample,
    ShardStatus,
    WriteCall,
    WriteReply,
)
from kubebraid.proto.owner_answers import (
    Answer,
    Answers,
    encode_answers,
    encode_publication,
    encode_status,
)
from kubebraid.proto.owner_client import OwnerClient
from kubebraid.proto.owner_wire import Asked, Calls, OwnerKind, decode_calls
from tests.linkpair import FAR, End

READ = ReadCall(EVERYTHING, 5, (), 1, 0, False)
LOG = LogCall((1,), EVERYTHING, 2, 5, 10)
FRESH = Publication("shard", (), Sample(1, 1, 0, {}), fresh=True)


def put(tag: object = None, size: int = 10) -> WriteCall:
    return WriteCall(WRITE_PUT, b"x" * size, (1,), 1, tag)


def point(tag: object) -> PointCall:
    return PointCall(b"k", 5, 1, 5, 1, tag)


class Sink:
    """Receives a read; `wants` more or not."""

    def __init__(self) -> None:
        self.parts: list[ReadChunk | RequestRefused] = []
        self.wants = True
        self.open = True

    def ready(self) -> bool:
        return self.open

    def take(self, part: ReadChunk | RequestRefused) -> bool:
        self.parts.append(part)
        return self.wants


class Pairs:
    """A dump's sink that only waits to be refused."""

    def __init__(self) -> None:
        self.refused: list[RequestRefused] = []

    def begin(self, payload: int, records: int, floor: int) -> None: ...

    def ready(self) -> bool:
        return True

    def take(self, pairs: Sequence[tuple[bytes, bytes]]) -> bool:
        return True

    def fail(self, refused: RequestRefused) -> None:
        self.refused.append(refused)

    def end(self) -> None: ...


class Stand:
    """A client, its link, and what everybody was told."""

    def __init__(self, *, linked: bool = True) -> None:
        self.client = OwnerClient()
        self.link = End(FAR)
        self.writes: list[WriteReply] = []
        self.points: list[PointReply] = []
        self.told: list[object] = []
        self.sink = Sink()
        self.pairs = Pairs()
        self.published: list[Publication] = []
        if linked:
            self.client.opened(self.link)

    def submit(self, *calls: WriteCall) -> None:
        self.client.submit(calls, self.writes.append)

    def ask_everything(self) -> None:
        """One of each, but no compaction."""
        client = self.client
        self.submit(put("w"))
        client.points([point("p")], self.points.append)
        client.read(READ, self.sink)
        client.dump(self.pairs)
        client.read_log(LOG, self.told.append)
        client.hash_versions(-1, 5, self.told.append)
        client.defragment(self.told.append)
        client.lease_info(7, self.told.append)
        client.leases(self.told.append)
        client.keep_alive(7, self.told.append)
        client.lease_join(7, "guest", self.told.append)
        client.lease_leave(7, self.told.append)

    def sent(self) -> list[Calls]:
        """The messages since the last look, decoded."""
        self.client.turn()
        found = [decode_calls(body) for kind, body in self.link.sent if kind == OwnerKind.CALLS]
        self.link.sent.clear()
        return found

    def answer(self, answers: Answers, link: End | None = None) -> None:
        self.client.received(link or self.link, OwnerKind.ANSWERS, encode_answers(answers))

    def reopen(self) -> None:
        self.client.closed(self.link)
        self.link = End(FAR)
        self.client.opened(self.link)


# -- packing ---------------------------------------------------------------------------------------


def test_calls_of_a_turn_are_one_message_and_nothing_leaves_before() -> None:
    stand = Stand()
    stand.submit(put(1), put(2))
    stand.submit(put(3))
    stand.client.points([point(4)], stand.points.append)
    stand.client.read(READ, stand.sink)
    assert not stand.link.sent
    (calls,) = stand.sent()
    assert [len(calls.writes), len(calls.points), len(calls.reads)] == [3, 1, 1]
    assert stand.sent() == [], "an idle turn says nothing"


def test_flush_sends_before_the_turn_ends() -> None:
    stand = Stand()
    stand.submit(put())
    stand.client.flush()
    assert len(stand.link.sent) == 1


def test_large_submission_leaves_in_several_messages_in_order() -> None:
    stand = Stand()
    size = OWNER_MESSAGE_BYTES // 2
    stand.submit(*[put(n, size) for n in range(5)])
    messages = stand.sent()
    assert [len(calls.writes) for calls in messages] == [2, 2, 1]
    tags = [call.tag for calls in messages for call in calls.writes]
    assert tags == sorted(tags, key=str)
    stand.answer(Answers(writes=[WriteReply(tag, 9, b"", None) for tag in tags]))
    assert [reply.tag for reply in stand.writes] == [0, 1, 2, 3, 4]


# -- answers ---------------------------------------------------------------------------------------


def test_answer_finds_its_callback_by_its_number_in_any_order() -> None:
    stand = Stand()
    stand.submit(put("a"), put("b"))
    (calls,) = stand.sent()
    first, second = (call.tag for call in calls.writes)
    stand.answer(Answers(writes=[WriteReply(second, 4, b"two", None)]))
    stand.answer(Answers(writes=[WriteReply(first, 0, b"", errors.NO_SPACE)]))
    assert stand.writes == [
        WriteReply("b", 4, b"two", None),
        WriteReply("a", 0, b"", errors.NO_SPACE),
    ]
    assert stand.client.idle


def test_every_kind_of_call_can_be_refused_by_the_shard() -> None:
    stand = Stand()
    stand.ask_everything()
    (calls,) = stand.sent()
    numbers = [calls.writes[0].tag, calls.points[0].tag]
    numbers += [number for number, _ in (*calls.reads, *calls.logs)]
    numbers += [question.number for question in calls.questions]
    refused = [(n, errors.TOO_MANY_REQUESTS) for n in numbers if isinstance(n, int)]
    assert len(refused) == 12
    stand.answer(Answers(refused=refused))
    why = errors.TOO_MANY_REQUESTS
    assert stand.writes == [WriteReply("w", 0, b"", why)]
    assert stand.points == [PointReply("p", None, why)]
    assert stand.sink.parts == [why]
    assert stand.pairs.refused == [why]
    assert stand.told == [why] * 8
    assert stand.client.idle


def test_part_of_a_read_that_was_cancelled_is_dropped() -> None:
    stand = Stand()
    stand.sink.wants = False
    stand.client.read(READ, stand.sink)
    (calls,) = stand.sent()
    ((number, _),) = calls.reads
    part = ReadChunk([], 0, False)
    stand.answer(Answers(reads=[(number, part), (number, part)]))
    assert stand.sink.parts == [part]
    (after,) = stand.sent()
    assert after.cancelled == [number]
    stand.answer(Answers(reads=[(number, ReadChunk([], 1, True))]))
    stand.answer(Answers(refused=[(number, errors.COMPACTED)]))
    assert stand.sink.parts == [part]
    assert stand.sent() == []


def test_sink_that_is_not_ready_is_asked_again_each_turn() -> None:
    stand = Stand()
    stand.sink.open = False
    stand.client.read(READ, stand.sink)
    (calls,) = stand.sent()
    ((number, _),) = calls.reads
    last = ReadChunk([], 1, True)
    stand.answer(Answers(reads=[(number, last)]))
    assert not stand.client.turn()
    assert stand.sink.parts == []
    stand.sink.open = True
    assert stand.client.turn(), "another sink may be ready now, also on another link"
    assert stand.sink.parts == [last]
    assert not stand.client.turn()


def test_status_is_what_the_shard_said_last() -> None:
    stand = Stand()
    assert stand.client.status() == ShardStatus(0, 0, 0, 0)
    spoke = [stand.client.spoke]
    status = ShardStatus(9, 8, 7, 6)
    stand.client.received(stand.link, OwnerKind.STATUS, encode_status(status))
    spoke.append(stand.client.spoke)
    stand.client.closed(stand.link)
    assert stand.client.status() == status
    spoke.append(stand.client.spoke)
    stand.client.opened(End(FAR))
    spoke.append(stand.client.spoke)
    assert spoke == [False, True, False, False], "on the present link"


# -- bounds ----------------------------------------------------------------------------------------


def test_calls_without_an_answer_are_bounded_and_logs_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log is read for a watcher that would otherwise wait for the next publication."""
    assert OWNER_CALLS_MAX >= limits.WRITE_QUEUE_MAX
    monkeypatch.setattr("kubebraid.proto.owner_outbox.OWNER_CALLS_MAX", 2)
    stand = Stand()
    stand.submit(put(1), put(2))
    stand.submit(put(3))
    assert stand.writes == [WriteReply(3, 0, b"", errors.TOO_MANY_REQUESTS)]
    stand.ask_everything()
    assert stand.points[0].error is errors.TOO_MANY_REQUESTS
    assert stand.sink.parts == [errors.TOO_MANY_REQUESTS]
    assert stand.pairs.refused == [errors.TOO_MANY_REQUESTS]
    assert stand.told == [errors.TOO_MANY_REQUESTS] * 7
    (calls,) = stand.sent()
    assert len(calls.logs) == 1
    stand.answer(Answers(writes=[WriteReply(c.tag, 2, b"", None) for c in calls.writes]))
    stand.submit(put(4))
    assert len(stand.sent()) == 1


def test_link_that_the_network_does_not_take_refuses_more() -> None:
    stand = Stand()
    stand.link.backlog = OWNER_BACKLOG_BYTES_MAX + 1
    stand.submit(put(1))
    assert stand.writes == [WriteReply(1, 0, b"", errors.TOO_MANY_REQUESTS)]


# -- links -----------------------------------------------------------------------------------------


def test_without_a_link_everything_is_refused_at_once() -> None:
    stand = Stand(linked=False)
    stand.ask_everything()
    away = errors.OWNER_AWAY
    assert stand.writes == [WriteReply("w", 0, b"", away)]
    assert stand.points == [PointReply("p", None, away)]
    assert (stand.sink.parts, stand.pairs.refused, stand.told) == ([away], [away], [away] * 8)
    assert stand.client.idle


def test_lost_link_tells_each_call_once_what_is_known_of_it() -> None:
    stand = Stand()
    stand.ask_everything()
    stand.client.turn()
    stand.submit(put("unsent"))
    stand.client.closed(stand.link)
    stand.client.closed(stand.link)
    assert stand.writes == [
        WriteReply("w", 0, b"", errors.OUTCOME_UNKNOWN_REPLY),
        WriteReply("unsent", 0, b"", errors.OWNER_AWAY),
    ]
    away = errors.OWNER_AWAY
    assert stand.points == [PointReply("p", None, away)]
    assert (stand.sink.parts, stand.pairs.refused, stand.told) == ([away], [away], [away] * 8)
    assert stand.client.idle


def test_what_was_packed_and_not_sent_never_leaves_on_the_next_link() -> None:
    """It was refused as not sent: its client may write again, in its own order."""
    stand = Stand()
    stand.submit(put("unsent"))
    stand.reopen()
    assert stand.sent() == []


def test_writes_called_from_the_refusal_are_refused_too() -> None:
    stand = Stand()
    again: list[WriteReply] = []
    stand.client.submit([put()], lambda _: stand.client.submit([put(2)], again.append))
    stand.client.closed(stand.link)
    assert again == [WriteReply(2, 0, b"", errors.OWNER_AWAY)]


def test_nothing_counts_that_comes_by_another_link_than_the_present_one() -> None:
    stand = Stand()
    stand.submit(put("a"))
    (calls,) = stand.sent()
    old, number = stand.link, calls.writes[0].tag
    stand.reopen()
    stand.answer(Answers(writes=[WriteReply(number, 2, b"", None)]), old)
    stand.client.closed(old)
    stand.submit(put("b"))
    (calls,) = stand.sent()
    assert calls.writes[0].tag != number, "numbers are used once"
    assert [reply.error for reply in stand.writes] == [errors.OUTCOME_UNKNOWN_REPLY]


def test_link_that_opens_before_the_old_one_closed_replaces_it() -> None:
    stand = Stand()
    stand.submit(put("a"))
    stand.client.turn()
    new = End(FAR)
    stand.client.opened(new)
    assert stand.writes == [WriteReply("a", 0, b"", errors.OUTCOME_UNKNOWN_REPLY)]
    stand.submit(put("b"))
    stand.client.turn()
    assert len(new.sent) == 1


def test_half_a_message_is_forgotten_with_its_link() -> None:
    stand = Stand()
    stand.client.received(stand.link, OwnerKind.PART, b"the first half of something")
    stand.reopen()
    stand.submit(put("a"))
    (calls,) = stand.sent()
    stand.answer(Answers(writes=[WriteReply(calls.writes[0].tag, 2, b"", None)]))
    assert stand.writes == [WriteReply("a", 2, b"", None)]


def test_message_that_is_not_understood_ends_the_link() -> None:
    stand = Stand()
    stand.client.received(stand.link, OwnerKind.ANSWERS, b"\xff\xff")
    assert stand.link.ended


# -- subscription and compaction -------------------------------------------------------------------


def test_subscription_is_asked_for_on_every_link_and_after_its_loss() -> None:
    stand = Stand(linked=False)
    stand.client.subscribe(stand.published.append)
    assert stand.sent() == []
    stand.client.opened(stand.link)
    assert [calls.subscribe for calls in stand.sent()] == [True]
    stand.client.received(stand.link, OwnerKind.PUBLICATION, encode_publication(FRESH))
    assert stand.published == [FRESH]
    stand.client.received(stand.link, OwnerKind.UNSUBSCRIBED, b"")
    assert [calls.subscribe for calls in stand.sent()] == [True]
    stand.reopen()
    assert [calls.subscribe for calls in stand.sent()] == [True]


def test_subscription_on_a_link_that_is_there_is_asked_for_at_once() -> None:
    stand = Stand()
    assert stand.sent() == []
    stand.client.subscribe(stand.published.append)
    assert [calls.subscribe for calls in stand.sent()] == [True]


def test_compaction_is_asked_again_until_it_is_answered() -> None:
    stand = Stand(linked=False)
    done: list[int] = []
    stand.client.compact(5, None)
    stand.client.compact(7, lambda: done.append(7))
    stand.client.compact(9, None)
    stand.client.opened(stand.link)
    (calls,) = stand.sent()
    asked = [(q.kind, q.first) for q in calls.questions]
    assert asked == [(Asked.COMPACT, 7), (Asked.COMPACT, 9)], "9 says what 5 said"
    stand.reopen()
    (calls,) = stand.sent()
    assert sorted(q.first for q in calls.questions) == [7, 9]
    assert done == []
    stand.answer(Answers(answers=[(q.number, Answer()) for q in calls.questions]))
    assert done == [7]
    stand.reopen()
    assert stand.sent() == []


def test_superseded_link_is_closed_so_that_its_dialer_tries_again() -> None:
    """Its successor may end at once; nobody would dial for what stayed open behind it."""
    stand = Stand()
    former = stand.link
    newer = End(former.peer)
    stand.client.opened(newer)
    assert former.ended
    assert not newer.ended
