"""Figures of tablets: what is counted, and where a tablet could be cut."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.ports import TabletLoad
from kubebraid.shard import counts
from kubebraid.shard.counts import FEW
from kubebraid.shard.loads import ROWS_WEIGHED, SAMPLE_EVERY, TOLD_MS, WEIGH_MS_MAX, WINDOW_MS
from tests.unit.shard.fakes import A, B, Stand, put_call


def load_of(stand: Stand, tablet: int) -> TabletLoad:
    stand.clock.ms += TOLD_MS
    return {load.tablet: load for load in stand.owner.status().loads}[tablet]


def test_keys_and_bytes_of_a_small_tablet_are_exact() -> None:
    stand = Stand()
    for key in (b"/a/1", b"/a/2", b"/a/1"):
        stand.write(put_call(key, b"v" * 100))
    load = load_of(stand, A)
    assert load.keys == 2
    assert load.bytes == sum(len(k) + len(v) for k, v in stand.engine.scan(b"n", b"o", 9))
    assert load_of(stand, B).keys == 0


def test_of_a_large_tablet_some_rows_stand_for_all() -> None:
    stand = Stand()
    keys = ROWS_WEIGHED * 4
    for n in range(keys):
        stand.write(put_call(b"/a/%04d" % n, b"v" * 100))
    load = load_of(stand, A)
    assert load.keys == keys
    exact = sum(len(k) + len(v) for k, v in stand.engine.scan(b"n", b"o", keys))
    assert abs(load.bytes - exact) < exact / 20


def test_writes_a_second_are_those_of_the_window_before() -> None:
    stand = Stand()
    for n in range(10):
        stand.write(put_call(b"/a/%d" % n))
    stand.clock.ms += WINDOW_MS
    assert load_of(stand, A).writes_per_s == pytest.approx(10_000 / (WINDOW_MS + TOLD_MS), abs=0.1)
    assert load_of(stand, B).writes_per_s == 0
    stand.clock.ms += WINDOW_MS
    assert load_of(stand, A).writes_per_s == 0, "nothing since"


def test_figures_are_made_once_a_second() -> None:
    stand = Stand()
    before = load_of(stand, A)
    stand.write(put_call(b"/a/1"))
    assert stand.owner.status().loads[A - 1] == before
    assert load_of(stand, A).keys == 1


def test_a_store_that_is_slow_is_asked_for_some_ranges_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The loop that asks serves nobody meanwhile."""
    stand = Stand()
    for key in (b"/a/1", b"/b/1"):
        stand.write(put_call(key))
    read = stand.engine.scan

    def slow(*asked: Any, **how: Any) -> list[tuple[bytes, bytes]]:
        stand.clock.ms += WEIGH_MS_MAX
        return read(*asked, **how)

    monkeypatch.setattr(stand.engine, "scan", slow)
    found = []
    for _ in range(5):
        stand.clock.ms += TOLD_MS
        found.append([load.keys for load in stand.owner.status().loads])
    assert [sum(keys) for keys in found] == [0, 1, 1, 2, 2], "one of the five, each time"


def test_the_slow_hundredth_is_of_sampled_writes() -> None:
    stand = Stand(late=True)
    for n in range(SAMPLE_EVERY):
        stand.submit(put_call(b"/a/%d" % n))
        stand.owner.turn()
        stand.clock.ms += 70 if n == SAMPLE_EVERY - 1 else 5
        stand.sequencer.answer()
        stand.run()
    assert load_of(stand, A).p99_ms == 70
    assert load_of(stand, B).p99_ms == 0


def borders(stand: Stand, parts: int, by_load: bool, tablet: int = A) -> tuple[bytes, ...]:
    told: list[tuple[bytes, ...] | RequestRefused] = []
    stand.owner.sample_keys(tablet, parts, by_load, told.append)
    assert isinstance(told[0], tuple), told
    return told[0]


@pytest.mark.parametrize(("keys", "few"), [(40, FEW), (6_000, FEW), (6_000, 4)])
def test_borders_cut_the_keys_in_equal_parts(
    monkeypatch: pytest.MonkeyPatch, keys: int, few: int
) -> None:
    """Of keys that are read, and of counted buckets."""
    monkeypatch.setattr(counts, "FEW", few)
    stand = Stand()
    for n in range(keys):
        stand.submit(put_call(b"/a/%05d" % n))
        if n % 500 == 499 or n == keys - 1:
            stand.run()
    stand.run()
    cuts = borders(stand, 4, by_load=False)
    places = [int(cut[3:]) for cut in cuts]
    assert all(low < high for low, high in pairwise(places))
    assert places == pytest.approx([keys / 4, keys / 2, keys * 3 / 4], abs=keys / 10)


def test_borders_by_load_are_where_writes_are() -> None:
    stand = Stand()
    for n in range(20):
        stand.write(put_call(b"/a/cold%02d" % n))
    stand.write(*[put_call(b"/b/x")])
    for n in range(400):
        stand.write(put_call(b"/a/hot%03d" % n))
    (cut,) = borders(stand, 2, by_load=True)
    assert cut.startswith(b"/a/hot")


def test_borders_of_a_tablet_with_too_few_keys_and_of_none() -> None:
    stand = Stand()
    assert borders(stand, 4, by_load=False) == borders(stand, 4, by_load=True) == ()
    stand.write(put_call(b"/a/"))
    assert borders(stand, 2, by_load=False) == (), "there would be nothing on one side"
    for tablet, parts in ((99, 2), (A, 1)):
        told: list[object] = []
        stand.owner.sample_keys(tablet, parts, False, told.append)
        assert told == [errors.OTHER_MAP]
