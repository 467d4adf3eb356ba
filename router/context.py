"""What every service of a router works with: the ports, the map, the header.

What it is: one bundle, made once per process; only the map and the header's term change. What it is
not: behaviour.

Tested through the services.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kubebraid.base.across import ShardPort
from kubebraid.base.identity import cluster_id, member_id
from kubebraid.base.limits import REQUEST_BYTES_MAX, TXN_OPS_MAX
from kubebraid.base.ports import CoordinatorPort, SequencerPort
from kubebraid.base.seams import Clock, Random
from kubebraid.base.tabletmap import TabletMap
from kubebraid.proto.kvwire import Header

from .autosplit import OFF, Bounds


@dataclass(slots=True)
class Context:
    """The router's surroundings."""

    owners: Mapping[str, ShardPort]
    sequencer: SequencerPort
    coordinator: CoordinatorPort
    tablets: TabletMap
    header: Header
    clock: Clock
    random: Random
    name: str
    client_urls: tuple[str, ...]
    progress_interval_ms: int
    quota_bytes: int = 0  # 0: none
    request_bytes_max: int = REQUEST_BYTES_MAX
    txn_ops_max: int = TXN_OPS_MAX
    coordinators: Mapping[str, str] = field(default_factory=dict)  # name -> address; for operators
    auto_split: Bounds = OFF
    remote: bool = False  # owners and sequencer are other processes: what they refuse may pass

    def serving(self) -> list[ShardPort]:
        """The owners of the map's tablets: others may be gone for good."""
        names = {tablet.shard for tablet in self.tablets.tablets}
        return [self.owners[name] for name in sorted(names)]


def header_of(uuid: str, name: str, term: int) -> Header:
    """What every answer of this router begins with."""
    return Header(cluster_id(uuid), member_id(uuid, name), term)
