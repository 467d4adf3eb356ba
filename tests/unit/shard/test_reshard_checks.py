"""The comparison walks all of the copy, in short pieces."""

from __future__ import annotations

import pytest

from kubebraid.base.reshard import Digest, Kind, Migration
from kubebraid.shard.reshard import checks as checks_module
from kubebraid.shard.reshard.checks import Checks
from kubebraid.shard.reshard.source import digest
from tests.moving import MOVED, Moving


def copied(pair: Moving) -> Migration:
    pair.move(MOVED, "shard-1")
    return pair.migration._replace(kind=Kind.MOVE, target="shard-0")


def test_inv05_ranges_are_short_and_cover_the_tablet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks_module, "COPY_CHECK_KEYS", 5)
    pair = Moving()
    for n in range(12):
        pair.put(b"b%02d" % n)
    checks = Checks(pair.engines["shard-0"], copied(pair), 20)
    seen = []
    while (call := checks.next(0)) is not None:
        seen.append((call.start, call.end))
        checks.equal(call, Digest(0, 0))
    assert seen == [(b"b", b"b05"), (b"b05", b"b10"), (b"b10", b"c")]


def test_inv05_ranges_of_large_values_are_shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the large ones are: a sum of 500 values of 1 MB would hold a loop for a second."""
    monkeypatch.setattr(checks_module, "COPY_CHECK_BYTES", 4_500)
    pair = Moving()
    for n in range(10):
        pair.put(b"b0%d" % n, b"x" * 1_000)
    for n in range(20):
        pair.put(b"b1%02d" % n)
    checks = Checks(pair.engines["shard-0"], copied(pair), 40)
    starts = []
    while (call := checks.next(0)) is not None:
        starts.append(call.start)
        checks.equal(call, Digest(0, 0))
    assert starts == [b"b", b"b04", b"b08", b"b102"]


def test_inv05_one_version_more_or_another_is_found() -> None:
    pair = Moving()
    pair.put(b"b1")
    migration = copied(pair)
    checks = Checks(pair.engines["shard-0"], migration, 20)
    call = checks.next(0)
    assert call is not None
    ours = digest(pair.engines["shard-0"], list(migration.targets), migration.targets[0].span, call)
    assert ours.versions == 1
    assert not checks.equal(call, ours._replace(total=ours.total ^ 1))
    again = Checks(pair.engines["shard-0"], migration, 20)
    assert again.next(0) == call
    assert not again.equal(call, ours._replace(versions=2))
    last = Checks(pair.engines["shard-0"], migration, 20)
    last.next(0)
    assert last.equal(call, ours)
    assert last.next(0) is None


def test_the_floor_never_passes_the_revision_and_never_falls() -> None:
    pair = Moving()
    checks = Checks(pair.engines["shard-0"], copied(pair), 20)
    floors = []
    for floor in (-1, 7, 3, 99):
        call = checks.next(floor)
        assert call is not None
        floors.append(call.floor)
    assert floors == [0, 7, 7, 20]
    other = Checks(pair.engines["shard-0"], copied(pair), 20)
    other.raise_floor()
    call = other.next(0)
    assert call is not None
    assert call.floor == 20
