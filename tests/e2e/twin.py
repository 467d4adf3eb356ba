"""The same etcdctl command on the store under test and on a real etcd, and their outputs compared.

What may differ between two right stores is taken out first (printed.py). A revision is compared as
its distance from where the test began, and commands name revisions in the same way: `Rev(1)` is the
revision of the test's first write on either store. What is left has to be equal to the byte, texts
of errors and exit codes included.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from tests.e2e.etcdctl import Event, Watch, text
from tests.e2e.grpcclient import Rpc
from tests.e2e.printed import Ground, without_log
from tests.e2e.processes import Finished, Process, Supervisor, Timeout, wait_for
from tests.e2e.store import Store

WATCH_S_MAX: Final = 15.0
SAY_S_MAX: Final = 15.0
AT_ONCE: Final = ThreadPoolExecutor(2)  # a command runs on both stores at the same time


class Rev(NamedTuple):
    """A revision as its distance from the test's beginning."""

    distance: int


class LeaseOf(NamedTuple):
    """The lease granted under this name by `Twin.grant`."""

    name: str


Arg = str | Rev | LeaseOf


@dataclass
class Side(Ground):
    """One of the two stores within one test."""

    store: Store = field(kw_only=True)
    name: str = field(kw_only=True)

    @classmethod
    def of(cls, store: Store, name: str) -> Side:
        """A store as it stands now."""
        header = store.etcdctl.header
        ids = {
            text: name
            for name in ("member_id", "cluster_id")
            for text in (str(header[name]), f"{header[name]:x}")
        }
        with Rpc(store.port) as rpc:
            return cls(store.endpoint, rpc.revision(), ids, store=store, name=name)

    def words(self, args: Sequence[Arg]) -> list[str]:
        """The arguments for this store; a revision or a lease is glued to a flag before it."""
        words: list[str] = []
        for arg in args:
            if isinstance(arg, str):
                words.append(self.placed(arg))
                continue
            word = str(self.base + arg.distance) if isinstance(arg, Rev) else self.leases[arg.name]
            assert words, "a revision or a lease follows its flag or stands after a command"
            if words[-1].endswith("="):
                words[-1] += word
            else:
                words.append(word)
        return words

    def placed(self, word: str) -> str:
        """`{ENDPOINT}` and `{SIDE}` replaced by what stands for this store."""
        return word.replace("{ENDPOINT}", self.endpoint).replace("{SIDE}", self.name)

    def script(self, stdin: str) -> str:
        """Standard input, with `{+1}` for the revision of the test's first write."""
        return re.sub(r"\{\+(\d+)\}", lambda found: str(self.base + int(found[1])), stdin)


