"""SIGKILL of each process that a migration needs, at each of its steps, below writers and watches.

What it is: pairs of a step and a role, drawn by a seed that is printed (all of them in the soak);
each is a move, a split, a merge or a drain that is led by hand to the step, a kill, and what an
operator does then. What it is not: the proof that no step is forgotten at any moment (tests/sim).

Words: a *step* is a phase of a migration, or `planning`: its command has not recorded it yet; or
`drained`: some migrations of a drain are done, and others not. The *end* of a case is what its
operator chooses: that it is done, undone or reversed.

Invariants, of each pair:
- all tablets take writes again within a bound, whatever was killed;
- no freeze outlives its deadline;
- the migration ends where its operator's word leads, in the old or the new map;
- a word, a plan or a verification that is repeated changes nothing, and tells the same;
- keys and resourceVersions of one revision are the same before the pair and behind it, and nothing
  that was acknowledged is lost, doubled or reordered, on any watch and in any read.

KUBEBRAID_RESHARD_SEED=7 chooses another seed, KUBEBRAID_RESHARD_PAIRS=frozen-source some pairs.
"""

from __future__ import annotations

import os
import random
import secrets
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Final

import pytest

from kubebraid.base.errors import KubeBraidError
from kubebraid.base.limits import RESHARD_FREEZE_MS
from kubebraid.proto.adminreshard import key_of_text
from tests.e2e.processes import Peers, Process, Supervisor, wait_for
from tests.e2e.reshard_ops import SHARD_NAMES, Tablet
from tests.e2e.reshard_seen import Lookout
from tests.e2e.reshard_site import PHASE_S_MAX, SETTLED_S_MAX, Site, say_twice
from tests.e2e.reshard_traffic import PODS, Snapshots, Traffic, Watched, again, below, settled
from tests.e2e.store import Kind, Store

pytestmark = [pytest.mark.e2e, pytest.mark.cluster]

Pair = tuple[str, str]

STEPS: Final = (
    "planning",
    "planned",
    "preparing",
    "ready",
    "frozen",
    "committed",
    "draining",
)
ROLES: Final = ("source", "target", "sequencer", "router", "ctl")
DRAINS: Final[tuple[Pair, ...]] = (
    ("drained", "source"),
    ("drained", "sequencer"),
    ("drained", "ctl"),
)
ALL: Final[tuple[Pair, ...]] = (*product(STEPS, ROLES), *DRAINS)
VERBS: Final = ("move", "move", "split", "hash", "merge")
CI_SEED: Final = 195  # each step, each role and each verb
CI_PAIRS: Final = 12
CI_WRITERS: Final = 10
RATE: Final = "200KB"  # so that PREPARING can be seen
PLANNING_S: Final = 0.8  # of a command, from its start until it has recorded its plan
BEGUN_MAX: Final = 6  # migrations of a drain that are done before the kill
WRITES_S_MAX: Final = 20.0  # a restart with its backoff, an election, a freeze with its deadline
UNHURT_S_MAX: Final = 3.0  # of a writer: its pace, the deadline of a freeze, and a busy machine
CTL_S_MAX: Final = 90.0
FIRST: Final = b"\0"  # the key of the tablet that begins with nothing
# Of a command that was killed below, and how many migrations it may have recorded.
CODES: Final = {(0, 1), (1, 0), (3, 0), (3, 1), (-9, 0), (-9, 1)}
MAY_BE_SAID: Final = {"UNAVAILABLE", "DEADLINE_EXCEEDED"}  # to a writer below a kill
BEHIND: Final = {"move": "draining", "split": "done", "hash": "done", "merge": "done"}


@dataclass(frozen=True)
class Case:
    """One pair, and what its operator wants in the end."""

    verb: str
    step: str
    role: str
    end: str  # there: switched and completed; back: cancelled, or reversed where it was switched


