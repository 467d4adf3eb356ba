"""Is that all of etcdctl? Its own help lists every command and flag; each has to have been typed.

What it is: a check of the other files test_etcdctl*.py, by what they typed in this session
(`etcdctl.TYPED`). What it is not: a proof that an answer was right; the other files are that.

It says something only if all of those files ran, so without one of them it is skipped. Its name is
late in the alphabet because it has to run behind them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.e2e.etcdctl import TYPED
from tests.e2e.processes import Peers, run
from tests.e2e.store import UNDER_TEST, Kind

pytestmark = pytest.mark.e2e

FILES: Final = frozenset(
    f"test_etcdctl{topic}.py"
    for topic in ("", "_admin", "_concurrency", "_flags", "_mirror", "_snapshot", "_watch")
)
NO_SERVER: Final = frozenset({"completion", "help", "options", "version"})
TLS: Final = "TLS is not there"
DNS: Final = "asks the name service, before there is any server"
UNTYPED: Final[dict[tuple[str, str], str]] = {
    ("", "--cacert"): TLS,
    ("", "--cert"): TLS,
    ("", "--key"): TLS,
    ("", "--insecure-skip-tls-verify"): TLS,
    ("", "--discovery-srv"): DNS,
    ("", "--discovery-srv-name"): DNS,
    ("make-mirror", "--dest-cacert"): TLS,
    ("make-mirror", "--dest-cert"): TLS,
    ("make-mirror", "--dest-key"): TLS,
}
COMMAND: Final = re.compile(r"^  ([a-z-]+) {1,}\S")
FLAG: Final = re.compile(r"^ +(?:(-\w), )?(--[\w-]+)")


class Flag(NamedTuple):
    """A flag of etcdctl, long and (if there is one) short."""

    long: str
    short: str


Commands = dict[str, tuple[Flag, ...]]  # the path of a command -> its own flags; "" has the global


def flags_of(text: str) -> tuple[Flag, ...]:
    """The flags that a help text lists."""
    found = [FLAG.match(line) for line in text.splitlines()]
    flags = [Flag(each[2], each[1] or "") for each in found if each]
    return tuple(flag for flag in flags if flag.long != "--help")


def subcommands(text: str) -> Iterator[str]:
    """The commands that a help text lists."""
    listing = False
    for line in text.splitlines():
        listing = line.endswith(("ommands", "ommands:")) or (listing and line.startswith("  "))
        found = COMMAND.match(line)
        if listing and found:
            yield found[1]


def explore(etcdctl: str, path: tuple[str, ...] = ()) -> Commands:
    """Every command below this one that talks to a server, by etcdctl's own help."""
    text = run((etcdctl, *path, "--help")).ok()
    below = [name for name in subcommands(text) if name not in NO_SERVER]
    if not below:
        return {" ".join(path): flags_of(text)}
    found: Commands = {}
    for name in below:
        found |= explore(etcdctl, (*path, name))
    return found


def typed(commands: Commands) -> set[tuple[str, str]]:
    """What this session typed: each command with "" and with each of its flags."""
    seen: set[tuple[str, str]] = set()
    for words in TYPED:
        path = command_of(words, commands)
        if path is not None:
            seen.add((path, ""))
            seen.update((path, flag) for flag in given(words, commands[path]))
        seen.update(("", flag) for flag in given(words, commands[""]))
    return seen


def command_of(words: Sequence[str], commands: Commands) -> str | None:
    """The command of a line: its first words that are no flags."""
    plain = [word for word in words if not word.startswith("-")]
    for length in (2, 1):
        path = " ".join(plain[:length])
        if path in commands:
            return path
    return None


def given(words: Sequence[str], flags: Sequence[Flag]) -> Iterator[str]:
    """The flags among the words before `--`."""
    before = words[: words.index("--")] if "--" in words else words
    names = {word.partition("=")[0] for word in before if word.startswith("-")}
    return (flag.long for flag in flags if names & {flag.long, flag.short})


@pytest.fixture(scope="module")
def commands(peers: Peers) -> Commands:
    """All of etcdctl."""
    etcdctl = peers.path("etcdctl")
    return {"": flags_of(run((etcdctl, "options")).ok()), **explore(etcdctl)}


def test_the_help_is_read_rightly(commands: Commands) -> None:
    """A change of its wording must not make this file see nothing."""
    assert len(commands) >= 45
    assert {flag.long for flag in commands["put"]} == {
        *("--ignore-lease", "--ignore-value", "--lease", "--prev-kv"),
    }
    assert Flag("--listen", "-l") in commands["elect"]
    assert Flag("--cluster", "") in commands["endpoint status"]
    assert Flag("--write-out", "-w") in commands[""]
    assert not NO_SERVER & commands.keys()


def test_what_was_typed_is_read_rightly(commands: Commands) -> None:
    """Values, empty words and what follows two dashes are no flags."""

    def flags(*words: str) -> list[str]:
        path = command_of(words, commands)
        assert path is not None
        return sorted(given(words, commands[path]))

    assert flags("get", "", "--prefix", "--limit=3", "x=--rev", "-w", "json") == [
        *("--limit", "--prefix"),
    ]
    assert flags("elect", "-l", "vote") == ["--listen"]
    assert flags("watch", "a", "--rev=1", "--", "sh", "--prefix") == ["--rev"]
    assert command_of(("lease", "keep-alive", "1", "--once"), commands) == "lease keep-alive"
    assert command_of(("-w", "json", "unknown"), commands) is None


def test_every_command_and_flag_of_etcdctl_was_typed(
    commands: Commands, request: pytest.FixtureRequest
) -> None:
    if UNDER_TEST == (Kind.ETCD,):
        pytest.skip("the store under test is etcd, where what we refuse is not typed")
    ran = {item.path.name for item in request.session.items}
    if request.config.option.keyword or not ran >= FILES:
        pytest.skip(f"says something only when all of {', '.join(sorted(FILES))} run whole")
    every = {(path, flag.long) for path, flags in commands.items() for flag in flags}
    every |= {(path, "") for path in commands if path}
    seen = typed(commands)
    assert sorted(every - seen - UNTYPED.keys()) == []
    outlived = {each for each in UNTYPED if each in seen or each not in every}
    assert outlived == set(), "typed after all, or not there any more"


def test_all_files_are_known() -> None:
    here = {path.name for path in Path(__file__).parent.glob("test_etcdctl*.py")}
    assert here == FILES | {Path(__file__).name, "test_etcdctl_workload.py"}
