"""A snapshot over several shards: one cut, one file, and nothing left behind when it fails."""

from __future__ import annotations

import dataclasses
import io

import pytest

from kubebraid.base import dump, errors
from kubebraid.base.errors import Code
from kubebraid.base.limits import SAMPLE_WAIT_MS_MAX, SNAPSHOT_STALL_MS, SNAPSHOTS_MAX
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.proto.server import STREAM_HIGH_WATER_BYTES, EdgeEvent, Kind
from kubebraid.router.core import Router
from kubebraid.shard.storage.engine import Batch
from kubebraid.shard.storage.memory import MemoryEngine, MemorySnapshot
from tests.unit.router.fakes import MAP, Calls, HeldOwner
from tests.unit.router.test_backup import SNAPSHOT

ROWS = 3_000  # several pages
WIDE = bytes(700)


class CountingEngine(MemoryEngine):
    """Knows how many of its snapshots are held."""

    def __init__(self) -> None:
        super().__init__()
        self.held = 0

    def snapshot(self, start: bytes = b"", end: bytes = b"") -> MemorySnapshot:
        snapshot = super().snapshot(start, end)
        close = snapshot.close
        self.held += 1

        def closing() -> None:
            self.held -= 1
            close()

        snapshot.close = closing  # type: ignore[method-assign]  # the test counts
        return snapshot


class Stage(Calls):
    """A router over two shards, each with rows of its own."""

    def __init__(self, remote: bool = False, rows: int = ROWS) -> None:
        super().__init__()
        self.engines: dict[str, CountingEngine] = {}
        for name, owner in self.shards.owners.items():
            owner.engine = self.engines[name] = CountingEngine()
            batch = Batch().put(b"mshard", name.encode())
            for number in range(rows):
                batch.put(b"n%b%05d" % (name.encode(), number), WIDE)
            owner.engine.write(batch, sync=True)
        if remote:
            context = dataclasses.replace(self.context, clock=self.clock, remote=True)
            self.router = Router(context, self.shards.sample())

    @property
    def left(self) -> HeldOwner:
        return self.shards.left

    @property
    def right(self) -> HeldOwner:
        return self.shards.right

    @property
    def dumps(self) -> int:
        """Shards that are at work."""
        return len(self.left.dumps) + len(self.right.dumps)

    @property
    def held(self) -> int:
        return sum(engine.held for engine in self.engines.values())

    def begin(self) -> int:
        self._next += 1
        self.edge.sent[self._next] = []
        self.event_of(self._next, Kind.CALL)
        return self._next

    def event_of(self, call_id: int, kind: Kind) -> None:
        self.router.handle(self.edge, [EdgeEvent(kind, call_id, SNAPSHOT, b"")])

    def work(self, *owners: HeldOwner, slices: int = 100_000) -> None:
        """Slices of the shards' dumps, until nothing can be done."""
        for _ in range(slices):
            if not sum(map(HeldOwner.work, owners or self.shards.owners.values())):
                return

    def send_some(self, call_id: int) -> None:
        """Until rows have been sent, and more are to come."""
        while len(self.edge.sent[call_id]) < 2:
            self.work(slices=1)
        assert call_id not in self.edge.ended

    def file(self, call_id: int) -> tuple[dump.Head, list[tuple[bytes, bytes]]]:
        assert self.edge.ended[call_id] == (0, "")
        parts = [rpc_pb2.SnapshotResponse.FromString(raw) for raw in self.edge.sent[call_id]]
        file = io.BytesIO(b"".join(part.blob for part in parts))
        head, source = dump.read_head(file)
        return head, list(dump.read_pairs(source, file))


def rows_of(engine: MemoryEngine) -> list[tuple[bytes, bytes]]:
    return engine.scan(b"\x00", b"\xff", 1_000_000)


# -- the cut ---------------------------------------------------------------------------------------


def test_file_is_one_shard_behind_the_other() -> None:
    stage = Stage()
    call_id = stage.begin()
    stage.work()
    head, pairs = stage.file(call_id)
    assert head.revision == 1
    assert pairs == rows_of(stage.left.engine) + rows_of(stage.right.engine)
    assert stage.held == 0


def test_shard_is_asked_for_its_state_once_everything_of_the_sample_is_there() -> None:
    """Its state then holds all that was written up to the snapshot's revision."""
    stage = Stage()
    stage.shards.write(b"a")
    revision = stage.shards.commit(b"b", b"y")
    stage.left.hold_reads = stage.right.hold_reads = True
    stage.begin()
    assert [call.needs for call in stage.left.read_calls] == [((1, revision),)]
    assert [call.needs for call in stage.right.read_calls] == [((2, revision),)]
    assert not stage.left.dumps
    stage.left.answer_read()
    assert (len(stage.left.dumps), len(stage.right.dumps)) == (1, 0)
    stage.right.answer_read()
    assert len(stage.right.dumps) == 1


