"""Resharding as shards and routers ask for it: reports, plans and words to the coordinator.

What it is: the part of a CoordinatorClient that is about migrations and hosts. What it is not: the
links, or which coordinator serves (`coordinator_client.py`).

Invariants:
- a plan or a word goes out once; it is never asked again by itself, for its outcome may be unknown;
- what was sent is answered once: by the coordinator, or by the end of its link;
- a report may be lost: the next one says more.

Worked example: a router asks `reshard(Control("m1", Action.CANCEL), done)`; the link ends: `done`
is told OUTCOME_UNKNOWN_REPLY, and a later list shows whether m1 was cancelled.

Tested in tests/unit/proto/test_reshard_client.py.
"""

from __future__ import annotations

from collections.abc import Callable

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.links import Link
from kubebraid.base.ports import Beat
from kubebraid.base.reshard import Order, Progress, Report

from . import coordinator_reshard as codec
from .coordinator_wire import CoordinatorKind
from .hosts_wire import decode_heard, encode_beat
from .sequencer_client import SequencerClient


def _nobody(_others: int) -> None:
    """Whoever is no host is not answered so."""


class ReshardClient(SequencerClient):
    """What a CoordinatorClient is for migrations and hosts."""

    def __init__(self) -> None:
        super().__init__()
        self.on_heard: Callable[[int], None] = _nobody
        self._reshard_number = 0
        self._requests: dict[int, tuple[Link, Callable[[RequestRefused | None], None]]] = {}
        self._lists: dict[int, tuple[Link, Callable[[tuple[Progress, ...] | None], None]]] = {}

    def beat(self, beat: Beat) -> None:
        """Say that a host lives; `on_heard` is told how many others could take its shards."""
        if self._serving is not None:
            self._serving.send(CoordinatorKind.HOST_BEAT, encode_beat(beat))

    def report(self, report: Report) -> None:
        """Tell the serving coordinator; nothing comes back, and nothing is kept. Whoever reports
        repeats it, so that the next one that serves hears of it too."""
        if self._serving is not None:
            self._serving.send(CoordinatorKind.REPORT, codec.encode_report(report))

    def reshard(self, request: Order, done: Callable[[RequestRefused | None], None]) -> None:
        """`done` is told None where it is so, by the log; a definite refusal with its reason; or an
        Unanswered (`definite` is False): to be looked up, or asked again as it is, for plans and
        words are idempotent."""
        serving = self._serving
        if serving is None:
            done(errors.NO_LEADER)
            return
        self._reshard_number += 1
        self._requests[self._reshard_number] = (serving, done)
        serving.send(CoordinatorKind.RESHARD, codec.encode_reshard(self._reshard_number, request))

    def reshard_list(self, done: Callable[[tuple[Progress, ...] | None], None]) -> None:
        """All migrations that are known, as the serving coordinator sees them; None: no answer."""
        serving = self._serving
        if serving is None:
            done(None)
            return
        self._reshard_number += 1
        self._lists[self._reshard_number] = (serving, done)
        serving.send(CoordinatorKind.RESHARD_ASK, codec.encode_reshard_ask(self._reshard_number))

    def reshard_lost(self, link: Link) -> None:
        """The link is gone, and the answers with it."""
        requests = [number for number, (asked, _) in self._requests.items() if asked is link]
        for number in requests:
            self._requests.pop(number)[1](errors.OUTCOME_UNKNOWN_REPLY)
        lists = [number for number, (asked, _) in self._lists.items() if asked is link]
        for number in lists:
            self._lists.pop(number)[1](None)

    def reshard_received(self, kind: int, body: bytes) -> bool:
        """Whether the message was an answer of this part. Raises Malformed."""
        match kind:
            case CoordinatorKind.RESHARD_ANSWER:
                answer = codec.decode_reshard_answer(body)
                if answer.number in self._requests:
                    self._requests.pop(answer.number)[1](answer.refused)
            case CoordinatorKind.RESHARD_LIST:
                listed = codec.decode_reshard_list(body)
                if listed.number in self._lists:
                    self._lists.pop(listed.number)[1](listed.migrations)
            case CoordinatorKind.HOST_HEARD:
                self.on_heard(decode_heard(body))
            case _:
                return False
        return True
