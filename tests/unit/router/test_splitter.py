"""Automatic splits carried out: looks in time, the plan of a client, the log of its end."""

from __future__ import annotations

import dataclasses
import logging

import pytest

from kubebraid.base.errors import Code, RequestRefused
from kubebraid.base.ports import TabletLoad
from kubebraid.base.reshard import Kind, Phase, Planned, Progress
from kubebraid.router.autosplit import LOOKS, Bounds
from kubebraid.router.core import Router
from kubebraid.router.draft import Standing
from kubebraid.router.resharding import ReshardService
from kubebraid.router.splitter import JITTER_PARTS, LOOK_MS, LOOKS_A_COOLDOWN

from .fakes import LEFT, MAP, RIGHT, Shards, sample
from .test_resharding import Stand, migration

BOUNDS = Bounds(bytes=1_000, writes=50)
LARGE = TabletLoad(1, 5_000, 40, 2.0, 1.0)
HOT = TabletLoad(1, 500, 40, 200.0, 1.0)
LATEST_MS = LOOK_MS + LOOK_MS // JITTER_PARTS
REST_MS = BOUNDS.cooldown_ms + BOUNDS.cooldown_ms // JITTER_PARTS


class Splitting(Stand):
    """A router that splits by itself."""

    def __init__(self, bounds: Bounds = BOUNDS) -> None:
        super().__init__()
        context = dataclasses.replace(
            Shards().context(),
            owners={LEFT: self.left, RIGHT: self.right},
            coordinator=self.client,
            sequencer=self.client,
            clock=self.clock,
            progress_interval_ms=1 << 40,
            remote=True,
            auto_split=bounds,
        )
        self.router = Router(context, sample(6, {1: 6, 2: 3}))

    def look(self, *migrations: Progress) -> None:
        """As much later as it takes; the coordinator answers."""
        self.later(LATEST_MS)
        self.list(*migrations)

    def wanted(self, *migrations: Progress) -> None:
        """Look until the left owner is asked where to cut."""
        for _ in range(LOOKS):
            assert not self.left.asked
            self.look(*migrations)
        self.list(*migrations)  # the plan asks too
        assert self.left.asked

    def cut(self, *borders: bytes) -> None:
        self.left.asked.pop()[3](borders)


def found(caplog: pytest.LogCaptureFixture, level: int) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno == level]


@pytest.mark.parametrize(("figures", "by_load"), [(LARGE, False), (HOT, True)])
def test_third_look_plans_a_split_in_two_and_logs_it(
    figures: TabletLoad, by_load: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "kubebraid.router")
    stand = Splitting()
    stand.left.loads = (figures,)
    stand.wanted()
    assert stand.left.asked[0][:3] == (1, 2, by_load)
    stand.cut(b"f")
    planned = stand.taken()
    assert isinstance(planned, Planned)
    assert planned.map_version == MAP.version
    (made,) = planned.migrations
    assert (made.kind, made.sources, made.manual) == (Kind.SPLIT, (1,), False)
    assert [target.span.start for target in made.targets] == [b"", b"f"]
    (record,) = found(caplog, logging.INFO)
    assert record.message == "a tablet is split by itself"
    facts = record.__dict__
    assert (facts["migration"], facts["tablet"], facts["shard"]) == (made.id, "a", LEFT)
    value = figures.writes_per_s if by_load else figures.bytes
    assert (facts["value"], facts["bound"]) == (value, 50 if by_load else 1_000)


def test_router_without_bounds_asks_nobody() -> None:
    stand = Splitting(Bounds())
    stand.left.loads = (LARGE,)
    for _ in range(2 * LOOKS):
        stand.later(LATEST_MS)
    assert not stand.coordinator.sent


def test_look_is_made_in_its_time_and_a_short_cooldown_hurries_it() -> None:
    short = BOUNDS._replace(cooldown_ms=LOOKS_A_COOLDOWN * 1_000)
    for bounds, least_ms in ((BOUNDS, LOOK_MS), (short, 1_000)):
        stand = Splitting(bounds)
        due_ms = stand.router.next_deadline_ms()
        assert due_ms is not None
        passed_ms = due_ms - stand.clock.ms
        assert least_ms <= passed_ms <= least_ms + least_ms // JITTER_PARTS
        stand.later(passed_ms - 1)
        assert not stand.coordinator.sent
        stand.later(1)
        stand.list()


@pytest.mark.parametrize("borders", [(), (b"f",)])
def test_refusal_is_no_news_and_is_waited_out(
    borders: tuple[bytes, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """Of the planner, as there are too few keys, or of the coordinator: another came first."""
    caplog.set_level(logging.DEBUG, "kubebraid.router")
    stand = Splitting()
    stand.left.loads = (LARGE,)
    stand.wanted()
    stand.cut(*borders)
    if borders:
        stand.taken(RequestRefused(Code.FAILED_PRECONDITION, "kubebraid: the map has changed"))
    (record,) = caplog.records
    assert record.levelno == logging.DEBUG
    assert ("the map has changed" if borders else "too few keys") in record.__dict__["reason"]
    stand.look()
    assert not stand.coordinator.sent
    assert found(caplog, logging.INFO)[0].__dict__["reason"] == "the cooldown is not over"
    stand.clock.ms += BOUNDS.cooldown_ms - 2 * LATEST_MS
    stand.look()
    assert not stand.coordinator.sent, "every router would ask at this moment"
    stand.clock.ms += REST_MS - BOUNDS.cooldown_ms
    stand.look()
    stand.list()
    assert stand.left.asked


def test_unfinished_migration_is_waited_for_and_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "kubebraid.router")
    stand = Splitting()
    stand.left.loads = (LARGE,)
    for _ in range(LOOKS + 2):
        stand.look(Progress(migration(phase=Phase.READY)))
    assert not stand.coordinator.sent
    (record,) = caplog.records
    assert record.__dict__["reason"] == "migration m1 has not ended"


def test_plan_without_an_answer_ends_and_is_tried_again() -> None:
    stand = Splitting()
    stand.left.loads = (LARGE,)
    stand.wanted()
    stand.later(LATEST_MS)  # no sample came in time
    stand.list()
    stand.clock.ms += REST_MS
    stand.left.asked.clear()
    stand.look()
    stand.list()
    assert stand.left.asked


def test_figures_of_an_owner_that_does_not_own_it_any_more_count_for_nothing() -> None:
    stand = Splitting()
    stand.right.loads = (LARGE,)
    for _ in range(2 * LOOKS):
        stand.look()
    assert not stand.coordinator.sent


def test_shard_that_is_down_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last figures are still known."""
    standings = {LEFT: Standing(False), RIGHT: Standing(True)}
    monkeypatch.setattr(ReshardService, "standings", lambda _self: standings)
    stand = Splitting()
    stand.left.loads = (LARGE,)
    for _ in range(2 * LOOKS):
        stand.look()
    assert not stand.coordinator.sent


def test_without_a_coordinator_nothing_is_seen() -> None:
    stand = Splitting()
    stand.left.loads = (LARGE,)
    for _ in range(2 * LOOKS):
        stand.later(LATEST_MS)
        stand.list(serving=False)
    assert not stand.coordinator.sent
