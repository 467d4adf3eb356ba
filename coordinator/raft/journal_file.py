"""The file under the journal: records behind a head, one generation after another.

What it is: durable appends, and the change to a new file. What it is not: the log (`journal.py`).

Files: `journal-<generation, 16 digits>`; the highest is the journal, others and `*.tmp` are remains
of a crash.

Invariants:
- `append` and `rewrite` return when the disk has it;
- a generation gets its name when all of it is durable, and the old one goes only then;
- after a failure nothing is written any more: `failed` says why and every call raises. Nobody knows
  what the disk holds after a failed sync: only a new start finds out.

Worked example: `journal-0000000000000001`, then a compaction: `journal-0000000000000002.tmp`,
synced, renamed, the directory synced, and the first removed.

Tested in tests/unit/coordinator/raft/test_journal.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .disk import Disk
from .journal_codec import (
    Content,
    Entry,
    Head,
    Kind,
    Vote,
    entry_payload,
    head_payload,
    read,
    record,
    seed_of,
    vote_payload,
)
from .log import JournalDamaged, RaftFailed

PREFIX: Final = "journal-"
OURS: Final = (PREFIX, "snapshot", "identity")  # of a directory that others may also use


def file_name(generation: int) -> str:
    return f"{PREFIX}{generation:016d}"


def wipe(disk: Disk) -> None:
    """Remove what an interrupted bootstrap or refill left: without an identity it never voted."""
    for name in disk.names():
        if name.startswith(OURS):
            disk.remove(name)
    disk.sync_names()


def find(disk: Disk) -> Content:
    """The newest generation, read; remains are removed. Raises JournalDamaged."""
    found = sorted(n for n in disk.names() if n.startswith(PREFIX) and not n.endswith(".tmp"))
    if not found:
        raise JournalDamaged("an identity without a journal")
    for stale in [n for n in disk.names() if n.startswith(OURS) and n.endswith(".tmp")] + found[
        :-1
    ]:
        disk.remove(stale)
    try:
        return read(disk.read(found[-1]))
    except JournalDamaged as error:
        raise JournalDamaged(f"{found[-1]}: {error}") from error


class JournalFile:
    """The generation that is written to."""

    def __init__(self, disk: Disk, head: Head, records: int) -> None:
        """`records`: how many it has, the head among them."""
        self._disk = disk
        self._head = head
        self._records = records
        self._seed = seed_of(head)
        self.failed: BaseException | None = None

    def append(self, kind: Kind, payload: bytes) -> None:
        """Raises RaftFailed."""
        self._check()
        name = file_name(self._head.generation)
        try:
            self._disk.append(name, record(kind, payload, self._records, self._seed))
            self._disk.sync(name)
        except OSError as error:
            raise self._fail(error) from error
        self._records += 1

    def rewrite(self, vote: Vote, entries: Sequence[Entry]) -> None:
        """The next generation says this and nothing else. Raises RaftFailed."""
        self._check()
        old = file_name(self._head.generation)
        self._head = self._head._replace(generation=self._head.generation + 1)
        self._seed = seed_of(self._head)
        new = file_name(self._head.generation)
        said = [(Kind.HEAD, head_payload(self._head)), (Kind.TERM, vote_payload(vote))]
        said += [(Kind.ENTRY, entry_payload(entry)) for entry in entries]
        data = b"".join(record(k, p, number, self._seed) for number, (k, p) in enumerate(said))
        self._records = len(said)
        try:
            self._disk.append(new + ".tmp", data)
            self._disk.sync(new + ".tmp")
            self._disk.rename(new + ".tmp", new)
            self._disk.sync_names()
            if old in self._disk.names():
                self._disk.remove(old)
        except OSError as error:
            raise self._fail(error) from error

    def _check(self) -> None:
        if self.failed is not None:
            raise RaftFailed("the journal failed before") from self.failed

    def _fail(self, error: OSError) -> RaftFailed:
        self.failed = error
        return RaftFailed(f"the journal cannot be written: {error}")
