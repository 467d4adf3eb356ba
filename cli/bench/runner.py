"""One run: scenarios in their order, the stores in turns.

What it is: who is started when, and what becomes of a failure. What it is not: a measurement.

Words: a *block* is a series of scenarios with one setting: both stores are started on fresh
folders and prepared once, then each scenario goes ours, peer, ours, peer. A scenario without a
setting has a fresh store for each measurement, and the other one is not running.

Invariants: never are two stores under load at once; a failure ends its scenario, is kept, and what
follows begins on fresh stores; whatever happens, no process that was started here is left.

Tested in tests/unit/cli/bench/test_runner.py, tests/e2e/test_bench.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from .drivers import BenchError, Tools
from .figures import Figure
from .outputs import NotUnderstood
from .progress import Progress
from .results import OURS, PEER, Failure, Outcome, Round
from .scenario import Scenario
from .servers import Server
from .site import Site

FAILURES = (BenchError, NotUnderstood, OSError)


class Failed(Exception):
    """One measurement could not be made."""

    def __init__(self, scenario: str, store: str, why: BaseException) -> None:
        super().__init__(str(why) or repr(why))
        self.scenario = scenario
        self.store = store


def blocks(chosen: Sequence[Scenario]) -> Iterator[list[Scenario]]:
    """Neighbours with one setting; a scenario without one is alone."""
    for _, group in groupby(chosen, key=lambda s: s.setting.name if s.setting else s.name):
        yield list(group)


def steps(chosen: Sequence[Scenario], rounds: int, stores: int) -> int:
    """How many times something is measured, warm-ups included."""
    return sum(stores * (rounds + (scenario.setting is not None)) for scenario in chosen)


@dataclass
class Run:
    """What a run is given, and what it has so far."""

    tools: Tools
    folder: Path
    stores: tuple[str, ...]
    rounds: int
    scale: float
    progress: Progress
    make: Callable[[str, Path, Tools], Server] = Server
    outcomes: list[Outcome] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    _started: int = 0
    _failing: bool = False

    def run(self, chosen: Sequence[Scenario]) -> None:
        """All of them; failures are collected."""
        assert set(self.stores) <= {OURS, PEER}, self.stores
        for block in blocks(chosen):
            left = block
            while left:
                done = len(self.outcomes)
                try:
                    self._block(left)
                    break
                except Failed as failed:
                    why = Failure(failed.scenario, failed.store, str(failed))
                    self.failures.append(why)
                    # The one after those that are done is the one that failed.
                    left = left[len(self.outcomes) - done + 1 :]
                except BenchError as error:
                    # A server did not end as it should: it was killed, and its block is over.
                    self._failing = True
                    self.failures.append(Failure(left[-1].name, "a store", str(error)))
                    break

    def _block(self, block: list[Scenario]) -> None:
        if block[0].setting is None:
            for scenario in block:
                self._alone(scenario)
            return
        with ExitStack() as stack:
            sites = {store: self._begin(stack, block[0], store) for store in self.stores}
            for scenario in block:
                for site in sites.values():
                    site.warming = True
                    self._measure(scenario, site, "warm-up")
                    site.warming = False
                rounds = []
                for number in range(self.rounds):
                    what = f"round {number + 1}"
                    rounds.append({s: self._measure(scenario, at, what) for s, at in sites.items()})
                self._keep(scenario, rounds)

    def _alone(self, scenario: Scenario) -> None:
        rounds = []
        for number in range(self.rounds):
            one: dict[str, tuple[Figure, ...]] = {}
            for store in self.stores:
                with ExitStack() as stack:
                    site = self._begin(stack, scenario, store)
                    one[store] = self._measure(scenario, site, f"round {number + 1}")
            rounds.append(one)
        self._keep(scenario, rounds)

    def _begin(self, stack: ExitStack, scenario: Scenario, store: str) -> Site:
        """A fresh server, prepared; it ends, and its data go, with the stack."""
        self._started += 1
        try:
            server = self.make(store, self.folder / f"{self._started:03d}-{store}", self.tools)
            stack.callback(self._remove, server)
            stack.enter_context(server)
            server.start()
            site = Site(server, self.scale)
            if scenario.setting is not None:
                scenario.setting.prepare(site)
        except FAILURES as error:
            raise self._failed(scenario, store, error) from error
        return site

    def _remove(self, server: Server) -> None:
        """A failed run's logs stay: they may say why. Its data do not: they may be large."""
        server.remove(keep_log=self._failing)

    def _failed(self, scenario: Scenario, store: str, why: BaseException) -> Failed:
        """Known before the servers are removed."""
        self._failing = True
        return Failed(scenario.name, store, why)

    def _measure(self, scenario: Scenario, site: Site, what: str) -> tuple[Figure, ...]:
        store = site.server.store
        self.progress.step(f"{scenario.name} {what} on {store}")
        site.turn += 1
        try:
            return tuple(scenario.measure(site))
        except FAILURES as error:
            raise self._failed(scenario, store, error) from error

    def _keep(self, scenario: Scenario, rounds: Sequence[Round]) -> None:
        self.outcomes.append(Outcome(scenario.name, scenario.text, tuple(rounds), self.scale))
