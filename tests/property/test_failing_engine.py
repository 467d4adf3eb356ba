"""Random histories on an engine that fails: what was refused is not there, what was answered is.

What it is: the machines of test_history.py and test_watch_history.py over an engine whose writes
fail, landed or not, whose settling fails in turn, and which at last takes the process with it.
What it is not: a real device (tests/faults), nor damage of stored rows.

Words: a *gap* is the revisions of a void batch: they are empty, whoever asks. To *die*: a write
fails and the store cannot be opened again, so that only the next start finds out.

Invariants: a refusal is definite; the store's revision is the model's once the gaps are counted,
and a gap is no longer than the refused requests; watches see exactly what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.ports import Publication
from kubebraid.cli.node import Seams
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.shard.storage.engine import PUT, Batch, EngineError, EngineFull
from kubebraid.shard.storage.memory import MemoryEngine
from tests.property import test_history, test_watch_history
from tests.property.test_history import SEEDS, HistoryMachine
from tests.property.test_watch_history import WatchMachine
from tests.robustness.checks import Refusal
from tests.robustness.compare import METHODS, Outcome, explain, tell
from tests.robustness.driver import EVERYTHING, Driver, outcome_of
from tests.robustness.model import Model, Request, Response
from tests.robustness.reading import header
from tests.robustness.traffic import LAYOUT, Traffic
from tests.unit.shard.fakes import BreakableEngine
from tests.world import World

GONE: Final = EngineError("the device is gone")
FULL: Final = EngineFull("no space left")
Fault = tuple[EngineError, bool]


def refusal_of(refused: RequestRefused) -> Refusal:
    return Refusal(int(refused.code), refused.message)


DEFINITE: Final = (refusal_of(errors.TIMED_OUT), refusal_of(errors.NO_SPACE))


@dataclass(frozen=True)
class Gap:
    """Revisions first..last of a void batch."""

    first: int
    last: int


class GapModel(Model):
    """etcd's store, in which revisions may pass without a change."""

    def copy(self) -> GapModel:
        other = GapModel()
        other.__dict__.update(super().copy().__dict__)
        return other

    def apply(self, request: Request | Gap) -> Response | Refusal:
        if not isinstance(request, Gap):
            return super().apply(request)
        if request.first != self.revision + 1:
            return Refusal(0, "the gap is elsewhere")
        state = self.state
        self.states |= dict.fromkeys(range(request.first, request.last + 1), state)
        self.revision = request.last
        return rpc_pb2.PutResponse(header=header(self.revision))


class FailingEngine(BreakableEngine):
    """Commits and the closing of void ones fail as told; the coordinator's cell and the removal of
    history do not, because their failures are not told to clients."""

    def write(self, batch: Batch, *, sync: bool) -> None:
        kinds = {key[:1] for kind, key, _ in batch.operations if kind == PUT}
        if b"f" in kinds:
            super().write(batch, sync=sync)
            return
        aside, self.write_faults = self.write_faults, type(self.write_faults)()
        super().write(batch, sync=sync)
        self.write_faults = aside


class FailingWorld(World):
    """A node whose engine fails; it notes the gaps that the shard publishes."""

    def __init__(self, prefixes: Sequence[bytes]) -> None:
        self.died: list[BaseException] = []
        self._gaps: list[Gap] = []
        super().__init__(prefixes)

    def _start(self) -> None:
        assert isinstance(self.engine, MemoryEngine)
        self.failing = FailingEngine()
        self.failing._table = self.engine._table
        self.engine = self.failing
        super()._start()
        self._published = self.node.sequencer.revision
        self.node.owner.subscribe(self._note)

    def _seams(self) -> Seams:
        return Seams(self.clock, self._random, self.died.append)

    def _note(self, publication: Publication) -> None:
        if publication.fresh:
            return  # where the shard stood before the first batch
        revision = publication.sample.revision
        if not any(news.commits for news in publication.news):
            assert revision > self._published
            self._gaps.append(Gap(self._published + 1, revision))
        self._published = revision

    def take_gaps(self) -> list[Gap]:
        taken, self._gaps = self._gaps, []
        return taken

    def disarm(self) -> None:
        member = self.node.router._context.header.member_id
        request = rpc_pb2.AlarmRequest(action="DEACTIVATE", alarm="NOSPACE", memberID=member)
        self.call("Maintenance.Alarm", request)


