"""Results as text: a table for a terminal, a page of Markdown.

What it is: pure formatting. What it is not: a measurement; the same results give the same text.

Invariants: a scaled scenario says so above its figures; a missed goal is named beside its figure;
failed requests stand at the end, where they are seen; what several runs have in common is told
once.

Worked example (see docs/benchmarks/README.md for the columns):

    put/64: 64 clients put 256 B under 100,000 keys
      throughput /s     16,012    15,100    1.06 (1.01..1.12)   >= 1.2x  missed

Tested in tests/unit/cli/bench/test_report.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import NamedTuple

from .figures import Ratio, median, ratio
from .goals import Of, goal
from .results import OURS, PEER, SAME, Outcome, Results


class Row(NamedTuple):
    """One figure of one scenario, as text."""

    figure: str
    ours: str
    peer: str
    ratio: str
    goal: str


HEAD = Row("figure", "KubeBraid", "etcd", "ratio (min..max)", "goal")


def rows(outcome: Outcome) -> Iterator[Row]:
    """The rows of a scenario, in the order of its figures."""
    for name, unit in outcome.names():
        ours, theirs = outcome.values(OURS, name), outcome.values(PEER, name)
        compared = ratio(outcome.pairs(name))
        yield Row(
            f"{name} {unit}".strip(),
            number(median(ours)) if ours else "-",
            number(median(theirs)) if theirs else "-",
            spread(compared),
            verdict(outcome.scenario, name, ours, compared),
        )


def number(value: float) -> str:
    """Three digits, and all those before the point."""
    magnitude = abs(value)
    if magnitude >= 100:
        return f"{value:,.0f}"
    if magnitude >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if magnitude >= 0.1 or value == 0 else f"{value:.3f}"


def spread(compared: Ratio | None) -> str:
    """Like 1.06 (1.01..1.12); one round has no spread."""
    if compared is None:
        return "-"
    if compared.least == compared.greatest:
        return f"{compared.median:.2f}"
    return f"{compared.median:.2f} ({compared.least:.2f}..{compared.greatest:.2f})"


def verdict(scenario: str, name: str, ours: list[float], compared: Ratio | None) -> str:
    """The goal and whether it is reached; nothing where there is none or nothing to judge."""
    aim = goal(scenario, name)
    if aim is None:
        return ""
    if aim.of is Of.RATIO:
        value = compared.median if compared is not None else None
    else:
        value = median(ours) if ours else None
    if value is None:
        return str(aim)
    return f"{aim}  {'met' if aim.met(value) else 'missed'}"


def notes(results: Results) -> list[str]:
    """What has to be known before the figures are read."""
    machine = results.runs[0].machine
    said = [f"{name}: {machine[name]}" for name in SAME if name in machine]
    for run in results.runs:
        said.append(f"measured {run.started}: {run.command}")
        more = [f"{name} {value}" for name, value in run.machine.items() if name not in SAME]
        said += [f"  {'; '.join(more)}"] if more else []
    said.append("the stores alternate; figures and ratios are medians of the rounds")
    return said


def heading(outcome: Outcome) -> str:
    """What was measured, how often, and whether its figures may be quoted."""
    rounds = len(outcome.rounds)
    said = f"{outcome.text}; {rounds} round{'s' if rounds != 1 else ''}"
    if outcome.scale != 1.0:
        said += f"; SCALED: every count was multiplied by {outcome.scale:g}"
    return said


def failures(results: Results) -> list[str]:
    """One line for each."""
    return [f"{f.scenario} on {f.store}: {f.sentence}" for f in results.failures]


def table(results: Results) -> str:
    """For a terminal."""
    lines = [*notes(results), ""]
    for outcome in results.outcomes:
        lines += [f"{outcome.scenario}: {heading(outcome)}", *_aligned([HEAD, *rows(outcome)]), ""]
    if results.failures:
        lines += ["FAILED:", *(f"  {line}" for line in failures(results)), ""]
    return "\n".join(lines)


def _aligned(all_rows: list[Row]) -> list[str]:
    widths = [max(len(row[column]) for row in all_rows) for column in range(len(HEAD))]
    return [
        "  "
        + "  ".join(
            text.ljust(width) if column in (0, 4) else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in all_rows
    ]


def markdown(results: Results, pictures: Sequence[PurePath] = ()) -> str:
    """For docs/benchmarks/results.md; pictures lie in a folder beside the page."""
    lines = ["# Results", ""]
    lines += [f"- {note}" if note[0] != " " else f"  {note}" for note in notes(results)]
    lines += ["", "[What the figures mean](README.md).", ""]
    for picture in pictures:
        lines += [f"![{picture.stem}]({picture.parent.name}/{picture.name})", ""]
    for outcome in results.outcomes:
        lines += [f"## {outcome.scenario}", "", f"{heading(outcome)}.", ""]
        lines += [_cells(HEAD), "|---|---:|---:|---:|---|"]
        lines += [_cells(row) for row in rows(outcome)]
        lines.append("")
    if results.failures:
        lines += ["## Failed", "", *(f"- {line}" for line in failures(results)), ""]
    return "\n".join(lines)


def _cells(row: Row) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
