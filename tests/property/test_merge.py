"""The merge of watches under random delays between sequencer, tablets and router.

What it is: a sequencer that hands revisions to tablets, a publication queue per tablet that is
delivered late, samples that arrive at any moment, and feeds beside the order that really was. What
it is not: clients (`hub.py`).

Words: *pending* publications were committed and have not arrived.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple, TypeAlias

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kubebraid.base.ports import Sample, TabletNews
from kubebraid.base.record import Commit, Event
from kubebraid.router.merge import Feed, View, join

TABLETS = (1, 2, 3)
SUBSETS: tuple[tuple[int, ...], ...] = ((1,), (2,), (1, 2), (2, 3), (1, 2, 3))


class Write(NamedTuple):
    """One revision, allocated to these tablets; a void one is never committed."""

    tablets: frozenset[int]
    void: bool


class Deliver(NamedTuple):
    """The oldest pending publication of a tablet arrives, with or without its own sample."""

    tablet: int
    with_sample: bool


class Ask(NamedTuple):
    """A router's own ReadRev: the sample is taken now and absorbed `late` steps afterwards."""

    late: int


Step: TypeAlias = Write | Deliver | Ask
STEPS = st.lists(
    st.one_of(
        st.builds(
            Write,
            st.frozensets(st.sampled_from(TABLETS), min_size=1, max_size=3),
            st.sampled_from((False, False, False, True)),
        ),
        st.builds(Deliver, st.sampled_from(TABLETS), st.booleans()),
        st.builds(Ask, st.integers(0, 4)),
    ),
    max_size=40,
)


class World:
    """What happened, what has arrived, and a feed of each subset."""

    def __init__(self) -> None:
        self.revision = 1
        self.last = dict.fromkeys(TABLETS, 1)
        self.pending: dict[int, deque[tuple[TabletNews, Sample]]] = {t: deque() for t in TABLETS}
        self.history: dict[int, frozenset[int]] = {}
        self.view = View(self.sample(), dict.fromkeys(TABLETS, 1))
        self.feeds = {subset: Feed(subset, self.view) for subset in SUBSETS}
        self.released: dict[tuple[int, ...], list[Commit]] = {s: [] for s in SUBSETS}
        self._samples: deque[tuple[int, Sample]] = deque()
        self._now = 0

    def sample(self) -> Sample:
        return Sample(1, 1, self.revision, dict(self.last))

    def step(self, step: Step) -> None:
        self._now += 1
        match step:
            case Write(tablets, void):
                self._write(tablets, void)
            case Deliver(tablet, with_sample):
                self._deliver(tablet, with_sample)
            case Ask(late):
                self._samples.append((self._now + late, self.sample()))
        for due, taken in list(self._samples):
            if due <= self._now:
                self._samples.remove((due, taken))
                self.view.absorb(taken)
        for feed in self.feeds.values():
            self._release(feed)

    def _write(self, tablets: frozenset[int], void: bool) -> None:
        self.revision += 1
        if not void:
            self.history[self.revision] = tablets
        for tablet in tablets:
            self.last[tablet] = self.revision
        sample = self.sample()
        for tablet in sorted(tablets):
            event = Event(b"%d" % tablet, False, b"%d" % self.revision, None, tablet)
            commits = () if void else (Commit(self.revision, (event,)),)
            news = TabletNews(tablet, 1, commits, self.revision)
            self.pending[tablet].append((news, sample))

    def _deliver(self, tablet: int, with_sample: bool) -> None:
        if not self.pending[tablet]:
            return
        news, sample = self.pending[tablet].popleft()
        for feed in self.feeds.values():
            if tablet in feed.tablets:
                feed.offer(news)
        self.view.close(tablet, news.closed)
        if with_sample:
            self.view.absorb(sample)

    def _release(self, feed: Feed) -> None:
        """Everything that the rule lets go now is right, whole and in order."""
        before = feed.released
        commits = feed.release()
        assert feed.released >= before
        assert all(before < commit.revision <= feed.released for commit in commits)
        self.released[feed.tablets] += commits
        truth = [r for r, tablets in self.history.items() if tablets & set(feed.tablets)]
        assert [c.revision for c in self.released[feed.tablets]] == [
            r for r in truth if r <= feed.released
        ]

    def settle(self) -> None:
        """Everything arrives, and one more sample."""
        for tablet in TABLETS:
            while self.pending[tablet]:
                self.step(Deliver(tablet, True))
        self.step(Ask(0))


def ran(steps: list[Step]) -> World:
    world = World()
    for step in steps:
        world.step(step)
    return world


def write(*tablets: int) -> Write:
    return Write(frozenset(tablets), False)


@given(STEPS)
@example(
    [write(1), write(2), Deliver(2, True), write(1), Ask(0), Deliver(1, True), write(2), Ask(0)]
)
def test_inv09_released_order_rises_and_nothing_is_below_what_was_released(
    steps: list[Step],
) -> None:
    """Checked at every step: what a feed has released is the true history up to its bound."""
    world = ran(steps)
    for commits in world.released.values():
        revisions = [commit.revision for commit in commits]
        assert revisions == sorted(set(revisions))


