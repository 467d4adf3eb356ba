"""Which failures of a change are known to have changed nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import grpc
import pytest

from kubebraid.cli.bench.servers import free_port
from kubebraid.cli.ctl.ask import NotDone, NotKnown, Routers, Unreachable
from kubebraid.proto.adminreshard import CONTROL_RESHARD

from .ctl_routers import FakeCluster, Refusal, serving

Code = grpc.StatusCode
WORD = b"\x0a\x01m\x12\x06cancel"
GONE = Refusal(Code.UNAVAILABLE, "Socket closed")
NO_LEADER = Refusal(Code.UNAVAILABLE, "etcdserver: no leader")
REFUSED = Refusal(Code.FAILED_PRECONDITION, "kubebraid: it is committed")


class Line:
    """Routers that answer a change as told, one after the other; None: it is taken."""

    def __init__(self, stack: ExitStack, *answers: Refusal | None) -> None:
        self.clusters = [FakeCluster("done") for _ in answers]
        for cluster, answer in zip(self.clusters, answers, strict=True):
            cluster.refusals[CONTROL_RESHARD] = [] if answer is None else [answer]
        self.routers = Routers([stack.enter_context(serving(c)) for c in self.clusters])

    def change(self) -> None:
        self.routers.call(CONTROL_RESHARD, WORD, bytes, 5.0, changes=True)

    @property
    def taken(self) -> list[int]:
        return [len(cluster.controls) for cluster in self.clusters]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def test_next_router_takes_what_the_first_could_not(stack: ExitStack) -> None:
    line = Line(stack, GONE, None)
    line.change()
    line.change()  # whoever answered last is asked first
    assert line.taken == [0, 2]


def test_refusal_is_final(stack: ExitStack) -> None:
    line = Line(stack, REFUSED, None)
    with pytest.raises(NotDone, match=r"^it is committed$"):
        line.change()
    assert line.taken == [0, 0]


def test_refusal_behind_an_unknown_outcome_is_no_proof(stack: ExitStack) -> None:
    """The first router may have done it: the second then refuses what is so already."""
    with pytest.raises(NotKnown, match="it is committed"):
        Line(stack, GONE, REFUSED).change()


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ((NO_LEADER, NO_LEADER), Unreachable),
        ((NO_LEADER, GONE), NotKnown),
        ((GONE, NO_LEADER), NotKnown),
        ((Refusal(Code.DEADLINE_EXCEEDED, "kubebraid: it is not known"),), NotKnown),
        ((Refusal(Code.UNIMPLEMENTED, "unknown method"),), Unreachable),
        ((Refusal(Code.UNIMPLEMENTED, "kubebraid: serve is one process"),), NotDone),
        ((NO_LEADER, REFUSED), NotDone),
    ],
)
def test_what_is_known_when_nobody_takes_it(
    answers: tuple[Refusal, ...], error: type[Exception], stack: ExitStack
) -> None:
    with pytest.raises(error):
        Line(stack, *answers).change()


def test_question_that_changes_nothing_is_never_unknown(stack: ExitStack) -> None:
    line = Line(stack, GONE)
    with pytest.raises(Unreachable, match="Socket closed"):
        line.routers.call(CONTROL_RESHARD, WORD, bytes, 5.0)


def test_nobody_listening_is_surely_nothing_changed() -> None:
    with pytest.raises(Unreachable, match="connection refused"):
        Routers([f"http://127.0.0.1:{free_port()}"]).call(
            CONTROL_RESHARD, WORD, bytes, 5.0, changes=True
        )
