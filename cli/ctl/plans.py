"""`kubebraid ctl tablet split|move|merge`, `shard drain`, `rebalance`: a plan, a yes, and the wait.

What it is: flags to a request, and what follows. What it is not: the plan (the router's), or the
work (the shards' and the coordinators').

Invariants:
- the plan is shown before anything is changed, and what was shown is what is done: the answer's
  token goes back, and is refused if the map has changed since;
- exit code 0: all done (or recorded, or nothing to do); 1: refused, or undone, and nothing is
  changed; 3: the outcome is not known, or only a part is done.

Worked example: `tablet move pods --to=shard-1 --yes`: one step is shown, recorded and waited for.

Tested in tests/unit/cli/test_ctl_reshard.py.
"""

from __future__ import annotations

from typing import Final

from kubebraid.proto.adminreshard import Plan, PlanRequest, Progress, Verb, key_of_text

from .ask import NotKnown
from .documents import Document
from .grammar import Asked, BadValue
from .operator import (
    EXIT_DONE,
    EXIT_REFUSED,
    EXIT_UNKNOWN,
    EXIT_USAGE,
    Operator,
    complain,
    go_on_hint,
)
from .shown import migration_document, plan_document, plan_table
from .wait import Lost

DONE: Final = ("done",)
HELD: Final = ("ready", "draining", "done")  # where a manual one waits for its operator


def request(asked: Asked) -> PlanRequest:
    """What the command line wants. Raises BadValue."""
    flags = asked.flags
    verb = Verb(asked.command.words[-1])
    if verb is Verb.SPLIT and sum(v is not None for v in (flags.at, flags.parts, flags.hash)) != 1:
        raise BadValue("a split wants one of --at, --parts and --hash")
    if flags.by and flags.parts is None:
        raise BadValue("--by belongs to --parts")
    if verb is Verb.MOVE and not flags.to:
        raise BadValue("a move wants --to=SHARD")
    try:
        at = None if flags.at is None else key_of_text(flags.at)
    except ValueError as error:
        raise BadValue(str(error)) from None
    return PlanRequest(
        verb=verb,
        names=asked.names,
        at=at,
        parts=flags.parts or 0,
        buckets=flags.hash or 0,
        to=tuple(shard for shard in (flags.to or "").split(",") if shard),
        by_load=flags.by == "load",
        manual=bool(flags.manual),
        rate=flags.rate or 0,
    )


def run(asked: Asked, operator: Operator) -> int:
    """The command; its exit code."""
    wanted = request(asked)
    plan = operator.plan(wanted)
    shown = plan_table(plan, operator.columns)
    if not plan.token or operator.flags.dry_run:
        operator.show(shown, _document(plan))
        return EXIT_DONE
    if not operator.json:
        print(shown, flush=True)
    agreed = operator.agreed()
    if agreed is None:
        complain("there is no terminal to ask for a yes; add --yes, or --dry-run to look only")
        return EXIT_USAGE
    if not agreed:
        complain("nothing was changed")
        return EXIT_REFUSED
    return _carry_out(wanted, plan, operator)


def _carry_out(wanted: PlanRequest, plan: Plan, operator: Operator) -> int:
    ids = [step.id for step in plan.steps]
    drains = wanted.verb is Verb.DRAIN
    try:
        operator.record(wanted, plan)
        if operator.flags.no_wait:
            operator.show(f"recorded; {go_on_hint(ids)}", _document(plan, recorded=True))
            return EXIT_DONE
        # The others of a manual plan wait behind its first.
        watched, goal = (ids[:1], HELD) if wanted.manual else (ids, DONE)
        seen = operator.waits.until(watched, goal)
    except KeyboardInterrupt:
        operator.screen.clear()
        complain(f"you stopped watching; if it was recorded, {go_on_hint(ids)}")
        return EXIT_UNKNOWN
    except (Lost, NotKnown) as error:
        complain(f"{error}; {error.hint} ({ids[0]})")
        return EXIT_UNKNOWN
    told = f"; next: kubebraid ctl shard remove {wanted.names[0]}" if drains else ""
    return _end(plan, seen.migrations, seen.failed, operator, told)


def _end(
    plan: Plan,
    migrations: tuple[Progress, ...],
    failed: tuple[Progress, ...],
    operator: Operator,
    afterwards: str,
) -> int:
    told = _document(plan, recorded=True)
    told["migrations"] = [migration_document(m) for m in migrations]
    if failed:
        operator.show("not done" if len(failed) == len(migrations) else "done in part", told)
        for m in failed:
            complain(f"{m.step.id} was undone: {m.failed or m.why or 'no reason is known'}")
        return EXIT_REFUSED if len(failed) == len(migrations) else EXIT_UNKNOWN
    first = migrations[0]
    if first.phase == "ready":
        text = f"{first.step.id} is ready; next: kubebraid ctl reshard switch {first.step.id}"
    elif first.phase == "draining":
        text = f"{first.step.id} is switched; next: kubebraid ctl reshard complete {first.step.id}"
    else:
        text = f"done{_pauses(migrations)}{afterwards}"
    operator.show(text, told)
    return EXIT_DONE


def _pauses(migrations: tuple[Progress, ...]) -> str:
    """The longest; each kept writes of its own tablets waiting."""
    longest = max(m.switch_ms for m in migrations)
    return f"; writes waited for {longest} ms at most" if longest else ""


def _document(plan: Plan, recorded: bool = False) -> Document:
    return {"plan": plan_document(plan), "recorded": recorded, "migrations": []}