class FailingDriver(Driver):
    """A driver that knows which refusals are definite, and where the gaps are."""

    world: FailingWorld

    def __init__(self, world: FailingWorld) -> None:
        super().__init__(world)
        self.model = GapModel()
        self.dying: tuple[Request, bool] | None = None
        self.void = self.landed = self.deaths = 0

    def ask(self, *requests: Request) -> list[Outcome]:
        calls = [(METHODS[type(request)], request) for request in requests]
        outcomes = [outcome_of(answer) for answer in self.world.batch(calls)]
        pairs = list(zip(requests, outcomes, strict=True))
        refused = [request for request, outcome in pairs if outcome in DEFINITE]
        gaps = self.world.take_gaps()
        assert sum(gap.last - gap.first + 1 for gap in gaps) <= len(refused), (gaps, refused)
        self.void += len(gaps)
        kept: list[tuple[Any, Outcome]] = [pair for pair in pairs if pair[1] not in DEFINITE]
        kept += [(gap, rpc_pb2.PutResponse(header=header(gap.last))) for gap in gaps]
        wanted, got = [pair[0] for pair in kept], [pair[1] for pair in kept]
        explained = explain(self.model, cast("list[Request]", wanted), got)
        self.failed = explained is None
        assert explained is not None, f"{gaps}\n{tell(requests, outcomes, self.model)}"
        self._note_leases(outcomes, explained)
        self.model = explained
        return outcomes

    def _note_leases(self, outcomes: list[Outcome], after: Model) -> None:
        granted = {o.ID for o in outcomes if isinstance(o, rpc_pb2.LeaseGrantResponse)}
        for lease in granted & after.leases.keys():
            self._due_ms[lease] = self._now_ms + after.leases[lease] * 1000
            self._overdue_ms[lease] = self._due_ms[lease] + 4_000

    def _expire(self, gone: set[int]) -> None:
        """As the driver has it, with gaps between: a revoke that was void is made again."""
        gaps = {gap.first: gap for gap in self.world.take_gaps()}
        newest = self.world.call("KV.Range", EVERYTHING).header.revision
        while gaps or self.model.revision < newest:
            gap = gaps.pop(self.model.revision + 1, None)
            if gap is not None:
                self.model.apply(gap)  # type: ignore[arg-type]  # a GapModel
                continue
            ended = self._ended_next(gone)
            self._end(ended)
            gone = gone - {ended}
        for lease in gone:
            assert not self.model.keys_of(lease), f"lease {lease} ended, its keys are there"
            self._end(lease)

    def _ended_next(self, gone: set[int]) -> int:
        request = rpc_pb2.RangeRequest()
        request.CopyFrom(EVERYTHING)
        request.revision = self.model.revision + 1
        rows = list(self.world.call("KV.Range", request).kvs)
        keyed = [lease for lease in gone if self.model.keys_of(lease)]
        ended = [lease for lease in keyed if self._without(lease) == rows]
        assert ended, f"revision {request.revision} is the end of none of {gone}: {rows}"
        return ended[0]

    def crash(self) -> None:
        if self.dying is not None:
            self._die(*self.dying)
            self.dying = None
        super().crash()

    def _die(self, request: Request, lands: bool) -> None:
        """The last write of this process: nobody is told, and the next start finds out."""
        engine = self.world.failing
        self.world.disarm()
        engine.write_faults.clear()
        engine.write_faults.append((GONE, lands))
        engine.reopen_faults.extend([GONE] * 3)
        (answer,) = self.world.batch([(METHODS[type(request)], request)])
        if not self.world.died:
            return self._lived(request, outcome_of(answer))
        assert outcome_of(answer) == DEFINITE[0]
        assert self.world.take_gaps() == []
        self.deaths += 1
        if lands:
            done = self.model.apply(request)
            assert not isinstance(done, Refusal), done
        self.world.died.clear()
        return None

    def _lived(self, request: Request, outcome: Outcome) -> None:
        """It changed nothing, so nothing was written."""
        self.world.failing.write_faults.clear()
        self.world.failing.reopen_faults.clear()
        if outcome in DEFINITE:
            return
        explained = explain(self.model, [request], [outcome])
        assert explained is not None, tell([request], [outcome], self.model)
        self.model = explained


