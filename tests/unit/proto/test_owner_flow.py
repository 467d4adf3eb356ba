"""Both ends of an answer in parts: credit here, grants there."""

from __future__ import annotations

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.limits import OWNER_AHEAD_BYTES, OWNER_BACKLOG_BYTES_MAX, OWNER_GRANT_BYTES
from kubebraid.base.ports import ReadChunk
from kubebraid.base.record import Row
from kubebraid.proto.owner_answers import DumpPart
from kubebraid.proto.owner_flow import Outflow, Outlet, ReadOutflow, into_read, weight
from tests.linkpair import FAR, End

MEGABYTE = 1024 * 1024
assert OWNER_AHEAD_BYTES == 4 * MEGABYTE
assert OWNER_GRANT_BYTES == MEGABYTE


def part(size: int, last: bool = False) -> ReadChunk:
    return ReadChunk((), 0, last, b"x" * size, 1)


class Sink:
    def __init__(self) -> None:
        self.open = True
        self.wants = True
        self.parts: list[ReadChunk | RequestRefused] = []

    def ready(self) -> bool:
        return self.open

    def take(self, part: ReadChunk | RequestRefused) -> bool:
        self.parts.append(part)
        return self.wants


def outflow() -> tuple[ReadOutflow, Outflow, Outlet]:
    outlet = Outlet(End(FAR))
    flow = Outflow(outlet, 7)
    return ReadOutflow(flow), flow, outlet


def test_shard_stands_still_without_credit_and_goes_on_with_a_grant() -> None:
    sink, flow, outlet = outflow()
    sent = 0
    while sink.ready():
        assert sink.take(part(MEGABYTE))
        sent += 1
    assert sent == 4
    flow.granted(2 * MEGABYTE)
    while sink.ready():
        assert sink.take(part(MEGABYTE))
        sent += 1
    assert sent == 6
    assert [number for number, _ in outlet.answers.reads] == [7] * 6


def test_shard_stands_still_while_the_network_is_behind() -> None:
    sink, _, outlet = outflow()
    end = outlet.link
    assert isinstance(end, End)
    end.backlog = OWNER_BACKLOG_BYTES_MAX + 1
    assert not sink.ready()
    end.backlog = 0
    assert sink.ready()


def test_flow_that_is_over_lets_the_work_behind_it_end() -> None:
    """Its job must get to its next slice, or its snapshot would be kept for ever."""
    sink, flow, outlet = outflow()
    sink.take(part(9 * MEGABYTE))
    assert not sink.ready()
    flow.end()
    assert sink.ready()
    assert not sink.take(part(1))
    assert len(outlet.answers.reads) == 1
    assert outlet.flows == {}


def test_last_part_and_a_refusal_are_the_end() -> None:
    sink, _, outlet = outflow()
    assert not sink.take(part(1, last=True))
    assert outlet.flows == {}
    sink, _, outlet = outflow()
    assert not sink.take(errors.COMPACTED)
    assert not sink.take(errors.COMPACTED)
    assert outlet.answers.refused == [(7, errors.COMPACTED)]


def test_router_hands_on_in_order_and_only_what_its_sink_is_ready_for() -> None:
    sink = Sink()
    flow = into_read(sink)
    sink.open = False
    flow.put(part(1))
    flow.put(part(2, last=True))
    assert flow.pump(), "something waits"
    assert sink.parts == []
    sink.open = True
    assert not flow.pump()
    assert sink.parts == [part(1), part(2, last=True)]
    assert flow.ended
    assert flow.whole


def test_router_grants_what_was_taken_once_it_is_worth_a_message() -> None:
    flow = into_read(Sink())
    flow.put(part(MEGABYTE - 1))
    flow.pump()
    assert flow.grant() == 0
    flow.put(part(5))
    flow.pump()
    assert flow.grant() == MEGABYTE + 4
    assert flow.grant() == 0


def test_router_grants_nothing_to_what_has_ended() -> None:
    flow = into_read(Sink())
    flow.put(part(2 * MEGABYTE, last=True))
    flow.pump()
    assert flow.grant() == 0


def test_sink_that_wants_no_more_is_not_whole() -> None:
    sink = Sink()
    sink.wants = False
    flow = into_read(sink)
    flow.put(part(1))
    flow.put(part(1, last=True))
    flow.pump()
    assert len(sink.parts) == 1
    assert flow.ended
    assert not flow.whole


def test_both_ends_weigh_a_part_alike() -> None:
    row = Row(2, 2, 1, 0, b"12345")
    assert weight(ReadChunk([row, row], 0, False)) == 10
    assert weight(part(7)) == 7
    assert weight(DumpPart([(b"ab", b"cde")])) == 5
    assert weight(DumpPart(size=(100, 1, -1))) == 0
