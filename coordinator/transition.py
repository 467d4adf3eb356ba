"""(state, command) -> state: every change of the coordinator's state, as a total function.

What it is: the commands of the replicated log and what each does, but for those of migrations
(`migrations.py`). What it is not: replication; one process applies them directly, a cluster through
its log, in the same order everywhere.

Invariants:
- total: a command that does not apply is answered by the unchanged state, never an exception;
- cepoch, window, compact_revision, map version and each oepoch never fall;
- inv13: a reign hands out nothing above its window; the next one begins above it;
- M2: what was decided on a sequencer's word counts in the reign of that word alone, and H for the
  process that was there when it was fixed;
- M6: a shard's process owns nothing before a map gave its tablets a new oepoch for it;
- a shard's process is let in only if its store says an adoption behind which nothing was
  acknowledged that it lacks: the confirmed one or a later one (docs/decisions/0012);
- all shards say the same `rows`: one row space that they share, or none.

Worked example: `apply(state, RaiseFloor(90))` with the floor at 100 answers the state unchanged.

Source: the sequencer's lease follows docs/model/Lease.tla. Tested in
tests/unit/coordinator/test_transition.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, TypeAlias, assert_never

from kubebraid.base.ports import NEVER_ADOPTED, Adoption, Alarm, ShardPlace
from kubebraid.base.reshard import ENDED, Control, HandOver, Planned, Removal
from kubebraid.base.revision import FIRST_REVISION, Epoch, Revision, TabletId
from kubebraid.base.tabletmap import Tablet, TabletMap, with_new_epochs

from . import migrations
from .migrations import Step
from .state import Lease, State, admits, alike

TRIED_MAX: Final = 16  # starts in a row that end before they are durable are kept, and no more


@dataclass(frozen=True, slots=True)
class TakeReign:
    """A start of the one process that is everything: a new cepoch, and every tablet under a new
    oepoch (rule M6)."""


@dataclass(frozen=True, slots=True)
class Found:
    """A new cluster: its id and its first map. Only once."""

    cluster: str
    tablets: TabletMap


@dataclass(frozen=True, slots=True)
class Acquire:
    """Take the sequencer's lease from a holder that has not renewed since `renewals` of `cepoch`.
    `length`: how many revisions the new window has."""

    node: str
    cepoch: Epoch
    renewals: int
    length: int


@dataclass(frozen=True, slots=True)
class Renew:
    """Go on as the holder, with a window up to `window`."""

    node: str
    cepoch: Epoch
    renewals: int
    window: Revision


@dataclass(frozen=True, slots=True)
class Release:
    """Give the lease back (rule M9): nothing above `window` was handed out, or will be."""

    node: str
    cepoch: Epoch
    window: Revision


@dataclass(frozen=True, slots=True)
class StartShard:
    """A shard's process takes its tablets. `ends`: H of each, as the sequencer of `cepoch` fixed
    it when it froze them. `replaces`: since which map version the process before had them (0: there
    was none): what another one was given since is above these ends. `previous`: what its store
    says. `host`: the process that it runs in; only the one that has the seat is let in. `rows`: the
    id of the row space that its store shares; it is that of all shards, or of none."""

    cepoch: Epoch
    shard: str
    store: str
    incarnation: int
    address: str
    ends: tuple[tuple[TabletId, Revision], ...]
    replaces: int
    previous: Adoption = NEVER_ADOPTED
    host: str = ""
    rows: str = ""


@dataclass(frozen=True, slots=True)
class Seat:
    """Another host has to serve a shard; the one before, `before`, was not heard of, or ends."""

    cepoch: Epoch
    shard: str
    host: str
    before: str


@dataclass(frozen=True, slots=True)
class Adopted:
    """The shard's store says this adoption, durably. From now on a store that says less is an
    older copy; before the first one of its incarnation the process acknowledges nothing."""

    shard: str
    adoption: Adoption


@dataclass(frozen=True, slots=True)
class RaiseFloor:
    """Reads and watches below `revision` are refused from now on."""

    revision: Revision


@dataclass(frozen=True, slots=True)
class SetAlarm:
    """Raise or disarm an alarm."""

    alarm: Alarm
    raised: bool


Command: TypeAlias = (
    TakeReign
    | Found
    | Acquire
    | Renew
    | Release
    | StartShard
    | Seat
    | Adopted
    | Planned
    | Step
    | Control
    | Removal
    | HandOver
    | RaiseFloor
    | SetAlarm
)


def apply(state: State, command: Command) -> State:
    """The state after the command; the same object if it does not apply."""
    match command:
        case TakeReign():
            after = replace(state, cepoch=state.cepoch + 1, tablets=with_new_epochs(state.tablets))
        case Found(cluster, tablets):
            new = bool(cluster) and not state.cluster and tablets.version >= state.tablets.version
            after = replace(state, cluster=cluster, tablets=tablets) if new else state
        case Acquire() | Renew() | Release():
            after = _lease(state, command)
        case StartShard() | Seat() | Adopted():
            after = _of_shard(state, command)
        case Planned() | Control() | Removal() | HandOver():
            found = _asked(state, command)
            after = state if isinstance(found, str) else found
        case Step():
            after = migrations.step(state, command)
        case RaiseFloor(revision):
            raised = revision > state.compact_revision
            after = replace(state, compact_revision=revision) if raised else state
        case SetAlarm(alarm, raised):
            alarms = state.alarms | {alarm} if raised else state.alarms - {alarm}
            after = state if alarms == state.alarms else replace(state, alarms=alarms)
        case _:
            assert_never(command)
    assert after.cepoch >= state.cepoch
    assert after.lease.window >= state.lease.window or after.cepoch == state.cepoch
    assert after.compact_revision >= state.compact_revision
    assert after.tablets.version >= state.tablets.version
    return after


def refusal(state: State, command: Command) -> str:
    """Why a plan, an operator's word or a removal does not apply, for the operator; empty: it does,
    or there is nothing to do for it."""
    if not isinstance(command, (Planned, Control, Removal, HandOver)):
        return ""
    found = _asked(state, command)
    return found if isinstance(found, str) else ""


def _asked(state: State, command: Planned | Control | Removal | HandOver) -> State | str:
    match command:
        case Planned():
            return migrations.plan(state, command)
        case Control():
            return migrations.control(state, command)
        case Removal(shard):
            return _removed(state, shard)
        case HandOver(shard, host):
            return _handed_over(state, shard, host)


def _removed(state: State, name: str) -> State | str:
    """Without the shard, whose store is strange from now on; gone already, it is gone."""
    owned = sum(tablet.shard == name for tablet in state.tablets.tablets)
    if owned:
        return f"{name} owns {owned} tablets. Nothing was changed"
    for migration in state.migrations:
        if migration.phase not in ENDED and name in (migration.source, migration.target):
            return f"{name} is needed by {migration.id}, which has not ended. Nothing was changed"
    if state.shard(name) is None:
        return state
    return replace(state, shards=tuple(shard for shard in state.shards if shard.name != name))


def _handed_over(state: State, name: str, host: str) -> State | str:
    known = state.shard(name)
    if known is None:
        return f"there is no shard {name} that was started once. Nothing was changed"
    if not known.host:
        return (
            f"{name} keeps its data in a directory, which no other process can serve; move its "
            "tablets. Nothing was changed"
        )
    return _seated(state, name, host)


def _seated(state: State, name: str, host: str) -> State:
    """Nothing else changes: who serves goes on until the host's own process starts."""
    known = state.shard(name)
    assert known is not None, name
    assert known.host, name
    return state if known.host == host else _with_place(state, known._replace(host=host))


