"""Transactions over several shards against one shard that does them one after the other.

What it is: random transactions, deletions and single writes over three shards and two routers, with
processes that die, lines that break and reigns that change at every step; afterwards everything
that was committed is done again, in the order of revisions, by `shard/apply.py` on one store: the
same events, the same answers, the same rows at every revision that was read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Final

import pytest

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.keyspace import EVERYTHING
from kubebraid.base.ops import DeleteOp, PutOp, TxnOp
from kubebraid.base.ports import (
    WRITE_DELETE,
    WRITE_PUT,
    WRITE_TXN,
    LogCall,
    Sample,
    WriteCall,
    WriteReply,
)
from kubebraid.base.record import Commit, Event
from kubebraid.proto import requests
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.router.across import Request
from kubebraid.router.merge import Feed, View
from kubebraid.router.plan import write_target
from kubebraid.shard import keycodec, mvcc
from kubebraid.shard.apply import Evaluation
from kubebraid.shard.draft import Outcome
from kubebraid.shard.fencing import Fence
from kubebraid.shard.history import read_log
from kubebraid.shard.lease import LeaseTable
from kubebraid.shard.seal import seal
from kubebraid.shard.storage.memory import MemoryEngine
from tests.across import SHARDS, Cluster

KEYS: Final = (b"a1", b"a2", b"b1", b"b2", b"c1", b"c2", b"c3", b"c4", b"d1")
Op_ = PutOp | DeleteOp | TxnOp
SPANS: Final = ((b"a", b"c"), (b"c", b"d"), (b"b", b"\0"), (b"a", b"\0"), (b"a1", b""))


@dataclass(slots=True, eq=False)
class Asked:
    """One operation of a client, and what it heard."""

    number: int
    op: PutOp | DeleteOp | TxnOp
    since: int  # R when it was asked
    revision: int = 0
    body: bytes = b""
    error: RequestRefused | None = None
    done: bool = False
    until: int = 0  # R when it was answered
    waits: Callable[[], bool] = lambda: False  # whether an answer must come

    @property
    def told(self) -> bool:
        """Whether it was answered as done."""
        return self.done and self.error is None

    @property
    def unknown(self) -> bool:
        """Whether it may have been done."""
        return not self.done or (self.error is not None and not self.error.definite)


# -- what clients ask ------------------------------------------------------------------------------


class Traffic:
    """Random requests. Every put writes the number of its request, so that it is known again."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def put(self, number: int, key: bytes | None = None) -> rpc_pb2.PutRequest:
        random = self._random
        key = key or random.choice(KEYS)
        return rpc_pb2.PutRequest(key=key, value=b"%d" % number, prev_kv=random.random() < 0.5)

    def delete(self) -> rpc_pb2.DeleteRangeRequest:
        key, end = self._random.choice(SPANS)
        return rpc_pb2.DeleteRangeRequest(key=key, range_end=end, prev_kv=True)

    def _range(self) -> rpc_pb2.RangeRequest:
        random = self._random
        key, end = random.choice(SPANS)
        return rpc_pb2.RangeRequest(
            key=key,
            range_end=end,
            limit=random.choice((0, 0, 1, 3)),
            sort_order=random.choice(("NONE", "NONE", "DESCEND")),
            sort_target=random.choice(("KEY", "KEY", "MOD", "VALUE")),
            count_only=random.random() < 0.1,
            keys_only=random.random() < 0.1,
            revision=random.choice((0, 0, 0, 0, 3, 9)),
        )

    def _compare(self) -> rpc_pb2.Compare:
        random = self._random
        key, end = random.choice([(key, b"") for key in KEYS] + list(SPANS))
        result = random.choice(("EQUAL", "GREATER", "LESS", "NOT_EQUAL"))
        compare = partial(rpc_pb2.Compare, key=key, range_end=end, result=result)
        match random.choice(("VERSION", "CREATE", "MOD", "VALUE")):
            case "VERSION":
                return compare(target="VERSION", version=random.choice((0, 1, 2)))
            case "CREATE":
                return compare(target="CREATE", create_revision=random.choice((0, 3, 9)))
            case "MOD":
                return compare(target="MOD", mod_revision=random.choice((0, 3, 9, 40)))
            case _:
                return compare(target="VALUE", value=b"%d" % random.randrange(60))

    def txn(self, number: int, depth: int = 0) -> rpc_pb2.TxnRequest:
        random = self._random
        request = rpc_pb2.TxnRequest()
        if random.random() < 0.6:
            request.compare.append(self._compare())
        for branch in (request.success, request.failure):
            for _ in range(random.choice((1, 2, 3))):
                self._op(branch.add(), number, depth)
        return request

    def _op(self, op: rpc_pb2.RequestOp, number: int, depth: int) -> None:
        kind = self._random.random()
        if kind < 0.5:
            op.request_put.CopyFrom(self.put(number))
            if self._random.random() < 0.2:
                op.request_put.value = b""
                op.request_put.ignore_value = True
        elif kind < 0.7:
            op.request_delete_range.CopyFrom(self.delete())
        elif kind < 0.9 or depth:
            op.request_range.CopyFrom(self._range())
        else:
            op.request_txn.CopyFrom(self.txn(number, depth + 1))

    def any(self, number: int) -> tuple[int, bytes, PutOp | DeleteOp | TxnOp]:
        """Kind, payload and operation of a request that etcd would take."""
        draw = self._random.random()
        if draw < 0.2:
            payload = self.put(number).SerializeToString()
            return WRITE_PUT, payload, requests.decode_put(payload)
        if draw < 0.3:
            payload = self.delete().SerializeToString()
            return WRITE_DELETE, payload, requests.decode_delete(payload)
        while True:
            payload = self.txn(number).SerializeToString()
            txn = requests.txn_request(payload)
            if not isinstance(txn, RequestRefused):
                return WRITE_TXN, payload, txn


