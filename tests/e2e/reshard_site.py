"""A cluster whose migrations are led by hand and whose processes are killed.

What it is: commands that may be killed, migrations to the phase in which a test wants them, kills,
and an operator's words, each said twice. What it is not: which process is killed when
(test_cluster_reshard_kill.py).

Invariants: each wait has a bound; a word that is repeated changes nothing, or the test fails here.

Worked example: `say_twice(site, "cancel", "move-pods-1f", "aborted")` says it until it is done,
says it once more, and compares phase, version and tablets.

Tested by the tests that use it.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from typing import Final

from kubebraid.base.errors import KubeBraidError
from kubebraid.cli.ctl.ask import Routers
from kubebraid.proto import adminreshard as wire
from kubebraid.proto.adminreshard import Progress
from tests.e2e.processes import Process, Supervisor, Timeout, wait_for
from tests.e2e.reshard_ops import Ctl, Tablet
from tests.e2e.store import Store, kubebraid_environment

ORDER: Final = (
    "planned",
    "preparing",
    "ready",
    "frozen",
    "committed",
    "draining",
    "done",
    "aborted",
)
ASK_S_MAX: Final = 5.0
PHASE_S_MAX: Final = 30.0
SETTLED_S_MAX: Final = 60.0


class Site:
    """The cluster, its operator and its kills."""

    def __init__(self, store: Store, supervisor: Supervisor) -> None:
        self.store = store
        self.ctl = Ctl(store.endpoints)
        self._supervisor = supervisor
        self._routers = Routers(store.endpoints)

    def operator(self, *words: str) -> Process:
        """A command that may be killed."""
        argv = self.ctl.argv(*words, "--yes")
        return self._supervisor.add("ctl", argv, env=kubebraid_environment()).start()

    def all_migrations(self) -> tuple[Progress, ...]:
        """Raises KubeBraidError."""
        body = wire.encode_list_request(())
        return self._routers.call(wire.LIST_RESHARD, body, wire.decode_list, ASK_S_MAX)

    def migrations(self) -> tuple[Progress, ...]:
        """None while nobody answers."""
        try:
            return self.all_migrations()
        except KubeBraidError:
            return ()

    def known(self) -> frozenset[str]:
        """The ids of all. Raises KubeBraidError."""
        return frozenset(m.step.id for m in self.all_migrations())

    def unfinished(self, known: frozenset[str]) -> list[str]:
        """The ids of those that were not known, and have not ended. Raises KubeBraidError."""
        found = (m for m in self.all_migrations() if not m.ended)
        return [m.step.id for m in found if m.step.id not in known]

    def new(self, known: frozenset[str]) -> Progress:
        """The migration that was not known before."""
        return wait_for(
            "a new migration",
            lambda: next((m for m in self.migrations() if m.step.id not in known), None),
            PHASE_S_MAX,
        )

    def progress(self, name: str) -> Progress | None:
        return next((m for m in self.migrations() if m.step.id == name), None)

    def reached(self, name: str, phase: str) -> str:
        """The phase in which it was seen, as soon as that is the wanted one or a later one."""
        end = time.monotonic() + PHASE_S_MAX
        while time.monotonic() < end:  # as fast as it is answered: some phases last milliseconds
            seen = self.progress(name)
            if seen is not None and ORDER.index(seen.phase) >= ORDER.index(phase):
                return seen.phase
        raise Timeout(f"{name} did not come to {phase}")

    def settled(self, name: str, phases: Sequence[str]) -> Progress:
        """Once it is in one of these."""

        def probe() -> Progress | None:
            seen = self.progress(name)
            return seen if seen is not None and seen.phase in phases else None

        return wait_for(f"{name} to be in one of {phases}", probe, SETTLED_S_MAX)

    def sequencer(self) -> str:
        """Its name."""
        return self._routers.status().sequencer.name

    def owned(self, shard: str) -> list[Tablet]:
        """Its tablets. Raises KubeBraidError."""
        return [tablet for tablet in self.ctl.tablets() if tablet.shard == shard]

    def kill(self, name: str) -> Callable[[], object]:
        """SIGKILL; what waits for the process in its place."""
        pid = self.store.members.signal(name, signal.SIGKILL)
        return lambda: self.store.members.restarted(name, pid)


def say_twice(site: Site, word: str, move: str, goal: str) -> None:
    """Until it is there; what is said once more then changes nothing."""

    def said() -> bool:
        return site.ctl.run("reshard", word, move, "--yes").code == 0

    wait_for(f"{word} to be done", said, SETTLED_S_MAX)
    before = site.settled(move, (goal,))
    tablets = site.ctl.tablets()
    repeated = site.ctl.run("reshard", word, move, "--yes")
    assert repeated.code in (0, 1), repeated
    after = site.settled(move, (goal,))
    assert (after.phase, after.version) == (before.phase, before.version)
    assert site.ctl.tablets() == tablets
