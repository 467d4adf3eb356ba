"""`kubebraid ctl` on a cluster that loses its processes one after the other, and gets them back.

The tests share a cluster whose dead stay dead, and run in their order; each leaves it healthy.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.cluster import is_running
from tests.e2e.processes import Finished, Peers, Process, Supervisor, run, wait_for
from tests.e2e.store import COORDINATORS, SHARDS, Kind, Store, kubebraid_environment

pytestmark = [pytest.mark.e2e, pytest.mark.cluster]

HEALTHY: Final = 0
PROBLEMS: Final = 1
SEEN_S_MAX: Final = 15.0  # until a router has noticed an end or a start
REFILLED_S_MAX: Final = 40.0
TABLET_KEYS: Final = (
    *("id", "name", "range", "bucket", "buckets"),
    *("shard", "oepoch", "last", "closed", "lag"),
)


class Ctl:
    """The command, on some endpoints."""

    def __init__(self, *endpoints: str) -> None:
        self.flag = f"--endpoint={','.join(endpoints)}"

    def argv(self, *words: str) -> tuple[str, ...]:
        return (sys.executable, "-m", "kubebraid", "ctl", self.flag, *words)

    def run(self, *words: str) -> Finished:
        return run(self.argv(*words), env=kubebraid_environment())

    def json(self, *words: str) -> Any:
        """What is printed, whatever the exit code says."""
        return json.loads(self.run(*words, "--output=json").stdout)

    def status(self) -> dict[str, Any]:
        told = self.json("status")
        assert isinstance(told, dict)
        return told

    def until_healthy(self) -> dict[str, Any]:
        def probe() -> dict[str, Any] | None:
            told = self.status()
            return None if told["problems"] else told

        return wait_for("a healthy cluster", probe, SEEN_S_MAX)

    def until(self, *words: str, says: str) -> Finished:
        """Until the command's sentence is there."""

        def probe() -> Finished | None:
            done = self.run(*words)
            return done if says in done.stdout + done.stderr else None

        return wait_for(f"ctl to say {says!r}", probe, SEEN_S_MAX)


class Site:
    """The cluster, and the processes that a test started in the place of killed ones."""

    def __init__(self, store: Store, supervisor: Supervisor) -> None:
        self.store = store
        self.ctl = Ctl(*store.endpoints)
        self._supervisor = supervisor
        self._roles = {
            entry.name: _role_argv(entry.pid) for entry in store.members.all()
        }  # as they were started
        self._own: dict[str, Process] = {}

    def kill(self, name: str) -> None:
        """SIGKILL, and nobody starts it again."""
        own = self._own.pop(name, None)
        if own is not None:
            own.kill()
            return
        pid = self.store.members.signal(name, signal.SIGKILL)
        wait_for(f"the end of {name}", lambda: not is_running(pid), SEEN_S_MAX)

    def start(self, name: str) -> None:
        """As a service manager would, with the flags of every later start."""
        argv = [
            flag.replace("--initial-cluster-state=new", "--initial-cluster-state=existing")
            for flag in self._roles[name]
        ]
        command = (sys.executable, "-m", "kubebraid", *argv)
        process = self._supervisor.add(name, command, env=kubebraid_environment())
        self._own[name] = process.start()

    def put(self, key: str) -> None:
        """Over and over until it is acknowledged."""
        etcdctl = self.store.etcdctl
        wait_for(f"a write of {key}", lambda: etcdctl.run("put", key, "v").code == 0, SEEN_S_MAX)


def _role_argv(pid: int) -> Sequence[str]:
    """The role and its flags, without dev-cluster's own words before them."""
    words = Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")
    begin = next(at for at, word in enumerate(words) if word in ("coordinator", "shard", "router"))
    return words[begin:]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, peers: Peers) -> Iterator[Site]:
    """The module's cluster, running."""
    with Supervisor(tmp_path_factory.mktemp("ctl")) as supervisor:
        store = Store(supervisor, peers, Kind.CLUSTER, flags=("--no-restart",))
        store.start()
        yield Site(store, supervisor)


def others(name: str, *names: str) -> list[str]:
    return [other for other in names if other != name]


