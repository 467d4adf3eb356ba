"""SIGKILL of each process that a migration needs, at each of its steps, below writers and watches.

What it is: pairs of a phase and a role, drawn by a seed that is printed (all of them in the soak);
each is a move or a split that is led by hand to the phase, a kill, and what an operator does then.
What it is not: the proof that no phase is forgotten at any moment (tests/sim).

Words: the *end* of a pair is what its operator chooses: that it is done, undone or reversed.

Invariants, of each pair:
- all tablets take writes again within a bound, whatever was killed;
- the migration ends where its operator's word leads, in the old or the new map;
- a word that is repeated changes nothing;
- nothing that was acknowledged is lost, doubled or reordered, on any watch and in any read.

KUBEBRAID_RESHARD_SEED=7 chooses another seed, KUBEBRAID_RESHARD_PAIRS=frozen-source some pairs.
"""

from __future__ import annotations

import os
import random
import secrets
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Final

import pytest

from kubebraid.base.errors import KubeBraidError
from kubebraid.cli.ctl.ask import Routers
from kubebraid.proto import adminreshard as wire
from kubebraid.proto.adminreshard import Progress, key_of_text
from tests.e2e.processes import Peers, Process, Supervisor, Timeout, wait_for
from tests.e2e.reshard_ops import SHARD_NAMES, Ctl, Tablet
from tests.e2e.reshard_traffic import (
    PODS,
    Traffic,
    Watched,
    again,
    below,
    settled,
)
from tests.e2e.store import Kind, Store, kubebraid_environment

pytestmark = [pytest.mark.e2e, pytest.mark.cluster]

Pair = tuple[str, str]

PHASES: Final = ("preparing", "ready", "frozen", "committed", "draining")
ROLES: Final = ("source", "target", "sequencer", "router", "ctl")
VERBS: Final = ("move", "move", "split")
ORDER: Final = ("planned", *PHASES, "done", "aborted")
ALL: Final[tuple[Pair, ...]] = tuple(product(PHASES, ROLES))
CI_SEED: Final = 12
CI_PAIRS: Final = 12
CI_WRITERS: Final = 10
RATE: Final = "200KB"  # so that PREPARING can be seen
ASK_S_MAX: Final = 5.0
PHASE_S_MAX: Final = 30.0
WRITES_S_MAX: Final = 40.0  # a restart with its backoff, an election, a freeze with its deadline
UNHURT_S_MAX: Final = 3.0  # of a write: the deadline of a freeze, and a busy machine
SETTLED_S_MAX: Final = 60.0
CTL_S_MAX: Final = 90.0
FIRST: Final = b"\0"  # the key of the tablet that begins with nothing


MAY_BE_SAID: Final = {"UNAVAILABLE", "DEADLINE_EXCEEDED"}  # to a writer below a kill
HELD: Final = {"move": ("ready", "draining"), "split": ("ready", "done")}  # by --manual


@dataclass(frozen=True)
class Case:
    """One pair, and what its operator wants in the end."""

    verb: str
    phase: str
    role: str
    end: str  # there: switched and completed; back: cancelled, or reversed where it was switched


