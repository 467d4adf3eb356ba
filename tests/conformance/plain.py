"""An answer as plain values, without what may differ between two right servers.

What it is: the one list of what is normalised. What it is not: a comparison; two plain values are
equal or they are not.

What is replaced: ids of cluster, member and leases and raft's numbers by whether or which they are;
revisions by their distance from the case's beginning; keys by their names; the remaining time of a
lease by whether it is what was granted, give or take two seconds; white space in texts by spaces;
sizes of the database by whether they are there, hashes by which other hash of the case they equal.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.unknown_fields import UnknownFieldSet

from kubebraid.proto.etcd import rpc_pb2 as pb

REVISIONS: Final = frozenset(
    {"rev", "revision", "create_revision", "mod_revision", "compact_revision", "hash_revision"}
)
PRESENT: Final = frozenset(
    {
        "cluster_id",
        "member_id",
        "memberID",
        "raft_term",
        "leader",
        "raftIndex",
        "raftTerm",
        "raftAppliedIndex",
        "dbSize",
        "dbSizeInUse",
        "dbSizeQuota",
    }
)
LEASE_MESSAGES: Final = frozenset(
    {
        "LeaseGrantResponse",
        "LeaseTimeToLiveResponse",
        "LeaseKeepAliveResponse",
        "LeaseStatus",
    }
)
TTL_SLACK_S: Final = 2
CHOSEN_BY_CASES_MAX: Final = 1 << 48
CHOSEN_BY_THE_SERVER: Final = re.compile(rb"/[0-9a-f]{13,16}$")  # the lease in a lock's key


@dataclass
class View:
    """What turns one server's numbers and keys into the case's words."""

    base: int
    member: int
    name_of: Callable[[bytes], bytes]
    leases: dict[int, str] = field(default_factory=dict)
    granted: dict[int, int] = field(default_factory=dict)
    hashes: list[int] = field(default_factory=list)

    def plain(self, message: Any) -> dict[str, Any]:
        """The fields that are set, by name; bytes that no field takes are told too."""
        kind = message.DESCRIPTOR.name
        told = {"": kind}
        for descriptor, value in message.ListFields():
            if kind == "Member" and descriptor.name == "ID":
                told["ID"] = "an id"
            elif kind == "Member" and descriptor.name.endswith("URLs"):
                told[descriptor.name] = len(value)
            elif kind == "LeaseKeepAliveResponse" and descriptor.name == "TTL":
                told["TTL"] = self._remaining(value, self.granted.get(message.ID, value))
            elif kind == "LeaseTimeToLiveResponse" and descriptor.name == "TTL":
                told["TTL"] = self._remaining(value, message.grantedTTL)
            else:
                told[descriptor.name] = self._field(kind, descriptor, value)
        strangers: Any = UnknownFieldSet(message)
        if unknown := sorted(each.field_number for each in strangers):
            told["unknown fields"] = str(unknown)
        return told

    def _field(self, kind: str, descriptor: FieldDescriptor, value: Any) -> Any:
        name = descriptor.name
        if descriptor.message_type is not None:
            return [self.plain(v) for v in value] if repeated(value) else self.plain(value)
        if name == "keys":
            return sorted(self.name_of(key) for key in value)
        if name == "errors":
            return [worded(each.replace(str(self.member), "MEMBER")) for each in value]
        if repeated(value):
            return list(value)
        if name == "key" or (kind == "LeaderKey" and name == "name"):
            return seat_named(self.name_of(value))
        if kind == "LeaderKey" and name == "lease" and value > CHOSEN_BY_CASES_MAX:
            return "an id"
        if name == "lease" or (kind in LEASE_MESSAGES and name == "ID"):
            return self.leases.get(value, value)
        if name in REVISIONS:
            return self._revision(f"{kind}.{name}", value)
        if name == "hash":
            if value not in self.hashes:
                self.hashes.append(value)
            return f"hash {self.hashes.index(value)}"
        if name in PRESENT:
            return "there"
        return value if not isinstance(value, bytes) or len(value) < 100 else digest(value)

    def _revision(self, field_name: str, value: int) -> str | int:
        if field_name == "HashKVResponse.compact_revision" and value <= self.base:
            return "before"  # the compaction of another case
        return f"base{value - self.base:+d}" if value > 0 else value

    @staticmethod
    def _remaining(ttl: int, granted: int) -> str | int:
        return "what was granted" if granted - TTL_SLACK_S <= ttl <= granted else ttl


def seat_named(name: bytes) -> bytes:
    """The key of a lock or of a leader, without the lease that a server has chosen for it."""
    return CHOSEN_BY_THE_SERVER.sub(b"/an id", name)


def repeated(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def worded(text: str) -> str:
    """Go's protobuf puts one space, two or a wide one into its texts, each binary another way."""
    return " ".join(text.split())


def digest(value: bytes) -> str:
    return f"{len(value)} bytes, sha256 {hashlib.sha256(value).hexdigest()[:12]}"


def merged(parts: Sequence[pb.RangeStreamResponse]) -> pb.RangeResponse:
    """The answer that the chunks of a RangeStream are parts of."""
    whole = pb.RangeResponse()
    for part in parts:
        whole.MergeFrom(part.range_response)
    return whole


def snapshot(parts: Sequence[pb.SnapshotResponse]) -> dict[str, Any]:
    """What can be said of a snapshot without knowing what is in it."""
    body, last = b"".join(part.blob for part in parts[:-1]), parts[-1].blob
    remaining = [part.remaining_bytes for part in parts]
    return {
        "": "Snapshot",
        "empty": not body,
        "the last part is the digest": last == hashlib.sha256(body).digest(),
        "remaining counts down to nothing": remaining == sorted(remaining, reverse=True)
        and remaining[-2:] == [0, 0],
        "remaining is right": remaining[0] + len(parts[0].blob) == len(body),
        "versions": sorted({part.version for part in parts}),
    }
