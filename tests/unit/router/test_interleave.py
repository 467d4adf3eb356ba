"""Owners of one hashed range, in their own time, become one sequence of rows in key order."""

from __future__ import annotations

import pytest

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.keyspace import EVERYTHING, KeyRange
from kubebraid.base.limits import STREAM_CHUNK_BYTES
from kubebraid.base.ports import ReadCall, ReadChunk, ReadSink
from kubebraid.base.record import Row
from kubebraid.proto.kvwire import key_of, key_value, range_rows
from kubebraid.router.interleave import Interleaved, page_rows

from .fakes import HeldOwner, row


class Owner(HeldOwner):
    """Answers nothing by itself: the test speaks for it."""

    def __init__(self, refuses: RequestRefused | None = None) -> None:
        super().__init__("", ())
        self._refuses = refuses
        self._sink: ReadSink | None = None

    def read(self, call: ReadCall, sink: ReadSink) -> None:
        self.read_calls.append(call)
        self._sink = sink
        if self._refuses is not None:
            sink.take(self._refuses)

    def ready(self) -> bool:
        assert self._sink is not None
        return self._sink.ready()

    def refuse(self, why: RequestRefused) -> bool:
        assert self._sink is not None
        return self._sink.take(why)

    def give(self, letters: str) -> bool:
        """A chunk of these keys' rows; answers whether more is wanted."""
        return self.give_rows([row(letter.encode()) for letter in letters])

    def give_rows(self, rows: list[Row]) -> bool:
        assert self._sink is not None
        return self._sink.take(ReadChunk(rows, 0, False))

    def end(self, total: int) -> bool:
        assert self._sink is not None
        return self._sink.take(ReadChunk((), total, True))


class Asker:
    """Receives what is interleaved."""

    def __init__(self, *owners: Owner, limit: int = 0, spliced: bool = False) -> None:
        call = ReadCall(EVERYTHING, 9, (), 1, limit, False, spliced)
        needs = [((number, 5),) for number, _ in enumerate(owners)]
        calls = [(o, call._replace(needs=n)) for o, n in zip(owners, needs, strict=True)]
        self.parts: list[ReadChunk | RequestRefused] = []
        self.reads = True
        self.gone = False
        Interleaved(calls, self).start()

    def ready(self) -> bool:
        return self.reads

    def take(self, part: ReadChunk | RequestRefused) -> bool:
        self.parts.append(part)
        return not self.gone

    @property
    def chunks(self) -> list[ReadChunk]:
        return [part for part in self.parts if isinstance(part, ReadChunk)]

    @property
    def letters(self) -> str:
        rows = [row for chunk in self.chunks for row in chunk.rows]
        return b"".join(key_of(row.raw) for row in rows).decode()

    @property
    def total(self) -> int:
        """Of a read that has ended."""
        *before, last = self.chunks
        assert last.last
        assert not any(chunk.last or chunk.total for chunk in before)
        return last.total


def two(limit: int = 0, spliced: bool = False) -> tuple[Owner, Owner, Asker]:
    left, right = Owner(), Owner()
    return left, right, Asker(left, right, limit=limit, spliced=spliced)


def test_worked_example_of_two_strands() -> None:
    left, right, asker = two()
    left.give("ac")
    assert asker.letters == "", "what the other brings may be smaller"
    right.give("bdf")
    assert asker.letters == "abc"
    assert (left.ready(), right.ready()) == (True, False)
    left.give("eg")
    assert asker.letters == "abcdef"
    assert (left.ready(), right.ready()) == (False, True)


def test_every_owner_is_asked_at_once_with_its_own_watermarks() -> None:
    """A list waits for the slowest of its shards, not for the sum of them."""
    left, right, _ = two(limit=3)
    (first,), (second,) = left.read_calls, right.read_calls
    assert (first.needs, second.needs) == (((0, 5),), ((1, 5),))
    assert first._replace(needs=()) == second._replace(needs=())


def test_strand_that_has_ended_holds_nobody_up() -> None:
    left, right, asker = two()
    left.give("b")
    left.end(1)
    assert asker.letters == ""
    right.give("ac")
    assert asker.letters == "abc"
    right.end(2)
    assert asker.total == 3


def test_strand_that_ends_without_a_row_lets_the_others_go() -> None:
    left, right, asker = two()
    left.give("ab")
    right.end(0)
    assert asker.letters == "ab"
    left.end(2)
    assert asker.total == 2


def test_nobody_reads_on_for_an_asker_that_is_not_ready() -> None:
    left, right, asker = two()
    asker.reads = False
    assert not left.ready()
    assert not right.ready()
    asker.reads = True
    assert left.ready()
    assert right.ready()


# -- limits ----------------------------------------------------------------------------------------


def test_one_row_beyond_the_limit_leaves_and_the_rest_is_dropped_as_it_comes() -> None:
    """As an owner answers: the asker sees by it that there is more."""
    left, right, asker = two(limit=2)
    left.give("acd")
    right.give("b")
    right.give("ef")
    assert asker.letters == "abc"
    assert left.ready(), "its total is still to come"
    assert right.ready()
    left.end(8)
    right.end(4)
    assert (asker.letters, asker.total) == ("abc", 12)


def test_splicing_happens_behind_the_merge_up_to_the_limit() -> None:
    left, right, asker = two(limit=2, spliced=True)
    assert not left.read_calls[0].spliced
    left.give("ac")
    right.give("bd")
    body = range_rows([row(b"a").raw, row(b"b").raw])
    assert asker.chunks == [ReadChunk((), 0, False, body, 2)]
    left.end(2)
    right.end(2)
    assert asker.total == 4


