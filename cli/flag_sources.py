"""Where the values of flags come from: the command line, variables, or a configuration file.

What it is: every flag's value as text, with its source for messages, and what was ignored. What it
is not: what a value means (`serve_config.py`).

Invariants: an unknown flag, key or ETCD_ variable that etcd has is never passed over in silence; of
several sources of one flag exactly one counts.

Worked example: with KUBEBRAID_NAME=a and ETCD_NAME=b, `values["name"]` is a, and
`values.named("name")` is KUBEBRAID_NAME.

Tested in tests/unit/cli/test_serve_config.py.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NoReturn

from .config_file import BadConfigFile, read_config_file
from .flags import BY_NAME, FLAGS, PREFIXES, Flag, nearest
from .refused_flags import why_refused

OURS, ETCDS = PREFIXES
_CONFIG_FILE: Final = "config-file"
# Variables that are no flags: about other programs, and what Kubernetes sets for each Service.
_FOREIGN: Final = {"ETCD_VERSION", "ETCD_CLIENT_DEBUG"}
_SERVICE: Final = re.compile(r"_(SERVICE_(HOST|PORT).*|PORT(_\d+_(TCP|UDP|SCTP).*)?)$")


class BadFlags(ValueError):
    """The command line cannot be served; the text is for the operator."""

    definite = True
    hint = "see 'kubebraid serve --help'"


class Values:
    """The value of each flag, and where it is from."""

    def __init__(
        self, given: Mapping[str, tuple[str, str]], warnings: Sequence[str], of_file: bool
    ) -> None:
        """`given`: name -> (value, source). What is not given has its default."""
        self._given = given
        self.warnings = tuple(warnings)
        self.of_file = of_file

    def __getitem__(self, name: str) -> str:
        flag = BY_NAME[name]
        return self._given[name][0] if name in self._given else flag.default

    def named(self, name: str) -> str:
        """How the operator knows it: the flag, its variable, or a key of the file."""
        return self._given[name][1] if name in self._given else f"--{name}"


def read_values(argv: Sequence[str], environ: Mapping[str, str]) -> Values:
    """Raises BadFlags; exits for --help, as argparse does."""
    flags = {name: (value, f"--{name}") for name, value in _command_line(argv).items()}
    variables = _variables(environ)
    path, source = flags.get(_CONFIG_FILE) or variables.get(_CONFIG_FILE) or ("", "")
    if path:
        given = _file(path, source)
        ignored = [source for name, (_, source) in flags.items() if name != _CONFIG_FILE]
        ignored += [name for name, flag in _known_variables(environ) if flag.name != _CONFIG_FILE]
        ignored += _refused_variables(environ)
        warnings = [f"{other} is ignored: {path} alone is the configuration" for other in ignored]
    else:
        refused = _refused_variables(environ)
        if refused:
            raise BadFlags(_refusal(refused, _flag_of(refused[0], ETCDS)))
        given = {**variables, **flags}
        warnings = [_unknown_variable(name) for name in _unknown_variables(environ)]
    for name, (value, named) in given.items():
        choices = BY_NAME[name].choices
        if choices and value not in choices:
            raise BadFlags(f"{named}={value} is none of {', '.join(choices)}")
    return Values(given, warnings, bool(path))


# -- the command line -----------------------------------------------------------------------------


def _argument_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="kubebraid serve",
        description="Serve the etcd v3 API from one process, on one data directory.",
        epilog="Each flag is also a variable: --data-dir is KUBEBRAID_DATA_DIR or ETCD_DATA_DIR.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    for flag in FLAGS:
        parser.add_argument(
            f"--{flag.name}", action=_Once, dest=flag.name, help=_help(flag), metavar="VALUE"
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
        setattr(namespace, self.dest, values)


def _command_line(argv: Sequence[str]) -> dict[str, str]:
    """What was given, by name."""
    namespace, others = _argument_parser().parse_known_args(argv)
    refused = [_name(word) for word in others if why_refused(_name(word)) is not None]
    if refused:
        raise BadFlags(_refusal([f"--{name}" for name in refused], refused[0]))
    if others:
        raise BadFlags(_unknown("--", _name(others[0]), "flag", others[0]))
    return dict(vars(namespace))


def _name(word: str) -> str:
    """The flag that a word of the command line names; empty if it names none."""
    return word.lstrip("-").partition("=")[0] if word.startswith("-") else ""


def _refusal(words: Sequence[str], name: str) -> str:
    """The sentence of the first, and the names of those that would be refused after it."""
    others = list(dict.fromkeys(words[1:]))
    more = f" (nor is there {', '.join(others)})" if others else ""
    return f"{words[0]} is a flag of etcd that is not there: {why_refused(name)}{more}"


def _unknown(prefix: str, name: str, kind: str, word: str) -> str:
    if not name:
        return f"{word!r} is no flag: flags begin with --"
    near = nearest(name, BY_NAME)
    meant = "" if near is None else f"; did you mean {prefix}{near}"
    return f"unknown {kind} {prefix}{name}{meant}"


# -- variables ------------------------------------------------------------------------------------


def _known_variables(environ: Mapping[str, str]) -> Iterable[tuple[str, Flag]]:
    """Those that are set and stand for flags, the weaker prefix first."""
    for prefix in reversed(PREFIXES):
        for flag in FLAGS:
            if environ.get(flag.variable(prefix)):
                yield flag.variable(prefix), flag


def _variables(environ: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    return {flag.name: (environ[name], name) for name, flag in _known_variables(environ)}


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


def _unknown_variables(environ: Mapping[str, str]) -> list[str]:
    known = {flag.variable(OURS) for flag in FLAGS}
    return [
        name
        for name in sorted(environ)
        if name.startswith(OURS) and name not in known and not _SERVICE.search(name)
    ]


def _unknown_variable(name: str) -> str:
    near = nearest(_flag_of(name, OURS), BY_NAME)
    meant = "" if near is None else f"; did you mean {BY_NAME[near].variable(OURS)}"
    return f"unknown variable {name}{meant}"


def _flag_of(variable: str, prefix: str) -> str:
    return variable.removeprefix(prefix).lower().replace("_", "-")


# -- a file ---------------------------------------------------------------------------------------


def _file(path: str, source: str) -> dict[str, tuple[str, str]]:
    try:
        found = read_config_file(path)
    except BadConfigFile as error:
        raise BadFlags(f"{source}: {error}; {error.hint}") from error
    given: dict[str, tuple[str, str]] = {}
    for name, value in found:
        if name == _CONFIG_FILE:
            raise BadFlags(f"{path}: {name} cannot stand in a configuration file")
        if name not in BY_NAME:
            refused = why_refused(name)
            if refused is not None:
                names = [other for other, _ in found if why_refused(other) and other not in BY_NAME]
                raise BadFlags(f"{path}: {_refusal(names, name)}")
            raise BadFlags(f"{path}: {_unknown('', name, 'key', name)}")
        given[name] = (value, f"{path}: {name}")
    return given
