"""The snapshot file: read back it is what was written, or it is refused."""

from __future__ import annotations

import hashlib
import io
import json
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kubebraid.base import dump
from kubebraid.base.dump import DIGEST_BYTES, END, MAGIC, Head, Pair, SnapshotDamaged, Writer

HEAD = Head(9, 4, "0.1")
PAIRS = st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=300)), max_size=8)
SAMPLE: list[Pair] = [(b"na", b"1"), (b"nb", bytes(700)), (b"mcoordinator", b"{}")]


def written(pairs: list[Pair], head: Head = HEAD, pieces: int = 1) -> bytes:
    """The file, its pairs handed over in so many pieces."""
    writer = Writer(head)
    size = max(1, -(-len(pairs) // pieces))
    parts = [writer.head()]
    parts += [writer.pairs(pairs[at : at + size]) for at in range(0, len(pairs), size)]
    return b"".join([*parts, writer.end(), writer.digest()])


def read(raw: bytes) -> tuple[Head, list[Pair]]:
    file = io.BytesIO(raw)
    head, source = dump.read_head(file)
    return head, list(dump.read_pairs(source, file))


def refused(raw: bytes) -> str:
    with pytest.raises(SnapshotDamaged) as caught:
        read(raw)
    return str(caught.value)


def sealed(body: bytes) -> bytes:
    """A body with a right digest: what a wrong writer could have made."""
    return body + hashlib.sha256(body).digest()


def test_file_of_one_pair_is_a_block_and_a_digest_long() -> None:
    """The worked example of the module."""
    assert len(written([(b"a", b"1")])) == 512 + 32


@given(PAIRS, st.integers(1, 3))
def test_what_was_written_is_read_in_its_order_at_the_size_that_was_told(
    pairs: list[Pair], pieces: int
) -> None:
    raw = written(pairs, pieces=pieces)
    assert read(raw) == (HEAD, pairs)
    assert len(raw) % 512 == 32
    assert raw[-32:] == hashlib.sha256(raw[:-32]).digest()
    payload = sum(len(key) + len(value) for key, value in pairs)
    assert len(raw) == dump.size(HEAD, payload, len(pairs))


@pytest.mark.parametrize("padding", [0, 1, 511])
def test_size_is_right_on_both_sides_of_a_block(padding: int) -> None:
    bare = len(HEAD.encode()) + 8 + 12  # head, one record's sizes, end
    value = bytes(-(bare + padding) % 512)
    raw = written([(b"", value)])
    assert len(raw) == bare + len(value) + padding + 32 == dump.size(HEAD, len(value), 1)
    assert read(raw) == (HEAD, [(b"", value)])


@given(PAIRS, st.data())
def test_flipped_bit_anywhere_is_refused(pairs: list[Pair], data: st.DataObject) -> None:
    raw = bytearray(written(pairs))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    refused(bytes(raw))


def test_each_flipped_byte_of_a_small_file_is_refused() -> None:
    raw = written([(b"na", b"1")])
    for at in range(len(raw)):
        refused(raw[:at] + bytes([raw[at] ^ 0xFF]) + raw[at + 1 :])


@given(PAIRS, st.data())
def test_missing_bytes_anywhere_are_refused(pairs: list[Pair], data: st.DataObject) -> None:
    raw = written(pairs)
    first = data.draw(st.integers(0, len(raw) - 1))
    last = data.draw(st.integers(first + 1, len(raw)))
    refused(raw[:first] + raw[last:])


@given(PAIRS, st.data(), st.binary(min_size=1, max_size=600))
@example([], None, b"\x00")
def test_additional_bytes_anywhere_are_refused(
    pairs: list[Pair], data: st.DataObject | None, more: bytes
) -> None:
    raw = written(pairs)
    at = len(raw) if data is None else data.draw(st.integers(0, len(raw)))
    refused(raw[:at] + more + raw[at:])


def test_each_shorter_file_is_refused() -> None:
    raw = written(SAMPLE)
    for size in range(len(raw)):
        refused(raw[:size])


def test_pairs_of_a_damaged_file_never_come_to_an_end() -> None:
    """Whoever restores may write them meanwhile, as long as nothing is put in place before."""
    raw = bytearray(written(SAMPLE))
    raw[-1] ^= 1
    file = io.BytesIO(bytes(raw))
    _, source = dump.read_head(file)
    pairs = dump.read_pairs(source, file)
    assert [next(pairs) for _ in SAMPLE] == SAMPLE
    with pytest.raises(SnapshotDamaged, match="checksum"):
        next(pairs)


def test_file_from_before_is_read_alike() -> None:
    raw = written([(b"key", b"value")])
    older = sealed(b"KBSNAP01" + raw[len(MAGIC) : -DIGEST_BYTES])
    assert older != raw
    assert read(older) == read(raw)


def test_other_file_is_called_no_snapshot() -> None:
    assert "no snapshot of KubeBraid" in refused(b"\xed\x0c\xda\xed" + bytes(600))
    assert "too early" in refused(b"")


@pytest.mark.parametrize(
    "body",
    [b"[]", b"5", b"\xff", b"{}", b'{"revision": 1}', json.dumps({"x": 1}).encode()],
)
def test_head_that_is_none_is_refused_although_its_digest_is_right(body: bytes) -> None:
    raw = MAGIC + struct.pack(">I", len(body)) + body + struct.pack(">IQ", END, 0)
    assert "head" in refused(sealed(raw + bytes(-len(raw) % 512)))


def test_absurd_sizes_are_refused_before_anything_of_that_size_is_read() -> None:
    assert "head" in refused(MAGIC + struct.pack(">I", (1 << 20) + 1) + bytes(600))
    assert "record" in refused(HEAD.encode() + struct.pack(">II", (1 << 28) + 1, 0) + bytes(600))
    assert "record" in refused(HEAD.encode() + struct.pack(">II", 1, (1 << 30) + 1) + bytes(600))


def test_wrong_count_is_refused_although_its_digest_is_right() -> None:
    raw = HEAD.encode() + struct.pack(">IQ", END, 1)
    assert "checksum" in refused(sealed(raw + bytes(-len(raw) % 512)))


def test_refusal_says_that_nothing_was_changed() -> None:
    assert SnapshotDamaged.definite
    assert "nothing was changed" in SnapshotDamaged.hint
