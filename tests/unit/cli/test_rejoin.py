"""A cluster's file as one store: nothing newer than its revision, everything up to it.

One real store plays the cluster: its rows, dealt out by tablet, are what the owners of those
tablets would hold. Each share is taken at a moment of its own, behind the snapshot's revision.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from kubebraid.base import dump
from kubebraid.base.dump import Head, SnapshotDamaged
from kubebraid.base.tabletmap import TabletMap, layout
from kubebraid.cli.data_check import data
from kubebraid.cli.node import SHARD
from kubebraid.cli.rejoin import ENDED_TTL_S, Rejoined
from kubebraid.cli.snapshot import snapshot
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.shard import keycodec
from kubebraid.shard.audit import Audit
from kubebraid.shard.lease import LeaseRow
from kubebraid.shard.mark import SHARD_CELL
from kubebraid.shard.seal import pack_lease, unpack_lease
from kubebraid.shard.storage.engine import Batch
from kubebraid.shard.storage.memory import MemoryEngine
from tests.unit.cli.test_snapshot import Restored, kvs
from tests.unit.router.test_backup import compact, delete, hash_kv, put
from tests.unit.shard.stones import with_tombstones
from tests.world import World

PREFIXES: Final = (b"/a/", b"/b/", b"/c/")
SHARDS: Final = 3
KEYS: Final = [prefix + b"%d" % number for prefix in (*PREFIXES, b"", b"x") for number in range(3)]
VERSION: Final = "9.9.9"
Pairs = dict[bytes, bytes]


def everything(world: World) -> Pairs:
    return dict(world.engine.scan(b"\x00", b"\xff", 1_000_000))


def shards_of(world: World, key: bytes) -> set[int]:
    """Whose a row is. A lease's is its home's and, for the test, every other's as a guest's."""
    tablets = world.node.coordinator.tablet_map()
    match key[:1]:
        case b"n":
            found = tablets.tablet_of(key[1:]).id
        case b"h":
            found = tablets.tablet_of(keycodec.split_history(key)[0]).id
        case b"l" | b"f":
            found = int.from_bytes(key[1:5], "big")
        case b"k":
            found = tablets.tablet_of(keycodec.attached_key(key)).id
        case b"e":
            return set(range(SHARDS))
        case _:
            return set()
    return {found % SHARDS}


def share(world: World, shard: int) -> Pairs:
    """What one of the shards holds now."""
    rows = everything(world).items()
    mine = {key: value for key, value in rows if shard in shards_of(world, key)}
    for key, value in mine.items():
        if key[:1] == b"e":
            home = keycodec.lease_id(key) % SHARDS
            row = unpack_lease(value)
            others = tuple(f"shard-{n}" for n in range(SHARDS) if n != home)
            visit = LeaseRow(row.ttl_s, visiting=True)
            mine[key] = pack_lease(row._replace(guests=others) if home == shard else visit)
    mine[keycodec.cell(SHARD_CELL)] = b"shard-%d" % shard
    return mine


def rejoined(head: Head, shares: Mapping[int, Pairs], tablets: TabletMap) -> MemoryEngine:
    engine = MemoryEngine()
    made = Rejoined(engine, head, tablets)
    for _, rows in sorted(shares.items()):
        for key in sorted(rows):
            made.add(key, rows[key])
    engine.write(made.finish(), sync=True)
    return engine


def whole(engine: MemoryEngine, head: Head, tablets: TabletMap) -> None:
    audit = Audit(engine, tablets, head.compact_revision)
    for _ in audit.run():
        pass
    assert not audit.report.findings
    assert audit.report.revision == head.revision


class Story:
    """Random writes, a revision, more writes with a share taken now and then."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.world = World(PREFIXES)
        self.leases: list[int] = []
        self.floor = -1
        self.some(self.rng.randint(0, 60))
        if seed % 2:
            with_tombstones(self.world.engine)  # a program from before wrote it so far
        self.some(self.rng.randint(5, 60))
        self.revision = int(put(self.world, b"/a/last"))
        self.floor_then = self.floor
        self.kvs = {r: kvs(self.world, r) for r in range(max(self.floor, 1), self.revision + 1)}
        self.hash = hash_kv(self.world, self.revision).hash
        self.shares: dict[int, Pairs] = {}
        for shard in self.rng.sample(range(SHARDS), SHARDS):
            self.some(self.rng.randint(0, 40), compacting=False)
            self.shares[shard] = share(self.world, shard)
        self.head = Head(self.revision, self.floor_then, VERSION)

    def some(self, count: int, compacting: bool = True) -> None:
        for _ in range(count):
            self.one(compacting)

    def one(self, compacting: bool) -> None:
        rng, world = self.rng, self.world
        match rng.randint(0, 19):
            case 0:
                lease = rng.randint(1, 1 << 40)
                world.call("Lease.LeaseGrant", rpc_pb2.LeaseGrantRequest(ID=lease, TTL=600))
                self.leases.append(lease)
            case 1 if self.leases:
                lease = self.leases.pop(rng.randrange(len(self.leases)))
                world.call("Lease.LeaseRevoke", rpc_pb2.LeaseRevokeRequest(ID=lease))
            case 2 | 3 | 4:
                delete(world, rng.choice(KEYS))
            case 5 | 6 | 7 | 8:
                self.transaction()
            case 9 if compacting:
                now = hash_kv(world).header.revision
                if now > max(self.floor, 1):
                    self.floor = rng.randint(max(self.floor, 1) + 1, now)
                    compact(world, self.floor)
            case _:
                lease = rng.choice([0, *self.leases])
                value = b"%d" % rng.randint(0, 99)
                request = rpc_pb2.PutRequest(key=rng.choice(KEYS), value=value, lease=lease)
                world.call("KV.Put", request)

    def transaction(self) -> None:
        """Several tablets at one revision, a key perhaps deleted and made anew in it."""
        request = rpc_pb2.TxnRequest()
        keys = self.rng.sample(KEYS, self.rng.randint(1, 5))
        for key in keys:
            request.success.add().request_put.key = key
        gone = self.rng.choice(KEYS)
        if gone not in keys:
            request.success.add().request_delete_range.key = gone
        self.world.call("KV.Txn", request)


