"""Deliberate breaches of what resharding rests on; see `breaches.py`.

What it is: the broken rules of moves, splits and merges. What it is not: the rules of a cluster
whose map stands still.

Worked example: "unsealed": the source says that it is sealed and goes on writing, so what it writes
behind the last round is nowhere: inv18, inv05 or the watches tell.

Tested in tests/sim/test_breaches.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.reshard import CopyCall, CopyReply, Phase
from kubebraid.base.tabletmap import TabletMap
from kubebraid.coordinator.reshard import Resharding
from kubebraid.router.feeds import Feeds
from kubebraid.router.hub import Hub
from kubebraid.router.retry import Retries
from kubebraid.router.watcher import Watcher
from kubebraid.shard import fencing, keycodec
from kubebraid.shard.compaction import Compactor
from kubebraid.shard.fencing import Fence
from kubebraid.shard.foreign import Foreign
from kubebraid.shard.lease import LeaseRow, LeaseTable
from kubebraid.shard.reshard import copier, final
from kubebraid.shard.reshard.copier import Copier
from kubebraid.shard.reshard.joins import Joins
from kubebraid.shard.reshard.moves import Moves
from kubebraid.shard.reshard.source import Source
from kubebraid.shard.storage.engine import Batch

from .breaches import Breach, _impatient, _marks, on


def _uncompared() -> Sequence[Any]:
    """The commit has the ends of the sequencer, whatever is durable at the target."""
    commit = Resharding._commit

    def at_once(self: Resharding, state: Any, migration: Any, last: Any) -> Any:
        valid = self._valid

        def beyond(*who: Any) -> Any:
            report = valid(*who)
            ends = tuple((tablet, 1 << 60) for tablet in migration.sources)
            return None if report is None else report._replace(ends=ends)

        with on(self, "_valid", beyond):
            return commit(self, state, migration, last)

    return [on(Resharding, "_commit", at_once)]


def _thawed() -> Sequence[Any]:
    """What was fixed is not frozen: the sequencer allocates on (M5)."""

    def nothing(_: Resharding) -> frozenset[int]:
        return frozenset()

    return [on(Resharding, "switching", nothing), *_unsealed()]


def _unsealed() -> Sequence[Any]:
    """The source says that it is sealed, and takes writes."""

    def sealed(self: Source, call: CopyCall) -> int:
        return self.active.get(call.migration, 0)

    def open_(_: Moves) -> None:
        return None

    return [on(Source, "_sealed", sealed), on(Moves, "_seal", open_)]


def _same_epoch() -> Sequence[Any]:
    """The new owner serves under the epoch of the one before."""

    def adopt(stored: Fence, _oepoch: int, begin: int = 0) -> Fence:
        return Fence(stored.oepoch, max(stored.last, begin), stored.nonce + 1)

    return [on(fencing, "adopt", adopt)]


def _unfenced() -> Sequence[Any]:
    """The target's fences are not in its last batch."""
    final_batch = final.final_batch

    def bare(*what: Any) -> Any:
        batch, cell = final_batch(*what)
        batch.operations[:] = [row for row in batch.operations if row[1][:1] != b"f"]
        return batch, cell

    return [on(copier, "final_batch", bare)]


def _last_round() -> Sequence[Any]:
    """What was written since the round before the seal is not brought."""
    answer = Source._answer

    def without(self: Source, call: CopyCall, done: Callable[[Any], None], sealed: int) -> None:
        def cut(reply: Any) -> None:
            if sealed and isinstance(reply, CopyReply):
                reply = reply._replace(puts=(), deletes=(), cursor=b"")
            done(reply)

        answer(self, call, cut, sealed)

    return [on(Source, "_answer", without)]


def _shown() -> Sequence[Any]:
    """Rows that arrive, or stay behind, are shown."""

    def all_(*_: object) -> None:
        return None

    return [on(Foreign, "shows", all_)]


def _unswept() -> Sequence[Any]:
    """Nobody cleans."""

    def is_litter(*_: object) -> bool:
        return False

    return [on(Moves, "_is_litter", is_litter)]


def _unjoined() -> Sequence[Any]:
    """The homes of leases do not know where the keys went."""

    def complete(*_: object) -> bool:
        return True

    def turn(*_: object) -> None:
        return None

    return [on(Joins, "complete", complete), on(Joins, "turn", turn)]


def _drop_log() -> Sequence[Any]:
    """A split or a merge leaves the log of its sources behind (M13)."""
    finish = Copier._finish

    def bare(self: Copier, first: CopyReply) -> None:
        if not self.migration.copies and self.migration.phase is Phase.FROZEN:
            for target in self.migration.targets:
                rows = keycodec.log(target.id, 0), keycodec.log(target.id + 1, 0)
                self._here.engine.write(Batch().delete_range(*rows), sync=False)
        finish(self, first)

    return [on(Copier, "_finish", bare)]


def _skipping() -> Sequence[Any]:
    """A watch that goes on in another feed passes over what waited in the one before."""
    leave = Feeds.leave

    def beyond(self: Feeds, watcher: Watcher, upto: int) -> None:
        leave(self, watcher, max(upto, self._view.revision + 1))

    return [on(Feeds, "leave", beyond)]


