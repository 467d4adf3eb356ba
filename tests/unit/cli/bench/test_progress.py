"""The bar on a terminal."""

from __future__ import annotations

import io

from kubebraid.cli.bench.progress import LINE_MAX, Progress, line


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_line_says_how_far_and_what() -> None:
    assert (
        line(12, 24, "put/64 round 2 on etcd")
        == f"[{'#' * 12}{'-' * 12}] 12/24 put/64 round 2 on etcd"
    )
    assert len(line(1, 2, "x" * 200)) == LINE_MAX


def test_bar_is_redrawn_and_cleared_on_a_terminal() -> None:
    terminal = Terminal()
    bar = Progress(2, terminal)
    bar.step("a")
    bar.step("b")
    bar.step("one more than was planned")
    bar.clear()
    drawn = terminal.getvalue().split("\r\033[K")
    assert [part.partition("] ")[2] for part in drawn[1:4]] == [
        "0/2 a",
        "1/2 b",
        "2/2 one more than was planned",
    ]
    assert drawn[4] == ""


def test_nothing_is_written_to_a_file() -> None:
    stream = io.StringIO()
    bar = Progress(2, stream)
    bar.step("a")
    bar.clear()
    assert stream.getvalue() == ""
