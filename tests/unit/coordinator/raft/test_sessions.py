"""Who submitted what: each command once, whatever stands in the log."""

from __future__ import annotations

import pytest

from kubebraid.coordinator.raft.sessions import (
    Envelope,
    Kind,
    Sessions,
    UnknownVersion,
    Verdict,
    decode,
    encode,
)


def said(start: int, nonce: int, sequence: int, origin: str = "a") -> Envelope:
    return Envelope(Kind.COMMAND, origin, start, nonce, sequence, b"command")


def table(*envelopes: Envelope) -> Sessions:
    sessions = Sessions()
    for envelope in envelopes:
        sessions.settle(envelope, b"answer")
    return sessions


@pytest.mark.parametrize("kind", Kind)
def test_an_envelope_is_read_as_it_was_written(kind: Kind) -> None:
    envelope = Envelope(kind, "a-ü", 1, 2**64 - 1, 3, bytes(range(256)))
    assert decode(encode(envelope)) == envelope


def test_a_newer_version_is_not_skipped_and_garbage_is_told_apart() -> None:
    data = encode(said(1, 2, 3))
    with pytest.raises(UnknownVersion):
        decode(b"\x02" + data[1:])
    with pytest.raises(UnknownVersion):
        decode(b"")
    for length in range(1, len(data) - len(b"command")):
        with pytest.raises(ValueError, match="cut short"):
            decode(data[:length])
    with pytest.raises(ValueError, match="9 is not a valid"):
        decode(data[:1] + b"\x09" + data[2:])


@pytest.mark.parametrize(
    ("envelope", "verdict"),
    [
        (said(6, 1, 4), Verdict.REPEAT),
        (said(6, 1, 5), Verdict.FRESH),
        (said(6, 1, 3), Verdict.SUPERSEDED),
        (said(6, 2, 5), Verdict.SUPERSEDED),
        (said(5, 1, 9), Verdict.SUPERSEDED),
        (said(7, 2, 1), Verdict.FRESH),
        (said(1, 2, 1, "b"), Verdict.FRESH),
    ],
)
def test_verdicts_after_start_6_of_nonce_1_said_4(envelope: Envelope, verdict: Verdict) -> None:
    assert table(said(6, 1, 4)).judge(envelope) is verdict


def test_the_table_is_read_as_it_was_written() -> None:
    sessions = table(said(6, 1, 4), said(1, 9, 1, "b"))
    copy = table(said(1, 1, 1, "c"))
    copy.restore(sessions.encode())
    assert copy.encode() == sessions.encode()
    assert copy.last("c") is None
    assert copy.last("a") == (6, 1, 4, b"answer")
