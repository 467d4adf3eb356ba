"""Uses a store through aetcd, a client library for asyncio: `main.py ENDPOINT [SCENARIO...]`.

Prints one JSON line for each scenario, {"name", "ok", "detail"}, and ends with 1 if one failed. A
line {"ask": "kill"} asks whoever started it to end the store that way and to start it again; it
goes on when it reads a line. It is a program of its own, with packages of its own, because no two
packages of one process may register the same protobuf messages (tests/peers/build_clients.sh).

What it is not: it imports nothing of KubeBraid's. Run by tests/e2e/test_clients.py, on etcd too.
"""

from __future__ import annotations

import asyncio
import io
import json
import sys
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import aetcd  # type: ignore[import-not-found]  # installed beside this program only

SCENARIO_S_MAX: Final = 30.0
WRITES_MAX: Final = 20_000
RETRY_S: Final = 0.05
RECONNECT: Final = {"grpc.initial_reconnect_backoff_ms": 100, "grpc.max_reconnect_backoff_ms": 500}


class Broken(AssertionError):
    """An expectation that does not hold."""


def same(what: str, got: object, wanted: object) -> None:
    """They have to be equal."""
    if got != wanted:
        raise Broken(f"{what} is {got!r}, not {wanted!r}")


def expect(ok: object, text: str) -> None:
    """It has to be true."""
    if not ok:
        raise Broken(text)


@dataclass
class Lab:
    """What a scenario works with: the store's address, keys of its own, restarts."""

    host: str
    port: int
    name: str
    restart: Callable[[], Awaitable[None]]
    clients: list[Any] = field(default_factory=list)

    def client(self) -> Any:
        """A client of its own; closed when the scenario ends."""
        client = aetcd.Client(host=self.host, port=self.port, timeout=5, options=RECONNECT)
        self.clients.append(client)
        return client

    def key(self, name: str) -> bytes:
        """A key below the scenario's prefix."""
        return f"/registry/configmaps/python-{self.name}/{name}".encode()


Scenario = Callable[[Lab], Awaitable[str]]


async def put_get(lab: Lab) -> str:
    """Put, Get, ranges and their order, Delete, and what was there before."""
    client = lab.client()
    same("what is not there", await client.get(lab.key("a")), None)
    first = await client.put(lab.key("a"), b"one")
    second = await client.put(lab.key("a"), b"\x00\xfftwo", prev_kv=True)
    same("the value before", second.prev_kv.value, b"one")
    got = await client.get(lab.key("a"))
    same("the value", (got.value, got.version), (b"\x00\xfftwo", 2))
    same("created at", got.create_revision, first.header.revision)
    same("changed at", got.mod_revision, second.header.revision)
    for name in ("d", "b", "c"):
        await client.put(lab.key(name), name.encode())
    rows = await client.get_prefix(lab.key(""), sort_order="descend", sort_target="create")
    same("by creation", [kv.key[-1:] for kv in rows], [b"c", b"b", b"d", b"a"])
    part = await client.get_range(lab.key("b"), lab.key("d"))
    same("a range", [kv.value for kv in part], [b"b", b"c"])
    expect(await client.replace(lab.key("b"), b"b", b"new"), "the value is not replaced")
    expect(not await client.replace(lab.key("b"), b"b", b"no"), "another value is replaced")
    deleted = await client.delete(lab.key("b"), prev_kv=True)
    same("the deleted value", deleted.prev_kv.value, b"new")
    same("deleted in the end", (await client.delete_prefix(lab.key(""))).deleted, 3)
    return f"revisions from {first.header.revision} on"


