"""Pictures of a run: the ratios of all scenarios with their spread, one picture a figure.

What it is: which bars there are (pure), and matplotlib to draw them, loaded only here. What it is
not: needed; without matplotlib `bench` says how to get it and refuses `--plots` before it
measures.

Worked example: throughput.svg has one bar for each scenario with a throughput at both stores, from
1 to the median ratio, and a whisker from the least to the greatest.

Tested in tests/unit/cli/bench/test_plots.py.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from .figures import CPU, P50, P99, PEAK_RSS, THROUGHPUT, Ratio, ratio
from .results import Outcome

DRAWN: Final = (THROUGHPUT, P50, P99, CPU, PEAK_RSS)
KINDS: Final = ("svg", "png")
MISSING: Final = (
    "--plots needs matplotlib: pip install 'kubebraid[bench]', or pip install matplotlib"
)


def available() -> bool:
    """Is matplotlib installed?"""
    return importlib.util.find_spec("matplotlib") is not None


def bars(outcomes: Sequence[Outcome], figure: str) -> list[tuple[str, Ratio]]:
    """Scenario and ratio, where both stores have the figure."""
    found = ((outcome.scenario, ratio(outcome.pairs(figure))) for outcome in outcomes)
    return [(name, compared) for name, compared in found if compared is not None]


def draw(outcomes: Sequence[Outcome], folder: Path) -> list[Path]:
    """The files that were written."""
    matplotlib: Any = importlib.import_module("matplotlib")
    matplotlib.use("Agg")  # no display is needed
    matplotlib.rcParams["svg.hashsalt"] = "kubebraid"  # the same results give the same file
    plt: Any = importlib.import_module("matplotlib.pyplot")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for figure in DRAWN:
        found = bars(outcomes, figure)[::-1]  # the first at the top
        if not found:
            continue
        canvas, axes = plt.subplots(figsize=(8, 1.5 + 0.3 * len(found)), layout="constrained")
        names = [name for name, _ in found]
        medians = [compared.median for _, compared in found]
        low = [compared.median - compared.least for _, compared in found]
        high = [compared.greatest - compared.median for _, compared in found]
        axes.barh(names, medians, xerr=(low, high), color="#4878a8", ecolor="#333333", capsize=3)
        axes.axvline(1.0, color="#c44e52", linewidth=1)
        axes.set_xlabel(f"{figure}: KubeBraid / etcd (whiskers: least and greatest round)")
        for kind in KINDS:
            path = folder / f"{figure.replace(' ', '-')}.{kind}"
            metadata = {"Date": None} if kind == "svg" else None
            canvas.savefig(path, dpi=120, metadata=metadata)
            written.append(path)
        plt.close(canvas)
    return written
