"""What etcdctl printed, without what two right stores may say differently.

What it is: the reading of every form of output (simple, fields, JSON, table) relative to where one
store stood when the test began. What it is not: the running of anything (twin.py).

What is taken out: the ids of cluster, member and leases, raft's term, the endpoint, times, and how
far the store's clock had gone. A revision becomes its distance from the test's beginning. Tests can
hide more by name (`Side.hiding`): a JSON field, a label of the fields form, a column of a table.

Worked example: a store at revision 41 prints `"Revision" : 43`, read as `"Revision" : base+2`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Final

IDS: Final = frozenset({"cluster_id", "member_id", "raft_term", "raftTerm", "leader", "took"})
LEASE_IDS: Final = frozenset({"ID", "id", "lease"})
REVISIONS: Final = frozenset(
    {
        "revision",
        "create_revision",
        "mod_revision",
        "CompactRevision",
        "hash_revision",
        "compact_revision",
    }
)
FIELDS_IDS: Final = re.compile(
    r'^("(?:ClusterID|MemberID|RaftTerm|Leader|ID|(?:Prev)?Lease|Took)" : )(?!0*$).*$', re.MULTILINE
)
FIELDS_REVISIONS: Final = re.compile(r'^("(?:\w*Revision)" : )(\d+)$', re.MULTILINE)
TEXT_REVISIONS: Final = re.compile(
    r"^(compacted revision |progress notify: |ETCD_WATCH_REVISION=|ETCD_LOCK_REV=)(\d+)$",
    re.MULTILINE,
)
LEASE_TEXT: Final = re.compile(r"(?<=^lease )[0-9a-f]+(?= )", re.MULTILINE)
LEASE_LEFT: Final = re.compile(r"(?<=remaining\()\d+(?=s\))")
LEASE_KEYS: Final = re.compile(r"(?<=attached keys\(\[).*(?=\]\)$)", re.MULTILINE)  # in any order
LEASE_KEY: Final = re.compile(r"(?<=/)[0-9a-f]{14,16}$", re.MULTILINE)  # of a lock or an election
SNAPSHOT: Final = re.compile(r"(?<=^Snapshot saved at ).*$", re.MULTILINE)
TOOK: Final = re.compile(r"(?<=took )(= )?[\d.]+(?:µs|ms|s)$", re.MULTILINE)
LOG: Final = '{"level"'


def cells(table: str) -> list[dict[str, str]]:
    """The rows of etcdctl's table, each by the headings of its columns."""
    lines = [
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in table.splitlines()
        if line.startswith("│")
    ]
    assert lines, table
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


def without_log(printed: str) -> str:
    """What a person reads: the lines that the client library logs are left out."""
    return "".join(line for line in printed.splitlines(True) if not line.startswith(LOG))


@dataclass
class Ground:
    """Where a store stood when the test began."""

    endpoint: str
    base: int
    ids: dict[str, str]  # an id as it may be printed -> what it is of
    hidden: frozenset[str] = frozenset()
    leases: dict[str, str] = field(default_factory=dict)  # name -> hexadecimal id

    def comparable(self, printed: str) -> str:
        """What was printed, without what may differ."""
        if printed.startswith(("{", "[")):
            lines = [json.dumps(self.plain(json.loads(line))) for line in printed.splitlines()]
            return "\n".join(lines)
        if printed.startswith("┌"):
            return json.dumps(self.plain(cells(self._named(printed))))
        printed = FIELDS_REVISIONS.sub(self._relative_text, FIELDS_IDS.sub(r"\1ID", printed))
        printed = TEXT_REVISIONS.sub(self._relative_text, self._named(printed))
        for name in self.hidden:
            printed = re.sub(rf'^("{re.escape(name)}" : ).*$', r"\1HIDDEN", printed, flags=re.M)
        return printed

    def _named(self, printed: str) -> str:
        """Ids, addresses and times as words."""
        printed = SNAPSHOT.sub("FILE", printed.replace(self.endpoint, "ENDPOINT"))
        for value, name in self.ids.items():
            printed = re.sub(rf"\b{value}\b", name, printed)
        for name, lease in self.leases.items():
            printed = re.sub(rf"\b0*{lease.lstrip('0')}\b", f"LEASE-{name}", printed)
        printed = LEASE_LEFT.sub("LEFT", LEASE_TEXT.sub("LEASE", printed))
        printed = LEASE_KEYS.sub(lambda found: " ".join(sorted(found[0].split())), printed)
        return TOOK.sub("TIME", LEASE_KEY.sub("LEASE", printed))

    def _relative_text(self, found: re.Match[str]) -> str:
        return f"{found[1]}{self.relative(int(found[2]))}"

    def relative(self, revision: int) -> str | int:
        """A revision as its distance; what is none stays."""
        return revision if revision <= 0 else f"base{revision - self.base:+d}"

    def plain(self, value: Any, name: str = "") -> Any:
        """A JSON value without what may differ."""
        if isinstance(value, dict):
            return {
                key: self.plain(inner, key)
                for key, inner in value.items()
                if key not in IDS | self.hidden and not (key in LEASE_IDS and inner)
            }
        if isinstance(value, list):
            return [self.plain(inner, name) for inner in value]
        if name in REVISIONS and isinstance(value, int):
            return self.relative(value)
        return value.replace(self.endpoint, "ENDPOINT") if isinstance(value, str) else value
