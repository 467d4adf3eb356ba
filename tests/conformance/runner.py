"""Runs a case on one server and tells what it answered, step by step, in plain values.

What it is: the client, the mapping of names to keys, and the filling in of stand-ins. What it is
not: a judge; the test compares what two servers told.

Words: a *key space* is where the keys of a server lie. NARROW keeps all keys of a case side by side
below one prefix; SPREAD gives each first letter of a name a prefix of its own, in the same order,
so that a store with tablets there serves every case over several tablets.

Invariant: before each case the server is empty: no key, no lease, no alarm, whatever the case
before did; so no case sees another's doings but in the revision, and that is taken relatively.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import grpc
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from kubebraid.proto.etcd import election_pb2, health_pb2, lock_pb2
from kubebraid.proto.etcd import rpc_pb2 as pb

from .case import (
    LEASE_NAMES,
    LEASES,
    MEMBER,
    REVISIONS,
    SPAN,
    Call,
    CallStream,
    Cancel,
    Case,
    Ends,
    HalfClose,
    Message,
    Open,
    Quiet,
    Send,
    Sleep,
    Step,
    Take,
)
from .plain import View, merged, snapshot, worded

CALL_S_MAX: Final = 15.0
WIPED_SINGLY: Final = 4  # keys; more go in one call, which on a cluster is a transaction of shards
LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"
SPREAD_PREFIXES: Final = tuple(f"/s/{letter}/" for letter in LETTERS)
SERVICES: Final = {
    **pb.DESCRIPTOR.services_by_name,
    **health_pb2.DESCRIPTOR.services_by_name,
    **lock_pb2.DESCRIPTOR.services_by_name,
    **election_pb2.DESCRIPTOR.services_by_name,
}
SEAT_PACKAGES: Final = ("v3lockpb", "v3electionpb")

Outcome: TypeAlias = Any  # plain values
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
)


@dataclass(frozen=True)
class KeySpace:
    """Names to keys and back, for the case with this number. Both kinds give equal lengths."""

    spread: bool
    number: int

    def key(self, name: bytes) -> bytes:
        if not name or name[:1] == b"\0":
            return name
        if not self.spread:
            return b"/n/%05d/" % self.number + name
        assert chr(name[0]) in LETTERS, name
        return b"/s/%c/%04d/" % (name[0], self.number) + name[1:]

    def name(self, key: bytes) -> bytes:
        if not self.spread:
            return key.removeprefix(self.key(b"x")[:-1])
        letter, number, rest = key[3:4], key[5:9], key[10:]
        return letter + rest if key[:3] == b"/s/" and number == b"%04d" % self.number else key


def method_descriptor(method: str) -> MethodDescriptor | None:
    service, _, name = method.partition(".")
    if service not in SERVICES:
        return None
    found: MethodDescriptor | None = SERVICES[service].methods_by_name.get(name)
    return found


def path_of(method: str) -> str:
    """A path is taken as it is; KV.Range is a method of one of our services."""
    if method.startswith("/"):
        return method
    service, _, name = method.partition(".")
    return f"/{SERVICES[service].full_name}/{name}"


def reader_of(method: str) -> Callable[[bytes], Message]:
    """What makes a message of the answer's bytes; of an unknown method it gives the bytes."""
    descriptor = method_descriptor(method)
    if descriptor is None:
        return bytes
    kind = GetMessageClass(descriptor.output_type)
    return kind.FromString


def refusal(error: Any) -> Outcome:
    return {"": "refused", "code": error.code().name, "text": worded(error.details() or "")}


