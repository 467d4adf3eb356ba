"""What clients did and were told, as plain records, and as lines of JSON that others can judge.

What it is: the history of a run. What it is not: a judgement; `truth`, `linear` and `told` judge it
here, and tests/clients/go-robustness with etcd's own validators.

Words: a *call* is one request with its outcome: `ok`, `refused` (it surely did nothing) or
`unknown`; a *following* is one Watch stream with one watch; times are nanoseconds of one monotonic
clock, which all clients of a run share.

Invariants: every value that is put is put by one call only; a write is always a Txn, also where a
Put went over the wire, because etcd's model knows no other write.

Worked example: `put a` that was not answered in time is Call(3, Txn((), (Put("a", "3.17"),)), ...,
Outcome.UNKNOWN): the history alone can tell whether "3.17" was ever there.

Tested in test_judges.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

EVERYTHING: Final = "\0"  # as key and as end: all keys there are


class Row(NamedTuple):
    """A key as a range or an event shows it."""

    key: str
    value: str
    create: int
    mod: int
    version: int
    lease: int


class Range(NamedTuple):
    """`revision` 0 is the newest; `end` empty is one key."""

    key: str
    end: str = ""
    revision: int = 0
    limit: int = 0
    count_only: bool = False


class Put(NamedTuple):
    key: str
    value: str
    lease: int = 0


class Delete(NamedTuple):
    key: str


class Get(NamedTuple):
    key: str


Op: TypeAlias = Put | Delete | Get


class Txn(NamedTuple):
    """`compares`: each key with the mod_revision it has to have, 0 where it has to be absent."""

    compares: tuple[tuple[str, int], ...]
    then: tuple[Op, ...]
    otherwise: tuple[Op, ...] = ()


class Grant(NamedTuple):
    lease: int


class Revoke(NamedTuple):
    lease: int


class KeepAlive(NamedTuple):
    lease: int


class Compact(NamedTuple):
    revision: int


Request: TypeAlias = Range | Txn | Grant | Revoke | KeepAlive | Compact


class Page(NamedTuple):
    """The answer to a Range, or to a Get inside of a Txn."""

    rows: tuple[Row, ...]
    total: int
    more: bool = False


class Done(NamedTuple):
    """The answer to a Txn: a Page for a Get, the number of keys for a Delete, 0 for a Put."""

    succeeded: bool
    results: tuple[Page | int, ...]


class Outcome(Enum):
    OK = "ok"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class Call:
    """`revision` is that of the answer's header; `error` a code's name and the text."""

    client: int
    request: Request
    called: int
    returned: int
    outcome: Outcome
    revision: int = 0
    answer: Page | Done | None = None
    error: str = ""


class Event(NamedTuple):
    """`row` of a deletion has the key and the revision alone."""

    put: bool
    row: Row
    previous: Row | None


@dataclass(slots=True)
class Told:
    """One answer of a watch. `compacted` is the compact_revision of one that was cancelled."""

    at: int
    revision: int
    events: tuple[Event, ...] = ()
    created: bool = False
    canceled: bool = False
    compacted: int = 0

    @property
    def bookmark(self) -> bool:
        """Nothing but a header: by it a client knows that it missed nothing up to there."""
        return not (self.events or self.created or self.canceled)


@dataclass(slots=True)
class Following:
    """`watcher` names the client; its next stream goes on behind this one's last revision."""

    watcher: str
    key: str
    end: str
    start: int
    prev_kv: bool
    told: list[Told] = field(default_factory=list)

    def wants(self, key: str) -> bool:
        """Whether an event of this key is asked for."""
        if self.end == EVERYTHING:
            return key >= self.key
        return self.key <= key < self.end if self.end else key == self.key


@dataclass(slots=True)
class History:
    """A whole run."""

    calls: list[Call] = field(default_factory=list)
    followings: list[Following] = field(default_factory=list)


def save(history: History, path: Path) -> None:
    """A line for each call and each following."""
    with path.open("w") as file:
        for line in lines(history):
            file.write(json.dumps(line) + "\n")


def lines(history: History) -> Iterable[dict[str, Any]]:
    """What `save` writes. The names are those that go-robustness reads."""
    for call in history.calls:
        yield {"type": "call", **_call(call)}
    for following in history.followings:
        told = [_told(each) for each in following.told]
        yield {"type": "watch", **asdict(following), "told": told}


def _call(call: Call) -> dict[str, Any]:
    line: dict[str, Any] = {
        "client": call.client,
        "kind": type(call.request).__name__.lower(),
        "called": call.called,
        "returned": call.returned,
        "outcome": call.outcome.value,
        "revision": call.revision,
        "error": call.error,
    }
    match call.request:
        case Txn(compares, then, otherwise):
            line["compares"] = [{"key": key, "mod": mod} for key, mod in compares]
            line["then"], line["else"] = [_op(op) for op in then], [_op(op) for op in otherwise]
        case request:
            line["request"] = request._asdict()
    match call.answer:
        case Page():
            line["results"] = [_page(call.answer)]
        case Done(succeeded, results):
            line["succeeded"] = succeeded
            line["results"] = [
                _page(each) if isinstance(each, Page) else {"deleted": each} for each in results
            ]
        case None:
            pass
    return line


def _op(op: Op) -> dict[str, Any]:
    return {"op": type(op).__name__.lower(), **op._asdict()}


def _page(page: Page) -> dict[str, Any]:
    return {"rows": [row._asdict() for row in page.rows], "total": page.total}


def _told(told: Told) -> dict[str, Any]:
    events = [
        {
            "put": event.put,
            "row": event.row._asdict(),
            "previous": event.previous._asdict() if event.previous else None,
        }
        for event in told.events
    ]
    line = {"at": told.at, "revision": told.revision, "events": events}
    return {**line, "bookmark": told.bookmark, "compacted": told.compacted}
