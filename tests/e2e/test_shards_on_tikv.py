"""A cluster's shards on TiKV, each on a store of its own: kills, another machine, a move.

Marked `tikv`, not `e2e`: it needs the cluster that tests/tikv/build.sh builds. "Another machine" is
another process that shares nothing with the first but TiKV, the coordinators and the secret.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pytest

from tests.e2e.cluster import free_block, is_running
from tests.e2e.etcdctl import Watch, text
from tests.e2e.kube import ApiServer, config_map
from tests.e2e.processes import Peers, Process, Supervisor, run, wait_for
from tests.e2e.reshard_ops import Ctl
from tests.e2e.store import SHARDS, Kind, Store, kubebraid_environment, need_tikv_client, tikv_flags
from tests.tikv.cluster import Cluster

pytestmark = pytest.mark.tikv

RESOURCES: Final = ("configmaps", "events", "leases", "nodes", "pods", "secrets", "services")
KEYS: Final = tuple(f"/registry/{resource}/a" for resource in RESOURCES)
DEPOSED_S: Final = 30.0
CONFIG_MAPS: Final = 20
REFUSED: Final = 1
PD_BACK_S: Final = 120.0
CONFIG_MAP_PATH: Final = "/api/v1/namespaces/default/configmaps"


@pytest.fixture(scope="module")
def tikv(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """PD and one store."""
    need_tikv_client()
    with Cluster.started(tmp_path_factory.mktemp("tikv")) as cluster:
        yield cluster


@dataclass
class Site:
    """A running dev-cluster."""

    supervisor: Supervisor
    store: Store
    pd: str
    name: str

    @property
    def ctl(self) -> Ctl:
        return Ctl(self.store.endpoints)

    @property
    def coordinators(self) -> str:
        """As the flag wants them."""
        members = [m for m in self.store.members.all() if m.role == "coordinator"]
        return ",".join(f"{member.name}={member.address}" for member in members)

    def shard(self, name: str, coordinators: str) -> Process:
        """Another process of a shard, as one would start it elsewhere."""
        argv = [
            *(sys.executable, "-m", "kubebraid", "shard", f"--name={name}", "--engine=tikv"),
            f"--pd={self.pd}",
            f"--tikv-store={self.name}",
            f"--coordinators={coordinators}",
            f"--listen=127.0.0.1:{free_block(1)}",
            f"--cluster-secret-file={self.store.data_dir / 'secret'}",
        ]
        env = kubebraid_environment()
        return self.supervisor.add(f"{name} of {coordinators[:1]}", argv, env=env).start()

    def coordinator_elsewhere(self, shard: str) -> str:
        """Of another cluster, whose only shard has this name; its --coordinators."""
        address = f"127.0.0.1:{free_block(1)}"
        argv = [
            *(sys.executable, "-m", "kubebraid", "coordinator", "--name=x", "--tablets=single"),
            f"--coordinators=x={address}",
            f"--listen={address}",
            f"--initial-shards={shard}",
            f"--data-dir={self.supervisor.folder / 'x'}",
            f"--cluster-secret-file={self.store.data_dir / 'secret'}",
        ]
        self.supervisor.add("coordinator elsewhere", argv, env=kubebraid_environment()).start()
        return f"x={address}"


def started(supervisor: Supervisor, peers: Peers, pd: str, name: str, *flags: str) -> Site:
    store = Store(supervisor, peers, Kind.CLUSTER, flags=(*tikv_flags(pd, name), *flags))
    store.start()
    return Site(supervisor, store, pd, name)


def values_and_revisions(site: Site) -> dict[str, tuple[str, int]]:
    """Of all keys."""
    answer = site.store.etcdctl.json("get", "/registry/", "--prefix")
    return {text(kv["key"]): (text(kv["value"]), kv["mod_revision"]) for kv in answer["kvs"]}


def put_all(site: Site, value: str) -> dict[str, tuple[str, int]]:
    """What `values_and_revisions` has to say behind it."""
    return {key: (value, site.store.etcdctl.put(key, value)) for key in KEYS}


def test_keys_outlive_kills_and_moves_and_an_apiserver_runs(
    tikv: Cluster, supervisor: Supervisor, peers: Peers
) -> None:
    site = started(supervisor, peers, tikv.pd_address, "first")
    etcdctl, members = site.store.etcdctl, site.store.members
    watch = Watch.start_many(supervisor, etcdctl, ["watch /registry/ --prefix"])
    wanted = put_all(site, "1")
    assert len({tablet.shard for tablet in map(site.ctl.holding, KEYS)}) == SHARDS
    for index in range(SHARDS):
        before = members.signal(f"shard-{index}", signal.SIGKILL)
        members.restarted(f"shard-{index}", before)
        assert values_and_revisions(site) == wanted
    wanted = put_all(site, "2")

    moved = site.ctl.holding(KEYS[0])
    to = next(f"shard-{index}" for index in range(SHARDS) if moved.shard != f"shard-{index}")
    site.ctl.change("tablet", "move", str(moved.id), f"--to={to}")
    assert site.ctl.holding(KEYS[0]).shard == to
    assert values_and_revisions(site) == wanted
    before = members.signal(to, signal.SIGKILL)
    members.restarted(to, before)
    assert values_and_revisions(site) == wanted
    wanted = put_all(site, "3")
    told = [event.revision for event in watch.wait(3 * len(KEYS))]
    assert told == sorted(set(told)), "in order, and each once"
    assert told[-1] == max(revision for _, revision in wanted.values())
    watch.process.terminate()
    saved = supervisor.folder / "saved.db"
    etcdctl.ok("snapshot", "save", str(saved))
    command = (sys.executable, "-m", "kubebraid", "ctl", "snapshot", "restore", str(saved))
    restored = supervisor.folder / "restored"
    run([*command, "--data-dir", str(restored)], env=kubebraid_environment()).ok()
    assert etcdctl.ok("del", "/registry/", "--prefix").strip() == str(len(KEYS)), "on every shard"
    _play(site, supervisor, peers)
    assert site.store.terminate() == 0


def _play(site: Site, supervisor: Supervisor, peers: Peers) -> None:
    """A kube-apiserver makes, lists and deletes."""
    apiserver = ApiServer(supervisor, peers, ",".join(site.store.endpoints))
    apiserver.start()
    rest = apiserver.rest
    names = [f"map-{number:02}" for number in range(CONFIG_MAPS)]
    for name in names:
        rest.create(CONFIG_MAP_PATH, config_map(name, name))
    listed = rest.get(CONFIG_MAP_PATH)["items"]
    assert {made["metadata"]["name"]: made["data"]["value"] for made in listed} == {
        name: name for name in names
    }
    for name in names:
        rest.delete(f"{CONFIG_MAP_PATH}/{name}")
    assert rest.get(CONFIG_MAP_PATH)["items"] == []
    rest.close()
    apiserver.process.terminate()


def test_shard_that_is_started_elsewhere_deposes_the_first_and_serves_its_keys(
    tikv: Cluster, supervisor: Supervisor, peers: Peers
) -> None:
    site = started(supervisor, peers, tikv.pd_address, "second", "--no-restart")
    wanted = put_all(site, "1")
    first = site.store.members.named(site.ctl.holding(KEYS[0]).shard)
    second = site.shard(first.name, site.coordinators)
    wait_for("the first's end", lambda: not is_running(first.pid), DEPOSED_S)
    log = (site.store.data_dir / "logs" / f"{first.name}.log").read_text()
    assert log.count("another process of the host") == 1, log
    assert values_and_revisions(site) == wanted
    wanted = put_all(site, "2")
    assert values_and_revisions(site) == wanted
    assert second.alive, second.text()
    assert second.terminate() == 0, "what it serves goes to others"
    assert values_and_revisions(site) == wanted

    foreign = site.shard(first.name, site.coordinator_elsewhere(first.name))
    assert foreign.wait(DEPOSED_S) == REFUSED
    assert "the store is that of a shard of another cluster" in foreign.text()

    def whole() -> bool:
        return all(site.store.etcdctl.run("get", key).code == 0 for key in KEYS)

    # It had taken the store before it was refused; who has the seat takes it back by itself.
    wait_for("the keys", whole, DEPOSED_S)
    assert values_and_revisions(site) == wanted


def test_without_pd_nothing_is_written_and_behind_it_everything_goes_on(
    tikv: Cluster, supervisor: Supervisor, peers: Peers
) -> None:
    site = started(supervisor, peers, tikv.pd_address, "third")
    wanted = put_all(site, "1")
    etcdctl = site.store.etcdctl
    tikv.pd.kill()
    assert etcdctl.run("put", KEYS[0], "2").code != 0
    tikv.start_pd()

    def again() -> bool:
        return all(etcdctl.run("put", key, "3").code == 0 for key in KEYS)

    wait_for("writes behind PD's return", again, PD_BACK_S)
    found = values_and_revisions(site)
    assert {key: value for key, (value, _) in found.items()} == dict.fromkeys(KEYS, "3")
    assert min(rev for _, rev in found.values()) > max(rev for _, rev in wanted.values())
