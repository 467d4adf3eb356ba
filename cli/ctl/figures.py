"""Sizes and times as people read them.

What it is: numbers to short texts. What it is not: for scripts; those get bytes and milliseconds.

Worked example: `size(3_670_016)` is "3.5 MiB", `duration(90_500)` is "1m30s".

Tested in tests/unit/cli/test_ctl_shown.py.
"""

from __future__ import annotations

from typing import Final

UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


def size(count: int | float) -> str:
    """Bytes."""
    step = 0
    while count >= 1024 and step < len(UNITS) - 1:
        count /= 1024
        step += 1
    places = 0 if step == 0 or count >= 100 else 1
    return f"{count:.{places}f} {UNITS[step]}"


def duration(ms: int | float) -> str:
    """Milliseconds."""
    if ms < 1_000:
        return f"{ms:.0f}ms"
    seconds = int(ms / 1_000)
    if seconds < 60:
        return f"{seconds}s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes}m{seconds:02d}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m"
