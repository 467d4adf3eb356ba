"""What an operator's word means in a map, and how new tablets and migrations are called.

What it is: names, ids and prefixes to tablets; names that nobody has. What it is not: a plan
(`planner.py`).

Words: a tablet's *stem* is its name without the number or bucket behind it: pods of pods-2, pods.1.

Invariants: a word that means nothing is refused with the names that are like it; names and ids that
are made are not taken.

Worked example: on a map with pods.0 and pods.1, the words `/registry/pods/` and `pods` mean both,
`pods.1` and its id the second.

Tested in tests/unit/router/test_planner.py.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Sequence
from itertools import count, islice
from typing import Final, NamedTuple

from kubebraid.base.errors import Code, RequestRefused
from kubebraid.base.keyspace import KeyRange
from kubebraid.base.tabletmap import Tablet, TabletMap, prefix_name, prefix_span
from kubebraid.proto.adminreshard import PlanRequest, key_of_text
from kubebraid.proto.adminwire import key_text

NUMBERED: Final = re.compile(r"(-[0-9]+|\.[0-9]+)$")
SPELT: Final = re.compile(r"[^a-zA-Z0-9.]+")  # what an id on a command line cannot hold
NAME_IN_ID_MAX: Final = 24  # the rest of a name says little


class Named(NamedTuple):
    """What a word means. tablets: those that lie inside; outside: the one tablet that has the range
    as a part, where there is one; inside: the range; exact: one tablet's own name or id; base: how
    new tablets in it are called."""

    word: str
    tablets: tuple[Tablet, ...]
    outside: Tablet | None
    inside: KeyRange
    exact: bool
    base: str


def refuse(text: str, code: Code = Code.FAILED_PRECONDITION) -> RequestRefused:
    """A refusal in our own words; new each time, as it keeps its traceback."""
    return RequestRefused(code, f"kubebraid: {text}")


def find(tablets: TabletMap, word: str) -> Named:
    """The tablets that `word` means: by name, by id, by the stem of hash buckets, or by prefix.
    Raises RequestRefused."""
    for tablet in tablets.tablets:
        if word in (tablet.name, str(tablet.id)):
            return Named(word, (tablet,), None, tablet.span, True, tablet.name)
    buckets = tuple(t for t in tablets.tablets if t.buckets > 1 and t.name == f"{word}.{t.bucket}")
    if buckets:
        return Named(word, buckets, None, buckets[0].span, False, word)
    if "/" not in word:
        near = difflib.get_close_matches(word, [t.name for t in tablets.tablets])
        like = f"; is it {' or '.join(near)}?" if near else ""
        raise refuse(f"no tablet is called {word!r}{like}", Code.NOT_FOUND)
    return _by_prefix(tablets, word)


def _by_prefix(tablets: TabletMap, word: str) -> Named:
    try:
        prefix = key_of_text(word)
    except ValueError as error:
        raise refuse(str(error), Code.INVALID_ARGUMENT) from None
    if not prefix.rstrip(b"/"):
        raise refuse(f"{word!r} is no prefix of a resource", Code.INVALID_ARGUMENT)
    span = prefix_span(prefix)
    base = prefix_name(prefix)
    met = tablets.tablets_of(span)
    inside = tuple(t for t in met if t.span.intersect(span) == t.span)
    if inside:
        return Named(word, inside, None, span, False, base)
    outer = met[0].span.intersect(span) == span
    if not outer:
        raise refuse(f"a border of tablets goes through {word}; name a tablet")
    return Named(word, met[:1], met[0], span, False, base)


def stem(name: str) -> str:
    """pods of pods-2 and of pods.1."""
    return NUMBERED.sub("", name) or name


def fresh_names(name: str, wanted: int, taken: Collection[str]) -> list[str]:
    """stem-1, stem-2 ...: those that nobody has."""
    base = stem(name)
    free = (f"{base}-{number}" for number in count(1) if f"{base}-{number}" not in taken)
    return list(islice(free, wanted))


def migration_id(verb: str, name: str, taken: Collection[str], draw: Callable[[], int]) -> str:
    """Like move-pods-7f3a: to be read and typed by people."""
    spelt = SPELT.sub("-", name).strip("-.")[:NAME_IN_ID_MAX] or "tablet"
    found = ""
    while not found or found in taken:
        found = f"{verb}-{spelt}-{draw() & 0xFFFF:04x}"
    return found


def only(request: PlanRequest) -> str:
    if len(request.names) != 1:
        raise refuse("one tablet or prefix is named", Code.INVALID_ARGUMENT)
    return request.names[0]


def whole(named: Named) -> Tablet:
    """The one tablet, of one bucket, that can be cut as a whole."""
    if named.outside is not None:
        of_one_bucket(named.outside)
        raise refuse(
            f"{named.word} is a part of tablet {named.outside.name}; cut it out first: "
            f"tablet split {named.outside.name} --at '{key_text(named.inside.start)}'"
        )
    if len(named.tablets) != 1:
        raise refuse(f"{named.word} is {_listed(named.tablets)}; name one of them")
    (tablet,) = named.tablets
    of_one_bucket(tablet)
    return tablet


def of_one_bucket(tablet: Tablet) -> None:
    if tablet.buckets > 1:
        raise refuse(
            f"tablet {tablet.name} is one of {tablet.buckets} hash buckets, each of which has keys "
            "of the whole range; move it, or merge the buckets first"
        )


def _listed(tablets: Sequence[Tablet]) -> str:
    names = [tablet.name for tablet in tablets]
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
