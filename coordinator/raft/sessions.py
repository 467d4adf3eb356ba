"""Who submitted what, so that a command that stands in the log twice is applied once. Pure.

What it is: the envelope around each command, and the table of the last one of each member, part of
the replicated state. What it is not: the lane that submits (`node.py`).

Words: an *envelope* names its origin (a member), the origin's *reign* (start, nonce), a *sequence*
in that reign and the command; a reign's start is a guess until the log confirms it, its nonce
(64 random bits, drawn once a process) tells two reigns apart that guessed alike.

Invariants (inv22):
- an origin has one command outstanding, so one entry an origin is enough;
- FRESH: its (start, sequence) is above all of its origin's before, and it is applied now;
- REPEAT: it is the last one of its origin, byte for byte the same id: answered from the table;
- SUPERSEDED: it never was applied and never will be, because (start, sequence) only grows and a
  start belongs to the nonce that came first: its origin, if it still waits, takes a higher start.

Worked example: a restarts, guesses start 4; the log holds a's (start 6, nonce X): superseded, a
goes on as (start 7, its nonce, sequence 1). What its former self had in flight comes after that: it
says start 6, superseded, and nobody waits for it.

Tested in tests/unit/coordinator/raft/test_sessions.py.
"""

from __future__ import annotations

import struct
from enum import Enum, auto
from typing import Final, NamedTuple

VERSION: Final = 1
_FIXED: Final = struct.Struct("<BBBQQQ")
_SESSION: Final = struct.Struct("<BQQQI")


class Kind(Enum):
    """What an envelope carries."""

    COMMAND = 1
    BARRIER = 2


class Envelope(NamedTuple):
    """A command as it stands in the log."""

    kind: Kind
    origin: str
    start: int
    nonce: int
    sequence: int
    command: bytes


class Verdict(Enum):
    """What the table says of an envelope."""

    FRESH = auto()
    REPEAT = auto()
    SUPERSEDED = auto()


class Session(NamedTuple):
    """The last envelope of an origin, and its answer."""

    start: int
    nonce: int
    sequence: int
    answer: bytes


class UnknownVersion(ValueError):
    """An envelope that a newer version wrote: skipping it would be another history than theirs."""


def encode(envelope: Envelope) -> bytes:
    name = envelope.origin.encode()
    assert 0 < len(name) < 256
    kind, origin, start, nonce, sequence, command = envelope
    assert origin
    fixed = _FIXED.pack(VERSION, kind.value, len(name), start, nonce, sequence)
    return fixed + name + command


def decode(data: bytes) -> Envelope:
    """Raises UnknownVersion, and ValueError for bytes that no version wrote."""
    if not data or data[0] != VERSION:
        raise UnknownVersion(f"envelope version {data[:1]!r}, this program reads {VERSION}")
    if len(data) < _FIXED.size:
        raise ValueError("an envelope is cut short")
    _, kind, length, start, nonce, sequence = _FIXED.unpack_from(data)
    name = data[_FIXED.size : _FIXED.size + length]
    command = data[_FIXED.size + length :]
    if len(name) < length or not name:
        raise ValueError("an envelope's origin is cut short")
    return Envelope(Kind(kind), name.decode(), start, nonce, sequence, command)


class Sessions:
    """The table. Changed by what the log says alone, so it is the same on every member."""

    def __init__(self) -> None:
        self._last: dict[str, Session] = {}

    def last(self, origin: str) -> Session | None:
        return self._last.get(origin)

    def judge(self, envelope: Envelope) -> Verdict:
        known = self._last.get(envelope.origin)
        if known is None or envelope.start > known.start:
            return Verdict.FRESH
        if envelope.start < known.start or envelope.nonce != known.nonce:
            return Verdict.SUPERSEDED
        if envelope.sequence > known.sequence:
            return Verdict.FRESH
        return Verdict.REPEAT if envelope.sequence == known.sequence else Verdict.SUPERSEDED

    def settle(self, envelope: Envelope, answer: bytes) -> None:
        """A fresh envelope was applied."""
        assert self.judge(envelope) is Verdict.FRESH, envelope
        self._last[envelope.origin] = Session(
            envelope.start, envelope.nonce, envelope.sequence, answer
        )

    def encode(self) -> bytes:
        parts = [struct.pack("<H", len(self._last))]
        for origin, session in sorted(self._last.items()):
            name = origin.encode()
            start, nonce, sequence, answer = session
            parts.append(_SESSION.pack(len(name), start, nonce, sequence, len(answer)))
            parts += [name, answer]
        return b"".join(parts)

    def restore(self, data: bytes) -> None:
        """Raises struct.error for bytes that `encode` did not make."""
        self._last.clear()
        (count,) = struct.unpack_from("<H", data)
        at = 2
        for _ in range(count):
            length, start, nonce, sequence, size = _SESSION.unpack_from(data, at)
            at += _SESSION.size
            name, answer = data[at : at + length], data[at + length : at + length + size]
            at += length + size
            self._last[name.decode()] = Session(start, nonce, sequence, answer)
        assert at == len(data), "nothing follows the last session"
