"""Which shards there are, which may be removed: by their own word, and whose host changes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from kubebraid.base import errors
from kubebraid.base.errors import Code
from kubebraid.base.ports import ClusterView, ShardPlace, ShardStatus
from kubebraid.base.reshard import HandOver, Removal
from kubebraid.proto import adminreshard as wire
from kubebraid.proto import coordinator_wire
from kubebraid.proto.adminwire import decode_status
from kubebraid.proto.coordinator_wire import CoordinatorKind
from kubebraid.proto.owner_client import OwnerClient
from kubebraid.router.admin import ROUND_MS_MAX
from kubebraid.router.resharding import WAIT_MS_MAX
from tests.linkpair import FAR, End

from .fakes import LEFT, MAP, RIGHT, HeldOwner
from .test_resharding import Stand as Router

EMPTY = "shard-9"
IDLE = ShardStatus(1, 1, 0, 0)


class Idle(HeldOwner):
    """Owns nothing, and says so as a test wants."""

    def __init__(self) -> None:
        super().__init__(EMPTY, ())
        self.told = IDLE

    def status(self) -> ShardStatus:
        return self.told


class Stand(Router):
    """A router of a cluster with an empty shard."""

    def __init__(self) -> None:
        super().__init__()
        self.empty = Idle()
        self.index = 6
        self.owners = {LEFT: self.left, RIGHT: self.right, EMPTY: self.empty}
        self.router._context.owners = self.owners
        self.state(EMPTY)

    def state(self, *names: str) -> None:
        places = tuple(ShardPlace(name, "disk", 7, "h:7", 1) for name in names)
        self.index += 1
        view = ClusterView(self.index, "cluster", 5, True, "a", MAP, -1, frozenset(), places)
        self._told(CoordinatorKind.STATE, coordinator_wire.encode_state(view))

    def remove(self, name: str = EMPTY) -> None:
        self.call("Admin/RemoveShard", wire.encode_remove(name))

    def hand_over(self, name: str, host: str) -> None:
        self.call("Admin/HandOverShard", wire.encode_hand_over(HandOver(name, host)))

    def listed(self) -> list[str]:
        self.call("Admin/ClusterStatus", b"")
        self.coordinator.sent.clear()
        self.later(ROUND_MS_MAX)
        return [shard.name for shard in decode_status(self.answer()).shards]


def test_shard_that_holds_nothing_is_removed_by_the_coordinators() -> None:
    stand = Stand()
    stand.remove()
    assert stand.taken() == Removal(EMPTY)
    assert stand.answer() == wire.encode_removed()


def test_shard_that_was_removed_is_shown_and_known_no_more() -> None:
    stand = Stand()
    assert stand.listed() == [LEFT, RIGHT, EMPTY]
    assert EMPTY in stand.router._reshard.standings()
    stand.state()
    assert stand.listed() == [LEFT, RIGHT]
    assert EMPTY not in stand.router._reshard.standings()
    stand.remove()
    code, text = stand.refusal()
    assert code == 5
    assert "no shard is called 'shard-9'; there are" in text


def undecided(stand: Stand) -> None:
    stand.empty.told = dataclasses.replace(IDLE, undecided=2)


def behind(stand: Stand) -> None:
    stand.empty.told = dataclasses.replace(IDLE, tablets=1)


def away(stand: Stand) -> None:
    stand.router._context.owners = {**stand.owners, EMPTY: OwnerClient()}


def silent(stand: Stand) -> None:
    client = OwnerClient()
    client.opened(End(FAR))
    stand.router._context.owners = {**stand.owners, EMPTY: client}


@pytest.mark.parametrize(
    ("trouble", "text"),
    [
        (undecided, "shard-9 holds the outcome of 2 transactions"),
        (behind, "shard-9 has not heard yet that its last tablet is gone"),
        (away, "shard-9 cannot be reached, and only shard-9 knows"),
        (silent, "shard-9 has just been reached and has said nothing of itself"),
    ],
)
def test_shard_that_others_may_ask_is_not_removed(
    trouble: Callable[[Stand], None], text: str
) -> None:
    stand = Stand()
    trouble(stand)
    stand.remove()
    code, told = stand.refusal()
    assert code == 9
    assert text in told
    assert not stand.coordinator.sent, "nobody was asked to change anything"


def test_shard_with_tablets_is_not_removed() -> None:
    stand = Stand()
    stand.remove(LEFT)
    assert f"{LEFT} owns 1 tablets; first 'shard drain {LEFT}'" in stand.refusal()[1]
    assert not stand.coordinator.sent


# -- hosts -----------------------------------------------------------------------------------------


def test_hand_over_is_the_coordinators_to_decide() -> None:
    stand = Stand()
    stand.hand_over(LEFT, "shard-2")
    assert stand.taken() == HandOver(LEFT, "shard-2")
    assert stand.answer() == wire.encode_handed_over()
    stand.hand_over(LEFT, "shard-2")
    stand.taken(errors.precondition("no host is called shard-2. Nothing was changed"))
    code, text = stand.refusal()
    assert code == Code.FAILED_PRECONDITION
    assert "no host is called shard-2" in text


def test_hand_over_that_nobody_answers_is_not_known() -> None:
    stand = Stand()
    stand.hand_over(LEFT, "shard-2")
    stand.later(WAIT_MS_MAX)
    code, text = stand.refusal()
    assert code == Code.DEADLINE_EXCEEDED
    assert f"it is not known whether shard {LEFT} is handed over to shard-2" in text


def test_hand_over_of_a_shard_that_is_not_there_asks_nobody() -> None:
    stand = Stand()
    stand.hand_over("shard-77", LEFT)
    code, text = stand.refusal()
    assert code == Code.NOT_FOUND
    assert f"no shard is called 'shard-77'; there are {LEFT}" in text
    assert not stand.coordinator.sent


def test_hand_over_to_nobody_is_refused() -> None:
    """Else the shard would be anybody's."""
    stand = Stand()
    stand.hand_over(LEFT, "")
    assert stand.refusal()[0] == Code.INVALID_ARGUMENT
    assert not stand.coordinator.sent
