"""A status as tables for people.

What it is: values to lines of text. What it is not: for scripts; those ask for `--output=json`.

Invariants: columns are aligned, a row is one line, numbers stand at the right; where a terminal is
narrower than a table, its longest texts are cut in their middle, so that no row is wrapped.

Worked example: `aligned(("NAME", "LAG"), [("pods", 0)])` is "NAME  LAG" and "pods    0".

Tested in tests/unit/cli/test_ctl.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from kubebraid.proto import adminwire as wire
from kubebraid.proto.adminwire import ClusterStatus, Tablet

from .problems import Problem

GAP: Final = "  "
DOTS: Final = "..."
TEXT_MIN: Final = 12  # narrower, a name says nothing: such a terminal wraps


def aligned(head: Sequence[str], rows: Iterable[Sequence[object]], columns: int = 0) -> str:
    """A table; what is None or empty is a dash. `columns`: the terminal's; 0: any length."""
    body = [tuple(row) for row in rows]
    assert all(len(row) == len(head) for row in body), "a cell for each column"
    texts = [tuple(head), *(tuple(_cell(value) for value in row) for row in body)]
    right = [
        bool(body) and all(value is None or isinstance(value, int) for value in column)
        for column in (zip(*body, strict=True) if body else [()] * len(head))
    ]
    widths = _widths(texts, right, columns)
    lines = []
    for row in texts:
        cells = [
            text.rjust(width) if is_number else _cut(text, width).ljust(width)
            for text, width, is_number in zip(row, widths, right, strict=True)
        ]
        lines.append(GAP.join(cells).rstrip())
    return "\n".join(lines)


def _widths(texts: Sequence[Sequence[str]], right: Sequence[bool], columns: int) -> list[int]:
    """Of each column; the widest text gives way first."""
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    shrinkable = [at for at, is_number in enumerate(right) if not is_number]
    while columns and sum(widths) + len(GAP) * (len(widths) - 1) > columns:
        widest = max(shrinkable, key=lambda at: widths[at], default=None)
        if widest is None or widths[widest] <= TEXT_MIN:
            break
        widths[widest] -= 1
    return widths


def _cell(value: object) -> str:
    return "-" if value is None or value == "" else str(value)


def _cut(text: str, width: int) -> str:
    """Its end says more than its middle: keys and names begin alike."""
    if len(text) <= width:
        return text
    left = (width - len(DOTS)) // 3
    return text[:left] + DOTS + text[left + len(DOTS) - width :]


def tablet_list(status: ClusterStatus, columns: int = 0) -> str:
    return _tablets(status, status.tablets, columns)


def _tablets(status: ClusterStatus, tablets: Iterable[Tablet], columns: int) -> str:
    up = {shard.name for shard in status.shards if shard.state == wire.UP}
    head = ("ID", "NAME", "START", "END", "BUCKET", "SHARD", "STATE", "OEPOCH", "LAST", "LAG")
    rows = (
        (
            *(t.id, t.name, t.start, t.end, _bucket(t), t.shard),
            *("up" if t.shard in up else "down", t.oepoch, t.last, t.lag),
        )
        for t in tablets
    )
    return aligned(head, rows, columns)


def _bucket(tablet: Tablet) -> str:
    return "" if tablet.buckets == 1 else f"{tablet.bucket} of {tablet.buckets}"


def shard_list(status: ClusterStatus, columns: int = 0) -> str:
    hosts = any(s.host for s in status.shards)
    head = ("NAME", "ADDRESS", "STATE", *(("HOST",) if hosts else ()))
    head += ("TABLETS", "DISK MIB", "LEASES", "INCARNATION")
    return aligned(
        head,
        (
            (
                *(s.name, s.address, s.state, *((s.host,) if hosts else ())),
                len(status.tablets_of(s.name)),
                s.disk_bytes >> 20,
                s.leases,
                f"{s.incarnation:x}" if s.incarnation else None,
            )
            for s in status.shards
        ),
        columns,
    )


def coordinator_status(status: ClusterStatus, columns: int = 0) -> str:
    members = aligned(
        ("NAME", "ADDRESS", "STATE", "SEQUENCER", "APPLIED", "TERM"),
        (
            (
                c.name,
                c.address,
                c.state,
                "yes" if status.sequencer.serves and c.name == status.sequencer.name else None,
                c.applied if c.votes else None,
                c.term if c.votes else None,
            )
            for c in status.coordinators
        ),
        columns,
    )
    return f"{members}\n\n{sequencer(status)}"


def sequencer(status: ClusterStatus) -> str:
    """One line."""
    holder = status.sequencer
    if not holder.serves:
        return f"sequencer  none (reign {holder.cepoch} was that of {holder.name or 'nobody'})"
    window = f", window up to {holder.window}" if holder.window else ""
    return (
        f"sequencer  {holder.name}, reign {holder.cepoch}, revision {status.revision}{window}, "
        f"{holder.renewals} renewals"
    )


def whole(status: ClusterStatus, found: Sequence[Problem], columns: int = 0) -> str:
    """All but the tablets of which there is nothing to say."""
    floor = "never" if status.floor < 0 else f"below {status.floor}"
    parts = [
        f"cluster    {status.cluster or 'one process'}\n"
        f"router     {status.router}, version {status.version}\n"
        f"revision   {status.revision}{' (stale)' if status.stale else ''}, compacted {floor}, "
        f"map version {status.map_version}",
        coordinator_status(status, columns),
        shard_list(status, columns),
        _tablets_in_brief(status, columns),
        told(found),
    ]
    return "\n\n".join(parts)


def _tablets_in_brief(status: ClusterStatus, columns: int) -> str:
    up = {shard.name for shard in status.shards if shard.state == wire.UP}
    worth = [tablet for tablet in status.tablets if tablet.shard not in up or tablet.lag != 0]
    if not worth:
        return f"tablets    {len(status.tablets)}, all up, none lags (see 'tablet list')"
    line = f"tablets    {len(status.tablets)}, of which are down or lag:"
    return f"{line}\n{_tablets(status, worth, columns)}"


def told(found: Sequence[Problem]) -> str:
    """The problems, each with what to do."""
    if not found:
        return "problems   none"
    lines = [f"problems   {len(found)}"]
    for problem in found:
        lines += [f"- {problem.what}", f"  do: {problem.do}"]
    return "\n".join(lines)
