"""The owner: its parts behind one port, and the leases that end through its write path."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.keyspace import EVERYTHING, single
from kubebraid.base.limits import (
    READ_WAIT_MS_MAX,
    SCAN_FIRST_ROWS,
    SCAN_SLICE_ROWS,
    TEND_MS,
    UPKEEP_RETRY_MS,
    WRITE_QUEUE_MAX,
)
from kubebraid.base.ports import LogCall, LogReply, Publication, ShardStatus
from kubebraid.base.tabletmap import with_new_epochs
from kubebraid.shard import keycodec
from kubebraid.shard.owner import Owner
from kubebraid.shard.ownership import Ownership, adopt
from kubebraid.shard.seams import ShardSeams
from kubebraid.shard.storage.engine import EngineCorrupt, EngineError, EngineFull
from tests.unit.shard.fakes import (
    SHARD,
    A,
    B,
    BreakableEngine,
    Sink,
    Stand,
    TightSpace,
    asked,
    delete_call,
    grant_call,
    listed,
    put_call,
    read_call,
    store_versions,
)


def leased(late: bool = False) -> Stand:
    """Lease 7 with a TTL of ten seconds and the key /a/x."""
    stand = Stand()
    stand.write(grant_call(7, 10))
    stand.write(put_call(b"/a/x", lease=7), put_call(b"/a/y"))
    stand.sequencer.late = late
    return stand


def alive(stand: Stand) -> bool:
    return stand.engine.get(b"n/a/x") is not None


def test_subscriber_learns_where_each_tablet_stands_and_then_what_happens() -> None:
    stand = Stand()
    stand.write(put_call(b"/a/x"))
    heard: list[Publication] = []
    stand.owner.subscribe(heard.append)
    (fresh,) = heard
    assert fresh.fresh
    assert fresh.sample == stand.published[-1].sample, "the newest that the shard has heard"
    assert {n.tablet: (n.oepoch, n.closed) for n in fresh.news} == {
        1: (1, 1),
        A: (1, 2),
        3: (1, 1),
        B: (1, 1),
        5: (1, 1),
    }
    assert all(n.commits == () for n in fresh.news)
    stand.write(put_call(b"/b/x"))
    assert [(p.fresh, [n.tablet for n in p.news]) for p in heard[1:]] == [(False, [B])]


def test_shard_that_has_committed_nothing_claims_to_know_no_revision() -> None:
    """Its own watermarks say nothing of other shards; a sample does."""
    (fresh,) = Stand().began
    assert (fresh.sample.revision, dict(fresh.sample.last)) == (0, {})


def test_subscriber_that_comes_while_a_batch_is_in_flight_hears_it() -> None:
    """Nothing may fall between the fresh publication and the next."""
    stand = Stand(late=True)
    stand.submit(put_call(b"/a/x"))
    stand.run()
    heard: list[Publication] = []
    stand.owner.subscribe(heard.append)
    assert {n.tablet: n.closed for n in heard[0].news}[A] == 1
    stand.sequencer.answer()
    assert [n.closed for n in heard[1].news] == [2]


def test_inv11_publications_close_upwards_and_carry_their_own_sample() -> None:
    stand = Stand()
    for number in range(6):
        stand.write(put_call(b"/a/x" if number % 2 else b"/b/x"), put_call(b"/a/y"))
    closed: dict[int, int] = {}
    for publication in stand.published:
        for news in publication.news:
            assert all(c.revision > closed.get(news.tablet, 0) for c in news.commits)
            assert news.closed == news.commits[-1].revision
            assert news.closed <= publication.sample.last[news.tablet]
            closed[news.tablet] = news.closed


# -- leases ----------------------------------------------------------------------------------------


def test_inv21_expired_lease_takes_its_keys_with_it_and_not_a_moment_early() -> None:
    stand = leased()
    assert stand.owner.next_deadline_ms() == 11_000
    stand.clock.ms = 10_999
    stand.run()
    assert alive(stand)
    stand.clock.ms = 11_000
    stand.run()
    assert not alive(stand)
    assert stand.engine.get(b"n/a/y") is not None
    assert asked(stand.owner.lease_info, 7) is None
    assert [event.key for event in stand.published[-1].news[0].commits[0].events] == [b"/a/x"]


def test_lease_that_is_kept_alive_stays() -> None:
    stand = leased()
    stand.clock.ms = 9_000
    assert asked(stand.owner.keep_alive, 7) == 10
    stand.clock.ms = 18_999
    stand.run()
    assert alive(stand)
    assert asked(stand.owner.keep_alive, 8) == 0


def test_inv21_lease_whose_end_is_on_its_way_is_not_kept_alive() -> None:
    """The revoke waits for the sequencer. etcd's Renew waits for it too, and then finds nothing:
    a client that is told "ten seconds more" must not lose its keys before."""
    stand = leased(late=True)
    stand.clock.ms = 11_000
    stand.run()
    promised_s = asked(stand.owner.keep_alive, 7)
    stand.sequencer.answer()
    stand.run()
    assert promised_s == 0 or alive(stand)


def test_expiry_that_finds_a_full_queue_is_tried_again() -> None:
    stand = leased(late=True)
    stand.submit(put_call(b"/a/y"))
    stand.run()
    stand.submit(*[put_call(b"/a/y") for _ in range(WRITE_QUEUE_MAX)])
    stand.clock.ms = 11_000
    stand.run()
    stand.sequencer.late = False
    stand.sequencer.answer()
    stand.run()
    assert alive(stand)
    stand.clock.ms = 21_000
    stand.run()
    assert not alive(stand)


def test_expiry_that_a_refused_alloc_undid_is_tried_again() -> None:
    stand = leased(late=True)
    stand.clock.ms = 11_000
    stand.run()
    stand.sequencer.refuse()
    stand.sequencer.late = False
    stand.clock.ms = 21_000
    stand.run()
    assert not alive(stand)


def test_lease_says_its_ttl_what_remains_and_its_keys() -> None:
    stand = leased()
    stand.clock.ms = 4_500
    assert asked(stand.owner.lease_info, 7) == (10, 6, (b"/a/x",))
    assert asked(stand.owner.lease_info, 8) is None
    assert listed(stand.owner) == [7]


def test_inv21_leases_survive_a_restart_with_their_whole_ttl() -> None:
    stand = leased()
    engine = stand.engine.clone()
    tablets = with_new_epochs(stand.tablets)
    owned = Ownership(SHARD, 2, tablets, adopt(engine, SHARD, tablets), lambda: -1)
    stand.clock.ms = 10_000
    owner = Owner(engine, owned, stand.sequencer, ShardSeams(stand.clock, stand.fatal.append))
    assert not owner.turn()
    assert asked(owner.lease_info, 7) == (10, 10, (b"/a/x",))
    assert owner.next_deadline_ms() == 20_000


# -- the turn --------------------------------------------------------------------------------------


def test_turn_commits_one_batch_and_gives_a_read_one_slice() -> None:
    stand = Stand()
    stand.write(*[put_call(b"/a/%04d" % number) for number in range(SCAN_SLICE_ROWS * 3)])
    sink = Sink()
    stand.owner.read(read_call(EVERYTHING, stand.owned.known), sink)
    stand.submit(put_call(b"/b/x"))
    asked = len(stand.sequencer.asked)
    assert stand.owner.turn()
    assert len(stand.sequencer.asked) == asked + 1
    assert len(sink.rows) == SCAN_FIRST_ROWS


def test_read_that_waits_is_a_deadline_of_the_owner() -> None:
    """Nothing else would wake the loop to tell its asker that it gives up."""
    stand = Stand()
    stand.run()
    stand.owner.read(read_call(single(b"/a/x"), 9, [(A, 9)]), Sink())
    assert stand.owner.next_deadline_ms() == 1_000 + READ_WAIT_MS_MAX


def test_idle_owner_has_no_deadline() -> None:
    """Before its first turn it has: the keys are not counted yet."""
    stand = Stand()
    stand.run()
    assert stand.owner.next_deadline_ms() is None


def test_compaction_is_done_in_the_turns_and_told() -> None:
    stand = Stand()
    stand.write(*[put_call(b"/a/x") for _ in range(9)])
    told: list[bool] = []
    stand.floor = 8
    stand.owner.compact(8, lambda: told.append(True))
    assert told == []
    stand.run()
    assert told == [True]
    assert stand.engine.count(b"h", b"i", 100) == 3, "7 is what 8 replaced"


def test_inv20_log_and_rows_below_a_floor_that_a_router_told_are_refused_at_once() -> None:
    """The coordinators' own word may come later; what is removed meanwhile must not look empty."""
    stand = Stand()
    stand.write(*[put_call(b"/a/x") for _ in range(9)])
    stand.owner.compact(8, None)
    stand.run()
    assert stand.floor < 8
    replies: list[object] = []
    stand.owner.read_log(LogCall((A,), EVERYTHING, 3, 10, 10), replies.append)
    assert replies == [errors.COMPACTED]


