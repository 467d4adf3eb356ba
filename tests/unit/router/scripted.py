"""Steps a procedure by hand: what it wants next, and what it is told.

What it is: the driver of the tests of locks and elections. What it is not: a store; each test says
what the store answers.

Worked example: `call = Scripted(unlock(b"l/1f"))` rests at `call.asked(Service.DELETE)`; told a
DeleteRangeResponse of revision 7 it has ended with `Answer(7)` as its `result`.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from kubebraid.base.errors import RequestRefused
from kubebraid.proto.etcd import kv_pb2, rpc_pb2
from kubebraid.router.procedure import Ask, Follow, Gone, Procedure, Service, Step

T = TypeVar("T")

REQUESTS: dict[Service, type[Message]] = {
    Service.TXN: rpc_pb2.TxnRequest,
    Service.RANGE: rpc_pb2.RangeRequest,
    Service.DELETE: rpc_pb2.DeleteRangeRequest,
    Service.GRANT: rpc_pb2.LeaseGrantRequest,
}


class Scripted(Generic[T]):
    """A procedure that rests at `step`, or has ended with `result` or `error`."""

    def __init__(self, procedure: Procedure[T]) -> None:
        self._procedure = procedure
        self._step: Step | None = None
        self.result: T | None = None
        self.error: Exception | None = None
        self._resume(None)

    def _resume(self, said: bytes | Exception | None) -> None:
        try:
            if isinstance(said, Exception):
                self._step = self._procedure.throw(said)
            else:
                self._step = next(self._procedure) if said is None else self._procedure.send(said)
        except StopIteration as end:
            self._step, self.result = None, end.value
        except (RequestRefused, Gone) as error:
            self._step, self.error = None, error

    @property
    def step(self) -> Step | None:
        """Where it rests."""
        return self._step

    def rests(self, kind: type[Step]) -> bool:
        """Whether it rests at a step of this kind; a question, as it goes on between two."""
        return isinstance(self._step, kind)

    def asked(self, service: Service) -> Any:
        """The request that it has just sent to this service."""
        assert isinstance(self.step, Ask), self.step
        assert self.step.service is service
        return REQUESTS[service].FromString(self.step.payload)

    def followed(self) -> rpc_pb2.WatchCreateRequest:
        """The watch that it has just begun."""
        assert isinstance(self.step, Follow), self.step
        return rpc_pb2.WatchRequest.FromString(self.step.payload).create_request

    def refused(self, error: Exception) -> None:
        self._resume(error)

    def done(self) -> None:
        """A step without an answer was done."""
        self._resume(b"")

    def told(self, answer: Message) -> None:
        self._resume(answer.SerializeToString())


def header(revision: int) -> rpc_pb2.ResponseHeader:
    return rpc_pb2.ResponseHeader(revision=revision)


def seat(key: bytes, created: int, value: bytes = b"") -> kv_pb2.KeyValue:
    return kv_pb2.KeyValue(
        key=key, create_revision=created, mod_revision=created, version=1, value=value
    )


def found(revision: int, *seats: kv_pb2.KeyValue) -> rpc_pb2.RangeResponse:
    return rpc_pb2.RangeResponse(header=header(revision), kvs=seats)


def committed(
    revision: int, *reads: rpc_pb2.RangeResponse, succeeded: bool = True
) -> rpc_pb2.TxnResponse:
    """A put (if it succeeded) and what was read behind it."""
    put = [rpc_pb2.ResponseOp(response_put=rpc_pb2.PutResponse())] if succeeded else []
    read = [rpc_pb2.ResponseOp(response_range=each) for each in reads]
    return rpc_pb2.TxnResponse(
        header=header(revision), succeeded=succeeded, responses=[*put, *read]
    )


def created() -> rpc_pb2.WatchResponse:
    return rpc_pb2.WatchResponse(created=True)


def deleted(revision: int, key: bytes) -> rpc_pb2.WatchResponse:
    gone = kv_pb2.Event(
        type=kv_pb2.Event.DELETE, kv=kv_pb2.KeyValue(key=key, mod_revision=revision)
    )
    return rpc_pb2.WatchResponse(header=header(revision), events=[gone])


def changed(revision: int, *seats: kv_pb2.KeyValue) -> rpc_pb2.WatchResponse:
    events = [kv_pb2.Event(kv=each) for each in seats]
    return rpc_pb2.WatchResponse(header=header(revision), events=events)


COMPACTED = rpc_pb2.WatchResponse(canceled=True, compact_revision=9)
