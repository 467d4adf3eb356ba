"""KubeBraid on TiKV under load: the cluster of processes, and how many shards it has in turn.

What it is: what `--engine=tikv` makes of a run: the same scenarios with 1, 2 and 4 shards, one
after the other, each a dev-cluster whose shards' stores lie in a TiKV that runs already. What it is
not: the start of that TiKV (tests/bench/tikv_cluster.py does it for a try), or the scenarios.

Invariants:
- `server CPU` and memory are of KubeBraid's processes, as on its own disk; PD and the stores have
  figures of their own, and none where they are elsewhere;
- the number of shards is in a scenario's name, so that figures of different clusters never meet in
  one median;
- each cluster begins with new stores, of a name that begins with `bench-`. Nobody removes them.

Worked example: `--engine=tikv --shards=1,2`: `tikv/1/spread/64`, ..., then `tikv/2/spread/64`, ...

Tested in tests/unit/cli/bench/test_tikv.py, tests/e2e/test_bench_tikv.py.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from kubebraid.shard.storage import tikv_link
from kubebraid.shard.storage.tikv_errors import EngineUnsupported

from . import placement
from .clusters import Cluster
from .drivers import BenchError, Tools
from .figures import Figure, Measured
from .goals import ON_TIKV, PLACED_CPU, WRITES_A_TRANSACTION
from .kubebrain import READ
from .placement import TIMESTAMPS_A_TRANSACTION, Placement
from .results import OURS
from .scenario import Scenario
from .servers import Server

SHARDS: Final = (1, 2, 4)
WORDS: Final = ("spread/64", "spread/256", "kubebrain")  # of a run that names no scenario
TABLETS: Final = "/registry/pods/=16"  # keys of one prefix, on all shards
TRANSACTIONS_MIN: Final = 5.0  # of fewer, those of an idle shard could be half

Make = Callable[[str, Path, Tools], Server]


class OnTikv(Cluster):
    """Its shards' stores are in TiKV; on the disk are the coordinators' directories and logs."""

    has_disk = False

    def __init__(
        self, folder: Path, tools: Tools, shards: int, tablets: str, beside: Placement
    ) -> None:
        super().__init__(folder, tools, shards, tablets)
        self._placement = beside
        self._around: dict[str, list[int]] = {}
        prefix = f"bench-{secrets.token_hex(4)}"
        self.argv += ["--engine=tikv", f"--pd={','.join(beside.addresses)}"]
        self.argv += [f"--tikv-store={prefix}"]

    def start(self) -> float:
        """As a cluster's; then PD and the stores are looked for."""
        took = super().start()
        self._around = self._placement.pids()
        return took

    def beside(self) -> Callable[[Sequence[Measured]], list[Figure]]:
        """CPU of PD and of stores, and the size of the groups that are committed together."""
        cpu_before = placement.cpu_s(self._around)
        asked_before = self._placement.timestamps_asked()

        def told(found: Sequence[Measured]) -> list[Figure]:
            ops = sum(one.ops for one in found)
            figures = [
                Figure(f"{PLACED_CPU}{name}", "us/op", (after - cpu_before[name]) / ops * 1e6)
                for name, after in placement.cpu_s(self._around).items()
                if name in cpu_before
            ]
            writes = sum(one.ops for one in found if one.name != READ)
            grouped = group(writes, asked_before, self._placement.timestamps_asked())
            return figures if grouped is None else [*figures, grouped]

        return told


def group(writes: int, asked_before: float | None, asked_after: float | None) -> Figure | None:
    """Writes that shared a transaction, on average; None where PD does not tell."""
    if asked_before is None or asked_after is None:
        return None
    transactions = (asked_after - asked_before) / TIMESTAMPS_A_TRANSACTION
    if transactions < TRANSACTIONS_MIN:
        return None
    return Figure(WRITES_A_TRANSACTION, "", writes / transactions)


def checked(addresses: Sequence[str]) -> Placement:
    """The cluster whose PD listens at these HOST:PORTs. Raises BenchError."""
    if not tikv_link.available():
        raise BenchError(f"there is no client of TiKV: {EngineUnsupported.hint}")
    found = Placement(addresses)
    found.described()
    return found


def maker(shards: int, tablets: str, beside: Placement) -> Make:
    """What a run starts: such a cluster, or the peer as always."""

    def make(store: str, folder: Path, tools: Tools) -> Server:
        if store == OURS:
            return OnTikv(folder, tools, shards, tablets, beside)
        return Server(store, folder, tools)

    return make


def parts(
    chosen: Sequence[Scenario], counts: Sequence[int], tablets: str, beside: Placement
) -> list[tuple[Make, list[Scenario]]]:
    """All scenarios for each number of shards, with what starts their servers."""
    return [
        (
            maker(shards, tablets, beside),
            [
                replace(
                    one,
                    name=f"{ON_TIKV}{shards}/{one.name}",
                    text=f"{shards} shard{'s' if shards > 1 else ''} on TiKV: {one.text}",
                )
                for one in chosen
            ],
        )
        for shards in counts
    ]
