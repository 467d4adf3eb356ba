"""Rows that tell whose a tablet is, where shards share rows: what an engine's caller knows of them.

What it is: for each *guarded* row what it may hold if nobody else has written it, as far as the
caller was told. What it is not: the transaction that looks (tikv_commit.py), or the choice of these
rows (the fences, `shard/keycodec.py`).

Why. The writer row keeps a shard's former process from writing. Where the rows of a tablet are
shared, another *shard* may have them by now, and that one never touches our writer row. It has
rewritten the tablet's fence. So whoever writes a fence says what it takes it to hold: the
transaction reads it, and ends if it is something else. Because it writes it too, one that commits
meanwhile conflicts. Of two that believe that a tablet is theirs, each writing from what it knows,
the first that commits is the only one.

Invariants:
- what a row may hold is what the caller read last, or what was written for it last; behind a write
  whose end is not known, either that or what stood before. Time alone, or a present that moves,
  changes nothing of it: what another shard wrote is known only to a caller that has read it;
- a write that surely did nothing changes nothing of it.

Worked example: A reads (4, 17, 6) in the fence of tablet 3, B takes the tablet and writes
(5, 17, 7). A's next batch for it has (4, 18, 7), finds (5, 17, 7), and is not written.

Tested in tests/unit/shard/test_tikv_guards.py, tests/contract/test_tikv_shared.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Value = bytes | None
"""As it is stored; None: there is no such row."""

Guarded = Mapping[bytes, tuple[Value, ...]]
"""Stored key -> what it may hold."""


class Guards:
    """One engine's. Keys and values are the stored ones."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[Value, ...]] = {}

    def __contains__(self, key: bytes) -> bool:
        """Whether anything is known of the row."""
        return key in self._known

    def told(self, key: bytes, value: Value) -> None:
        """The caller has read this, or it was written for it."""
        self._known[key] = (value,)

    def tried(self, key: bytes, value: Value) -> None:
        """Its writing ended without an answer."""
        assert key in self._known, "it was looked at before it was written"
        if value not in self._known[key]:
            self._known[key] += (value,)

    def of(self, keys: Iterable[bytes]) -> Guarded:
        """What a transaction that writes these has to find."""
        return {key: self._known[key] for key in keys}