class Twin:
    """The store under test, and beside it an etcd that is told the same."""

    def __init__(self, ours: Store, etcd: Store) -> None:
        self._ours, self._etcd = self.sides = tuple(
            AT_ONCE.map(Side.of, (ours, etcd), ("ours", "etcd"))
        )

    def hiding(self, *names: str) -> Twin:
        """The same two, compared without the fields, labels or columns of these names."""
        other = copy(self)
        other._ours, other._etcd = other.sides = (
            replace(self._ours, hidden=self._ours.hidden | set(names)),
            replace(self._etcd, hidden=self._etcd.hidden | set(names)),
        )
        return other

    def both(self, *args: Arg, stdin: str = "", env: Mapping[str, str] | None = None) -> Finished:
        """Run on both, compare; our answer. {ENDPOINT} and {SIDE} in a word are each store's."""
        return self._same(
            lambda side: side.store.etcdctl.run(
                *side.words(args), stdin=side.script(stdin), env=env
            )
        )

    def bare(self, *args: Arg, env: Mapping[str, str] | None = None) -> Finished:
        """As `both`, with no flag but those given: the endpoint has to be named by one."""
        return self._same(
            lambda side: side.store.etcdctl.bare(
                *side.words(args),
                env={name: side.placed(value) for name, value in (env or {}).items()},
            )
        )

    def _same(self, command: Callable[[Side], Finished]) -> Finished:
        ours, theirs = AT_ONCE.map(command, self.sides)
        want = self._outcome(self._etcd, theirs)
        have = self._outcome(self._ours, ours)
        assert have == want, f"\nthe store under test: {ours}\netcd: {theirs}"
        return ours

    @staticmethod
    def _outcome(side: Side, done: Finished) -> tuple[int, str, str]:
        return done.code, side.comparable(done.stdout), side.comparable(done.stderr)

    def ok(self, *args: Arg, stdin: str = "") -> str:
        """As `both`; the command has to succeed. Our output."""
        return self.both(*args, stdin=stdin).ok()

    def json(self, *args: Arg, stdin: str = "") -> Any:
        """As `ok`; our output as JSON."""
        return json.loads(self.ok(*args, "-w", "json", stdin=stdin))

    def each(self, *args: Arg) -> list[str]:
        """What each prints, ours first, where a test compares by itself."""
        return [*AT_ONCE.map(lambda side: side.store.etcdctl.ok(*side.words(args)), self.sides)]

    def fails(self, *args: Arg, stdin: str = "") -> str:
        """As `both`; the command has to fail. What it printed on stderr."""
        done = self.both(*args, stdin=stdin)
        assert done.code != 0, str(done)
        return done.stderr.strip()

    def keys(self, *args: Arg) -> list[str]:
        """The keys that a get found, in order."""
        return [text(pair["key"]) for pair in self.json("get", *args).get("kvs", [])]

    def grant(self, name: str, seconds: int) -> None:
        """A lease on each side, to be named by LeaseOf(name)."""
        for side in self.sides:
            granted = side.store.etcdctl.json("lease", "grant", str(seconds))
            assert granted["TTL"] == seconds, granted
            side.leases[name] = f"{granted['ID']:x}"

    def lease(self, name: str) -> str:
        """Our lease of this name, as etcdctl lists it."""
        return self._ours.leases[name]

    def relative(self, revision: int) -> int:
        """A revision of the store under test as its distance from the test's beginning."""
        return revision - self._ours.base

    def start(
        self,
        supervisor: Supervisor,
        *args: Arg,
        typed: bool = False,
        env: Mapping[str, str] | None = None,
    ) -> TwinProcess:
        """A command that stays, on both."""

        def started(side: Side) -> Process:
            argv = side.store.etcdctl.argv(*side.words(args))
            return supervisor.add(f"etcdctl-{args[0]}", argv, typed=typed, env=env).start()

        return TwinProcess(tuple((side, started(side)) for side in self.sides))

    def watch(self, supervisor: Supervisor, *args: Arg) -> TwinWatch:
        """`etcdctl watch` on both; name a revision, else there is no telling when it began."""
        return TwinWatch(
            tuple(
                (side, Watch.start(supervisor, side.store.etcdctl, side.words(args)))
                for side in self.sides
            )
        )


@dataclass(frozen=True)
class TwinWatch:
    """A watch on either store."""

    watches: tuple[tuple[Side, Watch], ...]

    def wait(self, count: int) -> list[Event]:
        """The events of both sides, found equal; revisions are distances."""
        ours, theirs = (
            [event._replace(revision=event.revision - side.base) for event in watch.wait(count)]
            for side, watch in self.watches
        )
        assert ours == theirs
        pairs = [
            [json.dumps(side.plain(answer["Events"])) for answer in watch.answers()]
            for side, watch in self.watches
        ]
        assert "".join(pairs[0]).replace("][", ", ") == "".join(pairs[1]).replace("][", ", ")
        return ours

    def ends(self) -> list[str]:
        """What each side printed when its watch ended by itself."""
        wait_for(
            "both watches to end",
            lambda: not any(watch.process.alive for _, watch in self.watches),
            WATCH_S_MAX,
        )
        lines = [
            "\n".join(line for line in watch.process.text().splitlines() if line[:1] not in "{")
            for _, watch in self.watches
        ]
        assert lines[0] == lines[1]
        codes = [watch.process.code for _, watch in self.watches]
        assert codes[0] == codes[1]
        return lines[0].splitlines()


@dataclass(frozen=True)
class TwinProcess:
    """A command that stays, on either store."""

    processes: tuple[tuple[Side, Process], ...]

    def said(self) -> list[str]:
        """What each side printed so far, made comparable."""
        return [side.comparable(without_log(process.text())) for side, process in self.processes]

    def says(self, want: str) -> None:
        """Wait until both have printed just this; more or other than this is a failure."""
        try:
            wait_for("both to print it", lambda: self.said() == [want, want], SAY_S_MAX)
        except Timeout:
            assert self.said() == [want, want]

    def type(self, line: str) -> None:
        """A line on standard input; `{+1}` is the revision of the test's first write."""
        for side, process in self.processes:
            process.write(side.script(line) + "\n")

    def terminate(self) -> int:
        """SIGTERM to both; their exit code."""
        return self._same_code([process.terminate() for _, process in self.processes])

    def kill(self) -> None:
        """SIGKILL to both: nothing is cleaned up."""
        for _, process in self.processes:
            process.kill()

    def ends(self) -> int:
        """Both end by themselves; their exit code."""
        return self._same_code([process.wait(SAY_S_MAX) for _, process in self.processes])

    @staticmethod
    def _same_code(codes: list[int]) -> int:
        assert codes[0] == codes[1], codes
        return codes[0]
