"""Fixtures of the end-to-end suite, and the printing of logs when a test fails.

Environment: KUBEBRAID_PEERS, folder of the programs built by tests/peers/build.sh;
KUBEBRAID_REQUIRE_PEERS=1, a missing program fails instead of skips; KUBEBRAID_E2E_STORE=etcd, the
suite runs on a real etcd, which shows that the suite itself is right; KUBEBRAID_E2E_STORE=cluster,
it runs on a dev-cluster of eight processes; KUBEBRAID_E2E_STORE=tikv, on one whose shards are on
the TiKV-protocol cluster that tests/tikv/build.sh builds.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.processes import Peers, Process, Supervisor
from tests.e2e.store import UNDER_TEST, Kind, Store
from tests.e2e.twin import Twin

NAMED: Final = "a router has a name of its own, which etcd's member has not"
# Tests that mean one server. On a cluster each is played to its failure, and fails if it passes.
NOT_ON_A_CLUSTER: Final = {
    "test_member_list_has_etcds_shape_in_every_form": NAMED,
    "test_member_list_in_hexadecimal_names_the_ids_of_the_other_forms": NAMED,
    "test_a_full_store_raises_an_alarm_until_it_is_disarmed": "--quota-backend-bytes is serve's",
}
PerfChecks = dict[Kind, tuple[Store, Process]]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the tails of the logs of all open processes to a failure's report."""
    report = yield
    if report.failed:
        for supervisor in Supervisor.open:
            report.sections.extend((f"tail of {name}", tail) for name, tail in supervisor.tails())
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Expect the failures that a cluster is known for, where a cluster is under test."""
    if not any(kind.is_cluster for kind in UNDER_TEST):
        return
    for item in items:
        reason = NOT_ON_A_CLUSTER.get(getattr(item, "originalname", item.name))
        if reason is not None:
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))


@pytest.fixture(scope="session")
def peers() -> Peers:
    """Where the foreign programs are."""
    return Peers()


@pytest.fixture(scope="module", params=UNDER_TEST, ids=lambda kind: str(kind.value))
def kind(request: pytest.FixtureRequest) -> Kind:
    """Which store is under test."""
    assert isinstance(request.param, Kind)
    return request.param


@pytest.fixture(scope="module")
def module_supervisor(kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervisor]:
    """Owner of what lives as long as one module's tests on one store."""
    with Supervisor(tmp_path_factory.mktemp(kind.value)) as supervisor:
        yield supervisor


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    """Owner of what lives as long as one test."""
    with Supervisor(tmp_path) as supervisor:
        yield supervisor


@pytest.fixture(scope="module")
def shared_store(module_supervisor: Supervisor, peers: Peers, kind: Kind) -> Store:
    """One running store for all tests of a module."""
    store = Store(module_supervisor, peers, kind)
    store.start()
    return store


@pytest.fixture(scope="module")
def etcd(module_supervisor: Supervisor, peers: Peers) -> Store:
    """The real etcd that the module's store is compared with: as new, and told the same."""
    etcd = Store(module_supervisor, peers, Kind.ETCD, "twin-etcd")
    etcd.start()
    return etcd


@pytest.fixture
def twin(shared_store: Store, etcd: Store) -> Twin:
    """The store of this module, and the etcd."""
    return Twin(shared_store, etcd)


@pytest.fixture(scope="session")
def perf_checks(peers: Peers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PerfChecks]:
    """`etcdctl check perf` on a store of each kind, which takes a minute whatever the store does.

    A module that asks for it early has the minute pass beside other tests; who asks for it last
    waits for the rest (test_etcdctl_workload.py).
    """
    with Supervisor(tmp_path_factory.mktemp("perf")) as supervisor:
        checks: PerfChecks = {}
        for kind in UNDER_TEST:
            store = Store(supervisor, peers, kind, f"perf-{kind.value}")
            store.start()
            flags = ("--load=s", "--prefix=/perf/", "--auto-compact", "--auto-defrag")
            argv = store.etcdctl.argv("check", "perf", *flags)
            checks[kind] = (store, supervisor.add(f"check-{kind.value}", argv).start())
        yield checks
