"""The desk of calls that surely did nothing: order, deadline, and what a client is told."""

from __future__ import annotations

import pytest

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.limits import RETRY_CALLS_MAX, RETRY_EVERY_MS, RETRY_MS_MAX
from kubebraid.router.answers import Caller
from kubebraid.router.retry import Retries, retriable
from tests.unit.router.fakes import HEADER
from tests.world import FakeClock, FakeEdge

RETRIED = [errors.OTHER_MAP, errors.OWNER_AWAY, errors.NO_LEADER]
NOT_RETRIED = [
    value
    for name, value in vars(errors).items()
    if isinstance(value, RequestRefused) and not any(value is one for one in RETRIED)
]


class Stand:
    """A desk; `refusal` is what each further try meets, None: it passes."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.desk = Retries(self.clock)
        self.edge = FakeEdge()
        self.tried: list[int] = []
        self.refusal: RequestRefused | None = None

    def caller(self, number: int = 1) -> Caller:
        return Caller(self.edge, number, HEADER, self.desk, (3, b"payload"))

    def turn(self) -> bool:
        return self.desk.turn(self._run)

    def _run(self, caller: Caller) -> None:
        self.tried.append(caller.call_id)
        if self.refusal is not None:
            caller.fail(self.refusal)

    def told(self) -> dict[int, str]:
        """The code and text of each call that failed."""
        return {number: str(answer) for number, answer in self.edge.answers.items()}

    def wait(self, ms: int) -> None:
        self.clock.ms += ms


@pytest.mark.parametrize("refused", RETRIED)
def test_definite_refusal_is_not_told_and_tried_again(refused: RequestRefused) -> None:
    stand = Stand()
    stand.caller().fail(refused)
    assert stand.edge.answers == {}
    assert not stand.turn(), "not at once: nothing has changed yet"
    stand.wait(RETRY_EVERY_MS)
    assert stand.turn()
    assert stand.tried == [1]
    assert not stand.turn(), "once a refusal"


@pytest.mark.parametrize("refused", NOT_RETRIED, ids=lambda refused: refused.message)
def test_every_other_refusal_is_told_at_once(refused: RequestRefused) -> None:
    """Above all a write of unknown outcome: tried again it could happen twice."""
    stand = Stand()
    assert not retriable(refused)
    stand.caller().fail(refused)
    assert stand.told() == {1: f"{refused.code}: {refused.message}"}
    assert stand.desk.next_deadline_ms() is None


def test_uncertain_write_is_told_although_its_text_is_that_of_a_definite_one() -> None:
    """The constants say it, never their texts: OWNER_AWAY and the like read as etcd's."""
    lookalike = errors.Unanswered(errors.NO_LEADER.code, errors.NO_LEADER.message)
    assert errors.OUTCOME_UNKNOWN_REPLY in NOT_RETRIED
    stand = Stand()
    stand.caller().fail(lookalike)
    assert list(stand.edge.answers) == [1]


def test_calls_leave_in_the_order_in_which_they_came() -> None:
    """The worked example of the module; a refused try keeps the order too."""
    stand = Stand()
    for number in range(40):
        stand.caller(number).fail(errors.OWNER_AWAY)
    stand.refusal = errors.OTHER_MAP
    stand.wait(RETRY_EVERY_MS)
    stand.turn()
    stand.caller(99).fail(errors.OWNER_AWAY)
    stand.refusal = None
    stand.wait(RETRY_EVERY_MS)
    stand.turn()
    assert stand.tried == [*range(40), *range(40), 99]


def test_inv19_call_that_meets_another_map_is_tried_again_within_milliseconds() -> None:
    """A move freezes its tablet for some 10 ms, and may take 100: 50 of them would be our waiting.
    Each call has its own times: those that come during a freeze must not multiply the tries."""
    stand = Stand()
    stand.refusal = errors.OTHER_MAP
    stand.caller(1).fail(errors.OTHER_MAP)
    stand.caller(2).fail(errors.OWNER_AWAY)
    began, tries = stand.clock.now_ms(), []
    for _ in range(200):
        stand.wait(1)
        stand.turn()
        tries += [(number, stand.clock.now_ms() - began) for number in stand.tried]
        stand.tried.clear()
    assert [ms for number, ms in tries if number == 1] == [2, 4, 8, 16, 32, 64, 114, 164]
    assert next(ms for number, ms in tries if number == 2) == 50
    assert stand.edge.answers == {}


def test_news_make_all_leave_in_the_order_in_which_they_came() -> None:
    """Although the second is due long before the first."""
    stand = Stand()
    stand.caller(1).fail(errors.OWNER_AWAY)
    stand.caller(2).fail(errors.OTHER_MAP)
    stand.caller(3).fail(errors.OWNER_AWAY)
    stand.desk.poke()
    stand.turn()
    assert stand.tried == [1, 2, 3]
    assert stand.desk.next_deadline_ms() is None


def test_news_shorten_the_wait() -> None:
    """A link that opened, a map that came."""
    stand = Stand()
    stand.caller().fail(errors.OWNER_AWAY)
    stand.desk.poke()
    assert stand.desk.next_deadline_ms() == 0
    assert stand.turn()
    assert stand.tried == [1]


def test_news_before_a_call_do_not_make_it_spin() -> None:
    stand = Stand()
    stand.desk.poke()
    stand.caller().fail(errors.OWNER_AWAY)
    assert not stand.turn()
    assert stand.desk.next_deadline_ms() == stand.clock.now_ms() + RETRY_EVERY_MS


@pytest.mark.parametrize(
    ("refused", "told"),
    [
        (errors.OTHER_MAP, errors.TIMED_OUT),
        (errors.OWNER_AWAY, errors.NO_LEADER),
        (errors.NO_LEADER, errors.NO_LEADER),
    ],
)
def test_client_is_told_in_etcds_words_when_its_time_is_up(
    refused: RequestRefused, told: RequestRefused
) -> None:
    """Counted from the first refusal, however often it was tried in between."""
    stand = Stand()
    stand.refusal = refused
    stand.caller().fail(refused)
    for _ in range(RETRY_MS_MAX // RETRY_EVERY_MS - 1):
        stand.wait(RETRY_EVERY_MS)
        assert stand.turn()
        assert stand.edge.answers == {}
    stand.wait(RETRY_EVERY_MS)
    stand.turn()
    assert stand.told() == {1: f"{told.code}: {told.message}"}
    assert "kubebraid" not in told.message
    assert not stand.turn()


def test_full_desk_tells_the_next_ones_at_once() -> None:
    stand = Stand()
    for number in range(RETRY_CALLS_MAX):
        stand.caller(number).fail(errors.OWNER_AWAY)
    assert stand.edge.answers == {}
    stand.caller(RETRY_CALLS_MAX).fail(errors.OWNER_AWAY)
    assert list(stand.edge.answers) == [RETRY_CALLS_MAX]


def test_router_that_ends_tries_nothing_again() -> None:
    stand = Stand()
    stand.caller(1).fail(errors.OWNER_AWAY)
    stand.desk.closed = True
    stand.caller(2).fail(errors.OWNER_AWAY)
    stand.refusal = errors.OWNER_AWAY
    stand.wait(RETRY_EVERY_MS)
    stand.turn()
    assert sorted(stand.edge.answers) == [1, 2]


def test_call_without_a_desk_is_told_at_once() -> None:
    stand = Stand()
    Caller(stand.edge, 5, HEADER).fail(errors.OWNER_AWAY)
    assert list(stand.edge.answers) == [5]
