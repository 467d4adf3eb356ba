"""Reads at any revision against a dict of versions, before and after compactions.

What it is: random histories through the real evaluation, sealing and engine batch, beside the
simplest model there is: for each revision the whole state. What it is not: answers or watermarks.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st

from kubebraid.base.keyspace import KeyRange
from kubebraid.proto.kvwire import key_of, value_of
from kubebraid.shard import mvcc
from tests.unit.shard.fakes import PREFIXES, Stand, delete_call, put_call, read_call
from tests.unit.shard.stones import tombstones, with_tombstones

# Keys of two tablets and between them, with the bytes that an escape could confuse.
KEYS = st.sampled_from(
    (b"/a/", b"/a/x", b"/a/x\x00", b"/a/x\x00\xff", b"/a/x\x01", b"/a0", b"/b/x", b"/b/\xff\xff")
)
SPANS = st.builds(KeyRange, KEYS, st.one_of(st.none(), KEYS)).filter(
    lambda span: span.end is None or span.start < span.end
)
State: TypeAlias = dict[bytes, tuple[int, int, int]]  # key -> (mod, create, version)


class Write(NamedTuple):
    """A put of one key or the delete of a range. `aged`: if it is the last of its batch, what is
    stored by then is as a program from before had written it."""

    key: bytes
    delete: bool
    range_end: bytes
    aged: bool


WRITES = st.builds(
    Write,
    KEYS,
    st.sampled_from((False, False, True)),
    st.sampled_from((b"", b"", b"\x00", b"/a0")),
    st.sampled_from((False, False, True)),
)
BATCHES = st.lists(st.lists(WRITES, min_size=1, max_size=5), min_size=1, max_size=12)


class Model:
    """The state at every revision, from the empty store on."""

    def __init__(self) -> None:
        self.states: list[State] = [{}, {}]  # revisions 0 and 1

    def apply(self, write: Write) -> None:
        now = dict(self.states[-1])
        revision = len(self.states)
        if write.delete:
            gone = [key for key in now if _deletes(write, key)]
            if not gone:
                return
            for key in gone:
                del now[key]
        else:
            _, create, version = now.get(write.key, (0, revision, 0))
            now[write.key] = (revision, create, version + 1)
        self.states.append(now)


def _deletes(write: Write, key: bytes) -> bool:
    if not write.range_end:
        return key == write.key
    return write.key <= key and (write.range_end == b"\x00" or key < write.range_end)


def commit(stand: Stand, model: Model, batch: list[Write]) -> None:
    """One group commit, and the same writes one after the other in the model."""
    calls = []
    for index, write in enumerate(batch):
        model.apply(write)
        if write.delete:
            calls.append(delete_call(write.key, write.range_end, tag=index))
        else:
            calls.append(put_call(write.key, b"at %d" % (len(model.states) - 1), tag=index))
    stand.write(*calls)
    assert stand.owned.known == len(model.states) - 1
    if batch[-1].aged:
        with_tombstones(stand.engine)


def read(stand: Stand, revision: int, span: KeyRange) -> State:
    slices = mvcc.rows_at(stand.engine, span, revision)
    rows = [row for piece in slices for row in piece]
    keys = [key_of(row.raw) for row in rows]
    assert keys == sorted(set(keys)), "strictly ascending"
    assert all(value_of(row.raw) == b"at %d" % row.mod for row in rows)
    return {key: row[:3] for key, row in zip(keys, rows, strict=True)}


def seen(model: Model, revision: int, span: KeyRange) -> State:
    return {key: row for key, row in model.states[revision].items() if span.contains(key)}


def history(batches: list[list[Write]]) -> tuple[Stand, Model]:
    stand, model = Stand(), Model()
    for batch in batches:
        commit(stand, model, batch)
    return stand, model


@given(BATCHES, SPANS)
@settings(max_examples=150)
def test_inv05_every_revision_sees_exactly_the_writes_up_to_it(
    batches: list[list[Write]], span: KeyRange
) -> None:
    stand, model = history(batches)
    for revision in range(1, len(model.states)):
        assert read(stand, revision, span) == seen(model, revision, span)


@given(BATCHES, KEYS)
@settings(max_examples=100)
def test_inv05_single_key_is_seen_as_in_a_range(batches: list[list[Write]], key: bytes) -> None:
    stand, model = history(batches)
    for revision in range(1, len(model.states)):
        row = mvcc.at(stand.engine, key, revision)
        assert (None if row is None else row[:3]) == model.states[revision].get(key)
        before = mvcc.before(stand.engine, key, revision)
        changed = model.states[revision].get(key) != model.states[revision - 1].get(key)
        if changed:
            expected = model.states[revision - 1].get(key)
            assert (None if before is None else before[:3]) == expected


@given(BATCHES, SPANS)
@settings(max_examples=100)
def test_inv05_newest_rows_are_the_last_state(batches: list[list[Write]], span: KeyRange) -> None:
    stand, model = history(batches)
    rows = [row for piece in mvcc.rows_newest(stand.engine, span) for row in piece]
    found = {key_of(row.raw): row[:3] for row in rows}
    assert found == seen(model, len(model.states) - 1, span)


@given(BATCHES, st.data())
@settings(max_examples=120)
def test_inv20_compaction_changes_no_read_at_or_above_the_floor(
    batches: list[list[Write]], data: st.DataObject
) -> None:
    """Floors rise in between, with more writes behind each."""
    stand, model = Stand(), Model()
    for batch in batches:
        commit(stand, model, batch)
        newest = len(model.states) - 1
        floor = data.draw(st.integers(max(stand.floor, 0), newest), label="floor")
        if floor > stand.floor:
            stand.floor = floor
            stand.owner.compact(floor, None)
            stand.run()
        for revision in range(stand.floor, newest + 1):
            span = KeyRange(b"", None)
            assert read(stand, revision, span) == seen(model, revision, span)


@given(BATCHES)
@settings(max_examples=60)
def test_inv20_compaction_to_the_newest_revision_keeps_what_lives_and_its_last_change(
    batches: list[list[Write]],
) -> None:
    """Nothing is left behind: history would otherwise grow with every deleted key."""
    stand, model = history(batches)
    newest = len(model.states) - 1
    stand.owner.compact(newest, None)
    stand.run()
    kept = stand.engine.count(b"h", b"i", 10_000)
    changed = model.states[newest] != model.states[newest - 1]
    last_change = [k for k in model.states[newest - 1] if not _same(model, newest, k)]
    gone = [k for k in model.states[newest - 1] if k not in model.states[newest]]
    assert changed or newest == 1
    stones = tombstones(stand.engine)
    assert kept == len(last_change) + stones
    assert stones in (0, len(gone))


def _same(model: Model, revision: int, key: bytes) -> bool:
    return model.states[revision].get(key) == model.states[revision - 1].get(key)


@given(BATCHES, SPANS, st.integers(0, 4), st.data())
@settings(max_examples=100)
def test_inv05_reads_through_the_owner_count_and_limit_as_the_model(
    batches: list[list[Write]], span: KeyRange, limit: int, data: st.DataObject
) -> None:
    """Pages of a listing, at any revision, with the totals that they share."""
    stand, model = history(batches)
    revision = data.draw(st.integers(1, len(model.states) - 1), label="revision")
    expected = sorted(seen(model, revision, span))
    listed: list[bytes] = []
    rest: KeyRange | None = span
    while rest is not None:
        sink = stand.read(read_call(rest, revision, limit=limit))
        assert sink.total == len(expected) - len(listed)
        more = limit > 0 and len(sink.keys) > limit
        page = sink.keys[:limit] if more else sink.keys
        listed += page
        rest = KeyRange(page[-1] + b"\x00", span.end) if more else None
    assert listed == expected


def test_keys_of_this_file_lie_in_several_tablets() -> None:
    assert PREFIXES == (b"/a/", b"/b/")