@given(STEPS)
def test_inv07_everything_is_released_once_it_has_all_arrived(steps: list[Step]) -> None:
    world = ran(steps)
    world.settle()
    for subset, commits in world.released.items():
        truth = [r for r, tablets in world.history.items() if tablets & set(subset)]
        assert [commit.revision for commit in commits] == truth
        assert world.feeds[subset].bound() == world.revision, "inv10: nothing holds it back"


@given(STEPS)
def test_inv06_revision_of_several_tablets_is_released_as_one_commit(steps: list[Step]) -> None:
    world = ran(steps)
    world.settle()
    for subset, commits in world.released.items():
        for commit in commits:
            keys = {int(event.key) for event in commit.events}
            assert keys == world.history[commit.revision] & set(subset)
            assert [event.sub for event in commit.events] == sorted(keys)


@given(STEPS, STEPS)
def test_inv08_feed_that_begins_later_misses_nothing_above_where_it_began(
    before: list[Step], after: list[Step]
) -> None:
    """What was published before is in the log alone: `since` says up to where."""
    world = ran(before)
    late = Feed((1, 2, 3), world.view)
    begun = max(late.released, late.since)
    world.feeds = {}
    found: list[Commit] = []
    for step in after:
        found += _step_beside(world, step, late)
    for tablet in TABLETS:
        while world.pending[tablet]:
            found += _step_beside(world, Deliver(tablet, True), late)
    found += _step_beside(world, Ask(0), late)
    truth = [r for r in world.history if r > begun]
    assert [commit.revision for commit in found if commit.revision > begun] == truth


def _step_beside(world: World, step: Step, late: Feed) -> list[Commit]:
    """One step of a world that has no feeds of its own any more."""
    if isinstance(step, Deliver) and world.pending[step.tablet]:
        late.offer(world.pending[step.tablet][0][0])
    world.step(step)
    return late.release()


@given(STEPS)
def test_inv11_bound_never_falls_and_never_passes_what_has_arrived(steps: list[Step]) -> None:
    world = World()
    bounds = dict.fromkeys(SUBSETS, 0)
    for step in steps:
        world.step(step)
        for subset in SUBSETS:
            bound = world.view.bound(subset)
            assert bound >= bounds[subset], "a serializable read would go back in time"
            bounds[subset] = bound
            for tablet in subset:
                held = [n.commits[0].revision for n, _ in world.pending[tablet] if n.commits]
                assert all(revision > bound for revision in held)


# -- by hand ---------------------------------------------------------------------------------------


def test_commit_waits_for_the_tablet_that_lags() -> None:
    """The worked example of the module."""
    view = View(Sample(1, 1, 7, {1: 7, 2: 6}), {1: 1, 2: 5})
    feed = Feed((1, 2), view)
    feed.offer(TabletNews(1, 1, (Commit(7, ()),), 7))
    view.close(1, 7)
    assert (feed.bound(), feed.release()) == (5, [])
    view.close(2, 6)
    assert [commit.revision for commit in feed.release()] == [7]
    assert feed.released == 7


def test_tablet_that_turns_busy_does_not_take_a_release_back() -> None:
    """Tablet 2 was idle up to 10, so 7 was released; then a sample says that it has 12."""
    view = View(Sample(1, 1, 10, {1: 10, 2: 4}), {1: 7, 2: 4})
    feed = Feed((1, 2), view)
    assert feed.released == 7
    view.absorb(Sample(1, 1, 12, {1: 10, 2: 12}))
    assert view.bound((1, 2)) == 7
    assert feed.release() == []


def test_tablet_that_was_never_heard_of_holds_everything_back() -> None:
    view = View(Sample(1, 1, 7, {1: 7, 2: 1}), {1: 7})
    assert view.bound((1, 2)) == 0
    assert view.bound((1,)) == 7


def test_tablet_that_the_sample_does_not_know_is_never_read_as_zero() -> None:
    """Rule M11."""
    with pytest.raises(KeyError):
        View(Sample(1, 1, 7, {1: 7}), {1: 7}).bound((1, 2))


def test_older_sample_changes_nothing() -> None:
    view = View(Sample(1, 1, 7, {1: 7}), {1: 7})
    view.absorb(Sample(1, 1, 6, {1: 6}))
    assert view.bound((1,)) == 7


def test_m11_sample_of_a_newer_map_is_not_read_with_this_one() -> None:
    with pytest.raises(AssertionError, match="waits for its map"):
        View(Sample(1, 1, 7, {1: 7}), {1: 7}).absorb(Sample(1, 2, 9, {1: 9}))


def test_inv11_watermark_that_falls_is_a_bug() -> None:
    view = View(Sample(1, 1, 7, {1: 7}), {1: 7})
    with pytest.raises(AssertionError, match="never falls"):
        view.close(1, 6)


@pytest.mark.parametrize("revision", [7, 6])
def test_inv11_event_at_or_below_what_was_released_is_a_bug(revision: int) -> None:
    view = View(Sample(1, 1, 7, {1: 7}), {1: 7})
    feed = Feed((1,), view)
    with pytest.raises(AssertionError, match="released revision"):
        feed.offer(TabletNews(1, 1, (Commit(revision, ()),), 8))


def test_join_of_nothing_is_nothing() -> None:
    assert join([]) == []


def test_feed_of_no_tablet_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        Feed((), View(Sample(1, 1, 7, {1: 7}), {1: 7}))