class Site:
    """The cluster, its operator and its kills."""

    def __init__(self, store: Store, supervisor: Supervisor) -> None:
        self.store = store
        self.ctl = Ctl(store.endpoints)
        self._supervisor = supervisor
        self._routers = Routers(store.endpoints)

    def operator(self, *words: str) -> Process:
        """A command that may be killed."""
        argv = self.ctl.argv(*words, "--yes")
        return self._supervisor.add("ctl", argv, env=kubebraid_environment()).start()

    def all_migrations(self) -> tuple[Progress, ...]:
        """Raises KubeBraidError."""
        body = wire.encode_list_request(())
        return self._routers.call(wire.LIST_RESHARD, body, wire.decode_list, ASK_S_MAX)

    def migrations(self) -> tuple[Progress, ...]:
        """None while nobody answers."""
        try:
            return self.all_migrations()
        except KubeBraidError:
            return ()

    def new(self, known: frozenset[str]) -> Progress:
        """The migration that was not known before."""
        return wait_for(
            "a new migration",
            lambda: next((m for m in self.migrations() if m.step.id not in known), None),
            PHASE_S_MAX,
        )

    def progress(self, name: str) -> Progress | None:
        return next((m for m in self.migrations() if m.step.id == name), None)

    def reached(self, name: str, phase: str) -> str:
        """The phase in which it was seen, as soon as that is the wanted one or a later one."""
        end = time.monotonic() + PHASE_S_MAX
        while time.monotonic() < end:  # as fast as it is answered: some phases last milliseconds
            seen = self.progress(name)
            if seen is not None and ORDER.index(seen.phase) >= ORDER.index(phase):
                return seen.phase
        raise Timeout(f"{name} did not come to {phase}")

    def settled(self, name: str, phases: Sequence[str]) -> Progress:
        """Once it is in one of these."""

        def probe() -> Progress | None:
            seen = self.progress(name)
            return seen if seen is not None and seen.phase in phases else None

        return wait_for(f"{name} to be in one of {phases}", probe, SETTLED_S_MAX)

    def sequencer(self) -> str:
        """Its name."""
        return self._routers.status().sequencer.name

    def kill(self, name: str) -> Callable[[], object]:
        """SIGKILL; what waits for the process in its place."""
        pid = self.store.members.signal(name, signal.SIGKILL)
        return lambda: self.store.members.restarted(name, pid)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, peers: Peers) -> Iterator[Site]:
    """The module's cluster, running."""
    with Supervisor(tmp_path_factory.mktemp("reshard-kill")) as supervisor:
        store = Store(supervisor, peers, Kind.CLUSTER)
        store.start()
        yield Site(store, supervisor)


def cases(draw: random.Random, count: int) -> list[Case]:
    """Of the pairs that were asked for, or of all."""
    named = os.environ.get("KUBEBRAID_RESHARD_PAIRS")
    pairs = [pair for pair in ALL if "-".join(pair) in named.split(",")] if named else list(ALL)
    drawn = draw.sample(pairs, min(count, len(pairs)))
    return [
        Case(draw.choice(VERBS), phase, role, draw.choice(("there", "back")))
        for phase, role in drawn
    ]


@pytest.mark.parametrize(
    ("count", "writers", "seed"),
    [
        pytest.param(CI_PAIRS, CI_WRITERS, CI_SEED, id="ci"),
        pytest.param(len(ALL), 20, secrets.randbelow(1 << 32), id="soak", marks=pytest.mark.slow),
    ],
)
def test_kill_at_any_step_ends_in_the_old_or_the_new_map(
    site: Site, count: int, writers: int, seed: int
) -> None:
    seed = int(os.environ.get("KUBEBRAID_RESHARD_SEED", seed))
    print(f"seed {seed}")
    draw = random.Random(seed)
    traffic = Traffic(site.store.endpoints, f"kill{seed}", writers)
    here, there = ([endpoint] for endpoint in site.store.endpoints)
    watches = [Watched(here), Watched(site.store.endpoints, below(traffic.prefix)), Watched(there)]
    with watches[0], watches[1], watches[2]:
        with traffic:
            traffic.wait_for_more(2, WRITES_S_MAX)
            split_once(site, traffic)
            for case in cases(draw, count):
                began, errors = time.monotonic(), len(traffic.errors())
                told = play(site, traffic, case, draw)
                longest_s = traffic.longest_s(began)
                took = f"longest write {longest_s:.1f} s, {time.monotonic() - began:.1f} s in all"
                print(f"{case}: {told}, {took}", flush=True)
                traffic.check(None)
                if case.role == "ctl":  # nobody needs it
                    assert len(traffic.errors()) == errors, traffic.errors()[errors:]
                    assert longest_s < UNHURT_S_MAX
        settled(traffic, watches)
    traffic.close()
    codes = Counter(error.partition(" s: ")[2].partition(":")[0] for error in traffic.errors())
    print(f"{len(traffic.acknowledged())} writes; errors: {dict(codes)}")
    assert set(codes) <= MAY_BE_SAID