MAPS: Final = {
    "kubernetes": layout([b"/registry/pods/", b"/registry/events/"], SHARD),
    "the same": layout(PREFIXES, SHARD),
    "other": layout([b"/b/"], SHARD),
}


@pytest.mark.parametrize("tablets", MAPS.values(), ids=MAPS)
@pytest.mark.parametrize("seed", range(25))
def test_store_of_shares_is_the_store_at_its_revision(seed: int, tablets: TabletMap) -> None:
    story = Story(seed)
    engine = rejoined(story.head, story.shares, tablets)
    whole(engine, story.head, tablets)
    world = World(PREFIXES)
    world.engine = engine
    world._start()
    for revision, expected in story.kvs.items():
        assert kvs(world, revision) == expected, revision
    assert hash_kv(world, story.revision).hash == story.hash
    attached = {kv.key: kv.lease for kv in story.kvs[story.revision] if kv.lease}
    for key, lease in attached.items():
        request = rpc_pb2.LeaseTimeToLiveRequest(ID=lease, keys=True)
        answer = world.call("Lease.LeaseTimeToLive", request)
        assert key in answer.keys
        assert answer.grantedTTL in ((600,) if lease in story.leases else (600, ENDED_TTL_S))
    assert put(world, b"next") == story.revision + 1


def test_the_stories_contain_what_they_are_about() -> None:
    """Of what the others check: writes behind the revision that changed, deleted and made keys,
    revisions in several shares, and leases that ended behind it."""
    undone = together = ended = 0
    for seed in range(25):
        story = Story(seed)
        logs = [{k[5:] for k in rows if k[:1] == b"l"} for rows in story.shares.values()]
        together += len(logs[0] & logs[1]) + len(logs[1] & logs[2])
        for rows in story.shares.values():
            for key, value in rows.items():
                if key[:1] == b"l" and keycodec.log_revision(key) > story.revision:
                    changes = keycodec.unpack_changes(value)
                    undone += any(0 < change.before <= story.revision for change in changes)
        named = {kv.lease for kv in story.kvs[story.revision] if kv.lease}
        ended += len(named - set(story.leases))
    assert undone > 50
    assert together > 50
    assert ended > 3


