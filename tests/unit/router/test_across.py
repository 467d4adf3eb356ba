"""The router's procedure, a step at a time: who is asked what, and what a client hears."""

from __future__ import annotations

from kubebraid.base import errors
from kubebraid.base.across import AcrossReply, Lane, OpShare, Prepared, Step, Verdict
from kubebraid.base.errors import RequestRefused
from kubebraid.base.ops import TxnOp
from kubebraid.base.ports import WRITE_TXN, AllocReply, AllocRequest
from kubebraid.base.revision import Revision
from kubebraid.router.across import Request, Transactions
from tests.unit.router.fakes import HeldOwner, sample
from tests.unit.shard.fakes import compare, get, put, txn

LEFT, RIGHT = "shard-0", "shard-1"
A1 = compare(b"a", 0, 0, 1)  # version(a) = 1
TXN = txn([A1], [put(b"a"), put(b"z")], [get(b"a")])


class Sequencer:
    """Answers when the test says so."""

    def __init__(self) -> None:
        self.allocs: list[AllocRequest] = []
        self.reads = 0
        self._done: list = []  # type: ignore[type-arg]  # callbacks of both kinds

    def alloc(self, request: AllocRequest, done: object) -> None:
        self.allocs.append(request)
        self._done.append(done)

    def read_revision(self, done: object) -> None:
        self.reads += 1
        self._done.append(done)

    def grant(self, first: int = 12, refused: tuple[int, ...] = ()) -> None:
        self._done.pop(0)(AllocReply(0 if refused else first, sample(first, {}), refused))

    def tell(self, revision: int) -> None:
        self._done.pop(0)(sample(revision, {}))


class Case:
    """Two shards and one transaction."""

    def __init__(self, op: TxnOp = TXN) -> None:
        self.owners = {LEFT: HeldOwner(LEFT, (1,)), RIGHT: HeldOwner(RIGHT, (2,))}
        self.sequencer = Sequencer()
        made = Transactions(self.owners, self.sequencer, lambda: 7, lambda: 3)
        self.answers: list[tuple[Revision, bytes] | RequestRefused] = []
        shards = frozenset((RIGHT, LEFT))
        request = Request(
            WRITE_TXN,
            b"payload",
            op,
            shards,
            5,
            lambda revision, body: self.answers.append((revision, body)),
            self.answers.append,
        )
        made.begin(request)

    def asked(self, shard: str) -> list[Step]:
        """What it was asked so far and has not answered."""
        return [call.step for call, _ in self.owners[shard].steps]

    def answer(self, shard: str, reply: AcrossReply) -> None:
        """To the oldest question."""
        _, done = self.owners[shard].steps.pop(0)
        done(reply)

    def lock(self, found: bool = True) -> None:
        """Both, in order; compares hold if `found`."""
        for shard in (LEFT, RIGHT):
            self.answer(shard, AcrossReply(verdicts=[Verdict(found, satisfied=True)]))

    def prepare(self, index: int = 0, refused: tuple[int, RequestRefused] | None = None) -> None:
        """Both; `index` of the left one's tablet."""
        shares = [OpShare(0, index + 1, 0, [])]
        for shard, end in ((LEFT, (1, 4, index)), (RIGHT, (2, 6, -1))):
            mine = refused if shard == RIGHT else None
            prepared = Prepared(9, Lane(shard, 8, 40), (end,), shares, mine)
            self.answer(shard, AcrossReply(prepared=prepared))
            shares = []


def test_worked_example_of_the_module() -> None:
    case = Case()
    assert (case.asked(LEFT), case.asked(RIGHT)) == ([Step.LOCK], []), "in name order"
    case.lock()
    assert case.asked(LEFT) == case.asked(RIGHT) == [Step.PREPARE]
    call = case.owners[RIGHT].steps[0][0]
    assert (call.path, call.participants) == ((True,), (LEFT, RIGHT))
    case.prepare()
    (alloc,) = case.sequencer.allocs
    assert (alloc.cepoch, alloc.writes, alloc.ends) == (9, 1, ((1, 4, 0), (2, 6, -1)))
    assert alloc.lanes == ((LEFT, 8, 40), (RIGHT, 8, 40))
    case.sequencer.grant(12)
    assert (case.asked(LEFT), case.asked(RIGHT)) == ([Step.COMMIT], [])
    assert case.answers == [], "not before the decision is durable"
    case.answer(LEFT, AcrossReply(revision=12))
    ((revision, _),) = (answer for answer in case.answers if isinstance(answer, tuple))
    assert revision == 12
    assert case.asked(RIGHT) == [Step.APPLY]
    assert case.asked(LEFT) == []
    case.answer(RIGHT, AcrossReply())
    assert case.asked(LEFT) == [Step.FORGET]


def test_m07_decision_is_not_forgotten_while_somebody_has_not_applied() -> None:
    case = Case()
    case.lock()
    case.prepare()
    case.sequencer.grant()
    case.answer(LEFT, AcrossReply(revision=12))
    case.answer(RIGHT, AcrossReply(errors.OWNER_AWAY))
    assert case.asked(LEFT) == []


