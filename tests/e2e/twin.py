"""The same etcdctl command on the store under test and on a real etcd, and their outputs compared.

What may differ between two right stores is taken out first: the ids of cluster, member and leases,
raft's term, the endpoint, and how far each store's clock had gone before the test began. A revision
is therefore compared as its distance from where the test began, and commands name revisions in the
same way: `Rev(1)` is the revision of the test's first write on either store. What is left has to be
equal to the byte, errors' texts and exit codes included.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from tests.e2e.etcdctl import Event, Watch, text
from tests.e2e.processes import Finished, Supervisor, wait_for
from tests.e2e.store import Store

IDS: Final = frozenset({"cluster_id", "member_id", "raft_term"})
REVISIONS: Final = frozenset({"revision", "create_revision", "mod_revision", "CompactRevision"})
FIELDS_IDS: Final = re.compile(r'^("(?:ClusterID|MemberID|RaftTerm)" : )\d+$', re.MULTILINE)
FIELDS_REVISIONS: Final = re.compile(
    r'^("(?:\w*Revision)" : )(\d+)$|(?<=compacted revision )(\d+)$', re.MULTILINE
)
LEASE_TEXT: Final = re.compile(r"(?<=^lease )[0-9a-f]+(?= )", re.MULTILINE)
WATCH_S_MAX: Final = 15.0


class Rev(NamedTuple):
    """A revision as its distance from the test's beginning."""

    distance: int


class LeaseOf(NamedTuple):
    """The lease granted under this name by `Twin.grant`."""

    name: str


Arg = str | Rev | LeaseOf


@dataclass
class Side:
    """One of the two stores within one test."""

    store: Store
    base: int
    leases: dict[str, str] = field(default_factory=dict)

    def words(self, args: Sequence[Arg]) -> list[str]:
        """The arguments for this store; a revision or a lease is glued to a flag before it."""
        words: list[str] = []
        for arg in args:
            if isinstance(arg, str):
                words.append(arg)
                continue
            word = str(self.base + arg.distance) if isinstance(arg, Rev) else self.leases[arg.name]
            assert words, "a revision or a lease follows its flag or stands after a command"
            if words[-1].endswith("="):
                words[-1] += word
            else:
                words.append(word)
        return words

    def script(self, stdin: str) -> str:
        """Standard input, with `{+1}` for the revision of the test's first write."""
        return re.sub(r"\{\+(\d+)\}", lambda found: str(self.base + int(found[1])), stdin)

    def comparable(self, printed: str) -> str:
        """What was printed, without what may differ."""
        if printed.startswith(("{", "[")):
            lines = [json.dumps(self._plain(json.loads(line))) for line in printed.splitlines()]
            return "\n".join(lines)
        printed = printed.replace(self.store.endpoint, "ENDPOINT")
        printed = LEASE_TEXT.sub("LEASE", printed)
        printed = FIELDS_IDS.sub(r"\1ID", printed)
        return FIELDS_REVISIONS.sub(self._relative_text, printed)

    def _relative_text(self, found: re.Match[str]) -> str:
        label, revision = (found[1], found[2]) if found[1] else ("", found[3])
        return f"{label}{self._relative(int(revision))}"

    def _relative(self, revision: int) -> str | int:
        return 0 if revision == 0 else f"base{revision - self.base:+d}"

    def _plain(self, value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {
                key: self._plain(inner, key)
                for key, inner in value.items()
                if key not in IDS and not (key in {"ID", "lease"} and inner)
            }
        if isinstance(value, list):
            return [self._plain(inner, name) for inner in value]
        if name in REVISIONS and isinstance(value, int):
            return self._relative(value)
        return value


class Twin:
    """The store under test, and beside it an etcd that is told the same."""

    def __init__(self, ours: Store, etcd: Store) -> None:
        self._ours, self._etcd = (Side(store, store.etcdctl.revision()) for store in (ours, etcd))
        self._sides = (self._ours, self._etcd)

    def both(self, *args: Arg, stdin: str = "") -> Finished:
        """Run on both, compare; our answer."""
        ours, theirs = (
            side.store.etcdctl.run(*side.words(args), stdin=side.script(stdin))
            for side in self._sides
        )
        want = self._outcome(self._etcd, theirs)
        have = self._outcome(self._ours, ours)
        assert have == want, f"\nthe store under test: {ours}\netcd: {theirs}"
        return ours

    @staticmethod
    def _outcome(side: Side, done: Finished) -> tuple[int, str, str]:
        return done.code, side.comparable(done.stdout), side.comparable(done.stderr)

    def ok(self, *args: Arg, stdin: str = "") -> str:
        """As `both`; the command has to succeed. Our output."""
        return self.both(*args, stdin=stdin).ok()

    def json(self, *args: Arg, stdin: str = "") -> Any:
        """As `ok`; our output as JSON."""
        return json.loads(self.ok(*args, "-w", "json", stdin=stdin))

    def fails(self, *args: Arg, stdin: str = "") -> str:
        """As `both`; the command has to fail. What it printed on stderr."""
        done = self.both(*args, stdin=stdin)
        assert done.code != 0, str(done)
        return done.stderr.strip()

    def keys(self, *args: Arg) -> list[str]:
        """The keys that a get found, in order."""
        return [text(pair["key"]) for pair in self.json("get", *args).get("kvs", [])]

    def grant(self, name: str, seconds: int) -> None:
        """A lease on each side, to be named by LeaseOf(name)."""
        for side in self._sides:
            granted = side.store.etcdctl.json("lease", "grant", str(seconds))
            assert granted["TTL"] == seconds, granted
            side.leases[name] = f"{granted['ID']:x}"

    def relative(self, revision: int) -> int:
        """A revision of the store under test as its distance from the test's beginning."""
        return revision - self._ours.base

    def watch(self, supervisor: Supervisor, *args: Arg) -> TwinWatch:
        """`etcdctl watch` on both; name a revision, else there is no telling when it began."""
        return TwinWatch(
            tuple(
                (side, Watch.start(supervisor, side.store.etcdctl, side.words(args)))
                for side in self._sides
            )
        )


@dataclass(frozen=True)
class TwinWatch:
    """A watch on either store."""

    watches: tuple[tuple[Side, Watch], ...]

    def wait(self, count: int) -> list[Event]:
        """The events of both sides, found equal; revisions are distances."""
        ours, theirs = (
            [event._replace(revision=event.revision - side.base) for event in watch.wait(count)]
            for side, watch in self.watches
        )
        assert ours == theirs
        pairs = [
            [json.dumps(side._plain(answer["Events"])) for answer in watch.answers()]
            for side, watch in self.watches
        ]
        assert "".join(pairs[0]).replace("][", ", ") == "".join(pairs[1]).replace("][", ", ")
        return ours

    def ends(self) -> list[str]:
        """What each side printed when its watch ended by itself."""
        wait_for(
            "both watches to end",
            lambda: not any(watch.process.alive for _, watch in self.watches),
            WATCH_S_MAX,
        )
        lines = [
            "\n".join(line for line in watch.process.text().splitlines() if line[:1] not in "{")
            for _, watch in self.watches
        ]
        assert lines[0] == lines[1]
        codes = [watch.process.code for _, watch in self.watches]
        assert codes[0] == codes[1]
        return lines[0].splitlines()