def test_healthy_cluster_is_shown_whole(site: Site) -> None:
    revision = int(site.store.etcdctl.put("/registry/pods/a", "v"))
    told = site.ctl.until_healthy()
    assert site.ctl.run("status").code == HEALTHY
    assert [c["name"] for c in told["coordinators"]] == [
        f"coordinator-{number}" for number in range(COORDINATORS)
    ]
    assert sorted(c["state"] for c in told["coordinators"]) == ["follower", "follower", "leader"]
    assert told["sequencer"]["serves"]
    assert told["sequencer"]["name"] in {c["name"] for c in told["coordinators"]}
    assert told["sequencer"]["revision"] == told["revision"] == revision
    assert [shard["state"] for shard in told["shards"]] == ["up"] * SHARDS
    assert sum(shard["tablets"] for shard in told["shards"]) == len(told["tablets"])
    addresses = {entry.name: entry.address for entry in site.store.members.all()}
    for part in (*told["coordinators"], *told["shards"]):
        assert part["address"] == addresses[part["name"]]
    assert all(tuple(tablet) == TABLET_KEYS for tablet in told["tablets"])
    assert {tablet["lag"] for tablet in told["tablets"]} == {0}
    (pods,) = [tablet for tablet in told["tablets"] if tablet["name"] == "pods"]
    assert pods["range"] == {"start": "/registry/pods", "end": "/registry/pods0"}
    assert pods["last"] == revision


def test_each_listing_is_part_of_the_status_and_every_router_says_the_same(site: Site) -> None:
    told = site.ctl.until_healthy()
    for endpoint in site.store.endpoints:
        ctl = Ctl("http://127.0.0.1:1", endpoint)
        assert ctl.json("shard", "list")["shards"] == told["shards"]
        assert ctl.json("tablet", "list") == {"tablets": told["tablets"]}
        coordinators = ctl.json("coordinator", "status")
        assert coordinators["sequencer"]["name"] == told["sequencer"]["name"]
    routers = {Ctl(url).status()["router"]["name"] for url in site.store.endpoints}
    assert len(routers) == len(site.store.endpoints)


def test_killed_shard_and_its_tablets_are_down_until_it_is_back(site: Site) -> None:
    before = site.ctl.until_healthy()
    site.kill("shard-1")
    done = site.ctl.until("tablet", "list", says="shard shard-1 (")
    assert done.code == PROBLEMS
    assert "tablets are down: " in done.stderr
    assert "start it again with the same name and data directory" in done.stderr
    down = [line.split() for line in done.stdout.splitlines() if " down " in line]
    lost = [tablet["name"] for tablet in before["tablets"] if tablet["shard"] == "shard-1"]
    assert [words[1] for words in down] == lost
    assert site.ctl.run("coordinator", "status").code == HEALTHY
    site.start("shard-1")
    after = site.ctl.until_healthy()
    again = {s["name"]: s["incarnation"] for s in after["shards"]}
    assert again["shard-1"] != {s["name"]: s["incarnation"] for s in before["shards"]}["shard-1"]
    moved = zip(before["tablets"], after["tablets"], strict=True)
    grown = {old["name"] for old, new in moved if new["oepoch"] > old["oepoch"]}
    assert grown == set(lost)


def test_killed_sequencer_is_told_and_its_successor_named(site: Site) -> None:
    before = site.ctl.until_healthy()
    sequencer = before["sequencer"]["name"]
    site.kill(sequencer)
    site.put("/registry/pods/successor")
    done = site.ctl.until("status", says=f"problems   1\n- coordinator {sequencer} (")
    assert done.code == PROBLEMS
    assert done.stderr == "kubebraid ctl: problems found: 1\n"
    told = site.ctl.status()
    states = {c["name"]: c["state"] for c in told["coordinators"]}
    assert states.pop(sequencer) == "unreachable"
    assert sorted(states.values()) == ["follower", "leader"]
    assert told["sequencer"]["name"] in states
    assert told["sequencer"]["cepoch"] > before["sequencer"]["cepoch"]
    assert not told["stale"]
    assert f"kubebraid ctl coordinator refill {sequencer}" in told["problems"][0]["do"]
    site.start(sequencer)
    site.ctl.until_healthy()


