"""The commands of the replicated log as bytes: versioned, small, readable by people.

What it is: encode and decode of `transition.Command`. What it is not: what they do.

Invariants: `decode(encode(c)) == c`; bytes that are no command of a known version are None, which
the log applies as nothing, on every member alike.

Worked example: `encode(RaiseFloor(90))` is `{"v":1,"do":"raise-floor","revision":90}`.

Tested in tests/unit/coordinator/test_commands.py.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Final, TypeVar, assert_never

from kubebraid.base.ports import Alarm
from kubebraid.base.revision import Revision, TabletId

from .state import Stored, map_fields, map_of
from .transition import (
    Acquire,
    Command,
    Found,
    RaiseFloor,
    Release,
    Renew,
    SetAlarm,
    StartShard,
    TakeReign,
)

VERSION: Final = 1
T = TypeVar("T")


def encode(command: Command) -> bytes:
    """The command's bytes."""
    name, fields = _fields(command)
    return json.dumps({"v": VERSION, "do": name, **fields}, separators=(",", ":")).encode()


def decode(raw: bytes) -> Command | None:
    """The inverse; None for anything else."""
    try:
        body = json.loads(raw)
        if _number(body, "v") != VERSION:
            return None
        return _command(_text(body, "do"), body)
    except (ValueError, KeyError, TypeError, AssertionError, RecursionError):
        return None


def _fields(command: Command) -> tuple[str, Stored]:
    match command:
        case TakeReign():
            return "take-reign", {}
        case Found(cluster, tablets):
            return "found", {"cluster": cluster, **map_fields(tablets)}
        case Acquire(node, cepoch, renewals, length):
            where = {"node": node, "cepoch": cepoch, "renewals": renewals}
            return "acquire", {**where, "length": length}
        case Renew(node, cepoch, renewals, window):
            where = {"node": node, "cepoch": cepoch, "renewals": renewals}
            return "renew", {**where, "window": window}
        case Release(node, cepoch, window):
            return "release", {"node": node, "cepoch": cepoch, "window": window}
        case StartShard(cepoch, shard, store, incarnation, address, ends, replaces):
            who = {"shard": shard, "store": store, "incarnation": incarnation, "address": address}
            return "start-shard", {"cepoch": cepoch, **who, "ends": ends, "replaces": replaces}
        case RaiseFloor(revision):
            return "raise-floor", {"revision": revision}
        case SetAlarm(alarm, raised):
            return "set-alarm", {"member": alarm.member, "kind": alarm.kind, "raised": raised}
        case _:
            assert_never(command)


def _command(name: str, body: Stored) -> Command | None:
    number, text = partial(_number, body), partial(_text, body)
    match name:
        case "take-reign":
            return TakeReign()
        case "found":
            number("map_version")
            return Found(text("cluster"), map_of(body))
        case "acquire":
            return Acquire(text("node"), number("cepoch"), number("renewals"), number("length"))
        case "renew":
            return Renew(text("node"), number("cepoch"), number("renewals"), number("window"))
        case "release":
            return Release(text("node"), number("cepoch"), number("window"))
        case "start-shard":
            who = (text("shard"), text("store"), number("incarnation"), text("address"))
            return StartShard(number("cepoch"), *who, _ends(body), number("replaces"))
        case "raise-floor":
            return RaiseFloor(number("revision"))
        case "set-alarm":
            raised = _typed(body["raised"], bool)
            return SetAlarm(Alarm(number("member"), number("kind")), raised)
        case _:
            return None


def _number(body: Stored, field: str) -> int:
    return _typed(body[field], int)


def _text(body: Stored, field: str) -> str:
    return _typed(body[field], str)


def _ends(body: Stored) -> tuple[tuple[TabletId, Revision], ...]:
    return tuple((_typed(tablet, int), _typed(end, int)) for tablet, end in body["ends"])


def _typed(found: object, kind: type[T]) -> T:
    """Raises TypeError. Taken as it is, it would raise while the command is carried out."""
    if type(found) is not kind:
        raise TypeError(f"{found!r} is no {kind.__name__}")
    return found
