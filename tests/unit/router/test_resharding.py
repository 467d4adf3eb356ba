"""PlanReshard, ControlReshard, ListReshard: who is asked what, and how each call ends."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from kubebraid.base import errors
from kubebraid.base.errors import Code, RequestRefused, Unanswered
from kubebraid.base.limits import RETRY_EVERY_MS
from kubebraid.base.links import Peer
from kubebraid.base.ports import ClusterView, ShardPlace, ShardStatus, TabletLoad
from kubebraid.base.reshard import (
    Action,
    Control,
    Kind,
    Migration,
    Order,
    Phase,
    Planned,
    Progress,
    Report,
)
from kubebraid.proto import adminreshard as wire
from kubebraid.proto import coordinator_reshard as codec
from kubebraid.proto import coordinator_wire
from kubebraid.proto.adminreshard import PlanRequest, Verb
from kubebraid.proto.coordinator_client import CoordinatorClient
from kubebraid.proto.coordinator_wire import CoordinatorKind
from kubebraid.router.core import Router
from kubebraid.router.resharding import WAIT_MS_MAX
from tests.linkpair import End
from tests.world import FakeClock, FakeEdge, RpcError

from .fakes import LEFT, MAP, RIGHT, Calls, HeldOwner, Shards, sample

PLAN, CONTROL, LIST = "Admin/PlanReshard", "Admin/ControlReshard", "Admin/ListReshard"
MOVE = PlanRequest(Verb.MOVE, ("a",), to=(RIGHT,))
Sampled = Callable[[tuple[bytes, ...] | RequestRefused], None]


class SampledOwner(HeldOwner):
    """Tells where to cut, when the test says so."""

    def __init__(self, name: str, tablet: int) -> None:
        super().__init__(name, (tablet,))
        self.asked: list[tuple[int, int, bool, Sampled]] = []
        self.loads: tuple[TabletLoad, ...] = ()

    def sample_keys(self, tablet: int, parts: int, by_load: bool, done: Sampled) -> None:
        self.asked.append((tablet, parts, by_load, done))

    def status(self) -> ShardStatus:
        return ShardStatus(100, 60, 1, 0, self.loads)


class Stand:
    """A router of a cluster whose one coordinator answers as a test says."""

    def __init__(self, serves: bool = True, rows: str = "") -> None:
        self.clock = FakeClock()
        self.edge = FakeEdge()
        self.client = CoordinatorClient(lambda _view: None)
        self.coordinator = End(Peer("coordinator", "a", 1))
        self.client.opened(self.coordinator)
        shards = [ShardPlace(name, "disk", 7, "h:7", 1, rows=rows) for name in (LEFT, RIGHT)]
        view = ClusterView(6, "cluster", 5, serves, "a", MAP, -1, frozenset(), tuple(shards))
        body = coordinator_wire.encode_state(view)
        self.client.received(self.coordinator, CoordinatorKind.STATE, body)
        self.left, self.right = SampledOwner(LEFT, 1), SampledOwner(RIGHT, 2)
        context = dataclasses.replace(
            Shards().context(),
            owners={LEFT: self.left, RIGHT: self.right},
            coordinator=self.client,
            sequencer=self.client,
            clock=self.clock,
            progress_interval_ms=600_000,
            remote=True,
        )
        self.router = Router(context, sample(6, {1: 6, 2: 3}))

    def call(self, path: str, payload: bytes) -> None:
        event = Calls().event(path, payload)
        self.router.handle(self.edge, [event])

    def plan(self, request: PlanRequest) -> None:
        self.call(PLAN, wire.encode_plan_request(request))

    def asked(self, kind: CoordinatorKind) -> bytes:
        """The newest message to the coordinator."""
        told, body = self.coordinator.sent.pop()
        assert told == kind
        return body

    def list(self, *migrations: Progress, serving: bool = True) -> None:
        number = codec.decode_reshard_ask(self.asked(CoordinatorKind.RESHARD_ASK))
        listed = codec.Listed(number, migrations if serving else None)
        self._told(CoordinatorKind.RESHARD_LIST, codec.encode_reshard_list(listed))

    def taken(self, refused: RequestRefused | None = None) -> Order:
        number, request = codec.decode_reshard(self.asked(CoordinatorKind.RESHARD))
        answer = codec.encode_reshard_answer(codec.Answered(number, refused))
        self._told(CoordinatorKind.RESHARD_ANSWER, answer)
        return request

    def _told(self, kind: CoordinatorKind, body: bytes) -> None:
        self.client.received(self.coordinator, kind, body)

    def answer(self) -> bytes:
        (body,) = self.edge.answers.values()
        self.edge.answers.clear()
        assert isinstance(body, bytes), body
        return body

    def refusal(self) -> tuple[int, str]:
        (error,) = self.edge.answers.values()
        self.edge.answers.clear()
        assert isinstance(error, RpcError)
        return error.code, error.text

    def shown(self) -> wire.Plan:
        return wire.decode_plan(self.answer())

    def later(self, ms: int) -> None:
        self.clock.ms += ms
        self.router.turn()


def migration(**changed: object) -> Migration:
    target = dataclasses.replace(MAP.tablets[0], shard=RIGHT)
    made = Migration("m1", Kind.MOVE, LEFT, RIGHT, (1,), (target,))
    return made._replace(**changed)  # type: ignore[arg-type]


# -- plan ------------------------------------------------------------------------------------------


def test_dry_run_shows_a_plan_and_records_nothing() -> None:
    stand = Stand()
    stand.plan(MOVE._replace(dry_run=True))
    stand.list()
    shown = stand.shown()
    (step,) = shown.steps
    assert (step.kind, step.source, step.target) == ("move", LEFT, RIGHT)
    assert (step.sources[0].name, step.sources[0].end) == ("a", "m")
    assert step.id.startswith("move-a-")
    assert (shown.map_version, shown.recorded) == (MAP.version, False)
    assert shown.token
    assert not stand.coordinator.sent


def test_plan_that_was_shown_is_recorded_as_it_was_shown() -> None:
    stand = Stand()
    stand.plan(MOVE._replace(dry_run=True))
    stand.list()
    shown = stand.shown()
    for _ in range(2):  # whoever has no answer repeats it
        stand.plan(PlanRequest(Verb.MOVE, token=shown.token))
        request = stand.taken()
        assert isinstance(request, Planned)
        assert request.map_version == MAP.version
        (recorded,) = request.migrations
        assert (recorded.id, recorded.sources) == (shown.steps[0].id, (1,))
        assert recorded.targets[0].shard == RIGHT
        again = stand.shown()
        assert again.recorded
        assert again.steps[0].id == recorded.id


def test_plan_without_dry_run_is_recorded_at_once() -> None:
    stand = Stand()
    stand.plan(MOVE)
    stand.list()
    assert isinstance(stand.taken(), Planned)
    assert stand.shown().recorded


def test_nothing_to_do_is_told_without_a_token() -> None:
    stand = Stand()
    stand.plan(MOVE._replace(to=(LEFT,)))
    stand.list()
    assert stand.shown() == wire.Plan(MAP.version, (), ("tablet a is on left already",))


def test_refusal_of_the_planner_is_the_callers() -> None:
    stand = Stand()
    stand.plan(MOVE._replace(to=("nobody",)))
    stand.list()
    code, text = stand.refusal()
    assert (code, text) == (
        Code.NOT_FOUND,
        "kubebraid: no shard is called 'nobody'; there are left, right",
    )


def test_migrations_that_are_recorded_are_known_to_the_plan() -> None:
    stand = Stand()
    stand.plan(MOVE)
    stand.list(Progress(migration(phase=Phase.PREPARING)))
    code, text = stand.refusal()
    assert code == Code.FAILED_PRECONDITION
    assert "tablet a is in migration m1 (preparing)" in text


def test_refusal_of_the_coordinator_is_told_in_its_words() -> None:
    stand = Stand()
    stand.plan(MOVE)
    stand.list()
    stand.taken(RequestRefused(Code.FAILED_PRECONDITION, "kubebraid: the map has changed"))
    assert stand.refusal() == (Code.FAILED_PRECONDITION, "kubebraid: the map has changed")


@pytest.mark.parametrize("lost", [False, True])
def test_unknown_outcome_is_told_as_such(lost: bool) -> None:
    stand = Stand()
    stand.plan(MOVE)
    stand.list()
    if lost:
        stand.client.closed(stand.coordinator)
    else:
        stand.taken(Unanswered(Code.UNAVAILABLE, "?"))
    code, text = stand.refusal()
    assert code == Code.DEADLINE_EXCEEDED
    assert "it is not known whether the plan of move-a-" in text


def test_size_and_usual_pause_are_those_that_are_known() -> None:
    stand = Stand()
    stand.left.loads = (TabletLoad(1, 4096, 2, 0.5, 1.5), TabletLoad(2, 9, 9, 9, 9))
    stand.right.loads = (TabletLoad(1, 7, 2, 0.5, 1.5),)  # it owned the tablet before
    stand.plan(MOVE._replace(dry_run=True))
    ended = migration(phase=Phase.DONE, sources=(2,))
    old = [Progress(ended._replace(id=f"o{ms}"), (), 0, ms) for ms in (30, 10, 20)]
    stand.list(*old, Progress(ended._replace(kind=Kind.SPLIT), (), 0, 99))
    (step,) = stand.shown().steps
    assert (step.bytes, step.pause_ms) == (4096, 20)


@pytest.mark.parametrize(("rows", "shared"), [("", False), ("r", True)])
def test_shards_that_share_their_rows_are_told_with_the_plan_and_the_list(
    rows: str, shared: bool
) -> None:
    stand = Stand(rows=rows)
    stand.plan(MOVE._replace(dry_run=True))
    stand.list()
    shown = stand.shown()
    assert shown.steps[0].shares_rows is shared
    stand.plan(PlanRequest(Verb.MOVE, token=shown.token))
    stand.taken()
    assert stand.shown().steps[0].shares_rows is shared
    stand.call(LIST, wire.encode_list_request())
    stand.list(Progress(migration()))
    (listed,) = wire.decode_list(stand.answer())
    assert listed.step.shares_rows is shared


def test_rebalance_without_figures_says_so() -> None:
    stand = Stand()
    stand.plan(PlanRequest(Verb.REBALANCE, dry_run=True))
    stand.list()
    assert "no sizes or rates are known yet: tablets are counted instead" in stand.shown().notes


# -- parts -----------------------------------------------------------------------------------------

PARTS = PlanRequest(Verb.SPLIT, ("b",), parts=3, by_load=True, dry_run=True)


def test_parts_are_cut_where_the_owner_says() -> None:
    stand = Stand()
    stand.plan(PARTS)
    stand.list()
    ((tablet, parts, by_load, done),) = stand.right.asked
    assert (tablet, parts, by_load) == (2, 3, True)
    done((b"p", b"t"))
    (step,) = stand.shown().steps
    assert [(t.start, t.end) for t in step.targets] == [("m", "p"), ("p", "t"), ("t", None)]


def test_owner_that_refuses_or_hangs_ends_the_plan() -> None:
    stand = Stand()
    stand.plan(PARTS)
    stand.list()
    stand.right.asked[0][3](errors.STOPPED)
    assert stand.refusal() == (errors.STOPPED.code, errors.STOPPED.message)
    stand.plan(PARTS)
    stand.list()
    stand.later(WAIT_MS_MAX)
    assert "right gave no sample in time" in stand.refusal()[1]
    stand.right.asked[1][3]((b"p",))  # too late: nobody waits
    assert stand.edge.answers == {}


def test_owner_of_another_version_is_told() -> None:
    stand = Stand()
    plain = HeldOwner(RIGHT, (2,))
    stand.router._context.owners = {LEFT: stand.left, RIGHT: plain}
    stand.plan(PARTS)
    stand.list()
    assert "right cannot tell where to cut b; use --at KEY" in stand.refusal()[1]


# -- waits -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "payload"),
    [(PLAN, wire.encode_plan_request(MOVE)), (LIST, wire.encode_list_request())],
)
def test_coordinator_that_hangs_is_given_up(path: str, payload: bytes) -> None:
    stand = Stand()
    stand.call(path, payload)
    assert stand.router.next_deadline_ms() == stand.clock.ms + WAIT_MS_MAX
    stand.later(WAIT_MS_MAX - 1)
    assert stand.edge.answers == {}
    stand.later(1)
    assert stand.refusal() == (
        Code.UNAVAILABLE,
        "kubebraid: no coordinator serves; nothing was changed",
    )
    stand.list()  # too late
    assert stand.edge.answers == {}


@pytest.mark.parametrize("path", [PLAN, LIST])
def test_list_that_another_coordinator_has_is_asked_again(path: str) -> None:
    stand = Stand()
    payload = wire.encode_list_request() if path == LIST else wire.encode_plan_request(MOVE)
    stand.call(path, payload)
    stand.list(serving=False)
    assert stand.edge.answers == {}
    stand.later(RETRY_EVERY_MS)
    stand.list(Progress(migration(phase=Phase.DONE)))
    if path == PLAN:
        stand.taken()
    assert stand.answer()


def test_without_a_coordinator_it_is_tried_again_and_then_told() -> None:
    stand = Stand(serves=False)
    stand.call(CONTROL, wire.encode_control(Control("m1", Action.CANCEL)))
    assert stand.edge.answers == {}
    for _ in range(200):
        stand.later(50)
    assert stand.refusal() == (errors.NO_LEADER.code, errors.NO_LEADER.message)


# -- control, list ---------------------------------------------------------------------------------


def test_word_goes_to_the_coordinator_as_it_is() -> None:
    stand = Stand()
    control = Control("m1", Action.SWITCH, 7, 100, 50, True)
    stand.call(CONTROL, wire.encode_control(control))
    assert stand.taken() == control
    wire.decode_done(stand.answer())


def test_refused_word_is_told() -> None:
    stand = Stand()
    stand.call(CONTROL, wire.encode_control(Control("m1", Action.SWITCH)))
    stand.taken(RequestRefused(Code.FAILED_PRECONDITION, "kubebraid: the lag is 80 ms"))
    assert stand.refusal() == (Code.FAILED_PRECONDITION, "kubebraid: the lag is 80 ms")


def test_list_has_the_figures_of_the_target() -> None:
    stand = Stand()
    reports = (
        Report("m1", RIGHT, 2, rows=9, bytes=90, upto=5, lag=2, took_ms=3, verified=True),
        Report("m1", LEFT, 1, rows=1),
    )
    told = Progress(migration(phase=Phase.READY, why="the deadline passed"), reports, 77, 12)
    other = Progress(migration(id="m2", kind=Kind.MERGE, sources=(1, 99), targets=MAP.tablets[:1]))
    for ids, found in (((), 2), (("m1",), 1), (("m3",), 0)):
        stand.call(LIST, wire.encode_list_request(ids))
        stand.list(told, other)
        listed = wire.decode_list(stand.answer())
        assert len(listed) == found
        if found == 2:
            first, second = listed
            assert (first.phase, first.why) == ("ready", "the deadline passed")
            assert (first.rows, first.bytes, first.upto, first.lag) == (9, 90, 5, 2)
            assert (first.phase_ms, first.switch_ms, first.verified) == (77, 12, True)
            assert [part.name for part in second.step.sources] == ["a", ""]


# -- who cannot ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [PLAN, CONTROL, LIST])
def test_garbage_is_refused(path: str) -> None:
    stand = Stand()
    stand.call(path, b"\x0a\xff")
    assert stand.refusal()[0] == Code.INVALID_ARGUMENT


def test_token_that_is_no_plan_is_refused() -> None:
    stand = Stand()
    for token in (b"\xff", wire.encode_token(0, Control("m1", Action.CANCEL))):
        stand.plan(PlanRequest(Verb.MOVE, token=token))
        assert stand.refusal()[0] == Code.INVALID_ARGUMENT
    assert not stand.coordinator.sent


def test_one_process_has_nothing_to_reshard() -> None:
    calls = Calls()
    for path, payload in (
        (PLAN, wire.encode_plan_request(MOVE)),
        (CONTROL, wire.encode_control(Control("m1", Action.CANCEL))),
        (LIST, wire.encode_list_request()),
    ):
        code, text = calls.refusal(calls.call(path, payload))
        assert code == Code.UNIMPLEMENTED
        assert "needs a cluster" in text
