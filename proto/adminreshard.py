"""Resharding as operators ask for it and see it: values, and their bytes in kubebraid.admin.v1.

What it is: what {Plan,Control,List}Reshard and {Remove,HandOver}Shard are asked and answer, for the
router that carries it out and the command that shows it. What it is not: a plan
(router/planner.py), or what coordinators and shards say to each other (coordinator_reshard.py).

Words: a *step* is one migration as people see it: its tablets with their ranges as text. A plan's
*token* is the plan itself, in bytes that only routers read: who sends it back has it recorded as
it was shown, and may do so twice.

Invariants: what is decoded is what was encoded; bytes that are no such message raise Malformed;
`key_of_text` is the inverse of adminwire's `key_text`.

Worked example: `PlanRequest(Verb.MOVE, ("pods",), to=("shard-1",), dry_run=True)` is answered with
one step, move-pods-7f3a from shard-0 to shard-1, and a token.

Tested in tests/unit/proto/test_adminreshard.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from functools import wraps
from typing import Final, NamedTuple, TypeVar

from google.protobuf.message import DecodeError

from kubebraid.base.keyspace import KeyRange
from kubebraid.base.reshard import Action, Control, HandOver

from .admin import admin_pb2 as pb
from .adminwire import range_text
from .coordinator_reshard import decode_reshard, encode_reshard
from .owner_wire import Malformed

PLAN_RESHARD: Final = "/kubebraid.admin.v1.Admin/PlanReshard"
CONTROL_RESHARD: Final = "/kubebraid.admin.v1.Admin/ControlReshard"
LIST_RESHARD: Final = "/kubebraid.admin.v1.Admin/ListReshard"
REMOVE_SHARD: Final = "/kubebraid.admin.v1.Admin/RemoveShard"
HAND_OVER_SHARD: Final = "/kubebraid.admin.v1.Admin/HandOverShard"

ESCAPE: Final = re.compile(rb"\\(x[0-9a-f]{2})?", re.IGNORECASE)
T = TypeVar("T")

# The router's own: a token is a plan as it goes to the coordinators.
encode_token = encode_reshard
decode_token = decode_reshard


class Verb(Enum):
    """What is to become of tablets."""

    SPLIT = "split"
    MOVE = "move"
    MERGE = "merge"
    DRAIN = "drain"
    REBALANCE = "rebalance"


class PlanRequest(NamedTuple):
    """names: of tablets (name, id, or prefix), or of the shard to drain. Of a split exactly one of
    `at` (a key), `parts` and `buckets`. to: shards, of a move one. token: record that instead."""

    verb: Verb
    names: tuple[str, ...] = ()
    at: bytes | None = None
    parts: int = 0
    buckets: int = 0
    to: tuple[str, ...] = ()
    by_load: bool = False
    manual: bool = False
    rate: int = 0
    keep_source: bool = False
    dry_run: bool = False
    token: bytes = b""


class Part(NamedTuple):
    """A tablet of a step. id 0: it gets one; an empty name: the map does not have it any more."""

    id: int
    name: str
    start: str
    end: str | None
    bucket: int
    buckets: int


class Step(NamedTuple):
    """One migration. bytes: of its source tablets; pause_ms: what earlier ones like it had;
    shares_rows: both shards have their rows in one place, so nothing is copied."""

    id: str
    kind: str
    source: str
    target: str
    sources: tuple[Part, ...]
    targets: tuple[Part, ...]
    after: str = ""
    manual: bool = False
    rate: int = 0
    keep_source: bool = False
    bytes: int | None = None
    pause_ms: int | None = None
    shares_rows: bool = False


class Plan(NamedTuple):
    """An answer. token: empty where there is nothing to do."""

    map_version: int
    steps: tuple[Step, ...]
    notes: tuple[str, ...] = ()
    token: bytes = b""
    recorded: bool = False


class Progress(NamedTuple):
    """A migration that was recorded, as the coordinators and its target tell it. rows, bytes:
    copied; lag: in revisions; switch_ms: how long writes waited, 0 if not known."""

    step: Step
    phase: str
    why: str = ""
    version: int = 0
    phase_ms: int = 0
    switch_ms: int = 0
    rows: int = 0
    bytes: int = 0
    upto: int = 0
    lag: int = 0
    took_ms: int = 0
    verified: bool = False
    failed: str = ""

    @property
    def ended(self) -> bool:
        return self.phase in ("done", "aborted")


def key_of_text(text: str) -> bytes:
    """A key as `key_text` shows it. Raises ValueError where a backslash begins no \\xNN."""

    def byte(found: re.Match[bytes]) -> bytes:
        if found[1] is None:
            raise ValueError(f"{text}: a backslash begins \\xNN, and stands for itself as \\x5c")
        return bytes([int(found[1][1:], 16)])

    return ESCAPE.sub(byte, text.encode())


def part(tablet_id: int, name: str, span: KeyRange, bucket: int, buckets: int) -> Part:
    """A tablet's ranges become text here."""
    return Part(tablet_id, name, *range_text(span), bucket, buckets)


