"""`kubebraid bench [SCENARIO...]`: flags, one run, one report.

What it is: wiring. What it is not: a measurement or a text; see `runner.py` and `report.py`.

Exit codes: 0 all was measured, whatever the figures; 1 refused, or requests failed (the report
says which); 2 usage.

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
from pathlib import Path
from typing import Final

from . import plots, report, results
from .drivers import Tools
from .machine import describe, load_average
from .progress import Progress
from .results import OURS, PEER, Results
from .runner import Run, steps
from .scenario import Scenario
from .scenarios import UnknownScenario, choose, listing

EXIT_DONE: Final = 0
EXIT_REFUSED: Final = 1
EXIT_USAGE: Final = 2
FORMS: Final = {"table": report.table, "json": results.write, "markdown": report.markdown}
NO_CLUSTER: Final = (
    "the roles do not run as processes of their own yet: measure with --profile=one-process"
)


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
    add("--rounds", type=int, default=3, metavar="N", help="measurements a store (default 3)")
    add("--output", choices=tuple(FORMS), default="table", help="form of the report")
    add("--plots", type=Path, metavar="DIR", help="write pictures there; needs matplotlib")
    add("--scale", type=float, default=1.0, metavar="F", help="multiply every count by this")
    add("--data-dir", type=Path, metavar="DIR", help="where the stores' folders go (build/bench)")
    add("--from", type=Path, metavar="FILE", dest="source", help="report on a run's JSON instead")
    add("--list", action="store_true", help="name the scenarios; * are those of a plain run")
    return made


def bench(argv: Sequence[str]) -> int:
    """The command."""
    flags = parser().parse_args(argv)
    names = [word.split("=")[0] for word in argv if word.startswith("--")]
    if twice := {name for name in names if names.count(name) > 1}:
        return _refuse(f"{', '.join(sorted(twice))} is given twice", EXIT_USAGE)
    if flags.list:
        print(listing())
        return EXIT_DONE
    if flags.profile == "cluster":
        return _refuse(NO_CLUSTER)
    if flags.rounds < 1 or not 0 < flags.scale <= 1:
        return _refuse("--rounds is at least 1; --scale is above 0 and at most 1", EXIT_USAGE)
    if flags.plots is not None and not plots.available():
        return _refuse(plots.MISSING)
    if flags.source is not None:
        return _from(flags.source, flags)
    try:
        chosen = choose(flags.scenarios)
    except UnknownScenario as error:
        return _refuse(str(error), EXIT_USAGE)
    tools, stores = Tools(), (OURS, PEER) if flags.peer == PEER else (OURS,)
    if lacking := tools.missing(needed(chosen, stores)):
        return _refuse("; ".join(lacking))
    return _show(measure(tools, stores, chosen, flags, _spoken(argv)), flags)


def needed(chosen: Sequence[Scenario], stores: Sequence[str]) -> list[str]:
    """The programs that have to be there."""
    peer = [PEER] if PEER in stores else []
    more = {name for scenario in chosen for name in scenario.needs}
    return ["bench-load", "benchmark", *peer, *sorted(more)]


def measure(
    tools: Tools,
    stores: tuple[str, ...],
    chosen: Sequence[Scenario],
    flags: argparse.Namespace,
    command: str,
) -> Results:
    """The run itself, in a folder that goes away unless something failed."""
    # Ended by a signal, we still end what we started: the blocks unwind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    base = flags.data_dir or default_folder(Path.cwd())
    base.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=base))
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    machine = describe(tools, folder, PEER in stores)
    progress = Progress(steps(chosen, flags.rounds, len(stores)), sys.stderr)
    run = Run(tools, folder, stores, flags.rounds, flags.scale, progress)
    try:
        run.run(chosen)
    finally:
        progress.clear()
        if run.failures:
            print(f"kubebraid bench: logs are kept in {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    cores = os.cpu_count() or 1
    # Its own load is in it: what was there before tells whether others were at work.
    machine["load average after"] = load_average(os.getloadavg()[0], cores).partition(" ")[0]
    outcomes, failures = tuple(run.outcomes), tuple(run.failures)
    return Results(command, started, machine, flags.rounds, flags.scale, outcomes, failures)


def default_folder(here: Path) -> Path:
    """build/bench of a checkout, else the system's folder for such things."""
    if (here / "pyproject.toml").is_file() and os.access(here, os.W_OK):
        return here / "build" / "bench"
    return Path(tempfile.gettempdir()) / "kubebraid-bench"


def _spoken(argv: Sequence[str]) -> str:
    """The command as a reader would repeat it: without where the data and pictures went."""
    private = ("--data-dir", "--plots")
    return " ".join(["kubebraid bench", *(w for w in argv if w.split("=")[0] not in private)])


def _from(path: Path, flags: argparse.Namespace) -> int:
    try:
        found = results.read(path.read_text())
    except (OSError, results.NotResults) as error:
        return _refuse(f"{path}: {error}")
    return _show(found, flags)


def _show(found: Results, flags: argparse.Namespace) -> int:
    print(FORMS[flags.output](found))
    if flags.plots is not None:
        for path in plots.draw(found.outcomes, flags.plots):
            print(f"wrote {path}", file=sys.stderr)
    for line in report.failures(found):
        print(f"kubebraid bench: FAILED: {line}", file=sys.stderr)
    return EXIT_REFUSED if found.failures else EXIT_DONE


def _refuse(sentence: str, code: int = EXIT_REFUSED) -> int:
    print(f"kubebraid bench: {sentence}", file=sys.stderr)
    return code
