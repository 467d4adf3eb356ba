"""etcd and both fronts of KubeBraid, started once, and what each answered to each case.

What it is: the processes and a memory of outcomes. What it is not: a judge.

The three run a case at the same time, each its own copy, because most of a watch case is waiting.
The front grpcio serves a store whose tablets cut every case's keys apart; no answer may show it.

With KUBEBRAID_E2E_STORE=cluster, or tikv, a whole cluster stands in for both fronts. It cuts the
keys in the same way, every second prefix into buckets besides, so that a case lies on several
shards; its two routers take the cases in turn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

import grpc

from tests.e2e.ledger import Ledger
from tests.e2e.processes import Peers, Supervisor
from tests.e2e.store import UNDER_TEST, Kind, Store

from .case import Case
from .runner import SPREAD_PREFIXES, Outcome, Server
from .table import NUMBERS

CLUSTER: Final = next((kind for kind in UNDER_TEST if kind.is_cluster), None)
SUBJECTS: Final = (CLUSTER,) if CLUSTER else (Kind.NATIVE, Kind.GRPCIO)
KINDS: Final = (Kind.ETCD, *SUBJECTS)
CLUSTER_LAYOUT: Final = ",".join(
    prefix if number % 2 else f"{prefix}=16" for number, prefix in enumerate(SPREAD_PREFIXES)
)
LAYOUTS: Final = {
    Kind.GRPCIO: ",".join(SPREAD_PREFIXES),
    Kind.CLUSTER: CLUSTER_LAYOUT,
    Kind.TIKV: CLUSTER_LAYOUT,
}
DIES_S_MAX: Final = 10.0
TRIES: Final = 4
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
            if store.kind in LAYOUTS:
                store.process.argv += (f"--tablets={LAYOUTS[store.kind]}",)
        list(self._pool.map(Store.start, self._stores.values()))
        self._first_term = 0
        self._servers = {kind: self._connected(kind) for kind in KINDS}

    def _connected(self, kind: Kind) -> list[Server]:
        """One client of each endpoint."""
        ports = range(self._stores[kind].port, self._stores[kind].port + self._count(kind))
        return [Server(port, spread=kind in LAYOUTS) for port in ports]

    def _count(self, kind: Kind) -> int:
        return len(self._stores[kind].endpoints)

    def followed(self) -> Ledger:
        """The watch over every key of the cluster, from now on."""
        self._first_term = self._term()
        return Ledger(self._cluster.endpoints, CLUSTER_LAYOUT)

    @property
    def _cluster(self) -> Store:
        (store,) = (store for store in self._stores.values() if store.kind.is_cluster)
        return store

    def _term(self) -> int:
        return max(server.term() for server in self._servers[self._cluster.kind])

    def shares(self, ledger: Ledger) -> Counter[str]:
        """What each shard of the cluster committed: nothing missing, and each its share."""
        ledger.catch_up(self._cluster.etcdctl.revision())
        return ledger.judge(gaps_max=self._term() - self._first_term)

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
        number = NUMBERS[case.name]
        turn = number % self._count(kind)
        try:
            self._servers[kind][turn].term()
        except grpc.RpcError:
            # The case before has killed it, and failed for that. Who comes after starts it again.
            self._stores[kind].process.wait(DIES_S_MAX)
            self._stores[kind].start()
            for server in self._servers[kind]:
                server.close()
            self._servers[kind] = self._connected(kind)
        server = self._servers[kind][turn]
        if kind.is_cluster:
            return self._run_in_one_reign(server, case)
        return server.run(case, number)

    def _run_in_one_reign(self, server: Server, case: Case) -> list[Outcome]:
        """Again if the sequencer has changed meanwhile, as it may on a machine that is too busy to
        renew a lease: then revisions have jumped, and their distances say nothing."""
        for _ in range(TRIES):
            term = server.term()
            outcome = server.run(case, NUMBERS[case.name])
            if server.term() == term:
                return outcome
        raise AssertionError(f"{TRIES} sequencers within a case")

    def _run_fresh(self, case: Case) -> None:
        with Supervisor(self._supervisor.folder) as supervisor:
            world = World(supervisor, self._peers, f"fresh-{NUMBERS[case.name]}")
            with closing(world):
                world._run(case)
                self._outcomes.update(world._outcomes)

    def close(self) -> None:
        self._pool.shutdown()
        for servers in self._servers.values():
            for server in servers:
                server.close()


@contextmanager
def closing(world: World) -> Iterator[World]:
    try:
        yield world
    finally:
        world.close()
