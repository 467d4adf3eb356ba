"""`kubebraid bench --engine=tikv` on a test cluster that lives as long as the run.

What it is: a script. It starts PD and a store of tests/tikv, hands everything that it was told to
`kubebraid bench`, adds where PD is, and ends with its exit code. What it is not: a measure of TiKV:
the store speaks its protocol, and shares the machine with all that is measured.

Worked example: `python -m tests.bench.tikv_cluster --rounds=1 --scale=0.1`, after
tests/tikv/build.sh and tests/peers/build.sh.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from kubebraid.cli.bench import ending
from tests.tikv.cluster import Cluster


def main() -> int:
    """The benchmark's exit code."""
    ending.install()  # ended by a signal, the blocks unwind: PD and the store end too
    with TemporaryDirectory() as folder, Cluster.started(Path(folder)) as cluster:
        argv = [sys.executable, "-m", "kubebraid", "bench", "--engine=tikv"]
        with subprocess.Popen([*argv, f"--pd={cluster.pd_address}", *sys.argv[1:]]) as bench:
            try:
                return bench.wait()
            finally:
                bench.terminate()  # nothing, if it has ended; else it ends what it started


if __name__ == "__main__":
    sys.exit(main())