def test_refill_refuses_a_healthy_member_and_an_unknown_one(site: Site) -> None:
    site.ctl.until_healthy()
    healthy = site.ctl.run("coordinator", "refill", "coordinator-0")
    assert (healthy.code, healthy.stdout) == (PROBLEMS, "")
    assert "coordinator coordinator-0 has its log" in healthy.stderr
    unknown = site.ctl.run("coordinator", "refill", "nobody")
    assert unknown.code == PROBLEMS
    assert "no coordinator is called 'nobody'" in unknown.stderr


def test_refill_leads_an_operator_whose_coordinator_lost_its_disk(
    site: Site, supervisor: Supervisor
) -> None:
    name = "coordinator-0"
    site.kill(name)
    site.ctl.until("coordinator", "status", says=f"coordinator {name} (")
    site.put("/registry/pods/while-away")
    command = site.ctl.argv("coordinator", "refill", name, f"--timeout={REFILLED_S_MAX}")
    refill = supervisor.add("refill", command, env=kubebraid_environment()).start()
    wait_for("the steps", lambda: "--initial-cluster-state=existing" in refill.text(), SEEN_S_MAX)
    shutil.rmtree(site.store.data_dir / name)
    site.start(name)
    assert refill.wait(REFILLED_S_MAX) == HEALTHY, refill.text()
    assert f"{name} has caught up" in refill.text().splitlines()[-1]
    site.ctl.until_healthy()
    # It counts again: with another one gone there is still a quorum.
    site.kill("coordinator-1")
    site.put("/registry/pods/with-the-refilled")
    site.start("coordinator-1")
    site.ctl.until_healthy()


def test_without_a_quorum_the_last_news_are_stale_and_no_refill_is_begun(site: Site) -> None:
    before = site.ctl.until_healthy()
    gone = others(before["sequencer"]["name"], *(c["name"] for c in before["coordinators"]))
    for name in gone:
        site.kill(name)
    done = site.ctl.until("tablet", "list", says="2 must run: writes and linearizable reads wait")
    assert done.code == PROBLEMS
    told = site.ctl.status()
    assert told["stale"]
    assert (told["sequencer"]["serves"], told["revision"]) == (False, before["revision"])
    names = [(tablet["name"], tablet["shard"]) for tablet in told["tablets"]]
    assert names == [(tablet["name"], tablet["shard"]) for tablet in before["tablets"]]
    assert f"start {gone[0]}, {gone[1]} again" in told["problems"][0]["do"]
    refused = site.ctl.run("coordinator", "refill", gone[0])
    assert (refused.code, refused.stdout) == (PROBLEMS, "")
    assert f"without {gone[0]} only 1 of 3 coordinators run" in refused.stderr
    for name in gone:
        site.start(name)
    site.put("/registry/pods/again")
    site.ctl.until_healthy()


def test_nobody_there_is_one_sentence() -> None:
    done = Ctl("http://127.0.0.1:1").run("status")
    assert (done.code, done.stdout) == (PROBLEMS, "")
    assert done.stderr.count("\n") == 1
    assert "no endpoint answers (http://127.0.0.1:1: connection refused)" in done.stderr


@pytest.mark.parametrize("front", [Kind.NATIVE, Kind.GRPCIO])
def test_one_process_answers_too(front: Kind, supervisor: Supervisor, peers: Peers) -> None:
    store = Store(supervisor, peers, front)
    store.start()
    revision = store.etcdctl.put("/registry/pods/a", "v")
    told = Ctl(store.endpoint).until_healthy()
    assert (told["cluster"], told["revision"]) == (None, revision)
    assert [(c["name"], c["state"]) for c in told["coordinators"]] == [("default", "leader")]
    assert [(shard["name"], shard["state"]) for shard in told["shards"]] == [("shard-0", "up")]
    assert {tablet["lag"] for tablet in told["tablets"]} == {0}
    assert Ctl(store.endpoint).run("status").code == HEALTHY
