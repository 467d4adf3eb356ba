"""The commands of the replicated log as bytes: versioned, small, readable by people.

What it is: encode and decode of `transition.Command`. What it is not: what they do.

Invariants: `decode(encode(c)) == c`; bytes that are no command of a known version are None, which
the log applies as nothing, on every member alike.

Worked example: `encode(RaiseFloor(90))` is `{"v":1,"do":"raise-floor","revision":90}`.

Tested in tests/unit/coordinator/test_commands.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from functools import partial
from typing import Final, assert_never

from kubebraid.base.ports import NEVER_ADOPTED, Adoption, Alarm
from kubebraid.base.reshard import Action, Control, HandOver, Phase, Planned, Removal

from .migrations import Step
from .rows import Stored, migration_of, migration_row, pairs, typed
from .state import map_fields, map_of
from .transition import (
    Acquire,
    Adopted,
    Command,
    Found,
    RaiseFloor,
    Release,
    Renew,
    Seat,
    SetAlarm,
    StartShard,
    TakeReign,
)

VERSION: Final = 1


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
        case Acquire() | Renew() | Release():
            return _of_lease(command)
        case StartShard():
            return "start-shard", asdict(command)
        case Seat(cepoch, shard, host, before):
            where = {"shard": shard, "host": host, "before": before}
            return "seat", {"cepoch": cepoch, **where}
        case Adopted(shard, adoption):
            return "adopted", {"shard": shard, "adoption": adoption}
        case Planned() | Step() | Control() | Removal() | HandOver():
            return _of_migrations(command)
        case RaiseFloor(revision):
            return "raise-floor", {"revision": revision}
        case SetAlarm(alarm, raised):
            return "set-alarm", {"member": alarm.member, "kind": alarm.kind, "raised": raised}
        case _:
            assert_never(command)


def _of_lease(command: Acquire | Renew | Release) -> tuple[str, Stored]:
    who: Stored = {"node": command.node, "cepoch": command.cepoch}
    match command:
        case Acquire(_, _, renewals, length):
            return "acquire", {**who, "renewals": renewals, "length": length}
        case Renew(_, _, renewals, window):
            return "renew", {**who, "renewals": renewals, "window": window}
        case Release(_, _, window):
            return "release", {**who, "window": window}


def _of_migrations(command: Planned | Step | Control | Removal | HandOver) -> tuple[str, Stored]:
    match command:
        case Planned(migrations, version):
            rows = [migration_row(migration) for migration in migrations]
            return "plan", {"migrations": rows, "map_version": version}
        case Step(name, cepoch, freeze, before, after, ends, why, counts):
            where = {"id": name, "cepoch": cepoch, "freeze": freeze, "before": before}
            return "step", {**where, "after": after, "ends": ends, "why": why, "counts": counts}
        case Control():
            return "control", command._asdict()
        case Removal():
            return "remove-shard", command._asdict()
        case HandOver():
            return "hand-over", command._asdict()


def _migrations(name: str, body: Stored) -> Command | None:
    number, text = partial(_number, body), partial(_text, body)
    match name:
        case "plan":
            plan = tuple(migration_of(row) for row in body["migrations"])
            return Planned(plan, number("map_version"))
        case "step":
            where = (text("id"), number("cepoch"), number("freeze"))
            row = (Phase(number("before")), Phase(number("after")))
            counts = typed(body.get("counts", True), bool)  # it was not said at first
            return Step(*where, *row, pairs(body["ends"]), text("why"), counts)
        case "control":
            limits = (number("rate"), number("pause_ms"), number("lag_ms"))
            keep_source = typed(body["keep_source"], bool)
            return Control(text("id"), Action(number("action")), *limits, keep_source)
        case "remove-shard":
            return Removal(text("shard"))
        case "hand-over":
            return HandOver(text("shard"), text("host"))
        case _:
            return None


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
        case "raise-floor":
            return RaiseFloor(number("revision"))
        case "set-alarm":
            raised = typed(body["raised"], bool)
            return SetAlarm(Alarm(number("member"), number("kind")), raised)
        case _:
            return _migrations(name, body) or _shards(name, body)


def _shards(name: str, body: Stored) -> Command | None:
    number, text = partial(_number, body), partial(_text, body)
    match name:
        case "start-shard":
            who = (text("shard"), text("store"), number("incarnation"), text("address"))
            # It was not said at first, nor were the fields behind it.
            previous = _adoption(body.get("previous", NEVER_ADOPTED))
            host, rows = typed(body.get("host", ""), str), typed(body.get("rows", ""), str)
            later = (pairs(body["ends"]), number("replaces"), previous, host)
            return StartShard(number("cepoch"), *who, *later, rows=rows)
        case "seat":
            return Seat(number("cepoch"), text("shard"), text("host"), text("before"))
        case "adopted":
            return Adopted(text("shard"), _adoption(body["adoption"]))
        case _:
            return None


def _number(body: Stored, field: str) -> int:
    return typed(body[field], int)


def _text(body: Stored, field: str) -> str:
    return typed(body[field], str)


def _adoption(found: Iterable[object]) -> Adoption:
    """Raises TypeError, ValueError."""
    incarnation, marks = found
    return Adoption(typed(incarnation, int), typed(marks, int))
