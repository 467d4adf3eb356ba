"""Random watches over random histories: what is delivered keeps every promise.

What it is: Hypothesis machines that open watches from past, present, future and compacted
revisions, on keys, prefixes, several tablets and everything, and then write, compact, stall,
cancel, ask for progress, kill and reopen; after each step the judges of `tests.robustness.validate`
look at all that came. What it is not: a test of answers (test_history.py).

Words: a *client* has one stream; to *resume* a watcher is to open its successor at the revision
after the last it has seen, on whatever stream.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from kubebraid.proto.etcd import rpc_pb2
from tests.robustness.driver import AnyWorld, Driver
from tests.robustness.etcd_world import EtcdWorld
from tests.robustness.model import Request
from tests.robustness.traffic import KEYS, LAYOUT, SPANS, Traffic
from tests.robustness.watching import Client, Watcher
from tests.unit.shard.stones import with_tombstones
from tests.world import World

SEEDS = st.integers(0, 1 << 24)  # the step itself shrinks, what it holds is drawn from Random
CLIENTS_MAX = 4
WATCHED = (*SPANS[:-1], *SPANS[:-1], *((key, b"") for key in KEYS))
OFFSETS = (None, 1, 0, -1, -3, -10, 2, 4)  # of the start, from the newest revision
FILTERS = ((), (), (0,), (1,), (0, 1))
UNAVAILABLE = 14


class WatchMachine(RuleBasedStateMachine):
    """Random clients of one store. Subclasses say of which."""

    prefixes: tuple[bytes, ...] = ()
    clock_is_fake = True

    def __init__(self) -> None:
        super().__init__()
        self.driver = Driver(self.open())
        self.clients = [Client(self.driver.world.watch_stream())]
        self.failed = False  # True from the beginning of a step to its end

    def open(self) -> AnyWorld:
        return World(self.prefixes)

    # -- what changes the store ----------------------------------------------------------------

    @rule(seed=SEEDS, size=st.integers(1, 6))
    def write(self, seed: int, size: int) -> None:
        """Concurrent changes, many over several keys and tablets."""
        traffic = Traffic(Random(seed))
        self.step(*(traffic.change() for _ in range(size)))

    @rule(seed=SEEDS)
    def try_things(self, seed: int) -> None:
        """Anything, much of which is refused or changes nothing."""
        traffic, model = Traffic(Random(seed), ttls=(3_600,)), self.driver.model
        self.step(*(traffic.request(model.revision, model.compacted) for _ in range(4)))

    @rule(ago=st.integers(0, 8))
    def compact(self, ago: int) -> None:
        """Whoever reads has seen what is compacted, and goes on."""
        reading = [w for client in self.clients if not client.stalled for w in client.live()]
        self.step(rpc_pb2.CompactionRequest(revision=self.driver.model.revision - ago))
        assert all(watcher.live for watcher in reading), "cancelled without need"

    @rule()
    def age(self) -> None:
        """What is stored is as a program from before had written it: watches that begin in the past
        read their events from both forms."""
        if isinstance(self.driver.world, World):
            with_tombstones(self.driver.world.engine)

    def step(self, *requests: Request) -> None:
        self.failed = True
        self.driver.ask(*requests)
        self.check()

    # -- what clients do -----------------------------------------------------------------------

    def client(self, index: int) -> Client:
        """One of the clients, or a new one."""
        if index >= len(self.clients):
            self.clients.append(Client(self.driver.world.watch_stream()))
            return self.clients[-1]
        return self.clients[index]

    @rule(
        index=st.integers(0, CLIENTS_MAX - 1),
        span=st.sampled_from(WATCHED),
        offset=st.sampled_from(OFFSETS),
        options=st.tuples(*[st.booleans()] * 3),
        filters=st.sampled_from(FILTERS),
    )
    def watch(
        self,
        index: int,
        span: tuple[bytes, bytes],
        offset: int | None,
        options: tuple[bool, bool, bool],
        filters: tuple[int, ...],
    ) -> None:
        """From now on (None), or from a revision near the store's."""
        now = self.driver.model.revision
        request = rpc_pb2.WatchCreateRequest(
            key=span[0],
            range_end=span[1],
            start_revision=0 if offset is None else max(now + offset, 1),
            prev_kv=options[0],
            progress_notify=options[1],
            fragment=options[2],
            filters=filters,  # type: ignore[arg-type]  # an open enum
        )
        self.failed = True
        client = self.client(index)
        self.created(client, client.create(request))
        self.check()

    def created(self, client: Client, watcher: Watcher) -> None:
        """A watch that asks for less than the floor ends at once, and says why."""
        if client.stalled:
            return
        client.take()
        model, start = self.driver.model, watcher.request.start_revision
        assert watcher.responses, f"never created: {watcher.request}"
        refused = 0 < start < model.compacted
        assert watcher.live != refused, f"from {start}, compacted {model.compacted}"
        if refused:
            assert watcher.responses[-1].compact_revision == model.compacted, watcher.responses

    @rule(index=st.integers(0, CLIENTS_MAX - 1))
    def request_progress(self, index: int) -> None:
        """An idle store answers at once, with its newest revision, unless a watch on the stream
        has not begun; then nothing is said, because its client would go back."""
        self.failed = True
        client = self.client(index)
        client.request_progress()
        if not client.stalled:
            now, live = self.driver.model.revision, client.live()
            marks = [response.header.revision for response in client.take()]
            if any(watcher.request.start_revision > now + 1 for watcher in live):
                assert not marks, f"progress {marks} for a watch that has not begun"
            elif not any(watcher.request.start_revision == now + 1 for watcher in live):
                assert marks == ([now] if live else []), f"progress {marks} at revision {now}"
        self.check()

    @rule(index=st.integers(0, CLIENTS_MAX - 1), number=st.integers(0, 20))
    def cancel_and_resume(self, index: int, number: int) -> None:
        """On the next client's stream, from where the watch ended."""
        self.failed = True
        client = self.client(index)
        live = client.live()
        if live and not client.stalled:
            watcher = live[number % len(live)]
            client.cancel(watcher)
            client.take()
            assert not watcher.live, f"not cancelled: {watcher.request}"
            self.resume(watcher, self.client((index + 1) % CLIENTS_MAX))
        self.check()

    def resume(self, watcher: Watcher, client: Client) -> None:
        if watcher.responses:
            self.created(client, client.create(watcher.successor()))

    @rule(index=st.integers(0, CLIENTS_MAX - 1))
    def stall(self, index: int) -> None:
        """A client that does not read."""
        client = self.client(index)
        client.stream.stall()
        client.stalled = True

    @rule(index=st.integers(0, CLIENTS_MAX - 1))
    def read_again(self, index: int) -> None:
        self.failed = True
        self.wake(self.client(index))
        self.check()

    def wake(self, client: Client) -> None:
        client.stream.resume()
        client.stalled = False

    @precondition(lambda self: self.clock_is_fake)
    @rule(ms=st.sampled_from((1_000, 700_000)))
    def advance(self, ms: int) -> None:
        """Bookmarks that nobody asked for come every ten minutes."""
        self.failed = True
        self.driver.advance(ms)
        self.check()

    @rule(crash=st.booleans())
    def reopen(self, crash: bool) -> None:
        """All streams end; each watcher goes on where it was."""
        self.failed = True
        if crash:
            self.driver.crash()
        else:
            self.driver.restart()
        before, self.clients = self.clients, [Client(self.driver.world.watch_stream())]
        for index, client in enumerate(before):
            self.wake(client)
            client.take()
            client.judge(self.driver.model, complete=False)
            for watcher in client.live():
                self.resume(watcher, self.client(index % CLIENTS_MAX))
            ended = client.stream.ended
            assert ended is not None, "a stream outlived its server"
            assert not self.clock_is_fake or ended[0] == UNAVAILABLE, ended
        self.check()

    # -- what must hold ------------------------------------------------------------------------

    def check(self) -> None:
        """After each step: who reads has everything, and nobody was told anything wrong."""
        for client in self.clients:
            if not client.stalled:
                client.take()
            assert client.stream.ended is None, client.stream.ended
            client.judge(self.driver.model, complete=not client.stalled)
        self.failed = False

    def teardown(self) -> None:
        if self.failed or self.driver.failed:
            return
        for client in self.clients:
            self.wake(client)
        self.check()


