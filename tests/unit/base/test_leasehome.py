"""Where a lease lives: one place, for every id that a client can name."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from kubebraid.base.leasehome import home, home_key
from kubebraid.base.tabletmap import TabletMap, layout, with_new_epochs

IDS = st.integers(-(2**63), 2**63 - 1)


def over(shards: list[str]) -> TabletMap:
    """A root of 64 buckets: leases spread over all shards."""
    return layout([b"\x00lease"], shards, {b"\x00lease": 64})


def test_key_of_a_lease_names_its_id() -> None:
    """The worked example of the module."""
    assert home_key(0x7B) == b"\x00lease/000000000000007b"


@given(IDS, IDS)
def test_every_id_has_a_key_of_its_own_that_no_client_writes(one: int, other: int) -> None:
    """Ids are int64, and clients choose negative ones too. Clients' keys lie higher in practice:
    the empty key is refused, and kube-apiserver's begin with a slash."""
    assert (home_key(one) == home_key(other)) == (one == other)
    assert len(home_key(one)) == 23
    assert home_key(one) < b"/"


@given(IDS, st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=4, unique=True))
def test_every_process_with_one_map_finds_the_same_home(lease: int, shards: list[str]) -> None:
    found = home(over(shards), lease)
    assert found == home(over(shards), lease)
    assert found.shard in shards


@given(IDS)
def test_new_epochs_and_other_tablets_owners_move_no_lease(lease: int) -> None:
    tablets = over(["a", "b"])
    found = home(tablets, lease)
    assert home(with_new_epochs(tablets), lease).shard == found.shard
    moved = tuple(t if t.id == found.id else replace(t, shard="c") for t in tablets.tablets)
    assert home(TabletMap(2, moved), lease).shard == found.shard


def test_leases_spread_over_the_shards_where_their_tablet_has_buckets() -> None:
    tablets = over(["a", "b"])
    homes = [home(tablets, lease).shard for lease in range(1, 400)]
    assert 100 < homes.count("a") < 300
