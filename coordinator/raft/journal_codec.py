"""The bytes of a journal file, and of the small files beside it. Pure.

What it is: records with checksums, and the rule that tells a torn tail from damage. What it is not:
a file (`journal.py`), or the meaning of a command.

Words: a *record* is magic(2) crc32(4) length(4) sequence(8) kind(1) payload, little-endian; the crc
covers all that follows it and is seeded with the file's own, that of its head's payload, so that
bytes of another file never pass; the *head* is record 0.

Invariants:
- a journal syncs after every record, so a crash can only harm the last one: a bad record is a torn
  tail if nothing behind it is a record of this file, and damage otherwise;
- a damaged head is damage: it was synced before the file got its name;
- sequences of a file are 0, 1, 2, ... without a gap.

Not told apart: a last record that was synced and rotted afterwards looks torn.

Worked example: HEAD, TERM(3, "b"), ENTRY(7, term 3), CUT(7) is a log that ends before index 7, of a
member that voted for b in term 3.

Tested in tests/unit/coordinator/raft/test_journal_codec.py.
"""

from __future__ import annotations

import struct
import zlib
from enum import IntEnum
from typing import Final, NamedTuple

from .log import JournalDamaged

FORMAT: Final = 1
MAGIC: Final = b"\xabk"
_RECORD: Final = struct.Struct("<2sIIQB")
_CHECKED: Final = struct.Struct("<IQB")
_HEAD: Final = struct.Struct("<HQQ")
_TERM: Final = struct.Struct("<QB")
_ENTRY: Final = struct.Struct("<QQ")
_CUT: Final = struct.Struct("<Q")
_SEAL: Final = struct.Struct("<8sI")


class Kind(IntEnum):
    """Of a record."""

    HEAD = 1
    TERM = 2
    ENTRY = 3
    CUT = 4


class Entry(NamedTuple):
    """One place of the log, in PySyncObj's own order: it compares them as tuples."""

    command: bytes
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    term: int


class Head(NamedTuple):
    """Whose journal it is. `generation`: how often it was rewritten."""

    generation: int
    cluster: int
    name: str


class Vote(NamedTuple):
    """The term, and whom this member voted for in it."""

    term: int
    voted_for: str | None


class Record(NamedTuple):
    """A record whose checksum held."""

    kind: Kind
    payload: bytes


class Content(NamedTuple):
    """What a file says, read from its start. `torn`: bytes at its end that say nothing."""

    head: Head
    vote: Vote
    entries: list[Entry]
    records: int
    torn: int


def seed_of(head: Head) -> int:
    """What the checksums of a file begin with."""
    return zlib.crc32(head_payload(head))


def record(kind: Kind, payload: bytes, sequence: int, seed: int) -> bytes:
    """One record. The head's seed is 0, because it makes the seed of the others."""
    assert (kind is Kind.HEAD) == (sequence == 0), (kind, sequence)
    checked = _CHECKED.pack(len(payload), sequence, kind)
    crc = zlib.crc32(payload, zlib.crc32(checked, seed if sequence else 0))
    return _RECORD.pack(MAGIC, crc, len(payload), sequence, kind) + payload


def head_payload(head: Head) -> bytes:
    assert head.generation >= 1
    return _HEAD.pack(FORMAT, head.generation, head.cluster) + head.name.encode()


def vote_payload(vote: Vote) -> bytes:
    name = b"" if vote.voted_for is None else vote.voted_for.encode()
    return _TERM.pack(vote.term, vote.voted_for is not None) + name


def entry_payload(entry: Entry) -> bytes:
    return _ENTRY.pack(entry.index, entry.term) + entry.command


def cut_payload(index: int) -> bytes:
    """Entries from `index` on are no longer part of the log."""
    return _CUT.pack(index)


def read_head(payload: bytes) -> Head:
    """Raises JournalDamaged for a format that this version does not know."""
    form, generation, cluster = _HEAD.unpack_from(payload)
    if form != FORMAT:
        raise JournalDamaged(f"journal format {form}, this version reads {FORMAT}")
    return Head(generation, cluster, payload[_HEAD.size :].decode())


