"""What PD and /proc say of a TiKV that runs beside: real sockets, a PD of a few lines."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from kubebraid.cli.bench.placement import (
    PD,
    STORES,
    PdSilent,
    Placement,
    cpu_s,
    listening,
    loopback_ports,
)

METRICS = """\
# TYPE pd_server_handle_tso_duration_seconds histogram
pd_server_handle_tso_duration_seconds_bucket{le="0.001"} 90
pd_server_handle_tso_duration_seconds_sum 0.5
pd_server_handle_tso_duration_seconds_count 120
"""
TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1
   1: 0100007F:1F90 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 222 1
   2: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 333 1
"""


class Pd(BaseHTTPRequestHandler):
    """Answers as PD does; its one store is this very server."""

    metrics = METRICS

    def do_GET(self) -> None:
        assert isinstance(self.server, ThreadingHTTPServer)
        address = f"127.0.0.1:{self.server.server_port}"
        store = {"store": {"address": address, "version": "8.1.0"}}
        texts = {"/pd/api/v1/stores": json.dumps({"stores": [store]}), "/metrics": self.metrics}
        text = texts[self.path].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def pd() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pd)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def nobody() -> Iterator[str]:
    """A port that is taken, and that nobody answers at."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def test_pd_is_asked_at_the_first_address_that_answers(pd: str, nobody: str) -> None:
    found = Placement([nobody, pd])
    assert found.described() == "1 store, version 8.1.0"
    assert found.timestamps_asked() == 120


def test_processes_of_this_machine_are_found_by_their_ports(pd: str) -> None:
    pids = Placement([pd]).pids()
    assert pids == {PD: [os.getpid()], STORES: [os.getpid()]}
    sum(range(2_000_000))
    assert cpu_s(pids)[PD] > 0


def test_silent_pd_is_refused_with_its_address(nobody: str) -> None:
    with pytest.raises(PdSilent, match=nobody):
        Placement([nobody]).stores()
    assert Placement([nobody]).timestamps_asked() is None


def test_pd_without_the_metric_tells_nothing(pd: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pd, "metrics", "pd_other 1\n")
    assert Placement([pd]).timestamps_asked() is None


def test_other_machines_are_not_looked_for_here() -> None:
    assert loopback_ports(["127.0.0.1:80", "localhost:81", "[::1]:82"]) == [80, 81, 82]
    assert loopback_ports(["10.0.0.1:80", "pd.example:81", "127.0.0.1.example:82"]) == []


def test_only_who_listens_counts() -> None:
    assert list(listening([TABLE], {8080})) == ["111"]
    assert list(listening([TABLE], {8080, 8081})) == ["111", "333"]


def test_process_that_ended_has_no_figure() -> None:
    assert cpu_s({PD: [1 << 30]}) == {}
