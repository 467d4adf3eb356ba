"""A router and its shard while the link between them is late and breaks, again and again.

What it is: random writes, reads and watches of a node whose shard is behind a link with weather
(tests.remote). When it has cleared, the store's own log says what happened, and everything that
any client was told must agree with it. What it is not: a test of answers on a good link
(test_history.py, test_watch_history.py run on one).

Words: *told*: what a client was answered to a write. Each value is written once, so that a value in
the log names its write.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest

from kubebraid.base import errors
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.proto.server import METHOD_BY_PATH, EdgeEvent, Kind
from tests.remote import Weather
from tests.robustness.model import Model
from tests.robustness.traffic import KEYS, LAYOUT, SPANS
from tests.robustness.watching import Client
from tests.world import RESPONSES, RpcError, World

STEPS = 100
BREAKS = 60
UNKNOWN = errors.OUTCOME_UNKNOWN_REPLY.message
AWAY = errors.OWNER_AWAY.message


class StormyWorld(World):
    """Between two steps only a few turns pass, and the link has weather."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.calm = True
        super().__init__(LAYOUT, remote=True)
        self.calm = False
        self.link.weather = Weather(seed, BREAKS)

    def run(self) -> None:
        if self.calm:
            super().run()
        else:
            for _ in range(self.random.randrange(5)):
                self.node.loop.turn()

    def clear_up(self) -> None:
        self.link.weather = None
        if self.link.pair.near is None:
            self.link.pair.open()
        self.calm = True
        self.run()


