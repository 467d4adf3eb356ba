"""Load that grows with the shards."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from kubebraid.cli.bench.figures import Figure, Measured
from kubebraid.cli.bench.scenarios import choose
from kubebraid.cli.bench.spread import spread


class FakeSite:
    """A site that only counts."""

    def __init__(self, shards: int) -> None:
        self.flags: tuple[str, ...] = ()
        self.server = SimpleNamespace(shards=shards)
        self.driver = SimpleNamespace(load=self._load)

    def requests(self, count: int, clients: int) -> int:
        return max(count // 1_000, clients)

    def measure(self, load: Any) -> list[Figure]:
        load()
        return [Figure("throughput", "/s", 1.0)]

    def _load(self, command: str, *flags: str, expect: int) -> list[Measured]:
        assert command == "put"
        self.flags = flags
        return []


def test_each_shard_has_as_many_clients() -> None:
    for shards in (1, 4):
        site: Any = FakeSite(shards)
        spread(site)
        assert f"--clients={256 * shards}" in site.flags
        assert f"--conns={32 * shards}" in site.flags


def test_it_is_no_part_of_a_plain_run() -> None:
    assert not any(one.name.startswith("spread") for one in choose([]))
    assert [one.name for one in choose(["spread"])] == ["spread/puts"]
