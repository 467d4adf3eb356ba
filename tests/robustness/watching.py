"""A client of watch streams: it sorts what arrives by watch, and remembers where to resume.

What it is: the bookkeeping of clientv3, without its retries. What it is not: a judge; each check
hands what came to `validate`.

Words: a *watcher* is one watch as its client knows it; a stream-wide answer has watch id -1 and
counts for every watcher of the stream.

Worked example: a watcher that saw events up to 7 and then lost its stream resumes with
start_revision 8 on another stream, as a watcher of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from kubebraid.proto.etcd import rpc_pb2
from tests.robustness.model import Model
from tests.robustness.validate import judge, seen

EVERY_WATCHER: Final = -1


class Stream(Protocol):
    """One Watch call, as tests.world and etcd_world offer it."""

    @property
    def ended(self) -> tuple[int, str] | None: ...

    def send(self, request: rpc_pb2.WatchRequest) -> None: ...

    def take(self) -> Sequence[rpc_pb2.WatchResponse]: ...

    def stall(self) -> None: ...

    def resume(self) -> None: ...

    def close(self) -> None: ...


class Watcher:
    """One watch: what was asked, what came, whether more may come."""

    def __init__(self, request: rpc_pb2.WatchCreateRequest) -> None:
        self.request = request
        self.responses: list[rpc_pb2.WatchResponse] = []
        self.live = True

    def next_revision(self) -> int:
        """Where a successor begins."""
        if not self.responses:
            return self.request.start_revision
        return seen(self.request, self.responses) + 1

    def compacted(self) -> bool:
        """Whether it ended because its history is gone."""
        return bool(self.responses) and self.responses[-1].compact_revision > 0

    def successor(self) -> rpc_pb2.WatchCreateRequest:
        """The same watch from where this one ended."""
        request = rpc_pb2.WatchCreateRequest()
        request.CopyFrom(self.request)
        request.start_revision = self.next_revision()
        return request


class Client:
    """A client with one stream. Watch ids are chosen by it."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.stalled = False
        self.watchers: dict[int, Watcher] = {}

    def create(self, request: rpc_pb2.WatchCreateRequest) -> Watcher:
        """Ask for a watch; its created answer comes with the next `take`."""
        chosen = rpc_pb2.WatchCreateRequest()
        chosen.CopyFrom(request)
        chosen.watch_id = len(self.watchers) + 1
        watcher = self.watchers[chosen.watch_id] = Watcher(chosen)
        self.stream.send(rpc_pb2.WatchRequest(create_request=chosen))
        return watcher

    def cancel(self, watcher: Watcher) -> None:
        request = rpc_pb2.WatchCancelRequest(watch_id=watcher.request.watch_id)
        self.stream.send(rpc_pb2.WatchRequest(cancel_request=request))

    def request_progress(self) -> None:
        request = rpc_pb2.WatchProgressRequest()
        self.stream.send(rpc_pb2.WatchRequest(progress_request=request))

    def live(self) -> list[Watcher]:
        return [watcher for watcher in self.watchers.values() if watcher.live]

    def take(self) -> list[rpc_pb2.WatchResponse]:
        """Sort what came; answers the stream-wide bookmarks among it."""
        broadcast = []
        for response in self.stream.take():
            if response.watch_id == EVERY_WATCHER and not response.created:
                broadcast.append(response)
                for watcher in self.live():
                    if watcher.responses:
                        watcher.responses.append(response)
                continue
            watcher = self.watchers[response.watch_id]
            assert watcher.live, f"an answer to a watch that has ended: {response}"
            assert response.created == (not watcher.responses), f"created once, first: {response}"
            watcher.responses.append(response)
            watcher.live = not response.canceled
        return broadcast

    def judge(self, history: Model, *, complete: bool) -> None:
        """All promises of all watchers. `complete`: nothing may still be under way."""
        for watcher in self.watchers.values():
            assert watcher.responses or not complete, f"never created: {watcher.request}"
            if watcher.responses:
                everything = history.revision if complete and watcher.live else None
                judge(watcher.request, watcher.responses, history, everything)
