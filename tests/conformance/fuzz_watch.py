"""The watches of one server during a sequence, and how their events are made comparable.

What it is: the open streams, and the waiting that makes two servers' events equal whenever they
are looked at. What it is not: a comparison.

Words: to *settle* is to ask for progress until a mark of the newest revision comes: then every
event up to it has come, too. A mark counts only if it was surely asked for after the newest create:
before, it says nothing of a watch that starts in the past. A *lone* stream carries one watch: of a
future revision, which keeps etcd from answering progress requests, or of a compacted one, which
keeps it from ever doing so again.

Invariants:
- a stream is settled before a compaction, which would take from etcd the previous versions that it
  has yet to look up, and before a cancel, behind which etcd may drop what is queued;
- no event of a revision arrives behind a mark of this or a newer one (`late`).

Worked example: a watch of /s/ from FLOOR, three puts, a compaction: the three events are told with
the compaction's outcome, however many answers they came in.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from kubebraid.proto.etcd import rpc_pb2 as pb

from .case import PROGRESS, Message
from .plain import View
from .runner import Outcome, Stream

LEASE_SLACK_S: Final = 300  # no sequence takes longer; the TTLs lie farther apart
ANSWER_S_MAX: Final = 5.0
SETTLE_S_MAX: Final = 10.0
PROGRESS_FIRST_S: Final = 0.03  # etcd drops a request while a watch is behind, so it is repeated
PROGRESS_NEXT_S: Final = 0.06


class FuzzView(View):
    """Keys are told as they are; what remains of a lease may differ by a sequence's time."""

    def revision(self, number: int) -> str:
        """As those of the answers are told."""
        return f"base{number - self.base:+d}"

    @staticmethod
    def _remaining(ttl: int, granted: int) -> str | int:
        live = ttl > 0 and granted - LEASE_SLACK_S <= ttl <= granted
        return "what was granted" if live else ttl


def is_control(answer: Message) -> bool:
    return bool(answer.created or answer.canceled)


def is_mark(answer: Message) -> bool:
    return not is_control(answer) and not answer.events


@dataclass
class Watched:
    """One stream: the watches that live on it and what has come for them."""

    stream: Stream
    starts: dict[int, int] = field(default_factory=dict)
    events: dict[int, list[Message]] = field(default_factory=dict)
    surprises: list[Message] = field(default_factory=list)
    mark: int = 0
    late: int = 0
    asked: int = 0  # marks that have not come; etcd does not answer all requests
    stale: int = 0  # so many marks may still come that were asked for before the newest create

    def send(self, request: pb.WatchRequest) -> None:
        self.stream.send(request.SerializeToString())

    def control(self) -> Message | None:
        """The next answer to a create or a cancel; events before it are kept."""
        taken = self.stream.take(lambda all_: bool(all_) and is_control(all_[-1]), ANSWER_S_MAX)
        answered = bool(taken) and is_control(taken[-1])
        for each in taken[:-1] if answered else taken:
            self._absorb(each)
        return taken[-1] if answered else None

    def settle(self, revision: int) -> bool:
        """Wait until all up to this revision is here; False if it does not come."""
        until, wait_s = time.monotonic() + SETTLE_S_MAX, PROGRESS_FIRST_S
        while self.mark < revision:
            if time.monotonic() > until:
                return False
            self.asked += 1
            self.send(PROGRESS)
            for each in self.stream.take(lambda all_: bool(all_) and is_mark(all_[-1]), wait_s):
                self._absorb(each)
            wait_s = PROGRESS_NEXT_S
        return True

    def _absorb(self, answer: Message) -> None:
        if is_mark(answer):
            self.asked -= 1
            if self.stale:
                self.stale -= 1
            else:
                self.mark = max(self.mark, answer.header.revision)
        elif is_control(answer):
            self.surprises.append(answer)
        else:
            self.late += sum(each.kv.mod_revision <= self.mark for each in answer.events)
            self.events.setdefault(answer.watch_id, []).extend(answer.events)

    def waits_for(self, now: int) -> int:
        """The highest revision that a watch of this stream waits for, if it is a future one."""
        return max((start for start in self.starts.values() if start > now), default=0)


class Watches:
    """All streams of one server. Every method answers an outcome."""

    def __init__(self, view: FuzzView, open_stream: Callable[[], Stream]) -> None:
        self._view = view
        self._open_stream = open_stream
        self._open: dict[str, Watched] = {}
        self._lone = 0

    def close(self) -> None:
        for watched in self._open.values():
            watched.stream.close()
        self._open.clear()

    def create(self, name: str, request: pb.WatchRequest, now: int, floor: int) -> Outcome:
        start = request.create_request.start_revision
        compacted = 0 < start < floor
        if compacted or start > now:
            self._lone += 1
            name = f"lone {self._lone}"
        watched = self._stream(name)
        watched.mark, watched.stale = 0, watched.asked
        watched.send(request)
        created = watched.control()
        if created is None:
            return ["no answer"]
        outcome: list[Outcome] = [self._view.plain(created)]
        if not created.canceled:
            watched.starts[created.watch_id] = start
            if compacted:
                canceled = watched.control()
                outcome.append("no cancel" if canceled is None else self._view.plain(canceled))
        if name.startswith("lone") and (compacted or created.canceled):
            self._open.pop(name).stream.close()
        return outcome

    def cancel(self, name: str, request: pb.WatchRequest, now: int, floor: int) -> Outcome:
        """Unknown ids are not answered; should they be, the answer is a surprise later."""
        watched = self._stream(name)
        watch_id = request.cancel_request.watch_id
        if watch_id not in watched.starts:
            watched.send(request)
            return None
        told = self._settled(watched, now, floor)
        watched.send(request)
        answer = watched.control()
        del watched.starts[watch_id]
        return [told, "no answer" if answer is None else self._view.plain(answer)]

    def progress(self, name: str, now: int, floor: int) -> Outcome:
        return self._settled(self._stream(name), now, floor)

    def settled(self, now: int, floor: int) -> Outcome:
        """All events of all streams since they were last told."""
        told = {name: self._settled(each, now, floor) for name, each in self._open.items()}
        return {"": "Watches", **{name: each for name, each in told.items() if each}}

    def waits_for(self, now: int) -> int:
        return max((each.waits_for(now) for each in self._open.values()), default=0)

    def _stream(self, name: str) -> Watched:
        if name not in self._open:
            self._open[name] = Watched(self._open_stream())
        return self._open[name]

    def _settled(self, watched: Watched, now: int, floor: int) -> Outcome:
        """What came for each watch; None if nothing can have come."""
        if not watched.starts or watched.waits_for(now):
            return None
        told: dict[str, Any] = {"": "Watched", "floor": self._view.revision(floor)}
        if not watched.settle(now):
            told["no progress"] = watched.stream.status
        if watched.late:
            told["late"] = watched.late
        if watched.surprises:
            told["surprises"] = [self._view.plain(each) for each in watched.surprises]
        for watch_id, events in sorted(watched.events.items()):
            told[f"watch {watch_id}"] = [self._view.plain(each) for each in events]
        watched.events.clear()
        return told