def test_nothing_is_sent_before_every_shard_has_fixed_its_state() -> None:
    stage = Stage()
    call_id = stage.begin()
    stage.work(stage.left)
    assert stage.edge.sent[call_id] == []
    assert stage.held == 2
    stage.work(stage.right)
    stage.work()
    assert stage.file(call_id)


def test_what_is_written_while_it_is_sent_is_not_in_it() -> None:
    stage = Stage()
    expected = rows_of(stage.left.engine) + rows_of(stage.right.engine)
    call_id = stage.begin()
    stage.work(stage.left)
    for owner in stage.shards.owners.values():
        owner.engine.write(Batch().put(b"nnew", b"x").delete_range(b"n", b"nm"), sync=True)
    stage.work()
    assert stage.file(call_id)[1] == expected


def test_floor_is_the_highest_that_a_shard_has_heard_of() -> None:
    """One may have removed rows by a floor that this router has not heard of."""
    stage = Stage()
    for _ in range(9):
        stage.shards.write(b"a", b"z")
    stage.shards.compact(3)
    stage.right.floor = 7
    call_id = stage.begin()
    stage.work()
    head, _ = stage.file(call_id)
    assert (head.revision, head.compact_revision) == (10, 7)


def test_what_was_compacted_meanwhile_is_refused_before_anything_is_sent() -> None:
    stage = Stage()
    call_id = stage.begin()
    stage.right.dumps[0]._floor = 5
    stage.work()
    assert stage.edge.sent[call_id] == []
    assert stage.edge.ended[call_id] == (Code.OUT_OF_RANGE, errors.COMPACTED.message)
    stage.work()
    assert stage.held == 0


def test_behind_links_it_is_tried_again_at_a_newer_revision() -> None:
    stage = Stage(remote=True)
    call_id = stage.begin()
    stage.right.dumps[0]._floor = 5
    for _ in range(9):
        stage.shards.write(b"a", b"z")
    stage.work()
    assert call_id not in stage.edge.ended
    stage.router.poke()
    stage.router.turn()
    stage.work()
    assert stage.file(call_id)[0].revision == 10
    assert stage.held == 0


# -- what goes wrong -------------------------------------------------------------------------------


def test_shard_that_is_away_is_waited_for() -> None:
    stage = Stage(remote=True)
    stage.right.hold_reads = True
    call_id = stage.begin()
    stage.right.refuse_read(errors.OWNER_AWAY)
    stage.right.hold_reads = False
    stage.work()
    assert stage.held == 0, "the first try let go of the other shard"
    assert stage.edge.sent[call_id] == []
    stage.router.poke()
    stage.router.turn()
    stage.work()
    assert stage.file(call_id)


def test_shard_that_dies_in_the_middle_fails_the_whole() -> None:
    stage = Stage(remote=True)
    call_id = stage.begin()
    stage.send_some(call_id)
    (job,) = stage.right.dumps
    job.fail(errors.OWNER_AWAY)
    stage.right.dumps.clear()
    stage.work()
    assert stage.edge.ended[call_id] == (Code.UNAVAILABLE, errors.OWNER_AWAY.message)
    assert stage.held == 0
    assert not stage.left.dumps


def test_unreadable_row_fails_the_whole() -> None:
    stage = Stage()
    call_id = stage.begin()
    (job,) = stage.left.dumps
    job.fail(errors.CORRUPT)
    stage.left.dumps.clear()
    stage.work()
    assert stage.edge.ended[call_id] == (Code.DATA_LOSS, errors.CORRUPT.message)
    assert stage.held == 0


def test_client_that_is_gone_is_nobodys_burden() -> None:
    for far in ("asked", "measured", "sending"):
        stage = Stage()
        call_id = stage.begin()
        if far == "measured":
            stage.work(stage.left)
        elif far == "sending":
            stage.send_some(call_id)
        stage.event_of(call_id, Kind.CANCELLED)
        sent = len(stage.edge.sent[call_id])
        stage.work()
        assert stage.held == 0
        assert stage.dumps == 0
        assert len(stage.edge.sent[call_id]) == sent
        assert call_id not in stage.edge.ended


def test_client_that_is_gone_before_the_shards_answered_costs_no_dump() -> None:
    stage = Stage()
    stage.left.hold_reads = stage.right.hold_reads = True
    call_id = stage.begin()
    stage.event_of(call_id, Kind.CANCELLED)
    stage.left.answer_read()
    stage.right.answer_read()
    assert stage.dumps == 0


# -- slow clients ----------------------------------------------------------------------------------


def test_client_that_does_not_read_holds_both_shards_back() -> None:
    stage = Stage()
    call_id = stage.begin()
    stage.send_some(call_id)
    stage.edge.stalled.add(call_id)
    stage.work(slices=30)
    sent = len(stage.edge.sent[call_id])
    stage.work()
    assert len(stage.edge.sent[call_id]) == sent
    assert stage.held == 2
    stage.edge.stalled.discard(call_id)
    stage.work()
    assert stage.file(call_id)


