"""The sequencer as a router asks it: samples come with the map that the router plans with.

What it is: SequencerPort around one: a sample of another map is thrown away, and a new one
asked for once the maps agree. What it is not: a source of maps.

Invariants:
- M4, M11: no sample is read with another map than its own; R only grows, so a new one is always as
  good;
- answers come in the order of the questions.

Worked example: a shard has started, the sequencer's sample says map 6, the router has 5: the reads
wait; `followed` is called with map 6 here, and asks again for all of them at once.

Tested in tests/unit/router/test_matched.py, tests/sim.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from kubebraid.base.ports import AllocReply, AllocRequest, Sample, SequencerPort


class Matched:
    """Implements SequencerPort."""

    def __init__(self, inner: SequencerPort, version: Callable[[], int]) -> None:
        """`version`: of the map that requests are planned with now."""
        self._inner = inner
        self._version = version
        self._waiting: list[Callable[[Sample], None]] = []
        self._behind = False  # the sequencer has not heard of our map yet

    def alloc(self, request: AllocRequest, done: Callable[[AllocReply], None]) -> None:
        self._inner.alloc(request, done)

    def read_revision(self, done: Callable[[Sample], None]) -> None:
        self._inner.read_revision(partial(self._sampled, done))

    def _sampled(self, done: Callable[[Sample], None], sample: Sample) -> None:
        mine = self._version()
        if sample.map_version == mine and not self._waiting:
            done(sample)
            return
        self._waiting.append(done)
        self._behind |= sample.map_version <= mine

    def followed(self) -> None:
        """A newer map is here."""
        self._behind = False
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            self.read_revision(done)

    def turn(self) -> None:
        """Ask a sequencer again that was behind."""
        if self._behind:
            self.followed()
