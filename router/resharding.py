"""Resharding by an operator's word: {Plan,Control,List}Reshard, {Remove,HandOver}Shard of the API.

What it is: what is asked of the coordinator and the shards for a call of kubebraid.admin.v1, in
which order, and what becomes of the answers. What it is not: the plan (`planner.py`), or the
migrations, which go on whoever asks (coordinator/reshard.py).

Words: a *wait* is one call that somebody else has to answer: the coordinator its list, a shard its
sampled keys, the coordinator a plan or a word.

Invariants:
- every call is answered once, WAIT_MS_MAX after it began a wait at the latest;
- a refusal with any code but DEADLINE_EXCEEDED is definite: nothing was changed;
- what was shown is recorded as it was shown, or refused: a token is the plan itself, and the
  coordinator takes it only on the map that it was made for.

Worked example: `tablet split pods --parts 2`: the list of migrations, two parts of pods from its
shard, one migration, a token; with the token the same plan is recorded.

Tested in tests/unit/router/test_resharding.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from kubebraid.base import errors
from kubebraid.base.errors import Code, RequestRefused
from kubebraid.base.ports import KeySource, TabletLoad
from kubebraid.base.reshard import Kind, Order, Planned, Progress, Removal
from kubebraid.base.revision import TabletId
from kubebraid.proto import adminreshard as wire
from kubebraid.proto.adminreshard import Plan, PlanRequest, Verb
from kubebraid.proto.coordinator_client import CoordinatorClient
from kubebraid.proto.owner_wire import Malformed

from . import steps
from .answers import Caller
from .context import Context
from .draft import Scene, Standing
from .members import hindered, present, reachable
from .naming import refuse
from .planner import Made, plan
from .splits import to_sample

WAIT_MS_MAX: Final = 5_000  # an election, or a sample of a large tablet
T = TypeVar("T")


class _Wait:
    """Somebody's answer. `late`: what the caller is told if it does not come."""

    def __init__(self, caller: Caller, until_ms: int, late: RequestRefused) -> None:
        self.caller = caller
        self.until_ms = until_ms
        self.late = late


