"""The metrics URL: /metrics, /health, /livez, /readyz, /version over plain HTTP.

What it is: a small threaded HTTP server that asks the node. What it is not: the API's port (that
speaks gRPC alone). A URL is http://host:port or unix:///path, as those of clients.

Invariant: /health answers true only when the loop itself has just answered.

Tested in tests/e2e/test_serve_command.py.
"""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import urlsplit

from prometheus_client import REGISTRY, generate_latest
from prometheus_client.core import CollectorRegistry, GaugeMetricFamily

from kubebraid import ETCD_VERSION, VERSION
from kubebraid.proto.front_unix import SocketFile
from kubebraid.proto.fronts import is_path, listen_address
from kubebraid.proto.server import AddressInUse

from .node import Node

HEALTH_WAIT_S: Final = 2.0  # kube-apiserver's own health check of its store waits as long


class _ServerV6(ThreadingHTTPServer):
    address_family = socket.AF_INET6


class _UnixServer(ThreadingHTTPServer):
    """Its address is (path, 0)."""

    address_family = socket.AF_UNIX

    def server_bind(self) -> None:
        # Not HTTP's own: that would look for the name of a host.
        self.socket.bind(self.server_address[0])
        self.server_name, self.server_port = "localhost", 0


class MetricsServer:
    """One metrics URL."""

    def __init__(self, url: str, node: Node) -> None:
        """Binds it. Raises AddressInUse."""
        address = listen_address(url)
        handler = type("Handler", (_Handler,), {"node": node, "registry": _registry(node)})
        self._file = SocketFile(address) if is_path(address) else None
        try:
            if self._file is not None:
                with self._file.made():
                    self._server: ThreadingHTTPServer = _UnixServer((address, 0), handler)
            else:
                parts = urlsplit(url)
                assert parts.hostname is not None
                assert parts.port is not None
                kind = _ServerV6 if ":" in parts.hostname else ThreadingHTTPServer
                self._server = kind((parts.hostname, parts.port), handler)
        except OSError as error:
            raise AddressInUse(f"cannot listen on {url}: {error.strerror}") from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, name=f"metrics {address}", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()
        if self._file is not None:
            self._file.remove()


class _NodeCollector:
    """The node's own figures, read at scrape time."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def collect(self) -> list[GaugeMetricFamily]:
        status = self._node.owner.status()
        figures = (
            ("kubebraid_revision", "Newest revision handed out", self._node.sequencer.revision),
            (
                "kubebraid_compact_revision",
                "Reads below it are refused",
                self._node.coordinator.compact_revision(),
            ),
            ("kubebraid_disk_bytes", "Bytes of the store on disk", status.disk_bytes),
            ("kubebraid_tablets", "Tablets owned by this process", status.tablets),
            ("kubebraid_leases", "Live leases", status.leases),
        )
        return [GaugeMetricFamily(name, text, value=value) for name, text, value in figures]


def _registry(node: Node) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(_NodeCollector(node))
    return registry


class _Handler(BaseHTTPRequestHandler):
    """GET only."""

    node: Node
    registry: CollectorRegistry

    def do_GET(self) -> None:
        match urlsplit(self.path).path:
            case "/metrics":
                text = generate_latest(REGISTRY) + generate_latest(self.registry)
                self._answer(200, "text/plain; version=0.0.4; charset=utf-8", text)
            case "/health":
                alive = self._alive()
                body = {"health": "true" if alive else "false", "reason": ""}
                self._answer(200 if alive else 503, "application/json", json.dumps(body).encode())
            case "/livez" | "/readyz":
                alive = self._alive()
                self._answer(200 if alive else 503, "text/plain", b"ok\n" if alive else b"stuck\n")
            case "/version":
                body = {"etcdserver": ETCD_VERSION, "etcdcluster": "3.7.0", "kubebraid": VERSION}
                self._answer(200, "application/json", json.dumps(body).encode())
            case _:
                self._answer(404, "text/plain", b"404 page not found\n")

    def _alive(self) -> bool:
        answered = threading.Event()
        self.node.loop.post(answered.set)
        return answered.wait(HEALTH_WAIT_S)

    def _answer(self, code: int, kind: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """A scrape is not an event worth a line."""
