"""Damage to a stopped data directory, and whether what is served from it afterwards is right.

What it is: the ways in which files go bad (a flipped bit, a lost page, a file of yesterday), drawn
by seed, and an examination of everything that the directory should hold. What it is not: a power
cut; powercut.py loses only what was never synced, and here anything may go.

Words: a directory is *refused* (it does not open, and says so), *healed* (every answer is right),
*partly read* (every answer is right or an error) or *earlier* (it is whole, of some writes ago: the
end of a log that a crash left may be gone unseen). Anything else is a wrong answer.

Invariants: the examination compares every key, every revision, lists, counts, the watch of all
history and the leases with the model; a missing row and a row too many are wrong alike.

Worked example: `apply(Damage.FLIP, path, None, random)` flips a bit of one file; then
`examine(folder, model, {})` says Verdict.REFUSED, for instance.

Used by tests/e2e/test_damage.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

from kubebraid.coordinator.state import StateUnreadable
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.shard.fencing import FenceDamaged
from kubebraid.shard.storage.datadir import DataDir, DataDirError, Extent
from kubebraid.shard.storage.engine import Engine, EngineError
from kubebraid.shard.witness import epoch, witness
from tests.faults.judge import bare
from tests.robustness.model import Model
from tests.robustness.validate import Broken, judge
from tests.world import RpcError, World

PAGE: Final = 4_096
ALL: Final = b"\0"
CLEAR: Final = (DataDirError, EngineError, StateUnreadable, FenceDamaged)
PAST_READS: Final = 12


class Damage(Enum):
    """What happened to a file."""

    FLIP = "one bit is another"
    PAGE = "a page is zero"
    BLOCKS = "two pages have changed places"
    CUT = "the end is missing"
    EMPTY = "it is empty"
    GONE = "it is not there"
    OTHER = "it is another file of its kind"
    OLD = "it is as it was some time ago"
    LONGER = "something stands behind its end"


class Verdict(Enum):
    """What became of it."""

    REFUSED = "refused"
    HEALED = "healed"
    PARTLY = "partly read"
    EARLIER = "earlier"
    WRONG = "wrong"


class Finding(NamedTuple):
    """A verdict and the words that led to it."""

    verdict: Verdict
    text: str


def apply(damage: Damage, path: Path, old: Path | None, random: Random) -> bool:
    """Damage one file; `old` is a directory of earlier files. False: this cannot happen to it."""
    raw = bytearray(path.read_bytes())
    if damage is Damage.GONE:
        path.unlink()
        return True
    if damage in {Damage.OTHER, Damage.OLD}:
        return _replace(damage, path, old, random)
    if damage is Damage.LONGER:
        path.write_bytes(bytes(raw) + random.randbytes(random.choice((1, 100, PAGE))))
        return True
    if not raw:
        return False
    if damage is Damage.FLIP:
        raw[random.randrange(len(raw))] ^= 1 << random.randrange(8)
    elif damage is Damage.PAGE:
        start = random.randrange(len(raw)) // PAGE * PAGE
        raw[start : start + PAGE] = bytes(len(raw[start : start + PAGE]))
    elif damage is Damage.BLOCKS:
        _exchange(raw, random)
    elif damage is Damage.CUT:
        del raw[random.randrange(len(raw)) :]
    else:
        assert damage is Damage.EMPTY, damage
        raw.clear()
    changed = bytes(raw) != path.read_bytes()
    path.write_bytes(bytes(raw))
    return changed


def _exchange(raw: bytearray, random: Random) -> None:
    pages = len(raw) // PAGE
    if pages >= 2:
        one, two = (number * PAGE for number in random.sample(range(pages), 2))
        raw[one : one + PAGE], raw[two : two + PAGE] = (
            raw[two : two + PAGE],
            raw[one : one + PAGE],
        )


def _replace(damage: Damage, path: Path, old: Path | None, random: Random) -> bool:
    if damage is Damage.OLD:
        before = None if old is None else old / path.name
        if before is None or not before.exists() or before.read_bytes() == path.read_bytes():
            return False
        path.write_bytes(before.read_bytes())
        return True
    others = [each for each in path.parent.glob(f"*{path.suffix}") if each != path]
    others = [each for each in others if each.suffix and each.is_file()]
    if not others:
        return False
    other = random.choice(sorted(others))
    mine, its = path.read_bytes(), other.read_bytes()
    path.write_bytes(its)
    other.write_bytes(mine)
    return mine != its


class DiskWorld(World):
    """A node on an open data directory; begins and stops as `kubebraid serve` does."""

    def __init__(self, directory: DataDir, engine: Engine) -> None:
        super().__init__()
        self._opened = directory
        directory.begin(Extent(witness(engine), epoch(engine)))
        self.engine = engine
        self._start()
        directory.started(epoch(engine))

    def stop(self) -> None:
        """In order."""
        held = Extent(witness(self.engine), epoch(self.engine))
        self.engine.close()
        self._opened.stopped(held)


Earlier = Mapping[int, Model]
"""What the store was at some earlier revisions."""


def examine(folder: Path, model: Model, earlier: Earlier) -> Finding:
    """Open the directory as `serve` does, and ask for everything. Never raises for damage."""
    try:
        directory = DataDir.open(folder)
    except CLEAR as error:
        return Finding(Verdict.REFUSED, str(error))
    try:
        engine = directory.open_engine()
        try:
            return _examine_world(DiskWorld(directory, engine), model, earlier)
        finally:
            _close(engine)
    except CLEAR as error:
        return Finding(Verdict.REFUSED, str(error))
    finally:
        directory.close()


def _close(engine: Engine) -> None:
    with contextlib.suppress(EngineError):  # it tells again what it met
        engine.close()


def _examine_world(world: World, model: Model, earlier: Earlier) -> Finding:
    found = world.call("Maintenance.Status", rpc_pb2.StatusRequest()).header.revision
    if found not in earlier:
        return _ask_everything(world, model)
    finding = _ask_everything(world, earlier[found])
    if finding.verdict is not Verdict.HEALED:
        return finding
    return Finding(Verdict.EARLIER, f"it is at {found}, it was at {model.revision}")


def _ask_everything(world: World, model: Model) -> Finding:
    refused = ""
    for request in questions(model):
        leases = isinstance(request, rpc_pb2.LeaseLeasesRequest)
        try:
            answer = bare(world.call("Lease.LeaseLeases" if leases else "KV.Range", request))
        except RpcError as error:
            refused = str(error)
            continue
        right = model.apply(request)
        if answer != right:
            return Finding(Verdict.WRONG, f"{request}: {short(answer)}, right is {short(right)}")
    return _examine_watch(world, model, refused)


def _examine_watch(world: World, model: Model, refused: str) -> Finding:
    request = rpc_pb2.WatchCreateRequest(
        key=ALL, range_end=ALL, start_revision=max(1, model.compacted), prev_kv=True
    )
    stream = world.watch_stream()
    stream.send(rpc_pb2.WatchRequest(create_request=request))
    responses = stream.take()
    if stream.ended is not None or any(response.canceled for response in responses):
        refused = refused or f"the watch ended: {stream.ended}"
    else:
        try:
            judge(request, responses, model, complete_to=None if refused else model.revision)
        except Broken as error:
            return Finding(Verdict.WRONG, str(error))
    return Finding(Verdict.PARTLY if refused else Verdict.HEALED, refused)


Question = rpc_pb2.RangeRequest | rpc_pb2.LeaseLeasesRequest


def questions(model: Model) -> Iterator[Question]:
    """Everything that there is to know."""
    oldest = max(model.compacted, 1)
    step = max(1, (model.revision - oldest) // PAST_READS)
    keys = sorted({event.kv.key for events in model.events.values() for event in events})
    yield rpc_pb2.LeaseLeasesRequest()
    for revision in (0, *range(oldest, model.revision + 1, step)):
        yield rpc_pb2.RangeRequest(key=ALL, range_end=ALL, revision=revision)
        yield rpc_pb2.RangeRequest(key=ALL, range_end=ALL, revision=revision, count_only=True)
        yield rpc_pb2.RangeRequest(key=ALL, range_end=ALL, revision=revision, limit=7)
    for key in keys:
        yield rpc_pb2.RangeRequest(key=key)
    for revision in range(oldest, model.revision + 1):
        for event in model.events.get(revision, ()):
            yield rpc_pb2.RangeRequest(key=event.kv.key, revision=revision)


def short(answer: Any) -> str:
    """What differs is mostly visible in this."""
    if isinstance(answer, rpc_pb2.RangeResponse):
        found = [(kv.key, kv.mod_revision) for kv in answer.kvs]
        return f"revision {answer.header.revision}, count {answer.count}, {found[:5]}"
    return str(answer)[:200]
