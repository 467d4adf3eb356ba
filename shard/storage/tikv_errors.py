"""The engine's errors on TiKV, and what tikv-client means by its own.

What it is: the contract's error for each of tikv-client's, which are plain exceptions with text in
them; our own client's have classes (tikv_native.py). What it is not: what to do about one;
`tikv.py` does it.

Words: an error is *definite* if it is known that nothing was written.

Invariants:
- an error of a commit is uncertain unless its text says that the first of its two phases was
  refused: what is not known is never called definite. A lock in the way is met by that phase only;
- only pieces of text that tikv-client 0.0.4 was seen to write are looked for; what a ClientError
  is, its client has told.

Worked example: a commit ends with "... conflict: Some(WriteConflict {...": another process wrote
what every transaction of a store writes, so this one is fenced off.

Tested in tests/unit/shard/test_tikv_errors.py.
"""

from __future__ import annotations

from typing import Final

from .engine import EngineError

_CONFLICT: Final = "conflict: Some(WriteConflict"
_TOO_LONG: Final = "message length too large"
_HELD: Final = "Failed to resolve lock"
_LOCKED: Final = (_HELD, "ResolveLockError(", "locked: Some(")


class EngineUnavailable(EngineError):
    """TiKV did not answer in time, or not with what was asked for; nothing was written."""

    definite = True
    hint = "look at the state of PD and of TiKV's stores, then try again"


class EngineHeld(EngineUnavailable):
    """A row is locked by a commit that has not ended, as far as TiKV knows."""


class EngineTooLong(EngineUnavailable):
    """An answer was larger than the client takes."""


class EngineUncertain(EngineError):
    """A commit without an answer. Nothing is written before the engine was reopened."""


class EngineFenced(EngineError):
    """Another process took the store over, or another shard a tablet of it; nothing was written."""

    definite = True
    hint = "this process no longer owns the store: stop it"


class EngineConflict(EngineFenced):
    """As seen by a commit: what it wrote had been written meanwhile."""


class EngineOversized(EngineError):
    """What one transaction, or one row, may hold was exceeded; nothing was written."""

    definite = True
    hint = "write less at a time"


class EngineUnsupported(EngineError):
    """There is no client of TiKV, or not the one that was asked for."""

    definite = True
    hint = (
        "build our own client, native/tikv (make native), or install kubebraid[tikv] on CPython "
        "3.11, Linux, x86-64: tikv-client is made for no other"
    )


class EngineWithoutTls(EngineUnsupported):
    """The client here does not speak TLS."""

    hint = (
        "build our own client, native/tikv (make native), and let KUBEBRAID_TIKV_CLIENT name no "
        "other"
    )


class ClientError(Exception):
    """Of a client whose errors have kinds: which of the engine's it is, but for what was done."""

    def __init__(self, kind: type[EngineError], text: str) -> None:
        super().__init__(text)
        self.kind = kind


def too_long(error: BaseException) -> bool:
    """Whether an answer was larger than the client takes."""
    return _is(error, EngineTooLong) or _TOO_LONG in str(error)


def locked(error: BaseException) -> bool:
    """Whether a row is held by a commit that has not ended, as far as TiKV knows. Such a lock is
    looked into only some seconds after it was set, and until then each read of the row fails."""
    return _is(error, EngineHeld) or any(words in str(error) for words in _LOCKED)


def _is(error: BaseException, kind: type[EngineError]) -> bool:
    return isinstance(error, ClientError) and issubclass(error.kind, kind)


def of_call(doing: str, error: BaseException) -> EngineError:
    """Of a call that writes nothing, or of a transaction's before its commit."""
    if isinstance(error, EngineError):
        return error
    if isinstance(error, ClientError):
        return error.kind(_told(doing, error))
    return (EngineHeld if locked(error) else EngineUnavailable)(_told(doing, error))


def of_commit(error: BaseException) -> EngineError:
    """Of a commit."""
    if isinstance(error, EngineError):
        return error
    if _CONFLICT in str(error):
        return EngineConflict(_told("another process wrote to the store during a commit", error))
    if str(error) == _HELD:
        return EngineHeld(_told("a commit met a locked row", error))
    return EngineUncertain(_told("a commit did not end", error))


def _told(doing: str, error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{doing}: {text or type(error).__name__}"