class Stream:
    """One open call, read by a thread of its own."""

    def __init__(self, channel: grpc.Channel, step: Open, first: bytes | None) -> None:
        self._arrived: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.status: Outcome = None
        reader = reader_of(step.method)
        call: Any
        if first is None:
            method: Any = channel.stream_stream(
                path_of(step.method), request_serializer=None, response_deserializer=reader
            )
            call = method(iter(self._requests.get, None), metadata=step.metadata)
        else:
            single: Any = channel.unary_stream(
                path_of(step.method), request_serializer=None, response_deserializer=reader
            )
            call = single(first, metadata=step.metadata)
        self._call = call
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            for response in self._call:
                self._arrived.put(response)
            self.status = {"": "ended", "code": "OK"}
        except grpc.RpcError as error:
            self.status = refusal(error)
        self._arrived.put(None)

    def send(self, request: bytes) -> None:
        self._requests.put(request)

    def half_close(self) -> None:
        self._requests.put(None)

    def take(self, enough: Callable[[list[Message]], bool], seconds: float) -> list[Message]:
        """What comes until it is enough, the time is over or the stream ends."""
        until = time.monotonic() + seconds
        taken: list[Message] = []
        while not enough(taken):
            try:
                response = self._arrived.get(timeout=max(until - time.monotonic(), 0.001))
            except queue.Empty:
                break
            if response is None:
                self._arrived.put(None)
                break
            taken.append(response)
        return taken

    def close(self) -> None:
        self._call.cancel()
        self._requests.put(None)
        self._thread.join(CALL_S_MAX)


class Server:
    """A server under comparison, as its client sees it."""

    def __init__(self, port: int, *, spread: bool) -> None:
        self.spread = spread
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=_OPTIONS)

    def close(self) -> None:
        self._channel.close()

    def ask(self, method: str, request: Message) -> Message:
        """A call that has to succeed."""
        unary: Any = self._channel.unary_unary(
            path_of(method),
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=reader_of(method),
        )
        return unary(request, timeout=CALL_S_MAX)

    def term(self) -> int:
        """Of a cluster: which reign of a sequencer answered."""
        header: pb.ResponseHeader = self.ask("KV.Range", pb.RangeRequest(key=b"x")).header
        return header.raft_term

    def wipe(self) -> pb.ResponseHeader:
        """Leave nothing; the header of an answer after that."""
        alarms = self.ask("Maintenance.Alarm", pb.AlarmRequest()).alarms
        for alarm in alarms:
            request = pb.AlarmRequest(
                action=pb.AlarmRequest.DEACTIVATE, memberID=alarm.memberID, alarm=alarm.alarm
            )
            self.ask("Maintenance.Alarm", request)
        for status in self.ask("Lease.LeaseLeases", pb.LeaseLeasesRequest()).leases:
            self.ask("Lease.LeaseRevoke", pb.LeaseRevokeRequest(ID=status.ID))
        everything = pb.RangeRequest(key=b"\0", range_end=b"\0", keys_only=True, limit=WIPED_SINGLY)
        found = self.ask("KV.Range", everything)
        if found.count:
            deletions = [pb.DeleteRangeRequest(key=kv.key) for kv in found.kvs]
            if found.count > WIPED_SINGLY:
                deletions = [pb.DeleteRangeRequest(key=b"\0", range_end=b"\0")]
            for deletion in deletions:
                self.ask("KV.DeleteRange", deletion)
            found = self.ask("KV.Range", everything)
        header: pb.ResponseHeader = found.header
        return header

    def run(self, case: Case, number: int) -> list[Outcome]:
        """What each step of the case came to."""
        header = self.wipe()
        run = _Run(self._channel, KeySpace(self.spread, number), header)
        try:
            return [run.step(step) for step in case.steps]
        finally:
            run.close()


