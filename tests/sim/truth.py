"""What really happened: every commit, as it became durable in a shard's store.

What it is: the history that all answers and watches are held against, taken from the stores
themselves when a batch has landed, whether or not anybody was ever told of it. What it is not: a
second store: rows are read by the shard's own reader of its log, and their values are held against
what clients sent by `checkers.py`.

Words: the *fence* of a tablet as stored: (oepoch, last, nonce); *staged*: of a tablet that is to
come, nonce 0; *closed* as an owner published it; a commit is *lost* if a crash took it back. A log
row that lands without its tablet's fence is a *copy*, of a commit that was known before. A
tablet's fence stands once in each store that has it; where shards share rows it stands once.

Invariants that it judges: inv01 (a revision is one commit's), inv03 (versions of a key), inv11
(what is published as closed is closed), inv15 (fences only rise), inv17 (by `owners.py`; a tablet's
commits lie behind its beginning), inv22 (one command an index).

Worked example: a batch lands in s0 with the fence (2, 17, 5) of tablet 3 and its log row 17: commit
17 is known; a later batch with the fence (1, 18, 6) is a breach of inv15.

Tested in tests/sim/test_breaches.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from kubebraid.base.keyspace import EVERYTHING
from kubebraid.base.ports import LogCall, LogReply, Publication
from kubebraid.base.record import Commit
from kubebraid.base.revision import Epoch, Revision, TabletId
from kubebraid.base.tabletmap import TabletMap
from kubebraid.proto.etcd import kv_pb2
from kubebraid.shard import fencing, keycodec
from kubebraid.shard.fencing import Fence
from kubebraid.shard.history import read_log
from kubebraid.shard.storage.engine import PUT, Batch
from kubebraid.shard.storage.memory import MemoryEngine

from .owners import Owners
from .row_space import SPACE, check_rows, tablet_of
from .verdict import Violation

LIMIT: Final = 1 << 30


class Version(NamedTuple):
    """A key as one revision left it; `value` None: deleted."""

    mod: Revision
    key: bytes
    value: bytes | None
    create: Revision
    version: int
    lease: int = 0


class Truth:
    """The history of the cluster."""

    def __init__(self, tablets: TabletMap, shared: bool = False) -> None:
        """`shared`: the shards have one row space."""
        self.owners = Owners(tablets)
        self._shared = shared
        self.fences: dict[TabletId, Fence] = {}  # that served last
        self._holders: dict[TabletId, str] = {}  # ... and whose they are
        self._stored: dict[tuple[str, TabletId], Fence] = {}
        self._tablets: dict[tuple[Revision, str], list[TabletId]] = {}  # of a part
        self.commits: dict[Revision, tuple[Version, ...]] = {}
        self.parts: dict[Revision, dict[str, tuple[tuple[int, Version], ...]]] = {}
        self.lost: dict[Revision, str] = {}
        self.landed_us: dict[Revision, int] = {}  # when the first part of it did, in true time
        self.closed: dict[TabletId, Revision] = {}
        self._closed_by: dict[tuple[TabletId, Epoch], Revision] = {}
        self.commands: dict[int, bytes] = {}
        self._member_index: dict[str, int] = {}
        self._sorted: list[Revision] | None = None
        self._keys: dict[bytes, list[Version]] = {}

    # -- stores --------------------------------------------------------------------------------

    def landed(self, shard: str, engine: MemoryEngine, batch: Batch, at_us: int) -> None:
        """A batch is in the store of `shard`."""
        before = dict(self.fences)
        if self._shared:
            check_rows(self.owners.newest, shard, batch)
        fences = self._fences_in(shard, batch)
        puts = [key for kind, key, _ in batch.operations if kind == PUT and key[:1] == b"l"]
        rows = sorted(keycodec.log_revision(key) for key in puts if tablet_of(key) in fences)
        if not rows:
            return
        call = LogCall(tuple(sorted(fences)), EVERYTHING, rows[0], rows[-1], LIMIT, LIMIT)
        reply = read_log(engine, call, -1)
        assert isinstance(reply, LogReply)
        low = min((before[tablet].last for tablet in fences if tablet in before), default=0)
        for key in puts:
            self._check_row(shard, key, fences)
        for commit in reply.commits:
            if commit.revision <= low:
                raise Violation("inv15", f"{commit.revision} was written behind the fence {low}")
            self._check_closed(commit.revision, puts)
            self.landed_us.setdefault(commit.revision, at_us)
            self._add(shard, commit)

    def _fences_in(self, shard: str, batch: Batch) -> dict[TabletId, Fence]:
        """Those of a batch under which its shard serves, judged."""
        fences: dict[TabletId, Fence] = {}
        last = {key: (kind, value) for kind, key, value in batch.operations if key[:1] == b"f"}
        for key, (kind, value) in last.items():
            tablet = tablet_of(key)
            if kind != PUT:
                self._stored.pop((self._place(shard), tablet), None)
                continue
            fence = fencing.unpack(value)
            if self._check_fence(shard, tablet, fence):
                fences[tablet] = self.fences[tablet] = fence
                self._holders[tablet] = shard
        return fences

    def _check_row(self, shard: str, key: bytes, fences: Mapping[TabletId, Fence]) -> None:
        """inv17: a commit of a tablet is its owner's, and lies behind the tablet's beginning."""
        tablet, revision = tablet_of(key), keycodec.log_revision(key)
        self._tablets.setdefault((revision, shard), []).append(tablet)
        begin = self.owners.begin(tablet, fences[tablet].oepoch) if tablet in fences else 0
        if tablet not in fences or revision <= begin:
            raise Violation("inv17", f"{revision} of tablet {tablet}, which begins behind {begin}")

    def _add(self, shard: str, commit: Commit) -> None:
        parts = self.parts.setdefault(commit.revision, {})
        if shard in parts:
            raise Violation("inv01", f"{commit.revision} was written twice in {shard}")
        parts[shard] = tuple((e.sub, _version(e.raw, e.deleted)) for e in commit.events)
        self._join(commit.revision)

    def _join(self, revision: Revision) -> None:
        """What all shards hold of a revision, in the order of its operations."""
        parts = self.parts[revision]
        if not parts:
            del self.parts[revision], self.commits[revision]
            return
        whole = sorted((sub, version) for part in parts.values() for sub, version in part)
        self.commits[revision] = tuple(version for _, version in whole)

    def _check_closed(self, revision: Revision, logs: Sequence[bytes]) -> None:
        for tablet, closed in self.closed.items():
            if revision <= closed and keycodec.log(tablet, revision) in logs:
                raise Violation("inv11", f"{revision} of tablet {tablet} landed below {closed}")

    def _check_fence(self, shard: str, tablet: TabletId, fence: Fence) -> bool:
        """Whether it serves."""
        place = (self._place(shard), tablet)
        stored = self._stored.get(place)
        self._stored[place] = fence
        if fence.nonce == 0:
            self.owners.staged(shard, tablet)
            return False
        self.owners.wrote(shard, tablet, fence.oepoch)
        if stored is not None and fence.nonce <= stored.nonce:
            raise Violation("inv15", f"tablet {tablet}: the fence {fence} over {stored}")
        old = self.fences.get(tablet)
        if old is not None and (fence.oepoch < old.oepoch or fence.last < old.last):
            raise Violation("inv15", f"tablet {tablet}: the fence {fence} after {old}")
        return True

    def _place(self, shard: str) -> str:
        """Where its fences stand."""
        return SPACE if self._shared else shard

    def fenced(self, shard: str, batch: Batch) -> None:
        """A batch was refused, for a fence is not as its shard knows it. Each shard has one process
        here, so what the coordinators let happen never comes to that."""
        tablets = [tablet_of(key) for _, key, _ in batch.operations if key[:1] == b"f"]
        if tablets:
            raise Violation("inv17", f"{shard} was about to write for {tablets}, as it knew them")

    def crashed(self, shard: str, engine: MemoryEngine) -> None:
        """The process ended: what is not in the store was lost."""
        for of, tablet in list(self._stored):
            if of == self._place(shard):
                raw = engine.get(keycodec.fence(tablet))
                found = fencing.NEW if raw is None else fencing.unpack(raw)
                self._stored[of, tablet] = found
                if self._holders.get(tablet) == shard:
                    self.fences[tablet] = found
        for revision, parts in list(self.parts.items()):
            if shard in parts and self._is_lost(revision, shard):
                del parts[shard], self._tablets[revision, shard]
                self.lost[revision] = shard
                self._join(revision)

    def _is_lost(self, revision: Revision, shard: str) -> bool:
        """What went to another shard was durable there before."""
        tablets = self._tablets[revision, shard]
        kept = [self.fences[t].last for t in tablets if self._holders[t] == shard]
        return any(revision > last for last in kept)

    def published(self, publication: Publication) -> None:
        """What an owner told its routers (inv11)."""
        for news in publication.news:
            self.owners.published(publication.shard, news.tablet, news.oepoch, news.closed)
            closed = self.closed.get(news.tablet, 0)
            for commit in news.commits:
                if commit.revision <= closed:
                    raise Violation("inv11", f"{commit.revision} was published behind {closed}")
                if commit.revision > news.closed:
                    raise Violation("inv11", f"{commit.revision} beyond closed {news.closed}")
                if commit.revision not in self.commits:
                    raise Violation("inv11", f"{commit.revision} was published, not stored")
            place = (news.tablet, news.oepoch)
            if news.closed < self._closed_by.get(place, 0):
                raise Violation("inv11", f"closed{place} fell from {closed} to {news.closed}")
            self._closed_by[place] = news.closed
            self.closed[news.tablet] = max(closed, news.closed)

    # -- the log of the coordinators -----------------------------------------------------------

    def applied(self, member: str, index: int, command: bytes) -> None:
        """inv22: every member applies the same, in order, each once."""
        if self.commands.setdefault(index, command) != command:
            raise Violation("inv22", f"{index}: {self.commands[index]!r} and {command!r}")
        if index <= self._member_index.get(member, 0):
            raise Violation("inv22", f"{member} applied {index} again")
        self._member_index[member] = index

    def member_gone(self, member: str) -> None:
        self._member_index.pop(member, None)

    # -- the history ---------------------------------------------------------------------------

    def check_history(self) -> None:
        """inv03: the versions of each key, in order; then `at` may be asked."""
        for revision in self.revisions():
            for found in self.commits[revision]:
                versions = self._keys.setdefault(found.key, [])
                _check_version(versions[-1] if versions else None, found, revision)
                versions.append(found)

    def revisions(self) -> Sequence[Revision]:
        if self._sorted is None or len(self._sorted) != len(self.commits):
            self._sorted = sorted(self.commits)
        return self._sorted

    def all_keys(self) -> list[bytes]:
        """Every key that was ever there, in order."""
        return sorted(self._keys)

    def versions(self, key: bytes) -> Sequence[Version]:
        """All of them, oldest first."""
        return self._keys.get(key, ())

    def at(self, key: bytes, revision: Revision) -> Version | None:
        """The key's version at a revision; None if it was not there."""
        found = None
        for version in self._keys.get(key, ()):
            if version.mod > revision:
                break
            found = version
        return None if found is None or found.value is None else found


def _version(raw: bytes, deleted: bool) -> Version:
    kv = kv_pb2.KeyValue.FromString(raw)
    value = None if deleted else kv.value
    lease = 0 if deleted else kv.lease
    return Version(kv.mod_revision, kv.key, value, kv.create_revision, kv.version, lease)


def _check_version(old: Version | None, new: Version, revision: Revision) -> None:
    if new.mod != revision:
        raise Violation("inv03", f"{new} is stored at {revision}")
    if old is not None and old.mod == revision and old.key == new.key:
        return  # changed twice in one transaction
    there = old is not None and old.value is not None
    if new.value is None:
        if not there:
            raise Violation("inv03", f"{new.key!r} was deleted at {revision} though not there")
        return
    assert old is not None or not there
    wanted = (old.create, old.version + 1) if there and old is not None else (revision, 1)
    if (new.create, new.version) != wanted:
        raise Violation("inv03", f"{new}: expected create and version {wanted}, after {old}")
