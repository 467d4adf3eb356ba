"""Clients in threads of their own, that write until the block ends.

What it is: their start, their end, and the wait until each has done some more. What it is not: what
they write, and to whom (load.py, reshard_traffic.py).

Invariants: a client that fails by an exception of its own is as wrong as one that saw something
wrong; no thread outlives the block unnoticed.

Worked example: `with Crew(writers) as crew: crew.wait_for_more(2, 30)` fails as soon as one of them
has found anything wrong, or has not done two more within 30 s.

Tested by the tests that use it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final, Generic, Protocol, Self, TypeVar

from tests.e2e.processes import wait_for

JOIN_S_MAX: Final = 90.0


class Worker(Protocol):
    """A client. `wrong`: what must never be; done: how many of its writes were acknowledged."""

    wrong: list[str]

    @property
    def done(self) -> int: ...

    def run(self, stop: threading.Event) -> None:
        """Until told to stop, or until something was wrong."""


W = TypeVar("W", bound=Worker)


class Crew(Generic[W]):
    """A thread for each; as a context they write while the block runs."""

    def __init__(self, writers: Sequence[W]) -> None:
        self.writers = list(writers)
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._guarded, args=(writer,), daemon=True)
            for writer in self.writers
        ]

    def _guarded(self, writer: W) -> None:
        try:
            writer.run(self._stop)
        except Exception as error:  # noqa: BLE001 - told by check(), in the test's own thread
            writer.wrong.append(repr(error))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(JOIN_S_MAX)
        assert not any(thread.is_alive() for thread in self._threads), "a writer hangs"

    def check(self) -> None:
        """Nothing was wrong so far."""
        wrong = [text for writer in self.writers for text in writer.wrong]
        assert not wrong, wrong

    def wait_for_more(self, writes: int, seconds: float) -> None:
        """Until every writer has so many more writes acknowledged."""
        goals = [writer.done + writes for writer in self.writers]

        def reached() -> bool:
            self.check()
            pairs = zip(self.writers, goals, strict=True)
            return all(writer.done >= goal for writer, goal in pairs)

        wait_for(f"{writes} more writes of every writer", reached, seconds)
