"""A whole link without its socket: events, and what a broken one still does."""

from __future__ import annotations

import pytest

from kubebraid.base.limits import LINK_JOIN_BYTES_MAX
from kubebraid.proto.links.connection import Connection, Failed, Opened
from kubebraid.proto.links.frames import HEAD, Received
from kubebraid.proto.links.reasons import Reason

from .kit import (
    OTHER_SECRET,
    ROUTER,
    SECRET,
    SHARD,
    dialer,
    listener,
    opened_pair,
    output,
    shake,
)


def test_second_answer_opens_the_dialer_and_its_frame_follows_its_claim() -> None:
    """The worked example of the module."""
    left, right = dialer(), listener()
    right.feed(output(left))
    assert left.feed(output(right)) == []
    right.feed(output(left))
    assert left.feed(output(right)) == [Opened(SHARD.peer)]
    left.send(7, b"hi")
    assert right.feed(output(left)) == [Opened(ROUTER.peer), Received(7, b"hi")]


def test_messages_go_both_ways_in_order() -> None:
    left, right = opened_pair()
    for number in range(3):
        left.send(1, bytes([number]))
        right.send(2, bytes([number]))
    assert right.feed(output(left)) == [Received(1, bytes([n])) for n in range(3)]
    assert left.feed(output(right)) == [Received(2, bytes([n])) for n in range(3)]


@pytest.mark.parametrize(("ours", "theirs"), [(SECRET, OTHER_SECRET), (OTHER_SECRET, SECRET)])
def test_wrong_secret_fails_where_it_is_noticed_and_nowhere_opens(
    ours: bytes, theirs: bytes
) -> None:
    left, right = dialer(ours), listener(theirs)
    heard_left, heard_right, _ = shake(left, right)
    assert heard_left == []
    assert heard_right == [Failed(Reason.SECRET, "")]
    assert right.ending() is Reason.ENDED
    assert left.ending() is Reason.SHUNNED, "the dialer is told by its own log, not by the peer"


def test_message_before_the_link_is_opened_is_our_own_error() -> None:
    with pytest.raises(AssertionError):
        dialer().send(1, b"")


def test_role_may_not_send_a_ping() -> None:
    left, _right = opened_pair()
    with pytest.raises(AssertionError):
        left.send(0, b"")


def test_ping_is_bytes_and_no_event() -> None:
    left, right = opened_pair()
    left.ping()
    data = output(left)
    assert len(data) == HEAD.size
    assert right.feed(data) == []
    assert right.frames == 1


def test_failure_is_the_last_event_and_silences_both_directions() -> None:
    left, right = opened_pair()
    right.send(1, b"never sent")
    left.send(1, b"good")
    good = output(left)
    assert right.feed(good + good) == [
        Received(1, b"good"),
        Failed(Reason.COUNTER, "0 where 1 is due"),
    ]
    assert right.pending == 0
    assert output(right) == b""
    right.send(1, b"dropped")
    assert output(right) == b""
    left.send(1, b"late")
    assert right.feed(output(left)) == []


def test_own_frame_that_comes_back_ends_the_link() -> None:
    left, _right = opened_pair()
    left.send(1, b"mine")
    assert left.feed(output(left)) == [Failed(Reason.MAC, "")]


def test_frame_of_another_connection_ends_the_link() -> None:
    """Same secret, same counter; the nonces differ, hence the keys."""
    left, _right = opened_pair()
    other = Connection(1, ROUTER, SECRET, b"D" * 32)
    _, right_events, _ = shake(other, right := listener())
    assert right_events == [Opened(ROUTER.peer)]
    left.send(1, b"foreign")
    assert right.feed(output(left)) == [Failed(Reason.MAC, "")]


def test_pending_counts_what_waits_and_small_output_is_one_piece() -> None:
    left, _right = opened_pair()
    assert left.pending == 0
    left.send(1, b"ab")
    left.send(1, b"")
    assert left.pending == 2 * HEAD.size + 2
    assert [len(piece) for piece in left.take_output()] == [2 * HEAD.size + 2]
    assert left.pending == 0


def test_large_body_is_sent_as_it_is_and_not_copied() -> None:
    left, right = opened_pair()
    body = bytes(LINK_JOIN_BYTES_MAX)
    left.send(1, body)
    head, sent = left.take_output()
    assert sent is body
    assert right.feed(head) == []
    assert right.incomplete
    assert right.feed(sent) == [Received(1, body)]
    assert not right.incomplete
