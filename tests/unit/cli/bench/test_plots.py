"""Pictures: which bars there are, and what is said where matplotlib is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubebraid.cli.bench import plots
from kubebraid.cli.bench.command import EXIT_REFUSED, bench
from kubebraid.cli.bench.figures import Figure, Ratio
from kubebraid.cli.bench.results import Outcome


def outcome(name: str, ours: float, theirs: float) -> Outcome:
    both = {
        "kubebraid": (Figure("throughput", "/s", ours),),
        "etcd": (Figure("throughput", "/s", theirs),),
    }
    return Outcome(name, "", (both,))


def test_bars_are_of_scenarios_that_both_stores_have() -> None:
    alone = Outcome("put/1", "", ({"kubebraid": (Figure("throughput", "/s", 1.0),)},))
    found = plots.bars([outcome("put/64", 3.0, 2.0), alone], "throughput")
    assert [(name, compared.median) for name, compared in found] == [("put/64", 1.5)]
    assert plots.bars([outcome("put/64", 3.0, 2.0)], "p99") == []


def test_ratio_of_nothing_has_no_bar() -> None:
    assert plots.bars([outcome("put/64", 0.0, 2.0)], "throughput") == []


def test_goals_stand_at_their_bars() -> None:
    """A goal on a value is not on the axis of the ratios."""
    assert plots.goals(["lease-put/64", "put/64"], "throughput") == [(1, 1.2)]
    assert plots.goals(["storage/10m-100b"], "peak RSS") == []


def test_axis_holds_every_whisker_and_never_only_one_side() -> None:
    assert list(plots.reach([("put/64", Ratio(1.5, 1.2, 4.0))])) == pytest.approx([0.5, 4.4])
    assert list(plots.reach([("put/64", Ratio(0.5, 0.1, 0.9))])) == pytest.approx([0.09, 2.0])


def test_missing_matplotlib_is_told_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plots, "available", lambda: False)
    assert bench(["put/64", "--plots=pictures"]) == EXIT_REFUSED
    assert "pip install 'kubebraid[bench]'" in capsys.readouterr().err


def test_pictures_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is optional")
    written = plots.draw([outcome("put/64", 3.0, 2.0)], tmp_path)
    assert [path.name for path in written] == ["throughput.svg", "throughput.png"]
    assert all(path.stat().st_size > 1_000 for path in written)
