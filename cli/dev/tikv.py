"""A TiKV of dev-cluster's own: PD and one store, as two more of its processes.

What it is: their command lines, and the questions to PD that tell when the next process may begin.
What it is not: TiKV's own server. The two programs are those that tests/tikv/build.sh builds: the
store speaks TiKV's protocol and keeps one copy of everything.

    DIR/tikv/pd-0/, DIR/tikv/store-0/    their data; the store's is half a gigabyte from the first

Invariants: their ports never change, as PD remembers them; the store begins when PD leads, and the
roles begin when the store has told PD of a region that it leads.

Worked example: `dev-cluster --engine=tikv --tikv-bin=DIR`: pd-0 listens for clients at the port of
that name, and for its peers, of which there are none, at that of pd-peer-0.

Tested in tests/unit/cli/test_dev_tikv.py, tests/e2e/test_dev_tikv.py.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from .. import pd_http
from .child import PROGRAM
from .supervise import PD, STORE, Spec

PROGRAMS: Final = {PD: "tikv-pd", STORE: "tikv-store"}
PD_NAME: Final = "pd-0"
PEER_PORT: Final = "pd-peer-0"
STORE_NAME: Final = "store-0"
PORTS: Final = (PD_NAME, PEER_PORT, STORE_NAME)
FOLDER: Final = "tikv"
ASK_S_MAX: Final = 1.0
_HOST: Final = "127.0.0.1"


def lacking(folder: Path) -> str:
    """The program that is not in the folder, or cannot be run; empty: both are there."""
    names = (name for name in PROGRAMS.values() if not os.access(folder / name, os.X_OK))
    return next(names, "")


def pd_address(ports: Mapping[str, int]) -> str:
    """HOST:PORT for PD's clients."""
    return f"{_HOST}:{ports[PD_NAME]}"


def specs(ports: Mapping[str, int]) -> list[Spec]:
    """The two processes, in the order of their start."""
    return [
        Spec(PD, PD_NAME, pd_address(ports)),
        Spec(STORE, STORE_NAME, f"{_HOST}:{ports[STORE_NAME]}"),
    ]


def argv_of(spec: Spec, programs: Path, ports: Mapping[str, int], data_dir: Path) -> list[str]:
    """What `child.py` is given."""
    program = str(programs / PROGRAMS[spec.role])
    data = data_dir / FOLDER / spec.name
    if spec.role == STORE:
        where = (f"-pd={pd_address(ports)}", f"-listen={spec.address}", f"-data-dir={data}")
        return [PROGRAM, program, *where]
    peer = f"http://{_HOST}:{ports[PEER_PORT]}"
    return [
        PROGRAM,
        program,
        f"--name={spec.name}",
        f"--data-dir={data}",
        f"--client-urls=http://{spec.address}",
        f"--peer-urls={peer}",
        f"--initial-cluster={spec.name}={peer}",
        "-L=warn",
    ]


def leads(pd: str) -> bool:
    """Whether PD, at HOST:PORT, takes a store."""
    return _asked(pd, "leader") is not None


def serves(pd: str) -> bool:
    """Whether every region is led: the first call succeeds."""
    regions = (_asked(pd, "regions") or {}).get("regions") or []
    return bool(regions) and all(region.get("leader") for region in regions)


def _asked(pd: str, path: str) -> dict[str, Any] | None:
    """PD's answer; None while it gives none."""
    told = pd_http.value(pd, path, ASK_S_MAX)
    return told if isinstance(told, dict) else None
