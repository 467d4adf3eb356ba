"""Deliberate breaches: one broken rule each, and the checker that must find it.

What it is: small changes of shipped functions, put in place while a few seeds run. What it is not:
a list of what can go wrong; it shows that the judges are not blind.

Words: `caught`: the checkers by which a breach may come out; "crash" is an assertion of the product
itself. `faults`: those that its seeds have, so that it meets its moment soon.

Invariants: each breach is caught within SEEDS_MAX seeds; without it the same seeds pass.

Worked example: "lease-unwaited": candidates do not wait the old lease out; two holders serve at one
time, which is inv13.

Tested in tests/sim/test_breaches.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Final
from unittest import mock

from kubebraid.base.limits import SEQUENCER_TTL_MS
from kubebraid.base.ports import AllocReply, AllocRequest, Sample
from kubebraid.coordinator import reign
from kubebraid.coordinator.reign import Reign
from kubebraid.coordinator.sequencer import Sequencer
from kubebraid.proto.coordinator_client import CoordinatorClient
from kubebraid.proto.owner_pending import Pending
from kubebraid.router import catch_up, merge
from kubebraid.router.hub import Hub
from kubebraid.router.merge import View
from kubebraid.router.session import Session
from kubebraid.shard import apply, fencing, reader, writer
from kubebraid.shard.compaction import Compactor
from kubebraid.shard.draft import DraftRow
from kubebraid.shard.ownership import Ownership
from kubebraid.shard.seal import seal
from kubebraid.shard.writer import Writer

from .disk import FakeDisk, SimEngine
from .world import Plan, draw

SEEDS_MAX: Final = 60


@dataclass(frozen=True, slots=True)
class Breach:
    """`patches`: what stands where, while it is in place; `first`: the first seed that is tried,
    one near which it was found when this was written; `reshard`: its seeds have migrations;
    `own`: they are tried until the judge of what it breaks has spoken; `shared`: their shards share
    rows."""

    name: str
    breaks: str
    caught: tuple[str, ...]
    patches: Callable[[], Sequence[Any]]
    faults: tuple[str, ...] = ()
    members: int = 1
    window: int | None = None
    first: int = 1
    reshard: bool = False
    own: bool = False
    shared: bool = False

    @property
    def heard(self) -> tuple[str, ...]:
        """Lists and watches are held against each other first, and then each against the truth."""
        told = "inv05" in self.caught or "inv07" in self.caught
        return (*self.caught, "inv12") if told else self.caught

    def plan(self, seed: int) -> Plan:
        """A seed's plan, with what this breach needs."""
        drawn = draw(Random(seed))
        names = ("m0", "m1", "m2")[: self.members]
        return replace(
            drawn,
            members=names,
            shards=("s0", "s1"),
            routers=("r0", "r1"),
            faults=self.faults,
            gap_us=10_000,
            fault_gap_us=60_000 if self.members == 1 else 2_000_000,
            buckets=1,
            window=self.window or drawn.window,
            reshard_gap_us=20_000 if self.reshard else 0,
            shared=self.shared,
        )


def on(owner: Any, name: str, other: Any) -> Any:
    return mock.patch.object(owner, name, other)


# -- the sequencer ---------------------------------------------------------------------------------


def _prefetch() -> Sequence[Any]:
    """Numbers of an earlier request are used for a later one."""
    allocate = Sequencer.allocate
    blocks: dict[tuple[Sequencer, str, int], tuple[int, int]] = {}

    def hoard(self: Sequencer, request: AllocRequest) -> AllocReply | None:
        key = (self, request.owner, request.incarnation)
        first, left = blocks.get(key, (0, 0))
        if 0 < request.writes <= left and request.cepoch == self.cepoch:
            blocks[key] = (first + request.writes, left - request.writes)
            for tablet, _, index in request.ends:
                if index >= 0:
                    self._last[tablet] = max(self._last[tablet], first + index)
            return AllocReply(first, self.sample(), ())
        reply = allocate(self, request)
        if reply is not None and not reply.refused and request.writes:
            blocks[key] = (self._revision + 1, 3)
            self._revision += 3
            reply = reply._replace(sample=self.sample())
        return reply

    return [on(Sequencer, "allocate", hoard)]


