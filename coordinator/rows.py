"""Tablets and migrations as JSON can hold them, for the state and for the log's commands.

What it is: encode and decode of one tablet and one migration. What it is not: the frame around
them, its version or its checksum (`state.py`, `commands.py`).

Invariants: `migration_of(migration_row(m)) == m`; a row that is none of ours raises KeyError,
TypeError or ValueError, also where only a type is wrong: what passes can be carried out.

Worked example: `[7, "pods", "2f70", "2f71", "shard-1", 4, 0, 1, 90]` is tablet 7 of shard-1: the
keys from /p to before /q, owner epoch 4, bucket 0 of 1, behind revision 90.

Tested in tests/unit/coordinator/test_rows.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias, TypeVar

from kubebraid.base.keyspace import KeyRange
from kubebraid.base.reshard import Kind, Migration, Phase
from kubebraid.base.revision import Revision, TabletId
from kubebraid.base.tabletmap import Tablet

Stored: TypeAlias = dict[str, Any]  # type: ignore[explicit-any]  # JSON has any shape
T = TypeVar("T")


def typed(found: object, kind: type[T]) -> T:
    """Raises TypeError. Taken as it is, it would raise while a command is carried out."""
    if type(found) is not kind:
        raise TypeError(f"{found!r} is no {kind.__name__}")
    return found


def tablet_row(tablet: Tablet) -> list[object]:
    """Keys are hex because they are bytes."""
    span = (tablet.span.start.hex(), None if tablet.span.end is None else tablet.span.end.hex())
    where = (tablet.shard, tablet.oepoch, tablet.bucket, tablet.buckets, tablet.begin)
    return [tablet.id, tablet.name, *span, *where]


def tablet_of(row: Sequence[object]) -> Tablet:
    """The inverse; rows of the first format end with the owner epoch."""
    number, name, start, end, shard, oepoch, *later = row
    span = KeyRange(_key(start), None if end is None else _key(end))
    bucket, buckets, begin = later or (0, 1, 0)
    return Tablet(
        typed(number, int),
        typed(name, str),
        span,
        typed(shard, str),
        typed(oepoch, int),
        typed(bucket, int),
        typed(buckets, int),
        typed(begin, int),
    )


def _key(found: object) -> bytes:
    return bytes.fromhex(typed(found, str))


def migration_row(migration: Migration) -> Stored:
    """By name: fields are added as the protocol grows."""
    row: Stored = migration._asdict()
    row["targets"] = [tablet_row(tablet) for tablet in migration.targets]
    return row


def migration_of(row: Stored) -> Migration:
    """The inverse; what a row lacks is as it is in a new migration."""
    new = Migration("", Kind.MOVE, "", "", (), ())
    plain = {
        name: typed(typed(row, dict).get(name, value), type(value))
        for name, value in new._asdict().items()
        if type(value) in (str, int, bool)
    }
    return new._replace(
        **plain,
        kind=Kind(typed(row["kind"], int)),
        phase=Phase(typed(row["phase"], int)),
        sources=tuple(typed(tablet, int) for tablet in row["sources"]),
        targets=tuple(tablet_of(tablet) for tablet in row["targets"]),
        ends=pairs(row["ends"]),
    )


def pairs(rows: Sequence[Sequence[object]]) -> tuple[tuple[TabletId, Revision], ...]:
    """Tablets with a revision of each."""
    return tuple((typed(tablet, int), typed(end, int)) for tablet, end in rows)
