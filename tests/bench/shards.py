"""What a put costs with 1, 2 and 4 shards: is it flat?

What it is: a script around `kubebraid bench spread/puts --profile=cluster`, which runs an etcd
beside each cluster. In each round every number of shards has its turn, and a ratio is one within a
round: what the machine did meanwhile is in both of its sides. Beside ours stands what etcd's own
put costs more with as many clients as those shards have: that part is the machine's and the
clients', for etcd has one writer throughout. What it is not: a proof of scale on one machine: the
shards share its cores, so it is the CPU a put that has to stay, not the throughput that grows.

Worked example: `python tests/bench/shards.py --rounds 3 --scale 0.2`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Final

SHARDS: Final = (1, 2, 4)
TABLETS: Final = "/registry/pods/=16"
GOAL: Final = 1.15  # flat within 15 %
CPU: Final = "server CPU"
STORES: Final = ("kubebraid", "etcd")
Taken = dict[str, dict[str, float]]  # store -> figure -> value


def measured(shards: int, scale: float) -> Taken:
    """One round of both stores."""
    argv = [sys.executable, "-m", "kubebraid", "bench", "spread/puts", "--profile=cluster"]
    argv += [f"--shards={shards}", f"--tablets={TABLETS}", "--output=json", "--rounds=1"]
    argv += [f"--scale={scale:g}"]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True)
    found: Any = json.loads(done.stdout)
    (outcome,) = found["outcomes"]
    (one,) = outcome["rounds"]
    return {store: {name: value for name, _, value in one[store]} for store in STORES}


def ratios(rounds: Sequence[dict[int, Taken]], store: str, shards: int) -> list[float]:
    """CPU a put against one shard's, a number for each round, rising."""
    return sorted(one[shards][store][CPU] / one[SHARDS[0]][store][CPU] for one in rounds)


def spoken(found: Sequence[float]) -> str:
    return f"{statistics.median(found):.2f} ({found[0]:.2f}..{found[-1]:.2f})"


def report(rounds: Sequence[dict[int, Taken]]) -> None:
    names = [n for n in rounds[0][SHARDS[0]]["kubebraid"] if "CPU" in n or n == "throughput"]
    print(f"{'median of ' + str(len(rounds)):<28}" + "".join(f"{n:>10}" for n in SHARDS))
    for name in names:
        row = [statistics.median(one[n]["kubebraid"][name] for one in rounds) for n in SHARDS]
        print(f"{name:<28}" + "".join(f"{value:>10,.2f}" for value in row))
    for name in ("throughput", CPU):
        row = [statistics.median(one[n]["etcd"][name] for one in rounds) for n in SHARDS]
        print(f"{'etcd, ' + name:<28}" + "".join(f"{value:>10,.2f}" for value in row))
    for shards in SHARDS[1:]:
        ours, etcds = (ratios(rounds, store, shards) for store in STORES)
        verdict = "met" if statistics.median(ours) <= GOAL else "missed"
        print(
            f"CPU a put, {shards} shards to 1: {spoken(ours)} (goal <= {GOAL}: {verdict}); "
            f"etcd's with the same clients: {spoken(etcds)}"
        )
    print(f"load average at the end: {os.getloadavg()[0]:.1f}, with this script's own in it")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=0.2)
    given = parser.parse_args()
    report([{n: measured(n, given.scale) for n in SHARDS} for _ in range(given.rounds)])


if __name__ == "__main__":
    main()