def _twice() -> Sequence[Any]:
    """A number that was handed out is handed out again, to another owner."""
    allocate = Sequencer.allocate

    def again(self: Sequencer, request: AllocRequest) -> AllocReply | None:
        reply = allocate(self, request)
        if reply is not None and not reply.refused and request.writes == 1:
            self._revision -= reply.first % 5 == 0
        return reply

    return [on(Sequencer, "allocate", again)]


def _forgetful() -> Sequence[Any]:
    """A repeated Alloc takes new numbers."""
    allocate = Sequencer.allocate

    def anew(self: Sequencer, request: AllocRequest) -> AllocReply | None:
        known = self._answered.get(request.owner)
        if known is not None and known[:2] == (request.incarnation, request.request_number):
            del self._answered[request.owner]
        return allocate(self, request)

    return [on(Sequencer, "allocate", anew)]


def _old_last() -> Sequence[Any]:
    """R of now with the last[t] of before: not of one instant (M10)."""
    sample = Sequencer.sample
    before: dict[Sequencer, Any] = {}

    def mixed(self: Sequencer) -> Sample:
        now = sample(self)
        last, before[self] = before.get(self, now.last), now.last
        return now._replace(last=last)

    return [on(Sequencer, "sample", mixed)]


def _boundless() -> Sequence[Any]:
    """The window is not looked at."""

    def widen(self: Sequencer, _window: int) -> None:
        self._window = 2**62

    def stingy(_: reign._Rate) -> int:
        return 4

    return [on(Sequencer, "widen", widen), on(reign._Rate, "window", stingy)]


# -- the lease -------------------------------------------------------------------------------------


def _unwaited() -> Sequence[Any]:
    """A candidate does not wait until the old lease has surely ended."""
    return [on(reign, "CANDIDATE_WAIT_MS", 200)]


def _checked_before() -> Sequence[Any]:
    """The lease is checked, and then requests are collected for a while."""
    may_serve = Reign.may_serve
    looked: dict[Reign, int] = {}

    def stale(self: Reign, now_ms: int) -> bool:
        if may_serve(self, now_ms):
            looked[self] = now_ms
            return True
        return self.holds and now_ms - looked.get(self, -1_000) < 600

    return [on(Reign, "may_serve", stale)]


def _unchecked() -> Sequence[Any]:
    """The holder serves for as long as it has not heard of another."""

    def may_serve(self: Reign, _now_ms: int) -> bool:
        return self.holds

    return [on(Reign, "may_serve", may_serve)]


def _late_t0() -> Sequence[Any]:
    """The lease runs from when its renewal was applied, not from before it was sent (M8)."""
    applied = Reign.applied

    def from_now(self: Reign, state: Any, now_ms: int) -> None:
        proof = self._proof_ms
        applied(self, state, now_ms)
        if self._proof_ms is not None and self._proof_ms != proof:
            self._proof_ms = now_ms + 2 * SEQUENCER_TTL_MS

    return [on(Reign, "applied", from_now)]


# -- the shard -------------------------------------------------------------------------------------


def _same_nonce() -> Sequence[Any]:
    """A new owner does not make the fence its own."""

    def adopt(stored: Any, oepoch: int, begin: int = 0) -> Any:
        return fencing.Fence(oepoch, max(stored.last, begin), stored.nonce)

    return [on(fencing, "adopt", adopt)]


def _ahead() -> Sequence[Any]:
    """A new owner closes more than was handed out."""
    adopt = fencing.adopt

    def further(stored: Any, oepoch: int, begin: int = 0) -> Any:
        return adopt(stored, oepoch, begin + 2 if begin else 0)

    return [on(fencing, "adopt", further)]


