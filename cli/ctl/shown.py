"""Plans and migrations as tables for people and documents for scripts.

What it is: values to text or plain dicts. What it is not: the questions (`ask.py`), or the line
that moves while one waits (`progress.py`).

Invariants: keys of a document are only ever added; what is not known is null there and a dash in a
table.

Worked example: docs/operating/ctl.md has one of each.

Tested in tests/unit/cli/test_ctl_shown.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kubebraid.proto.adminreshard import Part, Plan, Progress, Step
from kubebraid.proto.adminwire import ClusterStatus, Tablet

from .documents import Document, tablet_document
from .figures import duration, size
from .tables import aligned

COPYING: Final = ("preparing", "ready", "frozen")  # when the target's figures are of the copy
NAMES_SHOWN: Final = 4  # of one step in a table
NOTHING: Final = "nothing: the shards share their rows"


# -- plans -------------------------------------------------------------------------------------


def plan_table(plan: Plan, columns: int = 0) -> str:
    """Each step on a row, then what else is to be said."""
    lines = []
    if plan.steps:
        head = ("STEP", "ID", "WHAT", "FROM", "TO", "SIZE", "PAUSE", "AFTER")
        rows = (
            (
                *(number, step.id, what(step), step.source),
                step.target if step.target != step.source else None,
                None if step.bytes is None else size(step.bytes),
                None if step.pause_ms is None else f"~{duration(step.pause_ms)}",
                step.after,
            )
            for number, step in enumerate(plan.steps, 1)
        )
        lines.append(aligned(head, rows, columns))
    else:
        lines.append("nothing to do")
    moves = [step for step in plan.steps if step.kind == "move"]
    if moves and all(step.shares_rows for step in moves):
        lines.append(f"moves copy {NOTHING}")
    lines += [f"note: {note}" for note in plan.notes]
    return "\n".join(lines)


def what(step: Step) -> str:
    """Like: split pods into pods-1, pods-2."""
    if step.kind == "move":
        return f"move {_listed(step.targets)}"
    return f"{step.kind} {_listed(step.sources)} into {_listed(step.targets)}"


def _listed(parts: Sequence[Part]) -> str:
    names = [part.name or f"#{part.id}" for part in parts]
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def plan_document(plan: Plan) -> Document:
    return {
        "map_version": plan.map_version,
        "steps": [_step(step) for step in plan.steps],
        "notes": list(plan.notes),
    }


def _step(step: Step) -> Document:
    return {
        "id": step.id,
        "kind": step.kind,
        "from": step.source,
        "to": step.target,
        "sources": [_part(part) for part in step.sources],
        "targets": [_part(part) for part in step.targets],
        "after": step.after or None,
        "manual": step.manual,
        "rate": step.rate or None,
        "keep_source": step.keep_source,
        "bytes": step.bytes,
        "expected_pause_ms": step.pause_ms,
        "shares_rows": step.shares_rows,
    }


def _part(part: Part) -> Document:
    """A source whose name the map has forgotten is an id alone."""
    known = bool(part.name)
    return {
        "id": part.id or None,
        "name": part.name or None,
        "range": {"start": part.start, "end": part.end} if known else None,
        "bucket": part.bucket if known else None,
        "buckets": part.buckets if known else None,
    }


# -- migrations --------------------------------------------------------------------------------


def migrations_table(migrations: Sequence[Progress], columns: int = 0) -> str:
    head = ("ID", "WHAT", "FROM", "TO", "PHASE", "FOR", "COPIED", "LAG", "PAUSE", "WHY")
    rows = (
        (
            *(m.step.id, what(m.step), m.step.source, m.step.target, m.phase),
            duration(m.phase_ms),
            *((_copied_short(m), m.lag) if m.phase in COPYING else (None, None)),
            duration(m.switch_ms) if m.switch_ms else None,
            m.failed or m.why,
        )
        for m in migrations
    )
    return aligned(head, rows, columns) if migrations else "no migrations are known"


def migration_text(m: Progress) -> str:
    """All of one migration."""
    step = m.step
    lines = [
        f"migration  {step.id}: {what(step)}",
        f"shards     {step.source} to {step.target}"
        if step.target != step.source
        else f"shard      {step.source}",
        f"phase      {m.phase}, for {duration(m.phase_ms)}{', manual' if step.manual else ''}",
    ]
    if m.phase in COPYING:
        lines += [
            f"copied     {_copied_long(m)}",
            f"behind     {m.lag} revisions; up to {m.upto}, the last round took "
            f"{duration(m.took_ms)}",
        ]
    lines.append(f"verified   {'yes' if m.verified else 'no' if m.ended else 'not yet'}")
    if m.switch_ms:
        lines.append(f"pause      {duration(m.switch_ms)}")
    if step.after:
        lines.append(f"after      {step.after}")
    if m.why:
        lines.append(f"why        {m.why}")
    if m.failed:
        lines.append(f"failed     {m.failed}")
    return "\n".join(lines)


def _copied_short(m: Progress) -> str:
    return "nothing" if m.step.shares_rows else size(m.bytes)


def _copied_long(m: Progress) -> str:
    step = m.step
    if step.shares_rows:
        return NOTHING
    return (
        f"{m.rows} rows, {size(m.bytes)}"
        + (f" of about {size(step.bytes)}" if step.bytes and m.bytes <= step.bytes else "")
        + (f", at most {size(step.rate)}/s" if step.rate else "")
    )


def migration_document(m: Progress) -> Document:
    return {
        **_step(m.step),
        "phase": m.phase,
        "phase_ms": m.phase_ms,
        "why": m.why or None,
        "map_version": m.version or None,
        "pause_ms": m.switch_ms or None,
        "copied": _copied(m) if m.phase in COPYING else None,
        "lag": m.lag if m.phase in COPYING else None,
        "verified": m.verified,
        "failed": m.failed or None,
    }


def _copied(m: Progress) -> Document:
    return {"rows": m.rows, "bytes": m.bytes, "upto": m.upto, "took_ms": m.took_ms}


# -- hot tablets -------------------------------------------------------------------------------


def hot_table(status: ClusterStatus, columns: int = 0) -> str:
    head = ("ID", "NAME", "SHARD", "WRITES/S", "P99 MS", "SIZE", "KEYS")
    rows = (
        (
            *(t.id, t.name, t.shard),
            *(
                (f"{t.load.writes_per_s:.1f}", f"{t.load.p99_ms:.1f}")
                if t.load is not None
                else (None, None)
            ),
            *((size(t.load.bytes), t.load.keys) if t.load is not None else (None, None)),
        )
        for t in hottest(status)
    )
    return aligned(head, rows, columns)


def hot_list(status: ClusterStatus) -> Document:
    return {
        "tablets": [
            {
                **tablet_document(tablet),
                "writes_per_s": None if tablet.load is None else tablet.load.writes_per_s,
                "p99_ms": None if tablet.load is None else tablet.load.p99_ms,
                "bytes": None if tablet.load is None else tablet.load.bytes,
                "keys": None if tablet.load is None else tablet.load.keys,
            }
            for tablet in hottest(status)
        ]
    }


def hottest(status: ClusterStatus) -> list[Tablet]:
    """The most written first, then the largest; those that nothing is known of last."""
    return sorted(
        status.tablets,
        key=lambda t: (0.0, 0) if t.load is None else (-t.load.writes_per_s, -t.load.bytes),
    )
