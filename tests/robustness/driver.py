"""A store and the model side by side: every answer is compared, every promise on time is kept.

What it is: the hand that drives a world and the model through the same requests. What it is not:
the source of the requests (`traffic`), nor the watches (`watching`).

Words: a *world* is whatever has the calls of tests.world.World; a lease is *due* from its TTL on,
and *overdue* SLACK_MS later: before it is due it must be there, overdue it must be gone.

Invariants:
- the model's revision is the store's, after every call: revisions are dense;
- a lease that vanished was due, and took its keys with it in one revision of its own;
- a crash or restart changes no answer, except that it may give leases their whole time again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol, TypeAlias

from kubebraid.proto.etcd import rpc_pb2
from tests.robustness.checks import Refusal, check_stream
from tests.robustness.compare import METHODS, Outcome, comparable, explain, same, tell
from tests.robustness.model import Model, Request
from tests.robustness.watching import Stream

Message: TypeAlias = Any  # any generated message, or an error with code and text

SLACK_MS: Final = 3_000
EVERYTHING: Final = rpc_pb2.RangeRequest(key=b"\x00", range_end=b"\x00")


class AnyWorld(Protocol):
    """What tests.world.World and etcd_world.EtcdWorld have in common."""

    def call(self, method: str, request: Message, /) -> Message: ...

    def batch(self, calls: Sequence[tuple[str, Message]], /) -> Sequence[Message]: ...

    def watch_stream(self) -> Stream: ...

    def range_stream(
        self, request: rpc_pb2.RangeRequest, /
    ) -> Sequence[rpc_pb2.RangeStreamResponse]: ...

    def advance(self, ms: int, /) -> None: ...

    def crash(self) -> None: ...

    def restart(self) -> None: ...


def outcome_of(answer: Message) -> Outcome:
    """A response as it is, an RpcError as a refusal."""
    if isinstance(answer, Exception):
        error: Any = answer
        return Refusal(int(error.code), str(error.text))
    response: Outcome = answer
    return response


class Driver:
    """One history, told to a world and to the model."""

    def __init__(self, world: AnyWorld) -> None:
        self.world = world
        self.model = Model()
        self.failed = False
        self._now_ms = 0
        self._due_ms: dict[int, int] = {}
        self._overdue_ms: dict[int, int] = {}

    def ask(self, *requests: Request) -> list[Outcome]:
        """Concurrent requests; some order of them must explain every answer."""
        calls = [(METHODS[type(request)], request) for request in requests]
        outcomes = [outcome_of(answer) for answer in self.world.batch(calls)]
        explained = explain(self.model, requests, outcomes)
        self.failed = explained is None
        assert explained is not None, tell(requests, outcomes, self.model)
        granted = {o.ID for o in outcomes if isinstance(o, rpc_pb2.LeaseGrantResponse)}
        for lease in granted & explained.leases.keys():
            self._due_ms[lease] = self._now_ms + explained.leases[lease] * 1000
            self._overdue_ms[lease] = self._due_ms[lease] + SLACK_MS
        self.model = explained
        return outcomes

    def stream(self, request: rpc_pb2.RangeRequest) -> None:
        """A RangeStream gives the rows of a Range, in pieces, and the totals in the last one."""
        want = check_stream(request) or self.model.apply(request)
        try:
            pieces = [item.range_response for item in self.world.range_stream(request)]
        except Exception as error:  # noqa: BLE001 - each world has an error of its own
            got: Outcome = outcome_of(error)
        else:
            assert pieces, "not even a last piece came"
            assert not any(p.HasField("header") or p.count or p.more for p in pieces[:-1]), pieces
            joined = rpc_pb2.RangeResponse()
            joined.CopyFrom(pieces[-1])
            del joined.kvs[:]
            joined.kvs.extend(kv for piece in pieces for kv in piece.kvs)
            got = joined
        self.failed = not same(got, want)
        assert not self.failed, tell([request], [got], self.model)

    def advance(self, ms: int) -> None:
        """Time passes: leases that are due may end, leases that are overdue must have."""
        self.world.advance(ms)
        self._now_ms += ms
        listed = self.world.call("Lease.LeaseLeases", rpc_pb2.LeaseLeasesRequest())
        there = {lease.ID for lease in listed.leases}
        gone = self.model.leases.keys() - there
        assert there <= self.model.leases.keys(), f"leases that nobody has: {there}"
        early = {lease for lease in gone if self._now_ms < self._due_ms[lease]}
        assert not early, f"gone before their time, at {self._now_ms} ms: {early}"
        late = {lease for lease in there if self._now_ms > self._overdue_ms[lease]}
        assert not late, f"still there, at {self._now_ms} ms: {late} of {self._overdue_ms}"
        self._expire(gone)

    def _expire(self, gone: set[int]) -> None:
        """The model cannot know in which order leases ended: the store's history tells."""
        newest = self.world.call("KV.Range", EVERYTHING).header.revision
        for lease in [lease for lease in gone if not self.model.keys_of(lease)]:
            self._end(lease)
            gone = gone - {lease}
        for revision in range(self.model.revision + 1, newest + 1):
            request = rpc_pb2.RangeRequest()
            request.CopyFrom(EVERYTHING)
            request.revision = revision
            rows = list(self.world.call("KV.Range", request).kvs)
            ended = [lease for lease in gone if self._without(lease) == rows]
            assert ended, f"revision {revision} is the end of none of the leases {gone}: {rows}"
            self._end(ended[0])
            gone = gone - {ended[0]}
        assert not gone, f"leases ended, but their keys are still there: {gone}"

    def _without(self, lease: int) -> list[Message]:
        after = self.model.copy()
        after.apply(rpc_pb2.LeaseRevokeRequest(ID=lease))
        return [after.state[key] for key in sorted(after.state)]

    def _end(self, lease: int) -> None:
        ended = self.model.apply(rpc_pb2.LeaseRevokeRequest(ID=lease))
        assert not isinstance(ended, Refusal), ended

    def crash(self) -> None:
        """SIGKILL and a new start: what was answered is there, and nothing else."""
        self.world.crash()
        self._reopened()

    def restart(self) -> None:
        """SIGTERM and a new start."""
        self.world.restart()
        self._reopened()

    def _reopened(self) -> None:
        for lease, ttl in self.model.leases.items():
            self._overdue_ms[lease] = self._now_ms + ttl * 1000 + SLACK_MS
        self.check_now()

    def check_now(self) -> None:
        """All keys and all leases, as they are."""
        self.ask(EVERYTHING, rpc_pb2.LeaseLeasesRequest())

    def check_past(self, revision: int) -> None:
        """All keys as they were."""
        request = rpc_pb2.RangeRequest()
        request.CopyFrom(EVERYTHING)
        request.revision = revision
        self.ask(request)

    def answer(self, request: Request) -> Message:
        """The response to one request that must not be refused."""
        (outcome,) = self.ask(request)
        assert not isinstance(outcome, Refusal), f"{outcome} to {request}"
        return comparable(outcome)
