"""The configurations of the models: bounds, planted faults, and what each has to show.

What it is: data. What it is not: the models (docs/model/*.tla) or the way to run them (`tlc.py`).

Words: a *fault* is a name in the constant `Mut` of a model that takes one rule away.

Invariants:
- every fault that a model knows is in some case here (tests/model/test_map.py);
- a case that holds and is complete states how many states it has: a model that became smaller by
  accident proves less, and fails here.

Worked example: `fault("noFence", "ClosedTruth", NW=2, NMap=2, NR=1)` says: with two writes, one
change of the map and one read, owners without fences make a watermark lie.

Tested in tests/model/test_models.py, tests/model/test_map.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from tests.model.tlc import Case, Value, Verdict

SPLIT: Final = frozenset({"split"})
BOTH: Final = frozenset({"move", "split"})
NONE: Final[frozenset[str]] = frozenset()
UNCOUNTED: Final = 0

INVARIANTS: Final = {
    "Spine": (
        "NoErr",
        "ClosedTruth",
        "EvDurable",
        "ClosedLeLast",
        "FenceOk",
        "OldReads",
        "Serializable",
    ),
    "Txn": ("NoErr",),
    "Across": ("NoErr",),
    "Lease": ("NoErr", "OneLease"),
}
DEFAULTS: Final[Mapping[str, Mapping[str, Value]]] = {
    "Spine": {
        "Win": 4,
        "MaxCep": 1,
        "NW": 2,
        "NR": 0,
        "NMap": 1,
        "NUnc": 0,
        "NCrash": 0,
        "Kinds": frozenset({"move"}),
        "Own0": (1, 2),
        "Watch": False,
        "Fast": False,
        "Mut": NONE,
    },
    "Txn": {"Win": 5, "MaxCep": 1, "NW": 2, "NR": 1, "NFail": 0, "Mut": NONE},
    "Across": {"Win": 2, "MaxCep": 1, "NW": 0, "NR": 1, "NFail": 0, "Mut": NONE},
    "Lease": {"TTL": 2, "Tmax": 7, "MaxCep": 2, "MaxRenew": 2, "Mut": NONE},
}


@dataclass(frozen=True, slots=True)
class Expected:
    """A case with what it has to show.

    states: of a complete run; UNCOUNTED: not said. seconds: the bound of the run, None for a case
    that is to end by itself in the time that the tests give every one.
    """

    case: Case
    verdict: Verdict
    said: str = ""
    states: int = UNCOUNTED
    slow: bool = False
    seconds: float | None = None


def make(model: str, name: str, constants: Mapping[str, Value], faults: Iterable[str] = ()) -> Case:
    """A case of `model`: its defaults, changed by `constants`."""
    assert set(constants) < set(DEFAULTS[model]), f"{name} names a constant that {model} lacks"
    whole = {**DEFAULTS[model], **constants, "Mut": frozenset(faults)}
    # In Lease.tla time ends, and with it every behaviour.
    return Case(name, model, whole, INVARIANTS[model], stuck=model != "Lease")


def holds(model: str, name: str, states: int, **constants: Value) -> Expected:
    """The design, every state."""
    return Expected(make(model, name, constants), Verdict.HOLDS, states=states)


def slowly(expected: Expected) -> Expected:
    """For `make soak`."""
    return replace(expected, case=replace(expected.case, long=True), slow=True)


def cut(name: str, seconds: float, model: str = "Spine", **constants: Value) -> Expected:
    """The design within bounds that are too large to be finished: as far as `seconds` go."""
    case = make(model, name, constants)
    return slowly(Expected(case, Verdict.CUT, seconds=seconds))


def walk(name: str, seconds: float, **constants: Value) -> Expected:
    """The design on random walks, other ones each time. More than a minute: how far it is TLC tells
    once in that time."""
    case = replace(make("Spine", name, constants), walk=True)
    return slowly(Expected(case, Verdict.CUT, seconds=seconds))


def fault(name: str, said: str, model: str = "Spine", at: str = "", **bounds: Value) -> Expected:
    """A planted fault, or several joined by "+": it has to be found, and to show itself as `said`.
    `at` tells two cases of one fault apart."""
    faults = name.split("+")
    return Expected(make(model, "_".join(faults) + at, bounds, faults), Verdict.VIOLATED, said)


def visible(name: str, said: str, **bounds: Value) -> Expected:
    """A fault of Spine.tla that a client notices."""
    case = make("Spine", f"visible_{name}", bounds, (name,))
    bare = replace(case, invariants=("NoErr",), stuck=False)
    return slowly(Expected(bare, Verdict.VIOLATED, said))


def allowed(
    name: str, states: int, model: str = "Spine", at: str = "", **bounds: Value
) -> Expected:
    """A freedom that the design may take: nothing goes wrong."""
    return Expected(make(model, name + at, bounds, (name,)), Verdict.HOLDS, states=states)


# Words of the models' `err`, where more than one case shows them.
WRONG_SNAPSHOT: Final = "read: wrong snapshot"
LOST_EVENT: Final = "watch: event lost below released R"
HALF_VISIBLE: Final = "transaction half visible"
BELOW_CLOSED: Final = "commit at or below closed"
LEASES: Final = "OneLease"
OVERTAKEN: Final = "asked after a higher reign had answered, got a lower revision"

DESIGN: Final = (
    slowly(holds("Spine", "move_watch", 42_126, NMap=2, Watch=True)),
    slowly(holds("Spine", "move_read", 77_132, NMap=2, NR=1, Fast=True)),
    slowly(holds("Spine", "takeover_read", 40_015, MaxCep=2, NR=1, Fast=True)),
    slowly(holds("Spine", "takeover_watch", 20_771, MaxCep=2, Watch=True)),
    slowly(holds("Spine", "move_takeover_unc", 240_415, MaxCep=2, NMap=2, NUnc=1)),
    slowly(holds("Spine", "move_takeover_read", 149_794, NW=1, MaxCep=2, NMap=2, NR=1, NUnc=1)),
    slowly(holds("Spine", "split_watch", 35_467, NMap=2, Kinds=SPLIT, Watch=True)),
    slowly(holds("Spine", "split_read_unc", 220_240, NMap=2, NUnc=1, NR=1, Fast=True, Kinds=SPLIT)),
    slowly(
        holds("Spine", "split_takeover_read", 83_458, NW=1, NMap=2, MaxCep=2, NR=1, Kinds=SPLIT)
    ),
    slowly(holds("Spine", "two_reads_unc", 113_741, NW=3, NR=2, NUnc=1, Fast=True)),
    slowly(holds("Spine", "two_moves", 129_896, NMap=3, NUnc=1)),
    slowly(holds("Spine", "crash", 477_594, NMap=3, NCrash=1, NUnc=1)),
    holds("Spine", "short_move", 3_821, NW=1, NMap=2, NR=1, NUnc=1),
    holds("Spine", "short_split", 3_772, NW=1, NMap=2, NR=1, Fast=True, Kinds=SPLIT),
    holds("Spine", "short_move_takeover", 7_906, NW=1, NMap=2, MaxCep=2),
    holds("Spine", "short_crash", 2_013, NW=1, NMap=2, NCrash=1, NUnc=1),
    holds("Txn", "txn", 24_994),
    holds("Txn", "txn_takeover", 36_074, MaxCep=2, NW=1),
    slowly(holds("Txn", "txn_failovers", 448_714, NFail=2)),
    slowly(holds("Txn", "txn_all", 1_713_458, MaxCep=2, NFail=1)),
    holds("Across", "across", 17_464, NW=1),
    holds("Across", "across_failover", 11_888, NFail=1),
    holds("Across", "across_takeover", 5_428, MaxCep=2, NR=0),
    slowly(holds("Across", "across_takeover_read", 45_840, MaxCep=2)),
    slowly(holds("Across", "across_both", 291_936, MaxCep=2, NFail=1)),
    slowly(holds("Across", "across_failovers", 39_688, NFail=2)),
    holds("Lease", "short_lease", 9_661, Tmax=4, MaxRenew=0),
    slowly(holds("Lease", "lease_renewed", 729_142, Tmax=4, MaxRenew=1)),
    slowly(holds("Lease", "lease", 2_123_099, Tmax=5, MaxRenew=1)),
)

ALLOWED: Final = (
    allowed("voidUnknownProved", 1_853, NW=1, NMap=2, NR=1),
    slowly(allowed("voidUnknownProved", 79_092, at="_takeover", NW=1, NMap=2, MaxCep=2, NR=1)),
    allowed("gcCellOk", 19_408, "Txn", NFail=1, NW=1),
    allowed("dupPrep", 5_338, "Txn", NW=1),
    allowed("primaryKeeps", 12_116, "Across", NFail=1),
    slowly(allowed("allocNoEpoch", 58_032, "Txn", NFail=2, NW=1)),
    slowly(allowed("voidWhilePrep", 24_994, "Txn")),
    slowly(allowed("decideWithoutIntent", 141_228, "Txn", NFail=1)),
)

FAULTS: Final = (
    fault("prefetch", "real-time order", NW=3, Win=8),
    fault("noFence", "ClosedTruth", NMap=2, NR=1),
    fault("checkThenCollect", "read: R below an acknowledged revision", MaxCep=2, NR=1),
    fault("noMapver", WRONG_SNAPSHOT, at="_read", NW=1, NMap=2, NR=1, Kinds=SPLIT, Fast=True),
    fault("noMapver", LOST_EVENT, at="_watch", NMap=2, Watch=True, Kinds=SPLIT),
    fault("staleMap", WRONG_SNAPSHOT, at="_read", NW=1, NMap=2, NR=1, Kinds=SPLIT, Fast=True),
    fault("staleMap", LOST_EVENT, at="_watch", NMap=2, Watch=True, Kinds=SPLIT),
    fault("pubEarly", "EvDurable", NW=1, NMap=2, NR=1),
    fault("noRewrite", "ClosedTruth", NUnc=1, NR=1),
    fault("noB", WRONG_SNAPSHOT, MaxCep=2, NR=1),
    fault("keepOldAnswer", "ClosedTruth", MaxCep=2, NR=1),
    fault("noEpochCheck", "Deadlock", NMap=2),
    fault("regUnchecked", "ClosedTruth", NW=1, MaxCep=2, NMap=2),
    fault("regPending", "ClosedTruth", NW=1, MaxCep=2, NR=1),
    fault("resolveIgnoresEpoch", "ClosedTruth", NUnc=1, NMap=2),
    fault("voidUnknownAny", "ClosedTruth", NW=1, NMap=2, NR=1),
    fault("noFreeze", "Deadlock", at="_move", NMap=2),
    fault("noFreeze", "ClosedTruth", at="_split", NMap=2, Kinds=SPLIT),
    fault("noCepochCas", "Deadlock", at="_move", NW=1, MaxCep=2, NMap=2),
    slowly(
        fault("noCepochCas", WRONG_SNAPSHOT, at="_split", NW=1, MaxCep=2, NMap=2, NR=1, Kinds=SPLIT)
    ),
    fault("localUnfreeze", WRONG_SNAPSHOT, NW=1, NMap=2, NR=1, Kinds=SPLIT),
    fault("adoptNoFence", "ClosedTruth", NMap=2, NR=1),
    fault("parentOpen", "commit on retired parent", NMap=2, Kinds=SPLIT),
    fault("restartSameEpoch", "ClosedTruth", NCrash=1, NUnc=1, NR=1),
    fault("fastNoUpper", WRONG_SNAPSHOT, NW=1, NR=1, Fast=True),
    fault("fastNoLower", WRONG_SNAPSHOT, NW=1, NR=1, Fast=True),
    fault("closeAtFence", "Deadlock", NW=1, NMap=2),
    fault("staleOnNewer", "Deadlock", NMap=2),
    fault("noRestart", "Deadlock", NW=1, NMap=2, NR=1, Kinds=SPLIT),
    fault("tornSample", "snapshot changes after it was read", NR=1),
    fault("kidLast0", "ClosedLeLast", NMap=2, Watch=True, Kinds=SPLIT),
    fault("oldReadOpen", "OldReads", NW=1),
    fault("serialEach", "Serializable", Watch=True),
    fault("gcAbort", HALF_VISIBLE, "Txn", NFail=1, NW=1),
    fault("gcAbort+decideWithoutIntent", HALF_VISIBLE, "Txn", NW=1),
    fault("gcAbort+dupPrep", HALF_VISIBLE, "Txn", NW=1),
    fault("allocBeforePrepare", BELOW_CLOSED, "Txn"),
    fault("noLane", "tablet revisions go down", "Txn"),
    fault("voidWithIntent", BELOW_CLOSED, "Txn"),
    fault("regWithIntent", BELOW_CLOSED, "Txn", MaxCep=2),
    fault("adoptIgnoresIntent", BELOW_CLOSED, "Txn", NFail=1),
    fault("gcCell", HALF_VISIBLE, "Txn"),
    fault("cellOverwrite", HALF_VISIBLE, "Txn"),
    fault("prepareWithoutLock", BELOW_CLOSED, "Across", NW=1),
    fault("allocEarly", HALF_VISIBLE, "Across", NW=1),
    fault("noLanes", "Deadlock", "Across", NW=1),
    fault("noRegister", "Deadlock", "Across"),
    fault("regWithIntent", BELOW_CLOSED, "Across", at="_across", MaxCep=2),
    fault("adoptIgnoresIntent", BELOW_CLOSED, "Across", at="_across", NFail=1),
    fault("decideWithoutIntent", HALF_VISIBLE, "Across", at="_across"),
    fault("abortInDoubt", HALF_VISIBLE, "Across"),
    fault("resolveKeeps", HALF_VISIBLE, "Across"),
    fault("gcCell", HALF_VISIBLE, "Across", at="_across"),
    fault("checkThenCollect", OVERTAKEN, "Lease", at="_lease", Tmax=5, MaxRenew=1),
    fault("retryNewT0", LEASES, "Lease"),
    fault("noWait", LEASES, "Lease"),
    fault("noCheck", OVERTAKEN, "Lease", Tmax=5, MaxRenew=1),
    fault("noRenewCas", LEASES, "Lease"),
    fault("serveAfterRelease", LEASES, "Lease"),
    fault("ackT0", LEASES, "Lease", MaxCep=3, MaxRenew=0, Tmax=8),
    fault("releaseWithBatch", "allocates above the hi it released", "Lease"),
)

# The same faults, judged only by what a client can see: no inner invariant, nothing about tablets
# that are stuck. A rule whose fault never shows here guards only against standing still.
VISIBLE: Final = (
    visible("noFence", WRONG_SNAPSHOT, NW=3, NMap=2, NR=1),
    visible("pubEarly", WRONG_SNAPSHOT, NMap=2, NR=1),
    visible("noRewrite", WRONG_SNAPSHOT, NUnc=1, NR=1),
    visible("keepOldAnswer", WRONG_SNAPSHOT, MaxCep=2, NR=1),
    visible("regUnchecked", WRONG_SNAPSHOT, NW=1, MaxCep=2, NMap=2, NR=1),
    visible("regPending", WRONG_SNAPSHOT, NW=1, MaxCep=2, NR=1),
    visible("resolveIgnoresEpoch", WRONG_SNAPSHOT, NUnc=1, NMap=2, NR=1),
    visible("voidUnknownAny", WRONG_SNAPSHOT, NW=1, NMap=2, NR=1),
    visible("noFreeze", WRONG_SNAPSHOT, NMap=2, NR=1, Kinds=SPLIT),
    visible("adoptNoFence", WRONG_SNAPSHOT, NMap=2, NR=1),
    visible("restartSameEpoch", WRONG_SNAPSHOT, NCrash=1, NUnc=2, NR=1),
    visible("kidLast0", LOST_EVENT, NMap=2, Watch=True, Kinds=SPLIT),
)

LARGE: Final = (
    cut("large_watch", 90, NMap=2, MaxCep=2, NUnc=1, Watch=True),
    cut("large_read", 90, NMap=2, MaxCep=2, NUnc=1, NR=1, Fast=True),
    cut("large_split", 90, NMap=2, MaxCep=2, NR=1, Kinds=SPLIT),
    cut("large_split_watch", 90, NW=3, NMap=2, NUnc=1, Watch=True, Kinds=SPLIT),
    cut("large_both", 90, NMap=3, NUnc=1, NR=1, Kinds=BOTH),
    cut("large_writes", 90, NW=4, NMap=2, NUnc=1, NR=1),
    cut("large_lease", 90, "Lease"),
    cut("large_lease_reigns", 90, "Lease", MaxCep=3, MaxRenew=1, Tmax=8),
    walk("walk_moves", 66, NW=5, NMap=4, MaxCep=3, NUnc=2, NR=2, Fast=True, Watch=True, Win=6),
    walk(
        "walk_all",
        66,
        NW=5,
        NMap=4,
        MaxCep=3,
        NUnc=2,
        NR=2,
        NCrash=1,
        Fast=True,
        Watch=True,
        Kinds=BOTH,
        Own0=(1, 1),
        Win=6,
    ),
)

ALL: Final = (*DESIGN, *ALLOWED, *FAULTS, *VISIBLE, *LARGE)
assert len({expected.case.name for expected in ALL}) == len(ALL), "a name names one case"
