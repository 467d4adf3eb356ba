"""Many keys at once on a fake client that refuses answers above a size, as the real one does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest

from kubebraid.shard.storage import tikv_ahead
from kubebraid.shard.storage.tikv_ahead import KEYS_FIRST, Ahead, Gets
from kubebraid.shard.storage.tikv_seam import Client

ANSWER_BYTES_MAX = 4 << 20
TS = 17


class Fake:
    """Rows in a dict; counts what it was asked for."""

    def __init__(self, rows: dict[bytes, bytes]) -> None:
        self.rows = rows
        self.parts: list[int] = []
        self.refused = 0
        self.gets = 0

    def snapshot(self, timestamp: int, pessimistic: bool) -> Fake:
        assert (timestamp, pessimistic) == (TS, False)
        return self

    async def batch_get(self, keys: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
        self.parts.append(len(keys))
        found = [(key, self.rows[key]) for key in keys if key in self.rows]
        if sum(len(key) + len(value) for key, value in found) > ANSWER_BYTES_MAX:
            self.refused += 1
            raise RuntimeError("OutOfRange: Error, message length too large: found 9 bytes")
        return found[::-1]

    async def get(self, key: bytes) -> bytes | None:
        self.gets += 1
        return self.rows.get(key)


def ahead(fake: Fake, gets: Gets, keys: Sequence[bytes]) -> Ahead:
    return asyncio.run(gets.ahead(cast("Client", fake), TS, keys))


def named(count: int) -> list[bytes]:
    return [b"%06d" % number for number in range(count)]


@pytest.mark.parametrize("count", [1, 2, KEYS_FIRST, KEYS_FIRST + 1, 8 * KEYS_FIRST + 1, 3_000])
def test_every_key_is_known_there_or_not(count: int) -> None:
    fake = Fake({key: b"v" + key for key in named(count)[::2]})
    found = ahead(fake, Gets(), named(count))
    assert found == Ahead(TS, {key: fake.rows.get(key) for key in named(count)})
    assert sum(fake.parts) == count
    assert max(fake.parts) <= KEYS_FIRST


def test_parts_grow_with_small_rows_and_shrink_with_large_ones() -> None:
    gets = Gets()
    small = Fake(dict.fromkeys(named(1_000), b"v"))
    ahead(small, gets, named(1_000))
    small.parts.clear()
    ahead(small, gets, named(1_000))
    assert max(small.parts) > KEYS_FIRST
    large = Fake(dict.fromkeys(named(1_000), bytes(20_000)))
    ahead(large, gets, named(1_000))
    assert large.refused > 0, "so large were parts, and so were the rows"
    refused = large.refused
    ahead(large, gets, named(1_000))
    assert large.refused == refused


def test_part_that_is_too_long_is_read_key_for_key_with_those_that_are_absent() -> None:
    keys = named(KEYS_FIRST)
    fake = Fake(dict.fromkeys(keys[1:], bytes(100_000)))
    found = ahead(fake, Gets(), keys)
    assert found.rows == {key: fake.rows.get(key) for key in keys}
    assert (fake.refused, fake.gets) == (1, KEYS_FIRST)


def test_what_is_read_ahead_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tikv_ahead, "EXPECT_BYTES_MAX", 1_000_000)
    fake = Fake(dict.fromkeys(named(8_000), bytes(1_000)))
    found = ahead(fake, Gets(), named(8_000))
    assert list(found.rows) == named(tikv_ahead.PARTS * KEYS_FIRST)


def test_parts_do_not_grow_where_nothing_is_found() -> None:
    """Rows that come later may be large."""
    gets, fake = Gets(), Fake({})
    for _ in range(3):
        ahead(fake, gets, named(1_000))
    assert max(fake.parts) == KEYS_FIRST


def test_other_errors_are_not_read_round() -> None:
    class Broken(Fake):
        async def batch_get(self, keys: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
            raise RuntimeError("no store answers")

    fake = Broken({})
    with pytest.raises(RuntimeError, match="no store"):
        ahead(fake, Gets(), named(3))
    assert fake.gets == 0
