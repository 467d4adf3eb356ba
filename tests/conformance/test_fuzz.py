"""etcd and KubeBraid under the same random requests; and that a lying server would be noticed.

5,000 requests of fixed seeds here, half of them for each front; `make soak` plays 200,000 of fresh
ones. A failure prints how to replay it (fuzz_run.py). The parts are tested in test_fuzz_parts.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import SystemRandom
from typing import Final

import pytest

from tests.e2e.store import Kind

from .case import Send, put, ranged, watching
from .fuzz import NOW, Step
from .fuzz_compare import Tally, judge
from .fuzz_run import FRONTS, FuzzWorld, fuzz_world, run

REQUESTS: Final = 250  # of a sequence
SEQUENCES: Final = 10  # for each front
SOAK_REQUESTS: Final = 400
SOAK_SEQUENCES: Final = 25  # of a part
SOAK_PARTS: Final = 10  # for each front: 200,000 requests in all
FRESH: Final = SystemRandom().randrange(1 << 32) * 1000

RPC_SHARE_MIN: Final = 1 / 250
TEXTS_MIN: Final = 15
WRITTEN_SHARE_MIN: Final = 0.2
REFUSED_SHARE_MAX: Final = 0.4
EVENTS_SHARE_MIN: Final = 0.5
EXCUSED_SHARE_MAX: Final = 0.02
RPCS: Final = frozenset(
    {"KV.Range", "KV.RangeStream", "KV.Put", "KV.DeleteRange", "KV.Txn", "KV.Compact"}
    | {"Lease.LeaseGrant", "Lease.LeaseRevoke", "Lease.LeaseKeepAlive", "Lease.LeaseTimeToLive"}
    | {"Lease.LeaseLeases", "Maintenance.HashKV"}
    | {"Watch create_request", "Watch cancel_request", "Watch progress_request"}
)
by_front = pytest.mark.parametrize("front", FRONTS, ids=lambda front: front.value)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FuzzWorld]:
    """etcd and both fronts."""
    with fuzz_world(tmp_path_factory.mktemp("fuzz")) as world:
        yield world


# -- the fuzz --------------------------------------------------------------------------------------


@pytest.mark.etcd
@by_front
def test_random_requests_are_answered_as_etcd_does(
    world: FuzzWorld, front: Kind, capsys: pytest.CaptureFixture[str]
) -> None:
    first = FRONTS.index(front) * SEQUENCES
    fuzz(world, front, range(first, first + SEQUENCES), REQUESTS, capsys)


@pytest.mark.etcd
@pytest.mark.slow
@by_front
@pytest.mark.parametrize("part", range(SOAK_PARTS))
def test_fresh_random_requests_are_answered_as_etcd_does(
    world: FuzzWorld, front: Kind, part: int, capsys: pytest.CaptureFixture[str]
) -> None:
    first = FRESH + (FRONTS.index(front) * SOAK_PARTS + part) * SOAK_SEQUENCES
    fuzz(world, front, range(first, first + SOAK_SEQUENCES), SOAK_REQUESTS, capsys)


def fuzz(
    world: FuzzWorld,
    front: Kind,
    seeds: Sequence[int],
    requests: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tally = Tally()
    difference = run(world, front, seeds, requests, tally)
    with capsys.disabled():
        print(f"\n{front.value}, seeds {seeds[0]} to {seeds[-1]}", *tally.lines(), sep="\n")
    assert not difference, f"\n{difference}"
    check_variety(tally)


def check_variety(tally: Tally) -> None:
    """A fuzz that hardly writes, or asks for one thing only, finds nothing and looks well."""
    assert set(tally.rpcs) == RPCS
    rare = {name: n for name, n in tally.rpcs.items() if n < RPC_SHARE_MIN * tally.requests}
    assert not rare, f"hardly ever asked: {rare}"
    assert len(tally.texts) >= TEXTS_MIN, sorted(tally.texts)
    assert tally.written > WRITTEN_SHARE_MIN * tally.requests
    assert tally.refused.total() < REFUSED_SHARE_MAX * tally.requests
    assert tally.events > EVENTS_SHARE_MIN * tally.requests
    assert tally.excused.total() <= EXCUSED_SHARE_MAX * tally.requests, tally.excused


def test_a_fuzz_without_variety_is_noticed() -> None:
    """Each way to degenerate, one at a time."""
    check_variety(various())
    for spoil in SPOILT:
        tally = various()
        spoil(tally)
        with pytest.raises(AssertionError):
            check_variety(tally)


def various() -> Tally:
    tally = Tally()
    tally.rpcs.update(dict.fromkeys(RPCS, 10))
    tally.texts.update(map(str, range(TEXTS_MIN)))
    tally.written = tally.events = tally.requests
    return tally


SPOILT: Final[tuple[Callable[[Tally], object], ...]] = (
    lambda tally: tally.rpcs.pop("KV.Txn"),
    lambda tally: tally.rpcs.update({"KV.Put": 10_000}),
    lambda tally: tally.rpcs.update({"KV.New": 10}),
    lambda tally: tally.texts.pop("0"),
    lambda tally: setattr(tally, "written", tally.requests // 5),
    lambda tally: setattr(tally, "events", 0),
    lambda tally: tally.refused.update({"KV.Put": tally.requests // 2}),
    lambda tally: tally.excused.update({"any": tally.requests // 10}),
)


# -- lies told by a server -------------------------------------------------------------------------

ALTERED: Final[dict[str, tuple[Step, Step]]] = {
    "another value": (put("/n/a", "1"), put("/n/a", "2")),
    "another key": (put("/n/a", "1"), put("/n/b", "1")),
    "a lost write": (put("/n/a", "1"), put("/n/a", "1", ignore_value=True)),
    "a write too many": (put("/n/a", "1", ignore_value=True), put("/n/c", "1")),
    "another revision read": (ranged("/n/", "/n0"), ranged("/n/", "/n0", revision=NOW - 1)),
    "a row less": (ranged("/n/", "/n0"), ranged("/n/", "/n0", limit=1)),
    "another order": (ranged("/n/", "/n0"), ranged("/n/", "/n0", sort_order=2)),
    "events without history": (
        Send(watching("/n/", "/n0", prev_kv=True)),
        Send(watching("/n/", "/n0")),
    ),
    "a deaf watch": (Send(watching("/n/", "/n0")), Send(watching("/x"))),
    "a watch that tells too much": (Send(watching("/n/a")), Send(watching("/n/", "/n0"))),
}


@pytest.mark.etcd
@by_front
def test_a_server_that_is_told_something_else_is_found_out(world: FuzzWorld, front: Kind) -> None:
    """The whole way: processes, clients, watches, comparison."""
    begin = (put("/n/x", "0"), put("/n/y", "0"))
    end = (put("/n/x", "3"), put("/n/z", "4"), ranged("/n/", "/n0"))
    for name, (asked, instead) in ALTERED.items():
        honest, lie = (*begin, asked, *end), (*begin, instead, *end)
        assert judge(honest, *world.play(front, honest), Tally()) is None, name
        assert judge(honest, *world.play(front, honest, lie), Tally()) is not None, name
