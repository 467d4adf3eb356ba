"""The judge itself: it passes what is right, and finds each wrong that was planted in it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kubebraid.proto.etcd import kv_pb2, rpc_pb2
from tests.faults.clients import ALL, Outcome, Read, Write, WriteRequest, watch_everything
from tests.faults.judge import (
    build_model,
    history_of,
    judge_idle,
    judge_reads,
    judge_watch,
    name,
)
from tests.robustness.checks import Refusal
from tests.robustness.model import Model
from tests.robustness.validate import Broken
from tests.robustness.watching import Watcher


class Past:
    """A true history of puts, a deletion and a transaction, and everybody's notes of it."""

    def __init__(self) -> None:
        self.model = Model()
        self.writes: list[Write] = []
        for number in range(4):
            self.write(number % 2, put(b"k%d" % (number % 2), b"v%d" % number))
        both = [
            rpc_pb2.RequestOp(request_put=put(b"k0", b"v4")),
            rpc_pb2.RequestOp(request_put=put(b"k2", b"v5")),
        ]
        self.write(0, rpc_pb2.TxnRequest(success=both))
        self.write(1, rpc_pb2.DeleteRangeRequest(key=b"k1"))
        self.write(1, rpc_pb2.DeleteRangeRequest(key=b"k1"))
        self.write(1, put(b"k1", b"v6"))
        self.look()

    def look(self) -> None:
        """Reader and watcher see what there is."""
        self.reads = [self.read(revision) for revision in range(1, self.model.revision + 1)]
        told = (list(self.model.events[r]) for r in range(2, self.model.revision + 1))
        self.events = [events for events in told if events]

    def write(self, writer: int, request: WriteRequest) -> None:
        answer = self.model.apply(request)
        assert not isinstance(answer, Refusal)
        write = Write(writer, len(self.writes), request, Outcome.ACKNOWLEDGED, answer)
        self.writes.append(write)

    def read(self, revision: int) -> Read:
        request = rpc_pb2.RangeRequest(key=ALL, range_end=ALL)
        answer = self.model.range_at(request, revision)
        assert isinstance(answer, rpc_pb2.RangeResponse)
        return Read(request, answer)

    def parts(self, *cuts: int) -> list[Watcher]:
        """The watch of everything, cut off behind some of the revisions."""
        watchers = [Watcher(watch_everything())]
        watchers[0].responses.append(rpc_pb2.WatchResponse(created=True))
        for events in self.events:
            revision = events[-1].kv.mod_revision
            header = rpc_pb2.ResponseHeader(revision=revision)
            watchers[-1].responses.append(rpc_pb2.WatchResponse(header=header, events=events))
            if revision in cuts:
                watchers.append(Watcher(watchers[-1].successor()))
        return watchers

    def judge(self, *, dense: bool = True) -> None:
        parts = self.parts(3, 6)
        model = build_model(self.writes, history_of(parts), dense=dense)
        judge_idle(self.writes, model)
        judge_reads(self.reads, model)
        judge_watch(parts, model)


def put(key: bytes, value: bytes) -> rpc_pb2.PutRequest:
    return rpc_pb2.PutRequest(key=key, value=value)


def forget_answer(past: Past, number: int) -> Write:
    write = past.writes[number]
    write.outcome, write.response = Outcome.UNKNOWN, None
    return write


def test_truth_passes_also_where_nobody_was_told() -> None:
    past = Past()
    past.judge()
    for number in range(len(past.writes)):
        forget_answer(past, number)
    past.reads.clear()
    past.judge()


def lose_last(past: Past) -> None:
    past.events.pop()


def lose_middle(past: Past) -> None:
    del past.events[2]


def refuse(past: Past) -> None:
    past.writes[2].outcome = Outcome.REFUSED


def refuse_without_answer(past: Past) -> None:
    forget_answer(past, 2).outcome = Outcome.REFUSED


def happen_twice(past: Past) -> None:
    again = [kv_pb2.Event(kv=event.kv) for event in past.events[1]]
    again[0].kv.mod_revision = past.model.revision + 1
    again[0].kv.version += 1
    past.events.append(again)


def happen_twice_without_answer(past: Past) -> None:
    forget_answer(past, 1)
    happen_twice(past)


def come_late(past: Past) -> None:
    """A write without an answer that took effect after its client had gone on."""
    write = forget_answer(past, 7)
    write.number = 0
    past.writes[1].number = 7


def invent(past: Past) -> None:
    past.events[-1][0].kv.value = b"nobody's"


def tear(past: Past) -> None:
    past.events[4].pop()


def answer_wrongly(past: Past) -> None:
    past.writes[3].response.prev_kv.value = b"?"


def answer_another_revision(past: Past) -> None:
    past.writes[3].response.header.revision += 5


def answer_one_revision_twice(past: Past) -> None:
    past.writes[3].response.header.revision -= 1


def find_nothing_wrongly(past: Past) -> None:
    past.writes[6].response.header.revision = 4


def read_the_future(past: Past) -> None:
    past.reads[-1].response.header.revision += 1


def read_what_was_lost(past: Past) -> None:
    past.reads[3].response.kvs[0].value = b"lost"


def go_back(past: Past) -> None:
    past.events[1], past.events[2] = past.events[2], past.events[1]


@pytest.mark.parametrize(
    ("plant", "promise"),
    [
        (lose_last, "Durable"),
        (lose_middle, "Durable"),
        (refuse, "Refused"),
        (refuse_without_answer, "Refused"),
        (happen_twice, "Unique"),
        (happen_twice_without_answer, "Unique"),
        (come_late, "Settled"),
        (invent, "Atomic"),
        (tear, "Atomic"),
        (answer_wrongly, "Answer"),
        (answer_another_revision, "Durable"),
        (answer_one_revision_twice, "Unique"),
        (find_nothing_wrongly, "Answer"),
        (read_the_future, "Durable"),
        (read_what_was_lost, "Read"),
        (go_back, "Ordered"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_each_planted_wrong_is_found(plant: Callable[[Past], None], promise: str) -> None:
    past = Past()
    plant(past)
    with pytest.raises(Broken) as found:
        past.judge()
    assert found.value.promise == promise


def test_gap_is_a_wrong_only_where_no_write_failed() -> None:
    past = Past()
    model = past.model
    model.states[model.revision + 1], model.events[model.revision + 1] = model.state, ()
    model.revision += 1
    past.write(0, put(b"k9", b"v9"))
    past.look()
    past.judge(dense=False)
    with pytest.raises(Broken) as found:
        past.judge(dense=True)
    assert found.value.promise == "Dense"


def test_value_that_nobody_wrote_is_foreign() -> None:
    past = Past()
    write = forget_answer(past, 7)
    past.events[-1][0].kv.value = b"nobody's"
    with pytest.raises(Broken, match="Foreign"):
        past.judge()
    assert "writer 1" in name(write)
