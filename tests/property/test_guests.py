"""Invariant 21 for leases over shards, over random histories of joins, ends, cuts and restarts.

What it is: the three shards of tests/unit/shard/test_guests.py, judged after every step by what
stands in their engines. What it is not: the order of one pair of shards' two connections; any
order between them is tried.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from kubebraid.base.ports import WriteReply
from tests.unit.shard.test_guests import HOME, KEYS, Shards

LEASES = (7, 8)
STEPS = 150


class History:
    """Random events, and what must be so behind each."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.world = Shards()
        self.promised: dict[int, int] = {}  # lease -> until when it was promised to live
        self.revoked: set[int] = set()  # a client asked for the end of what is granted now
        self.revoking: list[int] = []  # ... and was not answered
        self.unknown: set[bytes] = set()  # keys of writes without an answer
        self.attached: dict[bytes, int] = {}  # key -> the lease of its last acknowledged put
        self.waiting: list[tuple[str, list[WriteReply], Callable[[WriteReply], None]]] = []
        self.ends = self.visits = 0

    # -- what happens --------------------------------------------------------------------------

    def expect(
        self, name: str, replies: list[WriteReply], then: Callable[[WriteReply], None]
    ) -> None:
        self.waiting.append((name, replies, then))

    def grant(self) -> None:
        lease, ttl_s = self.rng.choice(LEASES), self.rng.choice((2, 5))

        def answered(reply: WriteReply) -> None:
            if reply.error is None:
                self.promised[lease] = self.world.clock.ms + ttl_s * 1000
                if lease not in self.revoking:
                    self.revoked.discard(lease)

        if not any(name == HOME for name, _, _ in self.waiting):
            self.expect(HOME, self.world.grant(lease, ttl_s), answered)

    def put(self) -> None:
        name = self.rng.choice(sorted(KEYS))
        key = KEYS[name] + b"%d" % self.rng.randint(0, 1)
        lease = self.rng.choice((*LEASES, *LEASES, 0))
        if key in self.unknown:
            return
        self.unknown.add(key)

        def answered(reply: WriteReply) -> None:
            self.unknown.discard(key)
            if reply.error is None and lease:
                self.attached[key] = lease
                self.visits += name != HOME
            elif reply.error is None:
                self.attached.pop(key, None)

        self.expect(name, self.world.put(name, lease, key), answered)

    def revoke(self) -> None:
        lease = self.rng.choice(LEASES)
        self.revoked.add(lease)
        self.revoking.append(lease)

        def answered(reply: WriteReply) -> None:
            self.revoking.remove(lease)
            self.ends += reply.error is None

        self.expect(HOME, self.world.revoke(lease), answered)

    def keep_alive(self) -> None:
        lease = self.rng.choice(LEASES)
        ttl_s = self.world.keep_alive(lease)
        if ttl_s:
            self.promised[lease] = self.world.clock.ms + ttl_s * 1000

    def pass_time(self) -> None:
        self.world.clock.ms += self.rng.choice((10, 300, 1_000, 2_500))

    def restart(self) -> None:
        name = self.rng.choice(sorted(KEYS))
        self.world.restart(name)
        self.waiting = [asked for asked in self.waiting if asked[0] != name]
        if name == HOME:
            self.revoking.clear()
        self.unknown = {k for k in self.unknown if not k.startswith(KEYS[name])}
        for key in [key for key in self.attached if key.startswith(KEYS[name])]:
            del self.attached[key]  # a put without an answer may have come behind it

    def run_shard(self) -> None:
        self.rng.choice(list(self.world.shards.values())).owner.turn()

    def deliver(self) -> None:
        moves = [link.to_target for link in self.world.links if link.questions]
        moves += [link.to_asker for link in self.world.links if link.answers]
        if moves:
            self.rng.choice(moves)()

    def cut(self) -> None:
        self.rng.choice(self.world.links).cut()

    def step(self) -> None:
        acts: list[tuple[int, Callable[[], None]]] = [
            (3, self.grant),
            (12, self.put),
            (2, self.revoke),
            (2, self.keep_alive),
            (3, self.pass_time),
            (1, self.restart),
            (35, self.run_shard),
            (35, self.deliver),
            (2, self.cut),
        ]
        (act,) = self.rng.choices([act for _, act in acts], [weight for weight, _ in acts])
        act()
        self.hear()
        self.judge()

    def hear(self) -> None:
        still = []
        for name, replies, then in self.waiting:
            assert len(replies) <= 1, "answered once"
            if replies:
                then(replies[0])
            else:
                still.append((name, replies, then))
        self.waiting = still

    # -- what must be so -----------------------------------------------------------------------

    def judge(self) -> None:
        assert self.world.fatal == []
        for lease in LEASES:
            row = self.world.row(HOME, lease)
            for name, shard in self.world.shards.items():
                keys = shard.keys(lease)
                assert not keys or row is not None, f"{keys} survive lease {lease}"
                if keys and name != HOME:
                    assert row is not None
                    assert name in row.guests, f"{name} attached {keys} unnoticed"
                    visit = shard.row(lease)
                    assert visit is not None
                    assert visit.visiting
            mine = {key for key, of in self.attached.items() if of == lease}
            if row is None or row.ended:
                for key in mine:
                    del self.attached[key]  # its end may come at any step from now on
            else:
                lost = mine - set(self.world.keys(lease)) - self.unknown
                assert not lost, f"{lost} taken early from lease {lease}"
            if lease not in self.revoked and self.promised.get(lease, 0) > self.world.clock.ms:
                assert row is not None, f"lease {lease} ended early"
                assert not row.ended, f"lease {lease} ends early"

    def finish(self) -> None:
        """Everything is delivered, and time passes: nothing is left of any lease."""
        for _ in range(20):
            self.world.wait(1_000)
            self.hear()
            self.judge()
        assert self.waiting == [], "never answered"
        for lease in LEASES:
            assert self.world.keys(lease) == []
            assert [self.world.row(name, lease) for name in KEYS] == [None] * 3


def history(seed: int) -> History:
    made = History(seed)
    for _ in range(STEPS):
        made.step()
    made.finish()
    return made


@given(st.integers(0, 2**32))
def test_inv21_keys_end_with_their_lease_and_not_before_on_every_shard(seed: int) -> None:
    history(seed)


def test_inv21_histories_have_visits_and_ends() -> None:
    """Else the property above would say nothing."""
    made = [history(seed) for seed in range(60)]
    assert sum(one.visits for one in made) > 80
    assert sum(one.ends for one in made) > 30
