"""Rows as they land: attachments follow their rows, and the log goes to the new tablets."""

from __future__ import annotations

import pytest

from kubebraid.base.keyspace import KeyRange
from kubebraid.base.reshard import CopyReply, Kind, Migration
from kubebraid.base.tabletmap import Tablet
from kubebraid.shard import keycodec
from kubebraid.shard.keycodec import LogChange
from kubebraid.shard.reshard.landing import PAGE_ROWS, Landing, holds
from kubebraid.shard.storage.engine import Batch
from kubebraid.shard.storage.memory import MemoryEngine
from tests.moving import Moving


def target(number: int, start: bytes, end: bytes | None) -> Tablet:
    return Tablet(number, f"t{number}", KeyRange(start, end), "shard-1", 1)


WHOLE = target(7, b"a", None)
HALVES = (target(9, b"a", b"m"), target(10, b"m", None))
MOVE = Migration("m1", Kind.MOVE, "shard-0", "shard-1", (7,), (WHOLE,))
SPLIT = Migration("m1", Kind.SPLIT, "shard-0", "shard-0", (7,), HALVES)
MERGE = Migration("m1", Kind.MERGE, "shard-0", "shard-0", (9, 10), (WHOLE,))


def reply(*puts: tuple[bytes, bytes], deletes: tuple[bytes, ...] = ()) -> CopyReply:
    return CopyReply(puts, deletes, b"", 9, 0, ())


def leased(key: bytes, lease: int) -> tuple[bytes, bytes]:
    """An n row, as a shard has written it."""
    pair = Moving()
    if lease:
        pair.grant(lease)
    pair.put(key, lease=lease)
    (row,) = pair.rows("shard-0", b"n").items()
    return row


def land(engine: MemoryEngine, landing: Landing, *what: CopyReply) -> dict[bytes, bytes]:
    for part in what:
        batch = landing.batch(part)
        if len(batch):
            engine.write(batch, sync=False)
    return dict(engine.scan(b"\x00", b"\xff", 100))


def test_inv21_an_attachment_for_each_leased_row_and_no_other() -> None:
    engine = MemoryEngine()
    landing = Landing(engine, MOVE)
    row = leased(b"b1", 5)
    wanted = {keycodec.attachment(5, b"b1"): b"", row[0]: row[1]}
    assert land(engine, landing, reply(row)) == wanted
    assert land(engine, landing, reply(row)) == wanted, "landing twice is landing once"
    assert landing.leases == {5}
    bare = leased(b"b1", 0)
    assert land(engine, landing, reply(bare)) == dict([bare])
    land(engine, landing, reply(row))
    assert land(engine, landing, reply(deletes=(row[0],))) == {}


def test_an_attachment_follows_its_row_to_another_lease() -> None:
    engine = MemoryEngine()
    landing = Landing(engine, MOVE)
    other = leased(b"b1", 6)
    stored = land(engine, landing, reply(leased(b"b1", 5)), reply(other))
    assert stored == {keycodec.attachment(6, b"b1"): b"", other[0]: other[1]}
    assert landing.leases == {5, 6}


A, X = LogChange(b"a", False, 0, 0), LogChange(b"x", True, 1, 3)


def log_row(tablet: int, *changes: LogChange) -> tuple[bytes, bytes]:
    return keycodec.log(tablet, 5), keycodec.pack_changes(changes)


def test_inv07_a_log_row_of_a_split_is_cut_by_the_keys() -> None:
    engine = MemoryEngine()
    stored = land(engine, Landing(engine, SPLIT), reply(log_row(7, A, X)))
    assert stored == dict([log_row(9, A), log_row(10, X)])


def test_inv07_log_rows_of_a_merge_are_joined_in_the_order_of_the_commit() -> None:
    """Whether they come in one piece or in two, and twice."""
    for parts in (
        [reply(log_row(10, X), log_row(9, A))],
        [reply(log_row(10, X)), reply(log_row(9, A)), reply(log_row(10, X))],
    ):
        engine = MemoryEngine()
        assert land(engine, Landing(engine, MERGE), *parts) == dict([log_row(7, A, X)])


