"""What a router may expect of a shard, in its own process or behind a link: one suite for both.

What it is: every method of OwnerPort, asked of an Owner directly, over a link that delivers at
once, and over one that delivers late. What it is not: what a lost link does (tests/unit/proto/
test_owner_client.py, tests/property/test_owner_link.py) or the owner's rules (tests/unit/shard).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.keyspace import EVERYTHING, KeyRange, single
from kubebraid.base.limits import OWNER_AHEAD_BYTES, OWNER_STATUS_MS, STREAM_CHUNK_BYTES
from kubebraid.base.ports import (
    LogCall,
    LogReply,
    PointCall,
    PointReply,
    Publication,
    WriteCall,
    WriteReply,
)
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.proto.owner_client import OwnerClient
from kubebraid.proto.owner_service import OwnerService, Shard
from kubebraid.shard.storage.engine import EngineError
from tests.linkpair import Pair
from tests.remote import Weather
from tests.unit.shard.fakes import (
    A,
    B,
    BreakableEngine,
    Sink,
    Stand,
    delete_call,
    grant_call,
    put_call,
    read_call,
    txn_call,
)

UNDER_A = KeyRange(b"/a/", b"/a0")
WAYS = ("direct", "linked", "late")


class Bench:
    """A shard in memory and the port by which it is asked."""

    def __init__(self, way: str, engine: BreakableEngine | None = None) -> None:
        self.stand = Stand(engine=engine)
        self.port: Shard = self.stand.owner
        self.weather = Weather(7) if way == "late" else None
        self._client: OwnerClient | None = None
        self.replies: list[WriteReply] = []
        if way != "direct":
            self._client = client = OwnerClient()
            self._service = OwnerService(self.stand.owner, self.stand.clock)
            self._pair = Pair(client, self._service)
            self._pair.open()
            self.port = client

    def run(self) -> None:
        """Turn until nothing more comes of it."""
        if self._client is None:
            self.stand.run()
            return
        quiet = 0
        for _ in range(10_000):
            quiet = 0 if self._turn(self._client) else quiet + 1
            if quiet == 3:
                return
        raise AssertionError("never idle")

    def _turn(self, client: OwnerClient) -> bool:
        count = None if self.weather is None else self.weather.count()
        more = client.turn()
        more |= self._pair.to_far(count)
        more |= self.stand.owner.turn()
        more |= self._service.turn()
        more |= self._pair.to_near(count)
        return more or self._pair.busy

    def submit(self, *calls: WriteCall) -> None:
        self.port.submit(calls, self.replies.append)

    def write(self, *calls: WriteCall) -> list[WriteReply]:
        before = len(self.replies)
        self.submit(*calls)
        self.run()
        return self.replies[before:]

    def read(self, **options: object) -> Sink:
        sink = Sink()
        span = options.pop("span", UNDER_A)
        revision = options.pop("revision", self.stand.owned.known)
        spliced = options.pop("spliced", False)
        call = read_call(span, revision, **options)  # type: ignore[arg-type]  # a test's options
        self.port.read(call._replace(spliced=bool(spliced)), sink)
        self.run()
        return sink

    def points(self, *calls: PointCall) -> list[PointReply]:
        replies: list[PointReply] = []
        self.port.points(calls, replies.append)
        self.run()
        return replies

    def log(self, call: LogCall) -> LogReply | RequestRefused:
        replies: list[LogReply | RequestRefused] = []
        self.port.read_log(call, replies.append)
        self.run()
        (reply,) = replies
        return reply

    def asked(self, question: Callable[[Callable[[object], None]], None]) -> object:
        answers: list[object] = []
        question(answers.append)
        self.run()
        (answer,) = answers
        return answer


@pytest.fixture(params=WAYS)
def bench(request: pytest.FixtureRequest) -> Bench:
    return Bench(request.param)


@pytest.fixture(params=WAYS)
def broken(request: pytest.FixtureRequest) -> Bench:
    """Its engine does as the test says."""
    return Bench(request.param, BreakableEngine())


# -- writes ----------------------------------------------------------------------------------------


def test_writes_are_answered_by_their_tags_with_dense_revisions_in_order(bench: Bench) -> None:
    tags = [object() for _ in range(3)]
    replies = bench.write(
        put_call(b"/a/x", tag=tags[0]),
        put_call(b"/b/x", tag=tags[1]),
        put_call(b"/a/x", tag=tags[2]),
    )
    assert [(r.tag, r.revision, r.error) for r in replies] == [
        (tags[0], 2, None),
        (tags[1], 3, None),
        (tags[2], 4, None),
    ]


def test_writes_of_one_router_keep_their_order_over_several_submissions(bench: Bench) -> None:
    for number in range(20):
        bench.submit(put_call(b"/a/x", b"%d" % number, tag=number))
        if number % 5 == 4:
            bench.run()
    assert [reply.tag for reply in bench.replies] == list(range(20))
    (row,) = bench.read(span=single(b"/a/x")).rows
    assert row.version == 20


def test_body_of_an_answer_is_the_owners(bench: Bench) -> None:
    bench.write(put_call(b"/a/x", b"old"))
    request = rpc_pb2.PutRequest(key=b"/a/x", value=b"new", prev_kv=True)
    (reply,) = bench.write(put_call(b"/a/x")._replace(payload=request.SerializeToString()))
    assert rpc_pb2.PutResponse.FromString(reply.body).prev_kv.value == b"old"


def test_transaction_over_tablets_has_one_revision(bench: Bench) -> None:
    puts = [rpc_pb2.PutRequest(key=key, value=b"v") for key in (b"/a/x", b"/b/x")]
    request = rpc_pb2.TxnRequest(success=[rpc_pb2.RequestOp(request_put=put) for put in puts])
    (reply,) = bench.write(txn_call(request)._replace(tablets=(A, B)))
    assert reply.revision == 2
    assert rpc_pb2.TxnResponse.FromString(reply.body).succeeded


def test_refused_write_comes_with_the_constant_itself_and_the_others_pass(bench: Bench) -> None:
    replies = bench.write(put_call(b"/a/x", lease=9, tag=1), put_call(b"/a/y", tag=2))
    told = {reply.tag: reply for reply in replies}
    assert told[1].error is errors.LEASE_NOT_FOUND
    assert (told[2].error, told[2].revision) == (None, 2)


def test_delete_of_nothing_and_an_empty_submission_are_answered(bench: Bench) -> None:
    bench.submit()
    (reply,) = bench.write(delete_call(b"/a/x"))
    assert (reply.revision, reply.error) == (1, None)


# -- points ----------------------------------------------------------------------------------------


def point(key: bytes, revision: int, need: int = 0, version: int = 1) -> PointCall:
    return PointCall(key, revision, A, need, version, key)


def test_points_are_rows_or_absent_or_refused_each_by_itself(bench: Bench) -> None:
    bench.write(put_call(b"/a/x"), put_call(b"/a/x", b"new"))
    calls = (
        point(b"/a/x", 3),
        point(b"/a/none", 3),
        point(b"/a/other map", 3, version=7),
        point(b"/a/x", 2)._replace(tag="old"),
    )
    told = {reply.tag: reply for reply in bench.points(*calls)}
    row = told[b"/a/x"].row
    assert row is not None
    assert (row.mod, row.create, row.version, row.lease) == (3, 2, 2, 0)
    assert told[b"/a/none"] == PointReply(b"/a/none", None, None)
    refused = told[b"/a/other map"].error
    assert isinstance(refused, RequestRefused)
    old = told["old"].row
    assert old is not None
    assert (old.mod, old.version) == (2, 1)


def test_point_waits_for_the_watermark(bench: Bench) -> None:
    replies: list[PointReply] = []
    bench.port.points([point(b"/a/x", 2, need=2)], replies.append)
    bench.run()
    assert replies == []
    bench.write(put_call(b"/a/x"))
    (reply,) = replies
    assert reply.row is not None


# -- reads -----------------------------------------------------------------------------------------


def fill(bench: Bench, keys: int, size: int = 10) -> None:
    for start in range(0, keys, 50):
        names = range(start, min(start + 50, keys))
        bench.write(*(put_call(b"/a/%05d" % n, b"v" * size) for n in names))


@pytest.mark.parametrize("limit", [0, 3, 100])
def test_read_is_what_the_owner_itself_reads(bench: Bench, limit: int) -> None:
    fill(bench, 60)
    wanted = Sink()
    bench.stand.owner.read(read_call(UNDER_A, 61, limit=limit), wanted)
    bench.stand.run()
    sink = bench.read(limit=limit)
    assert (sink.rows, sink.total) == (wanted.rows, 60)
    assert len(sink.rows) == min(60, limit + 1 if limit else 60)


def test_read_counts_splices_and_looks_back(bench: Bench) -> None:
    fill(bench, 60)
    counted = bench.read(count_only=True)
    assert (counted.rows, counted.total) == ([], 60)
    spliced = bench.read(spliced=True, limit=7)
    assert (sum(map(len, spliced.chunks)), spliced.total) == (7, 60)
    assert len(bench.read(revision=11).rows) == 10


def test_read_of_two_tablets_waits_for_both(bench: Bench) -> None:
    sink = Sink()
    bench.port.read(read_call(EVERYTHING, 3, needs=((A, 2), (B, 3))), sink)
    bench.write(put_call(b"/a/x"))
    assert sink.silent
    bench.write(put_call(b"/b/x"))
    assert sink.keys == [b"/a/x", b"/b/x"]


def test_read_below_the_floor_is_refused_with_the_constant(bench: Bench) -> None:
    fill(bench, 10)
    bench.stand.floor = 5
    assert bench.read(revision=4).refused is errors.COMPACTED
    assert bench.read(revision=5).refused is None


def test_list_larger_than_what_may_lie_ahead_comes_whole(bench: Bench) -> None:
    keys = 2 * OWNER_AHEAD_BYTES // 50_000
    fill(bench, keys, 50_000)
    sink = bench.read(spliced=True)
    assert sink.total == keys
    raws = [raw for chunk in sink.chunks for raw in chunk]
    assert len(raws) == keys
    assert raws == sorted(raws)
    assert max(sum(map(len, chunk)) for chunk in sink.chunks) <= STREAM_CHUNK_BYTES


def test_sink_that_is_not_ready_gets_nothing_and_then_all(bench: Bench) -> None:
    keys = 2 * OWNER_AHEAD_BYTES // 50_000
    fill(bench, keys, 50_000)
    sink = Sink()
    sink.open = False
    bench.port.read(read_call(UNDER_A, keys + 1)._replace(spliced=True), sink)
    bench.run()
    assert sink.silent
    sink.open = True
    bench.run()
    assert (sum(map(len, sink.chunks)), sink.total) == (keys, keys)


def test_sink_that_wants_no_more_ends_the_read_at_the_owner(bench: Bench) -> None:
    fill(bench, 3 * OWNER_AHEAD_BYTES // 50_000, 50_000)
    sink = Sink(patience=1)
    bench.port.read(read_call(UNDER_A, bench.stand.owned.known)._replace(spliced=True), sink)
    bench.run()
    assert sink.parts == 1
    assert not bench.stand.owner._reader._running
    assert all(snapshot._table is None for snapshot in bench.stand.engine._snapshots)


# -- log and publications --------------------------------------------------------------------------


def test_log_is_what_was_published(bench: Bench) -> None:
    bench.write(put_call(b"/a/x", b"1"), put_call(b"/a/y"), delete_call(b"/a/", b"/a0"))
    bench.write(put_call(b"/a/x", b"2"), put_call(b"/b/x"))
    reply = bench.log(LogCall((A,), EVERYTHING, 2, 6, 100))
    assert isinstance(reply, LogReply)
    published = [
        commit
        for publication in bench.stand.published
        for news in publication.news
        if news.tablet == A
        for commit in news.commits
    ]
    assert (list(reply.commits), reply.complete) == (published, 6)
    assert reply.commits[2].events[1].previous is not None


def test_log_is_cut_by_its_limit_and_refused_below_the_floor(bench: Bench) -> None:
    bench.write(*[put_call(b"/a/x") for _ in range(9)])
    reply = bench.log(LogCall((A,), single(b"/a/x"), 2, 10, 3))
    assert isinstance(reply, LogReply)
    assert [commit.revision for commit in reply.commits] == [2, 3, 4]
    assert reply.complete < 10
    assert bench.log(LogCall((A,), single(b"/a/none"), 2, 10, 100)) == LogReply([], 10)
    bench.stand.floor = 5
    assert bench.log(LogCall((A,), EVERYTHING, 4, 10, 3)) is errors.COMPACTED


def plain(publication: Publication) -> Publication:
    """In one kind of sequence and of mapping, whatever the way made of them."""
    news = tuple(item._replace(commits=tuple(item.commits)) for item in publication.news)
    sample = publication.sample._replace(last=dict(publication.sample.last))
    return publication._replace(news=news, sample=sample)


def test_subscriber_hears_where_each_tablet_stands_and_then_everything(bench: Bench) -> None:
    bench.write(put_call(b"/a/x"))
    direct: list[Publication] = []
    bench.stand.owner.subscribe(direct.append)
    heard: list[Publication] = []
    bench.port.subscribe(heard.append)
    bench.run()
    bench.write(put_call(b"/a/x"), put_call(b"/b/x"), delete_call(b"/a/x"))
    bench.write(put_call(b"/a/z"))
    assert [plain(publication) for publication in heard] == [plain(p) for p in direct]
    assert [publication.fresh for publication in heard] == [True, False, False]
    assert {news.tablet: news.closed for news in heard[0].news}[A] == 2


# -- questions -------------------------------------------------------------------------------------


def test_compaction_is_told_when_the_history_is_gone(bench: Bench) -> None:
    bench.write(*[put_call(b"/a/x") for _ in range(9)])
    bench.stand.floor = 8
    told: list[bool] = []
    bench.port.compact(5, None)
    bench.port.compact(8, lambda: told.append(True))
    assert told == []
    bench.run()
    assert told == [True]
    assert bench.stand.engine.count(b"h", b"i", 100) == 3


def test_hash_is_the_owners_or_refused(broken: Bench) -> None:
    broken.write(put_call(b"/a/x"), put_call(b"/a/x"))
    direct: list[object] = []
    broken.stand.owner.hash_versions(-1, 3, direct.append)
    broken.stand.run()
    assert broken.asked(lambda done: broken.port.hash_versions(-1, 3, done)) == direct[0]
    engine = broken.stand.engine
    assert isinstance(engine, BreakableEngine)
    engine.faults[b"n/a/x"] = EngineError("a bad block")
    assert broken.asked(lambda done: broken.port.hash_versions(-1, 3, done)) is errors.TIMED_OUT


class Pairs:
    """Receives a dump. `patience` slices are wanted."""

    def __init__(self, patience: int = 1_000) -> None:
        self.size: tuple[int, int, int] | None = None
        self.pairs: list[tuple[bytes, bytes]] = []
        self.slices = 0
        self.ended = 0
        self.refused: list[RequestRefused] = []
        self.open = True
        self._patience = patience

    def begin(self, payload: int, records: int, floor: int) -> None:
        assert self.size is None
        self.size = (payload, records, floor)

    def ready(self) -> bool:
        return self.open

    def take(self, pairs: Sequence[tuple[bytes, bytes]]) -> bool:
        assert self.size is not None, "told before it comes"
        self.slices += 1
        self.pairs += pairs
        return self.slices < self._patience

    def fail(self, refused: RequestRefused) -> None:
        self.refused.append(refused)

    def end(self) -> None:
        self.ended += 1


def test_dump_is_every_pair_and_as_large_as_it_was_told(bench: Bench) -> None:
    fill(bench, 300, 40_000)
    sink = Pairs()
    bench.port.dump(sink)
    bench.run()
    assert sink.pairs == bench.stand.engine.scan(b"\x00", b"\xff", 10_000)
    assert sink.size == (sum(len(k) + len(v) for k, v in sink.pairs), len(sink.pairs), -1)
    assert (sink.ended, sink.refused) == (1, [])


def test_dump_waits_for_its_sink_and_ends_when_nobody_wants_it(bench: Bench) -> None:
    fill(bench, 300, 40_000)
    sink = Pairs(patience=2)
    sink.open = False
    bench.port.dump(sink)
    bench.run()
    assert sink.slices == 0
    sink.open = True
    bench.run()
    assert (sink.slices, sink.ended, sink.refused) == (2, 0, [])
    assert not bench.stand.owner._reader._running


def test_dump_that_meets_a_bad_row_says_so_and_never_ends_well(broken: Bench) -> None:
    broken.write(put_call(b"/a/x"))
    engine = broken.stand.engine
    assert isinstance(engine, BreakableEngine)
    engine.faults[b"n/a/x"] = EngineError("a bad block")
    sink = Pairs()
    broken.port.dump(sink)
    broken.run()
    assert sink.refused == [errors.TIMED_OUT]
    assert sink.ended == 0


def test_defragmentation_is_answered(bench: Bench) -> None:
    assert bench.asked(bench.port.defragment) is None


def test_leases_are_told_kept_and_unknown(bench: Bench) -> None:
    lease, negative = (1 << 63) - 1, -7
    bench.write(grant_call(lease, 10), grant_call(negative, 60), put_call(b"/a/x", lease=lease))
    bench.stand.clock.ms += 4_000
    port = bench.port
    assert bench.asked(lambda done: port.lease_info(lease, done)) == (10, 6, (b"/a/x",))
    assert bench.asked(lambda done: port.lease_info(8, done)) is None
    assert bench.asked(lambda done: port.keep_alive(lease, done)) == 10
    assert bench.asked(lambda done: port.keep_alive(8, done)) == 0
    assert bench.asked(lambda done: port.lease_info(negative, done)) == (60, 56, ())
    listed = bench.asked(port.leases)
    assert isinstance(listed, Sequence)
    assert sorted(listed) == [negative, lease]


def test_lease_is_joined_by_a_guest_and_left_with_its_keys(bench: Bench) -> None:
    bench.write(grant_call(7, 10), put_call(b"/a/x", lease=7))
    port = bench.port
    assert bench.asked(lambda done: port.lease_join(7, "guest", done)) == 10
    assert bench.asked(lambda done: port.lease_join(8, "guest", done)) is errors.LEASE_NOT_FOUND
    assert bench.asked(lambda done: port.lease_leave(9, done)) is None


def test_status_is_at_most_a_second_old(bench: Bench) -> None:
    bench.run()
    fill(bench, 50)
    bench.stand.clock.ms += OWNER_STATUS_MS
    bench.run()
    assert bench.port.status() == bench.stand.owner.status()
    assert bench.port.status().disk_bytes > 0
