"""The owner: its parts behind one port, and the leases that end through its write path."""

from __future__ import annotations

from kubebraid.base.keyspace import EVERYTHING, single
from kubebraid.base.limits import (
    READ_WAIT_MS_MAX,
    SCAN_FIRST_ROWS,
    SCAN_SLICE_ROWS,
    WRITE_QUEUE_MAX,
)
from kubebraid.base.ports import LogCall, LogReply, Publication, ShardStatus
from kubebraid.base.tabletmap import with_new_epochs
from kubebraid.shard.owner import Owner
from kubebraid.shard.ownership import Ownership, adopt
from tests.unit.shard.fakes import (
    SHARD,
    A,
    B,
    Sink,
    Stand,
    delete_call,
    grant_call,
    put_call,
    read_call,
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
    news = stand.owner.subscribe(heard.append)
    assert {n.tablet: (n.oepoch, n.closed) for n in news} == {
        1: (1, 1),
        A: (1, 2),
        3: (1, 1),
        B: (1, 1),
        5: (1, 1),
    }
    assert all(n.commits == () for n in news)
    stand.write(put_call(b"/b/x"))
    assert [n.tablet for n in heard[0].news] == [B]


def test_subscriber_that_comes_while_a_batch_is_in_flight_hears_it() -> None:
    """Nothing may fall between the answer of `subscribe` and the first publication."""
    stand = Stand(late=True)
    stand.submit(put_call(b"/a/x"))
    stand.run()
    heard: list[Publication] = []
    news = stand.owner.subscribe(heard.append)
    assert {n.tablet: n.closed for n in news}[A] == 1
    stand.sequencer.answer()
    assert [n.closed for n in heard[0].news] == [2]


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
    assert stand.owner.lease_info(7) is None
    assert [event.key for event in stand.published[-1].news[0].commits[0].events] == [b"/a/x"]


def test_lease_that_is_kept_alive_stays() -> None:
    stand = leased()
    stand.clock.ms = 9_000
    assert stand.owner.keep_alive(7) == 10
    stand.clock.ms = 18_999
    stand.run()
    assert alive(stand)
    assert stand.owner.keep_alive(8) == 0


def test_inv21_lease_whose_end_is_on_its_way_is_not_kept_alive() -> None:
    """The revoke waits for the sequencer. etcd's Renew waits for it too, and then finds nothing:
    a client that is told "ten seconds more" must not lose its keys before."""
    stand = leased(late=True)
    stand.clock.ms = 11_000
    stand.run()
    promised_s = stand.owner.keep_alive(7)
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
    assert stand.owner.lease_info(7) == (10, 6, (b"/a/x",))
    assert stand.owner.lease_info(8) is None
    assert stand.owner.leases() == [7]


def test_inv21_leases_survive_a_restart_with_their_whole_ttl() -> None:
    stand = leased()
    engine = stand.engine.clone()
    tablets = with_new_epochs(stand.tablets)
    owned = Ownership(SHARD, 2, tablets, adopt(engine, SHARD, tablets), lambda: -1)
    stand.clock.ms = 10_000
    owner = Owner(engine, owned, stand.sequencer, stand.clock, stand.fatal.append)
    assert owner.lease_info(7) == (10, 10, (b"/a/x",))
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
    stand.owner.read(read_call(single(b"/a/x"), 9, [(A, 9)]), Sink())
    assert stand.owner.next_deadline_ms() == 1_000 + READ_WAIT_MS_MAX


def test_idle_owner_has_no_deadline() -> None:
    assert Stand().owner.next_deadline_ms() is None


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


def test_start_goes_on_with_a_compaction_that_a_crash_cut_short() -> None:
    stand = Stand()
    stand.write(*[put_call(b"/a/x") for _ in range(9)])
    stand.floor = 8
    owner = Owner(stand.engine, stand.owned, stand.sequencer, stand.clock, stand.fatal.append)
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


def test_status_counts_what_is_owned() -> None:
    stand = leased()
    size = stand.engine.disk_bytes()
    assert stand.owner.status() == ShardStatus(size, size, 5, 1)
