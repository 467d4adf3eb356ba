"""Where the values of flags come from: the command line, variables, or a configuration file.

What it is: every flag's value as text, with its source for messages, and what was ignored, for
whatever command. What it is not: what a value means (`serve_config.py`, `role_config.py`).

Invariants: an unknown flag, key or ETCD_ variable that etcd has is never passed over in silence; of
several sources of one flag exactly one counts.

Worked example: with KUBEBRAID_NAME=a and ETCD_NAME=b, `values["name"]` is a, and
`values.named("name")` is KUBEBRAID_NAME.

Tested in tests/unit/cli/test_serve_config.py, tests/unit/cli/test_role_config.py.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NoReturn

from .config_file import BadConfigFile, read_config_file
from .flags import HANDED_ON, PREFIXES, SERVE, Command, Flag, nearest
from .refused_flags import why_refused

OURS, ETCDS = PREFIXES
_CONFIG_FILE: Final = "config-file"
_NO_KEYS: Final = (_CONFIG_FILE, "print-config")  # about the file itself, so not of it
# Variables that are no flags: about other programs, and what Kubernetes sets for each Service.
_FOREIGN: Final = {"ETCD_VERSION", "ETCD_CLIENT_DEBUG"}
CTLS: Final = frozenset(("KUBEBRAID_ENDPOINT",))  # of `kubebraid ctl`, in the same shell
_SERVICE: Final = re.compile(r"_(SERVICE_(HOST|PORT).*|PORT(_\d+_(TCP|UDP|SCTP).*)?)$")


class BadFlags(ValueError):
    """The command line cannot be obeyed; the text is for the operator."""

    definite = True
    hint = "see the command's --help"


class Values:
    """The value of each flag, and where it is from."""

    def __init__(
        self,
        command: Command,
        given: Mapping[str, tuple[str, str]],
        warnings: Sequence[str],
        of_file: bool,
    ) -> None:
        """`given`: name -> (value, source). What is not given has its default."""
        self.command = command
        self._flags = command.by_name
        self._given = given
        self.warnings = tuple(warnings)
        self.of_file = of_file

    def __getitem__(self, name: str) -> str:
        flag = self._flags[name]
        return self._given[name][0] if name in self._given else flag.default

    def is_given(self, name: str) -> bool:
        """Whether it was given, and not left to its default."""
        return name in self._given

    def named(self, name: str) -> str:
        """How the operator knows it: the flag, its variable, or a key of the file."""
        return self._given[name][1] if name in self._given else f"--{name}"


def read_values(
    argv: Sequence[str], environ: Mapping[str, str], command: Command = SERVE
) -> Values:
    """Raises BadFlags; exits for --help, as argparse does."""
    flags = {name: (value, f"--{name}") for name, value in _command_line(argv, command).items()}
    variables = _variables(environ, command)
    path, source = flags.get(_CONFIG_FILE) or variables.get(_CONFIG_FILE) or ("", "")
    alone = bool(path) and command.like_etcd
    if alone:
        given = _file(path, source, command)
        ignored = [source for name, (_, source) in flags.items() if name != _CONFIG_FILE]
        known = _known_variables(environ, command)
        ignored += [name for name, flag in known if flag.name != _CONFIG_FILE]
        ignored += _refused_variables(environ)
        warnings = [f"{other} is ignored: {path} alone is the configuration" for other in ignored]
    else:
        refused = _refused_variables(environ) if command.like_etcd else []
        if refused:
            raise BadFlags(_refusal(refused, _flag_of(refused[0], ETCDS)))
        given = {**(_file(path, source, command) if path else {}), **variables, **flags}
        unknown = _unknown_variables(environ, command)
        warnings = [_unknown_variable(name, command) for name in unknown]
    for name, (value, named) in given.items():
        choices = command.by_name[name].choices
        if choices and value not in choices:
            raise BadFlags(f"{named}={value} is none of {', '.join(choices)}")
    return Values(command, given, warnings, alone)


# -- the command line -----------------------------------------------------------------------------


def _argument_parser(command: Command) -> argparse.ArgumentParser:
    variables = " or ".join(f"{prefix}DATA_DIR" for prefix in command.prefixes)
    parser = _Parser(
        prog=f"kubebraid {command.name}",
        description=command.about,
        epilog=f"Each flag is also a variable, as --data-dir would be {variables}.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    for flag in command.flags:
        words = 0 if flag.switch else None
        parser.add_argument(
            f"--{flag.name}",
            action=_Once,
            dest=flag.name,
            help=_help(flag),
            metavar="VALUE",
            nargs=words,
        )
    return parser


def _help(flag: Flag) -> str:
    choices = f": {', '.join(flag.choices)}" if flag.choices else ""
    default = f" (default {flag.default})" if flag.default else ""
    return f"{flag.text}{choices}{default}".replace("%", "%%")


class _Parser(argparse.ArgumentParser):
    """One sentence on stderr and no usage dump: the sentence must not scroll away."""

    def error(self, message: str) -> NoReturn:
        raise BadFlags(message)


class _Once(argparse.Action):
    """A repeated flag is refused: which one was meant?"""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        if hasattr(namespace, self.dest):
            parser.error(f"{option_string} is given twice")
        setattr(namespace, self.dest, "true" if self.nargs == 0 else values)


def _command_line(argv: Sequence[str], command: Command) -> dict[str, str]:
    """What was given, by name."""
    namespace, others = _argument_parser(command).parse_known_args(argv)
    refused = [_name(word) for word in others if why_refused(_name(word)) is not None]
    if refused and command.like_etcd:
        raise BadFlags(_refusal([f"--{name}" for name in refused], refused[0]))
    if others:
        raise BadFlags(_unknown("--", _name(others[0]), "flag", others[0], command))
    return dict(vars(namespace))


def _name(word: str) -> str:
    """The flag that a word of the command line names; empty if it names none."""
    return word.lstrip("-").partition("=")[0] if word.startswith("-") else ""


def _refusal(words: Sequence[str], name: str) -> str:
    """The sentence of the first, and the names of those that would be refused after it."""
    others = list(dict.fromkeys(words[1:]))
    more = f" (nor is there {', '.join(others)})" if others else ""
    return f"{words[0]} is a flag of etcd that is not there: {why_refused(name)}{more}"


def _unknown(prefix: str, name: str, kind: str, word: str, command: Command) -> str:
    if not name:
        return f"{word!r} is no flag: flags begin with --"
    near = nearest(name, command.by_name)
    meant = "" if near is None else f"; did you mean {prefix}{near}"
    return f"unknown {kind} {prefix}{name}{meant}"


# -- variables ------------------------------------------------------------------------------------


def _known_variables(environ: Mapping[str, str], command: Command) -> Iterable[tuple[str, Flag]]:
    """Those that are set and stand for flags, the weaker prefix first."""
    for prefix in reversed(command.prefixes):
        for flag in command.flags:
            if environ.get(flag.variable(prefix)):
                yield flag.variable(prefix), flag


def _variables(environ: Mapping[str, str], command: Command) -> dict[str, tuple[str, str]]:
    return {flag.name: (environ[name], name) for name, flag in _known_variables(environ, command)}


def _refused_variables(environ: Mapping[str, str]) -> list[str]:
    """etcd's variables for what is not there, where they ask for something."""
    return [
        name
        for name, value in sorted(environ.items())
        if name.startswith(ETCDS)
        and value not in ("", "false")
        and name not in _FOREIGN
        and not _SERVICE.search(name)
        and why_refused(_flag_of(name, ETCDS)) is not None
    ]


