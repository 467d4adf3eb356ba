"""Pictures: which bars there are, and what is said where matplotlib is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubebraid.cli.bench import plots
from kubebraid.cli.bench.command import EXIT_REFUSED, bench
from kubebraid.cli.bench.figures import Figure
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
