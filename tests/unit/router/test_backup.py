"""Snapshot, Hash, HashKV, Defragment: what operators take from a store that goes on serving."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from typing import Final

import pytest

from kubebraid import VERSION
from kubebraid.base import dump, errors
from kubebraid.base.errors import Code
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.proto.server import METHOD_BY_PATH, Kind
from kubebraid.shard import fencing
from tests.unit.router.fakes import Calls
from tests.world import RpcError, World

SNAPSHOT: Final = METHOD_BY_PATH["/etcdserverpb.Maintenance/Snapshot"]
FUTURE: Final = (
    Code.OUT_OF_RANGE,
    "etcdserver: mvcc: required revision is a future revision",
)
COMPACTED: Final = (
    Code.OUT_OF_RANGE,
    "etcdserver: mvcc: required revision has been compacted",
)


def put(world: World, key: bytes, value: bytes = b"v") -> int:
    return int(world.call("KV.Put", rpc_pb2.PutRequest(key=key, value=value)).header.revision)


def delete(world: World, key: bytes) -> None:
    world.call("KV.DeleteRange", rpc_pb2.DeleteRangeRequest(key=key))


def compact(world: World, revision: int) -> None:
    world.call("KV.Compact", rpc_pb2.CompactionRequest(revision=revision, physical=True))


def hash_kv(world: World, revision: int = 0) -> rpc_pb2.HashKVResponse:
    answer = world.call("Maintenance.HashKV", rpc_pb2.HashKVRequest(revision=revision))
    assert isinstance(answer, rpc_pb2.HashKVResponse)
    return answer


def hash_refusal(world: World, revision: int) -> tuple[int, str]:
    (answer,) = world.batch([("Maintenance.HashKV", rpc_pb2.HashKVRequest(revision=revision))])
    assert isinstance(answer, RpcError)
    return answer.code, answer.text


class SnapshotStream:
    """One Snapshot RPC, as its client sees it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._edge = world.edge
        self.call_id = world.new_call()
        self._edge.sent[self.call_id] = []
        world.deliver(Kind.CALL, self.call_id, SNAPSHOT)

    @property
    def parts(self) -> list[rpc_pb2.SnapshotResponse]:
        sent = self._edge.sent[self.call_id]
        return [rpc_pb2.SnapshotResponse.FromString(part) for part in sent]

    @property
    def ended(self) -> tuple[int, str] | None:
        return self._edge.ended.get(self.call_id)

    def stall_after(self, parts: int) -> None:
        """The client stops reading once it was sent so many parts."""
        while len(self._edge.sent[self.call_id]) < parts:
            assert self._world.node.loop.turn(), "it ended before"
        self._edge.stalled.add(self.call_id)

    def resume(self) -> None:
        self._edge.stalled.discard(self.call_id)
        self._world.deliver(Kind.DRAINED, self.call_id, SNAPSHOT)
        self._world.run()

    def cancel(self) -> None:
        """The client is gone; a call that is gone has nothing pending."""
        self._edge.stalled.discard(self.call_id)
        self._world.deliver(Kind.CANCELLED, self.call_id, SNAPSHOT)
        self._world.run()

    def file(self) -> bytes:
        """What `etcdctl snapshot save` writes."""
        assert self.ended == (0, "")
        return b"".join(part.blob for part in self.parts)


def take_snapshot(world: World) -> bytes:
    stream = SnapshotStream(world)
    world.run()
    return stream.file()


def read_file(raw: bytes) -> tuple[dump.Head, dict[bytes, bytes]]:
    file = io.BytesIO(raw)
    head, source = dump.read_head(file)
    return head, dict(dump.read_pairs(source, file))


def user_keys(stored: dict[bytes, bytes]) -> set[bytes]:
    return {key[1:] for key in stored if key[:1] == b"n"}


def fenced(stored: dict[bytes, bytes]) -> int:
    """The highest revision that the stored fences know."""
    return max(fencing.unpack(value).last for key, value in stored.items() if key[:1] == b"f")