@dataclass(frozen=True)
class Ground:
    """What a case changes. `tablet`: whole, as it is in the end again; `words`: of the command."""

    tablet: Tablet
    target: str
    words: tuple[str, ...]


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
    found = []
    for step, role in draw.sample(pairs, min(count, len(pairs))):
        verb, end = draw.choice(VERBS), draw.choice(("there", "back"))
        found.append(Case("drain" if step == "drained" else verb, step, role, end))
    return found


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
    snapshots, lookout = Snapshots(traffic), Lookout(site.store.endpoints)
    here, there = ([endpoint] for endpoint in site.store.endpoints)
    watches = [Watched(here), Watched(site.store.endpoints, below(traffic.prefix)), Watched(there)]
    with watches[0], watches[1], watches[2]:
        with traffic, lookout:
            traffic.wait_for_more(2, WRITES_S_MAX)
            split_once(site, traffic)
            for case in cases(draw, count):
                one_case(site, snapshots, case, draw)
        snapshots.judge(settled(traffic, watches))
    traffic.close()
    codes = Counter(error.partition(" s: ")[2].partition(":")[0] for error in traffic.errors())
    print(f"{len(traffic.acknowledged())} writes; errors: {dict(codes)}")
    freezes = lookout.check_freezes()
    print(f"{len(freezes)} freezes were seen, longest {max(freezes, default=0)} ms")
    assert set(codes) <= MAY_BE_SAID


def one_case(site: Site, snapshots: Snapshots, case: Case, draw: random.Random) -> None:
    """Played, and told."""
    traffic = snapshots.traffic
    began, errors = time.monotonic(), len(traffic.errors())
    revision = traffic.acknowledged()[-1].revision
    snapshots.take(revision)
    told = (drained if case.verb == "drain" else played)(site, traffic, case, draw)
    snapshots.take(revision)
    snapshots.take(traffic.acknowledged()[-1].revision)
    pause_s = traffic.longest_pause_s(began)
    took = f"longest pause {pause_s:.1f} s, {time.monotonic() - began:.1f} s in all"
    print(f"{case}: {told}, {took}", flush=True)
    traffic.check()
    if case.role == "ctl":  # nobody needs it
        assert len(traffic.errors()) == errors, traffic.errors()[errors:]
        assert pause_s < UNHURT_S_MAX
    assert pause_s < WRITES_S_MAX