async def txn(lab: Lab) -> str:
    """Comparisons of each kind, both branches, one revision for all writes."""
    client = lab.client()
    t = client.transactions
    a, b = lab.key("a"), b"/registry/secrets/python-txn/b"
    created = await client.put(a, b"one")
    done, answers = await client.transaction(
        compare=[
            t.value(a) == b"one",
            t.version(a) < 2,
            t.create(a) == created.header.revision,
            t.mod(a) > 0,
            t.version(b) == 0,
        ],
        success=[t.put(a, b"two"), t.put(b, b"two"), t.get(a)],
        failure=[t.delete(a)],
    )
    expect(done, "the comparisons fail")
    same("a read behind a write", answers[2][0][0], b"two")
    pair = await client.get(a), await client.get(b)
    same("their one revision", pair[0].mod_revision, pair[1].mod_revision)
    done, answers = await client.transaction(
        compare=[t.value(a) > b"two"], success=[t.put(a, b"never")], failure=[t.get(b), t.delete(b)]
    )
    expect(not done, "two is greater than two")
    same("the answer of the other branch", answers[0][0][0], b"two")
    same("deleted there", answers[1].response_delete_range.deleted, 1)
    return f"two keys at revision {pair[0].mod_revision}"


async def watch(lab: Lab) -> str:
    """A prefix from a revision on, kinds, previous values; a cancelled watch is over."""
    client = lab.client()
    first = await client.put(lab.key("a"), b"one")
    await client.put(lab.key("a"), b"two")
    start = first.header.revision
    watched = await client.watch_prefix(lab.key(""), start_revision=start, prev_kv=True)
    await client.delete(lab.key("a"))
    seen = []
    async for event in watched:
        seen.append((event.kind, event.kv.value, event.prev_kv and event.prev_kv.value))
        if len(seen) == 3:
            await watched.cancel()
    want = [("PUT", b"one", b""), ("PUT", b"two", b"one"), ("DELETE", b"", b"two")]
    same("the events", [(kind, value, before or b"") for kind, value, before in seen], want)
    deletion = await client.watch_once(
        lab.key("a"), timeout=5, start_revision=start, kind=aetcd.EventKind.DELETE
    )
    same("the one kind", deletion.kind, "DELETE")
    now = (await client.put(lab.key("c"), b"")).header.revision
    try:
        await client.watch_once(lab.key("a"), timeout=0.2, start_revision=now)
    except aetcd.exceptions.WatchTimeoutError:
        return "3 events, 1 of one kind, none of nothing"
    raise Broken("an event of nothing")


async def lease(lab: Lab) -> str:
    """Its keys, its time, its end by revocation and by expiry; a number that is taken."""
    client = lab.client()
    granted = await client.lease(60)
    await client.put(lab.key("a"), b"", lease=granted)
    same("its keys", list(await granted.keys()), [lab.key("a")])
    expect(50 < await granted.remaining_ttl() <= 60, "it has another time left")
    try:
        await client.lease(60, granted.id)
    except aetcd.exceptions.DuplicateLeaseError:
        pass
    else:
        raise Broken("a number was granted twice")
    await granted.revoke()
    same("the key of a revoked lease", await client.get(lab.key("a")), None)

    mortal, kept = await client.lease(2), await client.lease(2)
    await client.put(lab.key("mortal"), b"", lease=mortal)
    put = await client.put(lab.key("kept"), b"", lease=kept)
    begin = asyncio.get_running_loop().time()
    gone = asyncio.Event()

    async def keep() -> None:
        while not gone.is_set():
            same("the time after a sign of life", (await kept.refresh()).TTL, 2)
            await asyncio.sleep(0.5)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(keep())
        event = await client.watch_once(
            lab.key("mortal"),
            timeout=10,
            start_revision=put.header.revision,
            kind=aetcd.EventKind.DELETE,
        )
        gone.set()
    lived = asyncio.get_running_loop().time() - begin
    same("what ended", event.kv.key, lab.key("mortal"))
    expect(1.5 < lived < 8, f"it lived {lived} s")
    expect(await client.get(lab.key("kept")) is not None, "the lease that was kept alive ended")
    return f"2 s became {lived:.1f} s"


