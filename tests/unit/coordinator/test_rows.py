"""Tablets and migrations as JSON: read back, and refused where a type is wrong."""

from __future__ import annotations

import json

import pytest
from hypothesis import given

from kubebraid.base.keyspace import KeyRange
from kubebraid.base.reshard import Kind, Migration, Phase
from kubebraid.base.tabletmap import Tablet
from kubebraid.coordinator.rows import Stored, migration_of, migration_row, tablet_of, tablet_row
from tests.unit.coordinator.reshard_kit import move
from tests.unit.proto.test_coordinator_reshard import MIGRATIONS


def stored(migration: Migration) -> Stored:
    row: Stored = json.loads(json.dumps(migration_row(migration)))
    return row


@given(MIGRATIONS)
def test_migration_is_read_back(migration: Migration) -> None:
    assert migration_of(stored(migration)) == migration


def test_tablet_row_is_what_it_was() -> None:
    """The worked example of the module."""
    tablet = Tablet(7, "pods", KeyRange(b"/p", b"/q"), "shard-1", 4, 0, 1, 90)
    assert tablet_row(tablet) == [7, "pods", "2f70", "2f71", "shard-1", 4, 0, 1, 90]
    assert tablet_of(tablet_row(tablet)) == tablet
    assert tablet_of([7, "pods", "2f70", None, "shard-1", 4]).span.end is None


# Written down once: what this version stored must be read by every later one.
OLD = (
    '{"id":"m1","kind":1,"source":"s0","target":"s1","sources":[2],'
    '"targets":[[2,"a","2f61","2f6130","s1",1,0,1,0]],"phase":4,"ends":[[2,90]]}'
)


def test_row_without_later_fields_has_them_as_in_a_new_migration() -> None:
    made = migration_of(json.loads(OLD))
    assert (made.kind, made.phase, made.ends) == (Kind.MOVE, Phase.FROZEN, ((2, 90),))
    assert (made.manual, made.tries, made.freeze, made.back) == (False, 0, 0, False)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("kind", 99),
        ("kind", "1"),
        ("phase", 0),
        ("manual", 1),
        ("tries", True),
        ("id", 5),
        ("sources", [None]),
        ("targets", [[1]]),
        ("targets", [[2, "a", "xx", None, "s1", 1]]),
        ("ends", [[1]]),
        ("ends", [[1, "2"]]),
        ("ends", 7),
    ],
)
def test_row_of_a_wrong_type_is_refused(field: str, wrong: object) -> None:
    with pytest.raises((TypeError, ValueError, KeyError)):
        migration_of(stored(move()) | {field: wrong})
