"""A coordinator's life: member, log and service, and which link is for which.

What it is: wiring. What it is not: any rule of its parts, or a process (`main.py`).

Invariants: a link of another coordinator goes to the log, any other to the service; of two
coordinators the one with the lower name dials.

Worked example: member a of a, b, c listens for all, and dials b and c.

Tested in tests/unit/coordinator/test_role.py, tests/sim, tests/e2e/test_dev_cluster.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from kubebraid.base.links import Link, Mesh
from kubebraid.base.tabletmap import TabletMap

from .member import Member
from .raft.node import Config, RaftLog, World
from .service import CoordinatorService
from .transition import Found

ROLE: Final = "coordinator"


@dataclass(frozen=True, slots=True)
class CoordinatorOptions:
    """`members`: name -> address of all; `founding`: the id and the first map of a cluster that is
    new; `incarnation`: drawn by this process."""

    name: str
    cluster: str
    listen: str
    members: Mapping[str, str]
    incarnation: int
    founding: tuple[str, TabletMap] | None = None


class _Switch:
    """LinkUser: each link to the part that its peer's role is for."""

    def __init__(self, log: RaftLog, service: CoordinatorService) -> None:
        self._log = log
        self._service = service

    def opened(self, link: Link) -> None:
        if link.peer.role == ROLE:
            self._log.opened(link)
        else:
            self._service.opened(link)

    def received(self, link: Link, kind: int, body: bytes) -> None:
        if link.peer.role == ROLE:
            self._log.received(link, kind, body)
        else:
            self._service.received(link, kind, body)

    def closed(self, link: Link) -> None:
        if link.peer.role == ROLE:
            self._log.closed(link)
        else:
            self._service.closed(link)


class CoordinatorRole:
    """A Part of the loop; the links' network comes behind it."""

    def __init__(self, options: CoordinatorOptions, mesh: Mesh, world: World) -> None:
        """Raises IdentityRefused, JournalDamaged, OSError."""
        found = options.founding
        founding = None if found is None else Found(*found)
        node = f"{options.name}#{options.incarnation}"
        self.member = Member(node, world.clock, founding)
        bootstrap = None if founding is None else options.cluster
        config = Config(options.name, tuple(sorted(options.members)), bootstrap)
        self.log = RaftLog(config, self.member, world)
        self.member.attach(self.log)
        self.service = CoordinatorService(self.member, self.log.standing)
        switch = _Switch(self.log, self.service)
        mesh.listen(options.listen, switch)
        for name, address in sorted(options.members.items()):
            if name > options.name:
                mesh.dial(address, switch)

    def turn(self) -> bool:
        """What the log brings, what follows from it, and who has to hear of it."""
        more = self.log.turn()
        more |= self.member.turn()
        return self.service.turn() or more

    def next_deadline_ms(self) -> int | None:
        deadlines = [self.log.next_deadline_ms(), self.member.next_deadline_ms()]
        return min((d for d in deadlines if d is not None), default=None)

    def release(self, done: Callable[[], None]) -> None:
        """A planned end: hand the sequencer's lease back; nobody waits for its end then."""
        self.member.release(done)
