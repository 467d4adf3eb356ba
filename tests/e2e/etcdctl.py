"""etcdctl as a client under test: commands that end, and watches that stay."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple

from tests.e2e.printed import without_log
from tests.e2e.processes import Finished, Peers, Process, Supervisor, run, wait_for

COMMAND_S: Final = 10  # etcdctl's own bound on a command
EVENTS_S_MAX: Final = 15.0
TYPED: Final[list[tuple[str, ...]]] = []  # every command of this session, without the usual flags


class Etcdctl:
    """etcdctl on one endpoint."""

    def __init__(self, peers: Peers, endpoint: str) -> None:
        self.endpoint = endpoint
        self._head = (
            peers.path("etcdctl"),
            f"--endpoints={endpoint}",
            f"--command-timeout={COMMAND_S}s",
            "--dial-timeout=3s",
        )

    def argv(self, *args: str) -> tuple[str, ...]:
        """The whole command line."""
        TYPED.append(args)
        return (*self._head, *args)

    def run(self, *args: str, stdin: str = "", env: Mapping[str, str] | None = None) -> Finished:
        """Run a command; what the client library logs is cut from stderr."""
        return self._run(self.argv(*args), stdin, env)

    def bare(self, *args: str, env: Mapping[str, str] | None = None) -> Finished:
        """Run a command with no flag but those given; the endpoint has to be among them."""
        TYPED.append(args)
        return self._run((self._head[0], *args), "", env)

    @staticmethod
    def _run(argv: Sequence[str], stdin: str, env: Mapping[str, str] | None) -> Finished:
        done = run(argv, stdin=stdin, env=env, seconds=COMMAND_S * 3)
        return Finished(done.argv, done.code, done.stdout, without_log(done.stderr))

    def octets(self, *args: str) -> bytes:
        """The output of a command that prints no text."""
        printed = run(("sh", "-c", '"$@" | base64', "sh", *self.argv(*args))).ok()
        return base64.b64decode(printed)

    def ok(self, *args: str, stdin: str = "") -> str:
        """The output of a command that has to succeed."""
        return self.run(*args, stdin=stdin).ok()

    def json(self, *args: str, stdin: str = "") -> Any:
        """The answer of a command that has to succeed, as etcdctl's JSON."""
        return json.loads(self.ok(*args, "-w", "json", stdin=stdin))

    @cached_property
    def header(self) -> dict[str, int]:
        """The ids of cluster and member, which stay."""
        header = self.json("member", "list")["header"]
        assert isinstance(header, dict)
        return header

    def put(self, key: str, value: str) -> int:
        """Write a key; the revision of the write."""
        return int(self.json("put", key, value)["header"]["revision"])

    def revision(self) -> int:
        """The store's present revision."""
        return int(self.json("get", "no-such-key")["header"]["revision"])

    def values(self, prefix: str) -> dict[str, str]:
        """All keys below a prefix."""
        answer = self.json("get", prefix, "--prefix")
        return {text(pair["key"]): text(pair.get("value", "")) for pair in answer.get("kvs", [])}


def text(field: str) -> str:
    """A key or a value in etcdctl's JSON."""
    return base64.b64decode(field).decode()


class Event(NamedTuple):
    """One event as a watch told it; `previous` is None unless the watch asked for it and it was."""

    kind: str
    key: str
    value: str
    revision: int
    previous: str | None


@dataclass(frozen=True)
class Watch:
    """A running `etcdctl watch`; what it printed is in its log."""

    process: Process

    @classmethod
    def start(cls, supervisor: Supervisor, etcdctl: Etcdctl, args: Sequence[str]) -> Watch:
        """`etcdctl watch <args>`, printing JSON: one line an answer."""
        argv = etcdctl.argv("watch", *args, "-w", "json")
        return cls(supervisor.add("watch", argv).start())

    @classmethod
    def start_many(cls, supervisor: Supervisor, etcdctl: Etcdctl, lines: Sequence[str]) -> Watch:
        """Watches in one stream, each line like `watch a/ --prefix`; live when this returns."""
        argv = etcdctl.argv("watch", "-i", "-w", "json")
        watch = cls(supervisor.add("watch", argv, typed=True).start())
        for line in lines:
            watch.process.write(line + "\n")
        wait_for("the watches to be live", watch._live, EVENTS_S_MAX)
        return watch

    def _live(self) -> bool:
        # Progress on demand is answered only once every watch of the stream is created and synced;
        # a request before that is dropped, hence the asking again.
        self.process.write("progress\n")
        return self.progress() > 0

    def progress(self) -> int:
        """The highest revision that a progress answer told, or 0."""
        lines = [line for line in self._lines() if line.startswith("progress notify: ")]
        return max((int(line.rsplit(maxsplit=1)[1]) for line in lines), default=0)

    def _lines(self) -> list[str]:
        printed = self.process.text()
        return printed[: printed.rfind("\n") + 1].splitlines()

    def answers(self) -> list[dict[str, Any]]:
        """What the server answered that has events, in order."""
        parsed = [json.loads(line) for line in self._lines() if line.startswith("{")]
        return [answer for answer in parsed if answer.get("Events")]

    def events(self) -> list[Event]:
        """All events so far."""
        return [event(raw) for answer in self.answers() for raw in answer["Events"]]

    def wait(self, count: int) -> list[Event]:
        """The events, once there are `count`; more than that is a failure."""
        wait_for(f"{count} events", lambda: len(self.events()) >= count, EVENTS_S_MAX)
        events = self.events()
        assert len(events) == count, f"{len(events)} events where {count} were expected: {events}"
        return events


def event(raw: dict[str, Any]) -> Event:
    """One event of etcdctl's JSON, where the type of a put is left out."""
    pair = raw["kv"]
    previous = raw.get("prev_kv")
    return Event(
        kind="DELETE" if raw.get("type") else "PUT",
        key=text(pair["key"]),
        value=text(pair.get("value", "")),
        revision=pair["mod_revision"],
        previous=None if previous is None else text(previous.get("value", "")),
    )
