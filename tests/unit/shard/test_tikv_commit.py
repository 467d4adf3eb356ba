"""What a batch comes to as rows of one transaction, and how values are stored."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kubebraid.shard.storage.engine import Batch
from kubebraid.shard.storage.tikv_commit import fold, pack, unpack
from kubebraid.shard.storage.tikv_seam import ANYTHING, NOTHING_ELSE, SOMETHING, May


def test_later_operations_win_and_ranges_reach_rows_of_the_same_batch() -> None:
    batch = Batch().put(b"a", b"1").delete(b"a").put(b"b", b"1").delete_range(b"b", b"d")
    batch.put(b"c", b"2").delete(b"x").put(b"d", b"3")
    assert fold(batch) == (
        {b"a": None, b"b": None, b"c": b"2", b"x": None, b"d": b"3"},
        [(b"b", b"d")],
    )


@given(value=st.one_of(st.binary(max_size=6), st.binary(max_size=3).map(lambda b: b"\xff" + b)))
def test_stored_value_is_never_empty_and_is_read_as_it_was(value: bytes) -> None:
    assert pack(value)
    assert unpack(pack(value)) == value


def test_value_of_an_ordinary_row_is_stored_as_it_is() -> None:
    value = b"\x00\x01row"
    assert pack(value) is value
    assert unpack(value) is value


def test_row_may_hold_the_values_that_are_named_or_what_begins_so() -> None:
    some = May((None, b"one"), (b"tw",))
    assert [some.hold(found) for found in (None, b"one", b"two", b"tw")] == [True] * 4
    assert [some.hold(found) for found in (b"", b"ones", b"t")] == [False] * 3
    assert [ANYTHING.hold(found) for found in (None, b"", b"x")] == [True] * 3
    assert [SOMETHING.hold(found) for found in (None, b"", b"x")] == [False, True, True]
    assert [NOTHING_ELSE.hold(found) for found in (None, b"", b"x")] == [False] * 3
