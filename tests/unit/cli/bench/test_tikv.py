"""A run on TiKV: its clusters, their names, and how large the groups were."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kubebraid.cli.bench import tikv
from kubebraid.cli.bench.drivers import BenchError, Tools
from kubebraid.cli.bench.figures import Measured
from kubebraid.cli.bench.goals import WRITES_A_TRANSACTION, goal
from kubebraid.cli.bench.kubebrain import READ
from kubebraid.cli.bench.results import OURS, PEER
from kubebraid.cli.bench.scenarios import choose


class Beside:
    """A placement that counts how often it was asked, ten timestamps at a time."""

    addresses = ("127.0.0.1:1", "127.0.0.1:2")

    def __init__(self) -> None:
        self.asked = 0.0

    def timestamps_asked(self) -> float:
        self.asked += 10
        return self.asked


def test_each_number_of_shards_has_names_of_its_own() -> None:
    beside: Any = Beside()
    parts = tikv.parts(choose(tikv.WORDS), (1, 2), tikv.TABLETS, beside)
    names = [scenario.name for _, some in parts for scenario in some]
    of_one = ["spread/64", "spread/256", *(f"kubebrain/{k}" for k in ("insert", "mixed", "delete"))]
    assert names == [f"tikv/{shards}/{name}" for shards in (1, 2) for name in of_one]
    assert parts[1][1][0].text.startswith("2 shards on TiKV: 64 clients")


def test_only_ours_is_on_tikv(tmp_path: Path) -> None:
    beside: Any = Beside()
    make = tikv.maker(4, "single", beside)
    ours = make(OURS, tmp_path / "ours", Tools())
    assert {"--engine=tikv", "--pd=127.0.0.1:1,127.0.0.1:2", "--shards=4"} <= set(ours.argv)
    assert not ours.has_disk
    assert type(make(PEER, tmp_path / "peer", Tools())).__name__ == "Server"
    again = make(OURS, tmp_path / "again", Tools())
    assert ours.argv[-1].startswith("--tikv-store=bench-")
    assert ours.argv[-1] != again.argv[-1], "no cluster finds another's stores"


def test_group_is_writes_by_transactions_and_reads_are_none(tmp_path: Path) -> None:
    beside: Any = Beside()
    made = tikv.OnTikv(tmp_path / "a", Tools(), 1, "single", beside)
    told = made.beside()
    (figure,) = told([Measured("insert", 60, 1.0, {}), Measured(READ, 60, 1.0, {})])
    assert (figure.name, figure.value) == (WRITES_A_TRANSACTION, 60 / 5)


@pytest.mark.parametrize(("before", "after"), [(None, 100.0), (100.0, None), (100.0, 108.0)])
def test_group_is_not_told_where_it_would_be_a_guess(
    before: float | None, after: float | None
) -> None:
    assert tikv.group(100, before, after) is None


def test_delete_has_its_goal_on_every_store() -> None:
    for name in ("kubebrain/delete", "cluster-kubebrain/delete", "tikv/4/kubebrain/delete"):
        aim = goal(name, "rate against inserts")
        assert aim is not None
        assert aim.met(1.0)
        assert not aim.met(0.9)


def test_want_of_the_client_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tikv, "tikv_link", SimpleNamespace(available=lambda: False))
    with pytest.raises(BenchError, match="there is no client of TiKV"):
        tikv.checked(["127.0.0.1:1"])