# -- the machines ----------------------------------------------------------------------------------

PATTERNS: Final[tuple[tuple[Fault | None, ...], ...]] = (
    ((GONE, False),),
    ((GONE, True),),
    ((FULL, False),),
    ((FULL, True),),
    (None, (GONE, False)),
    ((GONE, False), (GONE, False)),  # the void batch, and its closing
    ((GONE, False), (GONE, True)),  # ... which landed
    ((GONE, False), (FULL, False), (GONE, True)),
    ((GONE, True), (GONE, False), (GONE, False)),
    ((GONE, False), None, None, (GONE, True), (FULL, False)),
)


class Failing(RuleBasedStateMachine):
    """What a machine over a failing engine can do besides."""

    driver: Any  # a FailingDriver; the machines say Driver

    @rule(pattern=st.sampled_from(PATTERNS), reopenings=st.sampled_from((0, 0, 1)))
    def fail(self, pattern: tuple[Fault | None, ...], reopenings: int) -> None:
        """What the next commits meet. Never more in a row than a settling bears."""
        engine = self.driver.world.failing
        if not engine.write_faults:
            engine.write_faults.extend(pattern)
            engine.reopen_faults.extend([GONE] * (reopenings if len(pattern) == 1 else 0))

    @rule()
    def disarm(self) -> None:
        """A full device has raised the alarm, under which no put passes."""
        self.driver.world.disarm()

    @rule(seed=SEEDS, lands=st.booleans())
    def die_at_the_next_crash(self, seed: int, lands: bool) -> None:
        self.driver.dying = Traffic(Random(seed)).change(), lands


class FailingHistory(Failing, HistoryMachine):
    def __init__(self) -> None:
        super().__init__()
        self.driver = FailingDriver(FailingWorld(self.prefixes))


class FailingHistoryOfTablets(FailingHistory):
    prefixes = LAYOUT


class FailingWatches(Failing, WatchMachine):
    prefixes = LAYOUT

    def __init__(self) -> None:
        super().__init__()
        self.driver = FailingDriver(FailingWorld(self.prefixes))
        self.clients = [type(self.clients[0])(self.driver.world.watch_stream())]


def spoil(machine: Failing, random: Random) -> None:
    """One of the things that only a failing store does."""
    actions: tuple[Callable[[], None], ...] = (
        lambda: machine.fail(pattern=random.choice(PATTERNS), reopenings=random.randrange(2)),
        lambda: machine.fail(pattern=random.choice(PATTERNS), reopenings=0),
        machine.disarm,
        lambda: machine.die_at_the_next_crash(
            seed=random.getrandbits(24), lands=random.random() < 0.5
        ),
    )
    random.choice(actions)()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("machine", [FailingHistory, FailingHistoryOfTablets])
def test_long_history_of_failures_answers_as_etcd_would(
    machine: type[FailingHistory], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dozens of void batches and of lost processes."""
    made, random = machine(), Random(seed)
    # `wander` ends with the teardown; here it is called once a few steps.
    monkeypatch.setattr(made, "teardown", lambda: None)
    for _ in range(40):
        spoil(made, random)
        test_history.wander(made, random, steps=3)
        if random.random() < 0.1:
            made.crash()
    monkeypatch.undo()
    made.teardown()
    assert made.driver.void >= 5
    assert made.driver.deaths >= 1


@pytest.mark.parametrize("seed", range(3))
def test_watches_of_a_failing_store_see_exactly_what_landed(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, random = FailingWatches(), Random(seed)
    monkeypatch.setattr(made, "teardown", lambda: None)
    for _ in range(40):
        spoil(made, random)
        test_watch_history.wander(made, random, steps=4)
        if random.random() < 0.1:
            made.reopen(crash=True)
    monkeypatch.undo()
    made.teardown()
    assert made.driver.void >= 5
    assert made.driver.deaths >= 1


TestFailingHistory = FailingHistoryOfTablets.TestCase
TestFailingHistory.settings = settings(max_examples=40, stateful_step_count=25)
TestFailingWatches = FailingWatches.TestCase
TestFailingWatches.settings = settings(max_examples=40, stateful_step_count=25)
