"""A status as JSON documents, whose keys scripts may rely on.

What it is: values to plain dicts. What it is not: the wire's own names, which may change.

Invariants: keys are only ever added; a range without an end, and what is not known, is null.

Worked example: docs/operating/ctl.md has one of each.

Tested in tests/unit/cli/test_ctl.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from kubebraid.proto.adminwire import ClusterStatus, Tablet

from .problems import Problem

Document: TypeAlias = dict[str, object]


def tablet_list(status: ClusterStatus) -> Document:
    return {"tablets": [tablet_document(tablet) for tablet in status.tablets]}


def shard_list(status: ClusterStatus) -> Document:
    return {
        "shards": [
            {
                "name": shard.name,
                "address": shard.address,
                "state": shard.state,
                "host": shard.host or None,
                "incarnation": shard.incarnation,
                "tablets": len(status.tablets_of(shard.name)),
                "store": shard.store,
                "disk_bytes": shard.disk_bytes,
                "used_bytes": shard.used_bytes,
                "leases": shard.leases,
            }
            for shard in status.shards
        ]
    }


def coordinator_status(status: ClusterStatus) -> Document:
    sequencer = status.sequencer
    return {
        "coordinators": [
            {
                "name": member.name,
                "address": member.address,
                "state": member.state,
                "applied": member.applied,
                "term": member.term,
                "leader": member.leader or None,
            }
            for member in status.coordinators
        ],
        "sequencer": {
            "name": sequencer.name or None,
            "serves": sequencer.serves,
            "cepoch": sequencer.cepoch,
            "revision": status.revision,
            "window": sequencer.window,
            "renewals": sequencer.renewals,
        },
    }


def whole(status: ClusterStatus, found: Iterable[Problem]) -> Document:
    return {
        "cluster": status.cluster or None,
        "router": {"name": status.router, "version": status.version},
        "stale": status.stale,
        "revision": status.revision,
        "compact_revision": status.floor if status.floor >= 0 else None,
        "map_version": status.map_version,
        "alarms": [alarm._asdict() for alarm in status.alarms],
        **coordinator_status(status),
        **shard_list(status),
        **tablet_list(status),
        "problems": [{"what": problem.what, "do": problem.do} for problem in found],
    }


def tablet_document(tablet: Tablet) -> Document:
    return {
        "id": tablet.id,
        "name": tablet.name,
        "range": {"start": tablet.start, "end": tablet.end},
        "bucket": tablet.bucket,
        "buckets": tablet.buckets,
        "shard": tablet.shard,
        "oepoch": tablet.oepoch,
        "last": tablet.last,
        "closed": tablet.closed,
        "lag": tablet.lag,
    }
