"""The line that moves while migrations go on: how far, how fast, how long still.

What it is: lists of migrations, one after the other, to a line; drawn in place on a terminal,
elsewhere written when a phase changes. What it is not: the wait (`wait.py`).

Words: a migration's *part done* is 1 when it has ended, behind the switch nearly 1, and before that
the copied share of its size, if both are known.

Invariants: the bar never goes back, though a copy that is checked again counts anew.

Worked example: [#########-------------] 1/2 move-pods-7f3a preparing 30 of 90 MiB, 10 MiB/s, lag
12, about 6s.

Tested in tests/unit/cli/test_ctl_progress.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TextIO

from kubebraid.proto.adminreshard import Progress

from .figures import duration, size

WIDTH: Final = 22
COLUMNS: Final = 110
PARTS: Final = {"planned": 0.0, "ready": 0.9, "frozen": 0.92, "committed": 0.95, "draining": 0.97}
COPYING_MOST: Final = 0.88  # of a migration; sizes are estimates
SMOOTH: Final = 0.5  # what the newest rate counts for


def part_done(m: Progress) -> float:
    """From 0 to 1."""
    if m.ended:
        return 1.0
    if m.phase in PARTS:
        return PARTS[m.phase]
    return min(COPYING_MOST, m.bytes / m.step.bytes) if m.step.bytes else 0.0


class Meter:
    """Of one wait: fed with lists, it says how things stand."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, int]] = {}  # id: at ms, bytes then
        self._rates: dict[str, float] = {}
        self._shown = 0.0

    def line(self, migrations: Sequence[Progress], now_ms: int) -> str:
        """One line."""
        for m in migrations:
            self._measure(m, now_ms)
        parts = [part_done(m) for m in migrations]
        self._shown = max(self._shown, sum(parts) / len(parts) if parts else 0.0)
        full = int(WIDTH * self._shown)
        ended = sum(m.ended for m in migrations)
        bar = f"[{'#' * full}{'-' * (WIDTH - full)}] {ended}/{len(migrations)}"
        going = next((m for m in migrations if not m.ended and m.phase != "planned"), None)
        going = going or next((m for m in migrations if not m.ended), None)
        return bar if going is None else f"{bar} {self._told(going)}"[:COLUMNS]

    def _measure(self, m: Progress, now_ms: int) -> None:
        before = self._seen.get(m.step.id)
        self._seen[m.step.id] = (now_ms, m.bytes)
        if before is None or now_ms <= before[0]:
            return
        rate = max(0.0, (m.bytes - before[1]) * 1_000 / (now_ms - before[0]))
        known = self._rates.get(m.step.id)
        self._rates[m.step.id] = rate if known is None else known + SMOOTH * (rate - known)

    def _told(self, m: Progress) -> str:
        text = f"{m.step.id} {m.phase}"
        if m.phase == "planned":
            return f"{text}{f', after {m.step.after}' if m.step.after else ', waits for its turn'}"
        if m.phase != "preparing" or m.step.shares_rows:
            return f"{text}, lag {m.lag}"
        rate = self._rates.get(m.step.id, 0.0)
        # Sizes are of what is live; old versions are copied, too.
        left = (m.step.bytes or 0) - m.bytes
        of = f" of {size(m.step.bytes)}" if m.step.bytes and left >= 0 else ""
        text += f" {size(m.bytes)}{of}, {size(rate)}/s, lag {m.lag}"
        if rate > 0 and left > 0:
            text += f", about {duration(left * 1_000 / rate)}"
        return text


class Screen:
    """Where it is drawn: on a terminal in place, otherwise a line for each change of phase."""

    def __init__(self, stream: TextIO, now_ms: Callable[[], int]) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._now_ms = now_ms
        self._meter = Meter()
        self._phases: dict[str, str] = {}

    def show(self, migrations: Sequence[Progress]) -> None:
        line = self._meter.line(migrations, self._now_ms())
        if self._live:
            self._write(f"\r\033[K{line}")
            return
        for m in migrations:
            if self._phases.get(m.step.id) != m.phase:
                self._phases[m.step.id] = m.phase
                why = f" ({m.why})" if m.why and m.phase in ("ready", "aborted") else ""
                self._write(f"{m.step.id}: {m.phase}{why}\n")

    def say(self, text: str) -> None:
        """Something that stays."""
        self.clear()
        self._write(f"{text}\n")

    def clear(self) -> None:
        """Leave the line to others."""
        if self._live:
            self._write("\r\033[K")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
