"""kube-apiserver on the store: one start per store, and then the tests in their order as one story.

The story: it becomes ready, kubectl works, a thousand objects are listed and watched, conflicts are
told, selections deleted, lists are served from caches that the store keeps fresh; then the store is
ended under load four times, and nothing that was acknowledged is lost and no watch misses anything.
"""

from __future__ import annotations

import base64
import json
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import pytest

from tests.e2e.kube import (
    COMPACTION_INTERVAL_S,
    MERGE_PATCH,
    ApiServer,
    Event,
    Json,
    Kubectl,
    Rest,
    Watch,
    accumulate,
    config_map,
    listed,
    version_of,
)
from tests.e2e.load import Load
from tests.e2e.processes import Peers, Supervisor, wait_for
from tests.e2e.store import Store

pytestmark = pytest.mark.e2e

CORE: Final = "/api/v1"
STORY: Final = f"{CORE}/namespaces/story"
MANY: Final = f"{CORE}/namespaces/many/configmaps"
MANY_COUNT: Final = 1_000
PAGE: Final = 100
EVENTS_COUNT: Final = 250
WORKERS: Final = 4
RECOVERY_S_MAX: Final = 60.0
WRITES_BETWEEN: Final = 30  # of every thread, before an outage and after it
OUTAGES: Final = ((Store.kill, 0.0), (Store.terminate, 0.0), (Store.kill, 0.5), (Store.kill, 2.0))
CONSISTENT_READS: Final = "apiserver_watch_cache_consistent_read_total"
INITIALIZATIONS: Final = "apiserver_watch_cache_initializations_total"
KINDS: Final = (  # where each kind lives: lists of these cover most of the key space's odd corners
    "/api/v1/configmaps",
    "/api/v1/endpoints",
    "/api/v1/events",
    "/api/v1/namespaces",
    "/api/v1/nodes",
    "/api/v1/pods",
    "/api/v1/replicationcontrollers",
    "/api/v1/secrets",
    "/api/v1/serviceaccounts",
    "/api/v1/services",
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    "/apis/apps/v1/deployments",
    "/apis/coordination.k8s.io/v1/leases",
    "/apis/networking.k8s.io/v1/ingresses",
    "/apis/networking.k8s.io/v1/ipaddresses",
)


@dataclass
class Cluster:
    """A store, the apiserver on it, its clients, and what the story has to remember."""

    store: Store
    server: ApiServer
    kubectl: Kubectl
    ready_s: float
    consistent_reads_at_start: dict[tuple[str, str], float]
    pid: int
    many_began_at: int = 0
    many_events: list[Event] = field(default_factory=list)

    @property
    def rest(self) -> Rest:
        """Requests to the apiserver."""
        return self.server.rest


@pytest.fixture(scope="module")
def cluster(module_supervisor: Supervisor, peers: Peers, shared_store: Store) -> Iterator[Cluster]:
    """The one of this module."""
    server = ApiServer(module_supervisor, peers, shared_store.endpoint)
    kubectl = Kubectl(peers, server)
    ready_s = server.start()
    reads = consistent_reads(server)
    yield Cluster(shared_store, server, kubectl, ready_s, reads, server.process.pid)
    server.rest.close()


def consistent_reads(server: ApiServer) -> dict[tuple[str, str], float]:
    """(success, fallback) to how many lists ended that way."""
    counts: dict[tuple[str, str], float] = {}
    for labels, value in server.samples(CONSISTENT_READS):
        if labels["group"] == "story.example":
            continue  # probed by a test before its cache was filled: refused, not fallen back
        way = (labels["success"], labels["fallback"])
        counts[way] = counts.get(way, 0) + value
    return counts


def initializations(server: ApiServer, resource: str) -> float:
    """How often the cache of a resource was filled from scratch."""
    return sum(
        value
        for labels, value in server.samples(INITIALIZATIONS)
        if labels["resource"] == resource and not labels["group"]
    )


def answers(rest: Rest, path: str) -> bool:
    """Does a list of this path succeed?"""
    return rest.send("GET", path).status == 200


def named(kind: str, name: str, version: str = "v1", **fields: object) -> Json:
    """An object of the namespace of the story; `metadata` may be given for other ones."""
    metadata = {"name": name, "namespace": "story"}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **fields}


# ----------------------------------------------------------------------------------------- kubectl