def test_start_goes_on_with_a_compaction_that_a_crash_cut_short() -> None:
    stand = Stand()
    stand.write(*[put_call(b"/a/x") for _ in range(9)])
    stand.floor = 8
    owner = Owner(
        stand.engine, stand.owned, stand.sequencer, ShardSeams(stand.clock, stand.fatal.append)
    )
    while owner.turn():
        pass
    assert stand.engine.count(b"h", b"i", 100) == 3, "7 is what 8 replaced"


def test_log_is_read_through_the_port_with_the_present_floor() -> None:
    stand = Stand()
    stand.write(put_call(b"/a/x"), delete_call(b"/a/x"))
    replies: list[object] = []
    stand.owner.read_log(LogCall((A,), EVERYTHING, 2, 3, 10), replies.append)
    assert isinstance(replies[0], LogReply)
    assert [commit.revision for commit in replies[0].commits] == [2, 3]


@pytest.mark.parametrize(
    ("tablets", "needs", "answered"),
    [
        ((A,), (3,), True),
        ((A,), (4,), False),  # 4 is closed by an owner that came later
        ((A, B), (3, 2), False),  # B stands at 1
        ((A, 99), (), False),  # it belongs to nobody here
    ],
)
def test_inv17_log_is_refused_by_a_shard_that_is_not_the_owner_any_more(
    tablets: tuple[int, ...], needs: tuple[int, ...], answered: bool
) -> None:
    """What the owner of today has committed up to 9 is not here: half a log would look whole."""
    stand = Stand()
    stand.write(put_call(b"/a/x"), put_call(b"/a/x"))
    replies: list[object] = []
    stand.owner.read_log(LogCall(tablets, EVERYTHING, 2, 9, 10, needs=needs), replies.append)
    if answered:
        assert isinstance(replies[0], LogReply)
    else:
        assert replies == [errors.OTHER_MAP]


