"""Clients that go on writing while a scenario does something else to the store.

What it is: threads, each with its keys and its pace, and a record of every write. What it is not:
a load that finds a limit: bench-load makes that.

Invariants: a write is sent once, so that what a client would see is seen; one that fails is an
error whatever its status; a client that fell behind does not hurry afterwards, so the rate is a
bound; no thread outlives the block.

Worked example: 8 clients at 200 writes a second in all write each 40 ms; one whose write took 90 ms
begins its next at once, and then keeps 40 ms again.

Tested in tests/unit/cli/bench/test_writers.py, tests/e2e/test_bench_reshard.py.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

import grpc

from kubebraid.proto.kvwire import blob

from .drivers import BenchError, RequestsFailed

CALL_S_MAX: Final = 30.0
JOIN_S_MAX: Final = 2 * CALL_S_MAX
VALUE_BYTES: Final = 256
POOL_BYTES: Final = 1 << 16
STEP: Final = 7_919  # a prime: the keys in an order that is not theirs
PUT_KEY: Final = 1  # fields of a PutRequest
PUT_VALUE: Final = 2
Put = Callable[[bytes, bytes], None]


class Wrote(NamedTuple):
    """One write that was answered. `group`: of its client."""

    group: str
    began_s: float
    took_s: float


@dataclass(frozen=True)
class Group:
    """Clients with a name, over `keys` keys each of which is `prefix` and ten digits."""

    name: str
    prefix: str
    keys: int
    clients: int
    rate: float  # writes a second of all of them

    def key(self, number: int) -> bytes:
        return f"{self.prefix}{number % self.keys:010d}".encode()


def due_after(due_s: float, now_s: float, period_s: float) -> float:
    """When the next write is due, the one that was due then having ended now."""
    return max(due_s + period_s, now_s)


class Writers:
    """All groups, on one router, for as long as the block lasts."""

    def __init__(self, endpoint: str, groups: Sequence[Group]) -> None:
        self.wrote: list[Wrote] = []
        self.errors: list[str] = []
        self._stop = threading.Event()
        self._channel = grpc.insecure_channel(endpoint, (("grpc.enable_http_proxy", 0),))
        self._pool = os.urandom(POOL_BYTES)
        self._threads = [
            threading.Thread(target=self._write, args=(group, number), daemon=True)
            for group in groups
            for number in range(group.clients)
        ]

    def _write(self, group: Group, client: int) -> None:
        put = self._put()
        period_s = group.clients / group.rate
        # Not all at once: the clients share one period.
        due_s = time.monotonic() + period_s * client / group.clients
        number = client
        while not self._stop.wait(max(0.0, due_s - time.monotonic())):
            at = number * STEP % (POOL_BYTES - VALUE_BYTES)
            value = self._pool[at : at + VALUE_BYTES]
            began_s = time.monotonic()
            try:
                put(group.key(number * STEP), value)
            except grpc.RpcError as error:
                took_s = time.monotonic() - began_s
                told = f"{error.code().name}: {error.details()}"
                self.errors.append(f"{group.name}, after {took_s:.1f} s: {told}")
            now_s = time.monotonic()
            self.wrote.append(Wrote(group.name, began_s, now_s - began_s))
            due_s = due_after(due_s, now_s, period_s)
            number += group.clients

    def _put(self) -> Put:
        call: Any = self._channel.unary_unary("/etcdserverpb.KV/Put")

        def put(key: bytes, value: bytes) -> None:
            call(blob(PUT_KEY, key) + blob(PUT_VALUE, value), timeout=CALL_S_MAX)

        return put

    def check(self, when: str) -> None:
        """Raises RequestsFailed if a write has failed; `when`: what was going on."""
        if self.errors:
            count, done = len(self.errors), len(self.wrote) - len(self.errors)
            raise RequestsFailed(
                f"writers: {count} requests failed, {done} were done, {when}; {self.errors[0]}"
            )

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(JOIN_S_MAX)
        self._channel.close()
        if any(thread.is_alive() for thread in self._threads):
            raise BenchError(f"a writer did not end within {JOIN_S_MAX:g} s")
