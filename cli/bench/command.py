"""`kubebraid bench [SCENARIO...]`: flags, one run, one report.

What it is: wiring. What it is not: a measurement or a text; see `runner.py` and `report.py`.

Exit codes: 0 all was measured, whatever the figures; 1 refused, or requests failed (the report
says which); 2 usage; 130 interrupted by Ctrl-C, and the report has what was measured before.

Tested in tests/unit/cli/bench/test_command.py, tests/e2e/test_bench.py.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from ..flag_sources import BadFlags
from ..tikv_flags import TIKV, addresses_of
from . import ending, plots, report, results, tikv
from .clusters import maker
from .drivers import BenchError, Tools
from .goals import CLUSTER
from .machine import describe, load_average
from .placement import Placement
from .progress import Progress
from .results import OURS, PEER, Failure, Results, Taken
from .runner import Run, steps
from .scenario import Scenario
from .scenarios import UnknownScenario, choose, listing
from .servers import Server
from .tikv import Make

EXIT_DONE: Final = 0
EXIT_REFUSED: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 128 + signal.SIGINT
FORMS: Final = ("table", "json", "markdown")
INTERRUPTED: Final = "interrupted before it was measured; the servers have ended"
SHARDS_MAX: Final = 16
DISK: Final = "rocksdb"


def parser() -> argparse.ArgumentParser:
    """The flags."""
    made = argparse.ArgumentParser(
        prog="kubebraid bench",
        description="Measure KubeBraid beside a real etcd, in turns, on one disk.",
        allow_abbrev=False,
    )
    add = made.add_argument
    add("scenarios", nargs="*", metavar="SCENARIO", help="a name, its beginning, a pattern, or all")
    add("--peer", choices=(PEER, "none"), default=PEER, help="what stands beside (default etcd)")
    add("--profile", choices=("one-process", "cluster"), default="one-process")
    add("--engine", choices=(DISK, TIKV), default=DISK, help="of the cluster's shards")
    add("--pd", default="", metavar="HOST:PORT,...", help="of TiKV's PD, with --engine=tikv")
    add("--shards", type=_counts, default=(), metavar="N", help="(1; on TiKV 1,2,4 in turn)")
    add("--tablets", default="", metavar="LAYOUT", help="as dev-cluster's (kubernetes)")
    add("--rounds", type=int, default=3, metavar="N", help="measurements a store (default 3)")
    add("--output", choices=FORMS, default="table", help="form of the report")
    add("--plots", type=Path, metavar="DIR", help="write pictures there; needs matplotlib")
    add("--scale", type=float, default=1.0, metavar="F", help="multiply every count by this")
    add("--data-dir", type=Path, metavar="DIR", help="where the stores' folders go (build/bench)")
    add("--from", type=Path, nargs="+", metavar="FILE", help="report on runs' JSON instead")
    add("--list", action="store_true", help="name the scenarios; * are those of a plain run")
    return made


def _counts(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


def bench(argv: Sequence[str]) -> int:
    """The command."""
    flags = parser().parse_args(argv)
    names = [word.split("=")[0] for word in argv if word.startswith("--")]
    if twice := {name for name in names if names.count(name) > 1}:
        return _refuse(f"{', '.join(sorted(twice))} is given twice", EXIT_USAGE)
    if flags.list:
        print(listing())
        return EXIT_DONE
    if sentence := _shape(flags):
        return _refuse(sentence, EXIT_USAGE)
    if flags.rounds < 1 or not 0 < flags.scale <= 1:
        return _refuse("--rounds is at least 1; --scale is above 0 and at most 1", EXIT_USAGE)
    if flags.plots is not None and not plots.available():
        return _refuse(plots.MISSING)
    if sources := vars(flags)["from"]:
        return _from(sources, flags)
    try:
        words = flags.scenarios or (tikv.WORDS if flags.engine == TIKV else ())
        chosen, flags = settle(choose(words), flags)
    except (UnknownScenario, Mixed) as error:
        return _refuse(str(error), EXIT_USAGE)
    tools, stores = Tools(), (OURS, PEER) if flags.peer == PEER else (OURS,)
    if lacking := tools.missing(needed(chosen, stores)):
        return _refuse("; ".join(lacking))
    try:
        beside = tikv.checked(flags.pd) if flags.engine == TIKV else None
    except BenchError as error:
        return _refuse(f"{error} ({error.hint})")
    return _show(measure(tools, stores, chosen, flags, beside), flags)


def _shape(flags: argparse.Namespace) -> str:
    """Make the flags of the cluster what they mean; a sentence if they mean nothing."""
    on_tikv = flags.engine == TIKV
    if on_tikv != bool(flags.pd):
        return "--engine=tikv and --pd need each other"
    try:
        flags.pd = addresses_of("--pd", flags.pd)
    except BadFlags as error:
        return str(error)
    counts = flags.shards or (tikv.SHARDS if on_tikv else (1,))
    if not all(1 <= count <= SHARDS_MAX for count in counts) or len(set(counts)) < len(counts):
        return f"--shards is 1 to {SHARDS_MAX}"
    if not on_tikv and len(counts) > 1:
        return "--shards is one number; several are for --engine=tikv"
    if counts[0] > 1 and not on_tikv and flags.profile != "cluster":
        return "--shards is for --profile=cluster"
    flags.shards = counts
    flags.tablets = flags.tablets or (tikv.TABLETS if on_tikv else "kubernetes")
    return ""


class Mixed(Exception):
    """Scenarios that cannot stand in one run."""


def settle(
    chosen: list[Scenario], flags: argparse.Namespace
) -> tuple[list[Scenario], argparse.Namespace]:
    """What a profile makes of them, or they of the profile. Raises Mixed."""
    if not any(one.shards for one in chosen):
        if flags.profile == "cluster" and flags.engine != TIKV:
            # Other names: other goals, and nobody takes one for the other in a report.
            chosen = [replace(one, name=f"{CLUSTER}{one.name}") for one in chosen]
        return chosen, flags
    if others := [one.name for one in chosen if not one.shards]:
        raise Mixed(f"{others[0]} has a peer, and others have none: measure them in two runs")
    if flags.engine == TIKV:
        raise Mixed(f"{chosen[0].name} was not made for --engine=tikv")
    shards = max([*flags.shards, *(one.shards for one in chosen)])
    told = {**vars(flags), "profile": "cluster", "peer": "none", "shards": (shards,)}
    return chosen, argparse.Namespace(**told)


def needed(chosen: Sequence[Scenario], stores: Sequence[str]) -> list[str]:
    """The programs that have to be there."""
    peer = [PEER] if PEER in stores else []
    more = {name for scenario in chosen for name in scenario.needs}
    tools = ["bench-load", *([] if all(one.shards for one in chosen) else ["benchmark"])]
    return [*tools, *peer, *sorted(more)]


def measure(
    tools: Tools,
    stores: tuple[str, ...],
    chosen: Sequence[Scenario],
    flags: argparse.Namespace,
    beside: Placement | None = None,
) -> Results:
    """The run itself, in a folder that goes away unless something failed."""
    # Ended by a signal, we still end what we started: the blocks unwind.
    ending.install()
    base = flags.data_dir or default_folder(Path.cwd())
    base.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=base))
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    machine = describe(tools, folder, PEER in stores)
    if beside is not None:
        machine["TiKV"] = beside.described()
    parts = _parts(chosen, flags, beside)
    total = sum(steps(some, flags.rounds, len(stores)) for _, some in parts)
    run = Run(tools, folder, stores, flags.rounds, flags.scale, Progress(total, sys.stderr))
    interrupted = []
    try:
        for run.make, some in parts:
            run.run(some)
    except KeyboardInterrupt:
        # Hours may be in what was measured until now.
        interrupted.append(Failure("the rest", "both stores", INTERRUPTED))
    finally:
        run.progress.clear()
        if run.failures:
            print(f"kubebraid bench: logs are kept in {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    cores = os.cpu_count() or 1
    # Its own load is in it: what was there before tells whether others were at work.
    machine["load average after"] = load_average(os.getloadavg()[0], cores).partition(" ")[0]
    taken = Taken(spoken(flags), started, machine)
    return Results((taken,), tuple(run.outcomes), (*run.failures, *interrupted))


def _parts(
    chosen: Sequence[Scenario], flags: argparse.Namespace, beside: Placement | None
) -> Sequence[tuple[Make, Sequence[Scenario]]]:
    """What starts the servers, and which scenarios they serve."""
    if beside is not None:
        return tikv.parts(chosen, flags.shards, flags.tablets, beside)
    if flags.profile == "cluster":
        return [(maker(flags.shards[0], flags.tablets), chosen)]
    return [(Server, chosen)]


def default_folder(here: Path) -> Path:
    """build/bench of a checkout, else the system's folder for such things."""
    if (here / "pyproject.toml").is_file() and os.access(here, os.W_OK):
        return here / "build" / "bench"
    return Path(tempfile.gettempdir()) / "kubebraid-bench"


