"""`etcdctl check perf`, a whole run of it on either front."""

from __future__ import annotations

import re
from typing import Final

import pytest

from tests.e2e.conftest import PerfChecks
from tests.e2e.store import Kind

pytestmark = pytest.mark.e2e

PERF_S_MAX: Final = 120.0  # a minute of load, then its keys are deleted, compacted, defragmented
VERDICTS: Final = {"PASS", "FAIL"}


def test_check_perf_runs_through(perf_checks: PerfChecks, kind: Kind) -> None:
    """Its verdict is the machine's as much as the store's: printed, not asserted."""
    store, process = perf_checks[kind]
    code = process.wait(PERF_S_MAX)
    lines = process.text().replace("\r", "\n").splitlines()
    (throughput,) = [line for line in lines if "hroughput" in line]
    (slowest,) = [line for line in lines if line.lower().startswith(("pass: slow", "slowest"))]
    (deviation,) = [line for line in lines if "tddev" in line]
    verdict = lines[-1]
    print(f"{kind.value}: {verdict}: {throughput}; {slowest}; {deviation}")
    assert verdict in VERDICTS
    assert (code == 0) == (verdict == "PASS")
    assert not [line for line in lines if "ERROR" in line or "too many errors" in line]
    found = re.search(r"(\d+) writes/s", throughput)
    assert found
    # What it wrote is deleted and compacted, and the store is well.
    etcdctl = store.etcdctl
    assert etcdctl.values("/perf/") == {}
    revision = etcdctl.revision()
    assert revision > int(found[1])
    past = etcdctl.run("get", "/perf/", f"--rev={revision - 1}")
    assert "required revision has been compacted" in past.stderr
    assert any(line.startswith("Defragmented ") for line in lines)
    etcdctl.put("after", "x")
