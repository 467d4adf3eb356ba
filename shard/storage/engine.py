"""The engine seam: an ordered map from bytes to bytes with atomic, durable batches.

What it is: the whole of what a shard asks of its storage. What it is not: it knows nothing of
revisions, tablets or user keys; `keycodec` owns the meaning of the bytes.

Words: a *batch* is applied as a whole or not at all, in the order of its operations (a later
operation on a key wins over an earlier one of the same batch). *Synced* means that the batch
survives SIGKILL and power loss once `write` has returned.

Invariants (the contract suite checks each on every engine):
- keys are ordered bytewise; scans return strictly ascending (reverse: descending) keys;
- `end` is exclusive; a scan never returns a key outside [start, end);
- a snapshot sees exactly what was written before it was taken, until it is closed;
- `write` either returns (the batch is there, whole) or raises `EngineError`;
- after `close` every call raises `EngineClosed`.

Worked example: after `write(Batch().put(b"a", b"1").put(b"b", b"2").delete(b"a"))`,
`scan(b"", b"z", 10)` is `[(b"b", b"2")]`.

Tested in tests/contract/test_engine.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

PUT: Final = 0
DELETE: Final = 1
DELETE_RANGE: Final = 2

Operation = tuple[int, bytes, bytes]
"""(kind, key, value); for DELETE the value is empty, for DELETE_RANGE it is the exclusive end."""


class EngineError(Exception):
    """The engine failed. After a failed synced write its outcome is unknown until reopened."""

    definite = False
    hint = "reopen the store, or restart the process: the fence rows tell the outcome"


class EngineClosed(EngineError):
    """A call on an engine or a snapshot that was closed before."""

    definite = True
    hint = "this is a bug in the caller"


class EngineFull(EngineError):
    """The device has no space left; nothing that was acknowledged is lost."""

    hint = "free space on the data directory's device"


class EngineCorrupt(EngineError):
    """Stored bytes are damaged; the engine refuses to serve them."""

    definite = True
    hint = "restore the data directory from a backup"


class EngineLocked(EngineError):
    """Another process has this store open."""

    definite = True
    hint = "stop the other process, or use another data directory"


class Batch:
    """An ordered list of operations that is applied atomically."""

    __slots__ = ("operations",)

    def __init__(self) -> None:
        self.operations: list[Operation] = []

    def put(self, key: bytes, value: bytes) -> Batch:
        self.operations.append((PUT, key, value))
        return self

    def delete(self, key: bytes) -> Batch:
        self.operations.append((DELETE, key, b""))
        return self

    def delete_range(self, start: bytes, end: bytes) -> Batch:
        """Delete every key in [start, end)."""
        assert start <= end, (start, end)
        self.operations.append((DELETE_RANGE, start, end))
        return self

    def __len__(self) -> int:
        return len(self.operations)


class Reader(Protocol):
    """Reads, on the present state (an engine) or on a fixed one (a snapshot)."""

    def get(self, key: bytes) -> bytes | None:
        """The value of `key`, or None."""

    def scan(
        self, start: bytes, end: bytes, limit: int, *, reverse: bool = False
    ) -> list[tuple[bytes, bytes]]:
        """At most `limit` (>= 1) pairs with start <= key < end, ascending; descending if
        `reverse` (then the pairs nearest to `end` come first)."""

    def keys(self, start: bytes, end: bytes, limit: int) -> list[bytes]:
        """At most `limit` (>= 1) keys of [start, end), ascending; values are not read."""

    def count(self, start: bytes, end: bytes, limit: int) -> int:
        """How many keys lie in [start, end), at most `limit`; values are not read."""


class Snapshot(Reader, Protocol):
    """A fixed state. Holds resources of the engine until closed."""

    def close(self) -> None: ...


class Engine(Reader, Protocol):
    """The present state, and the only way to change it. One writer thread at a time."""

    @property
    def batches_reads(self) -> bool:
        """Whether `expect` does anything: whether keys read at once cost less than one by one."""

    @property
    def shares_rows(self) -> bool:
        """Whether other shards' engines read and write the same rows of keys, so that a tablet is
        taken without a copy."""

    def expect(self, keys: Sequence[bytes]) -> None:
        """These keys are about to be read by `get`, before the next write: an engine on another
        machine reads them at once. A hint: whatever comes of it, `get` answers as without it. So
        it is `get` that tells what is wrong: this raises nothing, not even EngineClosed."""

    def write(self, batch: Batch, *, sync: bool) -> None:
        """Apply the batch atomically; with `sync` it is durable on return.

        Raises EngineFull, EngineCorrupt, EngineClosed, or EngineError (outcome unknown).
        An empty batch is refused by an assertion.
        """

    def refuses(self, make: Callable[[], Batch]) -> bool:
        """Whether `write` would refuse this batch for its size, however often it is tried. An
        engine without such a limit does not make it. Raises EngineError."""

    def snapshot(self, start: bytes = b"", end: bytes = b"") -> Snapshot:
        """The present state, fixed. [start, end), if not empty, is what will be scanned from its
        start to its end, each scan going on where the last one ended: such scans cost less."""

    def reopen(self) -> None:
        """Close and open again, after a failed write: then what is read is what is durable, and
        the failed batch is there whole or not at all. Closes every snapshot. Raises EngineError
        if the store cannot be opened; then it stays closed, and may be reopened again."""

    def tidy(self) -> None:
        """Called a few times a second: keep removed rows out of the way of scans."""

    def disk_bytes(self) -> int:
        """An estimate of the bytes held on disk (memory: the bytes of keys and values)."""

    def defragment(self) -> None:
        """Give the space of removed rows back to the device. Blocks; may run in another thread
        while the engine is used."""

    def close(self) -> None:
        """Release everything; what was written synced is durable. Idempotent."""
