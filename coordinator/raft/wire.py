"""What members say to each other: versioned structs, nothing that could be code. Pure.

What it is: the messages of Raft and of a refill, to bytes and back. What it is not: a link, or an
opinion on a message (`transport.py`, `follow.py`).

Invariants:
- every message says its sender's cluster and term;
- bytes that are not exactly one message of this version raise WireError, and nothing else does;
- an entry is a plain command or PySyncObj's no-op: no message can carry a membership change, a code
  version or a pickle.

Worked example: VoteAsk(last_index=9, last_term=2) in term 3 of cluster 7 is
01 03 | 7 as 8 bytes | 3 as 8 bytes | 9 as 8 bytes | 2 as 8 bytes, little-endian.

Tested in tests/unit/coordinator/raft/test_wire.py.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from .journal_codec import Entry

VERSION: Final = 1
REGULAR: Final = 0
NO_OP: Final = 1
_HEAD: Final = struct.Struct("<BBQQ")
_APPEND: Final = struct.Struct("<QQQI")
_ENTRY: Final = struct.Struct("<QI")
_INSTALL: Final = struct.Struct("<Q")
_ACK: Final = struct.Struct("<QB")
_TWO: Final = struct.Struct("<QQ")
_ONE: Final = struct.Struct("<Q")
_OUTCOME: Final = struct.Struct("<QBQQ")
RESET: Final = 1
SUCCESS: Final = 2


class WireError(ValueError):
    """Not a message of ours."""


class Header(NamedTuple):
    """Of each message."""

    cluster: int
    term: int


@dataclass(frozen=True, slots=True)
class Append:
    """Leader: entries that follow (previous_index, previous_term), and what is committed."""

    commit: int
    previous_index: int
    previous_term: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Install:
    """Leader: a whole snapshot, for a follower whose next entry the leader dropped."""

    commit: int
    image: bytes


@dataclass(frozen=True, slots=True)
class Ack:
    """Follower: the next entry it wants; `success`: all before it are equal to the leader's."""

    next_index: int
    reset: bool
    success: bool


@dataclass(frozen=True, slots=True)
class VoteAsk:
    """Candidate: how far its log goes."""

    last_index: int
    last_term: int


@dataclass(frozen=True, slots=True)
class Vote:
    """A vote for the receiver, in the header's term."""


@dataclass(frozen=True, slots=True)
class Forward:
    """Follower to leader: append this command. 0 asks for no answer."""

    request: int
    command: bytes


@dataclass(frozen=True, slots=True)
class Forwarded:
    """Leader: where it was appended, or why it was not (`error`, PySyncObj's FAIL_REASON)."""

    request: int
    error: int
    index: int
    term: int


@dataclass(frozen=True, slots=True)
class TimeoutNow:
    """Leader: the receiver shall campaign at once."""


@dataclass(frozen=True, slots=True)
class RefillAsk:
    """A member without a log: send me one that is newer than this question."""

    token: int


@dataclass(frozen=True, slots=True)
class Refill:
    """The answer: `identity.py` has its form."""

    token: int
    image: bytes


Message: TypeAlias = (
    Append | Install | Ack | VoteAsk | Vote | Forward | Forwarded | TimeoutNow | RefillAsk | Refill
)
_KINDS: Final[tuple[type[Message], ...]] = (
    Append,
    Install,
    Ack,
    VoteAsk,
    Vote,
    Forward,
    Forwarded,
    TimeoutNow,
    RefillAsk,
    Refill,
)


def encode(header: Header, message: Message) -> bytes:
    kind = _KINDS.index(type(message))
    return _HEAD.pack(VERSION, kind, header.cluster, header.term) + _body(message)


def _body(message: Message) -> bytes:
    match message:
        case Append(commit, index, term, entries):
            return _APPEND.pack(commit, index, term, len(entries)) + _entries(index, entries)
        case Install(commit, image):
            return _INSTALL.pack(commit) + image
        case Ack(next_index, reset, success):
            return _ACK.pack(next_index, RESET * reset | SUCCESS * success)
        case VoteAsk(last_index, last_term):
            return _TWO.pack(last_index, last_term)
        case Vote() | TimeoutNow():
            return b""
        case Forward(request, command):
            return _ONE.pack(request) + command
        case Forwarded(request, error, index, term):
            return _OUTCOME.pack(request, error, index, term)
        case RefillAsk(token):
            return _ONE.pack(token)
        case Refill(token, image):
            return _ONE.pack(token) + image


def _entries(previous: int, entries: tuple[Entry, ...]) -> bytes:
    parts: list[bytes] = []
    for number, (command, index, term) in enumerate(entries, previous + 1):
        assert index == number, f"entry {index} where {number} follows"
        assert command[0] in (REGULAR, NO_OP), command[0]
        parts += [_ENTRY.pack(term, len(command)), command]
    return b"".join(parts)


def decode(data: bytes) -> tuple[Header, Message]:
    """Raises WireError."""
    try:
        version, kind, cluster, term = _HEAD.unpack_from(data)
        if version != VERSION or kind >= len(_KINDS):
            raise WireError(f"version {version}, kind {kind}")
        return Header(cluster, term), _read(_KINDS[kind], data[_HEAD.size :])
    except struct.error as error:
        raise WireError(str(error)) from error


def _read(kind: type[Message], body: bytes) -> Message:
    reader = _READERS.get(kind)
    if reader is not None:
        return reader(body)
    if body:
        raise WireError("bytes after a message without a body")
    return Vote() if kind is Vote else TimeoutNow()


def _read_ack(body: bytes) -> Ack:
    next_index, flags = _ACK.unpack(body)
    if next_index < 2 or flags > RESET | SUCCESS:
        raise WireError(f"ack {next_index}, {flags}")
    return Ack(next_index, bool(flags & RESET), bool(flags & SUCCESS))


def _read_forward(body: bytes) -> Forward:
    _check_command(body[_ONE.size :], REGULAR)
    (request,) = _ONE.unpack_from(body)
    return Forward(request, body[_ONE.size :])


def _read_append(body: bytes) -> Append:
    commit, previous, previous_term, count = _APPEND.unpack_from(body)
    at = _APPEND.size
    if previous < 1 or count * _ENTRY.size > len(body):
        raise WireError(f"{count} entries after {previous}")
    entries: list[Entry] = []
    for number in range(count):
        term, length = _ENTRY.unpack_from(body, at)
        at += _ENTRY.size
        command = body[at : at + length]
        if len(command) != length:
            raise WireError("an entry is cut short")
        _check_command(command, NO_OP)
        entries.append(Entry(command, previous + 1 + number, term))
        at += length
    if at != len(body):
        raise WireError("bytes after the last entry")
    return Append(commit, previous, previous_term, tuple(entries))


def _check_command(command: bytes, most: int) -> None:
    """PySyncObj's first byte says what kind a command is; the others would be unpickled there."""
    if not command or command[0] > most:
        raise WireError(f"command kind {command[:1]!r}")


_READERS: Final[dict[type[Message], Callable[[bytes], Message]]] = {
    Append: _read_append,
    Install: lambda body: Install(_INSTALL.unpack_from(body)[0], body[_INSTALL.size :]),
    Ack: _read_ack,
    VoteAsk: lambda body: VoteAsk(*_TWO.unpack(body)),
    Forward: _read_forward,
    Forwarded: lambda body: Forwarded(*_OUTCOME.unpack(body)),
    RefillAsk: lambda body: RefillAsk(*_ONE.unpack(body)),
    Refill: lambda body: Refill(_ONE.unpack_from(body)[0], body[_ONE.size :]),
}