async def lock(lab: Lab) -> str:
    """No two are inside; a plain read and write inside loses no update."""
    inside = 0
    await lab.client().put(lab.key("counter"), b"0")

    async def worker() -> None:
        nonlocal inside
        client = lab.client()
        for _ in range(4):
            async with client.lock(lab.key("lock"), ttl=30) as held:
                inside += 1
                same("how many are inside", inside, 1)
                expect(await held.is_acquired(), "the owner is not the owner")
                now = int((await client.get(lab.key("counter"))).value)
                await client.put(lab.key("counter"), str(now + 1).encode())
                inside -= 1

    async with asyncio.TaskGroup() as tasks:
        for _ in range(4):
            tasks.create_task(worker())
    same("the counter", (await lab.client().get(lab.key("counter"))).value, b"16")
    return "16 turns of 4 clients, one at a time"


async def maintenance(lab: Lab) -> str:
    """What the library tells of the server, and a snapshot of some size."""
    client = lab.client()
    await client.put(lab.key("a"), b"value" * 1000)
    status = await client.status()
    expect(status.version.startswith("3.7."), f"the version is {status.version}")
    members = [member async for member in client.members()]
    same("the number of members", len(members), 1)
    same("the leader", status.leader.id, members[0].id)
    same("its address", list(members[0].client_urls), [f"http://{lab.host}:{lab.port}"])
    before = await client.hash()
    await client.put(lab.key("a"), b"changed")
    expect(await client.hash() != before, "two states have one hash")
    same("alarms", [alarm async for alarm in client.list_alarms()], [])
    copy = io.BytesIO()
    await client.snapshot(copy)
    expect(len(copy.getvalue()) > 5000, "the snapshot is too small")
    await client.defragment()
    return f"version {status.version}, a snapshot of {len(copy.getvalue())} bytes"


async def compaction(lab: Lab) -> str:
    """A watch from before is refused by the revision to begin with."""
    client = lab.client()
    first = (await client.put(lab.key("a"), b"one")).header.revision
    second = (await client.put(lab.key("a"), b"two")).header.revision
    await client.compact(second, physical=True)
    try:
        async for _ in await client.watch(lab.key("a"), start_revision=first):
            raise Broken("an event from before the compaction")
    except aetcd.exceptions.RevisionCompactedError as refused:
        same("the revision that is told", refused.compacted_revision, second)
        return f"compacted at {second}"
    raise Broken("the watch ended without a word")


@dataclass
class Trial:
    """A writer and a follower over a restart, and what both saw."""

    lab: Lab
    start: int
    acknowledged: dict[bytes, int] = field(default_factory=dict)
    events: list[tuple[int, bytes]] = field(default_factory=list)
    failed: int = 0
    broken: int = 0
    stopped: bool = False

    async def write(self, client: Any) -> None:
        """Each write has a key of its own: what is there in the end is what happened."""
        last = 0
        for number in range(WRITES_MAX):
            if self.stopped:
                return
            key = self.lab.key(f"{number:05d}")
            try:
                revision = (await client.put(key, key)).header.revision
            except aetcd.exceptions.ClientError:
                self.failed += 1
                await asyncio.sleep(RETRY_S)
            else:
                expect(revision > last, f"revisions go back from {last} to {revision}")
                self.acknowledged[key] = last = revision

    async def follow(self) -> None:
        """Watch until the last key, again and again behind the last event."""
        while True:
            begin = self.events[-1][0] + 1 if self.events else self.start
            client = self.lab.client()
            try:
                watched = await client.watch_prefix(self.lab.key(""), start_revision=begin)
                async for event in watched:
                    self.events.append((event.kv.mod_revision, event.kv.key))
                    if event.kv.key == self.lab.key("end"):
                        return
            except (aetcd.exceptions.ClientError, aetcd.rpc.AioRpcError):
                self.broken += 1
                await asyncio.sleep(RETRY_S)