def test_status_counts_what_is_owned() -> None:
    stand = leased()
    size = stand.engine.disk_bytes()
    status = stand.owner.status()
    assert replace(status, loads=()) == ShardStatus(size, size, 5, 1)
    assert [load.tablet for load in status.loads] == [1, 2, 3, 4, 5]


def test_status_of_an_engine_that_cannot_be_asked_has_the_size_that_was_known() -> None:
    """Figures are pushed to routers every second: a closed engine must not end the process here."""
    engine = BreakableEngine()
    stand = Stand(engine=engine)
    stand.write(put_call(b"/a/x"))
    known = stand.owner.status()
    engine._shut = True
    assert stand.owner.status() == known
    assert known.disk_bytes > 0


# -- what fails ------------------------------------------------------------------------------------

GONE = EngineError("the device is gone")


def faulty(space: TightSpace | None = None) -> tuple[Stand, BreakableEngine, list[bool]]:
    """Nine versions of /a/x, about to be compacted below 8; what is told when that is done."""
    engine = BreakableEngine()
    stand = Stand(engine=engine, space=space or TightSpace())
    stand.write(*[put_call(b"/a/x") for _ in range(9)])
    told: list[bool] = []
    stand.floor = 8
    stand.owner.compact(8, lambda: told.append(True))
    return stand, engine, told


