"""The metrics URL: true figures, and a health that only the loop itself can give."""

from __future__ import annotations

import http.client
import json
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubebraid import ETCD_VERSION, VERSION
from kubebraid.cli import metrics_http
from kubebraid.cli.metrics_http import MetricsServer
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.proto.server import AddressInUse
from tests.world import World


class Served:
    """A node with its metrics URL. The loop runs only inside `alive`."""

    def __init__(self, url: str = "http://127.0.0.1:0") -> None:
        self.world = World()
        self._server = MetricsServer(url, self.world.node)
        self._server.start()

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._server._server.server_address[:2]
        return str(host), int(port)

    def get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection(*self.address, timeout=10)
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text

    def stop(self) -> None:
        self._server.stop()


@pytest.fixture
def served() -> Iterator[Served]:
    one = Served()
    yield one
    one.stop()


@pytest.fixture
def alive(served: Served) -> Iterator[Served]:
    """Its loop runs in a thread, as it does in serve."""
    thread = threading.Thread(target=served.world.node.loop.run)
    thread.start()
    yield served
    served.world.node.loop.stop()
    thread.join()


def test_health_is_true_while_the_loop_answers(alive: Served) -> None:
    status, text = alive.get("/health")
    assert (status, json.loads(text)) == (200, {"health": "true", "reason": ""})
    assert alive.get("/livez") == alive.get("/readyz?verbose") == (200, "ok\n")


def test_health_is_false_when_the_loop_does_not_answer(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The HTTP threads live on when the loop hangs: their word would be worth nothing."""
    monkeypatch.setattr(metrics_http, "HEALTH_WAIT_S", 0.01)
    status, text = served.get("/health")
    assert (status, json.loads(text)["health"]) == (503, "false")
    assert served.get("/readyz") == served.get("/livez") == (503, "stuck\n")


def test_metrics_are_read_at_scrape_time(served: Served) -> None:
    assert "\nkubebraid_revision 1.0\n" in served.get("/metrics")[1]
    served.world.call("KV.Put", rpc_pb2.PutRequest(key=b"a"))
    served.world.call("Lease.LeaseGrant", rpc_pb2.LeaseGrantRequest(TTL=60))
    served.world.call("KV.Compact", rpc_pb2.CompactionRequest(revision=2))
    status, text = served.get("/metrics")
    assert status == 200
    for line in ("revision 2.0", "compact_revision 2.0", "tablets 1.0", "leases 1.0"):
        assert f"\nkubebraid_{line}\n" in text


def test_metrics_of_the_process_are_there_once(served: Served) -> None:
    assert served.get("/metrics")[1].count("# TYPE python_info") == 1


def test_version_is_that_of_etcd_and_ours(served: Served) -> None:
    status, text = served.get("/version")
    assert status == 200
    told = json.loads(text)
    assert (told["etcdserver"], told["kubebraid"]) == (ETCD_VERSION, VERSION)


def test_unknown_path_is_not_found(served: Served) -> None:
    assert served.get("/")[0] == 404


def test_taken_address_is_told_by_its_url(served: Served) -> None:
    host, port = served.address
    with pytest.raises(AddressInUse, match=f"cannot listen on http://{host}:{port}"):
        MetricsServer(f"http://{host}:{port}", served.world.node)


def test_server_that_was_never_started_can_be_stopped() -> None:
    """When a later URL cannot be bound, the earlier ones are closed unstarted."""
    MetricsServer("http://127.0.0.1:0", World().node).stop()


class UnixConnection(http.client.HTTPConnection):
    """HTTP to a Unix socket."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.host)


def test_unix_socket_is_served_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "metrics.sock"
    server = MetricsServer(f"unix://{path}", World().node)
    server.start()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    connection = UnixConnection(str(path), timeout=10)
    connection.request("GET", "/version")
    assert connection.getresponse().status == 200
    connection.close()
    with pytest.raises(AddressInUse, match="another process does"):
        MetricsServer(f"unix://{path}", World().node)
    server.stop()
    assert not path.exists()


def test_ipv6_url_is_served() -> None:
    """The flags take http://[::1]:port for this URL as for the clients'."""
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6 loopback")
    one = Served("http://[::1]:0")
    try:
        assert one.get("/version")[0] == 200
    finally:
        one.stop()
