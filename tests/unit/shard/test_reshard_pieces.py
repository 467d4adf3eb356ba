"""The pieces of a copy: bounded, repeatable, and all that was written."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kubebraid.base.placement import bucket_of
from kubebraid.base.reshard import Brings, CopyCall
from kubebraid.shard import keycodec
from kubebraid.shard.reshard import pieces
from kubebraid.shard.reshard.pieces import Piece, piece
from kubebraid.shard.storage.engine import Batch, Reader
from tests.moving import MOVED, SYSTEM, Moving
from tests.unit.shard.stones import with_tombstones

EVERYTHING = CopyCall("m1", (MOVED,), -1, 0, b"", 1 << 20, Brings.KEYS | Brings.LOG)


def whole(pair: Moving, call: CopyCall) -> tuple[dict[bytes, bytes], list[bytes], int]:
    """A round: what it puts and deletes, and in how many pieces."""
    engine = pair.engines["shard-0"]
    tablets = [pair.tablets.by_id()[tablet] for tablet in call.tablets]
    puts: dict[bytes, bytes] = {}
    deletes: list[bytes] = []
    for count in range(1, 10_000):
        found = piece(engine, tablets, call)
        puts |= found.puts
        deletes += found.deletes
        if not found.cursor:
            return puts, deletes, count
        call = call._replace(cursor=found.cursor)
    raise AssertionError("a round has no end")


def filled() -> Moving:
    pair = Moving()
    for n in range(20):
        pair.put(b"b%02d" % (n % 7), b"x" * 50)
    pair.put(b"a1")
    pair.put(b"c1")
    return pair


@pytest.mark.parametrize("bytes_max", [1, 100, 1_000, 1 << 20])
def test_first_round_brings_every_row_of_the_tablet_alone(bytes_max: int) -> None:
    pair = filled()
    closed = pair.owned["shard-0"].closed[MOVED]
    puts, deletes, count = whole(pair, EVERYTHING._replace(upto=closed, bytes_max=bytes_max))
    rows = pair.rows("shard-0", b"nh")
    log = {keycodec.log(MOVED, at): row for at, row in pair.log("shard-0", MOVED).items()}
    assert puts == rows | log
    assert not deletes
    assert (count > len(puts)) is (bytes_max == 1), "a piece goes past its bytes by a row at most"


def test_first_round_brings_no_log_above_its_end() -> None:
    """What is written meanwhile is the next round's."""
    pair = filled()
    puts, _, _ = whole(pair, EVERYTHING._replace(upto=9))
    assert max(keycodec.log_revision(row) for row in puts if row[:1] == b"l") == 9


def test_small_rows_end_a_piece_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "ROWS", 1)
    pair = filled()
    found = piece(pair.engines["shard-0"], [pair.tablets.by_id()[MOVED]],
                  EVERYTHING._replace(upto=20))  # fmt: skip
    assert found.cursor
    assert len(found.puts) == 7, "one stage, whose end was seen"


class Counting:
    """A reader that counts the bytes of values that it hands out."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.size = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def scan(self, start: bytes, end: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        rows = self._reader.scan(start, end, limit)
        self.size += sum(len(value) for _, value in rows)
        return rows


def test_piece_of_large_rows_reads_little_that_it_does_not_bring() -> None:
    """Else each piece of rows of 1 MB would read 256 of them for one."""
    pair = Moving()
    for n in range(100):
        pair.put(b"b%02d" % n, b"x" * 1_000)
    reader: Any = Counting(pair.engines["shard-0"])
    call = EVERYTHING._replace(upto=101, bytes_max=30_000)
    tablets = [pair.tablets.by_id()[MOVED]]
    found = piece(reader, tablets, call)
    assert 28 <= len(found.puts) <= 30
    assert reader.size <= 32_000
    found = piece(reader, tablets, call._replace(cursor=found.cursor, bytes_max=1))
    assert len(found.puts) == 1
    assert reader.size <= 32_000 + pieces.FIRST_ROWS * 1_100


def test_later_round_brings_rows_as_they_stand_and_those_they_replaced() -> None:
    """The example of the module's head, and a deletion."""
    pair = Moving()
    for _ in range(2, 5):
        pair.put(b"a")
    assert pair.put(b"ba").revision == 5
    assert pair.put(b"bb").revision == 6
    pair.put(b"a")
    assert pair.put(b"ba").revision == 8
    assert pair.delete(b"bb").revision == 9
    puts, deletes, _ = whole(pair, EVERYTHING._replace(since=6, upto=9))
    assert set(puts) == {
        keycodec.newest(b"ba"),
        keycodec.history(b"ba", 5),
        keycodec.log(MOVED, 8),
        keycodec.history(b"bb", 6),  # and that it was ended at 9
        keycodec.log(MOVED, 9),
    }
    assert keycodec.unpack_superseded(puts[keycodec.history(b"bb", 6)]).ended == 9
    assert deletes == [keycodec.newest(b"bb")]
    nothing = whole(pair, EVERYTHING._replace(since=9, upto=9))
    assert nothing == ({}, [], 1)


