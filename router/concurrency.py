"""Locks and elections: their calls in, and the router's own services asked on their behalf.

What it is: whoever does the steps of the procedures (`lock.py`, `election.py`); to KV, Lease and
Watch it is a client like any other, without a network between. What it is not: the algorithm.

Words: a *run* is one call and its procedure; it *rests* while it waits for an answer or for a
message of its watch.

Invariants:
- answers arrive in the middle of other turns; a run goes on in a turn of its own, so nothing that a
  procedure does meets a service that is at work;
- an answer that is asked for is waited for, whatever became of the client: who cleans up knows what
  there is to clean up;
- while draining nobody waits for another's key: the client is told to call elsewhere, and its seat
  is given up here;
- a stream whose client does not read holds its watch back: what is pending there counts for both.

Worked example: Lock asks KV.Txn as call 7 of this edge; the owner commits, `respond(7, ..)` makes
the run ready, and the next `turn` resumes the procedure, which follows the key before its own.

Source: etcd server/etcdserver/api/{v3lock,v3election,v3client}. Tested in
tests/unit/router/test_concurrency.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, TypeAlias

from kubebraid.base import errors
from kubebraid.base.errors import Code, RequestRefused
from kubebraid.proto import requests
from kubebraid.proto.server import Edge, Kind

from . import election, lock
from .answers import Caller
from .context import Context
from .kv import KvService
from .lease import LeaseService
from .procedure import (
    Answer,
    Ask,
    Check,
    Follow,
    Gone,
    Next,
    Procedure,
    Service,
    Show,
    Step,
    Unfollow,
)
from .watch import WatchService

Said: TypeAlias = bytes | RequestRefused | Gone  # what a procedure is resumed with


class Run:
    """One call of a client."""

    def __init__(self, caller: Caller, procedure: Procedure[Answer | None]) -> None:
        self.caller = caller
        self.procedure = procedure
        self.watch = 0  # the call of its watch; 0: none
        self.arrived: deque[Said] = deque()  # messages of the watch that it did not take yet
        self.waits = False  # for a message of its watch
        self.gone = False  # nobody waits for its answer


def _observe(payload: bytes) -> Procedure[Answer | None]:
    return election.observe(requests.leader_request(payload, streamed=True))


PROCEDURES: Final[dict[str, Callable[[bytes], Procedure[Answer | None]]]] = {
    "Lock/Lock": lambda payload: lock.lock(*requests.lock_request(payload)),
    "Lock/Unlock": lambda payload: lock.unlock(requests.unlock_request(payload)),
    "Election/Campaign": lambda payload: election.campaign(*requests.campaign_request(payload)),
    "Election/Proclaim": lambda payload: election.proclaim(*requests.proclaim_request(payload)),
    "Election/Leader": lambda payload: election.leader(requests.leader_request(payload)),
    "Election/Observe": _observe,
    "Election/Resign": lambda payload: election.resign(requests.resign_request(payload)),
}


class Concurrency:
    """Implements Part, and Edge for the answers to its own calls."""

    def __init__(
        self, context: Context, kv: KvService, lease: LeaseService, watch: WatchService
    ) -> None:
        self._context = context
        self._kv = kv
        self._watch = watch
        self._services: dict[Service, Callable[[Caller, bytes], None]] = {
            Service.TXN: kv.txn,
            Service.RANGE: kv.range,
            Service.DELETE: kv.delete_range,
            Service.GRANT: lease.grant,
        }
        self._runs: dict[tuple[Edge, int], Run] = {}  # whose clients wait
        self._asked: dict[int, Run] = {}  # by our own call ids, those of watches too
        self._ready: deque[tuple[Run, Said]] = deque()
        self._calls = 0
        self._draining = False

    # -- the clients' calls --------------------------------------------------------------------

    def handlers(self) -> dict[str, Callable[[Caller, bytes], None]]:
        """What begins a call, by service and method."""
        return {name: partial(self._begin, make) for name, make in PROCEDURES.items()}

    def event(self, edge: Edge, kind: int, call_id: int) -> None:
        """What happens to a call after it began."""
        run = self._runs.get((edge, call_id))
        if run is None:
            return
        if kind == Kind.CANCELLED:
            self._leave(run)
        elif kind == Kind.DRAINED and run.watch:
            self._watch.drained(self, run.watch)

    def end_all(self) -> None:
        """A drain: who waits for others does so elsewhere; what is under way is answered."""
        self._draining = True
        for run in list(self._runs.values()):
            if run.waits:
                run.caller.fail(errors.STOPPED)
                self._leave(run)

    # -- Part ----------------------------------------------------------------------------------

    def turn(self) -> bool:
        """Resume those that were answered. Answers: has anything been done?"""
        count = len(self._ready)
        for _ in range(count):
            run, said = self._ready.popleft()
            self._go_on(run, said)
        if count:
            self._kv.flush()
        return count > 0

    def next_deadline_ms(self) -> int | None:
        return None

    # -- Edge ----------------------------------------------------------------------------------

    def respond(self, call_id: int, payload: bytes) -> None:
        self._ready.append((self._asked.pop(call_id), payload))

    def fail(self, call_id: int, code: int, message: str) -> None:
        run = self._asked.pop(call_id, None)
        if run is None:
            return  # a watch that was left, ended by a drain
        refused = RequestRefused(Code(code), message)
        if run.watch == call_id:
            self._hear(run, refused)
        else:
            self._ready.append((run, refused))

    def send(self, call_id: int, payload: bytes) -> None:
        run = self._asked.get(call_id)
        if run is not None:
            self._hear(run, payload)

    def pending_bytes(self, call_id: int) -> int:
        run = self._asked.get(call_id)
        return 0 if run is None else run.caller.edge.pending_bytes(run.caller.call_id)

    def end(self, call_id: int) -> None:
        raise AssertionError("a watch does not end by itself")

    # -- runs ----------------------------------------------------------------------------------

    def _begin(
        self, make: Callable[[bytes], Procedure[Answer | None]], caller: Caller, payload: bytes
    ) -> None:
        run = Run(caller, make(payload))
        self._runs[caller.edge, caller.call_id] = run
        self._go_on(run, None)

    def _hear(self, run: Run, said: Said) -> None:
        """A message of the run's watch, or the end of all waiting."""
        if run.waits:
            run.waits = False
            self._ready.append((run, said))
        else:
            run.arrived.append(said)

    def _leave(self, run: Run) -> None:
        """Nobody waits for this run any more."""
        del self._runs[run.caller.edge, run.caller.call_id]
        run.gone = True
        self._hear(run, Gone())

    def _go_on(self, run: Run, said: Said | None) -> None:
        """Resume the procedure until it rests or ends."""
        procedure = run.procedure
        try:
            while True:
                if isinstance(said, Exception):
                    step = procedure.throw(said)
                else:
                    step = next(procedure) if said is None else procedure.send(said)
                said = self._do(run, step)
                if said is None:
                    return
        except StopIteration as end:
            self._finish(run, end.value)
        except RequestRefused as refused:
            # Whatever its code was: etcd's services pass errors of its Go client on as texts.
            self._finish(run, RequestRefused(Code.UNKNOWN, refused.message))
        except Gone:
            self._finish(run, None)

    def _do(self, run: Run, step: Step) -> Said | None:
        """Do one step; what it came to, or None if the run rests."""
        match step:
            case Ask(service, payload):
                self._services[service](Caller(self, self._call(run), run.caller.header), payload)
                return None
            case Follow(payload):
                run.watch = self._call(run)
                self._watch.open(self, run.watch)
                self._watch.message(self, run.watch, payload)
            case Next():
                return self._next(run)
            case Unfollow():
                self._unfollow(run)
            case Check():
                return Gone() if run.gone else b""
            case Show(revision, body):
                if not run.gone:
                    edge, call_id = run.caller.edge, run.caller.call_id
                    edge.send(call_id, run.caller.header.field(revision) + body)
        return b""

    def _next(self, run: Run) -> Said | None:
        if self._draining and not run.gone:
            run.caller.fail(errors.STOPPED)
            self._leave(run)
        if run.gone:
            return Gone()
        if run.arrived:
            return run.arrived.popleft()
        run.waits = True
        return None

    def _call(self, run: Run) -> int:
        self._calls += 1
        self._asked[self._calls] = run
        return self._calls

    def _unfollow(self, run: Run) -> None:
        self._asked.pop(run.watch, None)
        self._watch.close(self, run.watch)
        run.watch = 0
        run.arrived.clear()

    def _finish(self, run: Run, outcome: Answer | RequestRefused | None) -> None:
        """Answer; None is the end of a stream, or nobody is there to be answered."""
        if run.watch:
            self._unfollow(run)
        caller = run.caller
        if self._runs.pop((caller.edge, caller.call_id), None) is None:
            return
        if outcome is None:
            caller.edge.end(caller.call_id)
        elif isinstance(outcome, Answer):
            caller.respond(outcome.revision, outcome.body)
        else:
            caller.fail(outcome)
