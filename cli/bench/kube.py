"""kube-apiserver on top of each store: does what users feel differ?

What it is: one kube-apiserver (the same for both stores), ConfigMaps made, patched, listed,
watched and deleted by 64 clients of its REST API. What it is not: a test of Kubernetes.

Invariants: the server listens on 127.0.0.1 with a token made for this run; "store CPU" is that of
the store alone, for each request of a client, not for each of kube-apiserver's.

Tested in tests/e2e/test_bench.py.
"""

from __future__ import annotations

import contextlib
import http.client
import secrets
import ssl
import time
from pathlib import Path
from typing import Final

from .drivers import BenchError, Driver, Tools, child_environment, output
from .figures import CPU, PEAK_RSS, Figure, Measured
from .goals import EVENTS
from .scenario import Scenario
from .servers import Program, free_port
from .site import Site, latencies, rate

READY_S_MAX: Final = 120.0
POLL_S: Final = 0.1
OBJECTS: Final = 10_000
PATCHES: Final = 20_000
LISTS: Final = 5
WATCHERS: Final = 10
CLIENTS: Final = ("--clients=64", "--conns=8")
BODY: Final = "--value-size=1024"


class ApiServer(Program):
    """One kube-apiserver on one store."""

    def __init__(self, tools: Tools, folder: Path, store: str) -> None:
        folder.mkdir(parents=True)
        self.port = free_port()
        self.token = secrets.token_hex(16)
        key, tokens = folder / "key.pem", folder / "tokens.csv"
        key.write_text(output([tools.path("bench-load"), "keygen"])[0])
        key.chmod(0o600)
        tokens.write_text(f"{self.token},admin,admin,system:masters\n")
        argv = [
            tools.path("kube-apiserver"),
            f"--etcd-servers=http://{store}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--cert-dir={folder / 'certs'}",
            f"--token-auth-file={tokens}",
            "--authorization-mode=AlwaysAllow",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--disable-admission-plugins=ServiceAccount",  # its controller does not run here
        ]
        super().__init__(argv, child_environment(), folder / "kube-apiserver.log")

    def start(self) -> None:
        """Ready when it returns."""
        self.launch()
        end = time.monotonic() + READY_S_MAX
        while not self._ready():
            self.check()
            if time.monotonic() > end:
                raise BenchError(f"kube-apiserver was not ready within {READY_S_MAX:g} s")
            time.sleep(POLL_S)

    def _ready(self) -> bool:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # it made its certificate itself
        link = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=10, context=context)
        headers = {"Authorization": f"Bearer {self.token}"}
        with contextlib.suppress(OSError, http.client.HTTPException):
            for path in ("/readyz", "/api/v1/namespaces/default"):
                link.request("GET", path, None, headers)
                answer = link.getresponse()
                answer.read()
                if answer.status != 200:
                    return False
            return True
        return False


def config_maps(site: Site) -> list[Figure]:
    """All parts, one after the other."""
    tools = site.driver.tools
    folder = site.server.folder / f"apiserver-{site.turn}"
    with ApiServer(tools, folder, site.driver.endpoint) as server:
        server.start()
        driver = Driver(tools, f"127.0.0.1:{server.port}")
        return _parts(site, driver, f"--token={server.token}")


def _parts(site: Site, driver: Driver, token: str) -> list[Figure]:
    objects, patches = site.requests(OBJECTS, 64), site.requests(PATCHES, 64)
    which = [token, f"--keys={objects}"]

    def load(name: str, command: str, expect: int, *flags: str) -> tuple[Measured, ...]:
        found, figures = site.window(lambda: driver.load(command, *which, *flags, expect=expect))
        first = found[0]
        told.append(rate(first, name))
        told.extend(latencies(first, f"{name} "))
        # By request, where the window has it by request and event.
        more = sum(one.ops for one in found) / first.ops
        told.extend(
            Figure(f"{name} store CPU", "us/op", f.value * more) for f in figures if f.name == CPU
        )
        if name == "delete":
            told.extend(f for f in figures if f.name in {PEAK_RSS, "disk"})
        return tuple(found)

    told: list[Figure] = []
    watching = [f"--watchers={WATCHERS}", BODY]
    _, delivery = load("create", "kube-create", objects, *CLIENTS, *watching)
    if delivery.ops != objects * WATCHERS:
        raise BenchError(f"{delivery.ops} events came, not {objects * WATCHERS}")
    told += [Figure(EVENTS, "/s", delivery.rate), *latencies(delivery, "event ")]
    told.append(Figure("watches resumed", "", delivery.resumed))
    load("patch", "kube-patch", patches, *CLIENTS, f"--total={patches}")
    load("list", "kube-list", LISTS, f"--total={LISTS}", "--limit=0")
    load("list of pages", "kube-list", LISTS, f"--total={LISTS}", "--limit=500")
    load("delete", "kube-delete", objects, *CLIENTS)
    return told


def scenarios() -> list[Scenario]:
    """All of this group."""
    text = f"64 clients of kube-apiserver, {OBJECTS:,} ConfigMaps of 1 KiB, {WATCHERS} watches"
    needs = ("kube-apiserver",)
    return [Scenario("kube/configmaps", text, config_maps, by_default=False, needs=needs)]