def test_key_that_was_deleted_behind_the_revision_lives_on() -> None:
    """What its row says of its end is undone with the deletion; one that had ended stays so."""
    world = World(PREFIXES)
    put(world, b"/a/gone")
    delete(world, b"/a/gone")
    put(world, b"/a/x")
    revision = put(world, b"/b/y")
    delete(world, b"/a/x")
    put(world, b"/a/gone")
    shares = {shard: share(world, shard) for shard in range(SHARDS)}
    head = Head(revision, -1, VERSION)
    engine = rejoined(head, shares, MAPS["other"])
    whole(engine, head, MAPS["other"])
    again = World(PREFIXES)
    again.engine = engine
    again._start()
    assert [[kv.key for kv in kvs(again, r)] for r in range(2, revision + 1)] == [
        [b"/a/gone"],
        [],
        [b"/a/x"],
        [b"/a/x", b"/b/y"],
    ]
    assert keycodec.unpack_row(engine.get(keycodec.newest(b"/a/x")) or b"").mod == revision - 1


def test_lease_that_ended_behind_the_revision_takes_its_keys_along_again() -> None:
    world = World(PREFIXES)
    world.call("Lease.LeaseGrant", rpc_pb2.LeaseGrantRequest(ID=77, TTL=600))
    world.call("KV.Put", rpc_pb2.PutRequest(key=b"/a/leased", lease=77))
    revision = put(world, b"/b/stays")
    world.call("Lease.LeaseRevoke", rpc_pb2.LeaseRevokeRequest(ID=77))
    shares = {shard: share(world, shard) for shard in range(SHARDS)}
    engine = rejoined(Head(revision, -1, VERSION), shares, MAPS["other"])
    assert unpack_lease(engine.get(keycodec.lease(77)) or b"") == LeaseRow(ENDED_TTL_S)
    again = World(PREFIXES)
    again.engine = engine
    again._start()
    assert [kv.key for kv in kvs(again)] == [b"/a/leased", b"/b/stays"]
    again.advance(ENDED_TTL_S * 1_000 + 1)
    assert [kv.key for kv in kvs(again)] == [b"/b/stays"]


@pytest.mark.parametrize("lease", [77, 78, 79])
def test_lease_whose_end_had_begun_ends(lease: int) -> None:
    """Its home, the last shard or not, had noted the end durably, and no guest had left yet."""
    world = World(PREFIXES)
    world.call("Lease.LeaseGrant", rpc_pb2.LeaseGrantRequest(ID=lease, TTL=600))
    world.call("KV.Put", rpc_pb2.PutRequest(key=b"/a/leased", lease=lease))
    revision = put(world, b"/b/stays")
    shares = {shard: share(world, shard) for shard in range(SHARDS)}
    ending = LeaseRow(600, ("shard-1",), ended=True)
    shares[lease % SHARDS][keycodec.lease(lease)] = pack_lease(ending)
    again = World(PREFIXES)
    again.engine = rejoined(Head(revision, -1, VERSION), shares, MAPS["other"])
    again._start()
    again.advance(1_000)
    assert [kv.key for kv in kvs(again)] == [b"/b/stays"]


def test_events_of_a_revision_come_in_the_order_of_the_operations() -> None:
    world = World(PREFIXES)
    request = rpc_pb2.TxnRequest()
    keys = [b"x1", b"/c/1", b"/a/1", b"/b/1", b"/a/0"]
    for key in keys:
        request.success.add().request_put.key = key
    revision = int(world.call("KV.Txn", request).header.revision)
    shares = {shard: share(world, shard) for shard in range(SHARDS)}
    again = World(PREFIXES)
    again.engine = rejoined(Head(revision, -1, VERSION), shares, layout([], SHARD))
    again._start()
    stream = again.watch_stream()
    create = rpc_pb2.WatchCreateRequest(key=b"\x00", range_end=b"\x00", start_revision=revision)
    stream.send(rpc_pb2.WatchRequest(create_request=create))
    assert [event.kv.key for told in stream.take() for event in told.events] == keys


