"""Reads while a tablet moves: every revision says the same before, during and after.

What it is: two buckets of one range on two shards, with rows of others in both stores, and all that
reads them: ranges, transactions, sums, dumps, histories. What it is not: the copy itself
(test_reshard_copy.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest

from kubebraid.base import errors
from kubebraid.base.across import AcrossCall, AcrossReply, Step, TxnId, Verdict
from kubebraid.base.errors import RequestRefused
from kubebraid.base.keyspace import KeyRange
from kubebraid.base.ports import (
    WRITE_PUT,
    WRITE_TXN,
    AllocRequest,
    LogCall,
    ReadCall,
    WriteCall,
    WriteReply,
)
from kubebraid.base.reshard import Phase
from kubebraid.base.revision import Revision
from kubebraid.base.tabletmap import Tablet, TabletMap
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.proto.kvwire import key_of
from tests.moving import MOVED, OTHER, Moving
from tests.shared_rows import stores
from tests.unit.shard.fakes import Sink

__all__ = ["stores"]
pytestmark = pytest.mark.usefixtures("stores")

SPAN = KeyRange(b"b", b"c")
STAY, GO = 21, 22
SHARDS = ("shard-0", "shard-1")


def halves() -> Moving:
    """[b, c) in two buckets of shard-0, 30 keys with versions and deletions."""
    base = Moving().tablets
    cut = [Tablet(21 + n, f"half.{n}", SPAN, "shard-0", 1, n, 2) for n in range(2)]
    pair = Moving(TabletMap(1, (base.tablets[0], *cut, base.tablets[2])))
    for n in range(30):
        pair.put(b"b%02d" % n, b"first")
    for n in range(0, 30, 3):
        pair.put(b"b%02d" % n, b"second")
    for n in range(0, 30, 4):
        pair.delete(b"b%02d" % n)
    pair.put(b"c1")
    return pair


def everywhere(pair: Moving, revision: Revision) -> dict[bytes, bytes]:
    """What a router would gather at a revision; each shard by its own map."""
    found: dict[bytes, bytes] = {}
    for name in SHARDS:
        if not pair.owned[name].tablets_of(SPAN):
            continue
        whole = pair.read(name, SPAN, revision)
        assert whole.refused is None, whole.refused
        assert whole.total == len(whole.rows), (name, revision)
        paged: list[bytes] = []
        at = SPAN.start
        left = whole.total
        while True:
            page = pair.read(name, KeyRange(at, SPAN.end), revision, limit=3)
            assert page.total == left, (name, revision, at)
            keys = page.keys[:3]
            paged += keys
            left -= len(keys)
            if left == 0:
                break
            at = keys[-1] + b"\x00"
        assert paged == whole.keys
        assert found.keys().isdisjoint(paged), "each key is one shard's"
        found |= {key_of(row.raw): row.raw for row in whole.rows}
    return dict(sorted(found.items()))


def summed(pair: Moving, floor: Revision, revision: Revision) -> int:
    told: list[int | RequestRefused] = []
    for owner in pair.owners.values():
        owner.hash_versions(floor, revision, told.append)
    pair.settle(10)
    assert len(told) == len(SHARDS)
    return sum(part for part in told if isinstance(part, int)) & 0xFFFFFFFF


class Dump:
    """Takes a dump."""

    def __init__(self) -> None:
        self.pairs: dict[bytes, bytes] = {}
        self.records = -1
        self.ended = False

    def begin(self, payload: int, records: int, floor: Revision) -> None:
        self.records = records

    def ready(self) -> bool:
        return True

    def take(self, pairs: Sequence[tuple[bytes, bytes]]) -> bool:
        self.pairs |= pairs
        return True

    def fail(self, refused: RequestRefused) -> None:
        raise AssertionError(refused)

    def end(self) -> None:
        self.ended = True


def dumped(pair: Moving, name: str) -> dict[bytes, bytes]:
    sink = Dump()
    pair.owners[name].dump(sink)
    pair.settle(20)
    assert sink.ended
    assert sink.records == len(sink.pairs), "as was announced"
    return {stored: value for stored, value in sink.pairs.items() if stored[:1] in b"nhkl"}


def steps(pair: Moving, check: Callable[[], None]) -> None:
    """A move of one bucket there, and the check at each of its steps."""
    pair.move(GO, "shard-1")
    for phase in (Phase.PREPARING, Phase.READY, Phase.FROZEN):
        pair.phase(phase)
        for turns in (1, 3, 200):
            pair.settle(turns)
            check()
    pair.commit()
    check()
    pair.phase(Phase.DRAINING)
    for turns in (0, 1, 100):
        pair.settle(turns)
        check()
    pair.lead(Phase.DONE)
    check()


def test_inv05_a_range_says_the_same_at_every_revision_at_every_step() -> None:
    pair = halves()
    newest = pair.sequencer.revision
    revisions = range(2, newest + 1, 5)
    before = {revision: everywhere(pair, revision) for revision in revisions}
    assert len({tuple(found) for found in before.values()}) > 4, "they differ"

    def check() -> None:
        assert everywhere(pair, newest - newest % 5) is not None
        for revision in list(revisions)[:: max(1, len(revisions) // 4)]:
            assert everywhere(pair, revision) == before[revision], revision

    steps(pair, check)
    for revision in revisions:
        assert everywhere(pair, revision) == before[revision], revision


def test_inv05_sums_of_versions_are_the_same_at_every_step() -> None:
    pair = halves()
    newest = pair.sequencer.revision
    floors = ((0, newest), (45, newest), (0, 20))
    before = [summed(pair, *bounds) for bounds in floors]
    assert len(set(before)) == len(floors)
    steps(pair, lambda: _same([summed(pair, *bounds) for bounds in floors], before))


def _same(found: list[int], wanted: list[int]) -> None:
    assert found == wanted


def test_a_dump_has_the_rows_of_owned_keys_alone() -> None:
    pair = halves()
    before = dumped(pair, "shard-0") | dumped(pair, "shard-1")

    def check() -> None:
        parts = [dumped(pair, name) for name in SHARDS]
        assert parts[0].keys().isdisjoint(parts[1])
        assert parts[0] | parts[1] == before

    steps(pair, check)


def test_counts_are_of_owned_keys_at_every_step() -> None:
    pair = halves()
    newest = pair.sequencer.revision
    keys = set(everywhere(pair, newest))

    def check() -> None:
        pair.settle(5)
        for name in SHARDS:
            mine = {key for key in keys if pair.tablets.tablet_of(key).shard == name}
            found = pair.owners[name]._counts.known(SPAN)
            waits = pair.migration.phase is Phase.COMMITTED  # counting disturbs the switch
            assert found == (None if waits else len(mine)), name

    steps(pair, check)
    pair.put(b"b97")
    pair.put(b"b98")
    keys |= {b"b97", b"b98"}
    check()


def test_inv17_a_write_over_the_range_changes_owned_keys_alone() -> None:
    """DeleteRange and a compare of the range, on the shard that keeps the other bucket."""
    pair = halves()
    pair.move(GO, "shard-1")
    pair.lead(Phase.PREPARING, Phase.READY, Phase.FROZEN)
    pair.commit()
    newest = pair.sequencer.revision
    keys = list(everywhere(pair, newest))
    stay = [key for key in keys if pair.tablets.tablet_of(key).id == STAY]
    compare = rpc_pb2.Compare(
        key=b"b",
        range_end=b"c",
        target=rpc_pb2.Compare.VERSION,
        result=rpc_pb2.Compare.GREATER,
        version=0,
    )
    delete = rpc_pb2.DeleteRangeRequest(key=b"b", range_end=b"c", prev_kv=True)
    txn = rpc_pb2.TxnRequest(
        compare=[compare], success=[rpc_pb2.RequestOp(request_delete_range=delete)]
    )
    told: list[WriteReply] = []
    call = WriteCall(WRITE_TXN, txn.SerializeToString(), (STAY,), pair.tablets.version, object())
    pair.owners["shard-0"].submit([call], told.append)
    pair.settle(5)
    assert told[0].error is None
    answer = rpc_pb2.TxnResponse.FromString(told[0].body)
    assert answer.responses[0].response_delete_range.deleted == len(stay)
    assert set(everywhere(pair, pair.sequencer.revision)) == set(keys) - set(stay)


# -- histories -------------------------------------------------------------------------------------


def test_inv07_the_log_of_a_tablet_is_whole_wherever_it_goes() -> None:
    pair = halves()
    before = {first: pair.history("shard-0", GO, first).commits for first in range(0, 40, 7)}
    seen = [commit.revision for commit in before[0]]
    assert all(low < high for low, high in pairwise(seen))
    pair.move(GO, "shard-1")
    pair.switch()
    for first, commits in before.items():
        assert pair.history("shard-1", GO, first).commits == commits, first
    late = LogCall((GO,), SPAN, 0, 50, 100, needs=(2,))
    told: list[object] = []
    pair.owners["shard-0"].read_log(late, told.append)
    assert told == [errors.OTHER_MAP], "whoever owned it once answers nothing"


def test_inv20_a_floor_during_the_copy_waits_and_a_floor_behind_it_is_served() -> None:
    pair = Moving()
    for n in range(40):
        pair.put(b"b%d" % (n % 4), b"v%d" % n)
    newest = pair.sequencer.revision
    pair.move(MOVED, "shard-1")
    pair.phase(Phase.PREPARING)
    pair.settle(2)
    before = pair.log("shard-0", MOVED)
    pair.compact(20)
    pair.settle(200)
    assert pair.log("shard-0", MOVED) == before, "the history rests"
    assert pair.reports["shard-1"].verified
    at = {revision: pair.read("shard-0", SPAN, revision).rows for revision in range(20, newest, 3)}
    pair.lead(Phase.READY, Phase.FROZEN)
    pair.commit()
    for revision, rows in at.items():
        assert pair.read("shard-1", SPAN, revision).rows == rows, revision
    assert pair.read("shard-1", SPAN, 19).refused is errors.COMPACTED
    pair.lead(Phase.DRAINING, Phase.DONE)
    pair.compact(30)
    pair.settle(50)
    assert min(pair.log("shard-1", MOVED)) == 30, "garbage goes where it is now"
    for revision, rows in at.items():
        if revision >= 30:
            assert pair.read("shard-1", SPAN, revision).rows == rows, revision
    kept = pair.rows("shard-1", b"h")
    assert len(kept) == 12, "what 30 sees and what the event at 30 replaced, but the newest"


# -- maps ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHARDS)
def test_inv17_a_call_planned_with_the_map_before_is_refused(name: str) -> None:
    pair = Moving()
    pair.put(b"b1")
    old = pair.tablets.version
    pair.move(MOVED, "shard-1")
    pair.lead(Phase.PREPARING, Phase.READY, Phase.FROZEN)
    pair.commit()
    owner = pair.owners[name]
    told: list[WriteReply] = []
    payload = rpc_pb2.PutRequest(key=b"b1", value=b"lost").SerializeToString()
    owner.submit([WriteCall(WRITE_PUT, payload, (MOVED,), old, object())], told.append)
    assert told[0].error is errors.OTHER_MAP
    sink = Sink()
    owner.read(ReadCall(SPAN, 2, (), old, 0, False), sink)
    assert sink.refused is errors.OTHER_MAP
    assert pair.read("shard-1", SPAN, pair.sequencer.revision).rows[0].raw.find(b"lost") < 0


# -- transactions over both shards -----------------------------------------------------------------


class Txn:
    """A transaction that puts b1 (shard-0, the primary) and c1 (shard-1), a step at a time; with
    `version` only where b1 has that one."""

    def __init__(
        self,
        pair: Moving,
        number: int = 1,
        puts: tuple[bytes, ...] = (b"b1", b"c1"),
        version: int = 0,
    ) -> None:
        self.pair = pair
        self.txn = TxnId(1, number)
        request = rpc_pb2.TxnRequest()
        if version:
            request.compare.add(key=b"b1", target=rpc_pb2.Compare.VERSION, version=version)
        for key in puts:
            request.success.add().request_put.CopyFrom(rpc_pb2.PutRequest(key=key, value=b"txn"))
        self.payload = request.SerializeToString()

    def ask(self, name: str, step: Step, **rest: object) -> list[AcrossReply]:
        told: list[AcrossReply] = []
        call = AcrossCall(step, self.txn, **rest)  # type: ignore[arg-type]  # by name
        self.pair.owners[name].across(call, told.append)
        return told

    def lock(self, name: str) -> list[AcrossReply]:
        version = self.pair.tablets.version
        return self.ask(name, Step.LOCK, kind=WRITE_TXN, payload=self.payload, map_version=version)

    def prepare(self) -> Revision:
        """On both; the revision that was handed out."""
        prepared = []
        for name in SHARDS:
            told = self.ask(name, Step.PREPARE, path=(True,), participants=SHARDS)
            assert told[0].prepared is not None, told
            prepared.append(told[0].prepared)
        ends = tuple(
            (tablet, oepoch, 0 if index >= 0 else -1)
            for part in prepared
            for tablet, oepoch, index in part.ends
        )
        lanes = tuple(
            (part.lane.owner, part.lane.incarnation, part.lane.request_number) for part in prepared
        )
        reply = self.pair.sequencer.allocate(AllocRequest(1, "router", 1, 1, ends, 9, lanes))
        assert reply is not None
        assert not reply.refused
        return reply.first


@pytest.mark.parametrize("step", ["arriving", "left"])
def test_inv05_a_compare_is_judged_by_the_rows_of_its_owner_alone(step: str) -> None:
    """The other shard has an older row of the key: of a copy, or of a view that lies behind."""
    pair = Moving()
    pair.put(b"a1")
    pair.put(b"b1", b"first")
    pair.put(b"c1")
    pair.move(MOVED, "shard-1")
    pair.lead(Phase.PREPARING, Phase.READY)
    other = "shard-1"
    if step == "left":
        pair.lead(Phase.FROZEN)
        pair.commit()
        other = "shard-0"
    for engine in pair.engines.values():
        engine.catch_up()
    pair.put(b"b1", b"second")
    txn = Txn(pair, puts=(b"a1", b"c1"), version=2)
    verdicts = {}
    for name in SHARDS:
        told = txn.lock(name)
        pair.settle(5)
        verdicts[name] = told[0].verdicts
    owner = "shard-0" if other == "shard-1" else "shard-1"
    assert verdicts[owner] == [Verdict(found=True, satisfied=True)]
    assert verdicts[other] == [Verdict(found=False, satisfied=True)]


def frozen_over(pair: Moving) -> Txn:
    """The slots of both shards are held when the freeze is heard."""
    pair.move(MOVED, "shard-1")
    pair.lead(Phase.PREPARING, Phase.READY)
    txn = Txn(pair)
    for name in SHARDS:
        told = txn.lock(name)
        pair.settle(5)
        assert told
        assert told[0].error is None
    return txn


def test_inv15_a_transaction_that_holds_the_slot_ends_before_the_seal() -> None:
    pair = Moving()
    pair.put(b"b1")
    pair.put(b"c1")
    txn = frozen_over(pair)
    pair.phase(Phase.FROZEN)
    pair.settle(100)
    assert not pair.reports["shard-1"].ends, "the source is not quiet"
    revision = txn.prepare()
    pair.settle(100)
    assert not pair.reports["shard-1"].ends
    assert txn.ask("shard-0", Step.COMMIT, revision=revision)[0].revision == revision
    pair.settle(100)
    assert not pair.reports["shard-1"].ends, "a share waits here for its decision"
    txn.ask("shard-1", Step.APPLY, revision=revision)
    pair.settle(100)
    pair.commit()
    for key in (b"b1", b"c1"):
        rows = pair.read("shard-1", KeyRange(key, key + b"\x00"), revision).rows
        assert b"txn" in rows[0].raw


def test_inv15_a_transaction_that_waits_for_the_slot_plans_anew() -> None:
    pair = Moving()
    pair.put(b"b1")
    txn = frozen_over(pair)
    second = Txn(pair, number=2)
    waiting = second.lock("shard-0")
    pair.phase(Phase.FROZEN)
    assert [reply.error for reply in waiting] == [errors.OTHER_MAP]
    assert second.lock("shard-0")[0].error is errors.OTHER_MAP
    for name in SHARDS:
        txn.ask(name, Step.ABORT)
    pair.settle(100)
    pair.commit()
    assert pair.put(b"b1").error is None


@pytest.mark.parametrize("who", SHARDS)
def test_inv15_a_share_that_waits_behind_a_restart_is_part_of_the_move(who: str) -> None:
    pair = Moving()
    pair.put(b"b1")
    pair.put(b"c1")
    txn = frozen_over(pair)
    revision = txn.prepare()
    if who == "shard-1":
        assert txn.ask("shard-0", Step.COMMIT, revision=revision)[0].revision == revision
    pair.start(who)
    pair.phase(Phase.READY)
    pair.settle(8_000)
    pair.phase(Phase.FROZEN)
    pair.settle(300)
    pair.commit()
    newest = pair.sequencer.revision
    values = [
        b"txn" in pair.read("shard-1", KeyRange(key, key + b"\x00"), newest).rows[0].raw
        for key in (b"b1", b"c1")
    ]
    assert values == [who == "shard-1"] * 2, "all of it or nothing"


def test_inv20_the_other_tablets_of_both_shards_are_compacted_meanwhile() -> None:
    pair = Moving()
    for n in range(20):
        pair.put(b"c%d" % (n % 2), b"v")
    pair.move(MOVED, "shard-1")
    pair.phase(Phase.PREPARING)
    pair.compact(15)
    pair.settle(50)
    assert min(pair.log("shard-1", OTHER)) == 15
