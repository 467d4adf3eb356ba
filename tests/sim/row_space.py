"""Rows that all shards of a world share: who may write them, and what may stay in the end.

What it is: the one row space of a world whose shards share rows, an eye that sees all of it, and
its judges. What it is not: an engine (`disk.py`, tests/shared_rows.py), or the history
(`truth.py`).

Words: a row is *whose* its key, or its tablet, is in the newest map that the coordinators' log has
made; a tablet that this map does not name is nobody's.

Invariants that it judges: inv17 (no shard writes or removes a row that is another's), inv18 (no log
and no fence of nobody's tablets stays but of a migration that goes on), inv21 (the attachments are
those of the keys that are there).

Worked example: /a/1 went to s1 with map 5; a compaction of s0 that removes a version of it then is
a breach of inv17, whatever the version.

Tested in tests/sim/test_row_space.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final

from kubebraid.base.revision import TabletId
from kubebraid.base.tabletmap import TabletMap
from kubebraid.shard import keycodec
from kubebraid.shard.storage.engine import DELETE_RANGE, Batch
from tests.shared_rows import Journal, Sharing

from .verdict import Violation

if TYPE_CHECKING:
    from .truth import Truth

SPACE: Final = ""  # stands for the name of a store
ALL: Final = 1 << 20
KEY_OF: Final[dict[bytes, Callable[[bytes], bytes]]] = {
    b"n": lambda stored: stored[1:],
    b"h": lambda stored: keycodec.split_history(stored)[0],
    b"k": keycodec.attached_key,
}


class RowSpace:
    """Of one world."""

    def __init__(self) -> None:
        self.journal = Journal()
        self._eye = Sharing()
        self._eye.join(self.journal)

    def rows(self) -> Sharing:
        """As of now, whatever the shards have seen of it."""
        self._eye.catch_up()
        return self._eye

    def litter(self, tablets: TabletMap, kept: Iterable[TabletId]) -> Iterator[str]:
        """`kept`: tablets of migrations that go on."""
        known = {*(tablet.id for tablet in tablets.tablets), *kept}
        rows = self.rows()
        for low, high in ((b"l", b"m"), keycodec.FENCES):
            for stored in rows.keys(low, high, ALL):
                if tablet_of(stored) not in known:
                    yield f"{stored!r} is of a tablet that is nobody's"

    def check_attachments(self, truth: Truth) -> None:
        """inv21: of a run that has settled, its history checked."""
        last = [truth.at(key, ALL) for key in truth.all_keys()]
        wanted = {keycodec.attachment(v.lease, v.key) for v in last if v is not None and v.lease}
        there = set(self.rows().keys(*keycodec.ATTACHMENTS, ALL))
        if there != wanted:
            raise Violation("inv21", f"attachments: {sorted(there)}, wanted {sorted(wanted)}")


def check_rows(newest: TabletMap, shard: str, batch: Batch) -> None:
    """inv17: a batch that has landed, its ranges spelled out."""
    by_id = newest.by_id()
    for kind, stored, _ in batch.operations:
        letter = stored[:1]
        if letter in KEY_OF:
            tablet = newest.tablet_of(KEY_OF[letter](stored))
        elif letter in (b"l", b"f") and tablet_of(stored) in by_id:
            tablet = by_id[tablet_of(stored)]
        else:
            continue
        assert kind != DELETE_RANGE, "one row"
        if tablet.shard != shard:
            raise Violation("inv17", f"{shard} touched {stored!r}, which is {tablet.shard}'s")


def tablet_of(stored: bytes) -> TabletId:
    """Of a log row or a fence."""
    return int.from_bytes(stored[1:5], "big")
