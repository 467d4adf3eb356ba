"""What the engine on TiKV asks of a client of TiKV, whichever it is.

What it is: protocols, and the data that they take. What it is not: a client. There are two:
tikv_native.py (our binding to the client in Rust) and tikv_steps.py (tikv-client 0.0.4);
`tikv_link` chooses.

Words: what a transaction finds in a row is *allowed* if `May` holds it.

Invariants:
- errors of `write` are the engine's own, and say whether anything was written (tikv_errors.py);
  those of reads are whatever `tikv_errors.of_call` takes;
- each call is awaited on the loop of the Link.

Worked example: `await client.write(Writer(row, token, ANYTHING), {}, {b"a": b"1"}, 5.0)`.

Tested in tests/contract/test_engine.py, with each client in turn; `May` in
tests/unit/shard/test_tikv_commit.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from .tikv_guards import Guarded, Value

Rows = Mapping[bytes, bytes | None]
"""Stored key -> stored value, None: removed."""


class May(NamedTuple):
    """What a row may hold: one of the values (None: there is no such row), or what begins so."""

    values: tuple[Value, ...]
    begins: tuple[bytes, ...] = ()

    def hold(self, found: Value) -> bool:
        return found in self.values or (found is not None and found.startswith(self.begins))


ANYTHING: Final = May((None,), (b"",))
SOMETHING: Final = May((), (b"",))
NOTHING_ELSE: Final = May(())


class Writer(NamedTuple):
    """A writer row, the token to write, and what the row may hold before."""

    row: bytes
    token: bytes
    may: May


class Tls(NamedTuple):
    """Paths of PEM files: who signs what TiKV and PD show, what we show, and its private key."""

    ca: str
    cert: str
    key: str


class View(Protocol):
    """The state at a timestamp. It may serialise its calls."""

    async def get(self, key: bytes) -> bytes | None: ...
    async def batch_get(self, keys: Sequence[bytes]) -> list[tuple[bytes, bytes]]: ...
    async def scan(
        self, start: bytes, end: bytes, limit: int, include_start: bool, include_end: bool
    ) -> list[tuple[bytes, bytes]]: ...
    async def scan_keys(
        self, start: bytes, end: bytes, limit: int, include_start: bool, include_end: bool
    ) -> list[bytes]: ...


class Client(Protocol):
    """A connection."""

    async def current_timestamp(self) -> int: ...
    def snapshot(self, timestamp: int, pessimistic: bool) -> View: ...
    async def gc(self, safepoint: int) -> bool: ...
    async def write(self, writer: Writer, guarded: Guarded, rows: Rows, seconds: float) -> int:
        """See `tikv_commit.commit`."""


class Kind(Protocol):
    """A class of clients."""

    name: str
    """As KUBEBRAID_TIKV_CLIENT has it."""

    speaks_tls: bool

    def version(self) -> str | None:
        """Of what is installed; None: nothing is."""

    async def connect(self, addresses: Sequence[str], seconds: float, tls: Tls | None) -> Client:
        """To the cluster whose PD listens at these HOST:PORTs; TLS only where it `speaks_tls`."""