def test_spliced_chunks_are_bounded() -> None:
    left, right, asker = two(spliced=True)
    value = b"v" * (STREAM_CHUNK_BYTES // 2)
    rows = [Row(2, 2, 1, 0, key_value(key, 2, 2, 1, value, 0)) for key in (b"a", b"c", b"e")]
    left.give_rows(rows)
    right.give("f")
    assert [chunk.spliced for chunk in asker.chunks] == [1, 1, 1]
    assert all(len(chunk.body) <= STREAM_CHUNK_BYTES for chunk in asker.chunks)


def test_totals_add_up_where_only_they_were_asked_for() -> None:
    left, right, asker = two()
    left.end(3)
    assert asker.parts == []
    right.end(4)
    assert asker.parts == [ReadChunk((), 7, True)]


# -- pages -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "strands", "page"), [(500, 4, 159), (500, 2, 296), (8, 2, 8), (1, 3, 1), (0, 2, 0)]
)
def test_strand_is_asked_for_about_its_share_of_the_limit(
    rows: int, strands: int, page: int
) -> None:
    """And not for the whole of it: eight shards would read eight times what the answer shows."""
    assert page_rows(rows, strands) == page
    owners = [Owner() for _ in range(strands)]
    Asker(*owners, limit=rows, spliced=True)
    assert {owner.read_calls[0].limit for owner in owners} == {page}


def numbered(first: int, end: int) -> list[Row]:
    return [row(b"%03d" % number) for number in range(first, end)]


def test_strand_that_holds_more_than_its_share_is_asked_for_its_next_page() -> None:
    """The row that its owner showed beyond the page comes again, and is counted once."""
    left, right, asker = two(limit=100, spliced=True)
    left.give_rows(numbered(0, 60))
    left.give_rows(numbered(60, 73))
    left.end(90)
    assert len(left.read_calls) == 1, "not before its page is used up"
    right.end(0)
    first, second = left.read_calls
    assert second == first._replace(span=KeyRange(b"071\x00", None))
    assert left.ready()
    left.give_rows(numbered(72, 90))
    left.end(18)
    assert sum(chunk.spliced for chunk in asker.chunks) == 90
    assert b"".join(c.body for c in asker.chunks) == range_rows(r.raw for r in numbered(0, 90))
    assert asker.total == 90


def test_row_beyond_a_page_may_come_when_the_page_is_used_up() -> None:
    left, right, asker = two(limit=100, spliced=True)
    right.end(0)
    left.give_rows(numbered(0, 72))
    assert sum(chunk.spliced for chunk in asker.chunks) == 72
    left.give_rows(numbered(72, 73))
    left.end(73)
    left.give_rows(numbered(72, 73))
    left.end(1)
    assert sum(chunk.spliced for chunk in asker.chunks) == 73
    assert asker.total == 73


def test_strand_whose_page_was_all_of_it_is_not_asked_again() -> None:
    left, right, asker = two(limit=100, spliced=True)
    left.give_rows(numbered(0, 72))
    left.end(72)
    right.end(0)
    assert len(left.read_calls) == 1
    assert asker.total == 72


def test_row_that_shows_that_there_is_more_is_part_of_the_share() -> None:
    """A read of one key, not spliced, needs a second row; it may be of the same owner."""
    left, right, _ = two(limit=1)
    assert {left.read_calls[0].limit, right.read_calls[0].limit} == {2}


def test_no_page_is_asked_for_behind_the_limit() -> None:
    left, right, asker = two(limit=100, spliced=True)
    left.give_rows(numbered(0, 73))
    left.end(200)
    right.give_rows(numbered(300, 373))
    assert len(left.read_calls) == 2
    left.give_rows(numbered(72, 145))
    left.end(128)
    right.end(100)
    assert sum(chunk.spliced for chunk in asker.chunks) == 100
    assert asker.total == 300
    assert (len(left.read_calls), len(right.read_calls)) == (2, 1)


def test_refusal_of_a_later_page_refuses_the_whole() -> None:
    left, right, asker = two(limit=100)
    left.give_rows(numbered(0, 73))
    left.end(200)
    right.end(0)
    left.refuse(errors.OTHER_MAP)
    assert asker.parts[-1] is errors.OTHER_MAP


# -- ends ------------------------------------------------------------------------------------------


def test_first_refusal_is_handed_on_once_and_ends_every_strand() -> None:
    left, right, asker = two()
    left.give("ac")
    assert not right.refuse(errors.COMPACTED)
    assert left.ready(), "so that its work ends, instead of waiting for ever"
    assert not left.give("e")
    assert not left.refuse(errors.TIMED_OUT)
    assert asker.parts == [errors.COMPACTED]


def test_owner_that_refuses_at_once_spares_the_others() -> None:
    left, right = Owner(errors.OTHER_MAP), Owner()
    assert Asker(left, right).parts == [errors.OTHER_MAP]
    assert right.read_calls == []


@pytest.mark.parametrize("spliced", [False, True])
def test_asker_that_is_gone_ends_every_strand(spliced: bool) -> None:
    left, right, asker = two(spliced=spliced)
    asker.gone = True
    left.give("ac")
    assert not right.give("bd")
    assert left.ready()
    assert not left.give("e")
    assert len(asker.parts) == 1


def test_inv17_key_of_two_owners_is_never_shown() -> None:
    """A row left behind where a bucket was would be listed twice, or in an old version."""
    left, right, _ = two()
    left.give("ab")
    with pytest.raises(AssertionError, match="inv17"):
        right.give("bc")
