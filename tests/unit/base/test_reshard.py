"""What a migration's record says of itself."""

from __future__ import annotations

import pytest

from kubebraid.base.keyspace import KeyRange
from kubebraid.base.reshard import ENDED, UNDECIDED, Brings, Kind, Migration, Phase
from kubebraid.base.tabletmap import Tablet

POD = Tablet(7, "pods", KeyRange(b"b", b"c"), "shard-1", 3)
MOVE = Migration("m1", Kind.MOVE, "shard-0", "shard-1", (7,), (POD,))


def test_rows_are_copied_between_two_shards_alone() -> None:
    assert MOVE.copies
    assert not MOVE._replace(kind=Kind.SPLIT, target="shard-0").copies


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("shared", [False, True])
def test_within_a_shard_the_log_alone_is_written_anew(kind: Kind, shared: bool) -> None:
    assert MOVE._replace(kind=kind, target="shard-0").brings(shared) is Brings.LOG


@pytest.mark.parametrize("kind", list(Kind))
def test_between_shards_everything_is_brought_where_each_has_rows_of_its_own(kind: Kind) -> None:
    assert MOVE._replace(kind=kind).brings(shared=False) == Brings.KEYS | Brings.LOG


def test_of_shared_rows_leases_are_brought_and_the_log_of_tablets_with_new_ids() -> None:
    assert MOVE.brings(shared=True) == Brings.LEASES
    for kind in (Kind.SPLIT, Kind.MERGE):
        assert MOVE._replace(kind=kind).brings(shared=True) == Brings.LEASES | Brings.LOG


@pytest.mark.parametrize("phase", list(Phase))
def test_active_is_what_has_begun_and_not_ended(phase: Phase) -> None:
    begun = phase not in {Phase.PLANNED, Phase.DONE, Phase.ABORTED}
    assert MOVE._replace(phase=phase).active is begun


def test_every_phase_is_undecided_decided_or_ended() -> None:
    """Before COMMITTED it can end as if it had never been; behind it goes forward alone."""
    decided = {Phase.COMMITTED, Phase.DRAINING}
    assert ENDED | UNDECIDED | decided == set(Phase)
    assert not ENDED & UNDECIDED
    assert max(UNDECIDED) < min(decided)
