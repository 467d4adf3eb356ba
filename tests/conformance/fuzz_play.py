"""Plays a sequence on one server and tells what each step came to, in plain values.

What it is: the client, and the numbers that stand-ins are replaced by. What it is not: a judge.

Invariants:
- a sequence begins without keys and leases, with everything before compacted, and at a revision
  high enough that every stand-in is a positive number: so all it shows is its own doing;
- two servers that answer alike are sent alike requests, but for an offset of all revisions;
- no revision is compacted that may have deleted a key and put it again: of such a one etcd removes
  the put, too, and its process ends when somebody reads the key.

Worked example: FLOOR + 1 of a sequence that began at 100 and compacted nothing is sent as 101.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import grpc

from kubebraid.proto.etcd import rpc_pb2 as pb

from .case import LEASE_NAMES, LEASES, PROGRESS, SPAN, Call, CallStream, Message, Open, Send
from .fuzz import BACK_MAX, FLOOR, NOW, Step, operations
from .fuzz_watch import FuzzView, Watches
from .plain import merged
from .runner import CALL_S_MAX, Outcome, Server, Stream, path_of, reader_of, refusal

BASE_MIN: Final = BACK_MAX + 2
GONE: Final = "the server is gone"
GONE_CODES: Final = ("UNAVAILABLE", "DEADLINE_EXCEEDED")
FILLER: Final = pb.PutRequest(key=b"filler")


class FuzzServer(Server):
    """A server under comparison."""

    def __init__(self, port: int) -> None:
        super().__init__(port, spread=False)

    def play(self, steps: Sequence[Step]) -> list[Outcome]:
        """What each step came to, and last what its watches had still to tell."""
        player = Player(self._channel, self._beginning())
        try:
            told = [player.step(step) for step in steps if not player.gone]
            told += [GONE] * (len(steps) - len(told))
            return [*told, GONE if player.gone else player.end()]
        finally:
            player.close()

    def _beginning(self) -> pb.ResponseHeader:
        header = self.wipe()
        while header.revision < BASE_MIN:
            self.ask("KV.Put", FILLER)
            header = self.wipe()
        try:
            self.ask("KV.Compact", pb.CompactionRequest(revision=header.revision))
        except grpc.RpcError as error:
            if refusal(error)["code"] != "OUT_OF_RANGE":  # the sequence before ended compacted
                raise
        return header


class Player:
    """One sequence on one server."""

    def __init__(self, channel: grpc.Channel, header: pb.ResponseHeader) -> None:
        self.gone = False  # the server, which then need not be asked any more
        self._channel = channel
        self._now = self._floor = header.revision
        self._view = FuzzView(header.revision, header.member_id, bytes)
        self._leases: dict[str, int] = {}
        self._twice: set[int] = set()  # revisions that may have changed a key twice
        self._watches = Watches(self._view, lambda: Stream(channel, Open(), None))

    def close(self) -> None:
        self._watches.close()

    def step(self, step: Step) -> Outcome:
        request = self._filled(step.request)
        match step:
            case CallStream() if request.sort_target and not request.sort_order:
                plain = pb.RangeRequest()
                plain.CopyFrom(request)
                plain.sort_target = pb.RangeRequest.KEY
                # etcd's answer may be a mess: what it ought to be is told beside it.
                asked = self._call(Call("KV.Range", plain), plain)
                return [self._call_stream(step, request), asked]
            case CallStream():
                return self._call_stream(step, request)
            case Send():
                return self._watch(step, request)
            case Call(method="Lease.LeaseKeepAlive"):
                return self._keep_alive(step, request)
            case Call(method="KV.Compact"):
                # Both told, or a wrong answer would hide behind the events.
                told = self._watches.settled(self._now, self._floor)
                return [told, self._compact(step, request)]
            case Call(method="Maintenance.HashKV"):
                return [self._call(step, request), self._view.revision(self._floor)]
            case Call():
                return self._call(step, request)

    def end(self) -> Outcome:
        """Let the future come that watches wait for, then tell all events."""
        while self._watches.waits_for(self._now):
            answer = self._call(Call("KV.Put", FILLER), FILLER)
            if answer[""] == "refused":
                return answer
        return self._watches.settled(self._now, self._floor)

    # -- kinds of steps ------------------------------------------------------------------------

    def _call(self, step: Call, request: Message) -> Outcome:
        unary: Any = self._channel.unary_unary(
            path_of(step.method),
            request_serializer=None,
            response_deserializer=reader_of(step.method),
        )
        try:
            answer = unary(request.SerializeToString(), timeout=CALL_S_MAX)
        except grpc.RpcError as error:
            refused = refusal(error)
            self.gone = refused["code"] in GONE_CODES
            return refused
        if isinstance(request, pb.TxnRequest) and answer.header.revision > self._now:
            kinds = {each.WhichOneof("request") for each in operations(request)}
            if {"request_put", "request_delete_range"} <= kinds:
                self._twice.add(answer.header.revision)
        self._now = max(self._now, answer.header.revision)
        if step.save:
            self._leases[step.save] = answer.ID
            self._view.leases[answer.ID] = f"lease {step.save}"
        if step.method == "Maintenance.HashKV":
            answer.hash = 0  # of other revisions, other hashes
        return self._view.plain(answer)

    def _compact(self, step: Call, request: pb.CompactionRequest) -> Outcome:
        while request.revision in self._twice:
            request.revision -= 1
        outcome = self._call(step, request)
        if outcome[""] != "refused":
            self._floor = request.revision
        return outcome

    def _call_stream(self, step: CallStream, request: Message) -> Outcome:
        stream: Any = self._channel.unary_stream(
            path_of(step.method),
            request_serializer=None,
            response_deserializer=reader_of(step.method),
        )
        parts: list[Message] = []
        try:
            parts.extend(stream(request.SerializeToString(), timeout=CALL_S_MAX))
        except grpc.RpcError as error:
            return refusal(error)
        return self._view.plain(merged(parts))

    def _keep_alive(self, step: Call, request: Message) -> Outcome:
        self._view.granted[request.ID] = 0  # then the TTL is told as it is
        stream = Stream(self._channel, Open(step.method), None)
        try:
            stream.send(request.SerializeToString())
            taken = stream.take(bool, CALL_S_MAX)
        finally:
            stream.close()
        return [*map(self._view.plain, taken)]

    def _watch(self, step: Send, request: pb.WatchRequest) -> Outcome:
        match request.WhichOneof("request_union"):
            case "create_request":
                return self._watches.create(step.stream, request, self._now, self._floor)
            case "cancel_request":
                return self._watches.cancel(step.stream, request, self._now, self._floor)
            case _:
                assert request == PROGRESS
                return self._watches.progress(step.stream, self._now, self._floor)

    # -- stand-ins -----------------------------------------------------------------------------

    def _filled(self, request: Message) -> Message:
        filled = type(request)()
        filled.CopyFrom(request)
        self._fill(filled)
        return filled

    def _fill(self, message: Message) -> None:
        for descriptor, value in message.ListFields():
            if descriptor.message_type is not None:
                for each in [value] if hasattr(value, "DESCRIPTOR") else value:
                    self._fill(each)
            elif isinstance(value, int) and value >= SPAN:
                setattr(message, descriptor.name, self._number(value))

    def _number(self, value: int) -> int:
        for origin, number in ((NOW, self._now), (FLOOR, self._floor)):
            if abs(value - origin) < SPAN:
                return number + value - origin
        if 0 <= value - LEASES < len(LEASE_NAMES):
            return self._leases.get(LEASE_NAMES[value - LEASES], 404)
        return value
