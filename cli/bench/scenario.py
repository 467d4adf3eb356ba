"""What a scenario is: a name, a sentence, a state to begin with and a way to measure.

What it is: the shape that `loads.py`, `storage.py` and `kube.py` fill. What it is not: the list of
them; see `scenarios.py`.

Words: a *setting* is the state that a server is brought into before the first round; scenarios
with the same setting follow each other on the same servers. Without one, every round of the
scenario has a fresh server for itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .figures import Figure
from .site import Site


@dataclass(frozen=True)
class Setting:
    """A state of a server, and how it gets there."""

    name: str
    prepare: Callable[[Site], None]


@dataclass(frozen=True)
class Scenario:
    """`by_default`: part of a run that names no scenario; `needs`: programs beyond the usual;
    `shards`: it is about a cluster of so many at least, and has no peer (0: about any store)."""

    name: str
    text: str
    measure: Callable[[Site], list[Figure]]
    setting: Setting | None = None
    by_default: bool = True
    needs: tuple[str, ...] = ()
    shards: int = 0

    def __post_init__(self) -> None:
        assert "/" in self.name, self.name
        assert not self.text.endswith("."), "it goes on in the table"
