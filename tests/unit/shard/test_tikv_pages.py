"""Scans of TiKV on a fake client that refuses answers above a size, as the real one does."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from kubebraid.shard.storage import tikv_pages
from kubebraid.shard.storage.tikv_pages import ROWS_FIRST, ROWS_MAX, Pages
from kubebraid.shard.storage.tikv_seam import Client

ANSWER_BYTES_MAX = 4 << 20
TS = 17


class Fake:
    """Rows in a dict; counts what it was asked for."""

    def __init__(self, rows: dict[bytes, bytes]) -> None:
        self.rows = rows
        self.scans: list[int] = []
        self.refused = 0
        self.gets = 0

    def snapshot(self, timestamp: int, pessimistic: bool) -> Fake:
        assert (timestamp, pessimistic) == (TS, False)
        return self

    async def scan(
        self, start: bytes, end: bytes, limit: int, include_start: bool, include_end: bool
    ) -> list[tuple[bytes, bytes]]:
        assert (include_start, include_end) == (True, False)
        self.scans.append(limit)
        page = [(key, self.rows[key]) for key in sorted(self.rows) if start <= key < end][:limit]
        if sum(len(key) + len(value) for key, value in page) > ANSWER_BYTES_MAX:
            self.refused += 1
            raise RuntimeError("OutOfRange: Error, message length too large: found 9 bytes")
        return page

    async def scan_keys(self, start: bytes, end: bytes, limit: int, *_: Any) -> list[bytes]:
        return [key for key in sorted(self.rows) if start <= key < end][:limit]

    async def get(self, key: bytes) -> bytes | None:
        self.gets += 1
        return self.rows.get(key)


def scanned(fake: Fake, pages: Pages, limit: int) -> list[tuple[bytes, bytes]]:
    return asyncio.run(pages.rows(cast("Client", fake), TS, b"", b"\xff", limit))


@pytest.mark.parametrize("limit", [1, 63, 64, 65, 191, 192, 193, 2_999, 3_000, 3_001, 9_999])
def test_scan_is_whole_around_the_borders_of_its_pages(limit: int) -> None:
    rows = {b"%06d" % number: b"v" for number in range(3_000)}
    fake = Fake(rows)
    assert scanned(fake, Pages(), limit) == sorted(rows.items())[:limit]
    assert max(fake.scans) <= ROWS_MAX


def test_pages_grow_to_what_suits_the_rows_and_the_next_scan_begins_there() -> None:
    fake = Fake({b"%06d" % number: bytes(2_000) for number in range(2_000)})
    pages = Pages()
    scanned(fake, pages, 9_999)
    assert fake.scans[:4] == [ROWS_FIRST, 128, 256, 512]
    suitable = fake.scans[4]
    assert 500 <= suitable <= 524
    fake.scans.clear()
    scanned(fake, pages, 9_999)
    assert fake.scans[0] == suitable


def test_page_that_is_too_long_is_read_by_its_keys_and_the_next_ones_are_short() -> None:
    rows = {b"a%06d" % number: b"v" for number in range(1_500)}
    rows |= {b"b%06d" % number: bytes(1_000_000) for number in range(60)}
    fake = Fake(rows)
    assert scanned(fake, Pages(), 9_999) == sorted(rows.items())
    assert fake.refused <= 2, fake.scans
    assert fake.gets <= 2 * ROWS_MAX


def test_where_large_rows_were_met_a_page_is_short_from_its_beginning() -> None:
    """Whatever was read between: a page that is refused costs the client's own tries, seconds."""
    rows = {b"a%d" % number: bytes(1_000_000) for number in range(5)}
    rows |= {b"b%06d" % number: b"v" for number in range(500)}
    fake, pages = Fake(rows), Pages()

    def scan(start: bytes, end: bytes) -> int:
        client = cast("Client", fake)
        return len(asyncio.run(pages.rows(client, TS, start, end, ROWS_FIRST)))

    for _ in range(5):
        assert scan(b"a", b"b") == 5
        for number in range(8):
            assert scan(b"b%06d" % number, b"c") == ROWS_FIRST
    assert fake.refused == 1
    for key in [key for key in fake.rows if key < b"b"]:
        fake.rows[key] = b"small"
    for _ in range(3):
        assert scan(b"a", b"b") == 5
    fake.scans.clear()
    assert scan(b"a", b"b") == 5
    assert len(fake.scans) == 1, "forgotten where they are small by now"


def test_error_of_another_kind_is_raised() -> None:
    class Broken(Fake):
        async def scan(self, *_: Any) -> list[tuple[bytes, bytes]]:
            raise RuntimeError("Region error")

    with pytest.raises(RuntimeError, match="Region error"):
        scanned(Broken({}), Pages(), 9)


def test_keys_are_read_whole_over_several_pages() -> None:
    rows = {b"%06d" % number: b"v" for number in range(1_500)}
    got = asyncio.run(tikv_pages.keys(cast("Client", Fake(rows)), TS, b"", b"\xff", 1_400))
    assert got == sorted(rows)[:1_400]