async def restart_watch(lab: Lab) -> str:
    """Whoever watches again behind the last event has each write once, in order."""
    client = lab.client()
    trial = Trial(lab, (await client.put(lab.key("begin"), b"")).header.revision + 1)
    async with asyncio.TaskGroup() as tasks:
        writer = tasks.create_task(trial.write(client))
        follower = tasks.create_task(trial.follow())
        await asyncio.sleep(0.3)
        await lab.restart()
        before = len(trial.acknowledged)
        while len(trial.acknowledged) < before + 20:  # noqa: ASYNC110  # a failed writer ends it
            await asyncio.sleep(RETRY_S)
        trial.stopped = True
        await writer
        await client.put(lab.key("end"), b"")
        await follower
    rows = await client.get_prefix(lab.key(""))
    truth = sorted((kv.mod_revision, kv.key) for kv in rows if kv.key != lab.key("begin"))
    there = set(truth)
    lost = [key for key, revision in trial.acknowledged.items() if (revision, key) not in there]
    same("the acknowledged writes that are lost", lost, [])
    same("the events", trial.events, truth)
    expect(trial.broken > 0, "no watch broke: was there an end of the store at all?")
    return f"{len(truth)} writes and events, {trial.failed} failed, {trial.broken} broken watches"


async def restart_lease(lab: Lab) -> str:
    """A lease and a lock outlive the store's end."""
    client = lab.client()
    granted = await client.lease(20)
    await client.put(lab.key("a"), b"", lease=granted)
    held = client.lock(lab.key("lock"), ttl=20)
    expect(await held.acquire(), "nobody has the lock, and it is not to be had")
    await lab.restart()
    for _ in range(100):
        try:
            same("the time after a sign of life", (await granted.refresh()).TTL, 20)
            break
        except aetcd.exceptions.ConnectionFailedError:
            await asyncio.sleep(RETRY_S)
    same("its keys", list(await granted.keys()), [lab.key("a")])
    expect(await held.is_acquired(), "the lock is lost")
    expect(not await lab.client().lock(lab.key("lock")).acquire(timeout=0), "two hold the lock")
    expect(await held.release(), "the lock cannot be released")
    expect(await lab.client().lock(lab.key("lock")).acquire(timeout=1), "it is not to be had")
    return "both still there"


TOGETHER: Final = (put_get, txn, watch, lease, lock, maintenance)
ALONE: Final = (compaction,)
RESTARTING: Final = (restart_watch, restart_lease)


class Restarts:
    """One restart for all scenarios of a group, when each of them has come to wait for it."""

    def __init__(self, running: int) -> None:
        self._running = running
        self._waiting: list[asyncio.Event] = []

    async def restart(self) -> None:
        """Comes back when the store has ended and runs again."""
        mine = asyncio.Event()
        self._waiting.append(mine)
        await self._ask_if_all()
        await mine.wait()

    async def ended(self) -> None:
        """A scenario is over."""
        self._running -= 1
        await self._ask_if_all()

    async def _ask_if_all(self) -> None:
        if not self._waiting or len(self._waiting) < self._running:
            return
        waiting, self._waiting = self._waiting, []
        print(json.dumps({"ask": "kill"}), flush=True)
        expect(
            await asyncio.to_thread(sys.stdin.readline), "nobody answered the wish for a restart"
        )
        for one in waiting:
            one.set()


async def run(scenario: Scenario, address: str, restarts: Restarts) -> bool:
    """Run one and say how it went."""
    name = scenario.__name__
    host, port = address.removeprefix("http://").split(":")
    lab = Lab(host, int(port), name, restarts.restart)
    try:
        async with asyncio.timeout(SCENARIO_S_MAX):
            detail, ok = await scenario(lab), True
    except Exception:  # noqa: BLE001  # whatever it is, it is the result of the scenario
        detail, ok = traceback.format_exc(), False
    finally:
        await restarts.ended()
    for client in lab.clients:
        await client.close()
    print(json.dumps({"name": name, "ok": ok, "detail": detail}), flush=True)
    return ok


async def main(address: str, *names: str) -> int:
    """All scenarios, or the named ones; the exit code."""
    known = {scenario.__name__ for scenario in TOGETHER + ALONE + RESTARTING}
    expect(set(names) <= known, f"there are only {sorted(known)}")
    results: list[bool] = []
    for group in (TOGETHER, ALONE, RESTARTING):
        chosen = [scenario for scenario in group if not names or scenario.__name__ in names]
        restarts = Restarts(len(chosen))
        results += await asyncio.gather(*(run(one, address, restarts) for one in chosen))
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
