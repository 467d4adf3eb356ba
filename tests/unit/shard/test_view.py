"""What a batch sees: the engine, overlaid by itself."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kubebraid.base.keyspace import EVERYTHING, KeyRange, single
from kubebraid.base.revision import pending
from kubebraid.shard import keycodec
from kubebraid.shard.counts import KeyCounts
from kubebraid.shard.draft import DraftRow
from kubebraid.shard.lease import LeaseRow, LeaseTable
from kubebraid.shard.storage.engine import Batch
from kubebraid.shard.storage.memory import MemoryEngine
from kubebraid.shard.view import BatchView, attached_keys
from tests.unit.shard.fakes import counted, store_versions

KEYS = st.binary(min_size=1, max_size=2).map(lambda key: bytes(97 + n % 4 for n in key))


def draft(key: bytes, lease: int = 0) -> DraftRow:
    return DraftRow(key, b"new", pending(0), pending(0), 1, lease)


def view(*stored: bytes) -> BatchView:
    engine = MemoryEngine()
    for key in stored:
        store_versions(engine, key, 5)
    return BatchView(engine, LeaseTable(), counted(engine).known)


def keys(made: BatchView, span: KeyRange | None = EVERYTHING) -> list[bytes]:
    return [key for key, _ in made.rows(span)]


def test_overlay_hides_deletes_and_adds() -> None:
    """The worked example of the module."""
    made = view(b"a", b"c")
    made.overlay.update({b"a": None, b"b": draft(b"b")})
    assert keys(made) == [b"b", b"c"]


def test_key_the_batch_wrote_is_read_from_the_batch_alone() -> None:
    made = view(b"a", b"b")
    made.overlay.update({b"a": draft(b"a"), b"b": None})
    found = made.get(b"a")
    assert isinstance(found, DraftRow)
    assert made.get(b"b") is None
    assert keys(made) == [b"a"]


def test_drafts_stand_before_between_and_behind_the_stored_keys() -> None:
    made = view(b"b", b"d")
    made.overlay.update({key: draft(key) for key in (b"a", b"c", b"d", b"e")})
    assert keys(made) == [b"a", b"b", b"c", b"d", b"e"]


def test_span_cuts_drafts_as_it_cuts_stored_keys() -> None:
    made = view(b"a", b"c")
    made.overlay.update({key: draft(key) for key in (b"b", b"d")})
    assert keys(made, KeyRange(b"b", b"d")) == [b"b", b"c"]
    assert keys(made, single(b"d")) == [b"d"]
    assert keys(made, single(b"x")) == []
    assert keys(made, None) == []


def test_overlay_over_several_pages_of_the_engine_keeps_the_order() -> None:
    names = [b"k%04d" % number for number in range(1_200)]
    made = view(*names[::2])
    made.overlay.update({name: draft(name) for name in names[1::2]})
    assert keys(made) == names


def test_lease_of_the_batch_lives_and_dies_at_once() -> None:
    made = view()
    assert not made.lease_lives(7)
    made.granted[7] = LeaseRow(10)
    assert made.lease_lives(7)
    made.revoked.add(7)
    assert not made.lease_lives(7)


def test_attached_keys_are_the_engines_corrected_by_the_batch() -> None:
    engine = MemoryEngine()
    batch = Batch()
    for key in (b"gone", b"kept", b"moved"):
        batch.put(keycodec.attachment(7, key), b"")
    batch.put(keycodec.attachment(8, b"other"), b"")
    engine.write(batch, sync=True)
    made = BatchView(engine, LeaseTable(), counted(engine).known)
    made.overlay.update({b"gone": None, b"moved": draft(b"moved", 8), b"new": draft(b"new", 7)})
    assert made.attached(7) == [b"kept", b"new"]
    assert list(attached_keys(engine, 7)) == [b"gone", b"kept", b"moved"]


@given(st.sets(KEYS), st.dictionaries(KEYS, st.booleans()), KEYS, KEYS)
def test_count_is_the_number_of_rows(
    stored: set[bytes], written: dict[bytes, bool], start: bytes, end: bytes
) -> None:
    """Counters of the engine, corrected by what the batch has made and deleted so far."""
    made = view(*stored)
    made.overlay.update({key: draft(key) if live else None for key, live in written.items()})
    for span in (EVERYTHING, single(start), KeyRange(*sorted((start, end + b"\x01")))):
        assert made.count(span) == len(keys(made, span))


def test_count_is_not_known_before_the_counters_are_complete() -> None:
    engine = MemoryEngine()
    assert BatchView(engine, LeaseTable(), KeyCounts(engine).known).count(EVERYTHING) is None
