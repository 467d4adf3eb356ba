"""Runs: the stores alternate, a failure ends its scenario alone, no server is left."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Self

from kubebraid.cli.bench.drivers import BenchError, RequestsFailed, Tools
from kubebraid.cli.bench.figures import Figure
from kubebraid.cli.bench.progress import Progress
from kubebraid.cli.bench.results import OURS, PEER
from kubebraid.cli.bench.runner import Run, blocks, steps
from kubebraid.cli.bench.scenario import Scenario, Setting
from kubebraid.cli.bench.site import Site


class Fakes:
    """Servers that do nothing, and what was done with them, in order."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.stubborn = False
        self.running = 0
        self.folders: set[Path] = set()

    def make(self, store: str, folder: Path, tools: Tools) -> Any:
        assert folder not in self.folders, "a fresh folder for each"
        self.folders.add(folder)
        return FakeServer(self, store)


class FakeServer:
    def __init__(self, fakes: Fakes, store: str) -> None:
        self.fakes = fakes
        self.store = store

    def start(self) -> float:
        self.fakes.told.append(f"start {self.store}")
        self.fakes.running += 1
        return 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.fakes.told.append(f"end {self.store}")
        self.fakes.running -= 1
        if self.fakes.stubborn and self.store == "etcd":
            raise BenchError(f"{self.store} did not stop")

    def remove(self, *, keep_log: bool) -> None:
        self.fakes.told.append(f"{'keep' if keep_log else 'remove'} {self.store}")


def scenario(
    fakes: Fakes, name: str, setting: Setting | None, failing: tuple[str, ...] = ()
) -> Scenario:
    def measure(site: Site) -> list[Figure]:
        what = "warm" if site.warming else str(site.turn)
        fakes.told.append(f"{name} {what} {site.server.store}")
        if site.server.store in failing:
            raise RequestsFailed("3 requests failed")
        return [Figure("throughput", "/s", float(site.turn))]

    return Scenario(name, "some words", measure, setting)


def run(fakes: Fakes, chosen: list[Scenario], rounds: int = 2) -> Run:
    progress = Progress(steps(chosen, rounds, 2), io.StringIO())
    made = Run(Tools(), Path("run"), (OURS, PEER), rounds, 1.0, progress, fakes.make)
    made.run(chosen)
    assert fakes.running == 0
    return made


def prepared(fakes: Fakes) -> Setting:
    return Setting("shared", lambda site: fakes.told.append(f"prepare {site.server.store}"))


def test_stores_alternate_on_servers_that_are_prepared_once() -> None:
    fakes = Fakes()
    setting = prepared(fakes)
    made = run(fakes, [scenario(fakes, "a/1", setting), scenario(fakes, "a/2", setting)])
    assert fakes.told == [
        "start kubebraid",
        "prepare kubebraid",
        "start etcd",
        "prepare etcd",
        "a/1 warm kubebraid",
        "a/1 warm etcd",
        "a/1 2 kubebraid",
        "a/1 2 etcd",
        "a/1 3 kubebraid",
        "a/1 3 etcd",
        "a/2 warm kubebraid",
        "a/2 warm etcd",
        "a/2 5 kubebraid",
        "a/2 5 etcd",
        "a/2 6 kubebraid",
        "a/2 6 etcd",
        "end etcd",
        "remove etcd",
        "end kubebraid",
        "remove kubebraid",
    ]
    assert [outcome.pairs("throughput") for outcome in made.outcomes] == [
        [(2.0, 2.0), (3.0, 3.0)],
        [(5.0, 5.0), (6.0, 6.0)],
    ]
    assert made.failures == []


def test_scenario_without_setting_has_a_fresh_server_each_time_and_no_other_runs() -> None:
    fakes = Fakes()
    run(fakes, [scenario(fakes, "s/1", None)])
    once = [
        line
        for store in ("kubebraid", "etcd")
        for line in (f"start {store}", f"s/1 1 {store}", f"end {store}", f"remove {store}")
    ]
    assert fakes.told == once * 2


def test_failure_is_kept_and_what_follows_begins_on_fresh_servers() -> None:
    fakes = Fakes()
    setting = prepared(fakes)
    chosen = [
        scenario(fakes, "a/1", setting),
        scenario(fakes, "a/2", setting, failing=("etcd",)),
        scenario(fakes, "a/3", setting),
        scenario(fakes, "b/1", None, failing=("kubebraid", "etcd")),
        scenario(fakes, "c/1", None),
    ]
    made = run(fakes, chosen, rounds=1)
    assert [outcome.scenario for outcome in made.outcomes] == ["a/1", "a/3", "c/1"]
    assert [(f.scenario, f.store, f.sentence) for f in made.failures] == [
        ("a/2", "etcd", "3 requests failed"),
        ("b/1", "kubebraid", "3 requests failed"),
    ]
    assert fakes.told.count("prepare etcd") == 2
    first = fakes.told.index("a/2 warm etcd")
    assert not [line for line in fakes.told[first:] if line.startswith("remove")], "logs are kept"


def test_setting_that_fails_is_a_failure_of_its_first_scenario() -> None:
    fakes = Fakes()

    def fail(site: Site) -> None:
        raise RequestsFailed("no")

    broken = Setting("broken", fail)
    chosen = [scenario(fakes, "a/1", broken), scenario(fakes, "a/2", broken)]
    made = run(fakes, chosen)
    assert [f.scenario for f in made.failures] == ["a/1", "a/2"]
    assert made.outcomes == []


def test_server_that_does_not_end_is_a_failure_and_no_traceback() -> None:
    fakes = Fakes()
    fakes.stubborn = True
    made = run(fakes, [scenario(fakes, "a/1", prepared(fakes)), scenario(fakes, "b/1", None)], 1)
    assert [(f.scenario, f.sentence) for f in made.failures] == [
        ("a/1", "etcd did not stop"),
        ("b/1", "etcd did not stop"),
    ]


def test_blocks_are_neighbours_with_one_setting() -> None:
    fakes = Fakes()
    one, two = prepared(fakes), Setting("other", lambda _: None)
    chosen = [
        scenario(fakes, name, setting)
        for name, setting in (
            ("a/1", one),
            ("a/2", one),
            ("b/1", None),
            ("b/2", None),
            ("c/1", two),
        )
    ]
    assert [[s.name for s in block] for block in blocks(chosen)] == [
        ["a/1", "a/2"],
        ["b/1"],
        ["b/2"],
        ["c/1"],
    ]
    assert steps(chosen, rounds=3, stores=2) == 2 * (4 + 4 + 3 + 3 + 4)