def checked(decode: Callable[[bytes], T]) -> Callable[[bytes], T]:
    """What protobuf takes may still be no value of ours: a verb that nobody knows."""

    @wraps(decode)
    def decoded(body: bytes) -> T:
        try:
            return decode(body)
        except (DecodeError, ValueError, KeyError) as error:
            raise Malformed(str(error)) from None

    return decoded


# -- plan --------------------------------------------------------------------------------------


def encode_plan_request(request: PlanRequest) -> bytes:
    told = request._asdict()
    told["verb"] = request.verb.value
    told["planned"] = told.pop("token")
    return pb.PlanReshardRequest(**told).SerializeToString()


@checked
def decode_plan_request(body: bytes) -> PlanRequest:
    told = pb.PlanReshardRequest.FromString(body)
    return PlanRequest(
        Verb(told.verb),
        tuple(told.names),
        told.at if told.HasField("at") else None,
        told.parts,
        told.buckets,
        tuple(told.to),
        told.by_load,
        told.manual,
        told.rate,
        told.keep_source,
        told.dry_run,
        told.planned,
    )


def encode_plan(plan: Plan) -> bytes:
    return pb.PlanReshardResponse(
        map_version=plan.map_version,
        steps=[_step_message(step) for step in plan.steps],
        notes=plan.notes,
        planned=plan.token,
        recorded=plan.recorded,
    ).SerializeToString()


@checked
def decode_plan(body: bytes) -> Plan:
    told = pb.PlanReshardResponse.FromString(body)
    steps = tuple(_step(step) for step in told.steps)
    return Plan(told.map_version, steps, tuple(told.notes), told.planned, told.recorded)


def _step_message(step: Step) -> pb.ReshardStep:
    told = step._asdict()
    for column in ("sources", "targets"):
        told[column] = [pb.ReshardTablet(**tablet._asdict()) for tablet in told[column]]
    return pb.ReshardStep(**told)


def _step(told: pb.ReshardStep) -> Step:
    return Step(
        told.id,
        told.kind,
        told.source,
        told.target,
        tuple(_part(tablet) for tablet in told.sources),
        tuple(_part(tablet) for tablet in told.targets),
        told.after,
        told.manual,
        told.rate,
        told.keep_source,
        told.bytes if told.HasField("bytes") else None,
        told.pause_ms if told.HasField("pause_ms") else None,
        told.shares_rows,
    )


def _part(told: pb.ReshardTablet) -> Part:
    end = told.end if told.HasField("end") else None
    return Part(told.id, told.name, told.start, end, told.bucket, told.buckets)


# -- words about a migration -------------------------------------------------------------------


def encode_control(control: Control) -> bytes:
    told = {**control._asdict(), "action": control.action.name.lower()}
    return pb.ControlReshardRequest(**told).SerializeToString()


@checked
def decode_control(body: bytes) -> Control:
    told = pb.ControlReshardRequest.FromString(body)
    action = Action[told.action.upper()]
    return Control(told.id, action, told.rate, told.pause_ms, told.lag_ms, told.keep_source)


def encode_done() -> bytes:
    """A word was taken."""
    return pb.ControlReshardResponse().SerializeToString()


@checked
def decode_done(body: bytes) -> None:
    pb.ControlReshardResponse.FromString(body)


# -- a shard that goes, or goes to another host ------------------------------------------------


def encode_remove(name: str) -> bytes:
    return pb.RemoveShardRequest(name=name).SerializeToString()


@checked
def decode_remove(body: bytes) -> str:
    return pb.RemoveShardRequest.FromString(body).name


def encode_removed() -> bytes:
    return pb.RemoveShardResponse().SerializeToString()


def encode_hand_over(wanted: HandOver) -> bytes:
    return pb.HandOverShardRequest(name=wanted.shard, host=wanted.host).SerializeToString()


@checked
def decode_hand_over(body: bytes) -> HandOver:
    told = pb.HandOverShardRequest.FromString(body)
    if not told.host:
        raise ValueError("a shard that is seated nowhere would be anybody's")
    return HandOver(told.name, told.host)


def encode_handed_over() -> bytes:
    return pb.HandOverShardResponse().SerializeToString()


# -- lists -------------------------------------------------------------------------------------


def encode_list_request(ids: tuple[str, ...] = ()) -> bytes:
    return pb.ListReshardRequest(ids=ids).SerializeToString()


@checked
def decode_list_request(body: bytes) -> tuple[str, ...]:
    return tuple(pb.ListReshardRequest.FromString(body).ids)


def encode_list(migrations: tuple[Progress, ...]) -> bytes:
    return pb.ListReshardResponse(
        migrations=[
            pb.Reshard(**{**progress._asdict(), "step": _step_message(progress.step)})
            for progress in migrations
        ]
    ).SerializeToString()


@checked
def decode_list(body: bytes) -> tuple[Progress, ...]:
    return tuple(
        Progress(
            _step(told.step),
            told.phase,
            told.why,
            told.version,
            told.phase_ms,
            told.switch_ms,
            told.rows,
            told.bytes,
            told.upto,
            told.lag,
            told.took_ms,
            told.verified,
            told.failed,
        )
        for told in pb.ListReshardResponse.FromString(body).migrations
    )