def split_once(site: Site, traffic: Traffic) -> None:
    """So that a part of what is written is not moved."""
    if len(site.ctl.below(PODS.decode())) == 1:
        middle = traffic.writers[len(traffic.writers) // 2].folder.decode()
        site.ctl.change("tablet", "split", "pods", f"--at={middle}")


def ground(site: Site, traffic: Traffic, case: Case, draw: random.Random) -> Ground:
    """Some tablet, prepared for the verb."""
    tablet = draw.choice(site.ctl.below(PODS.decode()))
    word = ("tablet", "split", str(tablet.id))
    at = f"--at={draw.choice(traffic.inside(tablet.holds))}"
    match case.verb:
        case "move":
            to = draw.choice([name for name in SHARD_NAMES if name != tablet.shard])
            return Ground(tablet, to, ("tablet", "move", str(tablet.id), f"--to={to}"))
        case "split":
            return Ground(tablet, tablet.shard, (*word, at))
        case "hash":
            return Ground(tablet, tablet.shard, (*word, "--hash=2"))
        case _:
            site.ctl.change(*word, at)
            ids = (str(part.id) for part in parts(site, tablet))
            return Ground(tablet, tablet.shard, ("tablet", "merge", *ids))


def parts(site: Site, tablet: Tablet) -> list[Tablet]:
    """What lies in its range now."""
    return [one for one in site.ctl.tablets() if tablet.start <= one.start < (tablet.end or "")]


def test_freeze_ends_at_its_deadline_while_the_target_hangs(site: Site) -> None:
    """A process that is killed is soon replaced; of one that hangs nothing is heard."""
    traffic = Traffic(site.store.endpoints, "hang", CI_WRITERS)
    with traffic, Lookout(site.store.endpoints) as lookout:
        traffic.wait_for_more(2, WRITES_S_MAX)
        tablet = site.ctl.holding(traffic.prefix.decode())
        owners = {one.shard for one in site.ctl.below(PODS.decode())}
        to = next(name for name in SHARD_NAMES if name not in owners)
        told = site.ctl.change("tablet", "move", str(tablet.id), f"--to={to}", "--manual")
        (name,) = (migration["id"] for migration in told["migrations"])
        began = time.monotonic()
        site.store.members.signal(to, signal.SIGSTOP)
        try:
            operator = site.operator("reshard", "switch", name)
            code = operator.wait(WRITES_S_MAX)
            traffic.wait_for_more(1, WRITES_S_MAX)
        finally:
            site.store.members.signal(to, signal.SIGCONT)
        pause_s, freezes = traffic.longest_pause_s(began), lookout.check_freezes()
        print(f"writers paused for {pause_s:.2f} s; freezes seen for {freezes} ms")
        assert (code, "writes had waited" in operator.text()) == (1, True), operator.text()
        assert RESHARD_FREEZE_MS / 1_000 <= pause_s < UNHURT_S_MAX
        say_twice(site, "switch", name, "draining")
        say_twice(site, "complete", name, "done")
        traffic.wait_for_more(1, WRITES_S_MAX)
    traffic.check_calm()
    traffic.close()


# ------------------------------------------------------------------------------------------ cases


def played(site: Site, traffic: Traffic, case: Case, draw: random.Random) -> str:
    """The migration to its step, the kill, and the end."""
    at = ground(site, traffic, case, draw)
    before = site.ctl.tablets()
    match case.step:
        case "planning":
            name, told = planning(site, traffic, case, at, draw)
        case "planned":
            name, told = planned(site, traffic, case, at, draw)
        case _:
            name, told = begun(site, traffic, case, at)
    return f"{told}, {ended(site, case, name, at, before)}"


def planning(
    site: Site, traffic: Traffic, case: Case, at: Ground, draw: random.Random
) -> tuple[str, str]:
    """Killed while its command makes its plan, or records it; the command is then repeated."""
    known, victim = site.known(), named(site, case, at)
    operator = site.operator(*at.words, "--manual")
    if draw.random() < 0.5:
        time.sleep(draw.uniform(0, PLANNING_S))
    else:
        wait_for("a plan to be shown", lambda: "STEP" in operator.text(), PHASE_S_MAX)
    writes_s = killed(site, traffic, case, victim, operator)
    code = operator.wait(CTL_S_MAX)
    recorded = site.unfinished(known)
    assert (code, len(recorded)) in CODES, operator.text()

    def there() -> bool:
        again = site.ctl.run(*at.words, "--manual", "--yes")
        return again.code == 0 or "is in migration" in again.stderr

    wait_for("the plan to be recorded", there, SETTLED_S_MAX)
    (name,) = site.unfinished(known)
    assert recorded in ([], [name])
    return name, f"killed {victim} in planning: exit code {code}{_behind(writes_s)}"


def planned(
    site: Site, traffic: Traffic, case: Case, at: Ground, draw: random.Random
) -> tuple[str, str]:
    """Killed while two others keep it waiting; it waits on, and can be cancelled."""
    others = held(site, draw)
    known, victim = site.known(), named(site, case, at)
    operator = site.operator(*at.words, "--manual")
    name = site.new(known).step.id
    site.settled(name, ("planned",))
    writes_s = killed(site, traffic, case, victim, operator)
    site.settled(name, ("planned",))
    if case.end == "back":
        say_twice(site, "cancel", name, "aborted")
    for other in others:
        site.ctl.run("reshard", "cancel", other, "--yes").ok()
    operator.wait(CTL_S_MAX)
    return name, f"killed {victim} in planned{_behind(writes_s)}"


def held(site: Site, draw: random.Random) -> list[str]:
    """Two migrations of other resources, led to READY: no third one is active beside them."""
    others = [one for one in site.ctl.tablets() if not one.start.startswith("/registry/pods")]
    names: list[str] = []
    taken: list[set[str]] = []
    for tablet in draw.sample(others, 2):
        free = [to for to in SHARD_NAMES if to != tablet.shard and {to, tablet.shard} not in taken]
        to = draw.choice(free)
        taken.append({to, tablet.shard})
        told = site.ctl.change("tablet", "move", str(tablet.id), f"--to={to}", "--manual")
        (migration,) = told["migrations"]
        assert migration["phase"] == "ready"
        names.append(migration["id"])
    return names


def begun(site: Site, traffic: Traffic, case: Case, at: Ground) -> tuple[str, str]:
    """Killed while it goes on."""
    slowly = [f"--rate={RATE}"] if (case.verb, case.step) == ("move", "preparing") else []
    known, victim = site.known(), named(site, case, at)
    operator = site.operator(*at.words, "--manual", *slowly)
    name = site.new(known).step.id
    if case.step != "preparing":
        site.settled(name, ("ready",))
        operator.wait(CTL_S_MAX)
        operator = site.operator("reshard", "switch", name)
    seen = site.reached(name, case.step)
    writes_s = killed(site, traffic, case, victim, operator)
    operator.wait(CTL_S_MAX)
    return name, f"killed {victim} in {seen}{_behind(writes_s)}"


def drained(site: Site, traffic: Traffic, case: Case, draw: random.Random) -> str:
    """Killed while a shard is drained; the drain is then repeated until there is nothing to do."""
    shard = draw.choice([name for name in SHARD_NAMES if len(site.owned(name)) > 1])
    known, whole = site.known(), len(site.owned(shard))
    goal = draw.randrange(1, min(whole, BEGUN_MAX))
    victim = {"source": shard, "sequencer": site.sequencer()}.get(case.role, "the operator")
    operator = site.operator("shard", "drain", shard)

    def done() -> int:
        return sum(m.phase == "done" for m in site.migrations() if m.step.id not in known)

    wait_for(f"{goal} moves", lambda: done() >= goal, PHASE_S_MAX)
    writes_s = killed(site, traffic, case, victim, operator)
    code = operator.wait(CTL_S_MAX)
    wait_for("the drain to end", lambda: not site.unfinished(known), SETTLED_S_MAX)

    def empty() -> bool:
        return site.ctl.run("shard", "drain", shard, "--yes").code == 0 and not site.owned(shard)

    wait_for(f"{shard} to be empty", empty, SETTLED_S_MAX)
    before = site.ctl.tablets()
    assert not site.ctl.change("shard", "drain", shard)["migrations"]
    assert site.ctl.tablets() == before
    return f"killed {victim} behind {goal} of {whole} moves: exit code {code}{_behind(writes_s)}"


# --------------------------------------------------------------------------------------- the kill


def named(site: Site, case: Case, at: Ground) -> str:
    """The process to kill."""
    match case.role:
        case "source":
            return at.tablet.shard
        case "target":
            return at.target
        case "sequencer":
            return site.sequencer()
        case "router":
            return "router-0"
        case _:
            return "the operator"


def killed(site: Site, traffic: Traffic, case: Case, victim: str, operator: Process) -> float:
    """Until all tablets take writes again and the process is there again; the seconds of writes."""
    back: Callable[[], object] = bool
    if case.role == "ctl":
        operator.kill()
    else:
        back = site.kill(victim)
    writes_s = all_take_writes(site, traffic)
    back()
    return writes_s


def _behind(writes_s: float) -> str:
    return f", writes everywhere after {writes_s:.1f} s"


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


# ---------------------------------------------------------------------------------------- the end


def ended(site: Site, case: Case, name: str, at: Ground, before: list[Tablet]) -> str:
    """The operator's words, each of them twice; then the map is the old or the new one."""
    behind = BEHIND[case.verb]
    if (case.step, case.end) == ("planned", "back"):
        return unchanged(site, name, at, before, "cancelled")
    phase = site.settled(name, ("ready", behind)).phase
    verified_twice(site, name)
    if phase == "ready" and case.end == "back":
        say_twice(site, "cancel", name, "aborted")
        return unchanged(site, name, at, before, "cancelled")
    if phase == "ready":
        say_twice(site, "switch", name, behind)
    if case.verb == "move" and case.end == "back":
        say_twice(site, "reverse", name, "done")
        verified_twice(site, name)
        return unchanged(site, name, at, before, "reversed")
    if case.verb == "move":
        say_twice(site, "complete", name, "done")
    verified_twice(site, name)
    return changed(site, case, at, before)


def verified_twice(site: Site, name: str) -> None:
    for _ in range(2):
        assert site.ctl.json("reshard", "verify", name)["verified"] is True


def unchanged(site: Site, name: str, at: Ground, before: list[Tablet], told: str) -> str:
    assert site.ctl.tablets() == before, f"{name} was {told}"
    one_again(site, at)
    return told


def changed(site: Site, case: Case, at: Ground, before: list[Tablet]) -> str:
    mine = parts(site, at.tablet)
    assert {part.shard for part in mine} == {at.target}
    assert len(mine) == (2 if case.verb in ("split", "hash") else 1)
    assert elsewhere(site.ctl.tablets(), at) == elsewhere(before, at)
    one_again(site, at)
    return "done"


def elsewhere(tablets: list[Tablet], at: Ground) -> list[Tablet]:
    """Those that the case was not about."""
    end = at.tablet.end or ""
    return [tablet for tablet in tablets if not at.tablet.start <= tablet.start < end]


def one_again(site: Site, at: Ground) -> None:
    """What was cut, by the case or for it."""
    mine = parts(site, at.tablet)
    if len(mine) > 1:
        site.ctl.change("tablet", "merge", *(str(part.id) for part in mine))
