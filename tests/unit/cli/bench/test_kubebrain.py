"""KubeBrain's shape of load: sizes, and what a delete is set beside."""

from __future__ import annotations

from typing import Any

import pytest

from kubebraid.cli.bench.figures import Figure, Measured
from kubebraid.cli.bench.kubebrain import KEY_BYTES, delete, insert, mixed, prefix
from kubebraid.cli.bench.scenarios import choose


class FakeSite:
    """Every load takes as long as `seconds` says of its command."""

    turn = 3

    def __init__(self, **seconds: float) -> None:
        self.calls: list[tuple[str, set[str]]] = []
        self.seconds = seconds
        self.driver = self

    def requests(self, count: int, clients: int) -> int:
        return count

    def load(self, command: str, *flags: str, expect: int) -> list[Measured]:
        self.calls.append((command, set(flags)))
        one = Measured(command, expect, self.seconds.get(command, 1.0), {"p50": 2.0})
        return [one, Measured("read", expect, 1.0, {})] if command == "insert-read" else [one]

    def window(self, load: Any) -> tuple[list[Measured], list[Figure]]:
        return load(), []

    def measure(self, load: Any) -> list[Figure]:
        return [Figure("throughput", "/s", load()[0].rate)]


def test_keys_have_their_size_in_every_round() -> None:
    made = {prefix(turn, kind) for turn in (1, 9, 10, 400) for kind in ("insert", "mixed")}
    assert len(made) == 8
    assert {len(one) + 10 for one in made} == {KEY_BYTES}


def test_no_prefix_is_the_beginning_of_another() -> None:
    made = [prefix(turn, "delete") for turn in range(1, 120)]
    assert not [a for a in made for b in made if a != b and b.startswith(a)]


def test_all_kinds_have_the_published_shape() -> None:
    site: Any = FakeSite()
    insert(site)
    mixed(site)
    delete(site)
    assert [command for command, _ in site.calls] == ["create", "insert-read", "create", "delete"]
    for _, flags in site.calls:
        assert {"--clients=300", "--value-size=512"} <= flags


def test_delete_is_set_beside_inserts_of_the_same_keys() -> None:
    site: Any = FakeSite(create=2.0, delete=4.0)
    found = {figure.name: figure.value for figure in delete(site)}
    assert found["rate against inserts"] == pytest.approx(0.5)
    assert site.calls[0][1] == site.calls[1][1]


def test_it_is_no_part_of_a_plain_run() -> None:
    assert not [one for one in choose([]) if one.name.startswith("kubebrain")]
