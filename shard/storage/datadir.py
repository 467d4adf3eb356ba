"""The data directory of `kubebraid serve`: whose it is, who has it open, what state it is in.

What it is: the one place that decides whether a directory may be written to. What it is not: the
store itself, which is `rocksdb.py` in a subfolder.

Words: the *marker* is the file KUBEBRAID: format version, uuid and state, with a checksum. It is
replaced whole (temporary file, fsync, rename, fsync of the directory), so it is never half-written
by us. A *foreign* directory holds anything else and no marker.

    path/KUBEBRAID    {"format": 2, "state": "ready", "uuid": "...", "checksum": "..."}
                      and, once it was served: "epoch", and "stopped" after a stop in order
    path/LOCK         empty; locked while a process has the directory open
    path/rocksdb/     the store; `rocksdb.new` while it is made for the first time

Invariants:
- everything is checked by reading alone before the first byte is written, hence a foreign or
  damaged directory stays byte-identical;
- marker "ready" implies a store, and it is never created again: a missing one is damage;
- marker "new" implies that no write was ever acknowledged, so that a crash at any point of the
  creation is repaired by going on; `rocksdb` itself is never removed, only `rocksdb.new`;
- the checksum is computed alike in every format: a damaged marker is not mistaken for a newer one;
- a store of an older format is marked as one of ours before it is written.

Worked example: killed after the marker was written, the directory holds KUBEBRAID ("new") and
LOCK. The next `open` locks it, `open_engine` makes `rocksdb.new`, renames it to `rocksdb`, and
writes "ready".

Tested in tests/contract/test_datadir.py.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .engine import EngineCorrupt
from .rocksdb import RocksEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FORMAT: Final = 2
READABLE: Final = (1, FORMAT)  # 1: before versions that tell their own end (keycodec.py)
MARKER: Final = "KUBEBRAID"
MARKER_BYTES_MAX: Final = 4_096  # ours has about 200: whatever is larger was not written by us
LOCK: Final = "LOCK"
STORE: Final = "rocksdb"
_MARKER_NEW: Final = MARKER + ".new"
_STORE_NEW: Final = STORE + ".new"
# What a crash before the first marker leaves, and what mkfs puts on an empty device.
_HARMLESS: Final = frozenset({LOCK, _MARKER_NEW, "lost+found"})


class DataDirError(Exception):
    """The data directory cannot be used; nothing that it held was changed."""

    definite = True
    hint = "choose another data directory"


class DataDirInUse(DataDirError):
    """Another server has the directory open."""

    hint = "stop the other server, or give this one a directory of its own"


class DataDirForeign(DataDirError):
    """The directory holds something else."""

    hint = "give the path of an empty directory, or of one that kubebraid created"


class DataDirDamaged(DataDirError):
    """The directory was ours, and what it holds is not whole."""

    hint = "restore the directory from a backup; do not delete it before"


class DataDirVersion(DataDirError):
    """Another version of kubebraid wrote the directory."""

    hint = "run the version of kubebraid that wrote it, or a newer one"


class DataDirUnwritable(DataDirError):
    """The operating system refuses us the directory."""

    hint = "check owner, permissions and free space of the path"


@dataclass(frozen=True)
class Extent:
    """How far a store was written: its witness, "" while it is served or after a crash, and the
    owner epoch of the last start, which every later state of it has reached."""

    witness: str = ""
    epoch: int = 0

    def lost_by(self, now: Extent) -> bool:
        """Whether a store that once was `self` and is now `now` lost something: a log without its
        end looks like one that a crash cut, only this tells them apart."""
        return now.epoch < self.epoch or self.witness not in ("", now.witness)


@dataclass(frozen=True)
class _Marker:
    uuid: str
    ready: bool
    extent: Extent = Extent()
    form: int = FORMAT  # of the store as it was found

    def encode(self) -> bytes:
        state = "ready" if self.ready else "new"
        fields: dict[str, object] = {"format": self.form, "state": state, "uuid": self.uuid}
        if self.extent.epoch:
            fields["epoch"] = self.extent.epoch
        if self.extent.witness:
            fields["stopped"] = self.extent.witness
        return json.dumps({**fields, "checksum": _checksum(fields)}, indent=1).encode() + b"\n"


def _checksum(fields: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def _decode(path: Path, raw: bytes) -> _Marker:
    marker = path / MARKER
    try:
        fields = json.loads(raw)
        checksum = fields.pop("checksum")
        whole = checksum == _checksum(fields)
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
        whole, fields = False, {}
    if not whole:
        raise DataDirDamaged(f"{marker} is damaged (its checksum is wrong); nothing was changed")
    form = fields.get("format")
    if form not in READABLE:
        known = ", ".join(map(str, READABLE))
        raise DataDirVersion(
            f"{path} has format {form!r} and this kubebraid knows {known} only; nothing was changed"
        )
    extent = Extent(str(fields.get("stopped", "")), int(fields.get("epoch", 0)))
    return _Marker(str(fields["uuid"]), fields["state"] == "ready", extent, form)


def _inspect(path: Path) -> _Marker | None:
    """The marker of a directory that may be opened, None if it is a fresh one. Reads only."""
    names = set(os.listdir(path)) if path.exists() else set()
    if MARKER not in names:
        foreign = sorted(names - _HARMLESS)
        if foreign:
            raise DataDirForeign(
                f"{path} has no {MARKER} file and is not empty (it holds {foreign[0]!r}): "
                "it is not a data directory of kubebraid; nothing was changed"
            )
        return None
    with open(path / MARKER, "rb") as file:
        marker = _decode(path, file.read(MARKER_BYTES_MAX))
    store = path / STORE
    if marker.ready and not (store.is_dir() and any(store.iterdir())):
        raise DataDirDamaged(
            f"{store} is missing or empty although it was in use before; nothing was changed"
        )
    return marker


def _fsync_dir(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make(path: Path, mode: int = 0o777) -> None:
    """The directory and what is missing above it. Each name is an entry of the directory above,
    and only a sync of that one keeps it through a power cut."""
    if not path.is_dir():
        _make(path.parent)
        path.mkdir(mode=mode, exist_ok=True)
        _fsync_dir(path.parent)


def _write_marker(path: Path, marker: _Marker) -> None:
    temporary = path / _MARKER_NEW
    with open(temporary, "wb") as file:
        file.write(marker.encode())
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path / MARKER)
    _fsync_dir(path)


def _lock(path: Path) -> int:
    """A locked descriptor. flock, and not lockf: it also holds against our own process."""
    descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise DataDirInUse(f"{path} is in use by another server; nothing was changed") from None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def _refusals(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataDirUnwritable(
            f"{error.filename or path} cannot be used as a data directory or in one ({reason}); "
            "no data was changed"
        ) from error


@contextmanager
def inspect(path: Path) -> Iterator[tuple[RocksEngine, Extent]]:
    """A stopped store for reading, and how far it was written at the least.

    Raises DataDirError: it is missing, foreign, damaged, in use, or was never written.
    """
    with _refusals(path):
        marker = _inspect(path)
        if marker is None or not marker.ready:
            raise DataDirForeign(f"{path} holds no store yet; nothing was changed")
        lock = _lock(path)
    try:
        engine = _open(path / STORE, read_only=True)
        try:
            yield engine, marker.extent
        finally:
            engine.close()
    finally:
        os.close(lock)


def _open(store: Path, *, read_only: bool) -> RocksEngine:
    try:
        return RocksEngine.open(store, create=False, read_only=read_only)
    except EngineCorrupt as error:
        raise DataDirDamaged(f"{store} is damaged ({error}); no stored data was changed") from error


class DataDir:
    """An open, locked data directory. The engine is closed before it, by whoever opened it."""

    def __init__(self, path: Path, lock: int, marker: _Marker) -> None:
        self.path = path
        self._lock: int | None = lock
        self._marker = marker

    @classmethod
    def open(cls, path: Path, *, new_uuid: Callable[[], uuid.UUID] = uuid.uuid4) -> DataDir:
        """Lock the directory; create it if it is missing, or mark it as ours if it is empty."""
        with _refusals(path):
            _inspect(path)
            _make(path, 0o700)
            lock = _lock(path)
            try:
                # Again: before we had the lock, another server may have been creating it.
                marker = _inspect(path)
                if marker is None:
                    marker = _Marker(uuid=str(new_uuid()), ready=False)
                    _write_marker(path, marker)
            except BaseException:
                os.close(lock)
                raise
        return cls(path, lock, marker)

    @property
    def uuid(self) -> str:
        """Chosen when the directory was created; a copy has the same."""
        return self._marker.uuid

    @property
    def engine_path(self) -> Path:
        return self.path / STORE

    def open_engine(self) -> RocksEngine:
        """Open the store, after having created it if the directory is new."""
        assert self._lock is not None, "the data directory was closed before this call"
        if not self._marker.ready:
            with _refusals(self.path):
                self._create_store()
        return _open(self.engine_path, read_only=False)

    def _create_store(self) -> None:
        """Make the store beside its place: `rocksdb` is there whole, or not at all."""
        if not self.engine_path.exists():
            fresh = self.path / _STORE_NEW
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(mode=0o700)
            RocksEngine.open(fresh, create=True).close()
            os.rename(fresh, self.engine_path)
            _fsync_dir(self.path)
        self._mark(_Marker(uuid=self._marker.uuid, ready=True))

    def _mark(self, marker: _Marker) -> None:
        _write_marker(self.path, marker)
        self._marker = marker

    def begin(self, now: Extent) -> None:
        """The store is about to be written. Raises DataDirDamaged if it holds less than it did."""
        if self._marker.extent.lost_by(now):
            raise DataDirDamaged(
                f"{self.engine_path} holds less than when it was last served; nothing was changed"
            )
        self._reach(Extent(epoch=self._marker.extent.epoch))

    def started(self, epoch: int) -> None:
        """The fences carry this owner epoch, durably."""
        self._reach(Extent(epoch=epoch))

    def stopped(self, now: Extent) -> None:
        """The store was closed in order."""
        self._reach(now)

    def _reach(self, extent: Extent) -> None:
        marker = _Marker(uuid=self._marker.uuid, ready=True, extent=extent)
        if marker != self._marker:
            with _refusals(self.path):
                self._mark(marker)

    def close(self) -> None:
        """Release the lock. Idempotent."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
