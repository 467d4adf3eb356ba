"""Plans, words, lists and reports towards whichever coordinator serves."""

from __future__ import annotations

import pytest

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.reshard import Action, Control, Progress, Report
from kubebraid.proto import coordinator_reshard as codec
from kubebraid.proto.coordinator_reshard import Answered, Listed
from kubebraid.proto.coordinator_wire import CoordinatorKind
from tests.linkpair import End
from tests.unit.proto.test_coordinator_client import Stand, kinds, view

CANCEL = Control("m1", Action.CANCEL)
REPORT = Report("m1", "s1", 7, rows=3)


class Asked(Stand):
    """A client, and what its questions were answered."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[RequestRefused | None] = []
        self.lists: list[tuple[Progress, ...] | None] = []

    def ask(self) -> None:
        self.client.reshard(CANCEL, self.answers.append)
        self.client.reshard_list(self.lists.append)

    def answer(self, end: End, number: int, refused: RequestRefused | None) -> None:
        body = codec.encode_reshard_answer(Answered(number, refused))
        self.client.received(end, CoordinatorKind.RESHARD_ANSWER, body)


def test_without_a_coordinator_that_serves_nothing_is_sent() -> None:
    """A definite answer: whoever asked may try again at once."""
    stand = Asked()
    idle = stand.link(view(5, serves=False))
    stand.ask()
    stand.client.report(REPORT)
    assert (stand.answers, stand.lists) == ([errors.NO_LEADER], [None])
    assert kinds(idle) == []


def test_question_goes_to_the_one_that_serves_and_is_answered_once() -> None:
    stand = Asked()
    end = stand.link(view(5))
    stand.ask()
    (first, second) = end.sent
    assert [first[0], second[0]] == [CoordinatorKind.RESHARD, CoordinatorKind.RESHARD_ASK]
    number, request = codec.decode_reshard(first[1])
    assert request == CANCEL
    stand.answer(end, number, None)
    stand.answer(end, number, errors.NO_LEADER)
    asked = codec.decode_reshard_ask(second[1])
    body = codec.encode_reshard_list(Listed(asked, ()))
    stand.client.received(end, CoordinatorKind.RESHARD_LIST, body)
    stand.client.closed(end)
    assert (stand.answers, stand.lists) == ([None], [()])


def test_lost_link_leaves_the_outcome_unknown_and_sends_nothing_twice() -> None:
    """The worked example of the module."""
    stand = Asked()
    first, second = stand.link(view(5)), stand.link(view(5, serves=False))
    stand.ask()
    stand.client.closed(first)
    assert stand.answers == [errors.OUTCOME_UNKNOWN_REPLY]
    assert stand.lists == [None]
    stand.tell(second, view(9, cepoch=2))
    assert kinds(second) == []


def test_report_is_sent_and_forgotten() -> None:
    stand = Asked()
    end = stand.link(view(5))
    stand.client.report(REPORT)
    ((kind, body),) = end.sent
    assert (kind, codec.decode_report(body)) == (CoordinatorKind.REPORT, REPORT)


@pytest.mark.parametrize("kind", [CoordinatorKind.RESHARD_ANSWER, CoordinatorKind.RESHARD_LIST])
def test_garbage_ends_its_link(kind: int) -> None:
    stand = Asked()
    end = stand.link(view(5))
    stand.client.received(end, kind, b"\xff\xff")
    assert end.ended
