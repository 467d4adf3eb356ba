"""Reports: what a reader sees of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePath

import pytest

from kubebraid.cli.bench.figures import Figure, Ratio
from kubebraid.cli.bench.report import markdown, number, rows, spread, table
from kubebraid.cli.bench.results import Failure, Outcome, Results, Taken

ROUNDS = tuple(
    {
        "kubebraid": (Figure("throughput", "/s", ours), Figure("p99", "ms", 5.5)),
        "etcd": (Figure("throughput", "/s", theirs), Figure("p99", "ms", 11.0)),
    }
    for ours, theirs in ((16_012.0, 15_100.0), (15_000.0, 15_000.0), (18_000.0, 12_000.0))
)
RESULTS = Results(
    runs=(
        Taken(
            "kubebraid bench put/64",
            "2026-03-01T12:00:00Z",
            {"machine": "one, 2 cores", "disk": "ext4", "load average before": "0.10"},
        ),
    ),
    outcomes=(Outcome("put/64", "64 clients put", ROUNDS),),
    failures=(),
)


def test_row_has_medians_and_the_spread_of_the_ratios() -> None:
    throughput, p99 = rows(RESULTS.outcomes[0])
    assert throughput == (
        "throughput /s",
        "16,012",
        "15,000",
        "1.06 (1.00..1.50)",
        ">= 1.2x  missed",
    )
    assert p99 == ("p99 ms", "5.50", "11.0", "0.50", "")


def test_reached_goal_says_so() -> None:
    better = tuple(dict(one, etcd=(Figure("throughput", "/s", 10_000.0),)) for one in ROUNDS)
    throughput, *_ = rows(Outcome("put/64", "", better))
    assert throughput.goal == ">= 1.2x  met"


def test_run_without_peer_has_figures_and_no_verdict_on_ratios() -> None:
    alone = tuple({"kubebraid": one["kubebraid"]} for one in ROUNDS)
    throughput, *_ = rows(Outcome("put/64", "", alone))
    assert throughput == ("throughput /s", "16,012", "-", "-", ">= 1.2x")


def test_goal_on_a_value_is_judged_without_peer() -> None:
    alone = ({"kubebraid": (Figure("ready after SIGTERM", "s", 4.0),)},)
    (ready,) = rows(Outcome("storage/1m-1k", "", alone))
    assert ready.goal == "<= 5  met"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0.00"), (0.0123, "0.012"), (1.234, "1.23"), (12.34, "12.3"), (16012.4, "16,012")],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_one_round_has_no_spread() -> None:
    assert spread(Ratio(1.5, 1.5, 1.5)) == "1.50"
    assert spread(None) == "-"


def test_table_names_scale_and_failures() -> None:
    """A reduced run's figures are not to be quoted, a failed one's not to be overlooked."""
    text = table(RESULTS)
    assert "SCALED" not in text
    assert "FAILED" not in text
    failed = (Failure("put/256", "etcd", "put: 3 requests failed"),)
    scaled = (replace(RESULTS.outcomes[0], scale=0.01),)
    text = table(replace(RESULTS, outcomes=scaled, failures=failed))
    assert "SCALED: every count was multiplied by 0.01" in text
    assert text.rstrip().endswith("put/256 on etcd: put: 3 requests failed")


def test_columns_of_the_table_are_aligned() -> None:
    lines = table(RESULTS).splitlines()
    start = lines.index("put/64: 64 clients put; 3 rounds") + 1
    head, throughput, p99 = lines[start : start + 3]
    end = head.index("KubeBraid") + len("KubeBraid")
    assert throughput[:end].endswith("16,012")
    assert p99[:end].endswith("5.50")


def test_markdown_is_a_page_with_a_table_a_scenario() -> None:
    text = markdown(RESULTS)
    assert text.startswith("# Results\n")
    assert "## put/64\n" in text
    row = "| throughput /s | 16,012 | 15,000 | 1.06 (1.00..1.50) | >= 1.2x  missed |"
    assert row in text.splitlines()


def test_notes_tell_once_what_runs_have_in_common() -> None:
    lines = table(replace(RESULTS, runs=RESULTS.runs * 2)).splitlines()
    assert lines[:5] == [
        "machine: one, 2 cores",
        "measured 2026-03-01T12:00:00Z: kubebraid bench put/64",
        "  disk ext4; load average before 0.10",
        "measured 2026-03-01T12:00:00Z: kubebraid bench put/64",
        "  disk ext4; load average before 0.10",
    ]


def test_pictures_are_linked_from_the_folder_beside_the_page() -> None:
    text = markdown(RESULTS, [PurePath("some/where/plots/throughput.svg")])
    assert "![throughput](plots/throughput.svg)" in text.splitlines()
