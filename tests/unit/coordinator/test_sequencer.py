"""The sequencer: dense revisions, each handed out once, and refusals that take nothing."""

from __future__ import annotations

import pytest

from kubebraid.base.ports import AllocReply, AllocRequest, Sample
from kubebraid.base.revision import PENDING_BASE
from kubebraid.base.tabletmap import layout
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
    with pytest.raises(AssertionError, match="in order"):
        ask(made, request(1, (1, 1, 0), number=1))
    assert made.revision == 12


def test_numbers_of_two_owners_do_not_meet() -> None:
    made = sequencer()
    assert ask(made, request(1, (1, 1, 0), owner="shard-0")).first == 11
    assert ask(made, request(1, (2, 1, 0), owner="shard-1")).first == 12


@pytest.mark.parametrize(
    "wanted",
    [
        request(1, (1, 2, 0)),
        request(1, (1, 0, 0)),
        request(1, (9, 1, 0)),
        request(1, (1, 1, 0), cepoch=CEPOCH - 1),
        request(1, (1, 1, 0), cepoch=CEPOCH + 1),
        request(0, (1, 2, -1)),
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


def test_one_stale_tablet_refuses_the_whole_request() -> None:
    """Either every tablet of the request is granted or nothing is allocated."""
    made = sequencer()
    reply = ask(made, request(2, (1, 1, 0), (2, 99, 1)))
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
