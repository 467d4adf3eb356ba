"""The durable half of Raft: term, vote and entries, in a file that is only ever appended to.

What it is: what PySyncObj wants of a journal. What it is not: the commit index, which is not kept:
after a start a member applies what a leader tells it is committed.

Dropping the front writes a new file (`journal_file.py`), dropping the end appends a CUT record.

Invariants:
- `add`, `setCurrentTerm`, `deleteEntriesFrom` return when the disk has it: so a vote is durable
  before it is sent, and an entry before it is acknowledged;
- entries are contiguous; after `align` the first two are those of the snapshot, if there is one.

Worked example: snapshot at 90, journal 1..100: `align` keeps 89..100. A snapshot at 200 that came
from a leader just before the crash: nothing of 1..100 is kept, the log is 199, 200.

Tested in tests/unit/coordinator/raft/test_journal.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from . import journal_file
from .disk import Disk
from .journal_codec import Entry, Head, Kind, Vote, cut_payload, entry_payload, vote_payload
from .journal_file import JournalFile
from .log import IdentityRefused


class Journal:
    """Names in capitals are PySyncObj's: it calls them. Raises RaftFailed where it writes."""

    def __init__(self, file: JournalFile, vote: Vote, entries: Sequence[Entry]) -> None:
        """`vote` and `entries`: what the file says."""
        self.file = file
        self._vote = vote
        self._entries = list(entries)

    @classmethod
    def create(cls, disk: Disk, head: Head, vote: Vote, entries: Sequence[Entry]) -> Journal:
        """A new log, durable, of generation `head.generation` + 1."""
        journal = cls(JournalFile(disk, head, 0), vote, entries)
        journal.file.rewrite(vote, entries)
        return journal

    @classmethod
    def load(cls, disk: Disk, cluster: int, name: str) -> Journal:
        """The newest generation. Raises JournalDamaged, IdentityRefused."""
        content = journal_file.find(disk)
        head, vote, entries, records, torn = content
        if (head.cluster, head.name) != (cluster, name):
            raise IdentityRefused(f"the journal is of {head}, not of {cluster:x}, {name}")
        journal = cls(JournalFile(disk, head, records), vote, entries)
        if torn:
            # What follows a torn record could not be told from damage: begin a clean file.
            journal.file.rewrite(vote, entries)
        return journal

    def align(self, previous: Entry, last: Entry) -> None:
        """Make the snapshot's two entries the first, keeping what follows them if they are here."""
        assert previous.index + 1 == last.index
        if self._entries[:2] == [previous, last]:
            return
        if self.term_at(last.index) == last.term and self.term_at(previous.index) is not None:
            del self._entries[: previous.index - self._entries[0].index]
        else:
            self._entries = [previous, last]
        assert self._entries[:2] == [previous, last], "one index and term are one entry"
        self.file.rewrite(self._vote, self._entries)

    # -- what the transport asks --

    @property
    def first_index(self) -> int:
        return self._entries[0].index

    @property
    def last_index(self) -> int:
        return self._entries[-1].index

    def term_at(self, index: int) -> int | None:
        """None: not here (any more, or yet)."""
        if not self._entries or not self.first_index <= index <= self.last_index:
            return None
        return self._entries[index - self.first_index].term

    # -- what PySyncObj calls --

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, at: int | slice) -> Entry | list[Entry]:
        return self._entries[at]

    def add(self, command: bytes, index: int, term: int) -> None:
        assert not self._entries or index == self.last_index + 1, (index, len(self))
        entry = Entry(bytes(command), index, term)
        self.file.append(Kind.ENTRY, entry_payload(entry))
        self._entries.append(entry)

    def clear(self) -> None:
        """Only before a snapshot's two entries are added; `align` mends a crash in between."""
        self._entries = []
        self.file.rewrite(self._vote, self._entries)

    def deleteEntriesFrom(self, position: int) -> None:  # noqa: N802 (PySyncObj's name)
        if position < len(self._entries):
            self.file.append(Kind.CUT, cut_payload(self._entries[position].index))
            del self._entries[position:]

    def deleteEntriesTo(self, position: int) -> None:  # noqa: N802 (PySyncObj's name)
        if position > 0:
            self._entries = self._entries[position:]
            self.file.rewrite(self._vote, self._entries)

    def setCurrentTerm(self, term: int, voted_for: str | None) -> None:  # noqa: N802 (its name)
        assert term >= self._vote.term, (term, self._vote)
        vote = Vote(term, voted_for)
        if vote != self._vote:
            self.file.append(Kind.TERM, vote_payload(vote))
            self._vote = vote

    def getCurrentTerm(self) -> int:  # noqa: N802 (PySyncObj's name)
        return self._vote.term

    def getVotedForNodeId(self) -> str | None:  # noqa: N802 (PySyncObj's name)
        return self._vote.voted_for

    def setRaftCommitIndex(self, index: int) -> None:  # noqa: N802 (PySyncObj's name)
        """Not kept: see the head."""

    def getRaftCommitIndex(self) -> int:  # noqa: N802 (PySyncObj's name)
        """The first two entries are a snapshot's, which holds what is committed only, or 1."""
        return 1 if self.first_index == 1 else self.first_index + 1

    def onOneSecondTimer(self) -> None:  # noqa: N802 (PySyncObj's name)
        """Nothing waits to be written."""

    def _destroy(self) -> None:
        """The disk's owner closes it."""