class ReshardService:
    """Of one router; `turn` ends what waited too long."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._waits: list[_Wait] = []

    # -- the calls -----------------------------------------------------------------------------

    def plan(self, caller: Caller, payload: bytes) -> None:
        request = self._decoded(caller, wire.decode_plan_request, payload)
        client = None if request is None else self._client(caller)
        if request is None or client is None:
            return
        if request.token:
            self._record_token(caller, client, request.token)
            return
        listed = self._wait(caller, _no_answer())

        def told(migrations: tuple[Progress, ...] | None) -> None:
            if self._over(listed):
                return
            if migrations is None:
                caller.fail(errors.NO_LEADER)
                return
            _refusing(caller, lambda: self._sampled(caller, client, request, migrations))

        client.reshard_list(told)

    def control(self, caller: Caller, payload: bytes) -> None:
        control = self._decoded(caller, wire.decode_control, payload)
        client = None if control is None else self._client(caller)
        if control is not None and client is not None:
            what = f"migration {control.id} took '{control.action.name.lower()}'"
            done = wire.encode_done()
            self._ask(caller, client, control, what, lambda: _respond(caller, done))

    def remove(self, caller: Caller, payload: bytes) -> None:
        """A shard that holds nothing is forgotten."""
        name = self._decoded(caller, wire.decode_remove, payload)
        client = None if name is None else self._client(caller)
        if name is None or client is None:
            return
        if _stranger(caller, name, self._context):
            return
        why = hindered(name, self._context)
        if why:
            caller.fail(refuse(why))
            return
        done = wire.encode_removed()
        what = f"shard {name} is removed"
        self._ask(caller, client, Removal(name), what, lambda: _respond(caller, done))

    def hand_over(self, caller: Caller, payload: bytes) -> None:
        """A shard gets another host; whether it may, the coordinators know."""
        wanted = self._decoded(caller, wire.decode_hand_over, payload)
        client = None if wanted is None else self._client(caller)
        if wanted is None or client is None or _stranger(caller, wanted.shard, self._context):
            return
        done = wire.encode_handed_over()
        what = f"shard {wanted.shard} is handed over to {wanted.host}"
        self._ask(caller, client, wanted, what, lambda: _respond(caller, done))

    def list(self, caller: Caller, payload: bytes) -> None:
        ids = self._decoded(caller, wire.decode_list_request, payload)
        client = None if ids is None else self._client(caller)
        if ids is None or client is None:
            return
        listed = self._wait(caller, _no_answer())

        def told(migrations: tuple[Progress, ...] | None) -> None:
            if self._over(listed):
                return
            if migrations is None:
                caller.fail(errors.NO_LEADER)
                return
            tablets, loads, rows = self._context.tablets.by_id(), self.loads(), _rows(client)
            found = (told for told in migrations if not ids or told.migration.id in ids)
            shown = tuple(steps.progress(told, tablets, loads, rows) for told in found)
            _respond(caller, wire.encode_list(shown))

        client.reshard_list(told)

    # -- the plan ------------------------------------------------------------------------------

    def _sampled(
        self,
        caller: Caller,
        client: CoordinatorClient,
        request: PlanRequest,
        migrations: tuple[Progress, ...],
    ) -> None:
        """Behind the keys at which a tablet can be cut, where they are wanted."""
        tablet = to_sample(request, self._context.tablets)
        if tablet is None:
            self._planned(caller, client, request, migrations, ())
            return
        owner: object = self._context.owners.get(tablet.shard)  # of any version
        if not isinstance(owner, KeySource):
            raise refuse(f"{tablet.shard} cannot tell where to cut {tablet.name}; use --at KEY")
        sampled = self._wait(caller, refuse(f"{tablet.shard} gave no sample in time; repeat it"))

        def told(borders: tuple[bytes, ...] | RequestRefused) -> None:
            if self._over(sampled):
                return
            if isinstance(borders, RequestRefused):
                caller.fail(borders)
                return
            _refusing(caller, lambda: self._planned(caller, client, request, migrations, borders))

        owner.sample_keys(tablet.id, request.parts, request.by_load, told)

    def _planned(
        self,
        caller: Caller,
        client: CoordinatorClient,
        request: PlanRequest,
        migrations: tuple[Progress, ...],
        borders: tuple[bytes, ...],
    ) -> None:
        loads = self.loads()
        scene = Scene(
            tablets=self._context.tablets,
            shards=self.standings(),
            loads=loads,
            migrations=tuple(told.migration for told in migrations),
            borders=borders,
            rested=steps.rested(migrations),
        )
        made = plan(request, scene, self._context.random.lease_id)
        shown = self._shown(made, steps.usual_pauses(migrations), request.verb, _rows(client))
        if request.dry_run or not made.migrations:
            _respond(caller, wire.encode_plan(shown))
            return
        planned = Planned(made.migrations, shown.map_version)
        self._record(caller, client, planned, shown._replace(recorded=True))

    def _shown(self, made: Made, pauses: dict[Kind, int], verb: Verb, rows: dict[str, str]) -> Plan:
        tablets, loads = self._context.tablets, self.loads()
        by_id = tablets.by_id()
        told = tuple(
            steps.step(migration, by_id, loads, pauses, rows, True) for migration in made.migrations
        )
        token = wire.encode_token(0, Planned(made.migrations, tablets.version)) if told else b""
        notes = made.notes
        if not loads and verb is Verb.REBALANCE:
            notes += ("no sizes or rates are known yet: tablets are counted instead",)
        return Plan(tablets.version, told, notes, token)

    def _record_token(self, caller: Caller, client: CoordinatorClient, token: bytes) -> None:
        planned = self._decoded(caller, wire.decode_token, token)
        if planned is None:
            return
        if not isinstance(planned[1], Planned):
            caller.fail(refuse("this is no plan", Code.INVALID_ARGUMENT))
            return
        whole = planned[1]
        shown = self._shown(Made(whole.migrations), {}, Verb.MOVE, _rows(client))
        told = shown._replace(map_version=whole.map_version, token=token, recorded=True)
        self._record(caller, client, whole, told)

    def _record(
        self, caller: Caller, client: CoordinatorClient, planned: Planned, told: Plan
    ) -> None:
        what = f"the plan of {told.steps[0].id} is recorded" if told.steps else "it is recorded"
        self._ask(caller, client, planned, what, lambda: _respond(caller, wire.encode_plan(told)))

    def _ask(
        self,
        caller: Caller,
        client: CoordinatorClient,
        request: Order,
        what: str,
        done: Callable[[], None],
    ) -> None:
        """Something is to change."""
        text = f"kubebraid: it is not known whether {what}; look at 'reshard list', or repeat it"
        unknown = RequestRefused(Code.DEADLINE_EXCEEDED, text)
        asked = self._wait(caller, unknown)

        def told(refused: RequestRefused | None) -> None:
            if self._over(asked):
                return
            if refused is None:
                done()
            else:
                caller.fail(refused if refused.definite else unknown)

        client.reshard(request, told)

    # -- what is known here --------------------------------------------------------------------

    def loads(self) -> dict[TabletId, TabletLoad]:
        """Of each tablet, by its owner."""
        owned = {tablet.id: tablet.shard for tablet in self._context.tablets.tablets}
        return {
            load.tablet: load
            for name, owner in self._context.owners.items()
            for load in owner.status().loads
            if owned.get(load.tablet) == name
        }

    def standings(self) -> dict[str, Standing]:
        return {
            name: Standing(reachable(owner), owner.status().free_bytes)
            for name, owner in present(self._context).items()
        }

    def _client(self, caller: Caller) -> CoordinatorClient | None:
        """A cluster's coordinators; otherwise the caller is told that there are none."""
        client = self._context.coordinator
        if isinstance(client, CoordinatorClient):
            return client
        text = "serve is one process with one shard; resharding needs a cluster"
        caller.fail(refuse(text, Code.UNIMPLEMENTED))
        return None

    # -- waits ---------------------------------------------------------------------------------

    def _decoded(self, caller: Caller, decode: Callable[[bytes], T], payload: bytes) -> T | None:
        try:
            return decode(payload)
        except Malformed:
            text = "the request is not understood; is it of another version?"
            caller.fail(refuse(text, Code.INVALID_ARGUMENT))
            return None

    def _wait(self, caller: Caller, late: RequestRefused) -> _Wait:
        wait = _Wait(caller, self._context.clock.now_ms() + WAIT_MS_MAX, late)
        self._waits.append(wait)
        return wait

    def _over(self, wait: _Wait) -> bool:
        """The answer is here. Whether the caller has been told something before."""
        if wait not in self._waits:
            return True
        self._waits.remove(wait)
        return False

    def turn(self) -> None:
        """Tell those that waited too long."""
        now_ms = self._context.clock.now_ms()
        late = [wait for wait in self._waits if now_ms >= wait.until_ms]
        self._waits = [wait for wait in self._waits if wait not in late]
        for wait in late:
            wait.caller.fail(wait.late)

    def next_deadline_ms(self) -> int | None:
        return min((wait.until_ms for wait in self._waits), default=None)


def _rows(client: CoordinatorClient) -> dict[str, str]:
    """Where each shard keeps its rows."""
    return {place.name: place.rows for place in client.view.shards}


def _no_answer() -> RequestRefused:
    text = "kubebraid: no coordinator serves; nothing was changed"
    return RequestRefused(Code.UNAVAILABLE, text)


def _refusing(caller: Caller, go_on: Callable[[], None]) -> None:
    try:
        go_on()
    except RequestRefused as refused:
        caller.fail(refused)


def _stranger(caller: Caller, name: str, context: Context) -> bool:
    """No shard is called so; the caller is told."""
    shards = present(context)
    if name not in shards:
        known = ", ".join(sorted(shards))
        caller.fail(refuse(f"no shard is called {name!r}; there are {known}", Code.NOT_FOUND))
    return name not in shards


def _respond(caller: Caller, body: bytes) -> None:
    caller.edge.respond(caller.call_id, body)