class Clients:
    """What was asked and answered, and snapshots that were read."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self._cluster = cluster
        self._traffic = Traffic(Random(seed + 1))
        self.asked: list[Asked] = []
        self.reading: list[Sample] = []
        self.read: list[tuple[int, list[bytes]]] = []

    def ask(self, router: str) -> None:
        """A random request."""
        kind, payload, op = self._traffic.any(len(self.asked))
        if kind == WRITE_PUT:
            assert isinstance(op, PutOp)
            self.submit(op, payload)
        else:
            assert not isinstance(op, PutOp)
            self.across(router, op, payload)

    def across(self, router: str, op: DeleteOp | TxnOp, payload: bytes) -> None:
        """By the router if it has several shards, else by the one."""
        cluster = self._cluster
        target = write_target(cluster.tablets, op)
        if len(target.shards) == 1:
            self.submit(op, payload)
            return
        asked = self._new(op)
        life = cluster.routers[router]
        asked.waits = lambda: cluster.routers[router] is life
        respond, fail = partial(self._answered, asked), partial(self._failed, asked)
        version = cluster.tablets.version
        life.transactions.begin(
            Request(_kind(op), payload, op, target.shards, version, respond, fail)
        )

    def _new(self, op: Op_) -> Asked:
        asked = Asked(len(self.asked), op, self._cluster.sequencer.revision)
        self.asked.append(asked)
        return asked

    def submit(self, op: Op_, payload: bytes) -> None:
        """To the one shard that it needs."""
        cluster = self._cluster
        asked = self._new(op)
        target = write_target(cluster.tablets, op)
        (shard,) = target.shards
        call = WriteCall(_kind(op), payload, target.tablets, cluster.tablets.version, None)

        def told(reply: WriteReply) -> None:
            if reply.error is None:
                self._answered(asked, reply.revision, reply.body)
            else:
                self._failed(asked, reply.error)

        def arrive() -> None:
            owner = cluster.shards[shard].owner
            owner.submit([call], lambda r: cluster.network.send(shard, "client", partial(told, r)))

        cluster.network.send("client", shard, arrive)

    def _answered(self, asked: Asked, revision: int, body: bytes) -> None:
        assert not asked.done, "one answer a call"
        asked.done, asked.revision, asked.body = True, revision, body
        asked.until = self._cluster.sequencer.revision

    def _failed(self, asked: Asked, error: RequestRefused) -> None:
        assert not asked.done, "one answer a call"
        asked.done, asked.error = True, error
        asked.until = self._cluster.sequencer.revision

    def sample(self) -> None:
        self.reading.append(self._cluster.sequencer.sample())

    def look(self) -> None:
        """Read what has become readable: everything of the tablets at R, wherever they are now."""
        for sample in list(self.reading):
            closed = {
                t: c for s in self._cluster.shards.values() for t, c in s.owned.closed.items()
            }
            if all(closed[tablet] >= last for tablet, last in sample.last.items()):
                self.reading.remove(sample)
                self.read.append((sample.revision, rows(self._cluster, sample.revision)))


def _kind(op: Op_) -> int:
    match op:
        case PutOp():
            return WRITE_PUT
        case DeleteOp():
            return WRITE_DELETE
        case TxnOp():
            return WRITE_TXN


def rows(cluster: Cluster, revision: int) -> list[bytes]:
    found = [
        row.raw
        for shard in cluster.shards.values()
        for page in mvcc.rows_at(shard.engine, EVERYTHING, revision)
        for row in page
    ]
    return sorted(found)


# -- the weather -----------------------------------------------------------------------------------


def storm(seed: int, steps: int, faults: float, *, kill: bool = True) -> tuple[Cluster, Clients]:
    """`faults`: how likely a step is a fault; `kill`: whether shards die, too."""
    cluster = Cluster(seed)
    clients = Clients(cluster, seed)
    random = cluster.random
    cluster.settle(200)
    for _ in range(steps):
        draw = random.random()
        if draw < faults:
            _fault(cluster, random, kill=kill)
        elif draw < faults + 0.04:
            clients.ask(random.choice(list(cluster.routers)))
        elif draw < faults + 0.06:
            clients.sample()
        elif draw < faults + 0.10:
            cluster.clock.ms += random.choice((1, 10, 100, 100, 300, 1_000, 2_500))
        elif draw < 0.4:
            cluster.turn(random.choice(SHARDS))
        else:
            cluster.network.deliver()
        clients.look()
    cluster.settle()
    clients.look()
    return cluster, clients


def _fault(cluster: Cluster, random: Random, *, kill: bool) -> None:
    kind = random.uniform(0 if kill else 0.3, 1 if kill else 0.85)
    if kind < 0.3:
        cluster.crash_shard(random.choice(SHARDS))
    elif kind < 0.55:
        cluster.crash_router(random.choice(list(cluster.routers)))
    elif kind < 0.75:
        cluster.cut()
    elif kind < 0.85:
        cluster.slow()
    elif kind < 0.93:
        cluster.break_engine(random.choice(SHARDS))
    else:
        cluster.new_reign()


# -- the judge -------------------------------------------------------------------------------------

Told = tuple[bytes, bool, bytes, bytes | None, int]


def logged(cluster: Cluster) -> dict[int, list[Told]]:
    """What each revision changed, in order, of all shards."""
    by_revision: dict[int, Commit] = {}
    for shard in cluster.shards.values():
        call = LogCall(tuple(shard.owned.oepochs), EVERYTHING, 1, 1 << 40, 1 << 30, 1 << 40)
        reply = read_log(shard.engine, call, -1)
        assert not isinstance(reply, RequestRefused)
        for commit in reply.commits:
            before = by_revision.get(commit.revision, Commit(commit.revision, ()))
            by_revision[commit.revision] = before.joined(commit.events)
    return {revision: plain(commit.events) for revision, commit in by_revision.items()}


def plain(events: Iterable[Event]) -> list[Told]:
    """Events without the numbers that order them."""
    return [(e.key, e.deleted, e.raw, e.previous, e.before) for e in events]


class Judge:
    """One store, one writer, the same tablets."""

    def __init__(self, cluster: Cluster, clients: Clients) -> None:
        self._cluster = cluster
        self._asked = clients.asked
        self._tablets = cluster.tablets
        self._oepochs = {tablet.id: 1 for tablet in self._tablets.tablets}
        self._fences = dict.fromkeys(self._oepochs, Fence(1, 1, 1))
        self._engine = MemoryEngine()
        self._at: dict[int, MemoryEngine] = {1: self._engine.clone()}
        self._committed: set[int] = set()  # numbers of the requests that changed something

    def run(self) -> None:
        """Do again what was committed, then ask again what changed nothing."""
        for revision, events in sorted(logged(self._cluster).items()):
            self._commit(revision, events)
        for asked in self._asked:
            if asked.done and asked.number not in self._committed:
                self._changed_nothing(asked)

    def _evaluated(self, engine: MemoryEngine, known: int, op: Op_) -> tuple[Evaluation, Outcome]:
        evaluation = Evaluation(
            engine, self._tablet_of, LeaseTable(lambda _: True), known, -1, lambda _: None
        )
        match op:
            case PutOp():
                return evaluation, evaluation.put(op)
            case DeleteOp():
                return evaluation, evaluation.delete(op)
            case TxnOp():
                return evaluation, evaluation.txn(op)

    def _tablet_of(self, key: bytes) -> int:
        return self._tablets.tablet_of(key).id

    def _commit(self, revision: int, events: list[Told]) -> None:
        """Each revision belongs to one request: it was told so, or could not be told."""
        told = [a for a in self._asked if a.told and a.revision == revision]
        unknown = [a for a in self._asked if a.unknown]
        for asked in told + unknown:
            if asked.number not in self._committed and self._is(asked, revision, events):
                assert revision > asked.since, "a revision of the time of its request (inv02)"
                return
        raise AssertionError(f"nobody asked for {revision}: {events}\nof {told}")

    def _is(self, asked: Asked, revision: int, events: list[Told]) -> bool:
        """Whether the request does just this now; then it is done."""
        evaluation, outcome = self._evaluated(self._engine, revision - 1, asked.op)
        if isinstance(outcome, RequestRefused) or not evaluation.changes:
            return False
        sealed = seal(evaluation, revision, self._fences, self._oepochs)
        mine = [event for of in sealed.commits.values() for c in of for event in c.events]
        same = plain(sorted(mine, key=lambda event: (event.sub, event.key))) == events
        if not same or (asked.told and asked.body != outcome.body(revision)):
            return False
        self._committed.add(asked.number)
        self._engine.write(sealed.batch, sync=True)
        self._fences |= sealed.fences
        self._at[revision] = self._engine.clone()
        return True

    def state(self, revision: int) -> MemoryEngine:
        """What one store would hold at a revision."""
        return self._at[max(known for known in self._at if known <= revision)]

    def _changed_nothing(self, asked: Asked) -> None:
        if asked.error is None:
            assert asked.revision >= asked.since, "not older than its request (inv04)"
            _, outcome = self._evaluated(self.state(asked.revision), asked.revision, asked.op)
            assert not isinstance(outcome, RequestRefused), (asked, outcome)
            assert outcome.position == 0, f"{asked} should have changed something"
            assert asked.body == outcome.body(asked.revision + 1), asked
        elif asked.error in (errors.KEY_NOT_FOUND, errors.FUTURE_REVISION):
            known = range(asked.since, asked.until + 1)
            told = [self._evaluated(self.state(at), at, asked.op)[1] for at in known]
            assert asked.error in told, asked
        else:
            assert asked.error in SYSTEM or not asked.error.definite, asked


SYSTEM: Final = (errors.OWNER_AWAY, errors.OTHER_MAP, errors.STOPPED, errors.TIMED_OUT)


def judge(cluster: Cluster, clients: Clients) -> None:
    """Everything that must hold when the storm is over."""
    for asked in clients.asked:
        assert asked.done or not asked.waits(), f"nobody answered {asked}"
    for shard in cluster.shards.values():
        assert shard.owner._writer.free, f"the slot of {shard.name} is held for ever"
        assert not shard.engine.scan(*keycodec.INTENTS, 1), f"{shard.name} is left prepared"
        assert shard.owner.participant.next_deadline_ms() is None, f"{shard.name} waits on"
        for tablet, closed in shard.owned.closed.items():
            assert closed == cluster.sequencer.sample().last[tablet], "all is closed"
    assert not clients.reading, "every sample can be read in the end"
    model = Judge(cluster, clients)
    model.run()
    last = cluster.sequencer.revision
    for revision, found in [*clients.read, (last, rows(cluster, last))]:
        engine = model.state(revision)
        whole = [row.raw for page in mvcc.rows_at(engine, EVERYTHING, revision) for row in page]
        assert found == sorted(whole), f"at {revision} not all of a transaction, or too much"


@pytest.mark.parametrize("seed", range(30))
def test_transactions_over_shards_are_those_of_one_shard(seed: int) -> None:
    """Without faults: all requests are answered, none of them by a failure."""
    cluster, clients = storm(seed, steps=1_200, faults=0)
    judge(cluster, clients)
    assert len(clients.asked) > 20


@pytest.mark.parametrize("seed", range(60))
def test_inv06_a_transaction_is_whole_or_not_at_all_whatever_dies(seed: int) -> None:
    """Shards, routers and lines die at every step; reigns change."""
    judge(*storm(seed, steps=1_500, faults=0.02))


@pytest.mark.parametrize("seed", range(25))
def test_inv06_watchers_are_shown_each_revision_once_and_whole(seed: int) -> None:
    """What shards publish, late and in any order between shards: a share's first publication has a
    sample older than its revision, which must neither show it early nor keep it back."""
    cluster, _ = storm(seed, steps=1_500, faults=0.01, kill=False)
    queues = [list(shard.published) for shard in cluster.shards.values()]
    tablets = [tablet.id for tablet in cluster.tablets.tablets]
    view = View(Sample(1, 1, 1, dict.fromkeys(tablets, 1)), {})
    feed = Feed(tablets, view)
    shown: list[Commit] = []
    random = Random(seed)
    while any(queues):
        publication = random.choice([queue for queue in queues if queue]).pop(0)
        for news in publication.news:
            feed.offer(news)
            view.close(news.tablet, news.closed)
        view.absorb(publication.sample)
        shown += feed.release()
    assert {commit.revision: plain(commit.events) for commit in shown} == logged(cluster)
    assert len({commit.revision for commit in shown}) == len(shown)
    assert [commit.revision for commit in shown] == sorted(commit.revision for commit in shown)
