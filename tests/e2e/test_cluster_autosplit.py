"""A cluster whose routers split by themselves: a tiny bound, one tablet, and a limit of two."""

from __future__ import annotations

import json
import time
from typing import Any, Final

import pytest

from tests.e2e.processes import Peers, Supervisor, wait_for
from tests.e2e.reshard_ops import Ctl
from tests.e2e.store import Kind, Store

pytestmark = [pytest.mark.e2e, pytest.mark.cluster]

KEYS: Final = 60
COOLDOWN_S: Final = 1
SPLIT_S_MAX: Final = 20.0
FLAGS: Final = (
    "--tablets=single",
    "--engine=memory",
    "--auto-split-bytes=100",
    "--auto-split-tablets-max=2",
    f"--auto-split-cooldown={COOLDOWN_S}s",
)


def logged(store: Store, message: str) -> list[dict[str, Any]]:
    """The facts of an event, of all routers."""
    logs = sorted((store.data_dir / "logs").glob("router-*.log"))
    assert logs
    lines = [line for log in logs for line in log.read_text().splitlines() if message in line]
    return [json.loads(line) for line in lines]


def test_large_tablet_is_split_once_and_keeps_its_keys(
    supervisor: Supervisor, peers: Peers
) -> None:
    store = Store(supervisor, peers, Kind.CLUSTER, flags=FLAGS)
    store.start()
    ctl = Ctl(store.endpoints)
    (before,) = ctl.tablets()
    script = "".join(f"put /registry/pods/{key:03} value-{key}\n" for key in range(KEYS))
    store.etcdctl.ok("txn", stdin="\n" + script + "\n\n")
    wanted = {f"/registry/pods/{key:03}": f"value-{key}" for key in range(KEYS)}

    def probe() -> bool:
        return len(ctl.tablets()) == 2

    wait_for("the split", probe, SPLIT_S_MAX)
    time.sleep(5 * COOLDOWN_S)  # room for one more, if the limit did not hold
    left, right = ctl.tablets()
    assert left.shard == right.shard == before.shard
    assert left.end == right.start
    assert left.holds("/registry/pods/000")
    assert right.holds(f"/registry/pods/{KEYS - 1:03}")
    assert store.etcdctl.values("/registry/pods/") == wanted
    (told,) = logged(store, "a tablet is split by itself")
    assert (told["tablet"], told["by"], told["bound"]) == (before.name, "bytes", 100)
    assert told["value"] > 100
    (migration,) = ctl.json("reshard", "list")["migrations"]
    assert migration["id"] == told["migration"]
