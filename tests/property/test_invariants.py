"""The invariants of the design, one by one, as far as a single process shows them.

What it is: a short scene for each invariant, on one tablet, on several, and on a real etcd, which
must pass them too. What it is not: a search; test_history.py and test_watch_history.py look for
scenes that nobody thought of.

Words: `Driver.ask` compares every answer with the model's, so a scene only says what it adds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from kubebraid.proto.etcd import kv_pb2, rpc_pb2
from tests.robustness.checks import COMPACTED, FUTURE, KEY_NOT_FOUND, LEASE_NOT_FOUND, Refusal
from tests.robustness.driver import EVERYTHING, Driver
from tests.robustness.etcd_world import EtcdWorld
from tests.robustness.traffic import LAYOUT
from tests.robustness.validate import events_of, is_bookmark
from tests.robustness.watching import Client, Watcher
from tests.world import World

POD, POD_BARRIER, EVENT, OTHER = (
    b"/registry/pods/ns/a",
    b"/registry/pods",
    b"/registry/events/ns/e",
    b"compact_rev_key",
)
TABLETS = (POD, EVENT, OTHER, b"/a/x", b"\xff")  # a key of each of five tablets


@pytest.fixture(
    params=["one tablet", "several tablets", pytest.param("etcd", marks=pytest.mark.etcd)]
)
def store(request: pytest.FixtureRequest) -> Iterator[Driver]:
    if request.param == "etcd":
        etcd = EtcdWorld()
        yield Driver(etcd)
        etcd.close()
    else:
        yield Driver(World(LAYOUT if request.param == "several tablets" else ()))


@pytest.fixture(params=["one tablet", "several tablets"])
def ours(request: pytest.FixtureRequest) -> Driver:
    """For what would take etcd minutes of real time."""
    return Driver(World(LAYOUT if request.param == "several tablets" else ()))


# -- requests ----------------------------------------------------------------------------------


def put(key: bytes, value: bytes = b"v", lease: int = 0) -> rpc_pb2.PutRequest:
    return rpc_pb2.PutRequest(key=key, value=value, lease=lease)


def delete(key: bytes, range_end: bytes = b"") -> rpc_pb2.DeleteRangeRequest:
    return rpc_pb2.DeleteRangeRequest(key=key, range_end=range_end)


def get(key: bytes, revision: int = 0) -> rpc_pb2.RangeRequest:
    return rpc_pb2.RangeRequest(key=key, revision=revision)


def everything(revision: int) -> rpc_pb2.RangeRequest:
    request = rpc_pb2.RangeRequest()
    request.CopyFrom(EVERYTHING)
    request.revision = revision
    return request


def txn(
    *operations: rpc_pb2.PutRequest | rpc_pb2.DeleteRangeRequest,
    compare: rpc_pb2.Compare | None = None,
) -> rpc_pb2.TxnRequest:
    request = rpc_pb2.TxnRequest(compare=[compare] if compare else [])
    for operation in operations:
        if isinstance(operation, rpc_pb2.PutRequest):
            request.success.add().request_put.CopyFrom(operation)
        else:
            request.success.add().request_delete_range.CopyFrom(operation)
    return request


def mod_is(key: bytes, revision: int) -> rpc_pb2.Compare:
    return rpc_pb2.Compare(
        key=key,
        target=rpc_pb2.Compare.MOD,
        result=rpc_pb2.Compare.EQUAL,
        mod_revision=revision,
    )


def revisions(outcomes: list[Any]) -> list[int]:
    assert not any(isinstance(outcome, Refusal) for outcome in outcomes), outcomes
    return [outcome.header.revision for outcome in outcomes]


def watch_all(
    store: Driver, start: int = 0, client: Client | None = None
) -> tuple[Client, Watcher]:
    client = client or Client(store.world.watch_stream())
    watcher = client.create(
        rpc_pb2.WatchCreateRequest(
            key=b"\x00", range_end=b"\x00", start_revision=start, prev_kv=True
        )
    )
    client.take()
    return client, watcher


# -- the invariants ----------------------------------------------------------------------------


def test_inv01_concurrent_writes_of_all_tablets_get_revisions_of_their_own(store: Driver) -> None:
    """1, Unique: no two committed transactions share a revision, and all keys of one share one."""
    got = revisions(store.ask(*(put(key) for key in TABLETS), txn(put(b"/b"), put(b"/c"))))
    assert sorted(got) == [2, 3, 4, 5, 6, 7]
    rows = store.answer(rpc_pb2.RangeRequest(key=b"/b", range_end=b"/d")).kvs
    assert {row.mod_revision for row in rows} == {got[-1]}


def test_inv02_write_after_an_answer_gets_a_higher_revision_on_any_tablet(store: Driver) -> None:
    """2, Real time: who writes after another was answered gets the later revision, on whichever
    tablet, and also when the process was killed or restarted in between."""
    got = [store.answer(put(key)).header.revision for key in TABLETS]
    store.crash()
    got += [store.answer(put(key)).header.revision for key in reversed(TABLETS)]
    store.restart()
    got.append(store.answer(put(OTHER)).header.revision)
    assert got == sorted(set(got))


def test_inv03_versions_of_a_key_count_up_and_begin_anew_after_its_deletion(store: Driver) -> None:
    """3, Per key: mod_revision only grows, version counts each put, create_revision stays until
    the key is deleted; and a put in between on another tablet changes nothing of it."""
    told = []
    for request in (put(POD), put(EVENT), put(POD), delete(POD), put(POD), put(POD)):
        store.ask(request)
        told += [
            (row.create_revision, row.mod_revision, row.version)
            for row in store.answer(get(POD)).kvs
        ]
    assert told == [(2, 2, 1), (2, 2, 1), (2, 4, 2), (6, 6, 1), (6, 7, 2)]
    store.crash()
    assert store.answer(get(POD)).kvs[0].version == 2


def test_inv04_header_of_a_write_is_its_revision_and_reads_take_none(store: Driver) -> None:
    """4, Header: a write's header is the mod_revision of what it wrote; a read's covers all that
    was answered before, on any tablet; reads, failed compares and deletes of nothing take none."""
    written = store.answer(put(EVENT)).header.revision
    assert store.answer(get(EVENT)).kvs[0].mod_revision == written
    for request in (get(POD_BARRIER), delete(POD), txn(put(POD), compare=mod_is(POD, 9)), get(POD)):
        assert store.answer(request).header.revision == written, request
    assert store.answer(put(POD)).header.revision == written + 1


def test_inv04_reads_in_the_turn_of_a_write_show_it_wholly_or_not_at_all(store: Driver) -> None:
    """4, Header: a row is never newer than the header that it comes with."""
    outcomes: list[Any] = store.ask(EVERYTHING, put(POD), EVERYTHING, put(EVENT), EVERYTHING)
    for answer in outcomes[::2]:
        assert all(row.mod_revision <= answer.header.revision for row in answer.kvs)
        assert len(answer.kvs) == answer.header.revision - 1


def test_inv05_state_at_a_revision_is_the_same_for_ever(store: Driver) -> None:
    """5, Snapshot: a range at revision R is what was there at R, however often it is read and
    whatever was written, killed or compacted (below R) since."""
    pictures: dict[int, list[kv_pb2.KeyValue]] = {}
    for number, key in enumerate((*TABLETS, *TABLETS, *TABLETS)):
        store.ask(delete(key) if number % 4 == 3 else put(key, b"%d" % number))
        pictures[store.model.revision] = list(store.answer(EVERYTHING).kvs)
    store.crash()
    store.ask(rpc_pb2.CompactionRequest(revision=6, physical=True), put(b"/new"))
    store.restart()
    for revision, picture in pictures.items():
        if revision >= 6:
            assert list(store.answer(everything(revision)).kvs) == picture, revision


def test_inv06_transaction_over_tablets_is_seen_whole_or_not_at_all(store: Driver) -> None:
    """6, Atomicity: at each revision all keys of a transaction are there or none, and a watch is
    told of them in one answer."""
    client, watcher = watch_all(store)
    outcomes: list[Any] = store.ask(
        put(b"/x"), txn(*(put(key) for key in TABLETS)), EVERYTHING, delete(b"\x00", b"\x00")
    )
    client.take()
    client.judge(store.model, complete=True)
    (revision,) = {
        e.kv.mod_revision for e in events_of(watcher.responses) if e.kv.key == POD and not e.type
    }
    for at in range(1, store.model.revision + 1):
        keys = {row.key for row in store.answer(everything(at)).kvs} & set(TABLETS)
        assert len(keys) in (0, len(TABLETS)), f"{keys} at {at}"
    parts = [r for r in watcher.responses if any(e.kv.mod_revision == revision for e in r.events)]
    assert len(parts) == 1, outcomes


def test_inv07_watches_from_every_revision_tell_the_rest_of_the_history(store: Driver) -> None:
    """7, Watch: what is delivered is the history from the start revision, in order, once, with
    what was there before; whether it was to be read from the log or came as it happened."""
    for number, key in enumerate((*TABLETS, *TABLETS)):
        store.ask(put(key, b"%d" % number), *([delete(key)] if number % 3 == 2 else []))
    client = Client(store.world.watch_stream())
    for start in range(1, store.model.revision + 3):
        watch_all(store, start, client)
    store.ask(txn(put(POD), put(EVENT)), delete(OTHER), put(OTHER))
    client.take()
    client.judge(store.model, complete=True)


def test_inv07_watch_on_one_tablet_tells_what_happened_on_its_border(store: Driver) -> None:
    """7, Filter: the key without the slash, which the tablet owns, is not of the prefix; the end
    of the prefix is not either."""
    client = Client(store.world.watch_stream())
    watcher = client.create(
        rpc_pb2.WatchCreateRequest(key=b"/registry/pods/", range_end=b"/registry/pods0")
    )
    client.take()
    store.ask(put(POD_BARRIER), put(POD), put(b"/registry/pods0"), put(b"/registry/pods/"))
    client.take()
    client.judge(store.model, complete=True)
    told = {event.kv.key for event in events_of(watcher.responses)}
    assert told == {POD, b"/registry/pods/"}


def test_inv08_watch_cut_anywhere_goes_on_where_it_was(store: Driver) -> None:
    """8, Resumable: a watch that begins after the last event seen gives exactly the rest, on
    another stream, after a crash; or says what was compacted if that is gone."""
    client, watcher = watch_all(store)
    for key in TABLETS:
        store.ask(put(key))
    client.take()
    store.crash()
    store.ask(*(put(key) for key in TABLETS))
    for seen in [event.kv.mod_revision for event in events_of(watcher.responses)]:
        successor, rest = watch_all(store, seen + 1)
        successor.judge(store.model, complete=True)
        assert events_of(rest.responses)[0].kv.mod_revision == seen + 1
    store.ask(rpc_pb2.CompactionRequest(revision=5))
    for start, refused in ((4, True), (5, False)):
        successor, rest = watch_all(store, start)
        assert rest.responses[0].created
        assert rest.responses[-1].compact_revision == (5 if refused else 0)
        assert rest.live != refused


@pytest.mark.parametrize("bookmarked", [False, True])
def test_inv08_slow_client_that_lacks_nothing_compacted_is_not_cancelled(
    ours: Driver, bookmarked: bool
) -> None:
    """8, Resumable: a client that does not read loses its watch only if what it still lacks is
    gone. What was before, it has: told by a bookmark, or because it was up to date."""
    ours.ask(*(put(OTHER) for _ in range(5)))
    client = Client(ours.world.watch_stream())
    watcher = client.create(rpc_pb2.WatchCreateRequest(key=POD))
    client.take()
    ours.ask(*(put(OTHER) for _ in range(5)))
    if bookmarked:
        client.request_progress()
        client.take()
    floor = ours.model.revision
    client.stream.stall()
    ours.ask(put(POD))
    ours.ask(rpc_pb2.CompactionRequest(revision=floor))
    client.stream.resume()
    client.take()
    assert watcher.live, f"cancelled for {floor}, lacks only {floor + 1}"
    client.judge(ours.model, complete=True)


def test_inv08_slow_client_is_told_what_was_compacted_before_it_read_it(ours: Driver) -> None:
    """8, Resumable: and if it is gone, the watch ends with the right compact_revision."""
    client, watcher = watch_all(ours)
    client.stream.stall()
    for _ in range(3):
        ours.ask(*(put(key) for key in TABLETS))
    ours.ask(rpc_pb2.CompactionRequest(revision=9))
    client.stream.resume()
    client.take()
    client.judge(ours.model, complete=True)
    assert watcher.live or watcher.compacted()


def test_inv09_nothing_comes_at_or_below_a_bookmark(store: Driver) -> None:
    """9, Bookmarkable: progress R comes after everything up to R, nothing at or below R follows,
    and the next progress is no lower."""
    client, watcher = watch_all(store)
    for key in (*TABLETS, *TABLETS):
        store.ask(put(key), put(POD))
        client.request_progress()
        client.take()
        client.judge(store.model, complete=True)
    marks = [r.header.revision for r in watcher.responses if is_bookmark(r)]
    assert marks == sorted(marks)
    assert marks[-1] == store.model.revision


def test_inv10_idle_store_answers_a_request_for_progress_with_its_newest_revision(
    store: Driver,
) -> None:
    """10, Progress is live: however many tablets are idle, the answer covers all that was
    acknowledged, also for a watch on a tablet that nothing was ever written to."""
    store.ask(*(put(key) for key in TABLETS))
    client = Client(store.world.watch_stream())
    for key in (b"/registry/pods/", b"/registry/events/", b"/never/"):
        client.create(rpc_pb2.WatchCreateRequest(key=key, range_end=key[:-1] + b"0"))
    client.take()
    for _ in range(2):
        client.request_progress()
        assert [mark.header.revision for mark in client.take()] == [store.model.revision]
        store.ask(put(OTHER))


def test_inv10_bookmarks_come_by_themselves_to_who_asked_for_them(ours: Driver) -> None:
    """10, Progress is live: a watch with progress_notify and no events is told every interval."""
    client = Client(ours.world.watch_stream())
    request = rpc_pb2.WatchCreateRequest(key=b"/never/", range_end=b"/never0", progress_notify=True)
    told = client.create(request)
    silent = client.create(rpc_pb2.WatchCreateRequest(key=b"/never/", range_end=b"/never0"))
    client.take()
    ours.ask(put(POD))
    ours.advance(1_400_000)
    client.take()
    client.judge(ours.model, complete=True)
    marks = [r.header.revision for r in told.responses if is_bookmark(r)]
    assert marks
    assert marks[-1] == ours.model.revision
    assert not any(is_bookmark(response) for response in silent.responses)


def test_inv11_progress_asked_for_amid_writes_is_never_ahead_of_an_event(store: Driver) -> None:
    """11, Watermark: what is declared closed has been published, also when the question arrives
    before the writes are carried out; and the other way round."""
    client, _ = watch_all(store)
    one, _ = watch_all(store)
    for key in TABLETS:
        client.request_progress()
        store.ask(put(key), txn(put(POD), put(EVENT)), put(OTHER))
        one.request_progress()
        for each in (client, one):
            each.take()
            each.judge(store.model, complete=True)


def test_inv12_a_list_and_its_watch_give_the_later_list(store: Driver) -> None:
    """12, Diff: the state at a, with the events after a up to b, is the state at b."""
    for number, key in enumerate((*TABLETS, *reversed(TABLETS), *TABLETS)):
        store.ask(put(key, b"%d" % number), delete(TABLETS[number % 4]))
    for start in range(1, store.model.revision):
        client, watcher = watch_all(store, start + 1)
        state = {row.key: row for row in store.answer(everything(start)).kvs}
        for event in events_of(watcher.responses):
            if event.type == kv_pb2.Event.DELETE:
                del state[event.kv.key]
            else:
                state[event.kv.key] = event.kv
        assert [state[key] for key in sorted(state)] == list(store.answer(EVERYTHING).kvs)
        client.stream.close()


def test_inv13_revisions_go_on_without_a_gap_after_every_kind_of_end(store: Driver) -> None:
    """13, Sequencer: what a later incarnation issues is above all that an earlier one issued."""
    for end in (store.crash, store.restart, store.crash, store.crash, store.restart):
        before = store.model.revision
        end()
        assert store.answer(get(POD)).header.revision == before
        assert store.answer(put(POD)).header.revision == before + 1


def test_inv14_requests_that_come_to_nothing_leave_no_revision_behind(store: Driver) -> None:
    """14, Alloc: no revision is allocated and then neither committed nor void: what is refused or
    changes nothing, in the midst of a batch, stops neither writes nor progress."""
    client, _ = watch_all(store)
    got = store.ask(
        put(POD),
        txn(put(POD), compare=mod_is(EVENT, 7)),
        put(EVENT, lease=404),
        delete(b"/nothing"),
        txn(delete(b"/nothing"), delete(b"/nobody")),
        rpc_pb2.PutRequest(key=b"/nothing", ignore_value=True),
        put(OTHER),
    )
    assert got[2] == LEASE_NOT_FOUND
    assert got[5] == KEY_NOT_FOUND
    assert store.model.revision == 3
    client.request_progress()
    assert [mark.header.revision for mark in client.take()] == [3]
    client.judge(store.model, complete=True)


def test_inv15_every_incarnation_continues_the_log_of_the_last_one(store: Driver) -> None:
    """15, Single writer: the log of a tablet grows in one line through all incarnations: a watch
    from the beginning tells each revision once, whoever wrote it."""
    for round_ in range(4):
        store.ask(*(put(key, b"%d" % round_) for key in TABLETS))
        store.crash()
    client, watcher = watch_all(store, 1)
    client.judge(store.model, complete=True)
    told = [event.kv.mod_revision for event in events_of(watcher.responses)]
    assert told == list(range(2, 2 + 4 * len(TABLETS)))


def test_inv16_what_was_refused_is_never_seen(store: Driver) -> None:
    """16, Outcomes: a definite failure is invisible, in reads, in watches, and after a crash."""
    client, watcher = watch_all(store)
    store.ask(put(OTHER), rpc_pb2.CompactionRequest(revision=2))
    refused = store.ask(
        put(POD, lease=404),
        txn(put(POD), put(EVENT, lease=404)),
        txn(put(POD), put(POD)),
        rpc_pb2.PutRequest(value=b"no key"),
        txn(put(POD), delete(b"")),
    )
    assert all(isinstance(outcome, Refusal) for outcome in refused)
    client.take()
    client.judge(store.model, complete=True)
    assert {event.kv.key for event in events_of(watcher.responses)} == {OTHER}
    store.crash()
    assert [row.key for row in store.answer(EVERYTHING).kvs] == [OTHER]


def test_inv20_compacted_revisions_are_refused_on_every_tablet_at_once(store: Driver) -> None:
    """20, Compaction: once Compact(C) is answered, nothing below C is read anywhere, and C and
    above are what they were; a crash changes neither; C itself cannot be compacted again."""
    store.ask(*(put(key) for key in TABLETS), *(put(key) for key in TABLETS))
    store.ask(delete(POD))
    floor = 7
    store.ask(rpc_pb2.CompactionRequest(revision=floor))
    for _ in range(2):
        for key in (*TABLETS, POD_BARRIER):
            assert store.ask(get(key, floor - 1)) == [COMPACTED], key
            store.answer(get(key, floor))
        store.answer(everything(floor))
        assert store.ask(rpc_pb2.CompactionRequest(revision=floor)) == [COMPACTED]
        assert store.ask(rpc_pb2.CompactionRequest(revision=99)) == [FUTURE]
        store.crash()
    store.ask(rpc_pb2.CompactionRequest(revision=store.model.revision, physical=True))
    store.check_now()


def test_inv21_leased_keys_of_all_tablets_go_in_one_revision_when_time_is_up(
    store: Driver,
) -> None:
    """21, Leases: keys are there as long as the lease, never longer than seconds after; their end
    is one revision with an event for each that tells what was there."""
    store.ask(rpc_pb2.LeaseGrantRequest(ID=5, TTL=2))
    store.ask(*(put(key, lease=5) for key in TABLETS), put(b"/stays"))
    client, watcher = watch_all(store)
    before = store.model.revision
    store.advance(1_000)
    assert store.model.revision == before
    store.advance(5_000)
    assert store.model.revision == before + 1, "the lease must have ended"
    client.take()
    client.judge(store.model, complete=True)
    assert {event.kv.key for event in events_of(watcher.responses)} == set(TABLETS)
    assert store.ask(put(POD, lease=5)) == [LEASE_NOT_FOUND]


def test_inv21_leases_survive_a_crash_and_still_end(store: Driver) -> None:
    """21, Leases: neither lease nor attachment is lost with the process, nor kept for ever."""
    store.ask(rpc_pb2.LeaseGrantRequest(ID=5, TTL=2), rpc_pb2.LeaseGrantRequest(ID=6, TTL=900))
    store.ask(put(POD, lease=5), put(EVENT, lease=6), put(OTHER, lease=5))
    store.crash()
    for lease in (5, 6):
        store.ask(rpc_pb2.LeaseTimeToLiveRequest(ID=lease, keys=True))
    store.advance(6_000)
    assert list(store.model.leases) == [6]
    assert [row.key for row in store.answer(EVERYTHING).kvs] == [EVENT]


def test_inv21_nothing_hangs_on_a_lease_once_it_is_revoked(store: Driver) -> None:
    """21, Leases: a put in the turn of the revocation is deleted with it or refused; a key that
    was put again without lease, or with another, stays."""
    store.ask(rpc_pb2.LeaseGrantRequest(ID=5, TTL=900), rpc_pb2.LeaseGrantRequest(ID=6, TTL=900))
    store.ask(*(put(key, lease=5) for key in (POD, EVENT, OTHER)))
    store.ask(put(POD), put(EVENT, lease=6))
    store.ask(put(b"/late", lease=5), rpc_pb2.LeaseRevokeRequest(ID=5), put(b"/later", lease=5))
    left = {row.key: row.lease for row in store.answer(EVERYTHING).kvs}
    assert left == {POD: 0, EVENT: 6}
    assert store.ask(put(POD, lease=5)) == [LEASE_NOT_FOUND]
    store.ask(rpc_pb2.LeaseRevokeRequest(ID=6))
    assert [row.key for row in store.answer(EVERYTHING).kvs] == [POD]
