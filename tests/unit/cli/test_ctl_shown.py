"""Plans, migrations and hot tablets, for people and for scripts."""

from __future__ import annotations

import json

import pytest

from kubebraid.__main__ import main
from kubebraid.cli.ctl import figures, shown
from kubebraid.proto.adminreshard import Part, Plan, Progress
from kubebraid.proto.adminwire import Load

from .ctl_routers import MOVE, PODS, SPLIT, FakeCluster, serving
from .ctl_status import HEALTHY

Capture = pytest.CaptureFixture[str]
HOT = HEALTHY._replace(
    tablets=(
        HEALTHY.tablets[0]._replace(load=Load(5, 1, 0.5, 1.25)),
        HEALTHY.tablets[1],
        HEALTHY.tablets[2]._replace(load=Load(3 << 20, 70, 120.0, 9.0)),
        HEALTHY.tablets[3]._replace(load=Load(9, 1, 0.5, 2.0)),
    )
)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (3_670_016, "3.5 MiB"),
        (200 << 30, "200 GiB"),
    ],
)
def test_sizes_are_short(count: int, text: str) -> None:
    assert figures.size(count) == text


@pytest.mark.parametrize(
    ("ms", "text"),
    [(12, "12ms"), (1_999, "1s"), (90_500, "1m30s"), (3_600_000, "1h00m"), (7_325_000, "2h02m")],
)
def test_times_are_short(ms: int, text: str) -> None:
    assert figures.duration(ms) == text


def test_plan_shows_each_step_and_its_notes() -> None:
    later = MOVE._replace(id="move-pods.1-3", after=SPLIT.id, bytes=None)
    lines = shown.plan_table(Plan(1, (SPLIT, later), ("two",))).splitlines()
    assert lines[0].split() == ["STEP", "ID", "WHAT", "FROM", "TO", "SIZE", "PAUSE", "AFTER"]
    assert lines[1].split()[-4:] == ["-", "-", "~40ms", "-"]
    assert lines[2].split()[-5:] == ["s0", "s1", "-", "-", SPLIT.id]
    assert lines[3] == "note: two"


def test_many_tablets_are_counted_and_forgotten_ones_are_numbers() -> None:
    parts = tuple(PODS._replace(name=f"pods.{n}") for n in range(8))
    step = SPLIT._replace(kind="merge", sources=(Part(3, "", "", None, 0, 0),), targets=parts)
    assert shown.what(step) == "merge #3 into pods.0, pods.1, pods.2, pods.3 and 4 more"


def test_size_is_told_while_it_says_something() -> None:
    copied = Progress(MOVE, "preparing", bytes=100 << 20)
    assert "100 MiB of about 100 MiB" in shown.migration_text(copied)
    more = copied._replace(bytes=101 << 20)
    assert "copied     0 rows, 101 MiB\n" in shown.migration_text(more)


SHARED = MOVE._replace(id="move-pods-9", shares_rows=True)


def test_plan_between_shards_that_share_their_rows_says_that_nothing_is_copied() -> None:
    said = "moves copy nothing: the shards share their rows"
    assert shown.plan_table(Plan(1, (SPLIT, SHARED), ("two",))).splitlines()[-2:] == [
        said,
        "note: two",
    ]
    for steps in ((), (SPLIT,), (MOVE,), (MOVE, SHARED)):
        assert said not in shown.plan_table(Plan(1, steps))
    told = shown.plan_document(Plan(1, (SHARED, MOVE)))["steps"]
    assert isinstance(told, list)
    assert [step["shares_rows"] for step in told] == [True, False]


def test_migration_between_shards_that_share_their_rows_copies_nothing() -> None:
    going = Progress(SHARED, "preparing", lag=3)
    assert "copied     nothing: the shards share their rows\n" in shown.migration_text(going)
    assert "behind     3 revisions" in shown.migration_text(going)
    assert shown.migrations_table([going]).splitlines()[1].split()[-4:] == [
        "nothing",
        "3",
        "-",
        "-",
    ]
    done = going._replace(phase="done")
    assert "nothing" not in shown.migration_text(done) + shown.migrations_table([done])


def test_list_of_nothing_says_so() -> None:
    assert shown.migrations_table([]) == "no migrations are known"


def test_list_has_a_row_for_each_with_its_reason() -> None:
    found = [
        Progress(MOVE, "aborted", "full", phase_ms=2_000),
        Progress(SPLIT, "done", switch_ms=9),
    ]
    first, second = shown.migrations_table(found).splitlines()[1:]
    assert first.split()[-1] == "full"
    assert "aborted  2s" in first
    assert second.split()[-2:] == ["9ms", "-"]


def test_forgotten_source_is_an_id_alone() -> None:
    step = SPLIT._replace(sources=(Part(3, "", "", None, 0, 0),))
    told = shown.migration_document(Progress(step, "done"))
    assert told["sources"] == [
        {"id": 3, "name": None, "range": None, "bucket": None, "buckets": None}
    ]
    targets = told["targets"]
    assert isinstance(targets, list)
    assert (targets[0]["id"], targets[0]["range"]["start"]) == (None, "/registry/pods")


def test_hot_tablets_come_first_and_unknown_ones_last(capsys: Capture) -> None:
    cluster = FakeCluster("done")
    cluster.status = HOT
    with serving(cluster) as endpoint:
        assert main(["ctl", "tablet", "list", "--hot", f"--endpoint={endpoint}"]) == 0
        table = capsys.readouterr().out.splitlines()
        argv = ["ctl", "tablet", "list", "--hot", "--output=json", f"--endpoint={endpoint}"]
        assert main(argv) == 0
        told = json.loads(capsys.readouterr().out)["tablets"]
    assert [line.split()[1] for line in table[1:]] == ["pods.1", "default-1", "default-0", "pods.0"]
    assert table[1].split()[2:] == ["s1", "120.0", "9.0", "3.0", "MiB", "70"]
    assert [t["id"] for t in told] == [3, 4, 1, 2]
    assert (told[0]["writes_per_s"], told[0]["p99_ms"], told[0]["bytes"], told[0]["keys"]) == (
        *(120.0, 9.0),
        *(3 << 20, 70),
    )
    assert (told[3]["writes_per_s"], told[3]["bytes"]) == (None, None)
    assert {"range", "shard", "lag"} <= told[0].keys()
