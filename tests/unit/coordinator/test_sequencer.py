"""The sequencer: dense revisions, each handed out once, and refusals that take nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kubebraid.base.ports import AllocReply, AllocRequest, Sample
from kubebraid.base.revision import PENDING_BASE
from kubebraid.base.tabletmap import TabletMap, layout, with_new_epochs
from kubebraid.coordinator.sequencer import Sequencer

TABLETS = layout([b"/a/"])  # ids 1, 2 and 3, each under owner epoch 1
CEPOCH = 7


def sequencer(r: int = 10) -> Sequencer:
    return Sequencer(CEPOCH, TABLETS, {1: 1, 2: r, 3: 1})


def request(
    writes: int,
    *ends: tuple[int, int, int],
    number: int = 1,
    owner: str = "shard-0",
    cepoch: int = CEPOCH,
) -> AllocRequest:
    return AllocRequest(cepoch, owner, number, writes, ends)


def ask(of: Sequencer, wanted: AllocRequest) -> AllocReply:
    replies: list[AllocReply] = []
    of.alloc(wanted, replies.append)
    (reply,) = replies
    return reply


def test_block_is_shared_out_by_the_order_of_evaluation() -> None:
    """The worked example of the module."""
    made = sequencer()
    reply = ask(made, request(3, (1, 1, 2), (2, 1, 1)))
    assert (reply.first, reply.refused) == (11, ())
    assert made.revision == 13
    assert reply.sample == Sample(CEPOCH, 1, 13, {1: 13, 2: 12, 3: 1})


def test_inv13_blocks_follow_each_other_without_a_gap() -> None:
    made = sequencer()
    firsts = [ask(made, request(n, (1, 1, n - 1), number=n)).first for n in (1, 2, 3)]
    assert firsts == [11, 12, 14]
    assert made.revision == 16


def test_request_without_writes_takes_nothing_and_answers_a_sample() -> None:
    made = sequencer()
    reply = ask(made, request(0, (1, 1, -1)))
    assert (reply.first, reply.sample.revision, reply.refused) == (11, 10, ())
    assert made.revision == 10


def test_inv14_repeated_request_gets_the_same_answer_and_takes_nothing_twice() -> None:
    """A lost answer would leave last[t] at a revision that nobody ever resolves."""
    made = sequencer()
    wanted = request(3, (1, 1, 2))
    first = ask(made, wanted)
    assert ask(made, wanted) == first
    assert made.revision == 13


def test_inv14_repeated_request_gets_the_old_answer_after_others_were_served() -> None:
    made = sequencer()
    wanted = request(1, (1, 1, 0))
    first = ask(made, wanted)
    ask(made, request(5, (2, 1, 4), owner="shard-1"))
    again = ask(made, wanted)
    assert again == first
    assert again.sample.last[2] == 10, "M10: a sample is of one instant"


def test_inv14_request_that_was_overtaken_takes_nothing() -> None:
    made = sequencer()
    ask(made, request(1, (1, 1, 0), number=1))
    ask(made, request(1, (1, 1, 0), number=2))
    assert ask(made, request(1, (1, 1, 0), number=1)).refused == (1,)
    assert made.revision == 12


def test_inv14_numbers_begin_anew_with_each_incarnation() -> None:
    made = sequencer()
    first = ask(made, request(1, (1, 1, 0), number=1))
    other = ask(made, request(1, (1, 1, 0), number=1)._replace(incarnation=5))
    assert (first.first, other.first) == (11, 12)


def test_numbers_of_two_owners_do_not_meet() -> None:
    made = sequencer()
    assert ask(made, request(1, (1, 1, 0), owner="shard-0")).first == 11
    assert ask(made, request(1, (2, 1, 0), owner="shard-1")).first == 12


@pytest.mark.parametrize(
    "wanted",
    [
        request(1, (1, 0, 0)),
        request(1, (1, 1, 0), cepoch=CEPOCH - 1),
        request(1, (1, 1, 0), cepoch=CEPOCH + 1),
        request(0, (1, 0, -1)),
    ],
)
def test_asker_that_does_not_own_the_tablet_is_refused_and_takes_nothing(
    wanted: AllocRequest,
) -> None:
    made = sequencer()
    reply = ask(made, wanted)
    assert reply.refused == (wanted.ends[0][0],)
    assert reply.sample == made.sample()
    assert made.sample() == Sample(CEPOCH, 1, 10, {1: 1, 2: 10, 3: 1})


@pytest.mark.parametrize("end", [(1, 2, 0), (9, 1, 0), (1, 2, -1)])
def test_m03_newer_owner_epoch_waits_for_the_map_and_takes_nothing(
    end: tuple[int, int, int],
) -> None:
    """Refused it would be given up by the very owner that the next map names."""
    made = sequencer()
    before = made.sample()
    wanted = request(end[2] + 1, end)
    assert made.allocate(wanted) is None
    assert made.sample() == before
    tablets = with_new_epochs(layout([b"/a/"]))
    made.adopt_map(tablets)
    reply = made.allocate(wanted)
    assert (reply is None) == (end[0] == 9)
    assert reply is None or not reply.refused


def test_inv13_window_is_not_passed_and_what_waits_goes_on_when_it_is_widened() -> None:
    made = Sequencer(CEPOCH, layout([b"/a/"]), {1: 1, 2: 10, 3: 1}, 12)
    assert made.allocate(request(3, (1, 1, 2))) is None
    assert made.revision == 10
    made.widen(13)
    reply = made.allocate(request(3, (1, 1, 2)))
    assert reply is not None
    assert (reply.first, made.revision) == (11, 13)


def test_frozen_tablet_waits_and_its_end_is_fixed() -> None:
    """Between the freeze and the map nothing is handed out, so H stays its last."""
    made = sequencer()
    tablets = layout([b"/a/"])
    ends = made.freeze("shard-0", tablets)
    assert ends == ((1, 1), (2, 10), (3, 1))
    assert made.allocate(request(1, (1, 1, 0))) is None
    made.adopt_map(with_new_epochs(tablets))
    assert ask(made, request(1, (1, 1, 0))).refused == (1,), "the owner that it was frozen for"
    assert ask(made, request(1, (1, 2, 0), number=2)).first == 11


def test_tablets_that_thaw_go_on_under_the_same_owner() -> None:
    made = sequencer()
    tablets = layout([b"/a/"])
    made.freeze("shard-0", tablets)
    made.thaw("another", tablets)
    assert made.allocate(request(1, (1, 1, 0))) is None
    made.thaw("shard-0", tablets)
    assert ask(made, request(1, (1, 1, 0))).first == 11


def test_sample_says_the_floor_of_its_instant() -> None:
    made = sequencer()
    before = made.sample()
    made.raise_floor(7)
    assert (before.floor, made.sample().floor) == (-1, 7)


def test_one_stale_tablet_refuses_the_whole_request() -> None:
    """Either every tablet of the request is granted or nothing is allocated."""
    made = sequencer()
    reply = ask(made, request(2, (1, 1, 0), (2, 0, 1)))
    assert reply.refused == (2,)
    assert made.sample().last == {1: 1, 2: 10, 3: 1}


def test_request_of_a_former_reign_that_names_no_tablet_takes_nothing() -> None:
    """Its cepoch is over whatever it asks for."""
    made = sequencer()
    try:
        ask(made, request(2, cepoch=CEPOCH - 1))
    except AssertionError:
        pass  # refusing it as a bug is as good as refusing it as stale
    assert made.revision == 10


@pytest.mark.parametrize(
    ("writes", "ends"),
    [
        (1, ((1, 1, 1),)),
        (1, ((1, 1, -2),)),
        (-1, ()),
        (2, ()),
        (3, ((1, 1, 0), (2, 1, 1))),
    ],
)
def test_block_that_does_not_fit_its_tablets_is_a_bug_and_takes_nothing(
    writes: int, ends: tuple[tuple[int, int, int], ...]
) -> None:
    """R == max(last): a revision that no tablet has would be resolved by nobody."""
    made = sequencer()
    with pytest.raises(AssertionError):
        ask(made, AllocRequest(CEPOCH, "shard-0", 1, writes, ends))
    assert made.revision == 10
    assert made.sample().last == {1: 1, 2: 10, 3: 1}


def test_sample_is_a_copy_of_one_instant() -> None:
    made = sequencer()
    before = made.sample()
    ask(made, request(1, (1, 1, 0)))
    assert before == Sample(CEPOCH, 1, 10, {1: 1, 2: 10, 3: 1})


def test_read_of_the_revision_covers_every_block_handed_out() -> None:
    made = sequencer()
    ask(made, request(2, (3, 1, 1)))
    samples: list[Sample] = []
    made.read_revision(samples.append)
    assert samples == [Sample(CEPOCH, 1, 12, {1: 1, 2: 10, 3: 12})]


@pytest.mark.parametrize(
    ("cepoch", "last"),
    [
        (0, {1: 1, 2: 1, 3: 1}),
        (1, {1: 1, 2: 1}),
        (1, {1: 1, 2: 1, 3: 1, 4: 1}),
        (1, {1: 1, 2: 0, 3: 1}),
    ],
)
def test_sequencer_that_does_not_know_where_every_tablet_stands_is_not_made(
    cepoch: int, last: dict[int, int]
) -> None:
    with pytest.raises(AssertionError):
        Sequencer(cepoch, TABLETS, last)


def test_revision_space_ends_before_the_pending_ones() -> None:
    made = sequencer(PENDING_BASE - 2)
    assert ask(made, request(1, (1, 1, 0))).first == PENDING_BASE - 1
    with pytest.raises(AssertionError, match="used up"):
        ask(made, request(1, (1, 1, 0), number=2))


def test_m01_alloc_for_several_owners_needs_each_of_them_to_hold_still() -> None:
    """A transaction over several shards: whoever has asked for anything since has given it up."""
    made = sequencer()
    ask(made, request(0, (1, 1, -1), number=5)._replace(incarnation=9))
    joint = request(1, (1, 1, 0), owner="router/7")
    for lane in (("shard-0", 9, 4), ("shard-0", 8, 5), ("shard-9", 9, 5)):
        reply = ask(made, joint._replace(request_number=made.revision, lanes=(lane,)))
        assert (reply.refused, made.revision) == ((1,), 10), lane
        joint = joint._replace(owner=f"{joint.owner}+")
    granted = joint._replace(lanes=(("shard-0", 9, 5),))
    assert ask(made, granted).first == 11
    ask(made, request(0, (1, 1, -1), number=6)._replace(incarnation=9))
    assert ask(made, granted).first == 11, "the same request has the same answer (inv14)"
    late = granted._replace(request_number=granted.request_number + 1)
    assert ask(made, late).refused == (1,)


# -- maps in which tablets come and go -------------------------------------------------------------


def split_map(begin: int) -> TabletMap:
    """Tablet 2 became 4 and 5, behind `begin`."""
    made = []
    for tablet in TABLETS.tablets:
        if tablet.id != 2:
            made.append(tablet)
            continue
        for number, bucket in ((4, 0), (5, 1)):
            new = replace(tablet, id=number, name=f"a.{bucket}", oepoch=2, begin=begin)
            made.append(replace(new, bucket=bucket, buckets=2))
    return TabletMap(2, tuple(made))


def test_inv13_new_tablets_begin_where_their_parent_ended_and_it_leaves_the_samples() -> None:
    made = sequencer()
    assert made.last()[2] == 10
    made.adopt_map(split_map(10))
    assert made.sample() == Sample(CEPOCH, 2, 10, {1: 1, 3: 1, 4: 10, 5: 10})
    reply = ask(made, request(1, (4, 2, 0)))
    assert (reply.first, reply.sample.last[4], reply.sample.last[5]) == (11, 11, 10)


def test_m03_retired_tablet_is_refused_and_one_that_may_come_is_held() -> None:
    made = sequencer()
    assert made.allocate(request(1, (4, 2, 0))) is None, "no map that is known here has had it"
    made.expect(6, frozenset({4, 5}))
    assert made.allocate(request(1, (4, 2, 0))) is None, "a migration may bring it"
    made.expect(6, frozenset())
    refused = made.allocate(request(1, (4, 2, 0)))
    assert refused is not None
    assert refused.refused == (4,)
    made.adopt_map(split_map(10))
    gone = made.allocate(request(1, (2, 1, 0), number=2))
    assert gone is not None
    assert (gone.refused, gone.first) == ((2,), 0)
    assert made.revision == 10


def test_inv14_request_answered_before_its_tablet_was_retired_keeps_its_answer() -> None:
    made = sequencer()
    first = ask(made, request(1, (2, 1, 0)))
    made.adopt_map(split_map(11))
    assert ask(made, request(1, (2, 1, 0))) == first
    assert made.revision == 11


def test_m05_switch_freezes_exactly_what_it_names() -> None:
    made = sequencer()
    made.switch(frozenset({2}))
    assert made.allocate(request(1, (2, 1, 0))) is None
    assert ask(made, request(1, (1, 1, 0), number=2)).first == 11
    assert made.last()[2] == 10
    made.switch(frozenset())
    assert ask(made, request(1, (2, 1, 0), number=3)).first == 12


def test_switch_ends_no_freeze_of_a_shard_that_starts() -> None:
    made = sequencer()
    made.freeze("shard-0", TABLETS)
    made.switch(frozenset({2}))
    made.switch(frozenset())
    assert made.allocate(request(1, (2, 1, 0))) is None


def test_inv18_map_that_begins_above_what_was_allocated_is_a_fault() -> None:
    moved = tuple(replace(t, oepoch=2, begin=99) for t in TABLETS.tablets)
    made = sequencer()
    with pytest.raises(AssertionError, match="inv18"):
        made.adopt_map(TabletMap(2, moved))