def _unknown_variables(environ: Mapping[str, str], command: Command) -> list[str]:
    known = {flag.variable(OURS) for flag in command.flags}
    return [
        name
        for name in sorted(environ)
        if name.startswith(OURS)
        and name not in known | CTLS | HANDED_ON
        and not _SERVICE.search(name)
    ]


def _unknown_variable(name: str, command: Command) -> str:
    near = nearest(_flag_of(name, OURS), command.by_name)
    meant = "" if near is None else f"; did you mean {command.by_name[near].variable(OURS)}"
    return f"unknown variable {name}{meant}"


def _flag_of(variable: str, prefix: str) -> str:
    return variable.removeprefix(prefix).lower().replace("_", "-")


# -- a file ---------------------------------------------------------------------------------------


def _file(path: str, source: str, command: Command) -> dict[str, tuple[str, str]]:
    try:
        found = read_config_file(path)
    except BadConfigFile as error:
        raise BadFlags(f"{source}: {error}; {error.hint}") from error
    given: dict[str, tuple[str, str]] = {}
    flags = command.by_name
    for name, value in found:
        if name in _NO_KEYS:
            raise BadFlags(f"{path}: {name} cannot stand in a configuration file")
        if name not in flags:
            if command.like_etcd and why_refused(name) is not None:
                names = [other for other, _ in found if why_refused(other) and other not in flags]
                raise BadFlags(f"{path}: {_refusal(names, name)}")
            raise BadFlags(f"{path}: {_unknown('', name, 'key', name, command)}")
        given[name] = (value, f"{path}: {name}")
    return given
