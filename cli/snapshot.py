"""`kubebraid ctl snapshot restore | status`: what `etcdctl snapshot save` took, read back.

What it is: the offline side of snapshots: a new data directory from a file. What it is not: taking
one (any etcd client does, over the Snapshot RPC), or making one store of a cluster's (`rejoin.py`).

A file of one process holds its store as it was, with the coordinator's cell. One of a cluster has
every shard's cell instead, and rows that are newer than its revision, which are not restored.

Invariants: the target directory is new or empty, else nothing is touched; a damaged file leaves no
data directory behind; the restored store has a new identity (its uuid) and the file's revision.

`--bump-revision N`: clients that saw revisions after the snapshot was taken would wait for ever at
a store that went back in time. The bump raises the next revision by N and marks everything before
it as compacted, so that they list again (etcdutl has the same option).

Tested in tests/unit/cli/test_snapshot.py.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from kubebraid.base import dump
from kubebraid.base.dump import Head, SnapshotDamaged
from kubebraid.coordinator import state
from kubebraid.coordinator.transition import RaiseFloor, apply
from kubebraid.shard import fencing, keycodec
from kubebraid.shard.mark import SHARD_CELL
from kubebraid.shard.storage.datadir import DataDir, DataDirError
from kubebraid.shard.storage.engine import Batch, Engine, EngineError

from .layouts import read_layout
from .node import SHARD
from .rejoin import Rejoined

EXIT_DONE: Final = 0
EXIT_REFUSED: Final = 1
EXIT_USAGE: Final = 2
BATCH_PAIRS: Final = 1_000
BUMP_MAX: Final = 1 << 60


def snapshot(argv: Sequence[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="kubebraid ctl snapshot", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    restore = commands.add_parser(
        "restore", help="make a data directory from a snapshot", allow_abbrev=False
    )
    restore.add_argument("file", type=Path)
    restore.add_argument("--data-dir", type=Path, required=True)
    restore.add_argument("--bump-revision", type=int, default=0, metavar="N")
    status = commands.add_parser(
        "status", help="check a snapshot and say what it holds", allow_abbrev=False
    )
    status.add_argument("file", type=Path)
    flags = parser.parse_args(argv)
    try:
        if flags.command == "status":
            return _status(flags.file)
        if not 0 <= flags.bump_revision < BUMP_MAX:
            return _refuse("--bump-revision must not be negative or above 2**60", EXIT_USAGE)
        return _restore(flags.file, flags.data_dir, flags.bump_revision)
    except SnapshotDamaged as error:
        return _refuse(f"{flags.file}: {error}; {error.hint}")
    except OSError as error:
        return _refuse(f"{error.filename}: {error.strerror}; nothing was changed")
    except (DataDirError, EngineError) as error:
        return _refuse(f"{error}; {error.hint}")


def _refuse(sentence: str, code: int = EXIT_REFUSED) -> int:
    print(f"kubebraid ctl snapshot: {sentence}", file=sys.stderr)
    return code


@dataclass(slots=True)
class _Survey:
    """What a whole file holds. `shards`: of a cluster; 0: the store of one process."""

    head: Head
    rows: int = 0
    keys: int = 0
    shards: int = 0

    def count(self, key: bytes, value: bytes) -> None:
        revision = self.head.revision
        self.rows += 1
        match key[:1]:
            case b"n":
                self.keys += keycodec.row_revision(value) <= revision
            case b"l" if keycodec.log_revision(key) > revision:
                changes = keycodec.unpack_changes(value)
                self.keys += len({c.key for c in changes if 0 < c.before <= revision})
            case b"m":
                self.shards += key == keycodec.cell(SHARD_CELL)
            case _:
                pass


def _survey(path: Path) -> _Survey:
    """Raises SnapshotDamaged unless the file is whole."""
    with path.open("rb") as file:
        head, source = dump.read_head(file)
        survey = _Survey(head)
        for key, value in dump.read_pairs(source, file):
            survey.count(key, value)
    return survey


def _status(path: Path) -> int:
    survey = _survey(path)
    head = survey.head
    shards = f" of {survey.shards} shards" if survey.shards else ""
    print(
        f"revision {head.revision}, compacted below {max(head.compact_revision, 0)}, "
        f"{survey.keys} keys, {survey.rows} rows, {path.stat().st_size} bytes, "
        f"taken by version {head.version}{shards}: whole"
    )
    return EXIT_DONE


def _restore(path: Path, target: Path, bump: int) -> int:
    """Built beside its place and renamed into it: only a whole store appears, and whatever came
    to stand there meanwhile is not touched."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        return _refuse(f"{target} is not an empty directory; nothing was changed, name a new one")
    survey = _survey(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{target.name}.restoring-", dir=target.parent))
    try:
        with path.open("rb") as file:
            _fill(building, file, bump, survey.shards)
        os.rename(building, target)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    revision = survey.head.revision + bump
    print(f"{target} holds the store of revision {revision}; serve it with --data-dir")
    return EXIT_DONE


def _fill(target: Path, file: BinaryIO, bump: int, shards: int) -> None:
    directory = DataDir.open(target)
    try:
        engine = directory.open_engine()
        try:
            head, source = dump.read_head(file)
            fill = _rejoin if shards else _write
            batch = fill(engine, head, dump.read_pairs(source, file), bump)
            # Synced even if the rows fit the earlier batches: what came before is durable with it.
            batch.put(keycodec.cell("restored"), str(head.revision).encode())
            engine.write(batch, sync=True)
        finally:
            engine.close()
    finally:
        directory.close()


def _write(engine: Engine, head: Head, pairs: Iterator[tuple[bytes, bytes]], bump: int) -> Batch:
    """The rows as they are; the last batch is left to the caller."""
    batch = Batch()
    for key, value in pairs:
        batch.put(key, _bumped(key, value, head.revision, bump) if bump else value)
        if len(batch) >= BATCH_PAIRS:
            engine.write(batch, sync=False)
            batch = Batch()
    return batch


def _rejoin(engine: Engine, head: Head, pairs: Iterator[tuple[bytes, bytes]], bump: int) -> Batch:
    """One store of many shards'."""
    rejoined = Rejoined(engine, head, read_layout("kubernetes", SHARD))
    for key, value in pairs:
        rejoined.add(key, value)
    batch = Batch()
    for _, key, value in rejoined.finish().operations:
        batch.put(key, _bumped(key, value, head.revision, bump) if bump else value)
    return batch


def _bumped(key: bytes, value: bytes, revision: int, bump: int) -> bytes:
    """The two kinds of row that say how far the store has come."""
    if key[:1] == b"f":
        return fencing.unpack(value)._replace(last=revision + bump).pack()
    if key == keycodec.cell("coordinator"):
        return state.encode(apply(state.decode(value), RaiseFloor(revision + bump)))
    return value
