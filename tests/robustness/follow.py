"""Clients that follow watches through everything: each stream goes on where the last one ended.

What it is: what kube-apiserver's reflectors do with a router that goes away, or goes silent. What
it is not: a judge (`told`).

Invariants: a watcher that heard nothing for SILENCE_S_MAX leaves its router for the next one and
asks from its last revision + 1; one whose history is compacted begins anew at a newer revision.

Worked example: a router is stopped by SIGSTOP; after 4 s without an answer to its progress requests
the watcher is at the other router, and is told what happened in between.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import grpc
import grpc.aio

from kubebraid.proto.etcd import kv_pb2, rpc_pb2
from tests.robustness.etcd_client import channel, row
from tests.robustness.records import Event, Following, History, Told
from tests.robustness.told import seen

SILENCE_S_MAX: Final = 4.0
NUDGE_S: Final = 1.0
AGAIN_S: Final = 0.1


class Wish(NamedTuple):
    """What a watcher asks for. It ends by itself once it has seen `until`, if that is not 0."""

    span: tuple[str, str]
    start: int
    prev_kv: bool = True
    until: int = 0


class Follower:
    """One watcher. It begins at the router of `ports[first]`."""

    def __init__(
        self, name: str, wish: Wish, ports: Sequence[int], first: int, history: History
    ) -> None:
        self.name, self.span = name, wish.span
        self._channels = [channel(port) for port in ports]
        self._router = first % len(ports)
        self._history = history
        self._start, self._prev_kv, self._until = wish.start, wish.prev_kv, wish.until
        self._heard = self._told_at = 0.0
        self._call: Any = None
        self.stopped = False
        self.longest_silence_s = 0.0
        self.seen = max(wish.start - 1, 0)

    async def run(self) -> None:
        """Follow until stopped."""
        self._told_at = time.monotonic()
        while not self.stopped:
            following = Following(self.name, *self.span, self._start, self._prev_kv)
            self._history.followings.append(following)
            async with asyncio.TaskGroup() as tasks:
                nudging = tasks.create_task(self._nudge())
                try:
                    await self._follow(following)
                except grpc.aio.AioRpcError:
                    pass
                except asyncio.CancelledError:
                    if _is_cancelled():
                        raise  # the run ends; else it is our own end of a silent stream
                finally:
                    nudging.cancel()
            self._router = (self._router + 1) % len(self._channels)
            self._go_on(following)
            if not self.stopped:
                await asyncio.sleep(AGAIN_S)
        for each in self._channels:
            await each.close()

    def _go_on(self, following: Following) -> None:
        told = following.told
        if told and told[-1].compacted:
            self._start = told[-1].compacted
        elif told:
            self._start = seen(following) + 1

    async def _follow(self, following: Following) -> None:
        stream = self._channels[self._router].stream_stream(
            "/etcdserverpb.Watch/Watch",
            rpc_pb2.WatchRequest.SerializeToString,
            rpc_pb2.WatchResponse.FromString,
        )
        self._heard = time.monotonic()
        call: Any = stream()
        self._call = call
        key, end = self.span
        create = rpc_pb2.WatchCreateRequest(
            key=key.encode(),
            range_end=end.encode(),
            start_revision=self._start,
            prev_kv=self._prev_kv,
        )
        await call.write(rpc_pb2.WatchRequest(create_request=create))
        while not self.stopped:
            answer = await call.read()
            if answer is grpc.aio.EOF:
                return
            self._hear()
            following.told.append(_told(answer))
            if answer.canceled:
                call.cancel()
                return
            self.seen = max(self.seen, _newest(following.told[-1]))
            if self._until and self.seen >= self._until:
                self.stop()

    def _hear(self) -> None:
        now = time.monotonic()
        self.longest_silence_s = max(self.longest_silence_s, now - self._told_at)
        self._heard = self._told_at = now

    async def _nudge(self) -> None:
        """Ask for progress, and leave a router that does not answer."""
        while True:
            await asyncio.sleep(NUDGE_S)
            if time.monotonic() - self._heard > SILENCE_S_MAX:
                self._call.cancel()
                return
            progress = rpc_pb2.WatchProgressRequest()
            try:
                await self._call.write(rpc_pb2.WatchRequest(progress_request=progress))
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                return
            except asyncio.CancelledError:
                if _is_cancelled():
                    raise
                return

    def stop(self) -> None:
        """Hang up."""
        self.stopped = True
        if self._call is not None:
            self._call.cancel()


def _is_cancelled() -> bool:
    """Whether this task is to end, rather than the call that it waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _newest(told: Told) -> int:
    if told.events:
        return told.events[-1].row.mod
    return told.revision if told.bookmark else 0


def _told(answer: rpc_pb2.WatchResponse) -> Told:
    return Told(
        time.monotonic_ns(),
        answer.header.revision,
        tuple(map(_event, answer.events)),
        answer.created,
        answer.canceled,
        answer.compact_revision,
    )


def _event(event: kv_pb2.Event) -> Event:
    previous = row(event.prev_kv) if event.HasField("prev_kv") else None
    return Event(event.type == kv_pb2.Event.PUT, row(event.kv), previous)