class SeveralTablets(WatchMachine):
    prefixes = LAYOUT


class OverALink(WatchMachine):
    """The shard is behind a link, which breaks between two steps."""

    prefixes = LAYOUT

    def open(self) -> AnyWorld:
        return World(self.prefixes, remote=True)

    @rule(lost=st.integers(0, 2), seed=SEEDS)
    def break_link(self, lost: int, seed: int) -> None:
        """`lost` publications are for nobody; after that every watch is where it was."""
        self.failed = True
        world = self.driver.world
        assert isinstance(world, World)
        link, traffic = world.link, Traffic(Random(seed))
        for router in link.service._routers.values():
            router.subscribed = lost == 0
        self.driver.ask(*(traffic.change() for _ in range(lost)))
        link.break_link()
        self.check()


class OnRocksDB(WatchMachine):
    prefixes = LAYOUT

    def open(self) -> AnyWorld:
        self._folder = Path(tempfile.mkdtemp(prefix="watches-"))
        return World(self.prefixes, "rocksdb", self._folder / "data")

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)


class OnEtcd(WatchMachine):
    """The same machine on what it claims to describe."""

    clock_is_fake = False

    def open(self) -> AnyWorld:
        self._world = EtcdWorld()
        return self._world

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            self._world.close()


def wander(machine: WatchMachine, random: Random, steps: int) -> None:
    """Many steps of which most write: deeper than Hypothesis goes, but nothing shrinks."""

    def client() -> int:
        return random.randrange(CLIENTS_MAX)

    def watch() -> None:
        machine.watch(
            index=client(),
            span=random.choice(WATCHED),
            offset=random.choice(OFFSETS),
            options=(random.random() < 0.5, random.random() < 0.5, random.random() < 0.5),
            filters=random.choice(FILTERS),
        )

    actions: dict[Callable[[], None], int] = {
        lambda: machine.write(seed=random.getrandbits(24), size=random.randint(1, 6)): 30,
        lambda: machine.try_things(seed=random.getrandbits(24)): 5,
        lambda: machine.compact(ago=random.randrange(9)): 3,
        watch: 12,
        lambda: machine.request_progress(index=client()): 10,
        lambda: machine.cancel_and_resume(index=client(), number=random.randrange(20)): 5,
        lambda: machine.stall(index=client()): 2,
        lambda: machine.read_again(index=client()): 8,
        lambda: machine.reopen(crash=random.random() < 0.5): 1,
    }
    if machine.clock_is_fake:
        actions[lambda: machine.advance(ms=random.choice((1_000, 700_000)))] = 1
    for act in random.choices(list(actions), list(actions.values()), k=steps):
        act()
    machine.teardown()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("machine", [WatchMachine, SeveralTablets, OverALink])
def test_long_history_keeps_every_promise(machine: type[WatchMachine], seed: int) -> None:
    """Clients with dozens of watches, hundreds of revisions."""
    wander(machine(), Random(seed), steps=200)


@pytest.mark.etcd
@pytest.mark.parametrize("seed", range(2))
def test_etcd_keeps_every_promise(seed: int) -> None:
    """The judges find nothing wrong with the original."""
    wander(OnEtcd(), Random(seed), steps=25)


TestOneTablet = WatchMachine.TestCase
TestOneTablet.settings = settings(max_examples=150, stateful_step_count=30)
TestSeveralTablets = SeveralTablets.TestCase
TestSeveralTablets.settings = settings(max_examples=300, stateful_step_count=30)
TestOverALink = OverALink.TestCase
TestOverALink.settings = settings(max_examples=60, stateful_step_count=30)
TestOnRocksDB = OnRocksDB.TestCase
TestOnRocksDB.settings = settings(max_examples=15, stateful_step_count=25)
