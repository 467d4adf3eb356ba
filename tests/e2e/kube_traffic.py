"""What goes on at two apiservers beside a load: a counter, readers of pages, events that expire.

What it is: steps that a test repeats in threads, each of which checks what it is answered, and the
judges of what they leave behind. What it is not: a write load on objects of one owner (load.py).

Invariants:
- a counter's every addition is known to have happened, once, when `add` returns: the object holds
  a count of each writer beside the sum, so who lost an answer finds out;
- an event is gone no earlier than its TTL after its creation was sent: the lease is granted later.

Worked example: `with beside(partial(counter.add, 0), partial(counter.add, 1)): sleep(1)` adds from
two threads for a second, and raises here whatever went wrong there.

Run in test_kube_full.py, which also plants faults in what the judges are given.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from tests.e2e.kube import Answer, Json, Rest, config_map, listed
from tests.e2e.kube_follow import Told

PAUSE_S: Final = 0.05
STEP_S_MAX: Final = 60.0  # one addition, however often the store is ended meanwhile
GONE: Final = 410


@contextlib.contextmanager
def beside(*steps: Callable[[], object], pause_s: float = PAUSE_S) -> Iterator[None]:
    """Each step again and again, in a thread of its own, while the block runs.

    Raises an AssertionError with the errors of all steps; an error ends its own step only.
    """
    stop = threading.Event()
    errors: list[str] = []

    def repeat(step: Callable[[], object]) -> None:
        try:
            while not stop.wait(pause_s):
                step()
        except Exception as error:  # noqa: BLE001 - told below, in the test's own thread
            errors.append(repr(error))

    threads = [threading.Thread(target=repeat, args=(step,), daemon=True) for step in steps]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(STEP_S_MAX)
    assert not any(thread.is_alive() for thread in threads), "a step hangs"
    assert not errors, errors


def attempt(rest: Rest, method: str, path: str, body: Json | None = None) -> Answer | None:
    """An answer, or None where it was lost or says that the store is away."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        answer = rest.send(method, path, body)
        if answer.status < 500 and answer.status != 429:
            return answer
    return None


class Counter:
    """One ConfigMap that many writers read at one apiserver and write at another."""

    def __init__(self, rests: Sequence[Rest], path: str, name: str, writers: int) -> None:
        self._rests = rests
        self._path = f"{path}/{name}"
        self.done = [0] * writers
        self.conflicts = 0
        self.lost_answers = 0
        self._open = [False] * writers
        rests[0].create(path, config_map(name, "0"))

    def add(self, writer: int) -> None:
        """One addition; it has happened when this returns."""
        end = time.monotonic() + STEP_S_MAX
        for turn in itertools.count(writer):
            assert time.monotonic() < end, f"no addition in {STEP_S_MAX:g} s"
            answer = attempt(self._rests[turn % len(self._rests)], "GET", self._path)
            if answer is None:
                time.sleep(PAUSE_S)
                continue
            read = answer.expect(200)
            own = int(read["data"].get(f"writer-{writer}", "0"))
            late = own - self.done[writer]
            assert late in {0, 1}, f"writer {writer} did {self.done[writer]}, and {own} is there"
            assert late <= self._open[writer], f"writer {writer} was given an addition"
            if late or self._put(self._rests[(turn + 1) % len(self._rests)], read, writer):
                self._open[writer] = False
                self.done[writer] += 1
                return

    def _put(self, rest: Rest, read: Json, writer: int) -> bool:
        value = int(read["data"]["value"]) + 1
        own = {f"writer-{writer}": str(self.done[writer] + 1)}
        body = {**read, "data": {**read["data"], **own, "value": str(value)}}
        answer = attempt(rest, "PUT", self._path, body)
        if answer is None:
            self.lost_answers += 1
            self._open[writer] = True
            return False
        assert answer.status in {200, 409}, answer
        self.conflicts += answer.status == 409
        return answer.status == 200

    def judge(self) -> int:
        """The sum, given that it is exactly what was added, at every apiserver."""
        wanted = {f"writer-{number}": str(done) for number, done in enumerate(self.done) if done}
        wanted["value"] = str(sum(self.done))
        for rest in self._rests:
            found = rest.get(self._path)["data"]
            assert found == wanted, f"{found}, but done was {wanted}"
        return sum(self.done)


class Pager:
    """Reads all pages of a collection that nobody changes, one page at each apiserver in turn."""

    def __init__(self, rests: Sequence[Rest], path: str, limit: int) -> None:
        self._rests = rests
        self._path = path
        self._limit = limit
        self.wanted = listed(rests[0].get(path))
        self.passes = 0
        self.broken_off = 0

    def read(self) -> None:
        """One pass; a store that is away, or a token that expired, ends it without a verdict."""
        found: list[tuple[str, int]] = []
        token = ""
        for turn in itertools.count():
            query = f"?limit={self._limit}" + (f"&continue={token}" if token else "")
            answer = attempt(self._rests[turn % len(self._rests)], "GET", self._path + query)
            if answer is None or (answer.status == GONE and token):
                self.broken_off += 1
                return
            page = answer.expect(200)
            found += listed(page).items()
            token = page["metadata"].get("continue", "")
            if not token:
                break
        assert found == sorted(self.wanted.items()), "the pages do not give every item once"
        self.passes += 1


class Expiring:
    """Events, which kube-apiserver stores under leases: when each was sent, and answered."""

    def __init__(self, rests: Sequence[Rest], namespace: str) -> None:
        self._rests = rests
        self._namespace = namespace
        self.path = f"/api/v1/namespaces/{namespace}/events"
        self.created: dict[str, tuple[float, float]] = {}
        self._count = 0

    def create(self) -> None:
        """One more; an answer that is lost promises nothing."""
        self._count += 1
        involved = {"kind": "Pod", "namespace": self._namespace, "name": "pod"}
        metadata = {"name": f"event-{self._count:05}", "namespace": self._namespace}
        body = {"kind": "Event", "apiVersion": "v1", "metadata": metadata}
        sent_s = time.monotonic()
        rest = self._rests[self._count % len(self._rests)]
        answer = attempt(rest, "POST", self.path, {**body, "involvedObject": involved})
        if answer is not None:
            answer.expect(201)
            self.created[metadata["name"]] = (sent_s, time.monotonic())


def judge_expiry(
    created: Mapping[str, tuple[float, float]],
    told: Iterable[Told],
    ttl_s: float,
    late_s: float,
    restarted_s: float = 0.0,
) -> tuple[float, float]:
    """Fail unless each event was told as gone in time: the least and greatest age in seconds.

    A store that was started again at `restarted_s` gives each lease its whole TTL again, as etcd's
    does (server/lease/lessor.go, Promote).
    """
    gone = {line.name: line.at_s for line in told if line.kind == "DELETED"}
    ages = []
    for name, (sent_s, answered_s) in created.items():
        assert name in gone, f"{name} was never told as gone"
        age = gone[name] - sent_s
        assert age >= ttl_s, f"{name} was gone after {age:.2f} s of its {ttl_s:g}"
        late = gone[name] - max(answered_s, restarted_s) - ttl_s
        assert late <= late_s, f"{name} was gone {late:.2f} s too late"
        ages.append(age)
    return min(ages), max(ages)
