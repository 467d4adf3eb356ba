"""A client that follows a collection through relists, and the judge of the history it was told.

What it is: what an informer does (list, watch, resume at the last version, relist when that version
is too old), recorded so that it can be judged. What it is not: a cache; nothing here is smoothed.

Words: a *stretch* is a list and what the watches told from its version on, over as many connections
as it took; a relist begins the next stretch, and what happened between the two was told to nobody.

Invariants that `judge` holds a history to, given all that was written:
- within a stretch versions rise, also over connections, and nothing comes at or below a bookmark;
- each event is possible after those before it, and is a write that happened, with its content;
- each write within a stretch's bounds is told, and a list shows each name's newest version.

Worked example: written {5: a, 6: b}; a stretch from 4 that told `ADDED a 5`, `BOOKMARK 6` lost b.

Tested by planted faults in test_kube_full.py.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tests.e2e.kube import AGAIN_S, Event, Json, Watch, accumulate, listed, version_of
from tests.e2e.processes import wait_for

RELIST_S_MAX: Final = 60.0
GONE: Final = 410
BOOKMARK: Final = "BOOKMARK"

Written = Mapping[int, tuple[str, str]]  # version to name and content


class Told(NamedTuple):
    """An event or a bookmark, its content, and when it came (time.monotonic)."""

    kind: str
    name: str
    version: int
    value: str = ""
    at_s: float = 0.0

    @property
    def event(self) -> Event:
        """What a watch without contents would have told."""
        return Event(self.kind, self.name, self.version)


@dataclass
class Stretch:
    """A list and what followed on it."""

    version: int
    state: Mapping[str, int]
    told: list[Told] = field(default_factory=list)

    @property
    def end(self) -> int:
        """The version up to which everything was told."""
        return self.told[-1].version if self.told else self.version

    def covers(self, version: int) -> bool:
        """Would an event of this version have been told?"""
        return self.version < version <= self.end

    def events(self) -> list[Event]:
        """What was told, without bookmarks."""
        return [told.event for told in self.told if told.kind != BOOKMARK]


@dataclass
class Follower(Watch):
    """A watch that begins with a list, and lists again when its version is too old.

    Answers by which a server says that its store is away are waited out.
    """

    query: Mapping[str, object] = field(default_factory=lambda: {"allowWatchBookmarks": "true"})
    stretches: list[Stretch] = field(default_factory=list)
    away: int = 0

    def start(self) -> Follower:
        """List and begin; it is connected when this returns."""
        self._list()
        super().start()
        return self

    def __enter__(self) -> Follower:
        return self.start()

    def _list(self) -> None:
        end = time.monotonic() + RELIST_S_MAX
        while time.monotonic() < end and not self._stop.is_set():
            try:
                answer = self.rest.send("GET", self.path)
            except (OSError, http.client.HTTPException):
                self._stop.wait(AGAIN_S)
                continue
            if answer.status == 200:
                self.version = version_of(answer.json)
                self.stretches.append(Stretch(self.version, listed(answer.json)))
                return
            assert answer.status >= 500 or answer.status == 429, answer
            self._stop.wait(AGAIN_S)
        assert self._stop.is_set(), f"{self.path} could not be listed for {RELIST_S_MAX:g} s"

    def _refused(self, code: int, text: str) -> None:
        if code == GONE:
            self._list()
        elif code >= 500 or code == 429:
            self.away += 1
            self._stop.wait(AGAIN_S)
        else:
            super()._refused(code, text)

    def _take(self, told: Json) -> None:
        super()._take(told)
        if told["type"] != "ERROR":
            thing = told["object"]
            value = thing.get("data", {}).get("value", "")
            name = thing["metadata"].get("name", "")
            line = Told(told["type"], name, self.version, value, time.monotonic())
            self.stretches[-1].told.append(line)

    def history(self, version: int, seconds: float) -> Sequence[Stretch]:
        """All stretches, once this version was reached."""

        def arrived() -> bool:
            assert not self.error, self.error
            return self.stretches[-1].end >= version

        wait_for(f"version {version} on the watch of {self.path}", arrived, seconds)
        return list(self.stretches)


def judge(stretches: Sequence[Stretch], written: Written, ends_as: Mapping[str, int]) -> None:
    """Fail unless the history is exact: nothing lost, doubled, reordered, stale or foreign."""
    state: Mapping[str, int] = {}
    for stretch in stretches:
        _judge_list(stretch, written)
        last = stretch.version
        for told in stretch.told:
            bookmark = told.kind == BOOKMARK
            assert told.version > last - bookmark, f"{told} came after version {last}"
            last = told.version
            if told.kind in {"ADDED", "MODIFIED"}:
                wrote = written.get(told.version)
                assert wrote == (told.name, told.value), f"{told}, but written was {wrote}"
        versions = {told.version for told in stretch.told if told.kind != BOOKMARK}
        lost = [at for at in sorted(written) if stretch.covers(at) and at not in versions]
        assert not lost, f"never told: {[(at, written[at]) for at in lost[:5]]}, {len(lost)} in all"
        state = accumulate(stretch.state, stretch.events())
    assert state == ends_as, f"ends as {_difference(state, ends_as)}"


def _judge_list(stretch: Stretch, written: Written) -> None:
    newest: dict[str, int] = {}
    for version in sorted(at for at in written if at <= stretch.version):
        newest[written[version][0]] = version
    for name, version in stretch.state.items():
        told = f"the list at {stretch.version} shows {name} at {version}"
        assert newest.get(name) == version, f"{told}, its newest is {newest.get(name)}"


def agree(some: Sequence[Stretch], others: Sequence[Stretch]) -> int:
    """Fail unless both histories tell the same wherever both tell at all; how many events did."""
    shared = 0
    for one in some:
        for other in others:
            both = [
                [
                    told
                    for told in side.events()
                    if one.covers(told.version) and other.covers(told.version)
                ]
                for side in (one, other)
            ]
            assert both[0] == both[1], f"told apart: {sorted(set(both[0]) ^ set(both[1]))[:5]}"
            shared += len(both[0])
    return shared


def _difference(one: Mapping[str, int], other: Mapping[str, int]) -> str:
    names = sorted(name for name in {*one, *other} if one.get(name) != other.get(name))
    return ", ".join(f"{name} at {one.get(name)}, not {other.get(name)}" for name in names[:5])
