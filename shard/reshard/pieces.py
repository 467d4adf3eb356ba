"""The pieces of a copy, as the source reads them: everything first, then what was written since.

What it is: pure reading of a live store, a bounded piece a call. What it is not: who asks and when
(`source.py`, `copier.py`), or what the target makes of the rows (`landing.py`).

Words: a *stage* is one range of stored rows of the first round; the *cursor* is the stage and where
it goes on; later rounds walk the log rows in (since, upto], and their cursor is the next of them.

Why no snapshot is needed: the first round reads each row as it is at some moment behind its
beginning. What is written meanwhile has a log row above `upto` of that round, so a later round
brings every row that the write made: each row that a copy lacks, or has as it was, is named by a
log row of a later round. Compaction of the tablets rests meanwhile, and a key's versions lie newest
first, so no version is brought whose successor is missing.

Invariants:
- a piece is the same however often it is asked for, but for what was written meanwhile;
- a round with `upto` brings every row that commits up to `upto` made and that still stands;
- an n row is put as it stands now, or deleted: never as it stood;
- where two shards share the rows, an attachment stands for each leased key, and nothing else is
  brought but the log of tablets that get new ids.

Worked example: key a is put at 5 (copied by the first round, upto 5), then at 8: the round (5, 8]
brings h(a, 5), n(a) = 8 and the log row 8.

Tested in tests/unit/shard/test_reshard_pieces.py, tests/property/test_reshard_copy.py.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

from kubebraid.base.limits import EXPECT_KEYS_MAX
from kubebraid.base.placement import bucket_of
from kubebraid.base.reshard import Brings, CopyCall
from kubebraid.base.revision import Revision
from kubebraid.base.tabletmap import Tablet

from .. import keycodec
from ..keycodec import LogChange
from ..storage.engine import Engine, Reader
from .landing import holds

Keep: TypeAlias = Callable[[bytes], bool]
ROWS: Final = 256  # stored rows of one scan: bounds a piece of small rows
FIRST_ROWS: Final = 4  # of a piece's first scan, before the size of its rows is known
_STAGE: Final = struct.Struct(">H")
_WALK: Final = struct.Struct(">HQ")


class Piece(NamedTuple):
    """Rows to put, n rows to delete, and where the next piece begins (empty: nowhere)."""

    puts: list[tuple[bytes, bytes]]
    deletes: list[bytes]
    cursor: bytes


def piece(reader: Engine, tablets: Sequence[Tablet], call: CopyCall) -> Piece:
    """The next piece of a round whose `upto` is known. Raises ValueError for a cursor that is none,
    EngineError."""
    assert call.upto > 0, "the round has begun"
    try:
        if call.since < 0:
            return _first_round(reader, tablets, call)
        return _later_round(reader, call)
    except struct.error as error:
        raise ValueError("a cursor of another round") from error


def keeps(tablet: Tablet) -> Keep | None:
    """Which keys of its range are the tablet's; None: all."""
    if tablet.buckets == 1:
        return None
    return lambda key: bucket_of(key, tablet.buckets) == tablet.bucket


# -- everything --------------------------------------------------------------------------------


class _Stage(NamedTuple):
    low: bytes
    high: bytes
    keep: Keep | None


def _stages(tablets: Sequence[Tablet], call: CopyCall) -> Iterator[_Stage]:
    for tablet in tablets:
        keep = keeps(tablet)
        if call.brings & Brings.KEYS:
            yield _Stage(*keycodec.newest_bounds(tablet.span), _of(keep, lambda row: row[1:]))
            of_history = _of(keep, lambda row: keycodec.split_history(row)[0])
            yield _Stage(*keycodec.history_bounds(tablet.span), of_history)
        if call.brings & Brings.LOG:
            yield _Stage(keycodec.log(tablet.id, 0), keycodec.log(tablet.id, call.upto + 1), None)
        if call.brings & Brings.LEASES:
            yield _Stage(*keycodec.ATTACHMENTS, _attached(tablet))


def _attached(tablet: Tablet) -> Keep:
    return lambda stored: holds(tablet, keycodec.attached_key(stored))


def _of(keep: Keep | None, key_in: Callable[[bytes], bytes]) -> Keep | None:
    return None if keep is None else lambda stored: keep(key_in(stored))