def test_client_that_reads_nothing_for_too_long_is_refused_and_both_states_are_let_go() -> None:
    stage = Stage()
    call_id = stage.begin()
    stage.send_some(call_id)
    stage.edge.stalled.add(call_id)
    stage.router.turn()
    stage.clock.ms += SNAPSHOT_STALL_MS - 1
    stage.router.turn()
    assert call_id not in stage.edge.ended
    due_ms = stage.router.next_deadline_ms()
    assert due_ms is not None
    assert due_ms <= stage.clock.ms + 1
    stage.clock.ms += 1
    stage.router.turn()
    code, text = stage.edge.ended[call_id]
    assert code == Code.UNAVAILABLE
    assert "not read for too long" in text
    stage.work()
    assert stage.held == 0


def test_client_that_reads_a_little_now_and_then_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    call_id = stage.begin()
    stage.send_some(call_id)
    pending = [STREAM_HIGH_WATER_BYTES * 2]
    monkeypatch.setattr(stage.edge, "pending_bytes", lambda _call: pending[0])
    for _ in range(5):
        stage.clock.ms += SNAPSHOT_STALL_MS - 1
        pending[0] -= 1_000
        stage.router.turn()
    assert call_id not in stage.edge.ended
    pending[0] = 0
    stage.work()
    assert stage.file(call_id)


def test_shard_that_works_for_long_is_no_stall() -> None:
    stage = Stage()
    call_id = stage.begin()
    for _ in range(3):
        stage.clock.ms += SNAPSHOT_STALL_MS
        stage.router.turn()
    stage.work()
    assert stage.file(call_id)


def test_snapshots_at_once_are_bounded_and_forgotten_when_they_end() -> None:
    stage = Stage(rows=3)
    calls = [stage.begin() for _ in range(SNAPSHOTS_MAX)]
    over = stage.begin()
    assert stage.edge.ended[over] == (Code.RESOURCE_EXHAUSTED, errors.TOO_MANY_REQUESTS.message)
    stage.work()
    stage.router.turn()
    assert len({tuple(stage.file(call_id)[1]) for call_id in calls}) == 1
    calls = [stage.begin() for _ in range(SNAPSHOTS_MAX)]
    for call_id in calls:
        stage.event_of(call_id, Kind.CANCELLED)
    last = stage.begin()
    stage.work()
    assert stage.file(last)


def test_without_a_sequencer_it_is_refused_once_and_forgotten() -> None:
    stage = Stage(remote=True)
    stage.shards.sequencer.hold = True
    calls = [stage.begin() for _ in range(SNAPSHOTS_MAX)]
    stage.clock.ms += SAMPLE_WAIT_MS_MAX
    stage.router.turn()
    for call_id in calls:
        assert stage.edge.ended[call_id] == (Code.UNAVAILABLE, errors.NO_LEADER.message)
    stage.shards.sequencer.hold = False
    last = stage.begin()
    stage.work()
    assert stage.file(last)


def test_map_that_changed_before_all_states_were_fixed_means_another_try() -> None:
    """A tablet that moved in between may be in no share, or in two."""
    stage = Stage(remote=True)
    genuine = stage.shards.sample
    call_id = stage.begin()
    stage.shards.sequencer._now = lambda: genuine()._replace(map_version=2)
    stage.router.follow(dataclasses.replace(MAP, version=2))
    stage.work()
    assert stage.edge.sent[call_id] == []
    assert call_id not in stage.edge.ended
    stage.router.poke()
    stage.router.turn()
    stage.work()
    assert stage.file(call_id)
    assert stage.held == 0


def test_without_a_sequencer_states_are_not_held_for_ever() -> None:
    stage = Stage()
    call_id = stage.begin()
    stage.shards.sequencer.hold = True
    stage.work()
    assert stage.held == 2
    stage.clock.ms += SAMPLE_WAIT_MS_MAX
    stage.router.turn()
    assert stage.edge.ended[call_id] == (Code.UNAVAILABLE, errors.NO_LEADER.message)
    stage.shards.sequencer.answer()
    stage.work()
    assert stage.edge.sent[call_id] == []
    assert stage.held == 0


def test_shard_that_sends_another_size_than_it_told_fails_the_whole() -> None:
    stage = Stage()
    call_id = stage.begin()
    stage.send_some(call_id)
    while stage.left.dumps:
        stage.work(stage.left, slices=1)
    stage.right.dumps[0]._sink.take([(b"n", bytes(600))])
    stage.work()
    code, text = stage.edge.ended[call_id]
    assert code == Code.UNAVAILABLE
    assert "another size" in text
    assert stage.held == 0


def test_engine_that_gives_no_state_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    monkeypatch.setattr(stage.right, "dump", lambda sink: sink.fail(errors.CORRUPT))
    call_id = stage.begin()
    stage.work()
    assert stage.edge.ended[call_id][0] == Code.DATA_LOSS
    assert stage.held == 0
