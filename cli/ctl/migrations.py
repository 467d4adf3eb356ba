"""`kubebraid ctl reshard ...`: migrations that are known, and an operator's word about one.

What it is: lists, one of them watched, and the words switch, reverse, cancel, complete, throttle.
What it is not: what a word does (coordinator/phases.py).

Invariants: a word that is repeated does nothing more; a wait ends where the word leads, or where it
is undone.

Worked example: `reshard cancel move-pods-7f3a` ends with 0 when the migration is aborted, and with
1 at once where it was committed before.

Tested in tests/unit/cli/test_ctl_reshard.py.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple

from kubebraid.base.reshard import Action, Control
from kubebraid.proto.adminreshard import Progress

from .ask import NotDone, NotKnown
from .figures import size
from .grammar import Asked, BadValue
from .operator import EXIT_DONE, EXIT_REFUSED, EXIT_UNKNOWN, Operator, complain, go_on_hint
from .shown import migration_document, migration_text, migrations_table
from .wait import Lost, Seen

ENDS: Final = ("done", "aborted")
VERIFIED: Final = ("ready", "frozen", "committed", "draining", "done")


class _Word(NamedTuple):
    """goal: the phases that it leads to; back: whether READY behind it means that it failed."""

    action: Action
    goal: Collection[str]
    back: bool = False


WORDS: Final = {
    "switch": _Word(Action.SWITCH, ("draining", "done"), back=True),
    "reverse": _Word(Action.REVERSE, ("done",)),
    "cancel": _Word(Action.CANCEL, ("aborted",)),
    "complete": _Word(Action.COMPLETE, ("done",)),
}


def run(asked: Asked, operator: Operator) -> int:
    """The command; its exit code."""
    verb = asked.command.words[1]
    if verb == "list":
        return _list(operator)
    (name,) = asked.names
    match verb:
        case "status":
            return _status(name, operator)
        case "verify":
            return _verify(name, operator)
        case "throttle":
            return _throttle(name, operator)
        case _:
            return _say(name, WORDS[verb], operator)


def _list(operator: Operator) -> int:
    found = operator.migrations()
    told = [migration_document(m) for m in found]
    operator.show(migrations_table(found, operator.columns), {"migrations": told})
    return EXIT_DONE


def _one(name: str, operator: Operator) -> Progress:
    """Raises NotDone."""
    found = operator.migrations([name])
    if not found:
        raise NotDone(f"no migration is called {name!r}; see 'reshard list'")
    return found[0]


def _status(name: str, operator: Operator) -> int:
    known = _one(name, operator)
    if operator.flags.watch and not known.ended:
        seen = _watched(name, ENDS, operator)
        if seen is None:
            return EXIT_UNKNOWN
        known = seen.migrations[0]
    _show(known, operator)
    return EXIT_REFUSED if operator.flags.watch and known.phase == "aborted" else EXIT_DONE


def _verify(name: str, operator: Operator) -> int:
    """The target compares sums of every sub-range before it is ready, and at each switch."""
    known = _one(name, operator)
    if not operator.flags.no_wait and not known.ended and not known.verified:
        seen = _watched(name, VERIFIED, operator)
        if seen is None:
            return EXIT_UNKNOWN
        known = seen.migrations[0]
    _show(known, operator)
    equal = known.verified or known.phase in VERIFIED
    if not equal:
        complain(f"{name} is not verified: {known.failed or known.why or known.phase}")
    return EXIT_DONE if equal else EXIT_REFUSED


def _throttle(name: str, operator: Operator) -> int:
    rate = operator.flags.rate
    if rate is None:
        raise BadValue("throttle wants --rate, for example --rate=10MB; 0: no limit")
    try:
        operator.control(Control(name, Action.RATE, rate=rate))
    except NotKnown as error:
        return _unknown(name, error)
    text = f"{name} copies at most {size(rate)}/s" if rate else f"{name} copies without a limit"
    operator.show(text, {"id": name, "rate": rate or None})
    return EXIT_DONE


def _say(name: str, word: _Word, operator: Operator) -> int:
    flags = operator.flags
    control = Control(
        name,
        word.action,
        pause_ms=flags.max_pause or 0,
        lag_ms=flags.max_lag or 0,
        keep_source=bool(flags.keep_source),
    )
    said_ms = operator.clock.now_ms() if word.back else None
    try:
        operator.control(control)
    except NotKnown as error:
        return _unknown(name, error)
    if flags.no_wait:
        operator.show(f"taken; {go_on_hint([name])}", {"id": name, "taken": True})
        return EXIT_DONE
    seen = _watched(name, word.goal, operator, said_ms)
    if seen is None:
        return EXIT_UNKNOWN
    known = seen.migrations[0]
    _show(known, operator)
    if not seen.reached:
        complain(f"{name} is {known.phase}: {known.failed or known.why or 'no reason is known'}")
    return EXIT_DONE if seen.reached else EXIT_REFUSED


def _watched(
    name: str, goal: Collection[str], operator: Operator, said_ms: int | None = None
) -> Seen | None:
    """None: nobody watches any more."""
    try:
        return operator.waits.until([name], goal, said_ms)
    except KeyboardInterrupt:
        operator.screen.clear()
        complain(f"you stopped watching; {go_on_hint([name])}")
    except Lost as error:
        _unknown(name, error)
    return None


def _unknown(name: str, error: Lost | NotKnown) -> int:
    complain(f"{error}; {error.hint} ({name})")
    return EXIT_UNKNOWN


def _show(known: Progress, operator: Operator) -> None:
    operator.show(migration_text(known), migration_document(known))