def _lease(state: State, command: Acquire | Renew | Release) -> State:
    """Compare-and-set on (cepoch, renewals): of two that raced one changes nothing."""
    lease = state.lease
    if command.cepoch != state.cepoch or not state.cluster:
        return state
    match command:
        case Acquire(node, _, renewals, length):
            # Also where nobody holds it: who asks has seen the window behind which it begins.
            if length <= 0 or renewals != lease.renewals:
                return state
            taken = Lease(node, lease.window + length, 0)
            freed = migrations.taken_over(state)
            return replace(freed, cepoch=state.cepoch + 1, lease=taken)
        case Renew(node, _, renewals, window):
            if node != lease.holder or renewals != lease.renewals or window < lease.window:
                return state
            return replace(state, lease=Lease(node, window, renewals + 1))
        case Release(node, _, window):
            if node != lease.holder or not FIRST_REVISION <= window <= lease.window:
                return state
            free = Lease("", window, lease.renewals)
            return state if free == lease else replace(state, lease=free)


def _of_shard(state: State, command: StartShard | Seat | Adopted) -> State:
    match command:
        case StartShard():
            after = _start_shard(state, command)
            return after if after is state else migrations.restarted(after, command.shard)
        case Seat(cepoch, shard, host, before):
            known = state.shard(shard)
            meant = known is not None and known.host == before != "" and cepoch == state.cepoch
            return _seated(state, shard, host) if meant else state
        case Adopted():
            return _adopted(state, command)


