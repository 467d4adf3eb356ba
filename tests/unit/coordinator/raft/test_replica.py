"""The replicated state: what is applied once, what ends a member, what an image carries."""

from __future__ import annotations

import pytest

from kubebraid.coordinator.raft.journal_codec import Entry
from kubebraid.coordinator.raft.log import FAILED_ANSWER
from kubebraid.coordinator.raft.replica import Replica
from kubebraid.coordinator.raft.sessions import Envelope, Kind, UnknownVersion, encode

from .kit import Ledger


def said(sequence: int, command: bytes, kind: Kind = Kind.COMMAND) -> bytes:
    return encode(Envelope(kind, "a", 1, 9, sequence, command))


def made() -> tuple[Replica, Ledger]:
    ledger = Ledger({}, [])
    return Replica(7, ledger), ledger


def test_the_same_envelope_twice_reaches_the_machine_once() -> None:
    replica, ledger = made()
    replica.applied(9, said(1, b"x"))
    replica.applied(12, said(1, b"x"))
    assert ledger.rows == [(9, b"x")]
    assert replica.last("a") == (1, 9, 1, b"1:x")


def test_a_barrier_does_not_reach_the_machine() -> None:
    replica, ledger = made()
    replica.applied(9, said(1, b"", Kind.BARRIER))
    assert ledger.rows == []
    assert replica.last("a") == (1, 9, 1, b"")


def test_a_bug_of_the_machine_is_an_answer_and_garbage_is_skipped() -> None:
    replica, ledger = made()
    replica.applied(9, said(1, b"raise"))
    assert replica.last("a") == (1, 9, 1, FAILED_ANSWER)
    replica.applied(10, b"\x01garbage")
    replica.applied(11, said(2, b"x"))
    assert ledger.rows == [(11, b"x")]


def test_what_only_this_member_cannot_apply_ends_it() -> None:
    replica, ledger = made()
    with pytest.raises(UnknownVersion):
        replica.applied(9, b"\x02" + said(1, b"x")[1:])

    def exhausted(index: int, command: bytes) -> bytes:
        raise MemoryError

    ledger.apply = exhausted  # type: ignore[method-assign]  # a machine without memory
    with pytest.raises(MemoryError):
        replica.applied(9, said(1, b"x"))
    assert replica.last("a") is None


def test_an_image_carries_machine_and_sessions() -> None:
    replica, ledger = made()
    replica.applied(9, said(1, b"x"))
    image = replica.image(Entry(b"\1", 8, 1), Entry(b"\0", 9, 1))
    other, copy = made()
    other.take(image)
    other.applied(12, said(1, b"x"))
    assert copy.rows == ledger.rows == [(9, b"x")]


def test_an_image_that_cannot_be_taken_is_remembered() -> None:
    replica, _ = made()
    image = replica.image(Entry(b"\1", 8, 1), Entry(b"\0", 9, 1))
    with pytest.raises(ValueError, match="not enough values"):
        replica.take(image._replace(machine=b"nonsense"))
    assert isinstance(replica.failed, ValueError)
