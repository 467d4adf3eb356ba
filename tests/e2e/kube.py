"""kube-apiserver as a client of the store, and clients of kube-apiserver: REST, watch, kubectl.

The REST part is plain http.client, so that a test sees each status, page and watch line as it was
sent; a client library would retry, cache and relist behind the test's back.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from kubebraid.cli.bench.servers import free_port
from tests.e2e.processes import Finished, Peers, Supervisor, Timeout, run, wait_for

Json = dict[str, Any]

READY_S_MAX: Final = 60.0
REQUEST_S_MAX: Final = 30.0
IDLE_S_MAX: Final = 30.0
WATCH_S_MAX: Final = 300.0
AGAIN_S: Final = 0.1
KUBECTL_S_MAX: Final = 60.0
EVENTS_S_MAX: Final = 30.0
TOKEN: Final = "end-to-end"
COMPACTION_INTERVAL_S: Final = 15
MERGE_PATCH: Final = "application/merge-patch+json"
SAMPLE: Final = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")
LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

KUBECONFIG: Final = """\
apiVersion: v1
kind: Config
clusters: [{{name: local, cluster: {{server: "{url}", insecure-skip-tls-verify: true}}}}]
users: [{{name: admin, user: {{token: {token}}}}}]
contexts: [{{name: local, context: {{cluster: local, user: admin}}}}]
current-context: local
"""


class ApiServer:
    """One kube-apiserver on one store, or one of several."""

    def __init__(
        self,
        supervisor: Supervisor,
        peers: Peers,
        endpoint: str,
        name: str = "apiserver",
        flags: Sequence[str] = (),
        elder: ApiServer | None = None,
    ) -> None:
        """`flags` are more of its own, and override ours; it has the keys of its `elder`."""
        self.folder = supervisor.folder / name
        self.folder.mkdir()
        self.keys: Path = self.folder if elder is None else elder.keys
        self.port = free_port()
        self.kubeconfig = self.folder / "kubeconfig"
        url = f"https://127.0.0.1:{self.port}"
        self.kubeconfig.write_text(KUBECONFIG.format(url=url, token=TOKEN))
        key = self.keys / "service-account.key"
        if elder is None:
            (self.keys / "tokens.csv").write_text(f"{TOKEN},admin,admin,system:masters\n")
            run([peers.system("openssl"), "genrsa", "-out", str(key), "2048"]).ok()
        self.process = supervisor.add(
            "kube-apiserver",
            [
                peers.path("kube-apiserver"),
                f"--etcd-servers={endpoint}",
                f"--etcd-compaction-interval={COMPACTION_INTERVAL_S}s",
                "--bind-address=127.0.0.1",
                f"--secure-port={self.port}",
                f"--cert-dir={self.keys / 'certs'}",
                f"--token-auth-file={self.keys / 'tokens.csv'}",
                "--authorization-mode=AlwaysAllow",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-key-file={key}",
                f"--service-account-signing-key-file={key}",
                "--service-cluster-ip-range=10.0.0.0/24",
                "--disable-admission-plugins=ServiceAccount",  # its controller does not run here
                *flags,
            ],
            cwd=self.folder,
        )
        self.rest = Rest(self.port)

    def start(self) -> float:
        """Start it; the seconds until it said it was ready."""
        began = time.monotonic()
        self.process.start()
        wait_for("kube-apiserver to be ready", self.ready, READY_S_MAX)
        return time.monotonic() - began

    def ready(self) -> bool:
        """Does /readyz say yes?"""
        if not self.process.alive:
            raise Timeout(f"kube-apiserver ended with exit code {self.process.code}")
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.rest.send("GET", "/readyz").status == 200
        return False

    def samples(self, metric: str) -> Iterator[tuple[dict[str, str], float]]:
        """The samples of one of its own metrics."""
        for line in self.rest.send("GET", "/metrics").text.splitlines():
            found = SAMPLE.match(line)
            if found is not None and found[1] == metric:
                yield dict(LABEL.findall(found[2] or "")), float(found[3])


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    text: str

    @property
    def json(self) -> Json:
        """The object in it."""
        parsed = json.loads(self.text)
        assert isinstance(parsed, dict)
        return parsed

    def expect(self, *statuses: int) -> Json:
        """The object in it, given one of these statuses."""
        assert self.status in statuses, f"{self.status}, not {statuses}: {self.text[:1000]}"
        return self.json


def connection(port: int, seconds: float) -> http.client.HTTPSConnection:
    """A connection to a server whose certificate it made itself."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection("127.0.0.1", port, timeout=seconds, context=context)