def test_apiserver_becomes_ready_on_the_store(cluster: Cluster) -> None:
    print(f"kube-apiserver was ready after {cluster.ready_s:.1f} s")
    checks = cluster.rest.send("GET", "/readyz?verbose")
    assert checks.status == 200
    assert "[+]etcd ok" in checks.text
    assert "[+]etcd-readiness ok" in checks.text


def test_kubectl_creates_namespaces(cluster: Cluster) -> None:
    for name in ("story", "many", "paged", "watched", "load"):
        assert cluster.kubectl.ok("create", "namespace", name) == f"namespace/{name} created\n"
    names = cluster.kubectl.names("namespaces")
    assert {"namespace/default", "namespace/kube-system", "namespace/story"} <= set(names)
    assert "Active" in cluster.kubectl.ok("get", "namespace", "story")


def test_kubectl_creates_builtin_kinds_and_reads_them_back(cluster: Cluster) -> None:
    pod = {"containers": [{"name": "main", "image": "none"}]}
    selector = {"app": "story"}
    template = {"metadata": {"labels": selector}, "spec": pod}
    deployment = {"replicas": 3, "selector": {"matchLabels": selector}, "template": template}
    involved = {"kind": "Pod", "namespace": "story", "name": "pod"}
    cluster.kubectl.apply(
        named("Deployment", "deployment", "apps/v1", spec=deployment),
        named("Pod", "pod", spec=pod),
        named("Service", "service", spec={"selector": selector, "ports": [{"port": 80}]}),
        named("Secret", "secret", stringData={"password": "open sesame"}),
        named("ServiceAccount", "account"),
        named("Lease", "lease", "coordination.k8s.io/v1", spec={"holderIdentity": "me"}),
        named("Event", "event", involvedObject=involved, reason="Told", message="a story"),
        named("Role", "role", "rbac.authorization.k8s.io/v1", rules=[]),
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node"}},
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": "urgent"},
            "value": 7,
        },
    )
    kinds = "deployment,pod,service,secret,serviceaccount,lease,event,role"
    found = cluster.kubectl.names(kinds, "-n", "story")
    # kube-apiserver may tell an event of its own: its loop that repairs addresses follows services
    # and addresses by two watches, and a service that overtakes its address looks broken to it.
    assert [name for name in found if not name.startswith("event/service.")] == [
        "deployment.apps/deployment",
        "pod/pod",
        "service/service",
        "secret/secret",
        "serviceaccount/account",
        "lease.coordination.k8s.io/lease",
        "event/event",
        "role.rbac.authorization.k8s.io/role",
    ]
    assert cluster.kubectl.names("nodes") == ["node/node"]
    service = json.loads(cluster.kubectl.ok("get", "service/service", "-n", "story", "-o", "json"))
    address = service["spec"]["clusterIP"]
    assert address.startswith("10.0.0.")
    allocated = cluster.rest.get(f"/apis/networking.k8s.io/v1/ipaddresses/{address}")
    assert allocated["spec"]["parentRef"]["name"] == "service"
    secret = cluster.rest.get(f"{STORY}/secrets/secret")
    assert base64.b64decode(secret["data"]["password"]) == b"open sesame"


def test_event_is_stored_under_a_lease(cluster: Cluster) -> None:
    pairs = cluster.store.etcdctl.json("get", "/registry/events/story/event")["kvs"]
    assert pairs[0]["lease"] > 0


def test_kubectl_changes_what_it_created(cluster: Cluster) -> None:
    kubectl = cluster.kubectl
    kubectl.ok("scale", "deployment/deployment", "--replicas=5", "-n", "story")
    kubectl.ok("label", "node/node", "zone=a")
    kubectl.ok("annotate", "pod/pod", "note=kept", "-n", "story")
    kubectl.ok("patch", "secret/secret", "-n", "story", "-p", '{"stringData":{"more":"yes"}}')
    deployment = cluster.rest.get("/apis/apps/v1/namespaces/story/deployments/deployment")
    assert (deployment["spec"]["replicas"], deployment["metadata"]["generation"]) == (5, 2)
    assert kubectl.names("nodes", "-l", "zone=a") == ["node/node"]
    assert kubectl.names("nodes", "-l", "zone=b") == []


def test_kubectl_applies_on_the_server_side(cluster: Cluster) -> None:
    argv = ("apply", "--server-side", "-n", "story", "-f", "-")
    for value in ("one", "two", "two"):
        cluster.kubectl.ok(*argv, stdin=json.dumps(config_map("applied", value)))
    assert cluster.rest.get(f"{STORY}/configmaps/applied")["data"] == {"value": "two"}


