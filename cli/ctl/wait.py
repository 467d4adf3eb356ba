"""Waits until migrations are where their operator wants them, whoever dies meanwhile.

What it is: the list asked for again and again, and what its end means. What it is not: needed by
the migrations: they go on without it.

Words: a *goal* is a set of phases; a migration has *failed* when it ended elsewhere, or went back
behind the word that was to bring it there.

Invariants: a router that does not answer ends no wait: the next is asked; an end that is told was
seen in a list.

Worked example: the goal done, and the list says aborted: failed, with the reason of the migration.

Tested in tests/unit/cli/test_ctl_wait.py.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Final, NamedTuple

from kubebraid.base.errors import KubeBraidError
from kubebraid.proto.adminreshard import Progress

from .progress import Screen

ASK_EVERY_S: Final = 0.3
AWAY_S_MAX: Final = 60.0  # without any router: then the operator is told, the migrations go on
MISSING_MAX: Final = 10  # lists that do not have what was recorded: its coordinator lags, or not


class Lost(KubeBraidError):
    """How it ends cannot be seen any more."""

    definite = False
    hint = "it goes on without this command; look at 'kubebraid ctl reshard list'"


class Seen(NamedTuple):
    """The newest list of what is waited for."""

    migrations: tuple[Progress, ...]
    reached: bool
    failed: tuple[Progress, ...]


class Waits:
    """How a wait asks, and how it passes the time."""

    def __init__(
        self,
        ask: Callable[[Sequence[str]], tuple[Progress, ...]],
        pause: Callable[[float], None],
        screen: Screen,
        now_ms: Callable[[], int],
    ) -> None:
        self._ask = ask
        self._pause = pause
        self._screen = screen
        self._now_ms = now_ms

    def until(self, ids: Sequence[str], goal: Collection[str], said_ms: int | None = None) -> Seen:
        """Until all are in a phase of `goal`, or have failed. said_ms: before the word was said
        (a switch), so that READY since then is a failure. Raises Lost."""
        away_s, missing = 0.0, 0
        while True:
            try:
                found = self._ask(ids)
            except KubeBraidError as error:
                away_s += ASK_EVERY_S
                if away_s > AWAY_S_MAX:
                    raise Lost(str(error)) from None
            else:
                away_s = 0.0
                missing = missing + 1 if len(found) < len(ids) else 0
                if missing > MISSING_MAX:
                    raise Lost(f"of {', '.join(ids)} not all are known to the coordinators")
                self._screen.show(found)
                # By the clock: while a sequencer is elected one question alone takes seconds.
                since_ms = 0 if said_ms is None else self._now_ms() - said_ms
                failed = tuple(m for m in found if _failed(m, goal, since_ms))
                settled = [m for m in found if m.phase in goal or m in failed]
                if len(settled) == len(ids):
                    self._screen.clear()
                    return Seen(found, not failed, failed)
            self._pause(ASK_EVERY_S)


def _failed(m: Progress, goal: Collection[str], since_ms: int) -> bool:
    if m.phase in goal:
        return False
    if m.ended:
        return True
    # It came back to READY behind the word; if by way of PREPARING, it has forgotten why.
    return m.phase == "ready" and m.phase_ms < since_ms
