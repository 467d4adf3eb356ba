"""The shared page by which a test tells the shim what shall fail, also while the process runs.

What it is: the layout of `struct control` in shim.h. What it is not: a schedule; a test turns a
rule on and off, and sees how often it matched.

Worked example: `control.rule(On.SYNC, "*.log", errno.EIO, skip=2, times=1)` lets two syncs of
write-ahead logs pass and fails the third; afterwards `rule.failed` is 1.

Patterns are those of fnmatch(3) on the path below the recorded directory; a `*` takes slashes too.

Tested in tests/faults/test_shim.py.
"""

from __future__ import annotations

import mmap
import struct
from enum import IntEnum
from pathlib import Path
from typing import Final

RULES: Final = 8
FOR_EVER: Final = -1
# In the place of an errno:
SHORT: Final = -1  # the call writes half of what it was given, and says so
LIE: Final = -2  # the sync does nothing, and says that all is well
REAL_SYNCS: Final = -1
UNBOUNDED: Final = -1

_HEAD: Final = struct.Struct("<qqqqq")
_RULE: Final = struct.Struct("<iiqqqq64s")
_PATTERN_BYTES_MAX: Final = 63


class On(IntEnum):
    """Which calls a rule looks at."""

    WRITE = 1
    SYNC = 2
    RENAME = 3  # by the new name
    CREATE = 4  # open(O_CREAT) of a file that is not there
    UNLINK = 5
    TRUNCATE = 6
    MKDIR = 7


class Rule:
    """One rule that is set; counts since then."""

    def __init__(self, page: mmap.mmap, at: int) -> None:
        self._page = page
        self._at = at

    def _field(self, number: int) -> int:
        value = _RULE.unpack_from(self._page, self._at)[number]
        assert isinstance(value, int)
        return value

    @property
    def matched(self) -> int:
        """How many calls it looked at."""
        return self._field(4)

    @property
    def failed(self) -> int:
        """How many of them it made fail."""
        return self._field(5)

    def off(self) -> None:
        """From now on the calls succeed again; the counts stay."""
        struct.pack_into("<i", self._page, self._at, 0)


class Control:
    """The page. It lies in a file that outlives the process under test."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(bytes(_HEAD.size + RULES * _RULE.size))
        with path.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), 0)
        _HEAD.pack_into(self._page, 0, REAL_SYNCS, UNBOUNDED, 0, 0, 0)
        self._used = 0

    def _head(self, number: int) -> int:
        value = _HEAD.unpack_from(self._page, 0)[number]
        assert isinstance(value, int)
        return value

    @property
    def syncs(self) -> int:
        """How many syncs of recorded files succeeded."""
        return self._head(3)

    @property
    def loose_syncs(self) -> int:
        """How many calls of sync_file_range there were, which make nothing safe."""
        return self._head(4)

    def sync_takes(self, microseconds: int) -> None:
        """No real syncs any more; each takes this long. The record is what counts."""
        struct.pack_into("<q", self._page, 0, microseconds)

    @property
    def budget(self) -> int:
        """Bytes by which the files may still grow, or UNBOUNDED."""
        return self._head(1)

    @budget.setter
    def budget(self, size: int) -> None:
        struct.pack_into("<q", self._page, 8, size)

    def device(self, size: int) -> None:
        """What statvfs tells of the device's size in bytes."""
        struct.pack_into("<q", self._page, 16, size)

    def rule(
        self, on: On, pattern: str, error: int, *, skip: int = 0, times: int = FOR_EVER
    ) -> Rule:
        """From now on: let `skip` matching calls pass, then fail `times` with this errno."""
        assert self._used < RULES, "clear() first"
        raw = pattern.encode()
        assert len(raw) <= _PATTERN_BYTES_MAX, pattern
        at = _HEAD.size + self._used * _RULE.size
        # The kind last: the process must not see half a rule.
        _RULE.pack_into(self._page, at, 0, error, skip, times, 0, 0, raw)
        struct.pack_into("<i", self._page, at, on)
        self._used += 1
        return Rule(self._page, at)

    def clear(self) -> None:
        """No rules and no bound."""
        for number in range(RULES):
            struct.pack_into("<i", self._page, _HEAD.size + number * _RULE.size, 0)
        self.budget = UNBOUNDED
        self._used = 0