def history(stand: Stand) -> int:
    return stand.engine.count(b"h", b"i", 100)


@pytest.mark.parametrize("lands", [False, True])
@pytest.mark.parametrize("error", [GONE, EngineFull("no space")], ids=["gone", "full"])
def test_slice_of_compaction_that_fails_is_made_again_later(
    error: EngineError, lands: bool
) -> None:
    stand, engine, told = faulty()
    engine.write_faults.append((error, lands))
    stand.run()
    assert engine.reopens == 1, "or the store would take no more writes"
    due_ms = 1_000 + UPKEEP_RETRY_MS
    assert stand.owner.next_deadline_ms() == due_ms
    writes = engine.writes
    stand.clock.ms = due_ms - 1
    stand.run()
    assert (told, engine.writes) == ([], writes)
    assert stand.write(put_call(b"/a/y"))[0].revision == 11, "the shard goes on meanwhile"
    stand.clock.ms = due_ms
    stand.run()
    assert told == [True]
    assert history(stand) == 3
    assert stand.fatal == []
    assert stand.owner.next_deadline_ms() is None


def test_compaction_that_fails_again_and_again_is_patient_and_never_fatal() -> None:
    stand, engine, told = faulty()
    engine.write_faults.extend([(GONE, False)] * 5)
    for turn in range(5):
        stand.run()
        assert engine.reopens == turn + 1
        stand.clock.ms += UPKEEP_RETRY_MS
    stand.run()
    assert (told, stand.fatal) == ([True], [])


def test_compaction_is_fatal_only_where_the_store_cannot_be_opened_again() -> None:
    stand, engine, told = faulty()
    lasting = EngineError("still gone")
    engine.write_faults.append((GONE, False))
    engine.reopen_faults.append(lasting)
    stand.run()
    assert stand.fatal == [lasting]
    assert told == []


def test_compaction_that_fills_the_device_gives_the_reserve_up() -> None:
    space = TightSpace()
    stand, engine, told = faulty(space)
    engine.write_faults.append((EngineFull("no space"), False))
    stand.run()
    assert "release" in space.told
    stand.clock.ms += UPKEEP_RETRY_MS
    stand.run()
    assert told == [True]


def test_log_that_compaction_cannot_read_is_no_reason_to_open_the_store_again() -> None:
    """A failed read leaves nothing unknown. Opened again once a second, as long as the damage
    lasts, the store would end every long read, and forget what it has cached."""
    stand, engine, told = faulty()
    engine.faults[keycodec.log(A, 4)] = EngineCorrupt("checksum")
    sink = Sink()
    sink.open = False
    stand.owner.read(read_call(EVERYTHING, 10), sink)
    for _ in range(3):
        stand.run()
        stand.clock.ms += UPKEEP_RETRY_MS
    sink.open = True
    stand.run()
    assert (engine.reopens, told, stand.fatal) == (0, [], [])
    assert sink.total == 1
    engine.faults.clear()
    stand.clock.ms += UPKEEP_RETRY_MS
    stand.run()
    assert told == [True]


