"""Migrations as operators see them: values of the coordinators to those of kubebraid.admin.v1.

What it is: names, ranges and figures put beside a migration's ids. What it is not: a judgement, or
a table.

Invariants: a source tablet that the map does not have any more keeps its id and loses its name; a
size that one owner has not told is not known; nothing is said to be copied between shards that
share their rows.

Worked example: a move of pods from shard-0 to shard-1 that copied 3 MiB is a `Progress` with the
step move-pods-7f3a, the phase "preparing" and the target's figures.

Tested in tests/unit/router/test_steps.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from statistics import median_low
from typing import Final

from kubebraid.base.ports import TabletLoad
from kubebraid.base.reshard import Kind, Migration, Phase, Progress
from kubebraid.base.revision import TabletId
from kubebraid.base.tabletmap import Tablet
from kubebraid.proto import adminreshard as wire
from kubebraid.proto.adminreshard import Part, Step

from .balance import COOLDOWN_MS

# A copy that is not verified does not become READY.
VERIFIED: Final = (Phase.READY, Phase.FROZEN, Phase.COMMITTED, Phase.DRAINING, Phase.DONE)


def step(
    migration: Migration,
    tablets: Mapping[TabletId, Tablet],
    loads: Mapping[TabletId, TabletLoad],
    pauses: Mapping[Kind, int],
    rows: Mapping[str, str],
    planned: bool = False,
) -> Step:
    """`tablets`: of the map; `pauses`: see `usual_pauses`; `rows`: by shard, see ShardPlace;
    planned: ids that the map does not have are placeholders, and not shown."""
    sizes = [loads[tablet].bytes if tablet in loads else None for tablet in migration.sources]
    known = [size for size in sizes if size is not None]
    new = {t.id for t in migration.targets if planned and t.id not in tablets}
    return Step(
        id=migration.id,
        kind=migration.kind.name.lower(),
        source=migration.source,
        target=migration.target,
        sources=tuple(_source(migration, tablet, tablets, new) for tablet in migration.sources),
        targets=tuple(_part(tablet, new) for tablet in migration.targets),
        after=migration.after,
        manual=migration.manual,
        rate=migration.rate,
        keep_source=migration.keep_source,
        bytes=sum(known) if len(known) == len(sizes) else None,
        pause_ms=pauses.get(migration.kind),
        shares_rows=_shares_rows(migration, rows),
    )


def progress(
    told: Progress,
    tablets: Mapping[TabletId, Tablet],
    loads: Mapping[TabletId, TabletLoad],
    rows: Mapping[str, str],
) -> wire.Progress:
    """With the figures of the shard that copies."""
    migration = told.migration
    made = step(migration, tablets, loads, {}, rows)
    reports = [report for report in told.reports if report.shard == migration.target]
    copier = reports[-1] if reports else None
    return wire.Progress(
        step=made,
        phase=migration.phase.name.lower(),
        why=migration.why,
        version=migration.version,
        phase_ms=told.phase_ms,
        switch_ms=told.switch_ms,
        rows=copier.rows if copier else 0,
        bytes=copier.bytes if copier else 0,
        upto=copier.upto if copier else 0,
        lag=copier.lag if copier else 0,
        took_ms=copier.took_ms if copier else 0,
        verified=migration.phase in VERIFIED or (copier is not None and copier.verified),
        failed=copier.failed if copier else "",
    )


def usual_pauses(migrations: Iterable[Progress]) -> dict[Kind, int]:
    """How long writes waited in the migrations that are known, by kind, in ms."""
    found: dict[Kind, list[int]] = {}
    for told in migrations:
        if told.switch_ms:
            found.setdefault(told.migration.kind, []).append(told.switch_ms)
    return {kind: median_low(pauses) for kind, pauses in found.items()}


def rested(migrations: Iterable[Progress]) -> frozenset[TabletId]:
    """Tablets that came to their place so lately that their figures say nothing yet."""
    return frozenset(
        tablet.id
        for told in migrations
        if told.migration.phase is Phase.DONE and told.phase_ms < COOLDOWN_MS
        for tablet in told.migration.targets
    )


def _shares_rows(migration: Migration, rows: Mapping[str, str]) -> bool:
    """Whether its two shards do. Of one shard alone there is nothing to share."""
    source, target = migration.source, migration.target
    return source != target and rows.get(source, "") == rows.get(target, "") != ""


def _source(
    migration: Migration,
    tablet: TabletId,
    tablets: Mapping[TabletId, Tablet],
    new: Collection[TabletId],
) -> Part:
    if migration.kind is Kind.MOVE:
        return _part(migration.targets[0], new)
    known = tablets.get(tablet)
    return Part(tablet, "", "", None, 0, 0) if known is None else _part(known, new)


def _part(tablet: Tablet, new: Collection[TabletId]) -> Part:
    number = 0 if tablet.id in new else tablet.id
    return wire.part(number, tablet.name, tablet.span, tablet.bucket, tablet.buckets)