class Rest:
    """Requests to kube-apiserver, from any thread, over connections that are kept."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._idle: list[tuple[float, http.client.HTTPSConnection]] = []
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connections that are kept."""
        with self._lock:
            for _, link in self._idle:
                link.close()
            self._idle.clear()

    def _take(self) -> http.client.HTTPSConnection:
        with self._lock:
            while self._idle:
                since, link = self._idle.pop()
                if time.monotonic() - since < IDLE_S_MAX:
                    return link
                link.close()  # the server may be closing it at this very moment
        return connection(self.port, REQUEST_S_MAX)

    def send(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        *,
        query: Mapping[str, object] | None = None,
        content: str = "application/json",
    ) -> Answer:
        """One request, sent once: a lost connection is the caller's to judge."""
        if query:
            path += "?" + urlencode(query)
        link = self._take()
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": content}
        try:
            link.request(method, path, None if body is None else json.dumps(body), headers)
            answer = link.getresponse()
            text = answer.read().decode()
        except BaseException:
            link.close()
            raise
        with self._lock:
            self._idle.append((time.monotonic(), link))
        return Answer(answer.status, text)

    def get(self, path: str, **query: object) -> Json:
        """GET that has to succeed."""
        return self.send("GET", path, query=query).expect(200)

    def create(self, path: str, body: Json) -> Json:
        """POST that has to succeed."""
        return self.send("POST", path, body).expect(201)

    def update(self, path: str, body: Json) -> Json:
        """PUT that has to succeed."""
        return self.send("PUT", path, body).expect(200)

    def delete(self, path: str, **query: object) -> Json:
        """DELETE that has to succeed."""
        return self.send("DELETE", path, query=query).expect(200)

    def pages(self, path: str, limit: int, **query: object) -> Iterator[Json]:
        """The pages of a list, one after the other."""
        token = ""
        while True:
            page = self.get(path, limit=limit, **({"continue": token} if token else query))
            yield page
            token = page["metadata"].get("continue", "")
            if not token:
                return


class Event(NamedTuple):
    """One line of a watch."""

    kind: str
    name: str
    version: int


