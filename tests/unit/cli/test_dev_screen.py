"""What dev-cluster prints, on a terminal and off it."""

from __future__ import annotations

import io
import os

from kubebraid.cli.dev.probe import Heard
from kubebraid.cli.dev.screen import CLEAR, Screen, state_line


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_line_tells_who_is_down_and_what_was_heard() -> None:
    assert state_line(8, [], True, Heard(12, 2)) == "up 8/8  revision 12  reign 2"
    assert state_line(1, ["a", "b"], True, None) == "up 1/3  no answer  down: a, b"
    assert state_line(2, [], False, None) == "up 2/2  starting"


def test_off_a_terminal_a_line_is_printed_when_its_key_changes() -> None:
    out = io.StringIO()
    screen = Screen(out)
    for revision, key in [(1, "all"), (2, "all"), (3, "one"), (4, "all")]:
        screen.state(f"revision {revision}", key)
    screen.event("something happened")
    screen.end()
    assert out.getvalue().splitlines() == [
        "revision 1",
        "revision 3",
        "revision 4",
        "something happened",
    ]


def test_on_a_terminal_the_line_is_drawn_over_itself_and_stays_below_events() -> None:
    out = Terminal()
    screen = Screen(out)
    screen.state("one", 0)
    screen.state("one", 0)
    screen.state("two", 0)
    screen.event("event")
    screen.state("three", 1)
    screen.end()
    screen.event("after")
    wanted = f"{CLEAR}one{CLEAR}two{CLEAR}event\ntwo{CLEAR}three\nafter\n"
    assert out.getvalue() == wanted


def test_line_never_wraps() -> None:
    out = Terminal()
    Screen(out).state("x" * 500, 0)
    assert len(out.getvalue()) - len(CLEAR) < 500


def test_reader_that_went_away_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as out:
        screen = Screen(out)
        screen.event("nobody reads this")
        screen.state("nor this", 0)
