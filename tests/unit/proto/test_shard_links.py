"""Links to shards, as the newest state says where each is."""

from __future__ import annotations

import pytest

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.links import Closable, LinkUser, Peer
from kubebraid.base.ports import WRITE_PUT, Adoption, ClusterView, ShardPlace, WriteCall, WriteReply
from kubebraid.base.tabletmap import layout
from kubebraid.proto import owner_wire
from kubebraid.proto.owner_answers import Answers, encode_answers
from kubebraid.proto.owner_wire import OwnerKind
from kubebraid.proto.shard_links import ShardLinks
from kubebraid.router.retry import retriable
from tests.linkpair import End


class Dialer:
    """Keeps a link to an address until it is closed."""

    def __init__(self, address: str, user: LinkUser) -> None:
        self.address = address
        self.user = user
        self.closed = False
        self.link: End | None = None

    def close(self) -> None:
        assert not self.closed, "closed once"
        self.closed = True
        self.lose()

    def connect(self, peer: Peer) -> End:
        assert not self.closed
        self.link = End(peer)
        self.user.opened(self.link)
        return self.link

    def lose(self) -> None:
        link, self.link = self.link, None
        if link is not None:
            link.alive = False
            self.user.closed(link)


class FakeMesh:
    def __init__(self) -> None:
        self.dialers: list[Dialer] = []

    def dial(self, address: str, user: LinkUser) -> Closable:
        self.dialers.append(Dialer(address, user))
        return self.dialers[-1]

    def listen(self, address: str, user: LinkUser) -> Closable:
        raise AssertionError("nobody listens here")


def view(*places: ShardPlace) -> ClusterView:
    return ClusterView(1, "c", 1, True, "a", layout([]), -1, frozenset(), places)


def place(incarnation: int = 7, name: str = "s0") -> ShardPlace:
    return ShardPlace(name, "disk", incarnation, f"h:{incarnation}", 2)


class Stand:
    def __init__(self) -> None:
        self.mesh = FakeMesh()
        self.opened = 0
        self.links = ShardLinks(self.mesh, self._open)
        self.replies: list[WriteReply] = []

    def _open(self) -> None:
        self.opened += 1

    def follow(self, *places: ShardPlace) -> None:
        self.links.follow(["s0", "s1"], view(*places))

    def put(self) -> None:
        call = WriteCall(WRITE_PUT, b"x", (1,), 1, len(self.replies))
        self.links.clients["s0"].submit([call], self.replies.append)
        self.links.turn()

    @property
    def dialer(self) -> Dialer:
        return self.mesh.dialers[-1]


def test_shard_that_was_never_started_is_known_and_away() -> None:
    stand = Stand()
    stand.follow()
    assert sorted(stand.links.clients) == ["s0", "s1"]
    assert stand.mesh.dialers == []
    stand.put()
    assert [reply.error for reply in stand.replies] == [errors.OWNER_AWAY]


def test_shard_that_comes_back_elsewhere_is_dialled_there_and_its_client_stays() -> None:
    """The worked example of the module."""
    stand = Stand()
    stand.follow(place(7))
    client = stand.links.clients["s0"]
    first = stand.dialer
    first.connect(Peer("shard", "s0", 7))
    stand.put()
    assert stand.replies == []
    stand.follow(place(8))
    assert [first.closed] == [False], "it may still answer"
    assert stand.replies == []
    assert stand.dialer.address == "h:8"
    stand.put()
    assert [reply.error for reply in stand.replies] == [errors.OWNER_AWAY]
    link = stand.dialer.connect(Peer("shard", "s0", 8))
    assert [first.closed] == [False], "it may still answer"
    assert len(stand.replies) == 1
    first.lose()
    assert first.closed
    assert [reply.error for reply in stand.replies] == [
        errors.OWNER_AWAY,
        errors.OUTCOME_UNKNOWN_REPLY,
    ]
    assert stand.links.clients["s0"] is client
    stand.put()
    assert len(stand.replies) == 2
    assert link.sent
    assert stand.opened == 2


def handed_over() -> tuple[Stand, Dialer]:
    """A put is on its way when the next process takes the shard; both can be reached."""
    stand = Stand()
    stand.follow(place(7))
    first = stand.dialer
    first.connect(Peer("shard", "s0", 7))
    stand.put()
    stand.follow(place(8))
    stand.dialer.connect(Peer("shard", "s0", 8))
    assert (stand.replies, first.closed) == ([], False)
    return stand, first


def says(dialer: Dialer, reply: WriteReply) -> None:
    """The process answers; the reply's tag is the call's number."""
    wire = End(Peer("shard", "s0", 0))
    owner_wire.send(wire, OwnerKind.ANSWERS, encode_answers(Answers(writes=[reply])))
    for kind, body in wire.sent:
        assert dialer.link is not None
        dialer.user.received(dialer.link, kind, body)


def refusal(number: int, why: RequestRefused = errors.OWNER_AWAY) -> WriteReply:
    return WriteReply(number, 0, b"", why)


def test_write_that_was_sent_before_a_hand_over_is_answered_behind_it() -> None:
    stand, first = handed_over()
    says(first, refusal(1))
    (reply,) = stand.replies
    assert reply.error is not None
    assert retriable(reply.error)
    assert first.closed
    stand.put()
    says(stand.dialer, refusal(2, errors.OTHER_MAP))
    assert [reply.error for reply in stand.replies[1:]] == [errors.OTHER_MAP]


