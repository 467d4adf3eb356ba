"""`kubebraid ctl status`, `shard list`, `tablet list`, `coordinator status | refill NAME`.

What it is: flags, and what is printed where. What it is not: the question (`ask.py`), the judgement
(`problems.py`) or the print (`tables.py`, `documents.py`).

Invariants: stdout has the answer alone, stderr what is wrong, one problem a line; exit codes: 0
healthy, 1 problems found or nobody answered, 2 usage.

Worked example: `kubebraid ctl --endpoint=http://a:2379,http://b:2379 tablet list --output=json`.

Tested in tests/unit/cli/test_ctl_command.py, tests/e2e/test_ctl_cluster.py.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import threading
from collections.abc import Sequence
from typing import Final

from kubebraid.base.seams import SystemClock
from kubebraid.proto.adminwire import ClusterStatus

from . import documents, problems, refill, tables
from .ask import BadEndpoint, Unreachable, first_answer

EXIT_HEALTHY: Final = 0
EXIT_PROBLEMS: Final = 1
EXIT_USAGE: Final = 2
VARIABLE: Final = "KUBEBRAID_ENDPOINT"
DEFAULT: Final = "http://127.0.0.1:2379"
REFILL_S: Final = 600.0
NOUNS: Final = "status, shard list, tablet list, coordinator status, coordinator refill NAME"


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
        setattr(namespace, self.dest, values)


def operate(argv: Sequence[str]) -> int:
    """The command; its exit code."""
    flags = _parser().parse_intermixed_args(argv)
    named = flags.endpoint or os.environ.get(VARIABLE) or DEFAULT
    endpoints = [endpoint for endpoint in named.split(",") if endpoint]
    try:
        match flags.words:
            case ["status"]:
                return _show(endpoints, "status", flags.output)
            case ["shard" | "tablet" as noun, "list"]:
                return _show(endpoints, noun, flags.output)
            case ["coordinator", "status"]:
                return _show(endpoints, "coordinator", flags.output)
            case ["coordinator", "refill", name]:
                return _refill(endpoints, name, flags.timeout)
            case _:
                print(f"kubebraid ctl: what is asked is one of: {NOUNS}", file=sys.stderr)
                return EXIT_USAGE
    except BadEndpoint as error:
        print(f"kubebraid ctl: {error}; {error.hint}", file=sys.stderr)
        return EXIT_USAGE
    except (Unreachable, refill.RefillRefused) as error:
        print(f"kubebraid ctl: {error}; {error.hint}", file=sys.stderr)
        return EXIT_PROBLEMS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kubebraid ctl", allow_abbrev=False, usage="kubebraid ctl [FLAGS] WHAT"
    )
    parser.add_argument("words", nargs="*", metavar="WHAT", help=f"one of: {NOUNS}")
    parser.add_argument(
        "--endpoint",
        action=_Once,
        help=f"URLs of routers, separated by commas; the first that answers (default {DEFAULT}, "
        f"or {VARIABLE})",
    )
    parser.add_argument("--output", action=_Once, choices=("table", "json"), help="default: table")
    parser.add_argument(
        "--timeout",
        action=_Once,
        type=_seconds,
        metavar="SECONDS",
        help=f"of a refill (default {REFILL_S:g})",
    )
    return parser


def _seconds(text: str) -> float:
    """Raises ValueError, which argparse tells."""
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise ValueError(text)
    return seconds


def _show(endpoints: Sequence[str], noun: str, output: str | None) -> int:
    status = first_answer(endpoints)
    found = problems.problems(status)
    if noun != "status":
        found = [problem for problem in found if noun in problem.about]
    print(_printed(status, noun, found, output))
    if noun == "status" and found:
        print(f"kubebraid ctl: problems found: {len(found)}", file=sys.stderr)
    elif found:  # a listing itself does not tell them
        for problem in found:
            print(f"kubebraid ctl: {problem.what}; {problem.do}", file=sys.stderr)
    return EXIT_PROBLEMS if found else EXIT_HEALTHY


def _printed(
    status: ClusterStatus, noun: str, found: list[problems.Problem], output: str | None
) -> str:
    if output == "json":
        if noun == "status":
            return json.dumps(documents.whole(status, found))
        made = {
            "shard": documents.shard_list,
            "tablet": documents.tablet_list,
            "coordinator": documents.coordinator_status,
        }
        return json.dumps(made[noun](status))
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    if noun == "status":
        return tables.whole(status, found, columns)
    drawn = {
        "shard": tables.shard_list,
        "tablet": tables.tablet_list,
        "coordinator": tables.coordinator_status,
    }
    return drawn[noun](status, columns)


def _refill(endpoints: Sequence[str], name: str, timeout_s: float | None) -> int:
    clock = SystemClock()
    until_ms = clock.now_ms() + int((timeout_s or REFILL_S) * 1_000)
    never = threading.Event()

    def wait(seconds: float) -> bool:
        never.wait(seconds)
        return clock.now_ms() < until_ms

    def tell(text: str) -> None:
        print(text, flush=True)

    if refill.run(name, lambda: first_answer(endpoints), tell, wait):
        return EXIT_HEALTHY
    print(
        f"kubebraid ctl: {name} has not caught up yet; repeat this command to go on waiting, and "
        "read its log",
        file=sys.stderr,
    )
    return EXIT_PROBLEMS