class Storm:
    """Clients of one store, and what they were told."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.world = StormyWorld(seed)
        self.clients = [Client(self.world.watch_stream()) for _ in range(3)]
        self.values = 0
        self.asked: dict[int, tuple[str, Any]] = {}  # by call id
        self.told: list[tuple[tuple[bytes, ...], Any]] = []  # the values of a write, its answer
        self.floors: dict[int, int] = {}  # reads: what was acknowledged when they were asked
        self.newest = 1

    def put(self) -> rpc_pb2.PutRequest:
        self.values += 1
        return rpc_pb2.PutRequest(key=self.random.choice(KEYS), value=b"%d" % self.values)

    def ask(self, method: str, request: Any) -> None:
        service, _, name = method.partition(".")
        number = METHOD_BY_PATH[f"/etcdserverpb.{service}/{name}"]
        call_id = self.world.new_call()
        self.asked[call_id] = (method, request)
        self.floors[call_id] = self.newest
        event = EdgeEvent(Kind.CALL, call_id, number, request.SerializeToString())
        self.world.node.deliver(self.world.edge, [event])

    def step(self) -> None:
        random = self.random
        for _ in range(random.randrange(4)):
            self.ask("KV.Put", self.put())
        if random.random() < 0.3:
            puts = {put.key: put for put in (self.put(), self.put())}
            ops = [rpc_pb2.RequestOp(request_put=put) for put in puts.values()]
            self.ask("KV.Txn", rpc_pb2.TxnRequest(success=ops))
        if random.random() < 0.5:
            key, end = random.choice([*SPANS[:-1], (random.choice(KEYS), b"")])
            self.ask("KV.Range", rpc_pb2.RangeRequest(key=key, range_end=end))
        if random.random() < 0.3:
            key, range_end = random.choice(SPANS[:-1])
            start = random.choice((0, 0, 1, max(1, self.newest - 5), self.newest + 2))
            request = rpc_pb2.WatchCreateRequest(
                key=key, range_end=range_end, start_revision=start, prev_kv=True
            )
            random.choice(self.clients).create(request)
        if random.random() < 0.3:
            random.choice(self.clients).request_progress()
        self.world.run()
        self.collect()
        for client in self.clients:
            client.take()

    def collect(self) -> None:
        for call_id in list(self.world.edge.answers):
            method, request = self.asked.pop(call_id)
            answer = self.world.edge.answers.pop(call_id)
            if not isinstance(answer, RpcError):
                message: Any = RESPONSES[method].FromString(answer)
                self.newest = max(self.newest, message.header.revision)
                if method == "KV.Range":
                    assert message.header.revision >= self.floors[call_id], "a stale read"
                    self.told.append(((), (request, message)))
                    continue
                self.told.append((values_of(request), message))
            elif method != "KV.Range":
                assert answer.code == 14, answer
                self.told.append((values_of(request), answer))

    def end(self) -> None:
        self.world.clear_up()
        self.collect()
        assert not self.asked, "every call is answered"


def values_of(request: Any) -> tuple[bytes, ...]:
    if isinstance(request, rpc_pb2.PutRequest):
        return (request.value,)
    return tuple(op.request_put.value for op in request.success)


def log_of(world: World) -> dict[int, list[Any]]:
    """Every revision that there is, as a new watch of everything from the first one tells it."""
    client = Client(world.watch_stream())
    client.create(rpc_pb2.WatchCreateRequest(key=b"\x00", range_end=b"\x00", start_revision=1))
    client.take()
    (watcher,) = client.watchers.values()
    found: dict[int, list[Any]] = {}
    for response in watcher.responses:
        for event in response.events:
            found.setdefault(event.kv.mod_revision, []).append(event)
    assert list(found) == list(range(2, len(found) + 2)), "revisions are dense"
    return found


def replayed(log: dict[int, list[Any]]) -> Model:
    model = Model()
    for events in log.values():
        puts = [rpc_pb2.PutRequest(key=e.kv.key, value=e.kv.value) for e in events]
        ops = [rpc_pb2.RequestOp(request_put=put) for put in puts]
        model.apply(puts[0] if len(puts) == 1 else rpc_pb2.TxnRequest(success=ops))
    assert model.revision == len(log) + 1
    return model


def check_writes(told: list[tuple[tuple[bytes, ...], Any]], log: dict[int, list[Any]]) -> None:
    """No acknowledged write is lost, no refused one is there, none is there twice."""
    where: dict[bytes, int] = {}
    for revision, events in log.items():
        for event in events:
            assert event.kv.value not in where, f"{event.kv.value!r} was written twice"
            where[event.kv.value] = revision
    for values, answer in told:
        found = {where.pop(value, None) for value in values}
        if not values:
            continue
        if not isinstance(answer, RpcError):
            assert found == {answer.header.revision}, (values, answer, found)
        elif answer.text == AWAY:
            assert found == {None}, f"{values} was refused as not sent, and is there: {found}"
        else:
            assert answer.text == UNKNOWN, answer
            assert len(found) == 1, f"half of a transaction: {values} at {found}"
    assert not where, f"nobody asked for {where}"


def check_reads(told: list[tuple[tuple[bytes, ...], Any]], model: Model) -> None:
    for values, answer in told:
        if values:
            continue
        request, response = answer
        past = rpc_pb2.RangeRequest()
        past.CopyFrom(request)
        past.revision = response.header.revision
        want: Any = model.copy().apply(past)
        assert (list(response.kvs), response.count) == (list(want.kvs), want.count), request


@pytest.mark.parametrize("seed", range(25))
def test_broken_links_lose_no_acknowledged_write_and_no_event(seed: int) -> None:
    storm = Storm(seed)
    for _ in range(STEPS):
        storm.step()
    storm.end()
    log = log_of(storm.world)
    model = replayed(log)
    check_writes(storm.told, log)
    check_reads(storm.told, model)
    for client in storm.clients:
        client.take()
        client.judge(model, complete=True)


def test_the_weather_is_bad_enough() -> None:
    """Each fate of a write and each way of a link to end occurs often, or nothing was tested."""
    fates = Counter[str]()
    watchers = events = 0
    for seed in range(6):
        storm = Storm(seed)
        for _ in range(STEPS):
            storm.step()
        storm.end()
        log = log_of(storm.world)
        there = {event.kv.value for group in log.values() for event in group}
        for values, answer in storm.told:
            if not values:
                continue
            if not isinstance(answer, RpcError):
                fates["acknowledged"] += 1
            elif answer.text == AWAY:
                fates["away"] += 1
            else:
                fates["landed" if values[0] in there else "lost"] += 1
        for client in storm.clients:
            client.take()
            watchers += len(client.watchers)
            events += sum(len(r.events) for w in client.watchers.values() for r in w.responses)
    assert fates["acknowledged"] > 150, fates
    assert min(fates[name] for name in ("away", "landed", "lost")) >= 10, fates
    assert watchers > 50
    assert events > 500, events
