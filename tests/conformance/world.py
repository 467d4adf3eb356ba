"""etcd and both fronts of KubeBraid, started once, and what each answered to each case.

What it is: the processes and a memory of outcomes. What it is not: a judge.

The three run a case at the same time, each its own copy, because most of a watch case is waiting.
The front grpcio serves a store whose tablets cut every case's keys apart; no answer may show it.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

import grpc

from tests.e2e.processes import Peers, Supervisor
from tests.e2e.store import Kind, Store

from .case import Case
from .runner import SPREAD_PREFIXES, Outcome, Server
from .table import NUMBERS

KINDS: Final = (Kind.ETCD, Kind.NATIVE, Kind.GRPCIO)
DIES_S_MAX: Final = 10.0
PROGRESS_INTERVAL: Final = "700ms"  # longer than any other case keeps a watch that asks for it


class World:
    """Three servers. `close` ends the connections; the processes are the supervisor's."""

    def __init__(self, supervisor: Supervisor, peers: Peers, name: str = "world") -> None:
        self._supervisor, self._peers = supervisor, peers
        self._pool = ThreadPoolExecutor(len(KINDS))
        self._outcomes: dict[tuple[Kind, str], Future[list[Outcome]]] = {}
        self._stores = {
            kind: Store(supervisor, peers, kind, f"{name}-{kind.value}") for kind in KINDS
        }
        for store in self._stores.values():
            store.process.argv += (f"--watch-progress-notify-interval={PROGRESS_INTERVAL}",)
            if store.kind is Kind.GRPCIO:
                store.process.argv += (f"--tablets={','.join(SPREAD_PREFIXES)}",)
        list(self._pool.map(Store.start, self._stores.values()))
        self._servers = {kind: self._server(kind) for kind in KINDS}

    def _server(self, kind: Kind) -> Server:
        return Server(self._stores[kind].port, spread=kind is Kind.GRPCIO)

    def outcomes(self, case: Case, kind: Kind) -> list[Outcome]:
        """What the case came to on this server; it runs on all when it is asked for first."""
        if (kind, case.name) not in self._outcomes:
            if case.fresh:
                self._run_fresh(case)
            else:
                self._run(case)
        return self._outcomes[kind, case.name].result()

    def _run(self, case: Case) -> None:
        for kind in KINDS:
            self._outcomes[kind, case.name] = self._pool.submit(self._run_on, kind, case)
        for kind in KINDS:
            self._outcomes[kind, case.name].exception()  # all at the same case, or tests get slow

    def _run_on(self, kind: Kind, case: Case) -> list[Outcome]:
        try:
            self._servers[kind].wipe()
        except grpc.RpcError:
            # The case before has killed it, and failed for that. Who comes after starts it again.
            self._stores[kind].process.wait(DIES_S_MAX)
            self._stores[kind].start()
            self._servers[kind].close()
            self._servers[kind] = self._server(kind)
        return self._servers[kind].run(case, NUMBERS[case.name])

    def _run_fresh(self, case: Case) -> None:
        with Supervisor(self._supervisor.folder) as supervisor:
            world = World(supervisor, self._peers, f"fresh-{NUMBERS[case.name]}")
            with closing(world):
                world._run(case)
                self._outcomes.update(world._outcomes)

    def close(self) -> None:
        self._pool.shutdown()
        for server in self._servers.values():
            server.close()


@contextmanager
def closing(world: World) -> Iterator[World]:
    try:
        yield world
    finally:
        world.close()