def filled(count: int = 400) -> World:
    world = World([b"/a/", b"/b/"])
    for number in range(count):
        put(world, b"/a/%04d" % number)
    return world


# -- snapshot --------------------------------------------------------------------------------------


def test_snapshot_is_blocks_and_their_digest_as_etcdctl_demands() -> None:
    """etcdctl refuses a file whose size modulo 512 is not 32 or whose digest is wrong."""
    raw = take_snapshot(filled())
    assert len(raw) % 512 == 32
    assert raw[-32:] == hashlib.sha256(raw[:-32]).digest()


def test_remaining_bytes_count_down_to_zero_and_the_digest_follows_by_itself() -> None:
    """As etcd sends it: the digest comes on top of what remains."""
    world = filled()
    stream = SnapshotStream(world)
    world.run()
    *parts, digest = stream.parts
    assert len(parts) > 3
    left = len(stream.file()) - 32
    for part in parts:
        left -= len(part.blob)
        assert part.remaining_bytes == left
    assert left == 0
    assert (len(digest.blob), digest.remaining_bytes) == (32, 0)


def test_snapshot_holds_the_keys_and_each_part_its_revision_and_etcds_storage_version() -> None:
    world = filled(100)
    compact(world, 50)
    stream = SnapshotStream(world)
    world.run()
    head, stored = read_file(stream.file())
    assert head == (101, 50, VERSION)
    assert user_keys(stored) == {b"/a/%04d" % number for number in range(100)}
    assert {part.version for part in stream.parts} == {"3.7.0"}
    assert {part.header.revision for part in stream.parts} == {101}
    assert fenced(stored) == 101


def test_snapshot_of_an_empty_store_is_whole() -> None:
    head, stored = read_file(take_snapshot(World()))
    assert (head.revision, head.compact_revision) == (1, -1)
    assert user_keys(stored) == set()


def test_snapshot_is_of_one_state_while_writes_go_on_between_its_slices() -> None:
    world = filled()
    before = {b"/a/%04d" % number for number in range(400)}
    _, expected = read_file(take_snapshot(world))
    stream = SnapshotStream(world)
    stream.stall_after(2)
    put(world, b"/a/0000", b"changed")
    put(world, b"/a/new")
    delete(world, b"/a/0399")
    compact(world, 402)
    assert stream.ended is None
    stream.resume()
    head, stored = read_file(stream.file())
    assert head.revision == 401
    assert user_keys(stored) == before
    assert stored == expected
    assert hash_kv(world).header.revision == 404, "the writes did happen"


def test_writes_that_arrive_with_the_snapshot_are_in_it_exactly_up_to_its_revision() -> None:
    world = filled(10)
    stream = SnapshotStream(world)
    put(world, b"/a/new")
    head, stored = read_file(stream.file())
    assert head.revision == fenced(stored)
    assert (b"/a/new" in user_keys(stored)) is (head.revision == 12)


def test_slow_client_holds_the_dump_back_and_nobody_else() -> None:
    world = filled()
    stream = SnapshotStream(world)
    stream.stall_after(2)
    world.run()
    sent = len(stream.parts)
    assert put(world, b"/a/x") == 402
    assert len(stream.parts) == sent
    stream.resume()
    assert stream.parts[-1].remaining_bytes == 0


def test_client_that_is_gone_ends_the_dump() -> None:
    world = filled()
    stream = SnapshotStream(world)
    stream.stall_after(2)
    sent = len(stream.parts)
    stream.cancel()
    assert len(stream.parts) <= sent + 1
    assert stream.parts[-1].remaining_bytes > 0
    assert stream.ended is None
    # What is left of it must not hinder the next.
    assert read_file(take_snapshot(world))[0].revision == 401


def test_two_snapshots_at_once_are_alike() -> None:
    world = filled()
    first, second = SnapshotStream(world), SnapshotStream(world)
    world.run()
    assert first.file() == second.file()


# -- hashes ----------------------------------------------------------------------------------------