def test_later_round_brings_the_tombstones_of_a_store_from_before() -> None:
    pair = Moving()
    for _ in range(2, 6):
        pair.put(b"bb")
    assert pair.delete(b"bb").revision == 6
    assert with_tombstones(pair.engines["shard-0"]) == 1
    puts, deletes, _ = whole(pair, EVERYTHING._replace(since=5, upto=6))
    assert set(puts) == {
        keycodec.history(b"bb", 5),
        keycodec.history(b"bb", 6),
        keycodec.log(MOVED, 6),
    }
    assert deletes == [keycodec.newest(b"bb")]


@pytest.mark.parametrize("bytes_max", [1, 200, 1 << 20])
def test_later_rounds_walk_every_tablet(bytes_max: int) -> None:
    pair = filled()
    joint = EVERYTHING._replace(tablets=(MOVED, 1), since=10, upto=22, bytes_max=bytes_max)
    puts, _, _ = whole(pair, joint)
    logs = sorted(int.from_bytes(row[5:13], "big") for row in puts if row[:1] == b"l")
    assert logs == list(range(11, 23))


def test_log_alone_of_a_split() -> None:
    pair = filled()
    for since in (-1, 10):
        puts, _, _ = whole(pair, EVERYTHING._replace(since=since, upto=21, brings=Brings.LOG))
        assert {row[:1] for row in puts} == {b"l"}


@pytest.mark.parametrize(
    ("since", "cursor"),
    [
        (-1, b"\x00\x09" + b"n"),
        (5, b"\x00\x07" + bytes(8)),
        (5, b"\x00\x00" + bytes(7) + b"\x05"),
        (5, b"\x00\x01n"),
        (-1, b"\x00"),
    ],
)
def test_cursor_of_another_round_is_refused(since: int, cursor: bytes) -> None:
    pair = filled()
    with pytest.raises(ValueError, match=r"round|stages"):
        whole(pair, EVERYTHING._replace(since=since, upto=9, cursor=cursor))


def test_a_piece_repeated_is_the_same() -> None:
    pair = filled()
    call = EVERYTHING._replace(upto=20, bytes_max=300)
    tablets = [pair.tablets.by_id()[MOVED]]
    first: Piece = piece(pair.engines["shard-0"], tablets, call)
    assert piece(pair.engines["shard-0"], tablets, call) == first


# -- of rows that two shards share -----------------------------------------------------------------

LEASES = EVERYTHING._replace(brings=Brings.LEASES)


def leased() -> Moving:
    """Keys of [b, c) without a lease and with one of two; attachments of keys before, behind and of
    another shard lie between theirs."""
    pair = Moving()
    for lease in (5, 6):
        pair.grant(lease)
    for n in range(12):
        pair.put(b"b%02d" % n, b"x" * 50, (0, 5, 6)[n % 3])
        pair.put(b"a%02d" % n, lease=5)
    batch = Batch()
    for n in range(12):
        batch.put(keycodec.attachment(5, b"c%02d" % n), b"")
    pair.engines["shard-0"].write(batch, sync=True)
    return pair


def attached(pair: Moving) -> set[bytes]:
    return set(pair.rows("shard-0", b"k"))