def split_once(site: Site, traffic: Traffic) -> None:
    """So that a part of what is written is not moved."""
    if len(site.ctl.below(PODS.decode())) == 1:
        middle = traffic.writers[len(traffic.writers) // 2].folder.decode()
        site.ctl.change("tablet", "split", "pods", f"--at={middle}")


def play(site: Site, traffic: Traffic, case: Case, draw: random.Random) -> str:
    """The migration to its phase, the kill, and the end."""
    tablet = draw.choice(site.ctl.below(PODS.decode()))
    to = draw.choice([name for name in SHARD_NAMES if name != tablet.shard])
    if case.verb == "split":
        to = tablet.shard
        flags = [f"--at={draw.choice(traffic.inside(tablet.holds))}"]
    else:
        flags = [f"--to={to}"]
        flags += [f"--rate={RATE}"] if case.phase == "preparing" else []
    known = frozenset(m.step.id for m in site.all_migrations())
    victim = named(site, case, tablet, to)
    operator = site.operator("tablet", case.verb, str(tablet.id), "--manual", *flags)
    name = site.new(known).step.id
    if case.phase != "preparing":
        site.settled(name, ("ready",))
        operator.wait(CTL_S_MAX)
        operator = site.operator("reshard", "switch", name)
    seen = site.reached(name, case.phase)
    if case.role == "ctl":
        operator.kill()
        back: Callable[[], object] = bool
    else:
        back = site.kill(victim)
    writes_s = all_take_writes(site, traffic)
    back()
    operator.wait(CTL_S_MAX)
    end = ended(site, case, name, tablet, to)
    return f"killed {victim} in {seen}, writes everywhere after {writes_s:.1f} s, {end}"


def named(site: Site, case: Case, tablet: Tablet, to: str) -> str:
    """The process to kill."""
    match case.role:
        case "source":
            return tablet.shard
        case "target":
            return to
        case "sequencer":
            return site.sequencer()
        case "router":
            return "router-0"
        case _:
            return "the operator"


def all_take_writes(site: Site, traffic: Traffic) -> float:
    """A key of each tablet is written; the seconds that it took."""
    began = time.monotonic()
    for number, tablet in enumerate(wait_for("tablets", lambda: tablets_now(site), WRITES_S_MAX)):
        key = key_of_text(tablet.start) or FIRST
        if not key.startswith(traffic.prefix):  # those its writers write
            router = traffic.routers[number % len(traffic.routers)]
            again(f"a write of {tablet.name}", partial(router.put, key, b"v"), WRITES_S_MAX)
    traffic.wait_for_more(1, WRITES_S_MAX)
    took = time.monotonic() - began
    assert took < WRITES_S_MAX
    return took


def tablets_now(site: Site) -> list[Tablet] | None:
    try:
        return site.ctl.tablets()
    except KubeBraidError:
        return None


def ended(site: Site, case: Case, name: str, tablet: Tablet, to: str) -> str:
    """The operator's words, each of them twice."""
    held = site.settled(name, HELD[case.verb])
    if held.phase == "ready" and case.end == "back":
        say_twice(site, "cancel", name, "aborted")
        return owned(site, tablet, tablet.shard, "cancelled")
    if held.phase == "ready":
        site.ctl.run("reshard", "verify", name).ok()
        say_twice(site, "switch", name, HELD[case.verb][-1])
    if case.verb == "split":
        site.settled(name, ("done",))
        return joined(site, tablet)
    if case.end == "back":
        say_twice(site, "reverse", name, "done")
        return owned(site, tablet, tablet.shard, "reversed")
    say_twice(site, "complete", name, "done")
    return owned(site, tablet, to, "completed")


def joined(site: Site, tablet: Tablet) -> str:
    """What was split is one again."""
    parts = [one for one in site.ctl.tablets() if tablet.start <= one.start < (tablet.end or "")]
    assert len(parts) == 2
    assert tablet.id not in {part.id for part in parts}
    site.ctl.change("tablet", "merge", *(str(part.id) for part in parts))
    return "split, and merged again"


def say_twice(site: Site, word: str, move: str, goal: str) -> None:
    """Until it is there; what is said once more then changes nothing."""

    def said() -> bool:
        return site.ctl.run("reshard", word, move, "--yes").code == 0

    wait_for(f"{word} to be done", said, SETTLED_S_MAX)
    before = site.settled(move, (goal,))
    tablets = site.ctl.tablets()
    repeated = site.ctl.run("reshard", word, move, "--yes")
    assert repeated.code in (0, 1), repeated
    after = site.settled(move, (goal,))
    assert (after.phase, after.version) == (before.phase, before.version)
    assert site.ctl.tablets() == tablets


def owned(site: Site, tablet: Tablet, shard: str, told: str) -> str:
    (found,) = [one for one in site.ctl.tablets() if one.id == tablet.id]
    assert found.shard == shard, f"{told}, and {found}"
    return told