@dataclass
class Watch:
    """A REST watch in a thread: what it was told, in order.

    When the server ends it, it goes on from the last version it saw, as any client would; a
    version that is too old is an error and not a relist, as no test here is that slow.
    """

    rest: Rest
    path: str
    version: int
    query: Mapping[str, object] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    objects: list[Json] = field(default_factory=list)
    bookmarks: list[Json] = field(default_factory=list)
    connections: int = 0
    error: str = ""
    _stop: threading.Event = field(default_factory=threading.Event)
    _link: http.client.HTTPSConnection | None = None

    def start(self) -> Watch:
        """Begin; it is connected when this returns."""
        self._thread = threading.Thread(target=self._run, name=f"watch {self.path}", daemon=True)
        self._thread.start()
        wait_for(f"the watch on {self.path}", lambda: self.connections or self.error, REQUEST_S_MAX)
        assert not self.error, self.error
        return self

    def stop(self) -> None:
        """End it."""
        self._stop.set()
        wait_for(f"the watch on {self.path} to end", self._ended, REQUEST_S_MAX)

    def __enter__(self) -> Watch:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _ended(self) -> bool:
        link = self._link  # another one than when last asked, if it was just connecting
        held = link.sock if link is not None else None
        if held is not None:
            with contextlib.suppress(OSError):
                held.shutdown(socket.SHUT_RDWR)  # wakes the reader
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stop.is_set() and not self.error:
            try:
                self._read()
            except (OSError, http.client.HTTPException):
                self._stop.wait(AGAIN_S)
            except Exception as broken:  # noqa: BLE001 - told by whoever waits for an event
                # http.client fails in its own ways when stop() closes the socket below it.
                if not self._stop.is_set():
                    self.error = repr(broken)
            finally:
                if self._link is not None:
                    self._link.close()

    def _read(self) -> None:
        link = self._link = connection(self.rest.port, WATCH_S_MAX)
        query = {"watch": 1, "resourceVersion": self.version, **self.query}
        headers = {"Authorization": f"Bearer {TOKEN}"}
        link.request("GET", f"{self.path}?{urlencode(query)}", None, headers)
        answer = link.getresponse()
        if answer.status >= 500:  # the store is away: the client's turn to ask again
            self._stop.wait(AGAIN_S)
            return
        if answer.status != 200:
            self._refused(answer.status, answer.read().decode())
            return
        self.connections += 1
        for line in answer:
            self._take(json.loads(line))

    def _refused(self, code: int, text: str) -> None:
        self.error = f"{code}: {text[:500]}"

    def _take(self, told: Json) -> None:
        metadata = told["object"].get("metadata", {})
        if told["type"] == "ERROR":
            self._refused(told["object"].get("code", 0), json.dumps(told["object"]))
            return
        self.version = int(metadata["resourceVersion"])
        if told["type"] == "BOOKMARK":
            self.bookmarks.append(told["object"])
            return
        self.objects.append(told["object"])
        self.events.append(Event(told["type"], metadata["name"], self.version))

    def wait_for_version(self, version: int, seconds: float = EVENTS_S_MAX) -> list[Event]:
        """All events, once the one of this version has come."""

        def arrived() -> bool:
            assert not self.error, self.error
            return bool(self.events) and self.events[-1].version >= version

        wait_for(f"version {version} on the watch of {self.path}", arrived, seconds)
        return list(self.events)

    def state(self) -> dict[str, int]:
        """What exists according to the events: name and version."""
        return accumulate({}, self.events)


def accumulate(state: Mapping[str, int], events: Sequence[Event]) -> dict[str, int]:
    """Apply events to a state; each has to be possible after those before it."""
    now = dict(state)
    for event in events:
        known = event.name in now
        assert known == (event.kind != "ADDED"), f"{event} but known={known}"
        if event.kind == "DELETED":
            del now[event.name]
        else:
            now[event.name] = event.version
    return now


class Kubectl:
    """kubectl of the server's own version."""

    def __init__(self, peers: Peers, server: ApiServer) -> None:
        self._binary = peers.path("kubectl")
        self._home = server.folder / "home"
        self._home.mkdir()
        self._env = {"KUBECONFIG": str(server.kubeconfig), "HOME": str(self._home)}

    def run(self, *args: str, stdin: str = "") -> Finished:
        """Run a command."""
        argv = [self._binary, "--request-timeout=30s", *args]
        return run(argv, stdin=stdin, env=self._env, cwd=self._home, seconds=KUBECTL_S_MAX)

    def ok(self, *args: str, stdin: str = "") -> str:
        """The output of a command that has to succeed."""
        return self.run(*args, stdin=stdin).ok()

    def apply(self, *objects: Json) -> str:
        """`kubectl create -f -` of these objects."""
        listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        return self.ok("create", "-f", "-", stdin=json.dumps(listed))

    def names(self, *args: str) -> list[str]:
        """`kubectl get <args> -o name`."""
        return self.ok("get", *args, "-o", "name").split()


def config_map(name: str, data: str, **labels: str) -> Json:
    """A ConfigMap with one entry."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": labels},
        "data": {"value": data},
    }


def version_of(thing: Json) -> int:
    """The resource version of an object or of a list."""
    return int(thing["metadata"]["resourceVersion"])


def listed(listing: Json) -> dict[str, int]:
    """Name and version of each item of a list."""
    return {item["metadata"]["name"]: version_of(item) for item in listing["items"]}
