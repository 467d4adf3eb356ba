"""What can be said to `kubebraid ctl`: the table of its commands, their names and their flags.

What it is: argv to a command with its words and flags, and the help. What it is not: what a command
does (`command.py`).

Invariants: a flag that a command does not know is refused, as is one that is given twice; whoever
is refused here has asked nobody anything (exit code 2).

Worked example: `tablet move pods --to=shard-1 --yes` is the command ("tablet", "move") with the
name pods; `--to=` to `tablet merge` is refused.

Tested in tests/unit/cli/test_ctl_command.py, tests/unit/cli/test_ctl_grammar.py.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from ..flag_values import bytes_in

VARIABLE: Final = "KUBEBRAID_ENDPOINT"
DEFAULT: Final = "http://127.0.0.1:2379"

UNITS_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000}
NUMBER: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?) *([a-zA-Z]*)")


class Command(NamedTuple):
    """`words`: noun and verb; `names`: what follows them, "..." for one and more of the last."""

    words: tuple[str, ...]
    names: tuple[str, ...]
    flags: frozenset[str]
    does: str

    @property
    def text(self) -> str:
        return " ".join((*self.words, *self.names))

    def takes(self, count: int) -> bool:
        """Whether so many names are right."""
        if self.names[-1:] == ("...",):
            return count >= len(self.names) - 1
        return count == len(self.names)


class BadValue(ValueError):
    """The flags of a command, taken together, are no request."""

    definite = True
    hint = "see 'kubebraid ctl --help'"


class Asked(NamedTuple):
    """A command, the names that follow it, and its flags, None where not given."""

    command: Command
    names: tuple[str, ...]
    flags: argparse.Namespace


SHOWS: Final = frozenset(("output",))
WAITS: Final = frozenset(("output", "no_wait"))
PLANS: Final = frozenset(("output", "no_wait", "yes", "dry_run", "manual", "rate"))


def _command(text: str, flags: Iterable[str], does: str) -> Command:
    words = text.split()
    names = tuple(word for word in words if word.isupper() or word == "...")
    return Command(tuple(words[: len(words) - len(names)]), names, frozenset(flags), does)


COMMANDS: Final = (
    _command("status", SHOWS, "all of a cluster, and what is wrong with it"),
    _command("shard list", SHOWS, "each shard as the router's link has it"),
    _command("tablet list", {*SHOWS, "hot"}, "each tablet: its range, its shard, how far it is"),
    _command("coordinator status", SHOWS, "each coordinator, and the sequencer"),
    _command("coordinator refill NAME", {"timeout"}, "one that lost its disk, until it is whole"),
    _command(
        "tablet split TABLET",
        {*PLANS, "at", "parts", "by", "hash", "to"},
        "cut a tablet by key, by sampled keys, or by hash",
    ),
    _command("tablet move TABLET", {*PLANS, "to"}, "to another shard"),
    _command("tablet merge TABLET ...", PLANS, "neighbours, or all hash buckets of a range"),
    _command("shard drain SHARD", PLANS, "move all of its tablets to the others"),
    _command("shard add SHARD", {"no_wait", "timeout"}, "how to start it, and wait until it is up"),
    _command("shard remove SHARD", (), "forget one that was drained; its process ends"),
    _command(
        "shard hand-over SHARD",
        {"to", "no_wait", "timeout"},
        "by another host from now on, without a copy (on TiKV)",
    ),
    _command("shard take-back SHARD", {"no_wait", "timeout"}, "by the host of its own name again"),
    _command("rebalance", PLANS, "move some tablets, so that shards carry about the same"),
    _command("reshard list", SHOWS, "all migrations that are known"),
    _command("reshard status ID", {*SHOWS, "watch"}, "one of them; --watch: until it has ended"),
    _command("reshard verify ID", WAITS, "whether the copy is equal to what it is a copy of"),
    _command(
        "reshard switch ID",
        {*WAITS, "max_pause", "max_lag"},
        "the target takes over (of a manual one that is ready)",
    ),
    _command("reshard reverse ID", WAITS, "back to where it came from (until complete)"),
    _command("reshard cancel ID", WAITS, "as if it had never been (until the switch)"),
    _command("reshard complete ID", {*WAITS, "keep_source"}, "no way back; the old rows go"),
    _command("reshard throttle ID", {"rate"}, "how fast it copies"),
)


class _Once(argparse.Action):
    """A flag that is given twice is a mistake."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        if getattr(namespace, self.dest) is not None:
            parser.error(f"{option_string} is given twice")
        setattr(namespace, self.dest, True if self.nargs == 0 else values)


def parse(argv: Sequence[str]) -> Asked | None:
    """None: no command is called so. Ends the process with exit code 2 where a flag is wrong, with
    0 where help was asked for."""
    parser = _parser()
    flags = parser.parse_intermixed_args(argv)
    words = tuple(flags.words)
    if flags.help:
        print(help_text(words))
        parser.exit(0)
    for command in COMMANDS:
        length = len(command.words)
        if words[:length] == command.words and command.takes(len(words) - length):
            _no_strangers(parser, command, flags)
            return Asked(command, words[length:], flags)
    return None