def history(world: World) -> World:
    """Puts, a change, deletes and a rebirth, over the borders of the layouts below."""
    for value in (b"1", b"2", b"3"):
        for key in (b"/a/x", b"/b/y", b"c", b"/a/z"):
            put(world, key, value)
        delete(world, b"/a/z")
    delete(world, b"c")
    return world


def test_hash_kv_is_equal_for_replays_of_one_history_with_different_tablets() -> None:
    whole, cut, other = (history(World(p)) for p in ([], [b"/a/", b"/b/"], [b"/b/"]))
    last = hash_kv(whole).header.revision
    for revision in range(1, last + 1):
        found = {hash_kv(world, revision).hash for world in (whole, cut, other)}
        assert len(found) == 1, revision


def test_hash_kv_is_not_changed_by_what_a_restart_makes_new() -> None:
    world = history(World([b"/a/"]))
    before = hash_kv(world).hash
    world.crash()
    assert hash_kv(world).hash == before


def test_hash_kv_of_a_revision_is_not_changed_by_later_writes() -> None:
    world = history(World())
    before = hash_kv(world)
    put(world, b"/a/x", b"later")
    delete(world, b"/b/y")
    assert hash_kv(world, before.hash_revision).hash == before.hash
    assert hash_kv(world).hash != before.hash


def test_hash_kv_says_what_it_hashed() -> None:
    world = history(World())
    answer = hash_kv(world)
    assert (answer.hash_revision, answer.compact_revision) == (answer.header.revision, -1)
    compact(world, 5)
    answer = hash_kv(world, 7)
    assert (answer.hash_revision, answer.compact_revision) == (7, 5)
    assert answer.header.revision == 17


def test_hash_kv_refuses_the_future_and_what_is_compacted() -> None:
    world = history(World())
    last = hash_kv(world).header.revision
    assert hash_refusal(world, last + 1) == FUTURE
    compact(world, 6)
    assert hash_refusal(world, 5) == COMPACTED
    assert hash_kv(world, 6).hash_revision == 6
    assert hash_kv(world, last).hash_revision == last


def test_hash_is_hash_kv_of_the_present() -> None:
    world = history(World())
    hashed = world.call("Maintenance.Hash", rpc_pb2.HashRequest())
    assert hashed.hash == hash_kv(world).hash
    assert hashed.header.revision == hash_kv(world).header.revision


def test_hash_adds_up_the_shards_modulo_2_to_the_32() -> None:
    """Each shard of the fakes answers floor + revision."""
    calls = Calls()
    calls.shards.revision = 1 << 31
    calls.shards.compact(3)
    request = rpc_pb2.HashKVRequest(revision=1 << 31)
    answer = calls.answer(calls.call("Maintenance/HashKV", request))
    assert rpc_pb2.HashKVResponse.FromString(answer).hash == 6


def test_inv17_hash_over_a_switch_of_tablets_is_not_told() -> None:
    """A tablet that changes hands meanwhile might be in no part of the sum, or in two."""
    calls = Calls()
    calls.shards.revision = 9
    sequencer = calls.shards.sequencer
    sequencer.hold = True
    call_id = calls.call("Maintenance/HashKV", rpc_pb2.HashKVRequest())
    sequencer.answer()
    now = sequencer._now
    sequencer._now = lambda: now()._replace(map_version=now().map_version + 1)
    sequencer.answer()
    code, _ = calls.refusal(call_id)
    assert code == errors.OTHER_MAP.code


# -- defragment ------------------------------------------------------------------------------------


def test_defragment_changes_nothing_that_a_client_sees_and_answers_no_header() -> None:
    world = history(World())
    before = hash_kv(world)
    answer = world.call("Maintenance.Defragment", rpc_pb2.DefragmentRequest())
    assert not answer.HasField("header")
    assert hash_kv(world) == before


def test_defragment_is_answered_when_every_shard_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls()
    waiting: list[Callable[[None], None]] = []
    monkeypatch.setattr(calls.shards.left, "defragment", waiting.append)
    call_id = calls.call("Maintenance/Defragment")
    assert call_id not in calls.edge.answers
    waiting.pop()(None)
    assert calls.answer(call_id) == b""
