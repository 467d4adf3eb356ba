"""What the engine makes of our own client's exceptions, by their classes alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

from kubebraid.shard.storage import tikv_native
from kubebraid.shard.storage.engine import EngineError
from kubebraid.shard.storage.tikv_errors import (
    EngineConflict,
    EngineFenced,
    EngineHeld,
    EngineTooLong,
    EngineUnavailable,
    EngineUncertain,
)
from kubebraid.shard.storage.tikv_link import bounded
from kubebraid.shard.storage.tikv_native import NativeClient
from kubebraid.shard.storage.tikv_seam import ANYTHING, Writer

WRITER = Writer(b"row", b"token", ANYTHING)


class TikvError(Exception):
    """As the binding has them."""


class Unavailable(TikvError):
    pass


class Locked(Unavailable):
    pass


class TooLong(Unavailable):
    pass


class Refused(TikvError):
    pass


class Conflict(TikvError):
    pass


class Uncertain(TikvError):
    pass


ERRORS = (TikvError, Unavailable, Locked, TooLong, Refused, Conflict, Uncertain)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception | None], NativeClient]:
    """One whose every call ends with this error; None: with no answer."""
    binding = SimpleNamespace(**{error.__name__: error for error in ERRORS})
    monkeypatch.setattr(tikv_native, "binding", binding)
    monkeypatch.setattr(tikv_native, "UNDO_S", 0.0)

    def made(error: Exception | None) -> NativeClient:
        async def call(*_: object) -> None:
            if error is None:
                await asyncio.Event().wait()
            else:
                raise error

        inner: Any = SimpleNamespace(write=call, get=call, current_timestamp=call)
        return NativeClient(inner)

    return made


def ended(call: Callable[[], Coroutine[Any, Any, object]]) -> EngineError:
    with pytest.raises(EngineError) as failed:
        asyncio.run(bounded(call, "a read", 5.0))
    return failed.value


@pytest.mark.parametrize(
    ("error", "kind", "definite"),
    [
        (Conflict("a conflict"), EngineConflict, True),
        (Locked("a lock"), EngineHeld, True),
        (Unavailable("nobody"), EngineUnavailable, True),
        (Refused(b"row"), EngineFenced, True),
        (Refused(b"fence"), EngineFenced, True),
        (Uncertain("conflict: Some(WriteConflict"), EngineUncertain, False),
        (TikvError("one that nobody knows"), EngineUncertain, False),
        (None, EngineUncertain, False),
    ],
)
def test_write_is_uncertain_unless_its_client_tells_what_became_of_it(
    client: Callable[[Exception | None], NativeClient],
    error: Exception | None,
    kind: type[EngineError],
    definite: bool,
) -> None:
    told = ended(lambda: client(error).write(WRITER, {}, {}, 0.01))
    assert type(told) is kind
    assert told.definite is definite


def test_refused_row_tells_who_has_taken_what(
    client: Callable[[Exception | None], NativeClient],
) -> None:
    ours, other = client(Refused(b"row")), client(Refused(b"fence"))
    assert str(ended(lambda: ours.write(WRITER, {}, {}, 1))) == (
        "another process took the store over"
    )
    assert str(ended(lambda: other.write(WRITER, {}, {}, 1))) == (
        "another shard took a tablet of the store over"
    )


@pytest.mark.parametrize(
    ("error", "kind"),
    [(Locked(""), EngineHeld), (TooLong(""), EngineTooLong), (Unavailable(""), EngineUnavailable)],
)
def test_error_of_a_read_says_what_was_done(
    client: Callable[[Exception | None], NativeClient], error: Exception, kind: type[EngineError]
) -> None:
    told = ended(lambda: client(error).snapshot(1, False).get(b"a"))
    assert type(told) is kind
    assert str(told).startswith("a read: ")