def _no_strangers(
    parser: argparse.ArgumentParser, command: Command, flags: argparse.Namespace
) -> None:
    given = {name for name, value in vars(flags).items() if value is not None}
    strange = given - command.flags - {"words", "endpoint", "help"}
    if command.words[0] not in ("status", "coordinator") and command.words[-1] != "list":
        strange.discard("yes")  # a script may say it to whatever changes something
    for name in sorted(strange):
        parser.error(f"--{name.replace('_', '-')} says nothing to '{command.text}'")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kubebraid ctl",
        allow_abbrev=False,
        add_help=False,
        usage="kubebraid ctl [FLAGS] WHAT (kubebraid ctl --help names all)",
    )
    parser.add_argument("words", nargs="*")
    parser.add_argument("-h", "--help", action="store_true", default=None)
    for name, (kind, _, _) in FLAGS.items():
        spelt = f"--{name.replace('_', '-')}"
        if kind is None:
            parser.add_argument(spelt, action=_Once, nargs=0)
        elif isinstance(kind, tuple):
            parser.add_argument(spelt, action=_Once, choices=kind)
        else:
            parser.add_argument(spelt, action=_Once, type=kind)
    return parser


# -- values ------------------------------------------------------------------------------------


def seconds(text: str) -> float:
    """Raises ValueError, which argparse tells."""
    found = float(text)
    if not 0 < found < float("inf"):
        raise ValueError(text)
    return found


def duration_ms(text: str) -> int:
    """Like 100ms or 2s, at least 1 ms. Raises ValueError."""
    found = NUMBER.fullmatch(text)
    if found is None or found[2].lower() not in UNITS_MS:
        raise ValueError(text)
    made = int(float(found[1]) * UNITS_MS[found[2].lower()])
    if made < 1:
        raise ValueError(text)
    return made


def rate(text: str) -> int:
    """Like 10MB or 64MiB (a second); 0: no limit. Raises ValueError."""
    found = bytes_in(text.removesuffix("/s"))
    if found is None:
        raise ValueError(text)
    return found


def count(text: str) -> int:
    """Two or more. Raises ValueError."""
    found = int(text)
    if found < 2:
        raise ValueError(text)
    return found


class Flag(NamedTuple):
    """`kind`: makes its value; a tuple: one of these; None: it has none. `value`: how it is called
    in the help."""

    kind: Callable[[str], object] | tuple[str, ...] | None
    value: str
    says: str


FLAGS: Final = {
    "endpoint": Flag(
        str,
        "URLS",
        f"of routers, separated by commas; the first that answers (default {DEFAULT}, or "
        f"{VARIABLE})",
    ),
    "output": Flag(("table", "json"), "", "default: table"),
    "yes": Flag(None, "", "do it without a question"),
    "dry_run": Flag(None, "", "show the plan and change nothing"),
    "no_wait": Flag(None, "", "return once it is recorded"),
    "manual": Flag(None, "", "stop before the switch, and before the old rows go"),
    "rate": Flag(rate, "10MB", "of the copy, a second; 0: no limit"),
    "at": Flag(str, "KEY", "the first key of the second part; a byte that is not text as \\xNN"),
    "parts": Flag(count, "N", "of about the same size, by sampled keys"),
    "by": Flag(("size", "load"), "", "what is about the same in all parts (default: size)"),
    "hash": Flag(count, "N", "buckets by hash of the key, a power of two"),
    "to": Flag(
        str,
        "SHARD",
        "of a split: shards, separated by commas, that the new tablets go to; of a hand-over: the "
        "host, named as the shard that it was started as",
    ),
    "max_pause": Flag(duration_ms, "100ms", "how long writes may wait; longer, and it is undone"),
    "max_lag": Flag(
        duration_ms, "50ms", "how far the copy may be behind; further, and it is refused"
    ),
    "keep_source": Flag(None, "", "leave the old rows where they were"),
    "watch": Flag(None, "", "until it has ended"),
    "hot": Flag(None, "", "by write rate, with size and latency"),
    "timeout": Flag(seconds, "SECONDS", "of a wait for a process (default 600; of a hand-over 60)"),
}


# -- help --------------------------------------------------------------------------------------


def named() -> str:
    """All commands on a line."""
    return ", ".join(command.text for command in COMMANDS)


def help_text(words: Sequence[str]) -> str:
    """Of the commands that begin so, with their flags; of all, without."""
    found = [c for c in COMMANDS if c.words[: len(words)] == tuple(words)]
    if not words or not found:
        found = [c for c in COMMANDS if words and c.words == tuple(words[: len(c.words)])]
    shown = found or list(COMMANDS)
    width = max(len(command.text) for command in shown)
    lines = ["usage: kubebraid ctl [FLAGS] WHAT", ""]
    lines += [f"  {command.text.ljust(width)}  {command.does}" for command in shown]
    known = frozenset(("endpoint", "output")).union(*(command.flags for command in shown))
    lines += ["", "flags:"]
    for name, (_, value, says) in FLAGS.items():
        if name in known:
            lines.append(f"  {_spelt(name, value).ljust(20)}  {says}")
    lines += ["", "exit codes: 0 done, 1 refused and nothing changed, 2 usage, 3 outcome unknown"]
    return "\n".join(lines)


def _spelt(name: str, value: str) -> str:
    kind = FLAGS[name][0]
    flag = f"--{name.replace('_', '-')}"
    if isinstance(kind, tuple):
        return f"{flag}={'|'.join(kind)}"
    return f"{flag}={value}" if value else flag
