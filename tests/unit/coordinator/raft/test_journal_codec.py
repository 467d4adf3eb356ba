"""Records: a torn tail is cut at every byte, damage before the end is refused at every byte."""

from __future__ import annotations

import pytest

from kubebraid.coordinator.raft.journal_codec import (
    MAGIC,
    Content,
    Entry,
    Head,
    Kind,
    Vote,
    cut_payload,
    entry_payload,
    head_payload,
    read,
    record,
    seal,
    seed_of,
    unseal,
    vote_payload,
)
from kubebraid.coordinator.raft.log import JournalDamaged

HEAD = Head(3, 77, "b")
SEED = seed_of(HEAD)
SAID = [
    (Kind.HEAD, head_payload(HEAD)),
    (Kind.TERM, vote_payload(Vote(1, None))),
    (Kind.ENTRY, entry_payload(Entry(b"\x01", 1, 0))),
    (Kind.ENTRY, entry_payload(Entry(b"\x00" + MAGIC * 3, 2, 1))),
    (Kind.TERM, vote_payload(Vote(4, "c"))),
    (Kind.ENTRY, entry_payload(Entry(b"\x00gone", 3, 1))),
    (Kind.CUT, cut_payload(3)),
    (Kind.ENTRY, entry_payload(Entry(b"\x00last", 3, 4))),
]
PIECES = [record(kind, payload, n, SEED) for n, (kind, payload) in enumerate(SAID)]
FILE = b"".join(PIECES)
ENDS = [len(b"".join(PIECES[: n + 1])) for n in range(len(PIECES))]


def test_a_file_is_read_as_it_was_written() -> None:
    entries = [Entry(b"\x01", 1, 0), Entry(b"\x00" + MAGIC * 3, 2, 1), Entry(b"\x00last", 3, 4)]
    assert read(FILE) == Content(HEAD, Vote(4, "c"), entries, len(SAID), 0)


@pytest.mark.parametrize("length", range(ENDS[0], len(FILE)))
def test_a_tail_torn_at_any_byte_is_cut(length: int) -> None:
    whole = max(end for end in ENDS if end <= length)
    content = read(FILE[:length])
    assert content.torn == length - whole
    assert content.records == ENDS.index(whole) + 1
    filled = read(FILE[:length] + b"\xee" * 40)
    assert filled[:4] == content[:4], "other bytes in place of the rest are the same"


@pytest.mark.parametrize("length", range(ENDS[0]))
def test_a_torn_head_is_damage(length: int) -> None:
    with pytest.raises(JournalDamaged, match="head"):
        read(FILE[:length])


@pytest.mark.parametrize("at", range(ENDS[-2]))
def test_any_changed_byte_before_the_last_record_is_refused(at: int) -> None:
    damaged = FILE[:at] + bytes([FILE[at] ^ 0x40]) + FILE[at + 1 :]
    with pytest.raises(JournalDamaged):
        read(damaged)


@pytest.mark.parametrize("at", range(ENDS[-2], len(FILE)))
def test_a_changed_byte_in_the_last_record_looks_torn(at: int) -> None:
    damaged = FILE[:at] + bytes([FILE[at] ^ 0x40]) + FILE[at + 1 :]
    assert read(damaged).records == len(SAID) - 1


def test_a_record_that_is_missing_in_the_middle_is_refused() -> None:
    with pytest.raises(JournalDamaged, match="expected 3"):
        read(b"".join(PIECES[:3] + PIECES[4:]))


def test_records_of_another_file_are_no_records() -> None:
    other = seed_of(HEAD._replace(generation=4))
    foreign = record(*SAID[2], 2, other)
    content = read(PIECES[0] + PIECES[1] + foreign)
    assert content.torn == len(foreign)
    assert content.entries == []


def test_entries_that_do_not_follow_each_other_are_refused() -> None:
    gap = record(Kind.ENTRY, entry_payload(Entry(b"\x00", 5, 1)), 4, SEED)
    with pytest.raises(JournalDamaged, match="entry 5 follows 2"):
        read(b"".join(PIECES[:4]) + gap)


def test_a_format_of_a_later_version_is_refused() -> None:
    payload = b"\x02\x00" + head_payload(HEAD)[2:]
    with pytest.raises(JournalDamaged, match="format 2"):
        read(record(Kind.HEAD, payload, 0, 0))


def test_a_seal_holds_its_payload_and_nothing_else() -> None:
    sealed = seal(b"kbx", b"payload")
    assert unseal(b"kbx", sealed) == b"payload"
    for at in range(len(sealed)):
        with pytest.raises(JournalDamaged):
            unseal(b"kbx", sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :])
        with pytest.raises(JournalDamaged):
            unseal(b"kbx", sealed[:at])
