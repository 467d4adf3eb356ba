"""`kubebraid ctl data check DIR`: is a stopped store whole?

What it is: the offline audit of a data directory, for people and for scripts. What it is not: a
repair. Nothing in the directory is changed, not even its log is replayed to disk.

Exit codes: 0 whole, 1 damaged or unreadable, 2 usage.

Tested in tests/unit/cli/test_data_check.py.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from kubebraid.coordinator import state
from kubebraid.coordinator.state import StateUnreadable
from kubebraid.shard import keycodec
from kubebraid.shard.audit import Audit, Report
from kubebraid.shard.fencing import FenceDamaged
from kubebraid.shard.mark import SHARD_CELL
from kubebraid.shard.shard_audit import ShardAudit
from kubebraid.shard.storage.datadir import DataDirError, Extent, inspect
from kubebraid.shard.storage.engine import Engine, EngineError
from kubebraid.shard.witness import epoch, witness

EXIT_WHOLE: Final = 0
EXIT_DAMAGED: Final = 1
PROGRESS_PAGES: Final = 200


def data(argv: Sequence[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="kubebraid ctl data", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="verify a stopped store", allow_abbrev=False)
    check.add_argument("directory", type=Path)
    check.add_argument("--output", choices=("table", "json"), default="table")
    flags = parser.parse_args(argv)
    try:
        report = _check(flags.directory)
    except (DataDirError, EngineError, StateUnreadable) as error:
        print(f"kubebraid ctl data check: {error}; {error.hint}", file=sys.stderr)
        return EXIT_DAMAGED
    print(json.dumps(asdict(report)) if flags.output == "json" else _table(flags.directory, report))
    return EXIT_DAMAGED if report.wrong else EXIT_WHOLE


def _check(directory: Path) -> Report:
    with inspect(directory) as (engine, before):
        raw = engine.get(keycodec.cell("coordinator"))
        shard = engine.get(keycodec.cell(SHARD_CELL))
        if raw is None and shard is None:
            return _bare(engine)
        if raw is None:
            audit: Audit = ShardAudit(engine, (shard or b"").decode())
        else:
            known = state.decode(raw)
            audit = Audit(engine, known.tablets, known.compact_revision)
        if _lost(before, engine):
            audit.report.find("the store holds less than when it was last served")
        for pages, _ in enumerate(audit.run()):
            if pages % PROGRESS_PAGES == 0 and sys.stderr.isatty():
                print(f"\r{audit.report.stored_bytes >> 20} MiB read", end="", file=sys.stderr)
        return audit.report


def _lost(before: Extent, engine: Engine) -> bool:
    try:
        return before.lost_by(Extent(witness(engine), epoch(engine)))
    except FenceDamaged:
        return False  # the audit tells which


def _bare(engine: Engine) -> Report:
    """No server ever started on it, so it has to be empty."""
    report = Report()
    if engine.count(b"\x00", b"\xff", 1):
        report.find("there are rows, and the coordinator's cell is missing")
    return report


def _remedy(report: Report) -> str:
    if report.shard:
        return (
            "Nobody else has its rows:\nput its last image back, or make a store of the cluster's"
            " last snapshot (kubebraid ctl snapshot restore)."
        )
    return "Restore it from a snapshot:\n  kubebraid ctl snapshot restore FILE --data-dir NEW"


def _table(directory: Path, report: Report) -> str:
    floor = () if report.shard else (("compacted below", max(report.floor, 0)),)
    rows = (
        ("revision", report.revision),
        *floor,
        ("keys", report.keys),
        ("older versions", report.versions),
        ("revisions in the log", report.revisions),
        ("leases", report.leases),
        ("bytes read", report.stored_bytes),
        ("findings", report.wrong),
    )
    lines = [f"{name:<22}{value:>16,}" for name, value in rows]
    if report.shard:
        lines.insert(0, f"the store of {report.shard}, a shard of a cluster")
    if report.wrong:
        lines += ["", *(f"- {sentence}" for sentence in report.findings)]
        if report.wrong > len(report.findings):
            lines.append(f"- and {report.wrong - len(report.findings):,} more")
        lines += ["", f"{directory} is damaged; nothing was changed. {_remedy(report)}"]
    else:
        lines += ["", f"{directory} is whole; nothing was changed."]
    return "\n".join(lines)