def _unregistered() -> Sequence[Any]:
    """Nobody closes what a reign that is over may have handed out."""

    def register(self: Ownership, _sample: Sample, _granted: Any) -> dict[int, int]:
        self.proved = self.cepoch
        return {}

    return [on(Ownership, "register", register)]


def _unsynced() -> Sequence[Any]:
    """Answered and published before it is durable."""
    write = SimEngine.write

    def lazily(self: SimEngine, batch: Any, *, sync: bool) -> None:
        write(self, batch, sync=False)

    return [on(SimEngine, "write", lazily)]


def _believed() -> Sequence[Any]:
    """A failed write is taken for a landed one."""

    def settled(*_: object) -> bool:
        return True

    return [on(Writer, "_settled", settled)]


def _half() -> Sequence[Any]:
    """Of a transaction over several keys the last change is not written."""

    def partly(evaluation: Any, *rest: Any) -> Any:
        changes = evaluation.changes
        if len(changes) > 1 and changes[-1].index == changes[-2].index:
            changes.pop()
        return seal(evaluation, *rest)

    return [on(writer, "seal", partly)]


def _kept() -> Sequence[Any]:
    """What was compacted is removed from every second tablet alone."""
    work = Compactor._slice

    def half(self: Compactor, tablet: int) -> bool:
        return True if tablet % 2 else work(self, tablet)

    return [on(Compactor, "_slice", half)]


def _impatient() -> Sequence[Any]:
    """A read does not wait for the watermark."""

    def satisfied(*_: object) -> bool:
        return True

    return [on(reader, "satisfied", satisfied)]


def _unequal_versions() -> Sequence[Any]:
    """Every put makes version 1."""

    def first(*fields: Any) -> DraftRow:
        row = DraftRow(*fields)
        row.version = 1
        return row

    return [on(apply, "DraftRow", first)]


# -- the router ------------------------------------------------------------------------------------


def _early() -> Sequence[Any]:
    """A watch of several tablets is shown what one of them has, without waiting for the others."""

    def bound(self: View, _tablets: Any) -> int:
        return self.revision

    return [on(View, "bound", bound)]


def _marks() -> Sequence[Any]:
    """A mark does not wait for what lies before it."""

    def may_progress(self: Session, _revision: int) -> bool | None:
        return bool(self.watchers)

    return [on(Session, "may_progress", may_progress)]


def _deaf() -> Sequence[Any]:
    """A request for progress is not answered."""

    def request_progress(*_: object) -> None:
        return None

    return [on(Hub, "request_progress", request_progress)]


def _fresh_lost() -> Sequence[Any]:
    """What a new subscription has missed is not read from the log."""

    def begin_anew(*_: object) -> None:
        return None

    return [on(Hub, "_begin_anew", begin_anew)]


def _joins_early() -> Sequence[Any]:
    """A watcher joins the live ones before it has read up to them."""
    join = Hub._join

    def at_once(self: Hub, watcher: Any) -> bool:
        watcher.next = max(watcher.next, watcher.feed.released + 1)
        return join(self, watcher)

    return [on(Hub, "_join", at_once)]


def _split() -> Sequence[Any]:
    """What one revision changed in several tablets is told in several answers."""
    return [on(merge, "join", list), on(catch_up, "join", list)]


def _sure() -> Sequence[Any]:
    """A write whose link is lost is taken for one that was never sent."""
    lost = Pending.lost

    def unsent(self: Pending, _unsent: frozenset[int]) -> None:
        lost(self, frozenset(self.writes))

    return [on(Pending, "lost", unsent)]


def _no_floor() -> Sequence[Any]:
    """Nobody knows what was compacted."""

    def compact_revision(_: CoordinatorClient) -> int:
        return -1

    return [on(CoordinatorClient, "compact_revision", compact_revision)]


