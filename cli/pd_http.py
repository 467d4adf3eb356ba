"""TiKV's PD asked over HTTP, and what it wants of its environment to answer there.

What it is: one question, and its answer as text or as a value. What it is not: what an answer means
(`dev/tikv.py`, `bench/placement.py`); or a client of TiKV, which speaks gRPC.

Invariants: no proxy is asked, for PD is on this machine or near it; a PD that does not answer, or
with something else, is None, never an error.

Worked example: `value("127.0.0.1:2379", "leader", 1.0)` is a dict from when PD leads, and None
before.

Tested in tests/unit/cli/test_pd_http.py.
"""

from __future__ import annotations

import http.client
import json
import urllib.request
from typing import Final

# PD's embedded etcd registers a route that the multiplexer of Go 1.22 and newer panics about.
ENVIRONMENT: Final = {"GODEBUG": "httpmuxgo121=1"}


def text(pd: str, path: str, seconds: float, method: str = "GET") -> str | None:
    """What is at that path of the PD at HOST:PORT."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        request = urllib.request.Request(f"http://{pd}{path}", method=method)
        with opener.open(request, timeout=seconds) as answer:
            told: bytes = answer.read()
            return told.decode()
    except (OSError, http.client.HTTPException, ValueError):
        return None


def value(pd: str, path: str, seconds: float, method: str = "GET") -> object:
    """The same of its API, read as JSON."""
    told = text(pd, f"/pd/api/v1/{path}", seconds, method)
    try:
        found: object = None if told is None else json.loads(told)
    except ValueError:
        return None
    return found
