"""Leases in the seeds that have migrations: granted, attached to keys of all tablets, kept alive,
revoked, or left to expire.

What it is: the clients' requests about leases, what they were told of each, and the judge of what
became of the keys. What it is not: the renewals themselves (`keepers.py`).

Words: a *brief* lease has a TTL that ends within a run; each second one has a keeper, who renews it
until the end; a lease *surely lives* until a moment of true time that follows from its grant and
its renewals: its TTL by the fastest clock, counted from when the client asked.

Invariants that it judges: inv21 (behind a revocation no key is attached to the lease, and none is
attached later; a key vanishes for a reason; a lease that surely lives is there, and its keys are; a
brief lease that nobody renews any more is gone, and its keys are).

Worked example: lease 7 of 2 s has /b/9 when tablet b moves to s1; it was renewed at 5.0 s, and /b/9
goes at 6.8 s: early, for it surely lived until 6.9 s.

Tested in tests/sim/test_breaches.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from kubebraid.base.leasehome import home
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.shard import keycodec

from .clock import DRIFT_MAX
from .verdict import Violation

if TYPE_CHECKING:
    from .client import Call
    from .world import World

LEASED: Final = tuple(b"/%c/%d" % (prefix, n) for prefix in b"abc" for n in range(4, 10))
LEASES_MAX: Final = 40
BRIEF_S: Final = (1, 2)
LONG_S: Final = 100_000
NOT_FOUND: Final = "etcdserver: requested lease not found"
ALL: Final = 1 << 40
TICK_US: Final = 2_000  # a clock tells milliseconds


class Leases:
    """Of all clients."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._made = 0
        self.granted: dict[int, int] = {}  # its TTL in seconds
        self.revoking: dict[int, None] = {}
        self.lives_until: dict[int, int] = {}  # in true time; of those that were granted

    def request(self, value: bytes) -> tuple[str, Any]:
        """The next one; `value`: of a put."""
        random = self._world.random
        alive = self._alive()
        draw = random.random()
        if not alive or (draw < 0.35 and self._made < LEASES_MAX):
            self._made += 1
            ttl_s = random.choice((*BRIEF_S, LONG_S, LONG_S))
            return "LeaseGrant", rpc_pb2.LeaseGrantRequest(ID=self._made, TTL=ttl_s)
        lease = random.choice(alive)
        if draw < 0.5:
            self.revoking[lease] = None
            return "LeaseRevoke", rpc_pb2.LeaseRevokeRequest(ID=lease)
        key = random.choice(LEASED)
        return "Put", rpc_pb2.PutRequest(key=key, value=value, lease=lease)

    def _alive(self) -> list[int]:
        return [lease for lease in self.granted if lease not in self.revoking]

    def kept(self) -> list[int]:
        """The brief ones that are to be renewed."""
        return [x for x in self._alive() if x % 2 and self.granted[x] in BRIEF_S]

    def last_requests(self) -> list[Any]:
        """To revoke most of those that are left, and would stay."""
        left = [lease for lease in self._alive() if self.granted[lease] not in BRIEF_S]
        chosen = [lease for lease in left if self._world.chance(0.8)]
        self.revoking |= dict.fromkeys(chosen)
        return [rpc_pb2.LeaseRevokeRequest(ID=lease) for lease in chosen]

    # -- what comes back -----------------------------------------------------------------------

    def answered(self, call: Call) -> None:
        if call.method == "LeaseGrant" and call.code == 0:
            self.granted[call.request.ID] = call.answer.TTL
            self.renewed(call.request.ID, call.asked_us)
        elif call.method == "Put" and call.text == NOT_FOUND:
            self.missed(call.request.lease)

    def renewed(self, lease: int, asked_us: int) -> None:
        """A grant or a renewal that was asked for then was answered: its TTL began later."""
        until = asked_us + int(self.granted[lease] * 1_000_000 / (1 + DRIFT_MAX)) - TICK_US
        self.lives_until[lease] = max(self.lives_until.get(lease, 0), until)

    def missed(self, lease: int) -> None:
        """Somebody was told that it is not there."""
        until = self.lives_until.get(lease, 0)
        if lease not in self.revoking and self._world.now < until:
            raise Violation("inv21", f"lease {lease} was not found, and lives until {until}")

    def refused_rightly(self, call: Call) -> bool:
        """Whether a lease may have been missing (`missed` has judged those that were granted), or
        have been there before."""
        if call.method == "LeaseGrant":
            return "exists" in call.text  # the try before was unknown
        lease = call.request.lease if call.method == "Put" else getattr(call.request, "ID", 0)
        if call.text != NOT_FOUND or not lease:
            return False
        return self.granted.get(lease) != LONG_S or lease in self.revoking

    # -- the end -------------------------------------------------------------------------------

    def overdue(self) -> Iterator[str]:
        """What the shards of the newest map still have of brief leases."""
        tablets = self._world.truth.owners.newest
        brief = [lease for lease, ttl_s in self.granted.items() if ttl_s in BRIEF_S]
        engines = {shard.name: shard.engine for shard in self._world.shards}
        for lease in brief:
            at = home(tablets, lease).shard
            if engines[at].get(keycodec.lease(lease)) is not None:
                yield f"{at} has lease {lease}"
            for name, engine in engines.items():
                for stored in engine.keys(*keycodec.attachment_bounds(lease), ALL):
                    key = keycodec.attached_key(stored)
                    if tablets.tablet_of(key).shard == name:
                        yield f"{name} has {key!r} of lease {lease}"


def check_leases(world: World) -> None:
    """Of a run that has settled, its history checked."""
    ended: dict[int, int] = {}
    for call in world.clients.calls:
        if call.method == "LeaseRevoke" and call.code == 0:
            ended[call.request.ID] = call.answer.header.revision
    truth = world.truth
    granted = world.clients.leases.granted
    for revision in truth.revisions():
        for version in truth.commits[revision]:
            if version.lease in ended and revision > ended[version.lease]:
                raise Violation("inv21", f"{version} was attached behind {ended[version.lease]}")
            if version.value is None and version.key in LEASED:
                _check_reason(world, version.key, revision)
    for key in truth.all_keys():
        last = truth.at(key, ALL)
        if last is not None and (last.lease in ended or granted.get(last.lease) in BRIEF_S):
            raise Violation("inv21", f"{last} outlived its lease")


def _check_reason(world: World, key: bytes, revision: int) -> None:
    before = world.truth.at(key, revision - 1)
    leases = world.clients.leases
    if before is not None and before.lease in leases.revoking:
        return
    for call in world.clients.calls:
        if call.method != "DeleteRange" or call.definite:
            continue
        request = call.request
        meant = request.key <= key < (request.range_end or request.key + b"\x00")
        if meant and (call.code != 0 or call.answer.header.revision == revision):
            return
    if before is None or not before.lease:
        raise Violation("inv21", f"{before} was deleted at {revision}, and nobody asked for it")
    at_us = world.truth.landed_us[revision]
    until = leases.lives_until.get(before.lease, 0)
    if at_us < until:
        raise Violation("inv21", f"{before} was deleted at {at_us}, its lease lives until {until}")
