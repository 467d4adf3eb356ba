"""What a put costs with 1, 2 and 4 shards: is it flat?

What it is: a script around `kubebraid bench spread --profile=cluster`, which runs an etcd beside
each cluster. Printed are throughput, CPU a put in all and by role, and both in relation to one
shard. What it is not: a proof of scale on one machine: the shards share its cores, so it is the CPU
a put that has to stay, not the throughput that grows.

Worked example: `python tests/bench/shards.py --rounds 3 --scale 0.2`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from typing import Any, Final

SHARDS: Final = (1, 2, 4)
TABLETS: Final = "/registry/pods/=16"
GOAL: Final = 1.15  # flat within 15 %


def measured(shards: int, flags: list[str]) -> dict[str, float]:
    """Medians of our figures."""
    argv = [sys.executable, "-m", "kubebraid", "bench", "spread", "--profile=cluster"]
    argv += [f"--shards={shards}", f"--tablets={TABLETS}", "--output=json", *flags]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True)
    found: Any = json.loads(done.stdout)
    (outcome,) = found["outcomes"]
    rounds = [{name: value for name, _, value in one["kubebraid"]} for one in outcome["rounds"]]
    return {name: statistics.median([one[name] for one in rounds]) for name in rounds[0]}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=0.2)
    given = parser.parse_args()
    flags = [f"--rounds={given.rounds}", f"--scale={given.scale:g}"]
    results = {shards: measured(shards, flags) for shards in SHARDS}
    names = [name for name in results[1] if "CPU" in name or name == "throughput"]
    print(f"{'figure':<28}" + "".join(f"{shards:>10}" for shards in SHARDS) + "  last / first")
    for name in names:
        row = [results[shards][name] for shards in SHARDS]
        print(f"{name:<28}" + "".join(f"{x:>10,.1f}" for x in row) + f"  {row[-1] / row[0]:.2f}")
    ratio = results[4]["server CPU"] / results[1]["server CPU"]
    verdict = "met" if ratio <= GOAL else "missed"
    print(f"CPU a put, 4 shards to 1: {ratio:.2f} (goal <= {GOAL}: {verdict})")


if __name__ == "__main__":
    main()