def test_kubectl_deletes_what_it_created(cluster: Cluster) -> None:
    kubectl = cluster.kubectl
    kubectl.ok("delete", "deployment,service,secret,role", "--all", "-n", "story")
    kubectl.ok("delete", "pod/pod", "-n", "story", "--wait=true")
    kubectl.ok("delete", "node/node")
    assert kubectl.names("deployment,pod,service,secret,role", "-n", "story") == []
    gone = kubectl.run("get", "pod", "pod", "-n", "story")
    assert gone.code == 1
    assert gone.stderr == 'Error from server (NotFound): pods "pod" not found\n'


# ------------------------------------------------------------------------------- custom resources

CRD: Final[Json] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "tales.story.example"},
    "spec": {
        "group": "story.example",
        "names": {"kind": "Tale", "plural": "tales", "singular": "tale"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "x-kubernetes-preserve-unknown-fields": True,
                    }
                },
            }
        ],
    },
}


def test_custom_resources_live_and_die_with_their_definition(cluster: Cluster) -> None:
    kubectl = cluster.kubectl
    kubectl.apply(CRD)
    kubectl.ok("wait", "--for=condition=Established", "crd/tales.story.example", "--timeout=30s")
    path = "/apis/story.example/v1/namespaces/story/tales"
    wait_for("the new path", partial(answers, cluster.rest, path), 30)
    first = named("Tale", "first", "story.example/v1", spec={"pages": 1})
    second = named("Tale", "second", "story.example/v1", spec={"pages": 2})
    with Watch(cluster.rest, path, version_of(cluster.rest.get(path))) as watch:
        kubectl.apply(first, second)
        patch = '{"spec":{"pages":10}}'
        kubectl.ok("patch", "tale/first", "-n", "story", "--type=merge", "-p", patch)
        found = json.loads(kubectl.ok("get", "tale/first", "-n", "story", "-o", "json"))
        assert found["spec"] == {"pages": 10}
        assert kubectl.names("tales", "-n", "story") == [
            "tale.story.example/first",
            "tale.story.example/second",
        ]
        kubectl.ok("delete", "tale/first", "-n", "story")
        wait_for("four events", lambda: len(watch.events) >= 4, 10)
        assert [(event.kind, event.name) for event in watch.events] == [
            ("ADDED", "first"),
            ("ADDED", "second"),
            ("MODIFIED", "first"),
            ("DELETED", "first"),
        ]
    # The definition's finalizer deletes what is left of the resources before it goes itself.
    kubectl.ok("delete", "crd/tales.story.example", "--timeout=50s")
    keys = cluster.store.etcdctl.values("/registry/story.example/")
    assert keys == {}


# ------------------------------------------------------------------------------- lists and watches