def test_write_that_was_done_before_a_hand_over_is_told_behind_it() -> None:
    stand, first = handed_over()
    says(first, WriteReply(1, 41, b"done", None))
    assert [(reply.revision, reply.body) for reply in stand.replies] == [(41, b"done")]
    assert first.closed


def test_former_process_answers_nothing_that_was_asked_of_its_successor() -> None:
    stand, first = handed_over()
    stand.put()
    says(first, refusal(2))
    assert stand.replies == []
    assert not first.closed
    says(first, refusal(1))
    assert len(stand.replies) == 1


def test_former_process_whose_successor_is_gone_may_still_answer() -> None:
    stand, first = handed_over()
    stand.dialer.lose()
    assert [first.closed] == [False]
    says(first, refusal(1))
    assert first.closed


def test_third_process_ends_what_the_first_has_not_answered() -> None:
    stand, first = handed_over()
    stand.follow(place(9))
    assert first.closed
    assert [reply.error for reply in stand.replies] == [errors.OUTCOME_UNKNOWN_REPLY]


def test_process_that_is_gone_is_not_dialled_any_more_behind_its_successor() -> None:
    stand = Stand()
    stand.follow(place(7))
    first = stand.dialer
    first.connect(Peer("shard", "s0", 7))
    stand.follow(place(8))
    first.lose()
    assert first.closed
    stand.follow(place(9))
    second, third = stand.mesh.dialers[1:]
    assert second.closed, "it never had a link"
    assert not third.closed


def test_same_place_in_a_newer_state_keeps_its_link() -> None:
    stand = Stand()
    stand.follow(place(7))
    stand.dialer.connect(Peer("shard", "s0", 7))
    stand.follow(place(7))
    stand.follow(place(7), place(9, "s1"))
    assert [dialer.address for dialer in stand.mesh.dialers] == ["h:7", "h:9"]
    assert not stand.mesh.dialers[0].closed


@pytest.mark.parametrize(
    "peer",
    [Peer("shard", "s0", 6), Peer("shard", "s1", 7), Peer("router", "s0", 7)],
)
def test_process_that_the_state_does_not_name_is_not_asked(peer: Peer) -> None:
    """An address may be somebody else's by now: what it said would be taken for the shard's."""
    stand = Stand()
    stand.follow(place(7))
    link = stand.dialer.connect(peer)
    assert link.ended
    stand.put()
    assert not link.sent
    assert [reply.error for reply in stand.replies] == [errors.OWNER_AWAY]
    assert stand.opened == 0
    stand.dialer.lose()
    stand.dialer.connect(Peer("shard", "s0", 7))
    assert stand.opened == 1


def test_link_that_was_lost_is_opened_again_by_its_dialer() -> None:
    stand = Stand()
    stand.follow(place(7))
    for _ in range(3):
        stand.dialer.connect(Peer("shard", "s0", 7))
        stand.put()
        stand.dialer.lose()
    assert [reply.error for reply in stand.replies] == [errors.OUTCOME_UNKNOWN_REPLY] * 3
    assert stand.opened == 3


def test_end_of_a_stranger_is_no_end_of_the_present_link() -> None:
    stand = Stand()
    stand.follow(place(7))
    user = stand.dialer.user
    stranger = stand.dialer.connect(Peer("shard", "s0", 6))
    link = stand.dialer.connect(Peer("shard", "s0", 7))
    user.closed(stranger)
    stand.put()
    assert link.sent
    assert stand.replies == []


def test_work_of_all_clients_is_sent_in_the_turn() -> None:
    stand = Stand()
    stand.follow(place(7), place(9, "s1"))
    one, other = stand.mesh.dialers
    links = [one.connect(Peer("shard", "s0", 7)), other.connect(Peer("shard", "s1", 9))]
    call = WriteCall(WRITE_PUT, b"x", (1,), 1, 1)
    for client in stand.links.clients.values():
        client.submit([call], stand.replies.append)
    stand.links.turn()
    assert [len(link.sent) for link in links] == [1, 1]


def test_newer_word_of_a_store_leaves_the_link_alone() -> None:
    """A confirmed adoption is no other process."""
    stand = Stand()
    stand.follow(place(7))
    (dialer,) = stand.mesh.dialers
    dialer.connect(Peer("shard", "s0", 7))
    stand.follow(place(7)._replace(confirmed=Adoption(7, 3), since=9))
    assert stand.mesh.dialers == [dialer]
    assert not dialer.closed


def test_shard_that_was_removed_is_left_and_may_come_again() -> None:
    stand = Stand()
    stand.follow(place(7))
    client, first = stand.links.clients["s0"], stand.dialer
    first.connect(Peer("shard", "s0", 7))
    stand.put()
    stand.follow()
    assert first.closed
    assert [reply.error for reply in stand.replies] == [errors.OUTCOME_UNKNOWN_REPLY]
    stand.follow()
    stand.follow(place(8))
    stand.dialer.connect(Peer("shard", "s0", 8))
    assert stand.links.clients["s0"] is client
    assert client.connected
