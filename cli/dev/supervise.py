"""The processes of dev-cluster: started, started again when they end, stopped in order.

What it is: what a service manager does, for one cluster on one machine. What it is not: how a
process is made (`launch` is given), or anything that happens inside one.

Invariants:
- a process is started again only after it was seen to end, later each time it ends young;
- a stop takes the routers first, then the shards, then the coordinators, and TiKV last, and goes on
  when each of them has ended, if need be by SIGKILL;
- `changed` is called after every start and end.

Worked example: shard-1 is killed: it is started again 0.2 s later; it ends at once, five times:
0.4, 0.8, 1.6, 2 and 2 s later.

Tested in tests/unit/cli/test_dev_supervise.py, tests/e2e/test_dev_cluster.py.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Collection, Sequence
from typing import Final, NamedTuple, Protocol

RESTART_FIRST_MS: Final = 200
RESTART_MOST_MS: Final = 2_000
SETTLED_MS: Final = 10_000  # who lived so long ended for another reason than its start
STOP_GRACE_MS: Final = 8_000  # above a router's own grace (DRAIN_GRACE_S) and role.DRAIN_S_MAX
PD: Final = "pd"  # of a TiKV that is dev-cluster's own (tikv.py)
STORE: Final = "store"
ROLES: Final = ("coordinator", "shard", "router")
STOP_ORDER: Final = ("router", "shard", "coordinator", STORE, PD)


class Spec(NamedTuple):
    """A process that is to run. `address` is host:port."""

    role: str
    name: str
    address: str


class Running(Protocol):
    """One run of a process; subprocess.Popen is one."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""

    def send_signal(self, sig: int) -> None: ...


class Child:
    """A process over all of its runs."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.starts = 0
        self.code: int | None = None  # of the last run, once it has ended
        self.pid = 0  # of the present or the last run
        self._running: Running | None = None
        self._started_ms = 0
        self._delay_ms = RESTART_FIRST_MS
        self.due_ms: int | None = None  # of the next start

    @property
    def is_up(self) -> bool:
        return self._running is not None

    def start(self, running: Running, now_ms: int) -> None:
        self._running, self.pid = running, running.pid
        self._started_ms = now_ms
        self.starts += 1
        self.code = self.due_ms = None

    def look(self, now_ms: int, restarts: Callable[[Spec, int], bool]) -> bool:
        """Whether it has ended since the last look."""
        code = None if self._running is None else self._running.poll()
        if code is None:
            return False
        self._running, self.code = None, code
        if restarts(self.spec, code):
            if now_ms - self._started_ms >= SETTLED_MS:
                self._delay_ms = RESTART_FIRST_MS
            self.due_ms = now_ms + self._delay_ms
            self._delay_ms = min(2 * self._delay_ms, RESTART_MOST_MS)
        return True

    def signal(self, number: signal.Signals) -> None:
        """Nothing, if it has ended."""
        if self._running is not None:
            self._running.send_signal(number)


class Supervisor:
    """All processes of the cluster. One thread calls it, the one that may make processes."""

    def __init__(
        self,
        specs: Sequence[Spec],
        launch: Callable[[Spec], Running],
        restarts: Callable[[Spec, int], bool],
        changed: Callable[[Child], None],
    ) -> None:
        """`restarts`: whether a process that ended with this code is started again."""
        self.children = [Child(spec) for spec in specs]
        self._launch = launch
        self._restarts = restarts
        self._changed = changed

    def start(self, now_ms: int, roles: Collection[str]) -> None:
        """All of these roles, for the first time."""
        for child in self.children:
            if child.spec.role in roles:
                self._start(child, now_ms)

    def _start(self, child: Child, now_ms: int) -> None:
        child.start(self._launch(child.spec), now_ms)
        self._changed(child)

    def tick(self, now_ms: int) -> None:
        """Look after each."""
        for child in self.children:
            if child.look(now_ms, self._restarts):
                self._changed(child)
            elif child.due_ms is not None and now_ms >= child.due_ms:
                self._start(child, now_ms)

    def stop(self, now_ms: Callable[[], int], wait: Callable[[], None]) -> None:
        """All of them; returns when none is left. `wait` passes a moment."""
        for role in STOP_ORDER:
            children = [child for child in self.children if child.spec.role == role]
            for child in children:
                child.signal(signal.SIGTERM)
            kill_ms = now_ms() + STOP_GRACE_MS
            while any(child.is_up for child in children):
                for child in children:
                    child.look(now_ms(), _never)
                    if now_ms() >= kill_ms:
                        child.signal(signal.SIGKILL)
                wait()

    def signal(self, number: signal.Signals) -> None:
        """To all that run."""
        for child in self.children:
            child.signal(number)


def _never(_spec: Spec, _code: int) -> bool:
    return False
