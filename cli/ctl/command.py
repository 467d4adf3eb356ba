"""`kubebraid ctl`: looking at a running store, resharding it, refilling a coordinator.

What it is: which part does what was asked, and the exit code of what it raises. What it is not: the
commands' names and flags (`grammar.py`), the questions (`ask.py`), a judgement (`problems.py`) or a
print (`tables.py`, `documents.py`, `shown.py`).

Invariants: stdout has the answer alone, stderr what is wrong, one problem a line; exit codes of a
command that shows: 0 healthy, 1 problems found or nobody answered, 2 usage; of one that changes: 0
done, 1 refused and nothing changed, 2 usage, 3 outcome unknown.

Worked example: `kubebraid ctl --endpoint=http://a:2379,http://b:2379 tablet list --output=json`.

Tested in tests/unit/cli/test_ctl_command.py, tests/e2e/test_ctl_cluster.py.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from collections.abc import Sequence
from typing import Final

from kubebraid.base.errors import KubeBraidError
from kubebraid.base.seams import SystemClock
from kubebraid.proto.adminwire import ClusterStatus

from . import documents, hosts, migrations, plans, problems, refill, shards, shown, tables
from .ask import BadEndpoint, NotDone, NotKnown, Routers, Unreachable
from .grammar import DEFAULT, VARIABLE, Asked, BadValue, named, parse
from .operator import EXIT_UNKNOWN, Operator

EXIT_HEALTHY: Final = 0
EXIT_PROBLEMS: Final = 1
EXIT_USAGE: Final = 2
REFILL_S: Final = 600.0


def operate(argv: Sequence[str]) -> int:
    """The command; its exit code."""
    asked = parse(argv)
    if asked is None:
        print(f"kubebraid ctl: what is asked is one of: {named()}", file=sys.stderr)
        return EXIT_USAGE
    endpoint = asked.flags.endpoint or os.environ.get(VARIABLE) or DEFAULT
    try:
        code = _run(asked, Routers([one for one in endpoint.split(",") if one]))
        sys.stdout.flush()
        return code
    except (BadEndpoint, BadValue) as error:
        print(f"kubebraid ctl: {error}; {error.hint}", file=sys.stderr)
        return EXIT_USAGE
    except (Unreachable, NotDone, NotKnown, refill.RefillRefused) as error:
        return _refused(error)
    except BrokenPipeError:
        # Whoever read the answer has gone; at its end the interpreter would try, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PROBLEMS
    except KeyboardInterrupt:
        print("kubebraid ctl: interrupted; see 'kubebraid ctl reshard list'", file=sys.stderr)
        return EXIT_UNKNOWN


def _refused(error: KubeBraidError) -> int:
    """What a router says may have the hint in it already."""
    text = str(error)
    hinted = text.rstrip(".").lower().endswith(error.hint)
    print(f"kubebraid ctl: {text}{'' if hinted else f'; {error.hint}'}", file=sys.stderr)
    return EXIT_PROBLEMS if error.definite else EXIT_UNKNOWN


def _run(asked: Asked, routers: Routers) -> int:
    flags = asked.flags
    match asked.command.words:
        case ("status",):
            return _show(routers, "status", flags.output)
        case ("tablet", "list") if flags.hot:
            return _hot(routers, flags.output)
        case ("shard" | "tablet" as noun, "list"):
            return _show(routers, noun, flags.output)
        case ("coordinator", "status"):
            return _show(routers, "coordinator", flags.output)
        case ("coordinator", "refill"):
            return _refill(routers, asked.names[0], flags.timeout)
        case ("shard", "add" | "remove"):
            return shards.run(asked, Operator(routers, flags))
        case ("shard", "hand-over" | "take-back"):
            return hosts.run(asked, Operator(routers, flags))
        case ("reshard", _):
            return migrations.run(asked, Operator(routers, flags))
        case _:
            return plans.run(asked, Operator(routers, flags))


def _hot(routers: Routers, output: str | None) -> int:
    status = routers.status()
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    if output == "json":
        print(json.dumps(shown.hot_list(status)))
    else:
        print(shown.hot_table(status, columns))
    return EXIT_HEALTHY


def _show(routers: Routers, noun: str, output: str | None) -> int:
    status = routers.status()
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


def _refill(routers: Routers, name: str, timeout_s: float | None) -> int:
    clock = SystemClock()
    until_ms = clock.now_ms() + int((timeout_s or REFILL_S) * 1_000)
    never = threading.Event()

    def wait(seconds: float) -> bool:
        never.wait(seconds)
        return clock.now_ms() < until_ms

    def tell(text: str) -> None:
        print(text, flush=True)

    if refill.run(name, routers.status, tell, wait):
        return EXIT_HEALTHY
    print(
        f"kubebraid ctl: {name} has not caught up yet; repeat this command to go on waiting, and "
        "read its log",
        file=sys.stderr,
    )
    return EXIT_PROBLEMS
