"""The shard's end of its links: many routers, one owner."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.keyspace import KeyRange
from kubebraid.base.limits import OWNER_AHEAD_BYTES, OWNER_BACKLOG_BYTES_MAX, OWNER_STATUS_MS
from kubebraid.base.ports import Publication
from kubebraid.proto.internal import owner_pb2
from kubebraid.proto.owner_answers import (
    Answer,
    Arrived,
    decode_answers,
    decode_publication,
    decode_status,
)
from kubebraid.proto.owner_service import OwnerService
from kubebraid.proto.owner_wire import Asked, Calls, OwnerKind, Question, encode_calls
from tests.linkpair import NEAR, End
from tests.unit.shard.fakes import A, Stand, put_call, read_call

UNDER_A = KeyRange(b"/a/", b"/a0")


class Router:
    """A link of the service, and what came by it."""

    def __init__(self, service: OwnerService) -> None:
        self.link = End(NEAR)
        self._service = service
        service.opened(self.link)

    def call(self, calls: Calls) -> None:
        self._service.received(self.link, OwnerKind.CALLS, encode_calls(calls))

    def put(self, *numbers: int) -> None:
        calls = [put_call(b"/a/%d" % number) for number in numbers]
        self.call(Calls(writes=calls, write_numbers=list(numbers)))

    def subscribe(self) -> None:
        self.call(Calls(subscribe=True))

    def bodies(self, kind: OwnerKind) -> list[bytes]:
        return [body for sent, body in self.link.sent if sent == kind]

    def answers(self) -> list[Arrived]:
        return [decode_answers(body) for body in self.bodies(OwnerKind.ANSWERS)]

    def publications(self) -> list[Publication]:
        return [decode_publication(body) for body in self.bodies(OwnerKind.PUBLICATION)]


class Bench:
    def __init__(self) -> None:
        self.stand = Stand()
        self.service = OwnerService(self.stand.owner, self.stand.clock)

    def run(self) -> None:
        self.stand.run()
        self.service.turn()


def test_answers_of_a_turn_are_one_message_to_the_router_that_asked() -> None:
    bench = Bench()
    first, second = Router(bench.service), Router(bench.service)
    first.put(11, 12)
    second.put(11)
    bench.run()
    (of_first,), (of_second,) = first.answers(), second.answers()
    assert [(number, revision) for number, revision, _ in of_first.writes] == [(11, 2), (12, 3)]
    assert [(number, revision) for number, revision, _ in of_second.writes] == [(11, 4)]
    bench.service.turn()
    assert len(first.answers()) == 1, "said once"


def test_publication_is_encoded_once_and_goes_to_those_that_subscribed() -> None:
    bench = Bench()
    first, second, silent = (Router(bench.service) for _ in range(3))
    first.subscribe()
    second.subscribe()
    first.put(1)
    bench.run()
    of_first, of_second = first.bodies(OwnerKind.PUBLICATION), second.bodies(OwnerKind.PUBLICATION)
    assert [p.fresh for p in first.publications()] == [True, False]
    assert of_first[1] is of_second[1]
    assert silent.bodies(OwnerKind.PUBLICATION) == []


def test_subscription_begins_where_the_shard_stands() -> None:
    bench = Bench()
    router = Router(bench.service)
    router.put(1, 2)
    bench.run()
    router.subscribe()
    (fresh,) = router.publications()
    assert {news.tablet: (news.closed, news.commits) for news in fresh.news}[A] == (3, ())
    assert len(fresh.news) == 5
    assert fresh.sample.revision == 3


def test_router_that_does_not_read_loses_its_subscription_and_nobody_else_notices() -> None:
    bench = Bench()
    stuck, other = Router(bench.service), Router(bench.service)
    stuck.subscribe()
    other.subscribe()
    stuck.link.backlog = OWNER_BACKLOG_BYTES_MAX + 1
    for number in range(5):
        other.put(number)
        bench.run()
    assert len(other.publications()) == 6
    assert [p.fresh for p in stuck.publications()] == [True]
    assert stuck.bodies(OwnerKind.UNSUBSCRIBED) == [b""], "told once"
    stuck.link.backlog = 0
    other.put(6)
    bench.run()
    assert len(stuck.publications()) == 1, "only a subscription brings it back"
    stuck.subscribe()
    other.put(7)
    bench.run()
    fresh, after = stuck.publications()[1:]
    assert (fresh.fresh, after.fresh) == (True, False)
    assert {news.tablet: news.closed for news in fresh.news}[A] == 7


def test_fresh_publication_of_the_owner_replaces_what_was_known_of_tablets() -> None:
    """A tablet that went to another shard must not be spoken for any more."""
    bench = Bench()
    router = Router(bench.service)
    router.subscribe()
    (known,) = router.publications()
    fewer = known._replace(news=known.news[:2])
    bench.service._published(fewer)
    assert router.publications()[-1] == fewer
    router.subscribe()
    assert router.publications()[-1] == fewer


def test_router_that_is_gone_leaves_its_writes_and_nothing_else() -> None:
    bench = Bench()
    bench.stand.write(*(put_call(b"/a/%03d" % n, b"v" * 100_000) for n in range(80)))
    router = Router(bench.service)
    call = read_call(UNDER_A, 81)._replace(spliced=True)
    router.put(1)
    router.call(Calls(reads=[(2, call)]))
    bench.service.closed(router.link)
    bench.service.closed(router.link)
    bench.run()
    assert not router.link.sent
    assert not bench.stand.owner._reader._running
    assert bench.stand.engine.get(b"n/a/1") is not None
    assert bench.service.next_deadline_ms() is None


def test_read_stands_still_until_it_is_granted_more_and_ends_when_cancelled() -> None:
    bench = Bench()
    bench.stand.write(*(put_call(b"/a/%03d" % n, b"v" * 100_000) for n in range(100)))
    router = Router(bench.service)
    router.call(Calls(reads=[(2, read_call(UNDER_A, 101)._replace(spliced=True))]))
    bench.run()

    def sent() -> int:
        return sum(len(part.body) for told in router.answers() for _, part in told.reads)

    assert OWNER_AHEAD_BYTES <= sent() <= OWNER_AHEAD_BYTES + (1 << 21)
    before = sent()
    router.call(Calls(grants=[(2, 1 << 20), (77, 1 << 20)]))
    bench.run()
    assert before < sent() < 100 * 100_000
    router.call(Calls(cancelled=[2, 77]))
    bench.run()
    assert not bench.stand.owner._reader._running
    assert router.link.alive


def test_message_of_a_link_that_was_never_opened_is_dropped() -> None:
    bench = Bench()
    body = encode_calls(Calls(writes=[put_call(b"/a/x")], write_numbers=[1]))
    bench.service.received(End(NEAR), OwnerKind.CALLS, body)
    bench.run()
    assert bench.stand.engine.get(b"n/a/x") is None


def test_message_that_is_not_understood_ends_its_link_and_nothing_else() -> None:
    bench = Bench()
    bad, good = Router(bench.service), Router(bench.service)
    bench.service.received(bad.link, OwnerKind.CALLS, b"\xff\xff")
    bench.service.received(bad.link, OwnerKind.CALLS, uneven())
    good.put(1)
    bench.run()
    assert (bad.link.ended, good.link.ended) == (True, False)
    assert len(good.answers()) == 1


def uneven() -> bytes:
    """A message whose columns do not fit."""
    calls = owner_pb2.OwnerCalls()
    calls.others.granted.append(7)
    return calls.SerializeToString()


def test_other_shards_ask_for_a_lease_as_routers_do(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    heard: list[object] = []

    def join(lease: int, guest: str, done: Callable[[int | RequestRefused], None]) -> None:
        heard.append((lease, guest))
        done(60 if lease == 7 else errors.LEASE_NOT_FOUND)

    def leave(lease: int, done: Callable[[RequestRefused | None], None]) -> None:
        heard.append(lease)
        done(None)

    monkeypatch.setattr(bench.stand.owner, "lease_join", join, raising=False)
    monkeypatch.setattr(bench.stand.owner, "lease_leave", leave, raising=False)
    shard = Router(bench.service)
    kinds = (Asked.LEASE_JOIN, Asked.LEASE_JOIN, Asked.LEASE_LEAVE, 99)
    asked = [Question(n, kind, 7 + n, name="guest") for n, kind in enumerate(kinds)]
    shard.call(Calls(questions=asked))
    bench.run()
    assert heard == [(7, "guest"), (8, "guest"), 9]
    (told,) = shard.answers()
    assert list(told.answers) == [(0, Answer((60,))), (2, Answer())]
    assert told.refused[0] == (1, errors.LEASE_NOT_FOUND)
    assert told.refused[1][1].code == errors.Code.UNIMPLEMENTED, "a newer version asked"


def test_figures_are_told_to_a_new_router_and_then_once_a_second_when_they_changed() -> None:
    bench = Bench()
    router = Router(bench.service)
    bench.run()
    assert [decode_status(b) for b in router.bodies(OwnerKind.STATUS)] == [
        bench.stand.owner.status()
    ]
    bench.stand.write(put_call(b"/a/x"))
    bench.run()
    assert len(router.bodies(OwnerKind.STATUS)) == 1
    bench.stand.clock.ms += OWNER_STATUS_MS
    assert bench.service.next_deadline_ms() == bench.stand.clock.ms
    bench.run()
    assert decode_status(router.bodies(OwnerKind.STATUS)[1]) == bench.stand.owner.status()
    bench.stand.clock.ms += OWNER_STATUS_MS
    bench.run()
    assert len(router.bodies(OwnerKind.STATUS)) == 2, "nothing changed"
