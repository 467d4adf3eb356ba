"""Leases in the seeds that have migrations: granted, attached to keys of all tablets, revoked.

What it is: the clients' requests about leases, and the judge of what became of the keys. What it is
not: expiry; the leases here outlive every run (tests/property has time).

Invariants that it judges: inv21 (behind a revocation no key is attached to the lease, and none is
attached later; a key vanishes for a reason; a lease that nobody has revoked is there).

Worked example: lease 7 has /b/9 when tablet b moves to s1; it is revoked, and /b/9 goes.

Tested in tests/sim/test_breaches.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from kubebraid.proto.etcd import rpc_pb2

from .verdict import Violation

if TYPE_CHECKING:
    from .client import Call
    from .world import World

LEASED: Final = tuple(b"/%c/%d" % (prefix, n) for prefix in b"abc" for n in range(4, 10))
LEASES_MAX: Final = 40
TTL_S: Final = 100_000
NOT_FOUND: Final = "etcdserver: requested lease not found"
ALL: Final = 1 << 40


class Leases:
    """Of all clients."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._made = 0
        self.granted: dict[int, None] = {}
        self.revoking: dict[int, None] = {}

    def request(self, value: bytes) -> tuple[str, Any]:
        """The next one; `value`: of a put."""
        random = self._world.random
        alive = self._alive()
        draw = random.random()
        if not alive or (draw < 0.35 and self._made < LEASES_MAX):
            self._made += 1
            return "LeaseGrant", rpc_pb2.LeaseGrantRequest(ID=self._made, TTL=TTL_S)
        lease = random.choice(alive)
        if draw < 0.55:
            self.revoking[lease] = None
            return "LeaseRevoke", rpc_pb2.LeaseRevokeRequest(ID=lease)
        key = random.choice(LEASED)
        return "Put", rpc_pb2.PutRequest(key=key, value=value, lease=lease)

    def _alive(self) -> list[int]:
        return [lease for lease in self.granted if lease not in self.revoking]

    def last_requests(self) -> list[Any]:
        """To revoke most of those that are left."""
        chosen = [lease for lease in self._alive() if self._world.chance(0.8)]
        self.revoking |= dict.fromkeys(chosen)
        return [rpc_pb2.LeaseRevokeRequest(ID=lease) for lease in chosen]

    def answered(self, call: Call) -> None:
        if call.method == "LeaseGrant" and call.code == 0:
            self.granted[call.request.ID] = None

    def refused_rightly(self, call: Call) -> bool:
        """Whether a lease may have been missing, or have been there before."""
        if call.method == "LeaseGrant":
            return "exists" in call.text  # the try before was unknown
        lease = call.request.lease if call.method == "Put" else getattr(call.request, "ID", 0)
        if call.text != NOT_FOUND or not lease:
            return False
        return lease not in self.granted or lease in self.revoking


def check_leases(world: World) -> None:
    """Of a run that has settled, its history checked."""
    ended: dict[int, int] = {}
    for call in world.clients.calls:
        if call.method == "LeaseRevoke" and call.code == 0:
            ended[call.request.ID] = call.answer.header.revision
    truth = world.truth
    for revision in truth.revisions():
        for version in truth.commits[revision]:
            if version.lease in ended and revision > ended[version.lease]:
                raise Violation("inv21", f"{version} was attached behind {ended[version.lease]}")
            if version.value is None and version.key in LEASED:
                _check_reason(world, version.key, revision)
    for key in truth.all_keys():
        last = truth.at(key, ALL)
        if last is not None and last.lease in ended:
            raise Violation("inv21", f"{last} outlived its lease")


def _check_reason(world: World, key: bytes, revision: int) -> None:
    before = world.truth.at(key, revision - 1)
    if before is not None and before.lease in world.clients.leases.revoking:
        return
    for call in world.clients.calls:
        if call.method != "DeleteRange" or call.definite:
            continue
        request = call.request
        meant = request.key <= key < (request.range_end or request.key + b"\x00")
        if meant and (call.code != 0 or call.answer.header.revision == revision):
            return
    raise Violation("inv21", f"{before} was deleted at {revision}, and nobody asked for it")
