"""Twenty clients that do what kube-apiservers do, on keys that they all share.

What it is: chance and proportions. What it is not: the wire (`etcd_client`), or a judge.

Words: a *place* is a prefix of the kubernetes layout; PLACES has two of each shard, so that every
shard has a third of the writes; a *belief* is the mod_revision that a client last saw of a key.

Invariants: every value is new; only CAS deletes, so that an unknown one can be told from others; a
compaction never passes `floor`, behind which the watchers of all keys still need what was.

Worked example: a client believes pods/3 to be at 17 and puts "4.9" if it still is, else reads it;
another was faster, so the answer tells 21, which is its belief from then on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Final

from kubebraid.cli.layouts import read_layout
from tests.robustness.etcd_client import Client
from tests.robustness.records import (
    Call,
    Compact,
    Delete,
    Done,
    Get,
    Grant,
    History,
    KeepAlive,
    Outcome,
    Page,
    Put,
    Range,
    Revoke,
    Txn,
)

SHARDS: Final = ("shard-0", "shard-1", "shard-2")
PLACES: Final = ("events", "secrets", "leases", "minions", "pods", "configmaps")
KEYS_PER_PLACE: Final = 8
PAGE: Final = 3
PAUSE_S: Final = (0.1, 0.3)
LAYOUT: Final = "kubernetes"

WEIGHTS: Final[Mapping[str, int]] = {
    "update": 34,
    "put": 12,
    "delete": 10,
    "pair": 6,
    "get": 12,
    "list": 8,
    "pages": 6,
    "old": 5,
    "count": 4,
    "lease": 3,
}


def prefix(place: str) -> str:
    """Of all keys of a place."""
    return f"/registry/{place}/"


def span(place: str) -> tuple[str, str]:
    """The range of a place."""
    return prefix(place), f"/registry/{place}0"


def shard_of(key: str) -> str:
    """Who owns it, as the product's own layout has it."""
    return str(_MAP.tablet_of(key.encode()).shard)


_MAP: Final = read_layout(LAYOUT, SHARDS)
assert {shard_of(prefix(place)) for place in PLACES} == set(SHARDS), "every shard has work"


class Worker:
    """One client, its chance and its beliefs."""

    def __init__(self, client: Client, number: int, seed: int) -> None:
        self.client = client
        self._number = number
        self._chance = Random(f"{seed} worker {number}")
        self._beliefs: dict[str, int] = {}
        self._values = self._leases = 0
        self.longest_pause_s = self.last_ok = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """One thing after the other, until told to stop."""
        acts = {name: getattr(self, f"_{name}") for name in WEIGHTS}
        now = asyncio.get_running_loop().time
        self.last_ok = now()
        while not stop.is_set():
            (name,) = self._chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
            call: Call = await acts[name]()
            if call.outcome is Outcome.OK:
                self.longest_pause_s = max(self.longest_pause_s, now() - self.last_ok)
                self.last_ok = now()
            await asyncio.sleep(self._chance.uniform(*PAUSE_S))

    def _key(self) -> str:
        place = self._chance.choice(PLACES)
        return f"{prefix(place)}{self._chance.randrange(KEYS_PER_PLACE)}"

    def _value(self) -> str:
        self._values += 1
        return f"{self._number}.{self._values}"

    async def _update(self) -> Call:
        key = self._key()
        return await self._cas(key, Put(key, self._value()))

    async def _delete(self) -> Call:
        key = self._key()
        return await self._cas(key, Delete(key))

    async def _cas(self, key: str, op: Put | Delete) -> Call:
        mod = self._beliefs.get(key, 0)
        call = await self.client.ask(Txn(((key, mod),), (op,), (Get(key),)))
        match call.answer:
            case Done(True, _):
                self._beliefs[key] = call.revision if isinstance(op, Put) else 0
            case Done(False, (Page(rows),)):
                self._beliefs[key] = rows[0].mod if rows else 0
            case _:
                pass
        return call

    async def _put(self) -> Call:
        key = self._key()
        call = await self.client.ask(Txn((), (Put(key, self._value()),)))
        if call.outcome is Outcome.OK:
            self._beliefs[key] = call.revision
        return call

    async def _pair(self) -> Call:
        """Two keys of one tablet at one revision."""
        place, value = self._chance.choice(PLACES), self._value()
        first, second = self._chance.sample(range(KEYS_PER_PLACE), 2)
        puts = (Put(f"{prefix(place)}{first}", value), Put(f"{prefix(place)}{second}", value))
        return await self.client.ask(Txn((), puts))

    async def _get(self) -> Call:
        key = self._key()
        call = await self.client.ask(Range(key))
        if isinstance(call.answer, Page):
            self._beliefs[key] = call.answer.rows[0].mod if call.answer.rows else 0
        return call

    async def _list(self) -> Call:
        key, end = self._span()
        call = await self.client.ask(Range(key, end))
        if isinstance(call.answer, Page):
            self._beliefs.update({row.key: row.mod for row in call.answer.rows})
        return call

    async def _pages(self) -> Call:
        """A page at the newest revision, and the rest at the revision of that one."""
        key, end = self._span()
        call = await self.client.ask(Range(key, end, 0, PAGE))
        at = call.revision
        while isinstance(call.answer, Page) and call.answer.more:
            rest = f"{call.answer.rows[-1].key}\0"
            call = await self.client.ask(Range(rest, end, at, PAGE))
        return call

    async def _old(self) -> Call:
        key, end = self._span()
        back = self._chance.choice((1, 10, 100, 1_000))
        revision = max(1, self.client.revision - self._chance.randrange(back))
        return await self.client.ask(Range(key, end, revision))

    async def _count(self) -> Call:
        key, end = self._span()
        return await self.client.ask(Range(key, end, count_only=True))

    def _span(self) -> tuple[str, str]:
        if self._chance.random() < 0.2:
            return "/registry/", "/registry0"
        return span(self._chance.choice(PLACES))

    async def _lease(self) -> Call:
        """Grant, put, keep alive, revoke; each needs the one before."""
        self._leases += 1
        lease = self._number * 1_000_000 + self._leases
        key = f"{prefix(self._chance.choice(PLACES))}seat-{self._number}"
        put = Txn((), (Put(key, self._value(), lease),))
        call = await self.client.ask(Grant(lease))
        for request in (put, KeepAlive(lease), Revoke(lease)):
            if call.outcome is not Outcome.OK:
                break
            call = await self.client.ask(request)
        return call


class Compactor:
    """Compacts now and then, never beyond what `floor` allows."""

    def __init__(self, client: Client, floor: Callable[[], int], every_s: float) -> None:
        self._client = client
        self._floor = floor
        self._every_s = every_s

    async def run(self, stop: asyncio.Event) -> None:
        """Until told to stop."""
        done = 0
        while not await stopped(stop, self._every_s):
            if (floor := self._floor()) > done:
                await self._client.ask(Compact(floor))
                done = floor  # also if nobody answered: the same floor again might be refused


async def stopped(stop: asyncio.Event, seconds: float) -> bool:
    """Wait so long, or until told to stop; whether it is the latter."""
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return False
    return True


async def first_look(client: Client) -> Call:
    """The empty store, which etcd's validators want to have seen at revision 1."""
    return await client.ask(Range("/registry/", "/registry0"))


def workers(
    ports: Sequence[int], count: int, seed: int, numbers: Iterator[int], history: History
) -> list[Worker]:
    """Each on another router than the one before it."""
    return [
        Worker(Client(ports, number, numbers, history), number, seed)
        for number in range(1, count + 1)
    ]
