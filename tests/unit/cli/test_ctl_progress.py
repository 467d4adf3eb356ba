"""The line that moves while migrations go on."""

from __future__ import annotations

import io

import pytest

from kubebraid.cli.ctl.progress import Meter, Screen, part_done
from kubebraid.proto.adminreshard import Progress

from .ctl_routers import MOVE, SPLIT

MIB = 1 << 20


def going(phase: str = "preparing", copied: int = 0, lag: int = 0, **step: object) -> Progress:
    return Progress(MOVE._replace(**step), phase, bytes=copied, lag=lag)  # type: ignore[arg-type]


def test_line_tells_bytes_rate_lag_and_what_is_left() -> None:
    meter = Meter()
    meter.line([going(copied=10 * MIB)], 1_000)
    line = meter.line([going(copied=30 * MIB, lag=12)], 3_000)
    assert line == (
        "[######----------------] 0/1 move-pods-1 preparing 30.0 MiB of 100 MiB, 10.0 MiB/s, "
        "lag 12, about 7s"
    )


def test_what_is_not_known_is_not_told() -> None:
    assert Meter().line([going(bytes=None, copied=5)], 0) == (
        "[----------------------] 0/1 move-pods-1 preparing 5 B, 0 B/s, lag 0"
    )


def test_one_that_copies_nothing_has_no_rate() -> None:
    line = Meter().line([going(shares_rows=True, lag=3)], 0)
    assert line.endswith("move-pods-1 preparing, lag 3")


def test_size_that_was_too_small_is_not_told() -> None:
    """Old versions are copied, too, and are in no size."""
    assert " preparing 120 MiB, 0 B/s" in Meter().line([going(copied=120 * MIB)], 0)


def test_one_that_waits_says_for_what() -> None:
    assert Meter().line([going("planned")], 0).endswith("move-pods-1 planned, waits for its turn")
    assert Meter().line([going("planned", after="m0")], 0).endswith("planned, after m0")


def test_bar_never_goes_back_and_is_full_at_the_end() -> None:
    meter = Meter()
    shown = [
        meter.line([going(phase, copied)], at).split("]")[0].count("#")
        for at, (phase, copied) in enumerate(
            [("preparing", 90 * MIB), ("preparing", 10 * MIB), ("ready", 0), ("done", 0)]
        )
    ]
    assert shown == sorted(shown)
    assert shown[-1] == 22


@pytest.mark.parametrize("phase", ["ready", "frozen", "committed", "draining"])
def test_part_done_grows_with_the_phases(phase: str) -> None:
    assert part_done(going("planned")) == 0
    assert part_done(going(copied=500 * MIB)) < part_done(going(phase)) < part_done(going("done"))


def test_of_several_the_one_that_goes_is_told() -> None:
    line = Meter().line([going("done"), Progress(SPLIT, "ready"), going("planned", id="m3")], 0)
    assert " 1/3 split-pods-2 ready, lag 0" in line


def test_terminal_gets_one_line_and_a_pipe_one_a_phase() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    live, pipe = Terminal(), io.StringIO()
    for stream in (live, pipe):
        screen = Screen(stream, lambda: 0)
        for phase in ("preparing", "preparing", "ready"):
            screen.show([going(phase)._replace(why="too slow")])
        screen.clear()
    assert live.getvalue().count("\r\033[K") == 4
    assert "\n" not in live.getvalue()
    assert pipe.getvalue() == "move-pods-1: preparing\nmove-pods-1: ready (too slow)\n"
