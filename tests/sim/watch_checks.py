"""What watches were told, held against what really happened.

What it is: the promises of a watch, over all the streams that a watching took. What it is not: the
record (`streams.py`) or the history (`truth.py`).

Invariants that it judges: inv06 (a revision in one answer), inv07 (ordered, unique, reliable,
filtered, with the right previous value), inv08 (resumed without gap or repetition, or told of a
compaction), inv09 (nothing at or below a mark comes after it, everything came before it).

Worked example: a watching of /b/ from 12 was told 13 and 15, and then the mark 16; the history has
/b/1 at 14: a breach of inv07, and of inv09.

Tested in tests/sim/test_breaches.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from .streams import Told, Watching
from .truth import Truth
from .verdict import Violation

if TYPE_CHECKING:
    from .world import World

Event: TypeAlias = tuple[Any, ...]


def check_watches(world: World) -> None:
    """All watchings of a run that is over."""
    newest = max(world.truth.commits, default=0)
    for watching in world.clients.streams.watchings:
        wanted = _wanted(world.truth, watching)
        if watching.lives and watching.seen < newest:
            raise Violation("liveness", f"{_name(watching)} has not seen {newest}")
        if not watching.lives:
            _check_end(world, watching)
        _check(watching, wanted, world.clients.compacting)


def _wanted(truth: Truth, watching: Watching) -> list[Event]:
    """The history that the watching asks for, from its start on."""
    wanted: list[Event] = []
    for revision in truth.revisions():
        if not watching.first or revision < watching.first:
            continue
        for v in truth.commits[revision]:
            if watching.matches(v.key, v.value is None):
                old = truth.at(v.key, revision - 1) if watching.prev_kv else None
                previous = None if old is None else (old.mod, old.value)
                wanted.append((revision, v.key, v.value, v.create, v.version, previous))
    return wanted


def _check_end(world: World, watching: Watching) -> None:
    """inv08: ended by a compaction that it had not passed yet."""
    floor = watching.compacted
    if not floor or floor > world.clients.compacting:
        raise Violation("inv08", f"{_name(watching)} ended with {floor}")
    if watching.first and watching.next >= floor:
        raise Violation("inv08", f"{_name(watching)} ended for {floor}, and was at {watching.next}")


def _check(watching: Watching, wanted: list[Event], compacting: int) -> None:
    at, mark, last = 0, 0, 0
    for told in watching.told:
        if told.mark:
            mark = _check_mark(watching, wanted, at, mark, told)
            continue
        first = told.events[0][0]
        if first <= last:
            raise Violation("inv06", f"{_name(watching)}: {first} after {last}, in another answer")
        for event in told.events:
            if event[0] <= mark:
                raise Violation("inv09", f"{_name(watching)}: {event} came after the mark {mark}")
            if at >= len(wanted) or not _alike(event, wanted[at], compacting):
                missing = wanted[at : at + 1]
                raise Violation("inv07", f"{_name(watching)} was told {event}, wanted {missing}")
            at += 1
        last = told.events[-1][0]
        if told.header < last:
            raise Violation("inv04", f"{_name(watching)}: header {told.header} of {last}")
    behind = [event for event in wanted[at:] if event[0] <= watching.seen]
    if behind:
        raise Violation("inv07", f"{_name(watching)} was never told {behind[0]}")


def _check_mark(watching: Watching, wanted: list[Event], at: int, mark: int, told: Told) -> int:
    if told.header < mark:
        raise Violation("inv09", f"{_name(watching)}: the mark fell from {mark} to {told.header}")
    if at < len(wanted) and wanted[at][0] <= told.header:
        raise Violation("inv09", f"{_name(watching)}: mark {told.header} before {wanted[at]}")
    return told.header


def _alike(told: Event, wanted: Event, compacting: int) -> bool:
    """A previous version may be gone where it was compacted."""
    if told[:2] != wanted[:2] or told[2] != wanted[2]:
        return False
    if wanted[2] is not None and told[3:5] != wanted[3:5]:
        return False
    return bool(told[5] == wanted[5] or (told[5] is None and told[0] <= compacting))


def _name(watching: Watching) -> str:
    return f"watching {watching.number} of {watching.span} from {watching.first}"
