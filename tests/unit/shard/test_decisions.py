"""Open decisions: who is asked, and when they are forgotten."""

from __future__ import annotations

from collections.abc import Callable

from kubebraid.base import errors
from kubebraid.base.across import AcrossCall, AcrossReply, Step, TxnId
from kubebraid.base.limits import ACROSS_ASK_MS
from kubebraid.shard import keycodec
from kubebraid.shard.decisions import OpenDecisions
from kubebraid.shard.intents import Decision

TXN = TxnId(7, 1)


class Peer:
    def __init__(self) -> None:
        self.asked: list[tuple[AcrossCall, Callable[[AcrossReply], None]]] = []

    def across(self, call: AcrossCall, done: Callable[[AcrossReply], None]) -> None:
        self.asked.append((call, done))


class Case:
    """shard-0 has decided for revision 12 with two others."""

    def __init__(self) -> None:
        self.peers = {"shard-1": Peer(), "shard-2": Peer()}
        self.litter: list[bytes] = []
        self.removed: set[str] = set()
        is_removed = self.removed.__contains__
        self.open = OpenDecisions("shard-0", self.peers, self.litter, is_removed)
        self.open.add(TXN, Decision(12, ("shard-0", "shard-1", "shard-2")), due_ms=100)


def test_decision_is_told_until_it_is_forgotten() -> None:
    case = Case()
    assert case.open.revision(TXN) == 12
    assert case.open.revision(TxnId(7, 2)) == 0
    case.open.forget(TXN)
    case.open.forget(TXN)
    assert case.open.revision(TXN) == 0
    assert case.litter == [keycodec.decision(TXN)], "its row goes once"


def test_participants_are_asked_when_nobody_says_that_they_have_applied() -> None:
    case = Case()
    case.open.turn(99)
    assert not case.peers["shard-1"].asked
    assert case.open.next_deadline_ms() == 100
    case.open.turn(100)
    for peer in case.peers.values():
        ((call, _),) = peer.asked
        assert (call.step, call.txn, call.revision) == (Step.APPLY, TXN, 12)
    assert case.open.next_deadline_ms() == 100 + ACROSS_ASK_MS


def test_m07_decision_stays_until_each_participant_has_confirmed() -> None:
    """However old it is: one that cannot be reached keeps it."""
    case = Case()
    case.open.turn(100)
    case.peers["shard-1"].asked[0][1](AcrossReply())
    case.peers["shard-2"].asked[0][1](AcrossReply(errors.OWNER_AWAY))
    assert case.open.revision(TXN) == 12
    case.open.turn(1_000_000)
    assert len(case.peers["shard-1"].asked) == 1, "it has confirmed"
    case.peers["shard-2"].asked[1][1](AcrossReply())
    assert case.open.revision(TXN) == 0
    assert case.litter == [keycodec.decision(TXN)]


def test_late_confirmation_of_what_is_forgotten_changes_nothing() -> None:
    case = Case()
    case.open.turn(100)
    case.open.forget(TXN)
    for peer in case.peers.values():
        peer.asked[0][1](AcrossReply())
    assert case.litter == [keycodec.decision(TXN)]


def test_peer_that_no_map_names_is_waited_for() -> None:
    case = Case()
    del case.peers["shard-2"]
    case.open.turn(100)
    case.peers["shard-1"].asked[0][1](AcrossReply())
    assert case.open.revision(TXN) == 12


def test_participant_that_was_removed_is_not_waited_for() -> None:
    """It was removed because it held no share any more."""
    case = Case()
    case.open.turn(100)
    case.peers["shard-1"].asked[0][1](AcrossReply())
    assert len(case.open) == 1
    case.removed.add("shard-2")
    case.open.turn(1_000_000)
    assert len(case.open) == 0
    assert len(case.peers["shard-2"].asked) == 1