def test_damaged_row_that_nobody_asks_for_does_not_end_the_shard() -> None:
    """The counters meet it, in the background after a start: the others must go on, or the store
    would end at each start."""
    engine = BreakableEngine()
    stand = Stand(engine=engine)
    store_versions(engine, b"/a/bad", 1)
    engine.faults[keycodec.newest(b"/a/bad")] = EngineCorrupt("checksum")
    assert stand.write(put_call(b"/a/good"))[0].revision == 2
    assert stand.write(put_call(b"/a/good"))[0].revision == 3
    assert stand.read(read_call(single(b"/a/good"), 3)).total == 1
    assert stand.read(read_call(EVERYTHING, 3, limit=1)).refused is errors.CORRUPT
    engine.faults.clear()
    assert stand.read(read_call(EVERYTHING, 3, limit=1)).total == 2


def test_damaged_row_that_the_counters_meet_does_not_keep_history_from_being_removed() -> None:
    """It stays damaged, and the building never ends; the store must not grow without bound."""
    engine = BreakableEngine()
    stand = Stand(engine=engine)
    store_versions(engine, b"/a/bad", 1)
    engine.faults[keycodec.newest(b"/a/bad")] = EngineCorrupt("checksum")
    stand.write(*[put_call(b"/a/x") for _ in range(9)])
    told: list[bool] = []
    stand.floor = 8
    stand.owner.compact(8, lambda: told.append(True))
    for _ in range(5):
        stand.clock.ms += UPKEEP_RETRY_MS
        stand.run()
    assert told == [True]
    assert history(stand) == 3


@pytest.mark.parametrize(
    ("error", "refused"),
    [(EngineCorrupt("checksum"), errors.CORRUPT), (GONE, errors.TIMED_OUT)],
    ids=["damaged", "gone"],
)
def test_log_that_cannot_be_read_refuses_its_reader(
    error: EngineError, refused: RequestRefused
) -> None:
    engine = BreakableEngine()
    stand = Stand(engine=engine)
    stand.write(*[put_call(b"/a/x") for _ in range(5)])
    engine.faults[keycodec.log(A, 4)] = error
    replies: list[LogReply | RequestRefused] = []
    stand.owner.read_log(LogCall((A,), EVERYTHING, 2, 6, 10), replies.append)
    stand.owner.read_log(LogCall((A,), EVERYTHING, 5, 6, 10), replies.append)
    assert replies[0] is refused
    assert isinstance(replies[1], LogReply)
    assert [commit.revision for commit in replies[1].commits] == [5, 6]


def test_expiry_whose_write_was_void_is_tried_again() -> None:
    engine = BreakableEngine()
    stand = Stand(engine=engine)
    stand.write(grant_call(7, 10))
    stand.write(put_call(b"/a/x", lease=7))
    engine.write_faults.append((GONE, False))
    stand.clock.ms = 11_000
    stand.run()
    assert alive(stand)
    stand.clock.ms = 21_000
    stand.run()
    assert not alive(stand)
    assert listed(stand.owner) == []


# -- the space that is left ------------------------------------------------------------------------


def test_shortage_is_told_at_every_look_and_the_reserve_is_kept() -> None:
    """Also after an operator has disarmed the alarm: it comes back while the device is short."""
    space = TightSpace()
    stand = Stand(space=space)
    stand.run()
    assert (space.told, stand.full) == (["restore"], 0)
    space.is_short = True
    stand.clock.ms += TEND_MS - 1
    stand.run()
    assert stand.full == 0
    for look in range(1, 4):
        stand.clock.ms += TEND_MS
        stand.run()
        stand.run()
        assert stand.full == look
    assert space.told == ["restore"]
    space.is_short = False
    stand.clock.ms += TEND_MS
    stand.run()
    assert (space.told, stand.full) == (["restore"] * 2, 3)


def test_full_device_is_told_at_the_failed_write_and_not_only_at_the_next_look() -> None:
    engine = BreakableEngine()
    stand = Stand(engine=engine)
    stand.run()
    engine.write_faults.append((EngineFull("no space"), False))
    (reply,) = stand.write(put_call(b"/a/x"))
    assert (reply.error, stand.full) == (errors.NO_SPACE, 1)