@pytest.mark.parametrize("bytes_max", [1, 30, 60, 1 << 20])
def test_inv21_first_round_of_leases_brings_the_tablets_attachments_alone(bytes_max: int) -> None:
    pair = leased()
    closed = pair.owned["shard-0"].closed[MOVED]
    puts, deletes, count = whole(pair, LEASES._replace(upto=closed, bytes_max=bytes_max))
    assert set(puts) == attached(pair)
    assert len(puts) == 8
    assert not deletes
    assert (count > len(puts)) is (bytes_max == 1)
    assert (count > 1) is (bytes_max < 1 << 20)


def test_inv21_attachments_of_others_end_a_piece_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard that has few of a million attachments reads them in pieces all the same."""
    monkeypatch.setattr(pieces, "ROWS", 1)
    pair = leased()
    reader: Any = Counting(pair.engines["shard-0"])
    tablets = [pair.tablets.by_id()[MOVED]]
    found = piece(reader, tablets, LEASES._replace(upto=30))
    assert not found.puts, "the keys of [.., b) come first"
    assert found.cursor
    puts, _, count = whole(pair, LEASES._replace(upto=30))
    assert set(puts) == attached(pair)
    assert count > 2


@pytest.mark.parametrize("bytes_max", [1, 1 << 20])
def test_inv21_first_round_of_leases_of_a_bucket_brings_its_keys_alone(bytes_max: int) -> None:
    pair = leased()
    moved = pair.tablets.by_id()[MOVED]
    brought = []
    for bucket in range(2):
        half = replace(moved, bucket=bucket, buckets=2)
        call = LEASES._replace(upto=30, bytes_max=bytes_max)
        keys = set()
        while True:
            found = piece(pair.engines["shard-0"], [half], call)
            keys |= {keycodec.attached_key(stored) for stored, _ in found.puts}
            if not found.cursor:
                break
            call = call._replace(cursor=found.cursor)
        assert all(bucket_of(key, 2) == bucket for key in keys)
        brought.append(keys)
    assert brought[0]
    assert brought[1]
    assert brought[0] | brought[1] == {keycodec.attached_key(row) for row in attached(pair)}


def test_inv21_later_rounds_of_leases_bring_what_changed_keys_name_now() -> None:
    pair = leased()
    since = pair.put(b"b09", b"before").revision
    pair.put(b"b00", lease=5)  # had none
    pair.put(b"b01", lease=6)  # had another
    pair.put(b"b02")  # has none any more
    pair.delete(b"b04")
    pair.put(b"b05", lease=6)
    pair.delete(b"b05")
    pair.put(b"b07", lease=5)
    pair.put(b"b07", lease=6)
    upto = pair.put(b"b08", b"again", lease=6).revision
    wanted = {(5, b"b00"), (6, b"b01"), (6, b"b07"), (6, b"b08")}
    rows = {keycodec.attachment(*each): b"" for each in wanted}
    for bytes_max in (1, 1 << 20):
        call = LEASES._replace(since=since, upto=upto, bytes_max=bytes_max)
        puts, deletes, count = whole(pair, call)
        assert puts == rows
        assert not deletes
        assert (count > 1) is (bytes_max == 1)


@pytest.mark.parametrize("since", [-1, 20])
@pytest.mark.parametrize("bytes_max", [1, 100, 1 << 20])
def test_of_tablets_that_end_the_log_comes_as_well(since: int, bytes_max: int) -> None:
    """Of all of them, in both rounds; no version of a key."""
    pair = leased()
    closed = max(pair.owned["shard-0"].closed.values())
    call = LEASES._replace(
        tablets=(MOVED, SYSTEM), since=since, upto=closed, brings=Brings.LEASES | Brings.LOG
    )
    puts, deletes, _ = whole(pair, call._replace(bytes_max=bytes_max))
    log = {
        keycodec.log(tablet, at): row
        for tablet in call.tablets
        for at, row in pair.log("shard-0", tablet).items()
        if at > since
    }
    assert {row: value for row, value in puts.items() if row[:1] == b"l"} == log
    leases = puts.keys() - log.keys()
    whole_space = pair.engines["shard-0"].keys(*keycodec.ATTACHMENTS, 100)
    ours = {row for row in whole_space if keycodec.attached_key(row) < b"c"}
    assert len(ours) == 20
    assert leases == ours if since < 0 else set() < leases < ours
    assert not deletes