def _first_round(reader: Reader, tablets: Sequence[Tablet], call: CopyCall) -> Piece:
    stages = list(_stages(tablets, call))
    number, start = 0, b""
    if call.cursor:
        number, start = _STAGE.unpack_from(call.cursor)[0], call.cursor[_STAGE.size :]
    if number >= len(stages):
        raise ValueError(f"a copy has {len(stages)} stages, not {number}")
    low, high, keep = stages[number]
    start = max(low, start)
    puts: list[tuple[bytes, bytes]] = []
    size = seen = read = 0
    while size < call.bytes_max and seen < ROWS * 8:
        wanted = _page(seen, read, call.bytes_max - size)
        page = reader.scan(start, high, wanted)
        seen += len(page)
        for stored, value in page:
            start = stored + b"\x00"
            read += len(stored) + len(value)
            if keep is None or keep(stored):
                puts.append((stored, value))
                size += len(stored) + len(value)
                if size >= call.bytes_max:
                    break
        else:
            if len(page) < wanted:
                following = number + 1
                return Piece(puts, [], _STAGE.pack(following) if following < len(stages) else b"")
    return Piece(puts, [], _STAGE.pack(number) + start)


def _page(seen: int, read: int, left: int) -> int:
    """How many rows are likely to fill what is left, from the size of those that were read."""
    if not seen:
        return min(FIRST_ROWS, ROWS)
    return min(ROWS, left * seen // read + 1)


# -- what was written since --------------------------------------------------------------------


def _later_round(reader: Engine, call: CopyCall) -> Piece:
    number, at = _WALK.unpack(call.cursor) if call.cursor else (0, call.since + 1)
    if number >= len(call.tablets) or at <= call.since:
        raise ValueError("a cursor of another round")
    made = _Collected(reader, call.brings)
    tablet = call.tablets[number]
    rows = reader.scan(keycodec.log(tablet, at), keycodec.log(tablet, call.upto + 1), ROWS)
    if call.brings & Brings.LEASES:
        reader.expect([keycodec.newest(key) for key in _changed(rows)])
    for stored, value in rows:
        made.log_row(stored, value)
        at = keycodec.log_revision(stored) + 1
        if made.size >= call.bytes_max:
            break
    else:
        if len(rows) < ROWS:
            number, at = number + 1, call.since + 1
    cursor = _WALK.pack(number, at) if number < len(call.tablets) else b""
    return made.piece(cursor)


def _changed(rows: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
    """The keys that these log rows name, each once, as far as they are worth asking for at once."""
    changes = (change for _, value in rows for change in keycodec.unpack_changes(value))
    return list(dict.fromkeys(change.key for change in changes))[:EXPECT_KEYS_MAX]


class _Collected:
    """The rows that some log rows name, each n row once."""

    def __init__(self, reader: Reader, brings: Brings) -> None:
        self._reader = reader
        self._brings = brings
        self._puts: dict[bytes, bytes] = {}
        self._deletes: dict[bytes, None] = {}
        self._seen: set[bytes] = set()
        self.size = 0

    def log_row(self, stored: bytes, value: bytes) -> None:
        if self._brings & Brings.LOG:
            self._put(stored, value)
        if self._brings & Brings.LEASES:
            for change in keycodec.unpack_changes(value):
                self._attachment(change.key)
        if not self._brings & Brings.KEYS:
            return
        revision = keycodec.log_revision(stored)
        changes = keycodec.unpack_changes(value)
        last = {change.key: change.sub for change in changes}
        for change in changes:
            self._change(change, revision, change.sub == last[change.key])

    def _put(self, stored: bytes, value: bytes) -> None:
        self._puts[stored] = value
        self.size += len(stored) + len(value)

    def _change(self, change: LogChange, revision: Revision, is_last: bool) -> None:
        key = change.key
        if change.before:
            self._history(keycodec.history(key, change.before))
        if not change.ended:
            sub = keycodec.LAST_SUB if is_last else change.sub
            self._history(keycodec.history(key, revision, sub))
        if key in self._seen:
            return
        self._seen.add(key)
        stored = keycodec.newest(key)
        value = self._reader.get(stored)
        if value is None:
            self._deletes[stored] = None
            self.size += len(stored)
        else:
            self._put(stored, value)

    def _attachment(self, key: bytes) -> None:
        """To the lease that the key has now."""
        value = self._reader.get(keycodec.newest(key))
        lease = 0 if value is None else keycodec.unpack_row(value).lease
        if lease:
            self._put(keycodec.attachment(lease, key), b"")

    def _history(self, stored: bytes) -> None:
        """A version that is still the newest has no h row."""
        value = self._reader.get(stored)
        if value is not None:
            self._put(stored, value)

    def piece(self, cursor: bytes) -> Piece:
        return Piece(list(self._puts.items()), list(self._deletes), cursor)
