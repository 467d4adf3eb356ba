"""Hosts on the wire: that one lives, and what the coordinator that serves makes of it.

What it is: the codec of `Beat` and of its answer, pure. What it is not: the kinds of messages
(`coordinator_wire.py`), or what a silence means (coordinator/hosts.py).

Invariants: what is decoded is what was encoded; bytes that are no message of ours raise Malformed.

Worked example: `decode_beat(encode_beat(Beat("shard-1", 7, 30)))` is that beat again.

Tested in tests/unit/proto/test_hosts_wire.py.
"""

from __future__ import annotations

from kubebraid.base.ports import Beat

from .coordinator_reshard import checked
from .internal import coordinator_pb2 as pb


def encode_beat(beat: Beat) -> bytes:
    return pb.HostBeat(**beat._asdict()).SerializeToString()


@checked
def decode_beat(body: bytes) -> Beat:
    told = pb.HostBeat.FromString(body)
    return Beat(told.host, told.incarnation, told.load, told.leaving)


def encode_heard(others: int) -> bytes:
    """`others`: hosts that could take the shards of the one that is answered."""
    return pb.HostHeard(others=others).SerializeToString()


@checked
def decode_heard(body: bytes) -> int:
    return pb.HostHeard.FromString(body).others
