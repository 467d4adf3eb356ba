"""Asking a shard for something behind a sample: when all that the sample counts is on its disk.

What it is: the empty read by which HashKV and Snapshot wait for a shard. What it is not: what they
ask for then.

Invariant: `then` is called only when closed[t] >= last[t] of every tablet that the shard owns by
the map; else `refused` is told why. One of them is called, once.

Worked example: the sample says last[3] = 40; the shard that owns tablet 3 has written 38: `then` is
called when 40 is on its disk.

Tested in tests/unit/router/test_backup.py, tests/unit/router/test_snapshots.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from kubebraid.base.errors import RequestRefused
from kubebraid.base.keyspace import single
from kubebraid.base.ports import ReadCall, ReadChunk, Sample

from .context import Context

ANY_KEY: Final = single(b"\x00")  # the read is for its needs


def when_on_disk(
    context: Context,
    name: str,
    sample: Sample,
    then: Callable[[], None],
    refused: Callable[[RequestRefused], None],
) -> None:
    """Call `then` once the shard `name` has what `sample` counts of its tablets."""
    tablets = context.tablets
    mine = [t.id for t in tablets.tablets if t.shard == name and t.id in sample.last]
    needs = tuple((tablet, sample.last[tablet]) for tablet in mine)
    read = ReadCall(ANY_KEY, sample.revision, needs, tablets.version, 0, True)
    context.owners[name].read(read, _Answer(then, refused))


class _Answer:
    """Of the read. Implements ReadSink."""

    def __init__(self, then: Callable[[], None], refused: Callable[[RequestRefused], None]) -> None:
        self._then = then
        self._refused = refused

    def ready(self) -> bool:
        return True

    def take(self, part: ReadChunk | RequestRefused) -> bool:
        if isinstance(part, RequestRefused):
            self._refused(part)
        else:
            self._then()
        return False
