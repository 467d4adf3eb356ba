"""What a disk may hold after the power went: the record replayed on a model of a file system.

What it is: two views of one directory. *Volatile*: what the process saw. *Safe*: what was synced,
which every disk must hold. `cut` draws a directory between the two. What it is not: a tracer.

Words: a *node* is a file or directory apart from its names; a *pending* change is one that no sync
has covered. A file's contents and the names in a directory are synced apart from each other, as
POSIX has it: fsync of a file says nothing about its name.

Modes: STRICT drops everything pending. RANDOM keeps, by seed: of the names those up to one moment
(a file system's journal is in order; what a directory's fsync covered stays in any case); of each
file's pending writes none, all, those up to one of them, or sectors of 512 bytes at random.

Invariants:
- what was synced is there, in every mode and for every seed;
- names change in the order in which they were changed; a rename is never half done;
- a failed fsync makes what it would have covered unsafe for ever, as Linux does: a later sync that
  succeeds does not cover it.

Worked example: write a, fsync a, write b, kill. STRICT: neither name is there; no fsync of the
directory came. After an fsync of the directory in the end: a is whole, b is empty.

Left out: modes and owners, holes, links. Tested in tests/faults/test_shim.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from pathlib import Path
from random import Random
from typing import Final

from tests.faults.record import CREATED, TRUNCATED, Entry

SECTOR: Final = 512
KEPT: Final = 0.5  # of the sectors that nothing had made safe

Tree = dict[str, bytes | None]
"""Path -> contents, None for a directory. Parents come before what they hold."""


class Mode(Enum):
    """How much of what was not synced is lost."""

    STRICT = "strict"
    RANDOM = "random"


class Unfollowed(Exception):
    """The process did something to its files that the model does not know."""


def load_tree(root: Path) -> Tree:
    """What is below a real directory."""
    tree: Tree = {}
    for path in sorted(root.rglob("*")):
        assert not path.is_symlink(), path
        tree[str(path.relative_to(root))] = None if path.is_dir() else path.read_bytes()
    return tree


def store_tree(tree: Tree, root: Path) -> None:
    """Make it a real directory, which must not be there yet."""
    root.mkdir(mode=0o700)
    for name, contents in tree.items():
        if contents is None:
            (root / name).mkdir(mode=0o700)
        else:
            (root / name).write_bytes(contents)


class _Change:
    """A write, or a new size (`data` is None)."""

    __slots__ = ("at", "data", "doomed", "number")

    def __init__(self, number: int, at: int, data: bytes | None) -> None:
        self.number = number
        self.at = at
        self.data = data
        self.doomed = False

    def apply(self, contents: bytearray) -> None:
        if self.data is None:
            del contents[self.at :]
            contents.extend(bytes(self.at - len(contents)))
        else:
            _put(contents, self.at, self.data)


def _put(contents: bytearray, at: int, data: bytes) -> None:
    contents.extend(bytes(max(0, at - len(contents))))
    contents[at : at + len(data)] = data


class _File:
    def __init__(self, contents: bytes = b"") -> None:
        self.safe = bytearray(contents)
        self.seen = bytearray(contents)
        self.pending: list[_Change] = []

    def change(self, change: _Change) -> None:
        change.apply(self.seen)
        self.pending.append(change)

    def sync(self, upto: int) -> None:
        rest = []
        for change in self.pending:
            if change.number <= upto and not change.doomed:
                change.apply(self.safe)
            else:
                rest.append(change)
        self.pending = rest

    def doom(self, upto: int) -> None:
        for change in self.pending:
            change.doomed = change.doomed or change.number <= upto

    def draw(self, random: Random) -> bytes:
        """Some of what was pending is there."""
        whole = random.choice((0, len(self.pending), random.randint(0, len(self.pending))))
        contents = bytearray(self.safe)
        for change in self.pending[:whole]:
            change.apply(contents)
        torn = self.pending[whole:]
        if random.random() < KEPT:
            torn = torn[:1]
        for change in torn:
            if change.data is not None and random.random() < KEPT:
                _tear(contents, change.at, change.data, random)
        return bytes(contents)


def _tear(contents: bytearray, at: int, data: bytes, random: Random) -> None:
    """A part of one write: up to a sector, or any sectors."""
    sectors = []
    start = at
    while start < at + len(data):
        end = min((start // SECTOR + 1) * SECTOR, at + len(data))
        sectors.append((start, end))
        start = end
    in_order = random.random() < KEPT
    first_lost = random.randint(0, len(sectors))
    for number, (start, end) in enumerate(sectors):
        if number < first_lost if in_order else random.random() < KEPT:
            _put(contents, start, data[start - at : end - at])


class _Directory:
    def __init__(self) -> None:
        self.safe: dict[str, _Node] = {}
        self.seen: dict[str, _Node] = {}
        # One change may be about two names: a rename is never half done.
        self.pending: list[tuple[int, dict[str, _Node | None]]] = []

    def change(self, number: int, names: dict[str, _Node | None]) -> None:
        _rename(self.seen, names)
        self.pending.append((number, names))

    def sync(self, upto: int) -> None:
        for number, names in self.pending:
            if number <= upto:
                _rename(self.safe, names)
        self.pending = [change for change in self.pending if change[0] > upto]

    def draw(self, moment: int) -> dict[str, _Node]:
        drawn = dict(self.safe)
        for number, names in self.pending:
            if number <= moment:
                _rename(drawn, names)
        return drawn


_Node = _File | _Directory


def _rename(names: dict[str, _Node], changes: dict[str, _Node | None]) -> None:
    for name, node in changes.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


class Disk:
    """The directory, from what it held safely at the start through a record."""

    def __init__(self, tree: Tree, record: Iterable[Entry] = ()) -> None:
        self._root = _Directory()
        self._handles: dict[int, _Node] = {}
        self._nodes: list[_Node] = [self._root]
        self._number = 0
        for name, contents in tree.items():
            where, base = self._place(name)
            node = self._add(_Directory() if contents is None else _File(contents))
            where.seen[base] = where.safe[base] = node
        for entry in record:
            self.replay(entry)

    def _add(self, node: _Node) -> _Node:
        self._nodes.append(node)
        return node

    def _place(self, name: str) -> tuple[_Directory, str]:
        *parents, base = name.split("/")
        where = self._root
        for parent in parents:
            inner = where.seen[parent]
            assert isinstance(inner, _Directory), name
            where = inner
        return where, base

    def _find(self, name: str) -> _Node:
        if not name:
            return self._root
        where, base = self._place(name)
        return where.seen[base]

    def replay(self, entry: Entry) -> None:
        """One more entry. Raises Unfollowed."""
        self._number = entry.number
        if entry.kind == "!" or (entry.kind == "O" and entry.other):
            raise Unfollowed(f"{entry.name}: {entry.other}")
        if entry.kind == "O":
            self._open(entry)
        elif entry.kind in "WT":
            node = self._handles[entry.handle]
            assert isinstance(node, _File), entry
            node.change(_Change(entry.number, entry.a, entry.data if entry.kind == "W" else None))
        elif entry.kind == "S":
            self._handles[entry.handle].sync(entry.a)
        elif entry.kind == "F":
            node = self._handles[entry.handle]
            if isinstance(node, _File):
                node.doom(entry.a)
        elif entry.kind == "Y":
            for node in self._nodes:
                node.sync(entry.a)
        else:
            self._change_names(entry)

    def _open(self, entry: Entry) -> None:
        if entry.flags & CREATED:
            where, base = self._place(entry.name)
            node = self._add(_File())
            where.change(entry.number, {base: node})
        else:
            node = self._find(entry.name)
        if entry.flags & TRUNCATED:
            assert isinstance(node, _File), entry
            node.change(_Change(entry.number, 0, None))
        self._handles[entry.handle] = node

    def _change_names(self, entry: Entry) -> None:
        where, base = self._place(entry.name)
        if entry.kind == "M":
            where.change(entry.number, {base: self._add(_Directory())})
        elif entry.kind == "U":
            where.change(entry.number, {base: None})
        elif entry.kind == "L":
            there, new = self._place(entry.other)
            there.change(entry.number, {new: where.seen[base]})
        else:
            assert entry.kind == "N", entry
            there, new = self._place(entry.other)
            node = where.seen[base]
            if there is where:
                where.change(entry.number, {base: None, new: node})
            else:
                there.change(entry.number, {new: node})
                where.change(entry.number, {base: None})

    # -- what is there -------------------------------------------------------------------------

    def seen(self) -> Tree:
        """What the process saw in the end, and what SIGKILL alone leaves."""
        return _tree(self._root, lambda node: node.seen, lambda node: bytes(node.seen))

    def unsafe(self) -> int:
        """How many changes no sync has covered."""
        return sum(len(node.pending) for node in self._nodes)

    def cut(self, mode: Mode, seed: int) -> Tree:
        """What the disk holds when the power comes back."""
        if mode is Mode.STRICT:
            return _tree(self._root, lambda node: node.safe, lambda node: bytes(node.safe))
        random = Random(seed)
        moment = random.randint(0, self._number)
        return _tree(self._root, lambda node: node.draw(moment), lambda node: node.draw(random))


def _tree(
    root: _Directory,
    names: Callable[[_Directory], dict[str, _Node]],
    contents: Callable[[_File], bytes],
) -> Tree:
    tree: Tree = {}

    def walk(directory: _Directory, above: str) -> None:
        for name, node in sorted(names(directory).items()):
            path = above + name
            if isinstance(node, _Directory):
                tree[path] = None
                walk(node, path + "/")
            else:
                tree[path] = contents(node)

    walk(root, "")
    return tree
