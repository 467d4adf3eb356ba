"""The client of TiKV that is our own: `kubebraid_tikv`, built from native/tikv.

What it is: its calls as `tikv_seam.Client` has them, and the kind of each of its exceptions. What
it is not: the calls themselves, which are in Rust.

A batch is one call, whatever number of rows it has; where tikv-client needs one for each row, that
was the largest part of a batch's CPU (docs/decisions/0018).

Invariants:
- a write that has no answer in its time is uncertain: whether its commit began is known over there
  alone, and told by an exception. Who cancels a write knows nothing of it either;
- no text of an error is looked at.

Worked example: `kubebraid_tikv.Conflict` of a write is an EngineConflict.

Tested in tests/unit/shard/test_tikv_native.py and, with a store, in tests/contract/.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Final, Protocol, TypeVar

from .engine import EngineError
from .tikv_errors import (
    ClientError,
    EngineConflict,
    EngineFenced,
    EngineHeld,
    EngineTooLong,
    EngineUnavailable,
    EngineUncertain,
    of_call,
)
from .tikv_guards import Guarded
from .tikv_seam import Rows, Tls, View, Writer

try:
    import kubebraid_tikv as binding
except ImportError:
    binding = None

T = TypeVar("T")
UNDO_S: Final = 3.0  # one more than it takes for what has to be rolled back


class _Inner(Protocol):
    """`kubebraid_tikv.Client`."""

    def current_timestamp(self) -> Awaitable[int]: ...
    def get(self, at: int, key: bytes) -> Awaitable[bytes | None]: ...
    def batch_get(self, at: int, keys: list[bytes]) -> Awaitable[list[tuple[bytes, bytes]]]: ...
    def scan(
        self, at: int, start: bytes, end: bytes, limit: int
    ) -> Awaitable[list[tuple[bytes, bytes]]]: ...
    def scan_keys(
        self, at: int, start: bytes, end: bytes, limit: int
    ) -> Awaitable[list[bytes]]: ...
    def gc(self, safe_point: int) -> Awaitable[bool]: ...
    def write(
        self,
        writer: Writer,
        guarded: dict[bytes, tuple[bytes | None, ...]],
        rows: dict[bytes, bytes | None],
        seconds: float,
    ) -> Awaitable[int]: ...


class NativeClient:
    """A connection; tikv_seam.Client."""

    name = "native"
    speaks_tls = True

    def __init__(self, inner: _Inner) -> None:
        self._inner = inner

    @staticmethod
    def version() -> str | None:
        """Of what was built for this interpreter."""
        return None if binding is None else f"kubebraid-tikv {binding.__version__}"

    @classmethod
    async def connect(
        cls, addresses: Sequence[str], seconds: float, tls: Tls | None
    ) -> NativeClient:
        """To the cluster whose PD listens at these HOST:PORTs."""
        files = {} if tls is None else tls._asdict()
        return cls(await _answer(binding.connect(list(addresses), seconds, **files)))

    async def current_timestamp(self) -> int:
        return await _answer(self._inner.current_timestamp())

    def snapshot(self, timestamp: int, pessimistic: bool) -> View:
        assert not pessimistic, "nothing here locks what it reads"
        return _NativeView(self._inner, timestamp)

    async def gc(self, safepoint: int) -> bool:
        return await _answer(self._inner.gc(safepoint))

    async def write(self, writer: Writer, guarded: Guarded, rows: Rows, seconds: float) -> int:
        try:
            async with asyncio.timeout(seconds + UNDO_S):
                return await self._inner.write(writer, dict(guarded), dict(rows), seconds)
        except TimeoutError as late:
            raise EngineUncertain("a write: no end in time") from late
        except binding.Refused as error:
            if error.args[0] == writer.row:
                raise EngineFenced("another process took the store over") from error
            raise EngineFenced("another shard took a tablet of the store over") from error
        except binding.TikvError as error:
            raise of_call("a write", ClientError(_kind(error), str(error))) from error


class _NativeView:
    """Reads at a timestamp; tikv_seam.View."""

    def __init__(self, inner: _Inner, at: int) -> None:
        self._inner = inner
        self._at = at

    async def get(self, key: bytes) -> bytes | None:
        return await _answer(self._inner.get(self._at, key))

    async def batch_get(self, keys: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
        return await _answer(self._inner.batch_get(self._at, list(keys)))

    async def scan(
        self, start: bytes, end: bytes, limit: int, include_start: bool, include_end: bool
    ) -> list[tuple[bytes, bytes]]:
        assert (include_start, include_end) == (True, False), "ranges are [start, end)"
        return await _answer(self._inner.scan(self._at, start, end, limit))

    async def scan_keys(
        self, start: bytes, end: bytes, limit: int, include_start: bool, include_end: bool
    ) -> list[bytes]:
        assert (include_start, include_end) == (True, False), "ranges are [start, end)"
        return await _answer(self._inner.scan_keys(self._at, start, end, limit))


async def _answer(call: Awaitable[T]) -> T:
    """Of a call that writes nothing."""
    try:
        return await call
    except binding.TikvError as error:
        raise ClientError(_kind(error), str(error)) from error


def _kind(error: Exception) -> type[EngineError]:
    """The engine's error for one of the binding's."""
    kinds: dict[type[Exception], type[EngineError]] = {
        binding.Conflict: EngineConflict,
        binding.Locked: EngineHeld,
        binding.TooLong: EngineTooLong,
        binding.Unavailable: EngineUnavailable,
    }
    return kinds.get(type(error), EngineUncertain)
