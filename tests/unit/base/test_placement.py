"""Where keys and tablets go: the same in every version for ever, evenly, and moving little."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubebraid.base.placement import BUCKETS, BUCKETS_MAX, bucket_of, place, place_evenly

POD = b"/registry/pods/default/web-7d4b9c6f5-x2x9k"
LEASE = b"/registry/leases/kube-node-lease/node-00001"
NAMES = [f"pods.{number}".encode() for number in range(1_000)]


def shards(count: int) -> list[str]:
    return [f"shard-{number}" for number in range(count)]


# -- what may never change: a store's rows lie where these say -------------------------------------


@pytest.mark.parametrize(
    ("key", "bucket"),
    [(b"", 0), (b"a", 137), (b"hello", 2), (POD, 176), (LEASE, 31)],
)
def test_buckets_of_keys_are_those_of_the_first_version(key: bytes, bucket: int) -> None:
    """The published hash of "hello" ends in 02; fewer buckets are its lower bits."""
    assert [bucket_of(key, of) for of in BUCKETS] == [bucket % of for of in BUCKETS]


@pytest.mark.parametrize(
    ("name", "owners"),
    [
        (b"pods", [0, 0, 2, 3, 3, 3, 3, 3]),
        (b"default-0", [0, 1, 2, 2, 2, 2, 2, 2]),
        (b"events.3", [0, 0, 2, 2, 2, 2, 2, 2]),
        (b"leases", [0, 1, 1, 1, 1, 1, 1, 1]),
    ],
)
def test_places_of_tablets_are_those_of_the_first_version(name: bytes, owners: list[int]) -> None:
    """Among one to eight shards."""
    assert [place(name, shards(count)) for count in range(1, 9)] == [f"shard-{n}" for n in owners]


def test_places_of_buckets_are_those_of_the_first_version() -> None:
    names = [f"events.{number}".encode() for number in range(8)]
    assert place_evenly(names, shards(3)) == [f"shard-{n}" for n in [2, 2, 0, 2, 0, 1, 1, 1]]


# -- balance ---------------------------------------------------------------------------------------


def uneven(found: Counter[str] | Counter[int], fair: float) -> float:
    """How far the emptiest or fullest is from its share."""
    return max(abs(count - fair) / fair for count in found.values())


@pytest.mark.parametrize("count", range(3, 9))
def test_a_thousand_tablets_spread_over_shards_within_a_quarter(count: int) -> None:
    found = Counter(place(name, shards(count)) for name in NAMES)
    assert len(found) == count
    assert uneven(found, 1_000 / count) <= 0.25


@given(
    st.lists(st.binary(max_size=8), min_size=1, max_size=40),
    st.lists(st.text("ab-/0", max_size=4), min_size=1, max_size=8, unique=True),
)
def test_buckets_of_a_range_are_shared_out_evenly(names: list[bytes], among: list[str]) -> None:
    """So that four buckets let four shards write."""
    placed = place_evenly(names, among)
    assert len(placed) == len(names)
    held = [placed.count(shard) for shard in among]
    assert sum(held) == len(names)
    assert max(held) - min(held) <= 1
    assert placed[0] == place(names[0], among)


@pytest.mark.parametrize("buckets", [2, 4, 8, 16])
@pytest.mark.parametrize(
    "key", [b"/registry/events/default/web-%d.17a", b"/registry/leases/node-%05d"]
)
def test_keys_that_differ_in_a_number_spread_over_buckets_within_a_quarter(
    buckets: int, key: bytes
) -> None:
    found = Counter(bucket_of(key % number, buckets) for number in range(4_000))
    assert len(found) == buckets
    assert uneven(found, 4_000 / buckets) <= 0.25


# -- movement --------------------------------------------------------------------------------------

TABLETS = st.lists(st.binary(max_size=8), max_size=30)
SHARDS = st.lists(st.text("ab-/0", max_size=4), min_size=2, max_size=8, unique=True)


@given(TABLETS, SHARDS)
def test_shard_that_comes_takes_tablets_for_itself_alone(
    names: list[bytes], among: list[str]
) -> None:
    """And so one that goes moves only what it held."""
    *before, new = among
    for name in names:
        assert place(name, among) in (place(name, before), new)


@pytest.mark.parametrize("count", range(3, 8))
def test_shard_that_comes_takes_about_its_share(count: int) -> None:
    moved = sum(place(name, shards(count)) != place(name, shards(count + 1)) for name in NAMES)
    assert abs(moved - 1_000 / (count + 1)) <= 250 / (count + 1)


@given(st.binary(max_size=8), SHARDS.flatmap(lambda s: st.tuples(st.just(s), st.permutations(s))))
def test_place_does_not_depend_on_the_order_of_the_shards(
    name: bytes, orders: tuple[list[str], list[str]]
) -> None:
    first, second = orders
    assert place(name, first) == place(name, second)


@given(st.binary(max_size=64), st.sampled_from(BUCKETS[:-1]))
def test_twice_the_buckets_cut_each_bucket_in_two(key: bytes, buckets: int) -> None:
    """So that a range can be split further without a look at the other buckets."""
    assert bucket_of(key, 2 * buckets) % buckets == bucket_of(key, buckets)


# -- bounds ----------------------------------------------------------------------------------------


def test_numbers_of_buckets_are_the_powers_of_two_up_to_the_most() -> None:
    assert BUCKETS[0] == 1
    assert BUCKETS[-1] == BUCKETS_MAX
    assert all(later == 2 * earlier for earlier, later in pairwise(BUCKETS))


@pytest.mark.parametrize(
    "asked", [lambda: bucket_of(b"a", 0), lambda: bucket_of(b"a", 3), lambda: place(b"a", [])]
)
def test_question_without_an_answer_is_a_bug(asked: Callable[[], object]) -> None:
    with pytest.raises(AssertionError):
        asked()
