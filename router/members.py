"""Which shards a cluster has, as a router knows them, and whether one may be removed.

What it is: the owners that the newest state of the coordinators names, and the sentences for an
operator who removes one too early. What it is not: the removal (the coordinators', by their log),
or a shard's own view of its transactions (shard/across.py).

Invariants:
- a shard is removed only by its own word that it owns nothing and that nobody has to ask it for the
  outcome of a transaction: nothing can come behind that, for who owns nothing takes part in no
  new one;
- an owner that was removed keeps its client, and is not shown.

Worked example: shard-2 is drained and holds one decision that shard-0, which is down, has not
applied: it is not removed before shard-0 is back.

Tested in tests/unit/router/test_members.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from kubebraid.base.across import ShardPort
from kubebraid.proto.coordinator_client import CoordinatorClient
from kubebraid.proto.owner_client import OwnerClient

from .context import Context


def present(context: Context) -> Mapping[str, ShardPort]:
    """Those that are of the cluster now, by name; of one process its own."""
    client = context.coordinator
    if not isinstance(client, CoordinatorClient):
        return context.owners
    known = {place.name for place in client.view.shards}
    known |= {tablet.shard for tablet in context.tablets.tablets}
    return {name: owner for name, owner in context.owners.items() if name in known}


def reachable(owner: ShardPort) -> bool:
    """Whether there is a link to it now."""
    return not isinstance(owner, OwnerClient) or owner.connected


def hindered(name: str, context: Context) -> str:
    """Why a shard that is present cannot be removed now; empty: nothing is known against it."""
    owned = sum(tablet.shard == name for tablet in context.tablets.tablets)
    if owned:
        return f"{name} owns {owned} tablets; first 'shard drain {name}'"
    owner = context.owners[name]
    if not reachable(owner):
        return (
            f"{name} cannot be reached, and only {name} knows whether others have still to ask it "
            "for the outcome of a transaction; start it again"
        )
    if isinstance(owner, OwnerClient) and not owner.spoke:
        return f"{name} has just been reached and has said nothing of itself; repeat the command"
    status = owner.status()
    if status.tablets:
        return f"{name} has not heard yet that its last tablet is gone; repeat the command"
    if status.undecided:
        return (
            f"{name} holds the outcome of {status.undecided} transactions that other shards have "
            "not applied; see that all shards are up, and repeat the command"
        )
    return ""