def _ended() -> Sequence[Any]:
    """A watch that reads the log when the map changes is ended, as if it were compacted."""
    follow = Hub.follow

    def end(self: Hub, tablets: TabletMap) -> None:
        follow(self, tablets)
        behind = [w for s in self._sessions for w in s.watchers.values() if not w.synced]
        for watcher in behind:
            self._compacted(watcher)

    return [on(Hub, "follow", end)]


def _unwoken() -> Sequence[Any]:
    """What rested while it was copied is never compacted."""

    def rest(self: Compactor, tablets: frozenset[int]) -> None:
        self._resting = tablets

    return [on(Compactor, "rest", rest)]


def _unrenewed() -> Sequence[Any]:
    """A renewal is answered, and changes nothing."""

    def renew(self: LeaseTable, lease: int, _now_ms: int) -> int:
        found = self._leases.get(lease)
        return 0 if found is None or found.ending or found.row.ended else found.row.ttl_s

    return [on(LeaseTable, "renew", renew)]


def _over_at_once() -> Sequence[Any]:
    """A lease that comes to live here has no time left."""
    rehome = LeaseTable.rehome

    def late(self: LeaseTable, lease: int, row: LeaseRow, now_ms: int) -> None:
        rehome(self, lease, row, now_ms - 1_000 * row.ttl_s)

    return [on(LeaseTable, "rehome", late)]


def _immortal() -> Sequence[Any]:
    """Nobody looks at the time of leases that came to live here."""
    rehome = LeaseTable.rehome

    def calm(self: LeaseTable, lease: int, row: LeaseRow, now_ms: int) -> None:
        rehome(self, lease, row, now_ms + 3_600_000)

    return [on(LeaseTable, "rehome", calm)]


_SEEN: Final = ("inv05", "inv07", "inv09")  # by clients, who ask in many ways


def _told_at_once() -> Sequence[Any]:
    """Whoever meets another map is told so, and not tried again."""
    again = Retries.again

    def never(self: Retries, caller: Any, refused: RequestRefused) -> RequestRefused | None:
        return errors.NO_LEADER if refused is errors.OTHER_MAP else again(self, caller, refused)

    return [on(Retries, "again", never)]


def _slow_switch() -> Sequence[Any]:
    """The commit of a switch waits for a while behind the freeze."""
    next_ = Resharding._next

    def late(self: Resharding, state: Any, migration: Any, *rest: Any) -> Any:
        if rest[-1] < self._froze.get(migration.id, 0) + 500:
            self._news = True  # to look again
            return None
        return next_(self, state, migration, *rest)

    return [on(Resharding, "_next", late)]


def _lower() -> Sequence[Any]:
    """The fence of a tablet that changes hands forgets the last that was written."""
    adopt = fencing.adopt

    def forget(stored: Fence, oepoch: int, begin: int = 0) -> Fence:
        return adopt(stored, oepoch, begin)._replace(last=max(0, stored.last - 5))

    return [on(fencing, "adopt", forget)]


# `own`: its own judge speaks in one of the seeds, though another may speak first in some.
_RESHARDING: Final = (
    Breach("uncompared", "inv18", ("inv18", "inv17", "crash"), _uncompared),
    Breach("thawed", "m05", ("inv17", "inv18", "crash"), _thawed, members=3, first=9),
    Breach("same-epoch", "inv17", ("inv17", "crash"), _same_epoch, own=True),
    Breach("unfenced", "m13", ("crash", "inv18"), _unfenced),
    Breach("last-round", "inv18", (*_SEEN, "inv03", "inv17", "inv20", "crash"), _last_round),
    Breach("shown", "inv17", ("inv05", "inv17", "crash"), _shown),
    Breach("unswept", "inv18", ("inv18",), _unswept, own=True),
    Breach("dropped-log", "m13", (*_SEEN, "inv17", "inv20"), _drop_log),
    Breach("unjoined", "inv21", ("inv21",), _unjoined, own=True),
    Breach("unrenewed", "inv21", ("inv21",), _unrenewed, own=True),
    Breach("over-at-once", "inv21", ("inv21",), _over_at_once, own=True),
    Breach("immortal", "inv21", ("inv21",), _immortal, own=True),
    Breach("lower", "inv15", ("inv15", "inv17"), _lower, own=True),
    Breach("skipping", "inv07", _SEEN, _skipping, own=True),
    Breach("unheard", "inv12", _SEEN, _skipping, own=True),
    Breach("ended", "inv08", (*_SEEN, "inv08"), _ended, own=True),
    Breach("marks-of-movers", "inv09", _SEEN, _marks, own=True),
    Breach("impatient-of-movers", "inv05", (*_SEEN, "inv03"), _impatient, own=True, first=7),
    Breach("unwoken", "inv20", ("inv20", "liveness"), _unwoken, own=True, first=30),
    Breach("told-at-once", "inv19", ("inv19",), _told_at_once, own=True),
    Breach("slow-switch", "inv19", ("inv19", "inv18", "liveness"), _slow_switch, own=True),
)
RESHARD_BREACHES: Final = tuple(replace(breach, reshard=True) for breach in _RESHARDING)
