"""Pictures of a run: the ratios of all scenarios with their spread, one picture a figure.

What it is: which bars there are (pure), and matplotlib to draw them, loaded only here. What it is
not: needed; without matplotlib `bench` says how to get it and refuses `--plots` before it
measures.

Worked example: throughput.svg has one bar for each scenario with a throughput at both stores, from
1 to the median ratio, a whisker from the least to the greatest, and a diamond at the goal if there
is one. The axis is logarithmic: twice as good is as far from 1 as half as good.

Tested in tests/unit/cli/bench/test_plots.py.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from .figures import CPU, P50, P99, PEAK_RSS, THROUGHPUT, Ratio, ratio
from .goals import EVENTS, LIST_RATE, Of, goal
from .results import Outcome

RATES: Final = (THROUGHPUT, LIST_RATE, EVENTS)
DRAWN: Final = (*RATES, P50, P99, CPU, PEAK_RSS)
NEAREST: Final = (0.5, 2.0)  # the axis reaches at least so far
TICKS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.7, 1, 1.2, 1.5, 2, 3, 5, 10, 20, 50, 100)
KINDS: Final = ("svg", "png")
MISSING: Final = (
    "--plots needs matplotlib: pip install 'kubebraid[bench]', or pip install matplotlib"
)


def available() -> bool:
    """Is matplotlib installed?"""
    return importlib.util.find_spec("matplotlib") is not None


def bars(outcomes: Sequence[Outcome], figure: str) -> list[tuple[str, Ratio]]:
    """Scenario and ratio, where both stores have the figure; a ratio of 0 has no logarithm."""
    found = ((outcome.scenario, ratio(outcome.pairs(figure))) for outcome in outcomes)
    return [(name, compared) for name, compared in found if compared and compared.least > 0]


def goals(scenarios: Sequence[str], figure: str) -> list[tuple[int, float]]:
    """Place in the list and bound, of those that have a goal for the ratio of this figure."""
    aims = ((place, goal(name, figure)) for place, name in enumerate(scenarios))
    return [(place, aim.bound) for place, aim in aims if aim is not None and aim.of is Of.RATIO]


def reach(found: Sequence[tuple[str, Ratio]]) -> tuple[float, float]:
    """Both ends of an axis that holds all whiskers."""
    assert found
    least = min(compared.least for _, compared in found)
    greatest = max(compared.greatest for _, compared in found)
    return min(least * 0.9, NEAREST[0]), max(greatest * 1.1, NEAREST[1])


def draw(outcomes: Sequence[Outcome], folder: Path) -> list[Path]:
    """The files that were written."""
    matplotlib: Any = importlib.import_module("matplotlib")
    matplotlib.use("Agg")  # no display is needed
    matplotlib.rcParams["svg.hashsalt"] = "kubebraid"  # the same results give the same file
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for figure in DRAWN:
        if found := bars(outcomes, figure)[::-1]:  # the first at the top
            written += _picture(figure, found, folder)
    return written


def _picture(figure: str, found: Sequence[tuple[str, Ratio]], folder: Path) -> list[Path]:
    plt: Any = importlib.import_module("matplotlib.pyplot")
    canvas, axes = plt.subplots(figsize=(8, 1.5 + 0.3 * len(found)), layout="constrained")
    names = [name for name, _ in found]
    widths = [compared.median - 1 for _, compared in found]
    low = [compared.median - compared.least for _, compared in found]
    high = [compared.greatest - compared.median for _, compared in found]
    axes.set_xscale("log")
    axes.barh(names, widths, left=1, xerr=(low, high), color="#4878a8", ecolor="#333333", capsize=3)
    axes.axvline(1.0, color="#c44e52", linewidth=1)
    for number, (place, bound) in enumerate(goals(names, figure)):
        axes.plot(bound, place, "D", color="#c44e52", markersize=5, label="" if number else "goal")
    if goals(names, figure):
        axes.legend(loc="best", fontsize="small")
    first, last = reach(found)
    ticks = [tick for tick in TICKS if first <= tick <= last]
    axes.set_xlim(first, last)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    better = "right" if figure in RATES else "left"
    axes.set_xlabel(f"{figure}, KubeBraid / etcd: {better} of the line is better")
    paths = [folder / f"{figure.replace(' ', '-')}.{kind}" for kind in KINDS]
    for path in paths:
        metadata = {"Date": None} if path.suffix == ".svg" else None
        canvas.savefig(path, dpi=120, metadata=metadata)
    plt.close(canvas)
    return paths
