"""What every service of a router works with: the ports, the map, the header.

What it is: one bundle, made once per process and map version. What it is not: behaviour.

Tested through the services.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kubebraid.base.limits import REQUEST_BYTES_MAX, TXN_OPS_MAX
from kubebraid.base.ports import CoordinatorPort, OwnerPort, SequencerPort
from kubebraid.base.seams import Clock, Random
from kubebraid.base.tabletmap import TabletMap
from kubebraid.proto.kvwire import Header


@dataclass(frozen=True, slots=True)
class Context:
    """The router's surroundings."""

    owners: Mapping[str, OwnerPort]
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
