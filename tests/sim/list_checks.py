"""Lists and watches, held against each other: what clients were told must fit together.

What it is: for each watching the lists of its span that clients got, in the order of their
revisions: each must follow from the one before by the events in between. What it is not: a look at
what happened (`checkers.py` and `watch_checks.py` have the history); here only clients are asked,
as an informer would notice it.

Invariants that it judges: inv12 (a list at a, and the events behind a up to b, give the list at b,
whatever became of the map in between).

Worked example: the list of /b/ at 10 has /b/1 of 9, the watch tells /b/2 at 12 and the list at 14
has /b/2 alone: a breach of inv12, for nobody told of the end of /b/1.

Tested in tests/sim/test_breaches.py.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

from .streams import Watching
from .verdict import Violation

if TYPE_CHECKING:
    from .world import World

Span: TypeAlias = tuple[bytes, bytes]
Rows: TypeAlias = dict[bytes, tuple[int, bytes]]  # the revision and the value of each key


def check_lists(world: World) -> None:
    """Of a run that is over."""
    lists = _lists(world)
    for watching in world.clients.streams.watchings:
        if watching.first and not watching.filters:
            _check(watching, lists.get(watching.span, {}))


def _lists(world: World) -> dict[Span, dict[int, Rows]]:
    """The whole lists of each span, by their revisions."""
    found: dict[Span, dict[int, Rows]] = {}
    for call in world.clients.calls:
        if call.method != "Range" or call.code != 0:
            continue
        request, answer = call.request, call.answer
        if not request.range_end or request.count_only or answer.more:
            continue
        revision = request.revision or answer.header.revision
        rows = {kv.key: (kv.mod_revision, kv.value) for kv in answer.kvs}
        known = found.setdefault((request.key, request.range_end), {})
        if known.setdefault(revision, rows) != rows:
            raise Violation("inv12", f"two lists at {revision}: {rows} and {known[revision]}")
    return found


def _check(watching: Watching, lists: dict[int, Rows]) -> None:
    events = [event for told in watching.told for event in told.events]
    within = sorted(at for at in lists if watching.first - 1 <= at <= watching.seen)
    for early, late in pairwise(within):
        told = [event for event in events if early < event[0] <= late]
        rows = _after(lists[early], told)
        if rows != lists[late]:
            raise Violation(
                "inv12",
                f"watching {watching.number} of {watching.span}: the list at {early} and {told} "
                f"give {rows}, the list at {late} was {lists[late]}",
            )


def _after(rows: Rows, events: list[tuple[Any, ...]]) -> Rows:
    rows = dict(rows)
    for revision, key, value, *_ in events:
        if value is None:
            rows.pop(key, None)
        else:
            rows[key] = (revision, value)
    return rows