def test_intents_and_decisions_and_fences_of_shards_are_left_behind() -> None:
    world = World(PREFIXES)
    revision = put(world, b"/a/x")
    shares = {shard: share(world, shard) for shard in range(SHARDS)}
    shares[0] |= {b"i" + bytes(16): b"intent", b"d" + bytes(16): b"decision", b"f\0\0\0\x63": b"?"}
    engine = rejoined(Head(revision, -1, VERSION), shares, MAPS["other"])
    left = {key[:1] for key, _ in engine.scan(b"\x00", b"\xff", 1_000)}
    assert left == {b"f", b"l", b"m", b"n"}
    fences = [key for key, _ in engine.scan(*keycodec.FENCES, 1_000)]
    assert fences == [keycodec.fence(t.id) for t in MAPS["other"].tablets]


def test_version_that_is_not_in_the_file_is_damage() -> None:
    world = World(PREFIXES)
    revision = put(world, b"/a/x")
    put(world, b"/a/x")
    shares = {shard: share(world, shard) for shard in range(SHARDS)}
    for rows in shares.values():
        rows.pop(keycodec.history(b"/a/x", revision), None)
    with pytest.raises(SnapshotDamaged, match="is not in it"):
        rejoined(Head(revision, -1, VERSION), shares, MAPS["other"])


# -- the command -----------------------------------------------------------------------------------


def file_of(story: Story, path: Path) -> Path:
    writer = dump.Writer(story.head)
    parts = [writer.head()]
    parts += [writer.pairs(sorted(rows.items())) for _, rows in sorted(story.shares.items())]
    path.write_bytes(b"".join([*parts, writer.end(), writer.digest()]))
    return path


@pytest.mark.parametrize("seed", range(5))
def test_commands_tell_restore_and_check_it(
    seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    story = Story(seed)
    path = file_of(story, tmp_path / "file")
    assert snapshot(["status", str(path)]) == 0
    told = capsys.readouterr().out
    keys = len(story.kvs[story.revision])
    floor = max(story.floor_then, 0)
    assert told.startswith(f"revision {story.revision}, compacted below {floor}, {keys} keys, ")
    assert f"{VERSION} of {SHARDS} shards: whole" in told
    assert snapshot(["restore", str(path), f"--data-dir={tmp_path / 'new'}"]) == 0
    assert data(["check", str(tmp_path / "new")]) == 0, capsys.readouterr()
    world = Restored(tmp_path / "new")
    try:
        assert kvs(world) == story.kvs[story.revision]
    finally:
        world.close()


def test_bump_raises_a_clusters_revision_and_floor(tmp_path: Path) -> None:
    story = Story(3)
    path = file_of(story, tmp_path / "file")
    argv = ["restore", str(path), f"--data-dir={tmp_path / 'new'}", "--bump-revision=1000"]
    assert snapshot(argv) == 0
    assert data(["check", str(tmp_path / "new")]) == 0
    world = Restored(tmp_path / "new")
    try:
        assert kvs(world) == story.kvs[story.revision]
        assert hash_kv(world).header.revision == story.revision + 1000
        assert put(world, b"next") == story.revision + 1001
    finally:
        world.close()


def test_batches_of_rows_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is larger than memory."""
    sizes: list[int] = []
    engine = MemoryEngine()
    write = engine.write

    def counting(batch: Batch, *, sync: bool) -> None:
        sizes.append(len(batch))
        write(batch, sync=sync)

    monkeypatch.setattr(engine, "write", counting)
    made = Rejoined(engine, Head(9_999, -1, VERSION), MAPS["other"])
    for number in range(5_000):
        change = keycodec.pack_change(b"k%05d" % number, False, 0, 0)
        made.add(keycodec.log(1, number + 2), change)
    made.finish()
    assert len(sizes) > 4
    assert max(sizes) <= 1_000
