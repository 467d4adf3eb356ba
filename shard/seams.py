"""What a shard gets from its process besides engine and ports.

What it is: one value, so that a part's constructor names what it is, not where it lives. What it is
not: behaviour.

Tested with its users: tests/unit/shard/test_owner.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kubebraid.base.revision import Epoch
from kubebraid.base.seams import Clock

from .fencing import FenceDamaged
from .storage.engine import EngineError
from .storage.space import ENDLESS, Space

Background = Callable[[Callable[[], None], Callable[[], None]], None]


def inline(work: Callable[[], None], done: Callable[[], None]) -> None:
    """Blocking work where nobody else waits for the loop."""
    work()
    done()


def _unheard() -> None:
    """Nobody keeps an alarm."""


def _unmarked(_: Epoch) -> None:
    """There is no directory that keeps it."""


def ours_already() -> str:
    """A store that nobody else can reach."""
    return ""


@dataclass(frozen=True, slots=True)
class ShardSeams:
    """`on_fatal`: the store must not be served any more. `on_full`: the device is short of space.

    `background` runs blocking work elsewhere and calls back on the loop. `on_adopted`: the fences
    carry this owner epoch, durably; nothing is served yet. `take` makes the store ours, which may
    be another process's until then, and answers its id, if it is the store that knows it; raises
    EngineError.
    """

    clock: Clock
    on_fatal: Callable[[EngineError | FenceDamaged], None]
    background: Background = inline
    space: Space = ENDLESS
    on_full: Callable[[], None] = _unheard
    on_adopted: Callable[[Epoch], None] = _unmarked
    take: Callable[[], str] = ours_already
