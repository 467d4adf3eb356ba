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

from kubebraid.base.reshard import CopyCall, CopyReply, Phase
from kubebraid.coordinator.reshard import Resharding
from kubebraid.shard import fencing, keycodec
from kubebraid.shard.fencing import Fence
from kubebraid.shard.foreign import Foreign
from kubebraid.shard.reshard import copier, final
from kubebraid.shard.reshard.copier import Copier
from kubebraid.shard.reshard.joins import Joins
from kubebraid.shard.reshard.moves import Moves
from kubebraid.shard.reshard.source import Source
from kubebraid.shard.storage.engine import Batch

from .breaches import Breach, on


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


_RESHARDING: Final = (
    Breach("uncompared", "inv18", ("inv18", "inv17", "crash"), _uncompared),
    Breach("thawed", "m05", ("inv17", "inv18", "crash"), _thawed, members=3),
    Breach("same-epoch", "inv17", ("inv17", "crash"), _same_epoch),
    Breach("unfenced", "m13", ("crash", "inv18"), _unfenced),
    Breach("last-round", "inv18", ("inv05", "inv17", "inv07", "crash"), _last_round),
    Breach("shown", "inv17", ("inv05", "inv17", "crash"), _shown),
    Breach("unswept", "inv18", ("inv18",), _unswept),
    Breach("dropped-log", "m13", ("inv17", "inv07", "inv09"), _drop_log),
    Breach("unjoined", "inv21", ("inv21",), _unjoined),
)
RESHARD_BREACHES: Final = tuple(replace(breach, reshard=True) for breach in _RESHARDING)
