"""What a caller knows of the rows that tell whose a tablet is."""

from __future__ import annotations

import pytest

from kubebraid.shard.storage.tikv_guards import Guards

FENCE = b"f\0\0\0\3"


def test_what_was_read_or_written_last_is_what_the_row_may_hold() -> None:
    guards = Guards()
    assert FENCE not in guards
    guards.told(FENCE, None)
    assert FENCE in guards
    assert guards.of([FENCE]) == {FENCE: (None,)}
    guards.told(FENCE, b"4")
    assert guards.of([FENCE]) == {FENCE: (b"4",)}
    assert guards.of([]) == {}


def test_write_without_an_answer_leaves_both_until_it_is_read_again() -> None:
    guards = Guards()
    guards.told(FENCE, b"4")
    for _ in range(2):
        guards.tried(FENCE, b"5")
    guards.tried(FENCE, None)
    assert guards.of([FENCE]) == {FENCE: (b"4", b"5", None)}
    guards.told(FENCE, b"5")
    assert guards.of([FENCE]) == {FENCE: (b"5",)}


def test_write_of_a_row_that_was_not_looked_at_is_refused() -> None:
    with pytest.raises(AssertionError, match="looked at"):
        Guards().tried(FENCE, b"5")
    with pytest.raises(KeyError):
        Guards().of([FENCE])