class Counting(MemoryEngine):
    """How often it was read."""

    calls = 0

    def get(self, key: bytes) -> bytes | None:
        self.calls += 1
        return super().get(key)

    def scan(
        self, start: bytes, end: bytes, limit: int, *, reverse: bool = False
    ) -> list[tuple[bytes, bytes]]:
        self.calls += 1
        return super().scan(start, end, limit, reverse=reverse)


@pytest.mark.parametrize("known", [0, 1, PAGE_ROWS, 3 * PAGE_ROWS])
def test_log_rows_land_with_few_reads_of_what_has_landed(known: int) -> None:
    """A read is a call to another machine, and a piece has thousands of rows."""
    engine, count = Counting(), 3 * PAGE_ROWS
    for revision in range(known):
        engine.write(Batch().put(keycodec.log(7, revision), log_row(7, A)[1]), sync=False)
    puts = [(keycodec.log(10, revision), log_row(10, X)[1]) for revision in range(count)]
    engine.write(Landing(engine, MERGE).batch(reply(*puts)), sync=False)
    assert engine.calls <= count // PAGE_ROWS + 1
    joined = [log_row(7, A, X)[1]] * known + [log_row(7, X)[1]] * (count - known)
    assert [value for _, value in engine.scan(*log_of(7), 9_999)] == joined


def test_log_rows_land_beside_many_more_with_a_short_read_each() -> None:
    engine = Counting()
    for revision in range(10 * PAGE_ROWS):
        engine.write(Batch().put(keycodec.log(7, revision), log_row(7, A)[1]), sync=False)
    every = range(0, 10 * PAGE_ROWS, 5 * PAGE_ROWS)
    puts = [(keycodec.log(10, revision), log_row(10, X)[1]) for revision in every]
    engine.write(Landing(engine, MERGE).batch(reply(*puts)), sync=False)
    assert engine.calls == len(every)
    joined = [at for at, (_, value) in enumerate(engine.scan(*log_of(7), 9_999)) if len(value) > 20]
    assert joined == list(every)


def log_of(tablet: int) -> tuple[bytes, bytes]:
    return keycodec.log(tablet, 0), keycodec.log(tablet + 1, 0)


def test_a_log_row_of_a_move_stays_as_it_is() -> None:
    engine = MemoryEngine()
    odd = keycodec.log(7, 5), b"whatever it is"
    assert land(engine, Landing(engine, MOVE), reply(odd)) == dict([odd])


def test_a_bucket_holds_its_keys_alone() -> None:
    halves = [Tablet(n, "h", KeyRange(b"b", b"c"), "s", 1, n, 2) for n in range(2)]
    for n in range(20):
        key = b"b%d" % n
        assert holds(halves[0], key) is not holds(halves[1], key)
        assert not holds(halves[0], b"c")


def test_inv21_an_attachment_that_comes_alone_is_here_and_names_its_lease() -> None:
    """Of rows that two shards share: nothing is written."""
    landing = Landing(MemoryEngine(), MOVE)
    rows = [(keycodec.attachment(lease, b"b1"), b"") for lease in (5, -1)]
    assert not len(landing.batch(reply(*rows)))
    assert not len(landing.batch(reply(*rows)))
    assert landing.leases == {5, -1}


def test_inv07_behind_attachments_the_log_of_a_split_is_cut() -> None:
    engine = MemoryEngine()
    landing = Landing(engine, SPLIT)
    attachment = keycodec.attachment(5, b"a"), b""
    stored = land(engine, landing, reply(attachment, log_row(7, A, X)))
    assert stored == dict([log_row(9, A), log_row(10, X)])
    assert landing.leases == {5}
