"""What a migration's record says of itself."""

from __future__ import annotations

import pytest

from kubebraid.base.keyspace import KeyRange
from kubebraid.base.reshard import ENDED, UNDECIDED, Kind, Migration, Phase
from kubebraid.base.tabletmap import Tablet

POD = Tablet(7, "pods", KeyRange(b"b", b"c"), "shard-1", 3)
MOVE = Migration("m1", Kind.MOVE, "shard-0", "shard-1", (7,), (POD,))


def test_rows_are_copied_between_two_shards_alone() -> None:
    assert MOVE.copies
    assert not MOVE._replace(kind=Kind.SPLIT, target="shard-0").copies


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