def _cached_sample() -> Sequence[Any]:
    """Reads share a sample that was taken before they came."""
    read_revision = CoordinatorClient.read_revision
    known: dict[CoordinatorClient, list[Any]] = {}

    def cached(self: CoordinatorClient, done: Callable[[Sample], None]) -> None:
        uses = known.setdefault(self, [])
        if len(uses) > 1:
            done(uses.pop())
            return

        def keep(sample: Sample) -> None:
            uses[:] = [sample] * 3
            done(sample)

        read_revision(self, keep)

    return [on(CoordinatorClient, "read_revision", cached)]


# -- the coordinators' log -------------------------------------------------------------------------


def _lying_disk() -> Sequence[Any]:
    """Terms, votes and entries are answered for before they are durable."""

    sync = FakeDisk.sync

    def lie(self: FakeDisk, name: str) -> None:
        if not name.startswith("journal-"):
            sync(self, name)

    return [on(FakeDisk, "sync", lie)]


CRASHES: Final = ("crash_shard", "cut")
LINKS: Final = ("cut", "slow", "cut")
APART: Final = ("depose",)
BREACHES: Final = (
    Breach("prefetch", "inv02", ("inv02", "inv04", "inv05", "inv07", "inv11", "crash"), _prefetch),
    Breach("twice", "inv01", ("inv01", "inv06", "inv13", "inv15", "crash"), _twice),
    Breach("forgetful", "inv14", ("inv14",), _forgetful, LINKS, first=50),
    Breach("old-last", "m10", ("inv05", "inv07", "inv09", "inv04", "crash"), _old_last),
    Breach("boundless", "inv13", ("inv13",), _boundless, window=60),
    Breach("unwaited", "inv13", ("inv13", "inv04", "inv02"), _unwaited, APART, 3, first=6),
    Breach("checked-before", "inv13", ("inv13", "inv04"), _checked_before, APART, 3),
    Breach("unchecked", "inv13", ("inv13", "inv04"), _unchecked, APART, 3),
    Breach("late-t0", "m08", ("inv13",), _late_t0, APART, 3),
    Breach("same-nonce", "inv15", ("inv15", "inv17"), _same_nonce, CRASHES),
    Breach("ahead", "m12", ("inv11", "crash"), _ahead, CRASHES),
    Breach("unregistered", "m01", ("liveness", "answer"), _unregistered, ("crash_member",)),
    # A store that lost its end is an older copy of itself, and refused.
    Breach("unsynced", "inv16", ("inv01", "inv15", "inv03", "inv05", "crash"), _unsynced, CRASHES),
    Breach("believed", "inv11", ("inv01", "inv05", "inv11", "inv07"), _believed, ("engine",)),
    Breach("half", "inv06", ("inv06", "inv03"), _half),
    Breach("impatient", "inv05", ("inv05",), _impatient),
    Breach("versions", "inv03", ("inv03",), _unequal_versions),
    Breach("early", "inv07", ("inv07", "inv09", "crash"), _early),
    Breach("marks", "inv09", ("inv09", "inv07"), _marks),
    Breach("deaf", "inv10", ("liveness",), _deaf),
    Breach("fresh-lost", "inv08", ("inv07", "inv09", "inv08"), _fresh_lost, ("cut",)),
    Breach("joins-early", "inv07", ("inv07", "inv09"), _joins_early),
    Breach("split", "inv06", ("inv06", "inv07"), _split),
    Breach("sure", "inv16", ("inv16", "inv06", "inv03"), _sure, LINKS),
    Breach("no-floor", "inv20", ("inv20", "inv05", "liveness"), _no_floor, first=9),
    Breach("kept", "inv20", ("liveness",), _kept),
    Breach("cached-sample", "inv04", ("inv04",), _cached_sample),
    Breach(
        "lying-disk",
        "inv22",
        ("inv22", "inv13", "crash"),
        _lying_disk,
        ("crash_member",),
        3,
        first=30,
    ),
)
