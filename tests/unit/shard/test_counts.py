"""The counters against a naive count: at any point of the building, after any commit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubebraid.base.keyspace import EVERYTHING, KeyRange, single
from kubebraid.base.limits import BUCKET_KEYS_MAX
from kubebraid.base.ports import Publication, WriteCall
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.shard import counts as counts_module
from kubebraid.shard import keycodec
from kubebraid.shard.counts import KeyCounts
from kubebraid.shard.storage.engine import EngineCorrupt, Reader
from kubebraid.shard.storage.memory import MemoryEngine
from tests.unit.shard.fakes import BreakableEngine, Stand, delete_call, put_call, txn_call

ALL_A = KeyRange(b"/a/", b"/a0")
SMALL = 4


@contextmanager
def buckets_of(keys_max: int) -> Iterator[None]:
    """Small buckets, so that a few keys need many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counts_module, "BUCKET_KEYS_MAX", keys_max)
        patch.setattr(counts_module, "_HALF", keys_max // 2)
        yield


def counted(stand: Stand, reader: Reader | None = None) -> KeyCounts:
    """Counters beside the owner's own, which hear of the same commits."""
    made = KeyCounts(reader or stand.engine)

    def committed(publication: Publication) -> None:
        for news in publication.news:
            made.committed(news.commits)

    stand.owner.subscribe(committed)
    return made


def finish(made: KeyCounts) -> None:
    for _ in range(10_000):
        if not made.turn():
            return
    raise AssertionError("the counting never ends")


def naive(engine: MemoryEngine, start: bytes, end: bytes | None) -> int:
    return engine.count(*keycodec.newest_bounds(KeyRange(start, end)), 1 << 62)


def check(made: KeyCounts, engine: MemoryEngine, keys_max: int = SMALL) -> None:
    """Every counter is the number of keys of its bucket, as far as the building has come."""
    starts = made._starts
    assert starts == sorted(set(starts))
    assert starts[0] == b""
    assert set(made._crowded) <= set(starts), "a bucket that is gone is not crowded"
    ends: list[bytes | None] = [*starts[1:], made._covered]
    for start, end, count in zip(starts, ends, made._counts, strict=True):
        if start != made._covered:
            assert count == naive(engine, start, end), (start, end)
    if made.complete and not made._crowded:
        assert max(made._counts) <= keys_max


# -- random histories ------------------------------------------------------------------------------

KEYS = st.sampled_from(
    [b"/a/%02d" % number for number in range(14)]
    + [b"/b/%02d" % number for number in range(5)]
    + [b"\x00", b"/a", b"/a0", b"/c", b"\xff\xff"]
)
ENDS = st.one_of(KEYS, st.just(b"\x00"))  # the key \0: to the end of all keys
OPERATIONS = st.tuples(st.sampled_from(["put", "put", "put", "delete", "span"]), KEYS, ENDS)
WRITES = st.lists(
    st.one_of(OPERATIONS.map(lambda one: [one]), st.lists(OPERATIONS, min_size=2, max_size=6)),
    min_size=1,
    max_size=8,
)
STEPS = st.lists(st.one_of(WRITES, WRITES, st.integers(1, 5)), max_size=14)
BOUNDS = st.one_of(KEYS, st.binary(max_size=3))

Operation = tuple[str, bytes, bytes]


def operation(kind: str, key: bytes, end: bytes) -> rpc_pb2.RequestOp:
    if kind == "put":
        return rpc_pb2.RequestOp(request_put=rpc_pb2.PutRequest(key=key))
    return rpc_pb2.RequestOp(
        request_delete_range=rpc_pb2.DeleteRangeRequest(
            key=key, range_end=end if kind == "span" else b""
        )
    )


def call_of(operations: list[Operation]) -> WriteCall:
    """One write; several operations are a transaction, which may change a key many times."""
    if len(operations) > 1:
        return txn_call(rpc_pb2.TxnRequest(success=[operation(*one) for one in operations]))
    ((kind, key, end),) = operations
    if kind == "put":
        return put_call(key)
    return delete_call(key, end if kind == "span" else b"")


@settings(max_examples=150)
@given(
    before=WRITES,
    steps=STEPS,
    ranges=st.lists(st.tuples(BOUNDS, st.one_of(st.none(), BOUNDS)), max_size=6),
    keys_max=st.sampled_from([2, 3, 4, 7]),
)
def test_counters_are_those_of_a_naive_count_whatever_is_written_when(
    before: list[list[Operation]],
    steps: list[list[list[Operation]] | int],
    ranges: list[tuple[bytes, bytes | None]],
    keys_max: int,
) -> None:
    """A number is so many turns of the building; a list is a group commit."""
    with buckets_of(keys_max):
        stand = Stand()
        stand.write(*[call_of(operations) for operations in before])
        made = counted(stand)
        for step in steps:
            if isinstance(step, int):
                for _ in range(step):
                    made.turn()
            else:
                stand.write(*[call_of(operations) for operations in step])
            check(made, stand.engine, keys_max)
        finish(made)
        check(made, stand.engine, keys_max)
        assert made.complete
        for start, end in [*ranges, (b"", None)]:
            assert made.count(KeyRange(start, end)) == naive(stand.engine, start, end)


@settings(max_examples=30)
@given(
    order=st.permutations([b"/a/%02d" % number for number in range(12)]),
    gone=st.permutations([b"/a/%02d" % number for number in range(12)]),
)
def test_every_range_between_any_two_keys_is_counted_right(
    order: list[bytes], gone: list[bytes]
) -> None:
    with buckets_of(SMALL):
        stand = Stand()
        made = counted(stand)
        finish(made)
        for key in order:
            stand.write(put_call(key))
            finish(made)
        for key in gone[:5]:
            stand.write(delete_call(key))
        finish(made)
        check(made, stand.engine)
        borders = sorted({*order, *(key + b"\x00" for key in order), b"", b"/b"})
        for start in borders:
            assert made.count(KeyRange(start, None)) == naive(stand.engine, start, None)
            for end in borders:
                assert made.count(KeyRange(start, end)) == naive(stand.engine, start, end)


# -- scenes ----------------------------------------------------------------------------------------


def filled(*keys: bytes) -> Stand:
    stand = Stand()
    stand.write(*[put_call(key) for key in keys])
    return stand


def test_empty_store_is_complete_after_one_turn() -> None:
    made = KeyCounts(MemoryEngine())
    assert [made.complete, made.turn(), made.complete] == [False, False, True]
    assert made.count(EVERYTHING) == 0
    assert not made.turn(), "there is nothing left to do"


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 9])
def test_building_takes_a_turn_a_bucket_and_ends(count: int) -> None:
    """Also where the keys fill the last bucket to its border."""
    with buckets_of(SMALL):
        stand = filled(*[b"/a/%d" % number for number in range(count)])
        made = KeyCounts(stand.engine)
        turns = 1
        while made.turn():
            check(made, stand.engine)
            turns += 1
        assert turns == max(1, -(-count // 2))
        assert made.complete
        check(made, stand.engine)
        assert made.count(EVERYTHING) == count


def test_write_before_and_behind_the_point_that_the_building_has_reached() -> None:
    with buckets_of(SMALL):
        stand = filled(*[b"/a/%d" % number for number in range(6)])
        made = counted(stand)
        assert made.turn()
        assert made._covered == b"/a/2"
        stand.write(put_call(b"/a/05"), put_call(b"/a/2"), put_call(b"/a/20"), delete_call(b"/a/1"))
        stand.write(put_call(b"/a/9"), delete_call(b"/a/2"), delete_call(b"/a/0"))
        check(made, stand.engine)
        finish(made)
        check(made, stand.engine)
        assert made.count(ALL_A) == 6


@pytest.mark.parametrize("keys", [5, 100])
def test_bucket_that_was_crowded_for_a_moment_only_is_left_alone(keys: int) -> None:
    """A group commit puts many keys and deletes them again, before any turn."""
    with buckets_of(SMALL):
        stand = Stand()
        made = counted(stand)
        finish(made)
        stand.submit(*[put_call(b"/a/%03d" % n) for n in range(keys)], delete_call(b"/a/", b"/a0"))
        stand.run()
        finish(made)
        check(made, stand.engine)
        assert made.count(EVERYTHING) == 0


def test_owner_survives_keys_that_come_and_go_in_one_batch() -> None:
    """The same with the real bounds: one batch takes four buckets' worth of writes."""
    stand = Stand()
    stand.run()
    puts = [put_call(b"/a/%05d" % number) for number in range(BUCKET_KEYS_MAX + 1)]
    stand.write(*puts, delete_call(b"/a/", b"/a0"))
    assert stand.owner.drained
    assert stand.owner._counts.count(EVERYTHING) == 0


def test_middle_bucket_that_was_crowded_and_emptied_is_left_alone() -> None:
    """It is no first one, and its neighbour is too full to take it in."""
    with buckets_of(SMALL):
        stand = filled(b"/a/0", b"/a/1", b"/a/2", b"/a/3")
        made = counted(stand)
        finish(made)
        stand.write(put_call(b"/a/00"))
        assert made._counts == [3, 2]
        many = [put_call(b"/a/2%d" % number) for number in range(9)]
        stand.submit(*many, delete_call(b"/a/2", b"/a9"))
        stand.run()
        finish(made)
        check(made, stand.engine)
        assert made.count(EVERYTHING) == 3


def test_growth_by_a_whole_batch_is_split_into_buckets_at_once() -> None:
    stand = Stand()
    made = counted(stand)
    finish(made)
    stand.write(*[put_call(b"/a/%05d" % number) for number in range(4_000)])
    finish(made)
    check(made, stand.engine, BUCKET_KEYS_MAX)
    assert len(made._starts) >= 4_000 // BUCKET_KEYS_MAX
    assert made.count(ALL_A) == 4_000


@pytest.mark.parametrize("order", ["ascending", "descending", "scattered"])
def test_keys_that_go_take_their_buckets_with_them(order: str) -> None:
    """Memory is that of the keys that are there, not of all that ever were."""
    with buckets_of(SMALL):
        keys = [b"/a/%03d" % number for number in range(200)]
        stand = filled(*keys)
        made = counted(stand)
        finish(made)
        assert len(made._starts) >= 50
        gone = {
            "ascending": keys,
            "descending": keys[::-1],
            "scattered": [keys[number * 77 % 200] for number in range(200)],
        }[order]
        for key in gone:
            stand.write(delete_call(key))
        finish(made)
        check(made, stand.engine)
        assert len(made._starts) <= 10


def test_transaction_that_changes_a_key_many_times_moves_its_counter_once() -> None:
    stand = filled(b"/a/old")
    made = counted(stand)
    finish(made)
    ends = {
        b"/a/new": ("put", "delete", "put"),
        b"/a/never": ("put", "delete"),
        b"/a/old": ("delete", "put", "delete"),
    }
    operations = [operation(kind, key, b"") for key, kinds in ends.items() for kind in kinds]
    stand.write(txn_call(rpc_pb2.TxnRequest(success=operations)))
    assert made.count(single(b"/a/new")) == 1
    assert made._counts == [1]
    check(made, stand.engine)


# -- cost and failures -----------------------------------------------------------------------------


class ScanCost:
    """A reader that adds up the keys which its counts walk over."""

    def __init__(self, inner: Reader) -> None:
        self._inner = inner
        self.counts: list[int] = []

    def get(self, key: bytes) -> bytes | None:
        raise AssertionError("no row is read")

    def scan(
        self, start: bytes, end: bytes, limit: int, *, reverse: bool = False
    ) -> list[tuple[bytes, bytes]]:
        raise AssertionError("no row is read")

    def keys(self, start: bytes, end: bytes, limit: int) -> list[bytes]:
        found = self._inner.keys(start, end, limit)
        assert len(found) <= BUCKET_KEYS_MAX + 1, "a turn is bounded"
        return found

    def count(self, start: bytes, end: bytes, limit: int) -> int:
        self.counts.append(self._inner.count(start, end, limit))
        return self.counts[-1]


def test_count_costs_two_scans_of_a_bucket_at_most_and_a_turn_one() -> None:
    stand = filled(*[b"/a/%05d" % number for number in range(4_000)])
    cost = ScanCost(stand.engine)
    made = counted(stand, cost)
    finish(made)
    for number in range(0, 4_000, 197):
        stand.write(delete_call(b"/a/%05d" % number), put_call(b"/a/%05d+" % number))
        finish(made)
    for low, high in ((0, 4_000), (1, 3_999), (511, 512), (512, 1_024), (600, 3_333)):
        cost.counts.clear()
        span = KeyRange(b"/a/%05d" % low, b"/a/%05d" % high)
        assert made.count(span) == naive(stand.engine, span.start, span.end)
        assert len(cost.counts) <= 2
        assert sum(cost.counts) <= 2 * BUCKET_KEYS_MAX
    cost.counts.clear()
    assert made.count(EVERYTHING) == naive(stand.engine, b"", None)
    assert cost.counts == []


def test_split_that_met_an_unreadable_row_is_made_when_it_can_be_read_again() -> None:
    """A count scans two buckets: one that was never split again would make it slow for ever."""
    with buckets_of(SMALL):
        engine = BreakableEngine()
        stand = Stand(engine=engine)
        made = counted(stand)
        finish(made)
        stand.write(*[put_call(b"/a/%d" % number) for number in range(9)])
        engine.faults[keycodec.newest(b"/a/5")] = EngineCorrupt("checksum")
        with pytest.raises(EngineCorrupt):
            made.turn()
        engine.faults.clear()
        finish(made)
        check(made, engine)
        assert made.count(EVERYTHING) == 9


def test_building_goes_on_where_an_unreadable_row_had_stopped_it() -> None:
    with buckets_of(SMALL):
        engine = BreakableEngine()
        stand = Stand(engine=engine)
        stand.write(*[put_call(b"/a/%d" % number) for number in range(9)])
        made = counted(stand)
        engine.faults[keycodec.newest(b"/a/5")] = EngineCorrupt("checksum")
        with pytest.raises(EngineCorrupt):
            finish(made)
        assert not made.complete
        engine.faults.clear()
        stand.write(put_call(b"/a/11"), put_call(b"/a/55"), delete_call(b"/a/0"))
        finish(made)
        check(made, engine)
        assert made.count(EVERYTHING) == 10
