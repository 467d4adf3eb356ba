"""Signals that come while a child is being started."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import suppress

import pytest

from kubebraid.cli.bench import ending
from kubebraid.cli.bench.ending import known


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in ending.ENDING}
    ending.install()
    yield
    ending._came.clear()
    for number, handler in before.items():
        signal.signal(number, handler)


def test_ctrl_c_and_a_signal_end_a_run() -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    ending._came.clear()
    with pytest.raises(SystemExit) as ended:
        signal.raise_signal(signal.SIGTERM)
    assert ended.value.code == 128 + signal.SIGTERM


def test_a_child_is_known_before_the_signal_is_raised() -> None:
    children: list[str] = []

    def start() -> None:
        with known():
            signal.raise_signal(signal.SIGINT)
            children.append("started")

    with pytest.raises(KeyboardInterrupt):
        start()
    assert children == ["started"]


def test_a_signal_that_was_dropped_ends_the_run_at_the_next_child() -> None:
    with suppress(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), known():
        raise AssertionError("no child is started any more")


def test_a_failure_to_start_is_told_as_itself() -> None:
    with pytest.raises(OSError, match="no such program"), known():
        raise OSError("no such program")
