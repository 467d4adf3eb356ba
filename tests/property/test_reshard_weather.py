"""A tablet moves there and back in any weather: random steps, by seed.

What it is: writes, leases, restarts, failing stores, freezes and thaws in random order around the
moves of keys and of the home of leases; what was acknowledged is compared in the end. What it is
not: links and coordinators (tests/sim).
"""

from __future__ import annotations

from random import Random

import pytest

from kubebraid.base import errors
from kubebraid.base.keyspace import KeyRange
from kubebraid.base.limits import LEASE_RETRY_MS
from kubebraid.base.reshard import Phase
from kubebraid.proto.kvwire import key_of
from kubebraid.shard.reshard import copier as copier_module
from kubebraid.shard.storage.engine import EngineError
from tests.moving import MOVED, SYSTEM, Moving
from tests.shared_rows import stores

__all__ = ["stores"]
pytestmark = pytest.mark.usefixtures("stores")

KEYS = [b"a1", b"a2", b"b1", b"b2", b"b3", b"b4", b"c1"]
STEPS = 120
GONE = EngineError("the device is gone")


class Weather:
    """What was acknowledged, and what is done next."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.pair = Moving()
        self.keys: dict[bytes, int] = {}  # with their leases
        self.leases: set[int] = set()
        self.moves = 0

    def step(self) -> None:
        does = self.random.choices(
            (self.put, self.delete, self.grant, self.revoke, self.restart, self.fault, self.turns,
             self.lead),
            (8, 2, 3, 2, 1, 1, 6, 5),
        )[0]  # fmt: skip
        does()

    def put(self) -> None:
        key = self.random.choice(KEYS)
        lease = self.random.choice([0, 0, *sorted(self.leases)])
        if self.pair.put(key, b"%d" % self.pair.clock.ms, lease).error is None:
            self.keys[key] = lease

    def delete(self) -> None:
        key = self.random.choice(KEYS)
        if self.pair.delete(key).error is None:
            self.keys.pop(key, None)

    def grant(self) -> None:
        lease = self.random.randint(1, 4)
        if self.pair.grant(lease).error is None:
            self.leases.add(lease)

    def revoke(self) -> None:
        """Where a guest is sealed it takes until the freeze is over: asked again, as a router."""
        if not self.leases or self.frozen:
            return
        lease = self.random.choice(sorted(self.leases))
        for _ in range(20):
            if self.pair.revoke(lease).error in (None, errors.LEASE_NOT_FOUND):
                break
            self.pair.settle(LEASE_RETRY_MS)
        else:
            raise AssertionError("a lease never ends")
        self.leases.discard(lease)
        self.keys = {key: held for key, held in self.keys.items() if held != lease}

    @property
    def frozen(self) -> bool:
        return bool(self.pair.migrations) and self.pair.migration.phase is Phase.FROZEN

    def restart(self) -> None:
        self.pair.start(self.random.choice(("shard-0", "shard-1")))

    def fault(self) -> None:
        """Of a store that copies or sweeps; a client's write is settled as ever."""
        if self.pair.migrations and not self.frozen:
            self.pair.engines[self.random.choice(("shard-0", "shard-1"))].write_faults.append(
                (GONE, self.random.random() < 0.5)
            )
            self.pair.settle(2)
            for engine in self.pair.engines.values():
                engine.write_faults.clear()

    def turns(self) -> None:
        self.pair.settle(self.random.choice((1, 2, 5, 30, 300)))

    def lead(self) -> None:
        """The migration's next phase, or a way back."""
        pair, back = self.pair, self.random.random() < 0.15
        if not pair.migrations:
            tablet = self.random.choice((SYSTEM, MOVED))
            here = pair.tablets.by_id()[tablet].shard
            pair.move(tablet, "shard-1" if here == "shard-0" else "shard-0")
            pair.migrations = (pair.migration._replace(id=f"m{self.moves}"),)
            pair.phase(Phase.PREPARING)
            return
        report = pair.reports.get(pair.migration.target)
        fits = report is not None and report.id == pair.migration.id
        match pair.migration.phase:
            case Phase.PREPARING | Phase.READY if back:
                pair.phase(Phase.ABORTED)
            case Phase.PREPARING if fits and report is not None and report.verified:
                pair.phase(Phase.READY)
            case Phase.READY:
                pair.phase(Phase.FROZEN)
                pair.settle(self.random.choice((1, 10, 50)))
            case Phase.FROZEN if back:
                pair.phase(Phase.READY)
            case Phase.FROZEN if fits and self._final():
                pair.commit()
                self.moves += 1
            case Phase.COMMITTED:
                pair.phase(Phase.DRAINING)
            case Phase.DRAINING:
                pair.phase(Phase.DONE)
            case Phase.DONE | Phase.ABORTED:
                self.moves += 1
                pair.migrations = ()
                pair.tell()
            case _:
                pair.settle(300)

    def _final(self) -> bool:
        report = self.pair.reports[self.pair.migration.target]
        last = self.pair.sequencer.sample().last
        same = report.freeze == self.pair.migration.freeze
        return same and bool(report.ends) and all(last[t] == end for t, end in report.ends)

    def check(self) -> None:
        pair = self.pair
        if pair.migrations:
            ended = pair.migration.phase in {Phase.COMMITTED, Phase.DRAINING, Phase.DONE}
            pair.lead(Phase.DONE if ended else Phase.ABORTED)
            pair.migrations = ()
            pair.tell()
        pair.settle(2 * LEASE_RETRY_MS + 300)
        found: set[bytes] = set()
        for name in pair.owners:
            rows = pair.read(name, KeyRange(b"a", None), pair.sequencer.revision)
            found |= {key_of(row.raw) for row in rows.rows}
        assert found == set(self.keys)
        assert {n for owned in pair.owned.values() for n in owned.leases.ids()} == self.leases
        assert not pair.cells("shard-0") | pair.cells("shard-1")
        for name in pair.owners:
            for stored, _ in pair.shown(name).scan(b"n", b"o", 100):
                assert pair.owned[name].owns(stored[1:]), "nothing is left behind"
        for lease in sorted(self.leases):
            self.leases = {lease}
            self.revoke()
        pair.settle(2 * LEASE_RETRY_MS)
        for name, engine in pair.engines.items():
            engine.catch_up()
            assert not engine.scan(b"k", b"l", 10), (name, "no key outlives its lease")


@pytest.mark.parametrize("seed", [*range(30), 1104, 3087])
def test_inv21_any_weather(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copier_module, "COPY_PIECE_BYTES_MAX", 200)
    weather = Weather(seed)
    for _ in range(STEPS):
        weather.step()
    weather.check()
