"""Relays before stores that hold back what is under way, and deliver it later.

What it is: the relays of tests/robustness/proxy.py in their home of relays.py. What it is not: a
cut. What was held arrives, in order, as a slow network's late packets do, while
connections that are made meanwhile pass.

Worked example: a client sends a commit; `hold()`; the client gives up and connects anew, which
works; `release()`: now the commit arrives.

Tested by the tests that use it: tests/contract/test_tikv_late.py.
"""

from __future__ import annotations

from tests.robustness.proxy import Mode, Relay
from tests.tikv.relays import Relays


class Late(Relays):
    """Relays, each before one port of 127.0.0.1."""

    def __init__(self) -> None:
        super().__init__()
        self._held: list[Relay] = []

    def close(self) -> None:
        super().close()
        for silent in self._held:
            silent.close()

    def before(self, port: int) -> int:
        """The port of a new relay before this one."""
        return self.add(Relay(port))

    def hold(self) -> None:
        """Nothing passes on the connections that there are, either way."""
        self.now(self._hold)

    def _hold(self) -> None:
        for relay in self.relays:
            silent = Relay(relay.target)
            silent.ends, relay.ends = relay.ends, set()
            for end in silent.ends:
                end.relay = silent
            silent.turn(Mode.SILENT)
            self._held.append(silent)

    def release(self) -> None:
        """All that was held arrives."""
        self.now(self._release)

    def _release(self) -> None:
        for silent in self._held:
            silent.turn(Mode.PASS)
        self._held.clear()