def spoken(flags: argparse.Namespace) -> str:
    """The command as a reader would repeat it: what is measured, not where data and text went."""
    words = ["kubebraid bench", *flags.scenarios, f"--rounds={flags.rounds}"]
    words += [f"--scale={flags.scale:g}"] if flags.scale != 1.0 else []
    on_tikv, shards = flags.engine == TIKV, ",".join(map(str, flags.shards))
    if on_tikv or flags.profile == "cluster":
        words += ["--engine=tikv --pd=..." if on_tikv else "--profile=cluster"]
        words += [f"--shards={shards}", f"--tablets={flags.tablets}"]
    words += [f"--peer={flags.peer}"] if flags.peer != PEER else []
    return " ".join(words)


def _from(paths: Sequence[Path], flags: argparse.Namespace) -> int:
    found = []
    for path in paths:
        try:
            found.append(results.read(path.read_text()))
        except (OSError, results.NotResults) as error:
            return _refuse(f"{path}: {error}")
    try:
        return _show(results.merge(found), flags)
    except results.NotResults as error:
        return _refuse(str(error))


def _show(found: Results, flags: argparse.Namespace) -> int:
    pictures = [] if flags.plots is None else plots.draw(found.outcomes, flags.plots)
    for path in pictures:
        print(f"wrote {path}", file=sys.stderr)
    if flags.output == "markdown":
        print(report.markdown(found, [path for path in pictures if path.suffix == ".svg"]), end="")
    else:
        print((results.write if flags.output == "json" else report.table)(found), end="")
    for line in report.failures(found):
        print(f"kubebraid bench: FAILED: {line}", file=sys.stderr)
    if any(failure.sentence == INTERRUPTED for failure in found.failures):
        return EXIT_INTERRUPTED
    return EXIT_REFUSED if found.failures else EXIT_DONE


def _refuse(sentence: str, code: int = EXIT_REFUSED) -> int:
    print(f"kubebraid bench: {sentence}", file=sys.stderr)
    return code