class _Run:
    """One case on one server."""

    def __init__(self, channel: grpc.Channel, space: KeySpace, header: pb.ResponseHeader) -> None:
        self._channel = channel
        self._space = space
        self._member = header.member_id
        self._view = View(header.revision, header.member_id, space.name)
        self._leases: dict[str, int] = {}
        self._streams: dict[str, Stream] = {}

    def close(self) -> None:
        for stream in self._streams.values():
            stream.close()

    def step(self, step: Step) -> Outcome:
        match step:
            case Call():
                return self._call(step)
            case CallStream():
                return self._call_stream(step)
            case Open():
                first = None if step.first is None else self._bytes(step.first)
                self._streams[step.stream] = Stream(self._channel, step, first)
            case Send():
                self._streams[step.stream].send(self._bytes(step.request))
            case Take():
                return self._take(step)
            case Quiet():
                taken = self._streams[step.stream].take(lambda _: False, step.seconds)
                return self._told(taken)
            case HalfClose():
                self._streams[step.stream].half_close()
            case Ends():
                stream = self._streams[step.stream]
                taken = stream.take(lambda _: False, CALL_S_MAX if stream.status is None else 0.1)
                return [*self._told(taken), stream.status]
            case Cancel():
                self._streams.pop(step.stream).close()
            case Sleep():
                time.sleep(step.seconds)
        return None

    def _call(self, step: Call) -> Outcome:
        unary: Any = self._channel.unary_unary(
            path_of(step.method),
            request_serializer=None,
            response_deserializer=reader_of(step.method),
        )
        compression = grpc.Compression.Gzip if step.gzip else None
        request = self._bytes(step.request)
        try:
            answer = unary(
                request, timeout=CALL_S_MAX, metadata=step.metadata, compression=compression
            )
        except grpc.RpcError as error:
            return refusal(error)
        if step.save:
            self._leases[step.save] = answer.ID
            self._view.leases[answer.ID] = f"lease {step.save}"
            self._view.granted[answer.ID] = answer.TTL
        return self._plain(answer)

    def _call_stream(self, step: CallStream) -> Outcome:
        stream: Any = self._channel.unary_stream(
            path_of(step.method),
            request_serializer=None,
            response_deserializer=reader_of(step.method),
        )
        parts: list[Message] = []
        try:
            parts.extend(stream(self._bytes(step.request), timeout=CALL_S_MAX))
        except grpc.RpcError as error:
            return [*map(self._plain, parts), refusal(error)]
        if parts and isinstance(parts[0], pb.SnapshotResponse):
            return snapshot(parts)
        if step.merge:
            return self._plain(merged(parts))
        return [self._plain(part) for part in parts]

    def _take(self, step: Take) -> Outcome:
        def enough(taken: list[Message]) -> bool:
            if step.events:
                return sum(len(each.events) for each in taken) >= step.events
            return len(taken) >= step.count

        return self._told(self._streams[step.stream].take(enough, step.seconds))

    def _told(self, taken: Sequence[Message]) -> list[Outcome]:
        """Between the answers for different watches there is no order."""
        ordered = sorted(taken, key=lambda each: getattr(each, "watch_id", 0))
        return [self._plain(each) for each in ordered]

    def _plain(self, answer: Message) -> Outcome:
        return answer.hex() if isinstance(answer, bytes) else self._view.plain(answer)

    # -- stand-ins --

    def _bytes(self, request: Message) -> bytes:
        if isinstance(request, bytes):
            return request
        filled = type(request)()
        filled.CopyFrom(request)
        self._fill(filled)
        encoded: bytes = filled.SerializeToString()
        return encoded

    def _fill(self, message: Message) -> None:
        for descriptor, value in message.ListFields():
            if descriptor.message_type is not None:
                for each in _each(value):
                    self._fill(each)
            elif descriptor.name in ("key", "range_end") or is_seat_prefix(message, descriptor):
                setattr(message, descriptor.name, self._space.key(value))
            elif isinstance(value, int) and not isinstance(value, bool):
                setattr(message, descriptor.name, self._number(value))

    def _number(self, value: int) -> int:
        if value == MEMBER:
            return self._member
        if 0 <= value - LEASES < len(LEASE_NAMES):
            return self._leases.get(LEASE_NAMES[value - LEASES], 0)
        if abs(value - REVISIONS) < SPAN:
            return self._view.base + value - REVISIONS
        return value


def is_seat_prefix(message: Message, descriptor: FieldDescriptor) -> bool:
    """The name of a lock or an election, below which its keys lie."""
    return descriptor.name == "name" and message.DESCRIPTOR.file.package in SEAT_PACKAGES


def _each(value: Any) -> Iterator[Message]:
    if hasattr(value, "DESCRIPTOR"):
        yield value
    else:
        yield from value
