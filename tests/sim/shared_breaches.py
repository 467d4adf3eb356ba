"""Deliberate breaches of what shards that share rows rest on; see `breaches.py`.

What it is: the broken rules of moves that copy nothing. What it is not: those that hold for every
move (`reshard_breaches.py`).

Worked example: "old-fence": a target takes a tablet as it saw its fence some time ago, and the
guards refuse its batch: it never comes to that, says inv17.

Tested in tests/sim/test_breaches.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from kubebraid.base.reshard import CopyCall
from kubebraid.base.revision import TabletId
from kubebraid.base.tabletmap import Tablet
from kubebraid.shard import keycodec
from kubebraid.shard.cells import Cell, pack
from kubebraid.shard.ownership import Ownership
from kubebraid.shard.reshard import sweep
from kubebraid.shard.reshard.source import Source
from kubebraid.shard.storage.engine import Batch, Engine
from kubebraid.shard.storage.wipe import wiped

from .breaches import Breach, on
from .disk import SharingSimEngine


def _uncaught() -> Sequence[Any]:
    """A shard takes tablets without a look at what was written since its process began."""
    read_on = SharingSimEngine._read_on

    def once(self: SharingSimEngine) -> None:
        if not self._read:
            read_on(self)

    return [on(SharingSimEngine, "_read_on", once)]


def _old_fence() -> Sequence[Any]:
    """What another process wrote to a fence last is not seen."""
    get = SharingSimEngine.get

    def before(self: SharingSimEngine, key: bytes) -> bytes | None:
        newest = get(self, key)
        if key[:1] == b"f":
            journal = zip(self.journal.operations, self.journal.by, strict=True)
            written = [(value, by) for (_, of, value), by in journal if of == key]
            if len(written) > 1 and written[-1][1] is not self:
                newest = self._known[key] = written[-2][0] or None
        return newest

    return [on(SharingSimEngine, "get", before)]


def _unguarded() -> Sequence[Any]:
    """... and it is written all the same."""
    guard = SharingSimEngine.guard

    def blind(self: SharingSimEngine, keys: list[bytes]) -> None:
        guard(self, [key for key in keys if key[:1] != b"f"])

    return [on(SharingSimEngine, "guard", blind), *_old_fence()]


def _swept() -> Sequence[Any]:
    """A source removes the log of what it gave away."""

    def claim(self: Source, call: CopyCall, _: list[Tablet]) -> None:
        cell = Cell(call.migration, call.tablets, ())
        if call.migration not in self._owned.foreign.cells:
            self._engine.write(Batch().put(cell.key, pack(cell)), sync=True)
            self._owned.foreign.add(cell)

    def log(engine: Engine, _: Ownership, tablet: TabletId, *__: object) -> Iterator[None]:
        rows = keycodec.log(tablet, 0), keycodec.log(tablet + 1, 0)
        yield from wiped(engine, *rows, 100, sync=False)

    return [on(Source, "_claim", claim), on(sweep, "_log", log)]


_SHARED: Final = (
    Breach("uncaught", "inv17", ("inv17", "inv15", "crash"), _uncaught),
    Breach("old-fence", "inv17", ("inv17", "crash"), _old_fence, own=True),
    Breach("unguarded", "inv15", ("inv15", "inv17", "crash"), _unguarded, own=True),
    Breach("swept-log", "inv17", ("inv17",), _swept, own=True),
)
SHARED_BREACHES: Final = tuple(replace(b, reshard=True, shared=True) for b in _SHARED)
