"""Whether a stopped store of a cluster's shard agrees with itself, without the cluster's map.

What it is: the rules of `audit.py` as far as they hold without the map and the compaction floor,
which are the coordinators'. What it is not: a proof that nothing was lost at the end.

What takes the place of the map: every fence row names a tablet, and a log row of any of them may
name a key. What takes the place of the floor: compaction removes a tablet's log from its beginning,
and with each log row what it had replaced. Hence:
- what a log row names is there, at its revision and before it, however old the row is;
- a version that no log row names is the oldest of its key, and lies below the first log row of some
  tablet: its own was compacted, or so it must be taken, for whose it is is not known.

While rows of other tablets may be there (a copy arrives, or was not removed yet) nothing is said of
rows that no log row names.

Worked example: tablet 3 has its log from 40 on. A key's only version is of 17: fine. Were there one
of 9, too: "the row of b'/a' at 17 is not in the log".

Tested in tests/unit/shard/test_shard_audit.py.
"""

from __future__ import annotations

from typing import Final

from kubebraid.base.keyspace import EVERYTHING
from kubebraid.base.revision import Revision, TabletId
from kubebraid.base.tabletmap import layout

from . import fencing, keycodec
from .audit import Audit, changes_of
from .fencing import FenceDamaged
from .storage.engine import Reader

_FENCES_MAX: Final = 1 << 20
_COPIES: Final = (keycodec.cell("reshard/"), keycodec.cell("reshard0"))


class ShardAudit(Audit):
    """One pass over a shard's store that nobody writes."""

    def __init__(self, reader: Reader, shard: str) -> None:
        super().__init__(reader, layout([], shard), -1)
        self.report.shard = shard
        self._logs: list[TabletId] = []  # the last that was found to name a key comes first
        self._compacted: Revision = 0  # below it a log row may be gone
        self._copies = reader.count(*_COPIES, 1) > 0

    def _fences(self) -> None:
        for stored, raw in self._reader.scan(*keycodec.FENCES, _FENCES_MAX):
            tablet = int.from_bytes(stored[1:], "big")
            try:
                self._last[tablet] = fencing.unpack(raw).last
            except FenceDamaged as error:
                self.report.find(f"tablet {tablet}: {error}")
        if not self._last and self._reader.count(*keycodec.newest_bounds(EVERYTHING), 1):
            self.report.find("there are rows, and no fence row that can be read")
        self.report.revision = max(self._last.values(), default=0)
        self._logs = sorted(self._last)
        for tablet, last in self._last.items():
            first = self._reader.keys(keycodec.log(tablet, 0), keycodec.log(tablet + 1, 0), 1)
            until = keycodec.log_revision(first[0]) if first else last + 1
            self._compacted = max(self._compacted, until)

    def _known(self, key: bytes, revision: Revision) -> None:
        if self._copies or self._logged(key, revision):
            return
        if revision > self.report.revision:
            self.report.find(f"{key!r} was written at {revision}, and no fence tells of it")
        elif revision >= self._compacted or not self._is_oldest(key, revision):
            self.report.find(f"the row of {key!r} at {revision} is not in the log")

    def _logged(self, key: bytes, revision: Revision) -> bool:
        for place, tablet in enumerate(self._logs):
            changes = changes_of(self._reader.get(keycodec.log(tablet, revision)))
            if any(change.key == key for change in changes or ()):
                self._logs.insert(0, self._logs.pop(place))
                return True
        return False

    def _is_oldest(self, key: bytes, revision: Revision) -> bool:
        bounds = keycodec.history(key, revision - 1), keycodec.history_end(key)
        return not self._reader.keys(*bounds, 1)

    def _belongs(self, key: bytes, tablet: TabletId) -> bool:
        return True  # the map would tell
