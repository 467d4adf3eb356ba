"""etcd and both fronts of KubeBraid under the same random sequences; replays and shrinks them.

What it is: the processes, the loop over seeds, and what is told of a difference. What it is not:
the generator (`fuzz`), the client (`fuzz_play`) or the comparison (`fuzz_compare`).

Worked example: `python -m tests.conformance.fuzz_run --seed 17 --requests 400 --front native`
plays one sequence, `--only 3,17,88` of it but these requests, `--seeds 50` the next fifty too.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

import grpc

from tests.e2e.processes import Peers, Supervisor
from tests.e2e.store import Kind, Store

from .fuzz import Step, sequence
from .fuzz_compare import Found, Tally, judge, readable
from .fuzz_play import FuzzServer
from .runner import SPREAD_PREFIXES, Outcome

FRONTS: Final = (Kind.NATIVE, Kind.GRPCIO)
DIES_S_MAX: Final = 10.0
SHRINK_S_MAX: Final = 60.0
SHOWN_STEPS: Final = 40


class FuzzWorld:
    """An etcd, and KubeBraid behind each front, its tablets cutting the generator's keys apart."""

    def __init__(self, supervisor: Supervisor, peers: Peers) -> None:
        kinds = (Kind.ETCD, *FRONTS)
        self._stores = {
            kind: Store(supervisor, peers, kind, f"fuzz-{kind.value}") for kind in kinds
        }
        for store in self._stores.values():
            if store.kind is Kind.ETCD:
                store.process.argv += ("--unsafe-no-fsync", "--log-level=error")
            else:
                store.process.argv += (f"--tablets={','.join(SPREAD_PREFIXES)}",)
        self._pool = ThreadPoolExecutor(len(kinds))
        list(self._pool.map(Store.start, self._stores.values()))
        self._servers = {kind: FuzzServer(store.port) for kind, store in self._stores.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()
        for server in self._servers.values():
            server.close()

    def play(
        self, front: Kind, theirs: Sequence[Step], ours: Sequence[Step] | None = None
    ) -> tuple[list[Outcome], list[Outcome]]:
        """etcd's outcomes and this front's, both at work at the same time."""
        etcd = self._pool.submit(self._play, Kind.ETCD, theirs)
        braid = self._pool.submit(self._play, front, theirs if ours is None else ours)
        return etcd.result(), braid.result()

    def _play(self, kind: Kind, steps: Sequence[Step]) -> list[Outcome]:
        try:
            return self._servers[kind].play(steps)
        except grpc.RpcError:
            self._renew(kind)
            return self._servers[kind].play(steps)

    def _renew(self, kind: Kind) -> None:
        """The sequence before has killed it, and was found out for that: begin anew."""
        store = self._stores[kind]
        store.process.wait(DIES_S_MAX)
        shutil.rmtree(store.data_dir)  # or it dies again of what it finds there
        store.start()
        self._servers[kind].close()
        self._servers[kind] = FuzzServer(store.port)

    def differs(self, front: Kind, steps: Sequence[Step], tally: Tally) -> Found | None:
        """The first difference that is not meant."""
        return judge(steps, *self.play(front, steps), tally)


@contextmanager
def fuzz_world(folder: Path) -> Iterator[FuzzWorld]:
    with Supervisor(folder) as supervisor, FuzzWorld(supervisor, Peers()) as world:
        yield world


# -- a difference, made small ----------------------------------------------------------------------


def shrink(
    indexes: Sequence[int], still: Callable[[Sequence[int]], bool], seconds: float
) -> list[int]:
    """Fewer of the indexes, as long as it is `still` true of them: drop halves, quarters, ..."""
    left, until = list(indexes), time.monotonic() + seconds
    size = max(len(left) // 2, 1)
    while True:
        begin = 0
        while begin < len(left) and time.monotonic() < until:
            fewer = left[:begin] + left[begin + size :]
            if still(fewer):
                left = fewer
            else:
                begin += size
        if size == 1:
            return left
        size //= 2


def report(world: FuzzWorld, front: Kind, seed: int, requests: int, found: Found) -> str:
    """All that is known of a difference: seed, answers, a short sequence and how to replay it."""
    steps = sequence(seed, requests)

    def play(indexes: Sequence[int]) -> Found | None:
        return world.differs(front, [steps[index] for index in indexes], Tally())

    indexes = range(min(found.index + 1, requests))
    small = shrink(indexes, lambda fewer: play(fewer) is not None, SHRINK_S_MAX)
    only = ",".join(map(str, small))
    command = (
        f"python -m tests.conformance.fuzz_run "
        f"--seed {seed} --requests {requests} --front {front.value}"
    )
    lines = [
        f"seed {seed}, {front.value}, {found}",
        f"replay: {command}",
        f"shrunk to {len(small)} requests: {command} --only {only}",
        *(f"  {index}: {readable(steps[index])}" for index in small[-SHOWN_STEPS:]),
        f"which then differ so: {play(small) or 'not at all, so it is a matter of time'}",
    ]
    return "\n".join(lines)


def run(world: FuzzWorld, front: Kind, seeds: Sequence[int], requests: int, tally: Tally) -> str:
    """Sequence after sequence; the report of the first difference, or nothing."""
    for seed in seeds:
        found = world.differs(front, sequence(seed, requests), tally)
        if found is not None:
            return report(world, front, seed, requests, found)
    return ""


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.fuzz_run")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1, help="how many, counted from --seed")
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--front", choices=[front.value for front in FRONTS], default="native")
    parser.add_argument("--only", default="", help="indexes of the requests to play, of one seed")
    flags = parser.parse_args(argv)
    front, tally = Kind(flags.front), Tally()
    with tempfile.TemporaryDirectory() as folder, fuzz_world(Path(folder)) as world:
        if flags.only:
            steps = sequence(flags.seed, flags.requests)
            chosen = [steps[int(index)] for index in flags.only.split(",")]
            text = str(world.differs(front, chosen, tally) or "")
        else:
            seeds = range(flags.seed, flags.seed + flags.seeds)
            text = run(world, front, seeds, flags.requests, tally)
    print("\n".join([*tally.lines(), text]))
    return 1 if text else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
