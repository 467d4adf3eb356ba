"""All scenarios, and which of them the words of a command line mean.

What it is: the list and the choice. What it is not: how any is measured.

Invariants: names are unique; chosen scenarios run in the order of the list, each once, however
they were named; a word that means nothing is refused with what it could have meant.

Worked example: `put` means put/1, put/64 and put/256; `list/100k` four scenarios; `*/64`
everything with 64 clients; `all` also what takes minutes, but not what is about a cluster alone;
no word at all the usual ones.

Tested in tests/unit/cli/bench/test_scenarios.py.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import cache

from . import kube, kubebrain, loads, reshard, spread, storage
from .scenario import Scenario

ALL = "all"


class UnknownScenario(Exception):
    """No scenario has this name."""


@cache
def known() -> tuple[Scenario, ...]:
    """Every scenario, in the order of their runs."""
    of_any = (*loads.scenarios(), *storage.scenarios(), *kube.scenarios(), *spread.scenarios())
    found = (*of_any, *kubebrain.scenarios(), *reshard.scenarios())
    names = [scenario.name for scenario in found]
    assert len(set(names)) == len(names), names
    return found


def choose(words: Sequence[str]) -> list[Scenario]:
    """What these words mean."""
    if not words:
        return [scenario for scenario in known() if scenario.by_default]
    for word in words:
        if word != ALL and not any(means(word, scenario.name) for scenario in known()):
            close = difflib.get_close_matches(word, [scenario.name for scenario in known()], 3)
            hint = f"; did you mean {', '.join(close)}?" if close else ""
            raise UnknownScenario(f"no scenario is called {word!r}{hint} (--list shows all)")
    # What is about a cluster alone cannot run beside a peer: `all` is all that can.
    return [
        s
        for s in known()
        if any((word == ALL and not s.shards) or means(word, s.name) for word in words)
    ]


def means(word: str, name: str) -> bool:
    """A name, what a name begins with up to a slash, or a pattern."""
    return name == word or name.startswith(f"{word}/") or fnmatchcase(name, word)


def listing() -> str:
    """One line each; a star at those that run by default."""
    return "\n".join(
        f"{'*' if scenario.by_default else ' '} {scenario.name:22} {scenario.text}"
        for scenario in known()
    )
