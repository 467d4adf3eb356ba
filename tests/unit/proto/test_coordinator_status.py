"""What a coordinator says of itself to operators: over its link, and as the client hands it on."""

from __future__ import annotations

import pytest

from kubebraid.base.links import Peer
from kubebraid.base.ports import ClusterView, Sample
from kubebraid.base.tabletmap import layout
from kubebraid.coordinator.member import Member
from kubebraid.coordinator.raft.log import Standing
from kubebraid.coordinator.service import CoordinatorService
from kubebraid.proto import coordinator_wire as wire
from kubebraid.proto.coordinator_client import CoordinatorClient
from kubebraid.proto.coordinator_wire import CoordinatorKind, MemberStatus
from kubebraid.proto.internal import coordinator_pb2 as pb
from kubebraid.proto.owner_wire import Malformed
from tests.linkpair import NEAR, End
from tests.unit.coordinator.test_member import Cluster, serving, taken_over

SAMPLE = Sample(3, 7, 40, {1: 40, 2: 5}, 4)
STATUS = MemberStatus(False, "b", 2, 90, 3, "a", 11, 10_001, SAMPLE)
STANDING = Standing(False, "a", 2, 31)


@pytest.mark.parametrize(
    "status",
    [STATUS, STATUS._replace(sample=None), MemberStatus(True, "", 0, 0, 0, "", 0, 1, None)],
)
def test_status_is_decoded_as_it_was_encoded(status: MemberStatus) -> None:
    assert wire.decode_status(wire.encode_status(8, status)) == (8, status)


def test_sample_with_torn_columns_is_malformed() -> None:
    torn = pb.StatusAnswer(number=1, sample=pb.SampleNews(full=True, tablets=[1], last=[]))
    with pytest.raises(Malformed):
        wire.decode_status(torn.SerializeToString())


# -- the service -----------------------------------------------------------------------------------


def answered(service: CoordinatorService, number: int) -> MemberStatus:
    end = End(NEAR)
    service.received(end, CoordinatorKind.STATUS, wire.encode_status_ask(number))
    ((kind, body),) = end.sent
    assert kind == CoordinatorKind.STATUS_ANSWER
    told, status = wire.decode_status(body)
    assert told == number
    return status


def test_member_that_serves_tells_its_lease_and_a_sample() -> None:
    cluster, a = serving()
    status = answered(CoordinatorService(a, lambda: STANDING), 5)
    (sample,) = read(cluster, a)
    lease = a.state.lease
    assert status == MemberStatus(*STANDING, 1, "a", lease.renewals, lease.window, sample)


def read(cluster: Cluster, member: Member) -> list[Sample]:
    """As a router is answered."""
    samples = cluster.read(member)
    member.turn()
    return samples


def test_holder_whose_proof_is_over_gives_no_sample() -> None:
    """A holder without a quorum: the state still names it, and it may hand out nothing."""
    _, a, b = taken_over()
    assert a.serves, "it has not heard of its successor"
    assert answered(CoordinatorService(a), 1).sample is None
    fresh = answered(CoordinatorService(b), 1)
    assert (fresh.cepoch, fresh.holder) == (2, "b")
    assert fresh.sample is not None


def test_member_that_does_not_serve_tells_who_does() -> None:
    cluster, _ = serving("b")
    status = answered(CoordinatorService(cluster.members["b"]), 1)
    assert (status.holder, status.cepoch, status.sample) == ("a", 1, None)


# -- the client ------------------------------------------------------------------------------------


class Stand:
    """A client of coordinators that only say what a test lets them."""

    def __init__(self) -> None:
        self.client = CoordinatorClient(lambda _view: None)
        self.told: list[tuple[str, MemberStatus | None]] = []

    def link(self, name: str) -> End:
        end = End(Peer("coordinator", name, 1))
        self.client.opened(end)
        view = ClusterView(1, "c", 1, False, "", layout([]), -1, frozenset(), ())
        self.client.received(end, CoordinatorKind.STATE, wire.encode_state(view))
        return end

    def ask(self) -> frozenset[str]:
        return self.client.ask_status(lambda name, status: self.told.append((name, status)))


def number_of(end: End) -> int:
    kind, body = end.sent.pop()
    assert kind == CoordinatorKind.STATUS
    return wire.decode_status_ask(body)


def test_each_connected_coordinator_is_asked_and_told_by_name() -> None:
    stand = Stand()
    a, b = stand.link("a"), stand.link("b")
    assert stand.ask() == {"a", "b"}
    for end in (b, a):
        body = wire.encode_status(number_of(end), STATUS)
        stand.client.received(end, CoordinatorKind.STATUS_ANSWER, body)
        stand.client.received(end, CoordinatorKind.STATUS_ANSWER, body)  # twice is once
    assert stand.told == [("b", STATUS), ("a", STATUS)]


def test_coordinator_whose_link_is_lost_is_told_as_none() -> None:
    stand = Stand()
    a, b = stand.link("a"), stand.link("b")
    stand.ask()
    late = number_of(a)
    stand.client.closed(a)
    assert stand.told == [("a", None)]
    stand.client.received(a, CoordinatorKind.STATUS_ANSWER, wire.encode_status(late, STATUS))
    assert stand.told == [("a", None)]
    assert stand.ask() == {"b"}
    assert len(b.sent) == 2
