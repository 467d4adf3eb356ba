"""A TiKV of dev-cluster's own: command lines, and what PD's answers mean."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from kubebraid.cli.dev import tikv
from kubebraid.cli.dev.child import PROGRAM

PORTS = {"pd-0": 7_001, "pd-peer-0": 7_002, "store-0": 7_003}
LED = {"id": 1, "leader": {"id": 2}}


@contextmanager
def pd(answers: dict[str, object]) -> Iterator[str]:
    """One that knows these, bytes as they are and all else as JSON; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path in answers
            self.send_response(200 if known else 503)
            self.end_headers()
            told = answers.get(self.path)
            self.wfile.write(told if isinstance(told, bytes) else json.dumps(told).encode())

        def log_message(self, format: str, *args: object) -> None:
            """Nobody reads it."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_both_find_each_other_and_keep_their_data_apart() -> None:
    first, second = tikv.specs(PORTS)
    assert [(spec.role, spec.name) for spec in (first, second)] == [
        ("pd", "pd-0"),
        ("store", "store-0"),
    ]
    told = tikv.argv_of(first, Path("/bin"), PORTS, Path("/d"))
    assert told[:2] == [PROGRAM, "/bin/tikv-pd"]
    assert "--client-urls=http://127.0.0.1:7001" in told
    assert "--peer-urls=http://127.0.0.1:7002" in told
    assert "--initial-cluster=pd-0=http://127.0.0.1:7002" in told
    assert "--data-dir=/d/tikv/pd-0" in told
    assert tikv.argv_of(second, Path("/bin"), PORTS, Path("/d")) == [
        PROGRAM,
        "/bin/tikv-store",
        "-pd=127.0.0.1:7001",
        "-listen=127.0.0.1:7003",
        "-data-dir=/d/tikv/store-0",
    ]


def test_pd_leads_once_it_names_a_leader() -> None:
    with pd({}) as silent:
        assert not tikv.leads(silent)
    assert not tikv.leads(silent), "nobody listens there any more"
    with pd({"/pd/api/v1/leader": {"name": "pd-0"}}) as leader:
        assert tikv.leads(leader)


@pytest.mark.parametrize(
    ("regions", "serves"),
    [
        (None, False),
        ({"count": 0}, False),
        ({"regions": []}, False),
        ({"regions": [LED]}, True),
        ({"regions": [LED, {"id": 3}]}, False),
        ({"regions": [{"id": 3, "leader": {}}]}, False),
        ([], False),
    ],
)
def test_tikv_serves_once_every_region_is_led(regions: object, serves: bool) -> None:
    with pd({"/pd/api/v1/regions": regions}) as address:
        assert tikv.serves(address) is serves