def _start_shard(state: State, command: StartShard) -> State:
    """Every tablet of the shard gets a new oepoch, which begins at the H that the reign fixed."""
    known = state.shard(command.shard)
    if command.cepoch != state.cepoch or not state.cluster:
        return state
    if known is not None and command.incarnation == known.incarnation:
        return state  # applied before: the command was sent again
    if known is not None and known.store != command.store:
        return state  # another disk than the one that holds its tablets
    if command.replaces != (0 if known is None else known.since):
        return state
    if not admits(known, command.previous):
        return state  # an older copy of the disk that holds its tablets
    if known is not None and not known.seats(command.host):
        return state  # another host's by now
    if not alike(state, command.rows):
        return state  # a tablet that it gets would be looked for where its rows are not
    ends = dict(command.ends)
    begins = {t.id: t.begin for t in state.tablets.tablets if t.shard == command.shard}
    if set(ends) != set(begins) or any(ends[tablet] < begins[tablet] for tablet in ends):
        return state
    version = state.tablets.version + 1
    who = (command.shard, command.store, command.incarnation, command.address)
    record = ShardPlace(*who, version, *_let_in(known, command), command.host, command.rows)
    tablets = tuple(
        _begun(tablet, ends[tablet.id]) if tablet.shard == command.shard else tablet
        for tablet in state.tablets.tablets
    )
    return replace(_with_place(state, record), tablets=TabletMap(version, tablets))


def _let_in(known: ShardPlace | None, command: StartShard) -> tuple[Adoption, tuple[int, ...]]:
    """(confirmed, tried) behind a start. What the store said is durable, so less is an older copy
    from now on; what was let in later than that may be in it, or still come into it."""
    if known is None:
        return NEVER_ADOPTED, (command.incarnation,)
    confirmed, tried, previous = known.confirmed, known.tried, command.previous
    if previous.incarnation == confirmed.incarnation:
        return previous, (*tried, command.incarnation)[-TRIED_MAX:]
    later = (*tried[tried.index(previous.incarnation) + 1 :], command.incarnation)
    return confirmed, (previous.incarnation, *later[-TRIED_MAX:])


def _adopted(state: State, command: Adopted) -> State:
    known, adoption = state.shard(command.shard), command.adoption
    if known is None or known.incarnation != adoption.incarnation or adoption.marks < 0:
        return state  # replaced meanwhile
    if known.says(adoption):
        return state
    return _with_place(state, known._replace(confirmed=adoption, tried=()))


def _with_place(state: State, record: ShardPlace) -> State:
    others = tuple(shard for shard in state.shards if shard.name != record.name)
    return replace(state, shards=tuple(sorted((*others, record))))


def _begun(tablet: Tablet, end: Revision) -> Tablet:
    return replace(tablet, oepoch=tablet.oepoch + 1, begin=end)
