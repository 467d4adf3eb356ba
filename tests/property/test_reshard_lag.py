"""A source that has not heard of the new map, while the target writes the rows that both share.

What it is: a sealed source whose store shows what the target has written since, and all that reads
there: what was true at a revision stays true, and nothing newer is told. What it is not: the move
itself (test_reshard_shared.py).

Worked example: b01 is put at 9, sealed and taken over; the target puts it at 20. The source grants
a lease, by which its store catches up: its newest row of b01 is of 20, and a list at 9 says 9.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from kubebraid.base import errors
from kubebraid.base.keyspace import KeyRange
from kubebraid.base.limits import RESHARD_FREEZE_MS
from kubebraid.base.ports import (
    WRITE_DELETE,
    WRITE_LEASE_GRANT,
    WRITE_PUT,
    LogReply,
    PointCall,
    PointReply,
    ReadCall,
    WriteCall,
    WriteReply,
)
from kubebraid.base.reshard import Phase
from kubebraid.base.revision import Revision
from kubebraid.proto import requests
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.proto.kvwire import key_of
from kubebraid.shard import counts as counts_module
from kubebraid.shard import keycodec
from kubebraid.shard.ownership import may_have_left
from tests import moving
from tests.moving import MOVED, SYSTEM, Moving
from tests.shared_rows import engines_that_share
from tests.unit.shard.fakes import Sink

SPAN: Final = KeyRange(b"b", b"c")
LEASE: Final = 77


@pytest.fixture(autouse=True)
def one_row_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "engines_of", engines_that_share)


class Deaf:
    """A process that hears no news, and gets no turn."""

    def __init__(self, heard: Any) -> None:
        self.heard = heard

    def follow(self, view: object) -> None: ...

    def turn(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.heard, name)


def filled() -> Moving:
    """With versions and deletions; every key is counted."""
    pair = Moving()
    for n in range(12):
        pair.put(b"b%02d" % n, b"first")
        pair.put(b"a%02d" % n, b"first")
    for n in range(0, 12, 3):
        pair.put(b"b%02d" % n, b"second")
    for n in range(0, 12, 4):
        pair.delete(b"b%02d" % n)
    pair.put(b"c1")
    pair.put(b"b01", b"last of all")
    pair.settle(20)
    return pair


def sealed(pair: Moving, phase: Phase = Phase.FROZEN) -> None:
    pair.move(MOVED, "shard-1")
    pair.lead(Phase.PREPARING, Phase.READY, phase)


def taken(pair: Moving) -> None:
    """The target serves and has written; the source has heard nothing of it."""
    late = pair.owners["shard-0"]
    pair.owners["shard-0"] = Deaf(late)
    pair.commit()
    for n in range(0, 12, 2):
        pair.put(b"b%02d" % n, b"of the target")
    for n in range(1, 12, 2):
        pair.delete(b"b%02d" % n)
    for n in range(20, 24):
        pair.put(b"b%02d" % n, b"of the target")
    pair.owners["shard-0"] = late
    assert MOVED in pair.owned["shard-0"].sealed
    assert may_have_left(pair.owned["shard-0"])


def late_write(pair: Moving, kind: int, payload: bytes) -> Revision:
    """By the map that the source knows; its store catches up by it."""
    owned = pair.owned["shard-0"]
    tablets = () if kind == WRITE_LEASE_GRANT else (SYSTEM,)
    told: list[WriteReply] = []
    call = WriteCall(kind, payload, tablets, owned.map_version, object())
    pair.owners["shard-0"].submit([call], told.append)
    pair.settle(5)
    assert told[0].error is None, told[0].error
    return told[0].revision


def put_a(pair: Moving, key: bytes = b"a99") -> Revision:
    request = rpc_pb2.PutRequest(key=key, value=b"late")
    return late_write(pair, WRITE_PUT, request.SerializeToString())


def grant(pair: Moving) -> None:
    late_write(pair, WRITE_LEASE_GRANT, requests.encode_lease_grant(LEASE, 600))


def look(pair: Moving) -> None:
    """It takes no revision, as the copies that it makes for others do, and its marks."""
    pair.engines["shard-0"].catch_up()


UNNUMBERED: Final = [grant, look]
"""Behind these no revision that this shard knows of lies above what was sealed."""


def lagging(pair: Moving, catches_up: Callable[[Moving], object]) -> None:
    sealed(pair)
    taken(pair)
    engine = pair.engines["shard-0"]
    assert engine.get(keycodec.newest(b"b20")) is None
    catches_up(pair)
    assert engine.get(keycodec.newest(b"b20")) is not None, "the source sees what the target wrote"
    pair.settle(RESHARD_FREEZE_MS + 50)  # a switch counts no more


def found(sink: Sink) -> dict[bytes, bytes]:
    assert sink.refused is None, sink.refused
    return {key_of(row.raw): row.raw for row in sink.rows}


def truth(pair: Moving) -> dict[Revision, dict[bytes, bytes]]:
    """What [b, c) is at each revision that the source can be asked for."""
    closed = pair.owned["shard-0"].closed[MOVED]
    return {at: found(pair.read("shard-0", SPAN, at)) for at in range(2, closed + 1)}


def counted(pair: Moving, revision: Revision, span: KeyRange = SPAN) -> int | None:
    owned = pair.owned["shard-0"]
    sink = Sink()
    call = ReadCall(span, revision, ((MOVED, 0),), owned.map_version, 0, True)
    pair.owners["shard-0"].read(call, sink)
    pair.settle(5)
    return sink.total


@pytest.mark.parametrize("catches_up", UNNUMBERED)
def test_inv05_a_list_says_what_was_true_at_its_revision(
    catches_up: Callable[[Moving], object],
) -> None:
    pair = filled()
    at = truth(pair)
    lagging(pair, catches_up)
    for revision, rows in at.items():
        whole = pair.read("shard-0", SPAN, revision)
        assert found(whole) == rows, revision
        assert whole.total == len(rows)
    # What the target wrote lies above all that is closed here: it is waited for.
    owned, sink = pair.owned["shard-0"], Sink()
    newest = pair.sequencer.sample().last[MOVED]
    call = ReadCall(SPAN, newest, ((MOVED, newest),), owned.map_version, 0, False)
    pair.owners["shard-0"].read(call, sink)
    pair.settle(5)
    assert sink.silent
    pair.tell()
    pair.settle(5)
    assert sink.refused is errors.OTHER_MAP


@pytest.mark.parametrize("catches_up", [*UNNUMBERED, put_a])
def test_inv05_a_count_says_what_was_true_at_its_revision(
    catches_up: Callable[[Moving], object],
) -> None:
    pair = filled()
    at = truth(pair)
    lagging(pair, catches_up)
    for revision, rows in at.items():
        assert counted(pair, revision) == len(rows), revision


@pytest.mark.parametrize("catches_up", [*UNNUMBERED, put_a])
def test_inv05_pages_say_what_was_true_at_their_revision(
    catches_up: Callable[[Moving], object],
) -> None:
    pair = filled()
    at = truth(pair)
    lagging(pair, catches_up)
    for revision, rows in at.items():
        for start in (b"b", b"b02", b"b05"):
            span = KeyRange(start, b"c")
            keys = sorted(key for key in rows if key >= start)
            page = pair.read("shard-0", span, revision, limit=2)
            assert page.keys[:2] == keys[:2], revision
            assert page.total == len(keys), (revision, start)


@pytest.mark.parametrize("catches_up", UNNUMBERED)
def test_inv05_a_listing_that_began_before_the_switch_goes_on(
    catches_up: Callable[[Moving], object],
) -> None:
    pair = filled()
    newest = pair.owned["shard-0"].closed[MOVED]
    rows = truth(pair)[newest]
    first = pair.read("shard-0", SPAN, newest, limit=3)
    assert first.total == len(rows)
    lagging(pair, catches_up)
    paged = first.keys[:3]
    while len(paged) < len(rows):
        page = pair.read("shard-0", KeyRange(paged[-1] + b"\x00", b"c"), newest, limit=3)
        assert page.total == len(rows) - len(paged)
        paged += page.keys[:3]
    assert paged == sorted(rows)


def test_inv05_a_list_over_a_tablet_that_stays_says_the_same_of_both() -> None:
    """The write by which the store caught up is the newest that this shard knows of."""
    pair = filled()
    rows = truth(pair)[pair.owned["shard-0"].closed[MOVED]]
    sealed(pair)
    revision = put_a(pair)
    taken(pair)
    look(pair)
    pair.settle(RESHARD_FREEZE_MS + 50)
    whole = found(pair.read("shard-0", KeyRange(b"a", b"c"), revision))
    assert b"a99" in whole
    assert {key: raw for key, raw in whole.items() if key.startswith(b"b")} == rows
    page = pair.read("shard-0", KeyRange(b"a", b"c"), revision, limit=1)
    assert page.total == len(whole) == counted(pair, revision, KeyRange(b"a", b"c"))


def test_inv05_single_keys_say_what_was_true_at_their_revision() -> None:
    pair = filled()
    at = truth(pair)
    lagging(pair, grant)
    owned = pair.owned["shard-0"]
    for revision, rows in at.items():
        for n in (*range(12), 20):
            key = b"b%02d" % n
            told: list[PointReply] = []
            call = PointCall(key, revision, MOVED, revision, owned.map_version, object())
            pair.owners["shard-0"].points([call], told.append)
            (reply,) = told
            assert reply.error is None
            assert (None if reply.row is None else reply.row.raw) == rows.get(key), (key, revision)


def test_inv07_the_log_says_what_it_said() -> None:
    pair = filled()
    closed = pair.owned["shard-0"].closed[MOVED]
    before: list[LogReply] = [pair.history("shard-0", MOVED, first) for first in (0, 9, closed)]
    lagging(pair, grant)
    after = [pair.history("shard-0", MOVED, first) for first in (0, 9, closed)]
    assert [reply.commits for reply in after] == [reply.commits for reply in before]
    assert max(commit.revision for commit in after[0].commits) == closed


# -- work in the background ------------------------------------------------------------------------


@pytest.fixture
def few_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """In each counter."""
    monkeypatch.setattr(counts_module, "BUCKET_KEYS_MAX", 40)
    monkeypatch.setattr(counts_module, "_HALF", 20)


def hears(pair: Moving) -> None:
    """The new map comes at last: each counts what is its own."""
    pair.tell()
    pair.lead(Phase.DRAINING, Phase.DONE)
    live = [key for key, _ in pair.engines["shard-1"].scan(b"n", b"o", 1_000)]
    for name, owner in pair.owners.items():
        mine = [key for key in live if pair.tablets.tablet_of(key[1:]).shard == name]
        assert owner._counts.known(KeyRange(b"", None)) == len(mine)


@pytest.mark.usefixtures("few_keys")
def test_counters_are_not_cut_by_rows_that_may_be_anothers() -> None:
    """A counter of keys on both sides of the border is full while the target deletes some."""
    pair = filled()
    sealed(pair)
    taken(pair)
    counts = pair.owners["shard-0"]._counts
    for n in range(50, 80):
        put_a(pair, b"a%02d" % n)
    pair.settle(RESHARD_FREEZE_MS + 50)
    assert counts._crowded, "it waits"
    hears(pair)
    assert not counts._crowded


@pytest.mark.usefixtures("few_keys")
def test_nothing_is_counted_of_rows_that_may_be_anothers() -> None:
    """Counting has begun when the tablet is sealed."""
    pair = filled()
    sealed(pair)
    counts = pair.owners["shard-0"]._counts
    counts.begin_anew()
    taken(pair)
    grant(pair)
    pair.settle(RESHARD_FREEZE_MS + 50)
    assert not counts.complete
    hears(pair)


def test_what_else_looks_at_the_rows_does_not_fail() -> None:
    pair = filled()
    lagging(pair, grant)
    owner = pair.owners["shard-0"]
    pair.compact(10)
    pair.settle(RESHARD_FREEZE_MS)
    assert owner.status().tablets == 2
    borders: list[object] = []
    owner.sample_keys(SYSTEM, 2, False, borders.append)
    assert len(borders) == 1
    for n in range(12):
        request = rpc_pb2.DeleteRangeRequest(key=b"a%02d" % n)
        late_write(pair, WRITE_DELETE, request.SerializeToString())
    assert min(pair.log("shard-1", MOVED)) < 10, "the history rests"
    hears(pair)
    pair.settle(50)
    assert min(pair.log("shard-1", MOVED)) >= 10
