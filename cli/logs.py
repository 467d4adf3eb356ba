"""The log: one line an event, for machines (json) or people (console).

What it is: etcd's --log-level, --log-format and --log-outputs on Python's logging. What it is not:
a record of requests; nothing on the path of a request logs.

Words: the *fields* of an event are its facts by name; its message is the same text every time, so
that both can be searched for.

Invariants: an event is one line, whatever its fields or its exception hold; a JSON line has level,
ts, logger and msg, in this order, and then the fields.

Worked example: `log.info("served", extra=fields(clients=["http://127.0.0.1:2379"]))` is
`{"level":"info","ts":"2026-03-01T12:00:00.000000Z","logger":"kubebraid.serve","msg":"served",...}`.

Source of names and order: etcd client/pkg/logutil/zap.go. Tested in tests/unit/cli/test_logs.py.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    # etcd's higher ones: nothing here ends the process by logging.
    "dpanic": logging.ERROR,
    "panic": logging.ERROR,
    "fatal": logging.ERROR,
}
FORMATS: Final = ("json", "console")
OUTPUTS: Final = ("default", "stderr", "stdout")  # default is stderr

_NAMES: Final = {
    logging.DEBUG: "debug",
    logging.INFO: "info",
    logging.WARNING: "warn",
    logging.ERROR: "error",
    logging.CRITICAL: "fatal",
}
_KEY: Final = "kubebraid_fields"
# What a record has by itself; whatever else it has came with `extra`, and is a fact.
_OWN: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", _KEY}


def fields(**facts: object) -> dict[str, object]:
    """The `extra` of a log call: facts that stand beside the message, whatever their names.

    A plain `extra={...}` does as well where no name is one of a record's own, such as `name`.
    """
    return {_KEY: facts}


def set_up(level: str, form: str, output: str) -> None:
    """Log to `output` from now on; called once, when the flags are known.

    Libraries are heard from `warn` on: their own news is not the operator's.
    """
    stream = sys.stdout if output == "stdout" else sys.stderr
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter() if form == "json" else ConsoleFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(LEVELS[level], logging.WARNING))
    logging.getLogger("kubebraid").setLevel(LEVELS[level])


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "level": _NAMES.get(record.levelno, record.levelname.lower()),
            "ts": _time(record),
            "logger": record.name,
            "msg": record.getMessage(),
        }
        for name, value in _facts(record).items():
            # A fact cannot pass for one of the four.
            line[name if name not in line else f"{name}_"] = value
        return json.dumps(line, ensure_ascii=False, separators=(",", ":"), default=str)


class ConsoleFormatter(logging.Formatter):
    """Tab-separated time, level, logger and message, then the fields as JSON."""

    def format(self, record: logging.LogRecord) -> str:
        level = _NAMES.get(record.levelno, record.levelname.lower())
        # Others' messages may have line ends.
        message = record.getMessage().replace("\n", "\\n")
        parts = [_time(record), level, record.name, message]
        facts = _facts(record)
        if facts:
            parts.append(json.dumps(facts, ensure_ascii=False, default=str))
        return "\t".join(parts)


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _facts(record: logging.LogRecord) -> Mapping[str, object]:
    facts = {name: value for name, value in vars(record).items() if name not in _OWN}
    facts |= getattr(record, _KEY, {})
    if record.exc_info and record.exc_info[1] is not None:
        facts["error"] = repr(record.exc_info[1])
        facts["stacktrace"] = logging.Formatter().formatException(record.exc_info)
    return facts
