"""Leases whose keys lie on several shards: what the home of a lease and its guests tell each other.

What it is: who a lease is asked for before its first key is attached here, and how its end reaches
everybody who holds keys of it. What it is not: expiry (`lease.py`), or the writes (`apply.py`).

Words: *home*, *guest*: see `lease.py`. To *join* is to be noted as a guest, durably, before a key
is attached; to *leave* is to delete one's keys because the lease ends.

Invariants:
- inv21: nothing attaches behind the end: the home's row says ended, durably, before the first guest
  is asked to leave, and a join that was answered before is followed by a leave;
- a lease is gone at its home only when no guest holds a key of it; a guest that cannot be reached
  is asked again, however long it takes, and the lease renews for nobody meanwhile; only where it
  owns nothing and no migration names it, it need not be reached;
- whoever waits for another shard waits here: the other writes of this shard go on.

Worked example: a put on shard-1 names lease 7, which lives on shard-0: shard-0 notes the guest
shard-1, shard-1 notes that it visits, and the put commits. A revoke: shard-0 notes the end, shard-1
deletes its keys in one revision, then shard-0 its own.

Source: etcd server/lease/lessor.go, where one shard is all there is. Tested in
tests/unit/shard/test_guests.py, tests/property/test_guests.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.limits import LEASE_RETRY_MS
from kubebraid.base.ports import (
    WRITE_LEASE_REVOKE,
    WRITE_LEASE_ROW,
    LeaseInfo,
    PeerPort,
    WriteCall,
    WriteReply,
)
from kubebraid.base.revision import LeaseId
from kubebraid.base.seams import Clock
from kubebraid.proto import requests

from .lease import LeaseChange, LeaseRow, LeaseTask
from .ownership import Ownership

Done: TypeAlias = Callable[[WriteReply], None]
Submit: TypeAlias = Callable[[Sequence[WriteCall], Done], None]
Waiting: TypeAlias = list[tuple[WriteCall, Done]]


class Guests:
    """One shard's part in the leases of all."""

    def __init__(
        self, owned: Ownership, submit: Submit, clock: Clock, peers: Mapping[str, PeerPort]
    ) -> None:
        """`submit` queues a write of this shard; `peers`: the others, by name."""
        self._owned = owned
        self._submit = submit
        self._clock = clock
        self._peers = peers
        self._joining: dict[LeaseId, Waiting] = {}
        self._visits: list[LeaseId] = []  # joined, and the row is on its way; perhaps twice
        self._ending: dict[LeaseId, Waiting] = {}
        # Guests that have not left yet, and whether each is being asked. Asked twice at a time, the
        # second question might arrive when the lease has been granted anew.
        self._staying: dict[LeaseId, dict[str, bool]] = {}
        self._again: dict[LeaseId, int] = {}  # when those are asked again

    # -- a write that waits for another shard --------------------------------------------------

    def aside(self, lease: LeaseId, call: WriteCall, done: Done) -> None:
        """From the writer: a put whose lease lives elsewhere, or a revoke that has guests."""
        if self._owned.leases.is_home(lease):
            self._ending.setdefault(lease, []).append((call, done))
            if len(self._ending[lease]) == 1:
                self._write(lease, _end, partial(self._ended, lease))
        elif lease in self._joining:
            self._joining[lease].append((call, done))
        else:
            self._joining[lease] = [(call, done)]
            self._join(lease)

    def _join(self, lease: LeaseId) -> None:
        home = self._peers.get(self._owned.lease_home(lease))
        waiting = self._joining[lease]
        if home is None:
            self._joined(lease, waiting, errors.NO_LEADER)
        else:
            home.lease_join(lease, self._owned.shard, partial(self._joined, lease, waiting))

    def _joined(self, lease: LeaseId, waiting: Waiting, answer: int | RequestRefused) -> None:
        if self._joining.get(lease) is not waiting:
            return  # it ended meanwhile, and they were told so; others may ask to join anew
        del self._joining[lease]
        if isinstance(answer, RequestRefused):
            _refuse(waiting, _definite(answer))
            return
        self._visits.append(lease)
        visit = LeaseRow(answer, visiting=True)

        def noted(reply: WriteReply) -> None:
            self._visits.remove(lease)
            if reply.error is None:
                self._resubmit(waiting)
            else:
                _refuse(waiting, reply.error)

        self._write(lease, lambda row: row or visit, noted)

    # -- the home's side -----------------------------------------------------------------------

    def lease_join(
        self, lease: LeaseId, guest: str, done: Callable[[int | RequestRefused], None]
    ) -> None:
        """See PeerPort."""
        if not self._owned.leases.ours(lease):
            done(errors.OWNER_AWAY)  # it lives elsewhere by now: the guest asks there
            return

        def note(row: LeaseRow | None) -> LeaseRow | None:
            if row is None or row.visiting or row.ended:
                return None
            return row._replace(guests=tuple(sorted({*row.guests, guest})))

        def noted(reply: WriteReply) -> None:
            if reply.error is not None:
                done(reply.error)
            elif lease in self._owned.leases:
                done(self._owned.leases.ttl_s(lease))
            else:
                done(errors.LEASE_NOT_FOUND)

        self._write(lease, note, noted)

    def _ended(self, lease: LeaseId, reply: WriteReply) -> None:
        """The end is durable: the guests may be told."""
        if lease not in self._ending:
            return  # it lives elsewhere by now, and ends there
        if reply.error is not None:
            _refuse(self._ending.pop(lease), reply.error)
            return
        self._staying[lease] = dict.fromkeys(self._owned.leases.row(lease).guests, False)
        self._ask_to_leave(lease)

    def _ask_to_leave(self, lease: LeaseId) -> None:
        self._again[lease] = self._clock.now_ms() + LEASE_RETRY_MS
        staying = self._staying[lease]
        for guest in sorted(guest for guest, is_asked in staying.items() if not is_asked):
            peer = self._peers.get(guest)
            staying[guest] = True
            if peer is None:
                self._left(lease, guest, errors.NO_LEADER)
            else:
                peer.lease_leave(lease, partial(self._left, lease, guest))

    def _left(self, lease: LeaseId, guest: str, refused: RequestRefused | None) -> None:
        staying = self._staying.get(lease)
        if staying is None:
            return  # it lives elsewhere by now
        if refused is not None and not self._is_gone(guest, refused):
            staying[guest] = False
            return
        del staying[guest]
        if not staying:
            del self._staying[lease], self._again[lease]
            self._write(lease, _alone, lambda _reply: self._over(lease))

    def _is_gone(self, guest: str, refused: RequestRefused) -> bool:
        """Whether a guest that cannot be asked has nothing to leave: it was drained."""
        unreached = refused is errors.OWNER_AWAY or refused is errors.NO_LEADER
        return unreached and self._owned.is_bare(guest)

    def _over(self, lease: LeaseId) -> None:
        """Nobody else holds a key of it: whoever wanted its end goes on."""
        self._resubmit(self._ending.pop(lease, []))

    def turn(self, now_ms: int) -> None:
        """Ask those again who refused, or could not be reached."""
        for lease in [lease for lease, due_ms in self._again.items() if now_ms >= due_ms]:
            self._ask_to_leave(lease)

    def next_deadline_ms(self) -> int | None:
        """When `turn` has something to do."""
        return min(self._again.values(), default=None)

    # -- the guest's side ----------------------------------------------------------------------

    def lease_leave(self, lease: LeaseId, done: Callable[[RequestRefused | None], None]) -> None:
        """See PeerPort."""
        joining = self._joining.pop(lease, None)
        if joining is not None:
            _refuse(joining, errors.LEASE_NOT_FOUND)
        if lease not in self._owned.leases and lease not in self._visits:
            done(None)
            return

        def left(reply: WriteReply) -> None:
            gone = reply.error is None or reply.error is errors.LEASE_NOT_FOUND
            done(None if gone else reply.error)

        payload = requests.encode_lease_revoke(lease)
        call = WriteCall(WRITE_LEASE_REVOKE, payload, (), self._owned.map_version, lease)
        self._submit([call], left)

    # -- another map ----------------------------------------------------------------------------

    def rehomed(self) -> None:
        """Leases have come or gone: whoever waits here for what is decided elsewhere by now plans
        anew, and the other way round."""
        leases = self._owned.leases
        for lease in [lease for lease in self._ending if not leases.is_home(lease)]:
            self._staying.pop(lease, None)
            self._again.pop(lease, None)
            _refuse(self._ending.pop(lease), errors.OTHER_MAP)
        for lease in [lease for lease in self._joining if leases.ours(lease)]:
            self._resubmit(self._joining.pop(lease))

    # -- what is attached ----------------------------------------------------------------------

    def info(
        self,
        lease: LeaseId,
        own: LeaseInfo,
        done: Callable[[LeaseInfo | RequestRefused | None], None],
    ) -> None:
        """`own`, with the keys that the guests hold."""
        guests = self._owned.leases.row(lease).guests
        keys = list(own.keys)
        missing = len(guests)
        if not missing:
            done(own)
            return

        def add(guest: str, found: LeaseInfo | RequestRefused | None) -> None:
            nonlocal missing
            if missing < 0:
                return
            missing -= 1
            left = found is errors.OTHER_MAP
            if isinstance(found, RequestRefused) and (left or self._is_gone(guest, found)):
                found = None
            if isinstance(found, RequestRefused):
                missing = -1  # the others' answers are of no use any more
                done(found)
                return
            keys.extend(() if found is None else found.keys)
            if not missing:
                done(own._replace(keys=tuple(sorted(keys))))

        for guest in guests:
            peer = self._peers.get(guest)
            if missing <= 0:
                return
            if peer is None:
                add(guest, errors.NO_LEADER)
            else:
                peer.lease_info(lease, partial(add, guest))

    # -- writes --------------------------------------------------------------------------------

    def _write(self, lease: LeaseId, change: LeaseChange, done: Done) -> None:
        """A lease's row, durably."""
        task = LeaseTask(lease, change)
        self._submit([WriteCall(WRITE_LEASE_ROW, b"", (), self._owned.map_version, task)], done)

    def _resubmit(self, waiting: Waiting) -> None:
        for call, done in waiting:
            self._submit([call], done)


def _refuse(waiting: Waiting, refused: RequestRefused) -> None:
    for call, done in waiting:
        done(WriteReply(call.tag, 0, b"", refused))


def _definite(refused: RequestRefused) -> RequestRefused:
    """Of the write that waits nothing was done, whatever is known of the join."""
    return refused if refused is errors.LEASE_NOT_FOUND else errors.NO_LEADER


def _end(row: LeaseRow | None) -> LeaseRow | None:
    return None if row is None else row._replace(ended=True)


def _alone(row: LeaseRow | None) -> LeaseRow | None:
    return None if row is None else row._replace(guests=())
