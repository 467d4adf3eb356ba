"""The state file of dev-cluster: what runs, for whoever wants to connect to it or to kill a part.

    {"endpoints": ["http://127.0.0.1:20001"],
     "processes": [{"role": "shard", "name": "shard-0", "pid": 4711, "address": "127.0.0.1:20002"}]}

What it is: one file, written whole. What it is not: a history; the pid of a process that has ended
stays until it is started again.

Invariants: the file is there from the moment when every router has answered a read until the stop;
a reader sees an old content or a new one, never a part.

Worked example: shard-0 is killed; 0.2 s later the file has its new pid.

Tested in tests/unit/cli/test_dev_supervise.py, tests/e2e/test_dev_cluster.py.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from .supervise import Child


def write(path: Path, endpoints: Sequence[str], children: Sequence[Child]) -> None:
    """Raises OSError."""
    processes = [
        {
            "role": child.spec.role,
            "name": child.spec.name,
            "pid": child.pid,
            "address": child.spec.address,
        }
        for child in children
    ]
    told = {"endpoints": list(endpoints), "processes": processes}
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(json.dumps(told, indent=1) + "\n")
    os.replace(fresh, path)


def remove(path: Path) -> None:
    """Nothing runs. Raises OSError."""
    path.unlink(missing_ok=True)
