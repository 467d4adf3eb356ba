"""What every command that changes something works with: routers, a terminal, exit codes.

What it is: the questions in the words of resharding, the operator's yes, and the wait. What it is
not: a command (`plans.py`, `migrations.py`, `shards.py`, `hosts.py`).

Invariants: nothing is asked of an operator who is not there: without a terminal and without --yes a
change is refused before anything is sent; exit codes are those of docs/operating/ctl.md.

Worked example: stdin is a pipe and `--yes` is not given: exit code 2, and what to add.

Tested in tests/unit/cli/test_ctl_reshard.py, tests/unit/cli/test_ctl_hosts.py.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from kubebraid.base.errors import KubeBraidError
from kubebraid.base.reshard import Control, HandOver
from kubebraid.base.seams import SystemClock
from kubebraid.proto import adminreshard as wire
from kubebraid.proto.adminreshard import Plan, PlanRequest, Progress
from kubebraid.proto.adminwire import ClusterStatus

from .ask import ASK_S_MAX, CHANGE_S_MAX, Routers, Unreachable
from .documents import Document
from .progress import Screen
from .wait import Waits

EXIT_DONE: Final = 0
EXIT_REFUSED: Final = 1
EXIT_USAGE: Final = 2
EXIT_UNKNOWN: Final = 3
TRIES_MAX: Final = 40  # of a change, while no router or coordinator answers: an election, a restart
TRY_EVERY_S: Final = 0.5
LOOK_EVERY_S: Final = 0.5


class Operator:
    """One command's surroundings."""

    def __init__(self, routers: Routers, flags: argparse.Namespace) -> None:
        self.routers = routers
        self.flags = flags
        self.json: bool = flags.output == "json"
        self._never = threading.Event()
        self.clock = SystemClock()
        self.screen = Screen(sys.stderr, self.clock.now_ms)
        self.waits = Waits(self.migrations, self.pause, self.screen, self.clock.now_ms)

    # -- questions -----------------------------------------------------------------------------

    def plan(self, request: PlanRequest) -> Plan:
        """What would be done. Raises Unreachable, NotDone."""
        body = wire.encode_plan_request(request._replace(dry_run=True))
        return self.routers.call(wire.PLAN_RESHARD, body, wire.decode_plan, CHANGE_S_MAX)

    def record(self, request: PlanRequest, plan: Plan) -> None:
        """Do what was shown. Raises Unreachable, NotDone, NotKnown."""
        body = wire.encode_plan_request(request._replace(token=plan.token))
        self._change(wire.PLAN_RESHARD, body)

    def control(self, control: Control) -> None:
        """Raises Unreachable, NotDone, NotKnown."""
        self._change(wire.CONTROL_RESHARD, wire.encode_control(control))

    def remove(self, shard: str) -> None:
        """Raises Unreachable, NotDone, NotKnown."""
        self._change(wire.REMOVE_SHARD, wire.encode_remove(shard))

    def hand_over(self, wanted: HandOver) -> None:
        """Raises Unreachable, NotDone, NotKnown."""
        self._change(wire.HAND_OVER_SHARD, wire.encode_hand_over(wanted))

    def _change(self, method: str, body: bytes) -> None:
        """Again, while nobody answers: to repeat a change does nothing more."""
        for left in reversed(range(TRIES_MAX)):
            try:
                self.routers.call(method, body, bytes, CHANGE_S_MAX, changes=True)
                return
            except Unreachable:
                if not left:
                    raise
            self.pause(TRY_EVERY_S)

    def migrations(self, ids: Sequence[str] = ()) -> tuple[Progress, ...]:
        """Raises Unreachable, NotDone."""
        body = wire.encode_list_request(tuple(ids))
        return self.routers.call(wire.LIST_RESHARD, body, wire.decode_list, ASK_S_MAX)

    def seen(self, seconds: float, wanted: Callable[[ClusterStatus], bool]) -> bool:
        """Whether a status comes to be as wanted within --timeout, or else within `seconds`."""
        until_ms = self.clock.now_ms() + (self.flags.timeout or seconds) * 1_000
        while self.clock.now_ms() < until_ms:
            self.pause(LOOK_EVERY_S)
            with suppress(KubeBraidError):  # a router may restart meanwhile
                if wanted(self.routers.status()):
                    return True
        return False

    # -- the terminal --------------------------------------------------------------------------

    @property
    def columns(self) -> int:
        return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0

    def agreed(self) -> bool | None:
        """The operator's yes; None: there is nobody to ask."""
        if self.flags.yes:
            return True
        if not sys.stdin.isatty():
            return None
        try:
            return input("Do it? [y/N] ").strip().lower() in ("y", "yes")
        except (EOFError, KeyboardInterrupt):
            return False

    def pause(self, seconds: float) -> None:
        self._never.wait(seconds)

    def show(self, text: str, document: Document) -> None:
        """The answer, as it is wanted."""
        print(json.dumps(document) if self.json else text, flush=True)


def complain(text: str) -> None:
    """On stderr, where no script reads."""
    print(f"kubebraid ctl: {text}", file=sys.stderr)


def go_on_hint(ids: Sequence[str]) -> str:
    """What an operator can do who has stopped watching."""
    return f"it goes on by itself; watch it: kubebraid ctl reshard status {ids[0]} --watch"
