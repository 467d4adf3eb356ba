"""The sequencer as a shard or a router sees it over links: questions that wait, samples that grow.

What it is: SequencerPort towards whichever coordinator serves. What it is not: who that is
(`coordinator_client.py`), or the encoding.

Invariants:
- a sample answers only questions that were asked before it was requested; of read_revision at most
  one request is on its way, which serves all that had gathered;
- samples come with rising (cepoch, R): what belongs to an earlier reign is not passed on;
- inv14: an Alloc that is asked again keeps its number, so that it takes nothing twice.

Worked example: routers ask three times while a request is on its way: its answer serves the first
question alone; the next request then serves the other two.

Tested in tests/unit/proto/test_coordinator_client.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from kubebraid.base.links import Link
from kubebraid.base.ports import AllocReply, AllocRequest, Sample
from kubebraid.base.revision import Revision, TabletId

from . import coordinator_wire as wire
from .coordinator_wire import CoordinatorKind, Known
from .internal import coordinator_pb2 as pb


class _Waiting(NamedTuple):
    """An Alloc that was asked."""

    request: AllocRequest
    done: Callable[[AllocReply], None]


class SequencerClient:
    """What a CoordinatorClient is for the sequencer."""

    def __init__(self) -> None:
        self._serving: Link | None = None
        self._known = Known()
        self._last: dict[TabletId, Revision] = {}
        self._floor: Revision = -1
        self._read_number = 0
        self._allocs: dict[int, _Waiting] = {}
        self._reading: list[Callable[[Sample], None]] = []
        self._next_reads: list[Callable[[Sample], None]] = []

    def alloc(self, request: AllocRequest, done: Callable[[AllocReply], None]) -> None:
        assert request.request_number not in self._allocs, "a number is used once"
        self._allocs[request.request_number] = _Waiting(request, done)
        self._send_alloc(request)

    def read_revision(self, done: Callable[[Sample], None]) -> None:
        self._next_reads.append(done)
        if not self._reading:
            self._read_next()

    def ask_again(self) -> None:
        """Another coordinator serves: what the one before did not answer goes there."""
        for waiting in list(self._allocs.values()):
            self._send_alloc(waiting.request)
        if self._reading:
            self._send_read()

    def _send_alloc(self, request: AllocRequest) -> None:
        if self._serving is not None:
            self._serving.send(CoordinatorKind.ALLOC, wire.encode_alloc(request, self._known))

    def _read_next(self) -> None:
        self._reading, self._next_reads = self._next_reads, []
        self._read_number += 1
        self._send_read()

    def _send_read(self) -> None:
        if self._serving is not None:
            body = wire.encode_read_revision(self._read_number, self._known)
            self._serving.send(CoordinatorKind.READ_REVISION, body)

    def _sample(self, news: pb.SampleNews) -> Sample | None:
        """The newest sample, this one or one that came before it: a repeated request is answered
        with the sample of its first answer. None: of a reign that is over."""
        if news.cepoch < self._known.cepoch:
            return None
        sample = wire.sample_of(news, self._last)
        known = Known(sample.cepoch, sample.map_version, sample.revision)
        if known < self._known:
            return Sample(*self._known, dict(self._last), self._floor)
        self._known = known
        self._last = dict(sample.last)
        self._floor = max(self._floor, sample.floor)
        return sample

    def allocated(self, answer: pb.AllocAnswer) -> None:
        """An answer to `alloc`."""
        waiting = self._allocs.get(answer.request_number)
        if waiting is None or waiting.request.incarnation != answer.incarnation:
            return
        sample = self._sample(answer.sample)
        if sample is None:
            return  # asked again by now, of the present one
        del self._allocs[answer.request_number]
        waiting.done(AllocReply(answer.first, sample, tuple(answer.refused)))

    def revision_read(self, answer: pb.RevisionAnswer) -> None:
        """An answer to `read_revision`."""
        sample = self._sample(answer.sample)
        if sample is None or answer.number != self._read_number or not self._reading:
            return
        answered, self._reading = self._reading, []
        for done in answered:
            done(sample)
        if self._next_reads and not self._reading:
            self._read_next()
