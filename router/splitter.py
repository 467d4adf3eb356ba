"""Automatic splits carried out: figures are looked at, and a split is planned as `ctl` plans one.

What it is: when a look is made, what it is shown, and the log of what became of it. What it is not:
the choice (`autosplit.py`), the plan or its recording (`resharding.py`).

Invariants:
- without bounds nothing is asked, drawn or logged;
- one plan is in hand at a time, and whatever becomes of it a cooldown follows;
- several routers may do this: the coordinator takes a plan only on the map it was made for and
  with no tablet of an unfinished migration. Two routers that plan different tablets in the same
  moment both split.

Worked example: pods is twice above its bound in three looks: PlanReshard of a split in two parts
goes the way of a client's, and "a tablet is split by itself" is logged with the migration's id.

Tested in tests/unit/router/test_splitter.py, tests/e2e/test_cluster_autosplit.py.
"""

from __future__ import annotations

import logging
from typing import Final

from kubebraid.base.reshard import Progress
from kubebraid.proto import adminreshard as wire
from kubebraid.proto.adminreshard import PlanRequest, Verb
from kubebraid.proto.coordinator_client import CoordinatorClient

from .answers import Caller
from .autosplit import AutoSplit, Bounds, Want
from .context import Context
from .resharding import ReshardService

LOOK_MS: Final = 10_000  # figures are averages of some seconds
LOOKS_A_COOLDOWN: Final = 3  # at least, where the cooldown is short
JITTER_PARTS: Final = 4  # of a time, this part of it more at most: routers are not to go in step
PARTS: Final = 2
_LOG: Final = logging.getLogger("kubebraid.router")


class Splitter:
    """Of one router, if its bounds are on. It is the edge of its own calls."""

    def __init__(self, context: Context, reshard: ReshardService, bounds: Bounds) -> None:
        assert bounds.on, "nothing would ever be split"
        self._context = context
        self._reshard = reshard
        self._bounds = bounds
        self._auto = AutoSplit(bounds)
        self._every_ms = min(LOOK_MS, bounds.cooldown_ms // LOOKS_A_COOLDOWN)
        self._look_ms = context.clock.now_ms() + self._longer(self._every_ms)
        self._want: Want | None = None  # planned, and not answered yet
        self._held = ""

    # -- the loop ------------------------------------------------------------------------------

    def turn(self, now_ms: int) -> None:
        """A look, if it is time for one."""
        client = self._context.coordinator
        if now_ms < self._look_ms or not isinstance(client, CoordinatorClient):
            return
        self._look_ms = now_ms + self._longer(self._every_ms)
        client.reshard_list(self._listed)

    def next_deadline_ms(self) -> int:
        return self._look_ms

    def _longer(self, ms: int) -> int:
        return ms + self._jitter(ms)

    def _jitter(self, ms: int) -> int:
        return self._context.random.lease_id() % (ms // JITTER_PARTS + 1)

    # -- a look --------------------------------------------------------------------------------

    def _listed(self, migrations: tuple[Progress, ...] | None) -> None:
        if migrations is None or self._want is not None:
            return
        standings, tablets = self._reshard.standings(), self._context.tablets
        by_id = tablets.by_id()
        loads = {
            tablet: load
            for tablet, load in self._reshard.loads().items()
            if standings[by_id[tablet].shard].up
        }
        seen = self._auto.look(tablets, loads, migrations, self._context.clock.now_ms())
        if seen.held and seen.held != self._held:
            _LOG.info("an automatic split waits", extra={"reason": seen.held})
        self._held = seen.held
        if seen.want is not None:
            self._ask(seen.want)

    def _ask(self, want: Want) -> None:
        self._want = want
        names = (str(want.tablet.id),)
        request = PlanRequest(Verb.SPLIT, names, parts=PARTS, by_load=want.by_load)
        caller = Caller(self, 0, self._context.header)
        self._reshard.plan(caller, wire.encode_plan_request(request))

    # -- what becomes of it: an Edge -----------------------------------------------------------

    def respond(self, _call_id: int, payload: bytes) -> None:
        """Recorded."""
        want = self._ended(refused=False)
        steps = wire.decode_plan(payload).steps
        told = {"migration": steps[0].id if steps else "", **_facts(want)}
        _LOG.info("a tablet is split by itself", extra=told)

    def fail(self, _call_id: int, code: int, message: str) -> None:
        """Refused, perhaps because another router came first; or it is not known."""
        want = self._ended(refused=True)
        told = {"code": code, "reason": message, **_facts(want)}
        _LOG.debug("an automatic split was refused", extra=told)

    def send(self, _call_id: int, _payload: bytes) -> None:
        raise AssertionError("a plan is no stream")

    def pending_bytes(self, _call_id: int) -> int:
        return 0

    def end(self, _call_id: int) -> None:
        raise AssertionError("a plan is no stream")

    def _ended(self, refused: bool) -> Want:
        want, self._want = self._want, None
        assert want is not None, "an answer to nothing"
        now_ms, jitter_ms = self._context.clock.now_ms(), self._jitter(self._bounds.cooldown_ms)
        self._auto.asked(want, now_ms, jitter_ms, refused)
        return want


def _facts(want: Want) -> dict[str, object]:
    return {
        "tablet": want.tablet.name,
        "shard": want.tablet.shard,
        "by": "writes a second" if want.by_load else "bytes",
        "value": want.value,
        "bound": want.bound,
    }