def read_vote(payload: bytes) -> Vote:
    term, voted = _TERM.unpack_from(payload)
    return Vote(term, payload[_TERM.size :].decode() if voted else None)


def read_entry(payload: bytes) -> Entry:
    index, term = _ENTRY.unpack_from(payload)
    return Entry(payload[_ENTRY.size :], index, term)


def _record_at(data: bytes, at: int, seed: int, least: int) -> tuple[Record, int, int] | None:
    """The record that begins at `at`, its sequence (at least `least`) and end, if there is one."""
    if at + _RECORD.size > len(data):
        return None
    magic, crc, length, sequence, kind = _RECORD.unpack_from(data, at)
    body = at + _RECORD.size
    if magic != MAGIC or sequence < least or body + length > len(data):
        return None
    payload = data[body : body + length]
    checked = _CHECKED.pack(length, sequence, kind)
    if crc != zlib.crc32(payload, zlib.crc32(checked, seed if sequence else 0)):
        return None
    return Record(Kind(kind), payload), sequence, body + length


def _refuse_damage(data: bytes, bad: int, seed: int, sequence: int) -> None:
    """Raise if a record of this file stands behind the bad place."""
    at = data.find(MAGIC, bad + 1)
    while at >= 0:
        if _record_at(data, at, seed, sequence) is not None:
            raise JournalDamaged(f"bad bytes at {bad}, and records behind them, from {at}")
        at = data.find(MAGIC, at + 1)


def read(data: bytes) -> Content:
    """A whole file. Raises JournalDamaged where bytes are wrong that no crash can have torn."""
    first = _record_at(data, 0, 0, 0)
    if first is None or first[0].kind is not Kind.HEAD:
        raise JournalDamaged("the head is not readable")
    head = read_head(first[0].payload)
    seed, at, sequence = seed_of(head), first[2], 1
    vote, entries = Vote(0, None), list[Entry]()
    while at < len(data):
        found = _record_at(data, at, seed, sequence)
        if found is None:
            _refuse_damage(data, at, seed, sequence)
            break
        (kind, payload), said, end = found
        if said != sequence:
            raise JournalDamaged(f"record {said} at {at}, expected {sequence}")
        vote = _step(kind, payload, vote, entries)
        at, sequence = end, sequence + 1
    return Content(head, vote, entries, sequence, len(data) - at)


def _step(kind: Kind, payload: bytes, vote: Vote, entries: list[Entry]) -> Vote:
    """Take one record into what is known so far."""
    if kind is Kind.TERM:
        new = read_vote(payload)
        assert new.term >= vote.term, f"term {new.term} after {vote.term}"
        return new
    if kind is Kind.ENTRY:
        entry = read_entry(payload)
        if entries and entry.index != entries[-1].index + 1:
            raise JournalDamaged(f"entry {entry.index} follows {entries[-1].index}")
        entries.append(entry)
    elif kind is Kind.CUT:
        (index,) = _CUT.unpack(payload)
        while entries and entries[-1].index >= index:
            entries.pop()
    else:
        raise JournalDamaged("a second head")
    return vote


def seal(magic: bytes, payload: bytes) -> bytes:
    """A small file: what it is, a checksum, the rest."""
    assert len(magic) <= 8
    return _SEAL.pack(magic, zlib.crc32(payload)) + payload


def unseal(magic: bytes, data: bytes) -> bytes:
    """The payload. Raises JournalDamaged."""
    if len(data) < _SEAL.size:
        raise JournalDamaged(f"{magic!r}: {len(data)} bytes are no file of ours")
    said, crc = _SEAL.unpack_from(data)
    payload = data[_SEAL.size :]
    if said.rstrip(b"\0") != magic or crc != zlib.crc32(payload):
        raise JournalDamaged(f"{magic!r}: the checksum does not hold")
    return payload
