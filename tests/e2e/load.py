"""A write load on kube-apiserver that knows, for each object, what was acknowledged.

Each thread owns its objects and moves each through create, update, update, delete, over and over.
An answer of success is a promise; anything else leaves the outcome open, and the thread then reads
the object until it learns which of the two allowed states it is in: that before, or that after.
A third state is a lost or a foreign write, and is reported.

A write that was left open, and was not there when the thread looked, may be done later, as long as
it is on its way: of a router that was killed the shard has it still. So what is tried again may
meet it, and is no conflict then; each of the writes that were left open is an allowed state.

Tested in test_load.py.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.e2e.crew import Crew
from tests.e2e.kube import Answer, Event, Json, Rest, config_map, version_of
from tests.e2e.processes import wait_for

THREADS: Final = 4
OBJECTS_PER_THREAD: Final = 6
PAUSE_S: Final = 0.05  # between two attempts while the store is away
SETTLE_S_MAX: Final = 60.0
STAGES: Final = 4  # create, update, update, delete


@dataclass
class Slot:
    """One object: its stage, and its version and data if it exists; `open`: the data of the
    attempts at this stage whose outcome was left open, and which were not there then."""

    name: str
    stage: int = 0
    version: int = 0
    data: str = ""
    open: tuple[str, ...] = ()


@dataclass
class Writer:
    """One thread's objects and what it was promised; it asks its servers in turn."""

    rests: Sequence[Rest]
    path: str
    slots: list[Slot]
    acknowledged: list[Event] = field(default_factory=list)
    written: dict[int, tuple[str, str]] = field(default_factory=dict)
    deleted: int = 0
    open_outcomes: int = 0
    sending: bool = False
    wrong: list[str] = field(default_factory=list)
    _asked: int = 0

    @property
    def done(self) -> int:
        """How many writes were acknowledged."""
        return len(self.acknowledged) + self.deleted

    def run(self, stop: threading.Event) -> None:
        """Write until told to stop, or until something was wrong."""
        number = 0
        while not stop.is_set() and not self.wrong:
            slot = self.slots[number % len(self.slots)]
            number += 1
            data = f"{slot.name} {number}"
            self.sending = True
            answer = self._write(slot, data)
            self.sending = False
            if answer is not None and answer.status in {200, 201}:
                self._acknowledge(slot, data, answer)
            elif answer is not None and answer.status < 500 and answer.status != 429:
                # The only writer of an object knows its state: a conflict means that one was lost,
                # unless it is with what the writer itself had left open.
                if not (slot.open and self._settled(slot, slot.open)):
                    self.wrong.append(f"stage {slot.stage} of {slot}: {answer}")
            else:
                self.open_outcomes += 1
                if not self._settled(slot, (*slot.open, data)):
                    slot.open += (data,)  # it did not happen yet: try the same stage again

    def _send(self, method: str, path: str, body: Json | None = None) -> Answer:
        self._asked += 1
        return self.rests[self._asked % len(self.rests)].send(method, path, body)

    def _write(self, slot: Slot, data: str) -> Answer | None:
        target = f"{self.path}/{slot.name}"
        body = config_map(slot.name, data)
        if slot.version:
            body["metadata"]["resourceVersion"] = str(slot.version)
        try:
            if slot.stage == 0:
                return self._send("POST", self.path, body)
            if slot.stage == STAGES - 1:
                return self._send("DELETE", target)
            return self._send("PUT", target, body)
        except (OSError, http.client.HTTPException):
            return None

    def _acknowledge(self, slot: Slot, data: str, answer: Answer) -> None:
        slot.open = ()
        if slot.stage == STAGES - 1:
            self.deleted += 1
            slot.version, slot.data, slot.stage = 0, "", 0
            return
        kind = "MODIFIED" if slot.stage else "ADDED"
        slot.version, slot.data = version_of(answer.json), data
        slot.stage += 1
        self.written[slot.version] = (slot.name, data)
        self.acknowledged.append(Event(kind, slot.name, slot.version))

    def _settled(self, slot: Slot, tried: Sequence[str]) -> bool:
        """Whether one of the attempts was done; anything but that, or nothing, is wrong."""
        found = self._read(slot.name)
        version = version_of(found) if found else 0
        seen = found["data"]["value"] if found else ""
        if (version, seen) == (slot.version, slot.data):
            return False
        deleted = slot.stage == STAGES - 1
        if found is None if deleted else (seen in tried and version != slot.version):
            slot.version, slot.data = version, seen
            if found:
                self.written[version] = (slot.name, seen)
            slot.stage, slot.open = (slot.stage + 1) % STAGES, ()
        else:
            self.wrong.append(f"{slot} was to become {tried} and is now {seen!r} at {version}")
        return True

    def _read(self, name: str) -> Json | None:
        end = time.monotonic() + SETTLE_S_MAX
        while time.monotonic() < end:
            time.sleep(PAUSE_S)
            try:
                answer = self._send("GET", f"{self.path}/{name}")
            except (OSError, http.client.HTTPException):
                continue
            if answer.status == 200:
                return answer.json
            if answer.status == 404:
                return None
        raise AssertionError(f"{name} could not be read for {SETTLE_S_MAX:g} s")


class Load(Crew[Writer]):
    """The threads; as a context it runs while the block runs."""

    def __init__(
        self,
        rest: Rest,
        path: str,
        prefix: str,
        threads: int = THREADS,
        others: Sequence[Rest] = (),
    ) -> None:
        """`threads` writers under `path`, each of which asks `rest` and the `others` in turn."""
        super().__init__(
            [
                Writer(
                    (rest, *others),
                    path,
                    [Slot(f"{prefix}-{thread}-{number}") for number in range(OBJECTS_PER_THREAD)],
                )
                for thread in range(threads)
            ]
        )

    def __exit__(self, *how: object) -> None:
        super().__exit__(*how)
        self.check()

    def wait_until_under_way(self) -> None:
        """Wait for a moment at which every thread waits for an answer."""
        wait_for("a busy moment", lambda: all(w.sending for w in self.writers), SETTLE_S_MAX)

    def acknowledged(self) -> list[Event]:
        """Every acknowledged create and update, as a watch has to tell it."""
        return [event for writer in self.writers for event in writer.acknowledged]

    def state(self) -> dict[str, int]:
        """What has to exist: name and version."""
        slots = [slot for writer in self.writers for slot in writer.slots]
        return {slot.name: slot.version for slot in slots if slot.version}

    def written(self) -> dict[int, tuple[str, str]]:
        """Every create and update that is known to have happened: version to name and data."""
        return {at: write for writer in self.writers for at, write in writer.written.items()}

    @property
    def open_outcomes(self) -> int:
        """How many writes were answered by an error."""
        return sum(writer.open_outcomes for writer in self.writers)