def test_refused_lock_ends_all_and_may_be_tried_again() -> None:
    case = Case()
    case.answer(LEFT, AcrossReply(verdicts=[Verdict(True, satisfied=True)]))
    case.answer(RIGHT, AcrossReply(errors.OUTCOME_UNKNOWN_REPLY))
    assert case.answers == [errors.OWNER_AWAY], "nothing is decided: definite"
    assert case.asked(LEFT) == case.asked(RIGHT) == [Step.ABORT]


def test_share_that_cannot_be_prepared_ends_all_once_all_have_answered() -> None:
    case = Case()
    case.lock()
    case.answer(LEFT, AcrossReply(errors.OWNER_AWAY))
    assert case.answers == []
    prepared = Prepared(9, Lane(RIGHT, 8, 40), ((2, 6, 0),))
    case.answer(RIGHT, AcrossReply(prepared=prepared))
    assert case.answers == [errors.OWNER_AWAY]
    assert case.asked(LEFT) == case.asked(RIGHT) == [Step.ABORT]
    assert case.sequencer.allocs == []


def test_shares_of_two_reigns_do_not_go_together() -> None:
    case = Case()
    case.lock()
    for shard, cepoch in ((LEFT, 9), (RIGHT, 10)):
        case.answer(shard, AcrossReply(prepared=Prepared(cepoch, Lane(shard, 8, 40), ((1, 4, 0),))))
    assert case.answers == [errors.OWNER_AWAY]
    assert case.sequencer.allocs == []


def test_refused_alloc_ends_all() -> None:
    case = Case()
    case.lock()
    case.prepare()
    case.sequencer.grant(refused=(1, 2))
    assert case.answers == [errors.OTHER_MAP]
    assert case.asked(LEFT) == case.asked(RIGHT) == [Step.ABORT]


def test_what_changes_nothing_proves_its_owners_and_takes_no_revision() -> None:
    """The failure branch reads; the answer is that of R."""
    case = Case()
    case.lock(found=False)
    case.prepare(index=-1)
    (alloc,) = case.sequencer.allocs
    assert (alloc.writes, alloc.ends) == (0, ((1, 4, -1), (2, 6, -1)))
    case.sequencer.grant(12)
    assert case.asked(LEFT) == case.asked(RIGHT) == [Step.ABORT]
    ((revision, _),) = (answer for answer in case.answers if isinstance(answer, tuple))
    assert revision == 11


def test_refusal_of_etcd_waits_for_the_proof_and_changes_nothing() -> None:
    case = Case()
    case.lock()
    case.prepare(refused=(1, errors.KEY_NOT_FOUND))
    (alloc,) = case.sequencer.allocs
    assert (alloc.writes, alloc.ends) == (0, ((1, 4, -1), (2, 6, -1)))
    assert case.answers == []
    case.sequencer.grant()
    assert case.answers == [errors.KEY_NOT_FOUND]


def test_first_refusal_in_the_order_of_operations_is_told() -> None:
    """The router judges ranges at a revision by a sample that it takes while all is locked."""
    op = txn([], [put(b"a"), get(b"q", revision=2), get(b"q", revision=99)])
    case = Case(op)
    for shard in (LEFT, RIGHT):
        case.answer(shard, AcrossReply())
    assert case.sequencer.reads == 1
    case.sequencer.tell(50)
    assert case.owners[LEFT].steps[0][0].known == 50
    case.prepare(refused=(2, errors.KEY_NOT_FOUND))
    case.sequencer.grant()
    assert case.answers == [errors.COMPACTED], "place 1: revision 2 lies below the floor of 3"


def test_commit_without_an_answer_is_unknown_and_nobody_is_told_to_abort() -> None:
    case = Case()
    case.lock()
    case.prepare()
    case.sequencer.grant()
    case.answer(LEFT, AcrossReply(errors.OUTCOME_UNKNOWN_REPLY))
    assert case.answers == [errors.OUTCOME_UNKNOWN_REPLY]
    assert case.asked(LEFT) == case.asked(RIGHT) == []


def test_commit_that_was_never_sent_or_came_too_late_is_definite() -> None:
    for reply in (AcrossReply(errors.OWNER_AWAY), AcrossReply(revision=0)):
        case = Case()
        case.lock()
        case.prepare()
        case.sequencer.grant()
        case.answer(LEFT, reply)
        assert case.answers == [errors.OWNER_AWAY]
        assert case.asked(LEFT) == case.asked(RIGHT) == [Step.ABORT]


def test_transactions_have_names_of_their_own() -> None:
    owners = {LEFT: HeldOwner(LEFT, (1,)), RIGHT: HeldOwner(RIGHT, (2,))}
    made = Transactions(owners, Sequencer(), lambda: 7, lambda: -1)
    shards = frozenset(owners)
    for _ in range(2):
        made.begin(Request(WRITE_TXN, b"", TXN, shards, 1, lambda _r, _b: None, lambda _e: None))
    names = [call.txn for call, _ in owners[LEFT].steps]
    assert names == [(7, 1), (7, 2)]
