"""Reads without a sequencer end, and what comes too late finds nobody."""

from __future__ import annotations

from kubebraid.base import errors
from kubebraid.base.limits import SAMPLE_WAIT_MS_MAX
from kubebraid.base.ports import Sample
from kubebraid.router.answers import Caller
from kubebraid.router.read_queue import ReadQueue, Waiting
from tests.world import FakeClock, FakeEdge, RpcError

from .fakes import HEADER, Shards

NO_LEADER = (int(errors.NO_LEADER.code), errors.NO_LEADER.message)


class Stand:
    """A router whose sequencer is elsewhere."""

    def __init__(self, *, remote: bool = True) -> None:
        self.context = Shards().context()
        self.context.remote = remote
        self.clock = FakeClock()
        self.context.clock = self.clock
        self.edge = FakeEdge()
        self.queue = ReadQueue(self.context)
        self.seen: list[Sample] = []

    def caller(self, call_id: int) -> Caller:
        return Caller(self.edge, call_id, HEADER)

    def read(self, call_id: int) -> Waiting:
        return self.seen.append, self.caller(call_id)

    def told(self) -> dict[int, tuple[int, str]]:
        found = self.edge.answers.items()
        return {call: (no.code, no.text) for call, no in found if isinstance(no, RpcError)}


def test_batch_that_has_waited_too_long_is_told_and_forgotten() -> None:
    stand = Stand()
    reads, points = [stand.read(1)], [(stand.caller(2), b"a")]
    assert stand.queue.ticket(reads, points) is not None
    assert stand.queue.next_deadline_ms() == stand.clock.ms + SAMPLE_WAIT_MS_MAX
    stand.clock.ms += SAMPLE_WAIT_MS_MAX - 1
    stand.queue.expire()
    assert stand.told() == {}
    stand.clock.ms += 1
    stand.queue.expire()
    assert stand.told() == {1: NO_LEADER, 2: NO_LEADER}
    assert (reads, points) == ([], [])
    assert stand.queue.next_deadline_ms() is None


def test_batch_whose_sample_came_is_not_told_anything() -> None:
    stand = Stand()
    ticket = stand.queue.ticket([stand.read(1)], [])
    assert ticket is not None
    stand.queue.served(ticket)
    stand.clock.ms += 2 * SAMPLE_WAIT_MS_MAX
    stand.queue.expire()
    assert stand.told() == {}


def test_batches_are_told_each_in_its_time() -> None:
    stand = Stand()
    first = stand.queue.ticket([stand.read(1)], [])
    stand.clock.ms += 100
    second = stand.queue.ticket([stand.read(2)], [])
    assert first is not None
    assert second is not None
    stand.queue.served(second)
    stand.clock.ms += SAMPLE_WAIT_MS_MAX - 100
    stand.queue.expire()
    assert stand.told() == {1: NO_LEADER}
    assert stand.queue.next_deadline_ms() is None


def test_question_that_no_client_waits_for_is_just_dropped() -> None:
    stand = Stand()
    stand.queue.ticket([(stand.seen.append, None)], [])
    stand.clock.ms += SAMPLE_WAIT_MS_MAX
    stand.queue.expire()
    assert stand.edge.answers == {}


def test_one_process_keeps_nothing() -> None:
    stand = Stand(remote=False)
    assert stand.queue.ticket([stand.read(1)], []) is None
    assert stand.queue.next_deadline_ms() is None