def test_thousand_config_maps_are_created_updated_and_deleted_under_a_watch(
    cluster: Cluster,
) -> None:
    """What is told is exactly what was answered, in the order of the versions, each once."""
    rest = cluster.rest
    cluster.many_began_at = version_of(rest.get(MANY))

    def create(number: int) -> tuple[int, str, str]:
        made = rest.create(MANY, config_map(f"many-{number:04}", "new", half=f"h{number % 2}"))
        return version_of(made), "ADDED", made["metadata"]["name"]

    def update(number: int) -> tuple[int, str, str]:
        name = f"many-{number:04}"
        done = rest.update(f"{MANY}/{name}", config_map(name, "changed", half=f"h{number % 2}"))
        return version_of(done), "MODIFIED", name

    with (
        Watch(rest, MANY, cluster.many_began_at) as watch,
        Watch(rest, MANY, cluster.many_began_at, {"labelSelector": "half=h1"}) as odd,
        ThreadPoolExecutor(WORKERS) as pool,
    ):
        answers = list(pool.map(create, range(MANY_COUNT)))
        answers += pool.map(update, range(0, MANY_COUNT, 5))
        # A delete's answer names no version: its place is learned from the watch, after all others.
        for number in range(MANY_COUNT, MANY_COUNT + 10):
            answers.append(create(number))
        last = max(answers)[0]
        for number in range(MANY_COUNT, MANY_COUNT + 10):
            rest.delete(f"{MANY}/many-{number}")
        wait_for("the last deletion", lambda: len(watch.events) >= len(answers) + 10, 30)
        cluster.many_events = list(watch.events)
        wait_for("its half", lambda: len(odd.events) >= len(cluster.many_events) // 2, 30)
        assert [event for event in cluster.many_events if int(event.name[-1]) % 2] == odd.events
    told = [(event.version, event.kind, event.name) for event in cluster.many_events]
    assert told[:-10] == sorted(answers)
    assert [(kind, name) for _, kind, name in told[-10:]] == [
        ("DELETED", f"many-{number}") for number in range(MANY_COUNT, MANY_COUNT + 10)
    ]
    versions = [version for version, _, _ in told]
    assert versions == sorted(set(versions))
    assert versions[-10] > last
    assert accumulate({}, cluster.many_events) == listed(rest.get(MANY))


def test_watch_from_an_old_version_tells_the_same_again(cluster: Cluster) -> None:
    events = cluster.many_events
    middle = len(events) // 2
    for start, expected in (
        (cluster.many_began_at, events),
        (events[middle].version, events[middle + 1 :]),
    ):
        with Watch(cluster.rest, MANY, start) as watch:
            assert watch.wait_for_version(events[-1].version) == expected


def test_list_at_an_exact_version_reads_the_past(cluster: Cluster) -> None:
    half = [event for event in cluster.many_events if event.kind == "ADDED"][: MANY_COUNT // 2]
    old = cluster.rest.get(
        MANY, resourceVersion=half[-1].version, resourceVersionMatch="Exact", limit=MANY_COUNT
    )
    assert listed(old) == {event.name: event.version for event in half}


def test_pages_give_every_item_once_as_of_the_first_page(cluster: Cluster) -> None:
    names: list[str] = []
    versions = set()
    for number, page in enumerate(cluster.rest.pages(MANY, PAGE)):
        names += listed(page)
        versions.add(page["metadata"]["resourceVersion"])
        left = MANY_COUNT - PAGE * (number + 1)
        assert page["metadata"].get("remainingItemCount", 0) == left
        assert ("continue" in page["metadata"]) == (left > 0)
        if number == 2:  # neither of these belongs to the list that has begun
            cluster.rest.create(MANY, config_map("many-0999-after", "late"))
            cluster.rest.delete(f"{MANY}/many-0998")
    assert names == [f"many-{number:04}" for number in range(MANY_COUNT)]
    assert len(versions) == 1
    cluster.rest.delete(f"{MANY}/many-0999-after")
    cluster.rest.create(MANY, config_map("many-0998", "again", half="h0"))


def test_pages_read_from_the_store_itself_give_every_item_once(cluster: Cluster) -> None:
    """Events have no cache in kube-apiserver: each page is one read of the store."""
    path = f"{CORE}/namespaces/paged/events"

    def create(number: int) -> None:
        involved = {"kind": "Pod", "namespace": "paged", "name": "pod"}
        body = named("Event", f"event-{number:04}", involvedObject=involved)
        body["metadata"]["namespace"] = "paged"
        cluster.rest.create(path, body)

    began = version_of(cluster.rest.get(path))
    with Watch(cluster.rest, path, began) as watch, ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(create, range(EVENTS_COUNT)))
        wait_for("all events", lambda: len(watch.events) >= EVENTS_COUNT, 30)
        versions = [event.version for event in watch.events]
        assert versions == sorted(set(versions))
    pages = list(cluster.rest.pages(path, PAGE))
    left = [page["metadata"].get("remainingItemCount", 0) for page in pages]
    assert left == [EVENTS_COUNT - PAGE, EVENTS_COUNT - 2 * PAGE, 0]
    names = [name for page in pages for name in listed(page)]
    assert names == [f"event-{number:04}" for number in range(EVENTS_COUNT)]
    assert watch.state() == {name: at for page in pages for name, at in listed(page).items()}


def test_watch_list_streams_the_state_and_marks_its_end(cluster: Cluster) -> None:
    """kube-apiserver offers this only on a store that answers progress requests."""
    query = {
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "allowWatchBookmarks": "true",
        "resourceVersion": "",
    }
    with Watch(cluster.rest, MANY, 0, query) as watch:
        wait_for("the bookmark", lambda: watch.bookmarks, 10)
        note = watch.bookmarks[0]["metadata"]["annotations"]
        assert note == {"k8s.io/initial-events-end": "true"}
        assert {event.kind for event in watch.events} == {"ADDED"}
        assert watch.state() == listed(cluster.rest.get(MANY))


def test_kubectl_lists_all_in_chunks(cluster: Cluster) -> None:
    names = cluster.kubectl.names("configmaps", "-n", "many", "--chunk-size=300")
    assert len(names) == len(set(names)) == MANY_COUNT


def test_cache_of_the_apiserver_equals_the_store(cluster: Cluster) -> None:
    cached = listed(cluster.rest.get(MANY, resourceVersion="0"))
    prefix = "/registry/configmaps/many/"
    answer = cluster.store.etcdctl.json("get", prefix, "--prefix", "--keys-only")
    stored = {
        base64.b64decode(pair["key"]).decode().removeprefix(prefix): pair["mod_revision"]
        for pair in answer["kvs"]
    }
    assert cached == stored


# --------------------------------------------------------------------------------------- conflicts


def test_stale_writes_are_conflicts(cluster: Cluster) -> None:
    rest, path = cluster.rest, f"{STORY}/configmaps"
    old = rest.create(path, config_map("contested", "one"))
    assert rest.send("POST", path, config_map("contested", "two")).status == 409
    new = rest.update(f"{path}/contested", {**old, "data": {"value": "two"}})
    assert version_of(new) > version_of(old)
    stale = rest.send("PUT", f"{path}/contested", {**old, "data": {"value": "three"}})
    assert (stale.status, stale.json["reason"]) == (409, "Conflict")
    version = {"resourceVersion": old["metadata"]["resourceVersion"]}
    patch: Json = {"metadata": version, "data": {"value": "three"}}
    assert rest.send("PATCH", f"{path}/contested", patch, content=MERGE_PATCH).status == 409
    options: Json = {"preconditions": version}
    assert rest.send("DELETE", f"{path}/contested", options).status == 409
    assert rest.get(f"{path}/contested") == new
    # What changes nothing is no write: the version stays.
    assert version_of(rest.update(f"{path}/contested", new)) == version_of(new)


def test_concurrent_read_modify_write_loses_no_update(cluster: Cluster) -> None:
    rest, path = cluster.rest, f"{STORY}/configmaps/counter"
    rest.create(f"{STORY}/configmaps", config_map("counter", "0"))

    def add(times: int) -> int:
        conflicts = 0
        while times:
            read = rest.get(path)
            read["data"]["value"] = str(int(read["data"]["value"]) + 1)
            written = rest.send("PUT", path, read)
            assert written.status in {200, 409}, written
            times -= written.status == 200
            conflicts += written.status == 409
        return conflicts

    with ThreadPoolExecutor(WORKERS) as pool:
        conflicts = sum(pool.map(add, [25] * WORKERS))
    assert rest.get(path)["data"]["value"] == str(25 * WORKERS)
    assert conflicts > 0, "the threads never met: the test showed nothing"


def test_delete_by_selector_takes_the_selected_only(cluster: Cluster) -> None:
    rest, path = cluster.rest, f"{CORE}/namespaces/watched/configmaps"
    for number in range(40):
        rest.create(path, config_map(f"item-{number:02}", "x", keep=str(number % 4 == 0)))
    with Watch(rest, path, version_of(rest.get(path))) as watch:
        rest.delete(path, labelSelector="keep=False")
        wait_for("thirty deletions", lambda: len(watch.events) >= 30, 20)
        gone = {event.name for event in watch.events if event.kind == "DELETED"}
    assert gone == {f"item-{number:02}" for number in range(40) if number % 4}
    assert set(listed(rest.get(path))) == {f"item-{number:02}" for number in range(0, 40, 4)}
    assert len(watch.events) == 30


# ------------------------------------------------------------------------------- consistent reads


def test_lists_are_consistent_and_come_from_the_cache(cluster: Cluster) -> None:
    """Each list follows a write that it has to show, so the cache has to become fresh each time.

    kube-apiserver serves such a list from its cache only if every endpoint's version supports
    progress requests, and it asks for progress until the cache has caught up; after three seconds
    without, it would fall back to the store and count that.
    """
    before = consistent_reads(cluster.server)
    took = []
    for number in range(25):
        made = cluster.rest.create(f"{STORY}/configmaps", config_map(f"fresh-{number}", "x"))
        # Another resource's write: the list's cache learns of it through progress alone.
        began = time.monotonic()
        leases = cluster.rest.get("/apis/coordination.k8s.io/v1/namespaces/story/leases")
        assert version_of(leases) >= version_of(made)
        shown = listed(cluster.rest.get(f"{STORY}/configmaps"))
        took.append((time.monotonic() - began) / 2)
        assert shown[f"fresh-{number}"] == version_of(made)
    for path in KINDS:
        cluster.rest.get(path)
    after = consistent_reads(cluster.server)
    median, worst = statistics.median(took) * 1000, max(took) * 1000
    print(f"a consistent list took {median:.0f} ms (median), {worst:.0f} ms (worst)")
    assert after[("true", "false")] >= before[("true", "false")] + 50


def test_no_list_of_the_story_so_far_fell_back_to_the_store(cluster: Cluster) -> None:
    start, now = cluster.consistent_reads_at_start, consistent_reads(cluster.server)
    grown = {way: count - start.get(way, 0) for way, count in now.items()}
    assert grown[("true", "false")] > 0
    assert {way: count for way, count in grown.items() if way != ("true", "false") and count} == {}


# ------------------------------------------------------------------------------------------ crashes


def test_store_ended_under_load_loses_no_acknowledged_write_and_no_event(
    cluster: Cluster,
) -> None:
    rest, path = cluster.rest, f"{CORE}/namespaces/load/configmaps"
    filled = initializations(cluster.server, "configmaps")
    with Watch(rest, path, version_of(rest.get(path))) as watch:
        with Load(rest, path, "load") as load:
            for end, down_s in OUTAGES:
                load.wait_for_more(WRITES_BETWEEN, RECOVERY_S_MAX)
                load.wait_until_under_way()
                end(cluster.store)
                time.sleep(down_s)
                cluster.store.start()
                began = time.monotonic()
                load.wait_for_more(WRITES_BETWEEN, RECOVERY_S_MAX)
                took = time.monotonic() - began
                print(f"{end.__name__}, {down_s:g} s down: writes go on after {took:.1f} s")
            print(f"{load.open_outcomes} writes were answered by an error and looked up")
        marker = rest.create(path, config_map("marker", "the end"))
        events = watch.wait_for_version(version_of(marker))
        wanted = {**load.state(), "marker": version_of(marker)}
        assert listed(rest.get(path)) == wanted
        assert accumulate({}, events) == wanted
        assert watch.connections == 1
    versions = [event.version for event in events]
    assert versions == sorted(set(versions)), "an event was told twice or out of order"
    assert set(load.acknowledged()) <= set(events), "an acknowledged write was never told"
    assert initializations(cluster.server, "configmaps") == filled, "the cache had to relist"


def test_everything_from_before_the_crashes_is_still_there(cluster: Cluster) -> None:
    events = [event for event in cluster.many_events if event.name != "many-0998"]
    found = listed(cluster.rest.get(MANY))
    again = found.pop("many-0998")
    assert found == accumulate({}, events)
    assert again > events[-1].version
    assert cluster.kubectl.names("lease", "-n", "story") == ["lease.coordination.k8s.io/lease"]


def test_every_kind_is_served_from_the_cache_again(cluster: Cluster) -> None:
    for path in KINDS:
        wait_for(path, partial(answers, cluster.rest, path), 30)
    before = consistent_reads(cluster.server)
    for path in KINDS:
        cluster.rest.get(path)
    grown = {way: n - before.get(way, 0) for way, n in consistent_reads(cluster.server).items()}
    assert grown[("true", "false")] >= len(KINDS) - 1  # events have no cache
    assert not any(count for way, count in grown.items() if way != ("true", "false"))


def test_the_apiserver_itself_never_ended_or_complained(cluster: Cluster) -> None:
    assert cluster.server.process.alive
    assert cluster.server.process.pid == cluster.pid
    assert cluster.server.ready()
    log = cluster.server.process.text()
    for complaint in ("panic", "PrevKv=nil", "Cache consistency check failed", "too_many_pings"):
        assert complaint not in log, complaint


def test_the_apiserver_compacts_the_store(cluster: Cluster) -> None:
    etcdctl = cluster.store.etcdctl

    def compacted() -> bool:
        return "has been compacted" in etcdctl.run("get", "x", "--rev=2").stderr

    wait_for("a compaction", compacted, COMPACTION_INTERVAL_S * 3)
    (pair,) = etcdctl.json("get", "compact_rev_key")["kvs"]
    assert pair["version"] >= 2
    assert int(base64.b64decode(pair["value"])) > 2
