"""The operators' API: one answer that shows the whole cluster, also where much of it is gone.

What it is: ClusterStatus of kubebraid.admin.v1: what each coordinator says of itself, joined with
what this router knows of shards and tablets. What it is not: an opinion (cli/ctl/problems.py).

Words: a *round* is one answer being gathered; a coordinator that is connected and does not answer
in ROUND_MS_MAX is told as silent.

Invariants:
- every call is answered, in ROUND_MS_MAX at most, whoever is gone;
- revision and `last` are of one sample; without a sequencer they are the router's, marked stale.

Worked example: b of a, b, c is killed: a and c answer, b has no link, so it is told as unreachable.

Tested in tests/unit/router/test_admin.py, tests/e2e/test_ctl_cluster.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from kubebraid import VERSION
from kubebraid.base.ports import ClusterView, Sample, ShardPlace
from kubebraid.proto import adminwire as wire
from kubebraid.proto import requests
from kubebraid.proto.adminwire import ClusterStatus, Coordinator, Load, Sequencer, Shard, Tablet
from kubebraid.proto.coordinator_client import CoordinatorClient
from kubebraid.proto.coordinator_wire import MemberStatus

from .answers import Caller
from .context import Context
from .members import present, reachable
from .merge import View

ROUND_MS_MAX: Final = 500  # a coordinator that lives answers in its next turn


class _Round:
    """One call, and who has still to be heard."""

    def __init__(self, caller: Caller, until_ms: int) -> None:
        self.caller = caller
        self.until_ms = until_ms
        self.asked: frozenset[str] = frozenset()
        self.answers: dict[str, MemberStatus | None] = {}

    def told(self, name: str, status: MemberStatus | None) -> None:
        self.answers[name] = status

    @property
    def complete(self) -> bool:
        return self.asked <= self.answers.keys()


class _Known(NamedTuple):
    """What an answer is made of, wherever it was learnt."""

    cluster: str
    coordinators: tuple[Coordinator, ...]
    sequencer: Sequencer
    sample: Sample | None
    places: Mapping[str, ShardPlace]


class AdminService:
    """Of one router; `turn` ends the rounds."""

    def __init__(self, context: Context, view: View) -> None:
        self._context = context
        self._view = view
        self._rounds: list[_Round] = []

    def cluster_status(self, caller: Caller, payload: bytes) -> None:
        requests.check_empty(payload)
        client = self._context.coordinator
        if not isinstance(client, CoordinatorClient):
            self._context.sequencer.read_revision(
                lambda sample: self._answer(caller, self._alone(sample))
            )
            return
        made = _Round(caller, self._context.clock.now_ms() + ROUND_MS_MAX)
        made.asked = client.ask_status(made.told)
        self._rounds.append(made)

    # -- the loop ------------------------------------------------------------------------------

    def turn(self) -> None:
        """Answer the rounds that are complete, or have waited long enough."""
        now_ms = self._context.clock.now_ms()
        rounds = self._rounds
        ended = [made for made in rounds if made.complete or now_ms >= made.until_ms]
        if not ended:
            return
        self._rounds = [made for made in rounds if made not in ended]
        for made in ended:
            client = self._context.coordinator
            assert isinstance(client, CoordinatorClient), "rounds are a cluster's"
            self._answer(made.caller, self._of_cluster(made, client.view))

    def next_deadline_ms(self) -> int | None:
        return min((made.until_ms for made in self._rounds), default=None)

    # -- the answer ----------------------------------------------------------------------------

    def _answer(self, caller: Caller, known: _Known) -> None:
        caller.edge.respond(caller.call_id, wire.encode_status(self._status(known)))

    def _status(self, known: _Known) -> ClusterStatus:
        context, sample = self._context, known.sample
        return ClusterStatus(
            router=context.name,
            version=VERSION,
            cluster=known.cluster,
            stale=sample is None,
            revision=self._view.revision if sample is None else sample.revision,
            floor=context.coordinator.compact_revision(),
            map_version=context.tablets.version,
            alarms=tuple(sorted(context.coordinator.alarms())),
            coordinators=known.coordinators,
            sequencer=known.sequencer,
            shards=self._shards(known.places),
            tablets=self._tablets(self._view.last if sample is None else sample.last),
        )

    def _alone(self, sample: Sample) -> _Known:
        """One process is its own coordinator."""
        name = self._context.name
        coordinator = Coordinator(name, "", wire.LEADER, name)
        return _Known("", (coordinator,), Sequencer(name, sample.cepoch, True), sample, {})

    def _of_cluster(self, made: _Round, view: ClusterView) -> _Known:
        coordinators = tuple(
            _coordinator(name, address, made)
            for name, address in sorted(self._context.coordinators.items())
        )
        places = {place.name: place for place in view.shards}
        serving = [s for s in made.answers.values() if s is not None and s.sample is not None]
        if not serving:
            last = Sequencer(view.sequencer, view.cepoch, False)
            return _Known(view.cluster, coordinators, last, None, places)
        best = max(serving, key=lambda status: status.cepoch)
        sequencer = Sequencer(best.holder, best.cepoch, True, best.window, best.renewals)
        return _Known(view.cluster, coordinators, sequencer, best.sample, places)

    def _shards(self, places: Mapping[str, ShardPlace]) -> tuple[Shard, ...]:
        found = []
        for name, owner in sorted(present(self._context).items()):
            place = places.get(name)
            status = owner.status()
            away = wire.NEVER if place is None else wire.DOWN
            shard = Shard(
                name=name,
                address="" if place is None else place.address,
                state=wire.UP if reachable(owner) else away,
                store="" if place is None else place.store,
                incarnation=0 if place is None else place.incarnation,
                disk_bytes=status.disk_bytes,
                used_bytes=status.used_bytes,
                leases=status.leases,
                host="" if place is None else place.host,
            )
            found.append(shard)
        return tuple(found)

    def _tablets(self, last: Mapping[int, int]) -> tuple[Tablet, ...]:
        loads = {
            (name, load.tablet): Load(*load[1:])
            for name, owner in self._context.owners.items()
            for load in owner.status().loads
        }
        return tuple(
            Tablet(
                tablet.id,
                tablet.name,
                *wire.range_text(tablet.span),
                tablet.bucket,
                tablet.buckets,
                tablet.shard,
                tablet.oepoch,
                tablet.begin,
                # A sample may be of the map before.
                last.get(tablet.id, tablet.begin),
                self._view.closed.get(tablet.id),
                loads.get((tablet.shard, tablet.id)),
            )
            for tablet in self._context.tablets.tablets
        )


def _coordinator(name: str, address: str, made: _Round) -> Coordinator:
    status = made.answers.get(name)
    if status is None:
        hangs = name in made.asked and name not in made.answers
        return Coordinator(name, address, wire.SILENT if hangs else wire.UNREACHABLE)
    if status.waiting:
        state = wire.WAITING
    elif not status.leader:
        state = wire.ALONE
    else:
        state = wire.LEADER if status.leader == name else wire.FOLLOWER
    return Coordinator(name, address, state, status.leader, status.term, status.applied)
