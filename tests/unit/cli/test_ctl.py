"""`kubebraid ctl`: what is wrong with a status, and how it is shown."""

from __future__ import annotations

import json

import pytest

from kubebraid.base.ports import ALARM_CORRUPT, ALARM_NOSPACE, Alarm
from kubebraid.cli.ctl import documents, tables
from kubebraid.cli.ctl.problems import (
    BEHIND_ENTRIES,
    LAG_REVISIONS,
    NAMES_SHOWN,
    Problem,
    majority,
    problems,
)
from kubebraid.proto.adminwire import ClusterStatus

from .ctl_status import HEALTHY, coordinators, shards, without_quorum


def one(status: ClusterStatus) -> Problem:
    (problem,) = problems(status)
    return problem


def tablet(number: int, **changed: int | None) -> ClusterStatus:
    """HEALTHY with one tablet changed."""
    tablets = tuple(
        t._replace(**changed) if t.id == number else t  # type: ignore[arg-type]
        for t in HEALTHY.tablets
    )
    return HEALTHY._replace(tablets=tablets)


# -- problems --------------------------------------------------------------------------------------


def test_healthy_cluster_has_no_problem() -> None:
    assert problems(HEALTHY) == []


def test_shard_that_is_down_names_its_tablets() -> None:
    problem = one(shards(s1="down"))
    assert problem.what == (
        "shard s1 (h:5) cannot be reached from router r1; its 2 tablets are down: pods.1, default-1"
    )
    assert problem.do.startswith("start it again with the same name and data directory")
    assert problem.about == ("shard", "tablet")


def test_shard_on_tikv_that_is_down_needs_no_directory() -> None:
    down = shards(s1="down")
    hosted = tuple(shard._replace(host="s0") for shard in down.shards)
    problem = one(down._replace(shards=hosted))
    assert problem.do.endswith(
        "in which another host takes it; if none does, start s0 again with the flags it had"
    )


def test_shard_that_was_never_started_is_told_how_to() -> None:
    problem = one(shards(s0="never started"))
    assert problem.what.startswith("shard s0 was never started; its 2 tablets are down")
    assert "kubebraid shard --name=s0" in problem.do


def test_one_tablet_is_one_and_many_are_counted() -> None:
    moved = tuple(t._replace(shard="s0") for t in HEALTHY.tablets[:3])
    few = shards(s1="down")._replace(tablets=(*moved, HEALTHY.tablets[3]))
    assert one(few).what.endswith("its tablet default-1 is down")
    many = tuple(HEALTHY.tablets[0]._replace(id=n, name=f"t{n}") for n in range(NAMES_SHOWN + 3))
    assert one(shards(s0="down")._replace(tablets=many)).what.endswith("t4, t5 and 3 more")


def test_shard_without_tablets_may_be_away() -> None:
    idle = tuple(t._replace(shard="s0") for t in HEALTHY.tablets)
    assert problems(shards(s1="down")._replace(tablets=idle)) == []


@pytest.mark.parametrize(
    ("state", "what", "do"),
    [
        ("unreachable", "coordinator b (h:2) cannot be reached", "coordinator refill b"),
        ("silent", "coordinator b (h:2) is connected and does not answer", "end it and start"),
        ("waiting", "coordinator b has no log and waits", "while 2 others run"),
        ("alone", "coordinator b runs and knows of no leader", "an election"),
    ],
)
def test_coordinator_that_takes_no_part_is_told(state: str, what: str, do: str) -> None:
    problem = one(coordinators(b=state))
    assert problem.what.startswith(what)
    assert do in problem.do
    assert problem.about == ("coordinator",)


@pytest.mark.parametrize("behind", [BEHIND_ENTRIES, BEHIND_ENTRIES + 1])
def test_coordinator_far_behind_is_told(behind: int) -> None:
    members = [m._replace(applied=5_000) for m in HEALTHY.coordinators]
    members[2] = members[2]._replace(applied=5_000 - behind)
    found = problems(HEALTHY._replace(coordinators=tuple(members)))
    told = [problem.what for problem in found]
    expected = f"coordinator c is {behind} entries of the log behind"
    assert told == ([expected] if behind > BEHIND_ENTRIES else [])


def test_lost_quorum_comes_first_and_names_whom_to_start() -> None:
    first, *others = problems(without_quorum())
    assert first.what.startswith("router r1 reaches 1 of 3 coordinators, 2 must run: writes and")
    assert first.do.startswith("start b, c again")
    assert first.about == ("coordinator", "shard", "tablet")
    assert [problem.what.split()[1] for problem in others] == ["a", "b", "c"]


def test_sequencer_between_two_reigns_is_no_lost_quorum() -> None:
    problem = one(HEALTHY._replace(stale=True))
    assert problem.what.startswith("no coordinator hands out revisions")
    assert "wait for three seconds" in problem.do


@pytest.mark.parametrize("lag", [LAG_REVISIONS, LAG_REVISIONS + 1])
def test_tablet_that_lags_far_is_told(lag: int) -> None:
    found = problems(tablet(3, last=39 + lag))
    assert [problem.about for problem in found] == [("tablet",)] * (lag > LAG_REVISIONS)
    assert all(f"tablet pods.1 lags by {lag} revisions" in problem.what for problem in found)


def test_tablet_that_was_not_heard_of_is_told_unless_its_shard_is_down() -> None:
    problem = one(tablet(3, closed=None))
    assert problem.what.startswith("router r1 has heard nothing of tablet pods.1")
    assert "shard s1" in problem.do
    down = shards(s1="down")._replace(tablets=tablet(3, closed=None).tablets)
    assert one(down).about == ("shard", "tablet")


def test_alarms_are_told_with_what_to_do() -> None:
    alarms = (Alarm(1, ALARM_NOSPACE), Alarm(2, ALARM_CORRUPT), Alarm(3, 9))
    space, corrupt, other = problems(HEALTHY._replace(alarms=alarms))
    assert "NOSPACE" in space.what
    assert "etcdctl alarm disarm" in space.do
    assert "CORRUPT" in corrupt.what
    assert "data check" in corrupt.do
    assert "kind 9" in other.what


@pytest.mark.parametrize(("count", "needed"), [(1, 1), (3, 2), (5, 3)])
def test_majority(count: int, needed: int) -> None:
    assert majority(HEALTHY._replace(coordinators=HEALTHY.coordinators[:1] * count)) == needed


# -- JSON ------------------------------------------------------------------------------------------


def test_tablet_list_has_exactly_the_promised_keys() -> None:
    listed = documents.tablet_list(HEALTHY)
    assert list(listed) == ["tablets"]
    tablets = listed["tablets"]
    assert isinstance(tablets, list)
    assert tablets[1] == {
        "id": 2,
        "name": "pods.0",
        "range": {"start": "/r/pods", "end": "/r/pods0"},
        "bucket": 0,
        "buckets": 2,
        "shard": "s0",
        "oepoch": 4,
        "last": 40,
        "closed": 38,
        "lag": 2,
    }
    assert tablets[3]["range"] == {"start": "/r/pods0", "end": None}
    assert [t["lag"] for t in tablets] == [0, 2, 0, 0]
    unheard = documents.tablet_list(tablet(2, closed=None))["tablets"]
    assert isinstance(unheard, list)
    assert (unheard[1]["closed"], unheard[1]["lag"]) == (None, None)


def test_shard_list_counts_tablets() -> None:
    assert documents.shard_list(shards(s1="down")) == {
        "shards": [
            {
                "name": "s0",
                "address": "h:4",
                "state": "up",
                "host": None,
                "incarnation": 255,
                "tablets": 2,
                "store": "d0",
                "disk_bytes": 5 << 20,
                "used_bytes": 1 << 20,
                "leases": 3,
            },
            {
                "name": "s1",
                "address": "h:5",
                "state": "down",
                "host": None,
                "incarnation": 16,
                "tablets": 2,
                "store": "d1",
                "disk_bytes": 1 << 20,
                "used_bytes": 1 << 20,
                "leases": 0,
            },
        ]
    }


def test_coordinator_status_has_members_and_the_sequencer() -> None:
    told = documents.coordinator_status(HEALTHY)
    assert list(told) == ["coordinators", "sequencer"]
    assert told["sequencer"] == {
        "name": "b",
        "serves": True,
        "cepoch": 3,
        "revision": 40,
        "window": 10_001,
        "renewals": 12,
    }
    members = told["coordinators"]
    assert isinstance(members, list)
    assert members[0] == {
        "name": "a",
        "address": "h:1",
        "state": "leader",
        "applied": 90,
        "term": 2,
        "leader": "a",
    }


def test_whole_status_is_all_of_them_and_the_problems() -> None:
    status = without_quorum()
    told = documents.whole(status, problems(status))
    for part in (
        documents.tablet_list(status),
        documents.shard_list(status),
        documents.coordinator_status(status),
    ):
        assert part.items() <= told.items()
    assert (told["stale"], told["compact_revision"]) == (True, None)
    found = told["problems"]
    assert isinstance(found, list)
    assert [set(problem) for problem in found] == [{"what", "do"}] * 4
    assert json.loads(json.dumps(told)) == told


# -- tables ----------------------------------------------------------------------------------------


def test_table_is_aligned_with_numbers_at_the_right() -> None:
    rows = [("pods", 7, None), ("a", 1_000, "x")]
    assert tables.aligned(("NAME", "LAST", "END"), rows).splitlines() == [
        "NAME  LAST  END",
        "pods     7  -",
        "a     1000  x",
    ]
    assert tables.aligned(("NAME", "LAG"), []) == "NAME  LAG"


def test_table_fits_a_narrow_terminal_by_cutting_long_texts_in_their_middle() -> None:
    rows = [("n" * 20, "/registry/" + "k" * 30 + "/end", 1_234_567)]
    whole = tables.aligned(("NAME", "START", "LAST"), rows)
    assert "/registry/" + "k" * 30 + "/end" in whole
    lines = tables.aligned(("NAME", "START", "LAST"), rows, 60).splitlines()
    assert {len(line) for line in lines} == {60}
    assert "/end  1234567" in lines[1]
    assert "..." in lines[1]
    assert "n" * 20 in lines[1], "the longest text gives way first"


def test_table_of_numbers_is_never_cut() -> None:
    rows = [(123_456_789, 987_654_321)]
    assert "123456789  987654321" in tables.aligned(("A", "B"), rows, 5)


def test_tables_name_what_is_down() -> None:
    down = shards(s1="down")
    listed = tables.tablet_list(down).splitlines()
    assert [line.split()[-4] for line in listed[1:]] == ["up", "up", "down", "down"]
    assert listed[2].split()[:5] == ["2", "pods.0", "/r/pods", "/r/pods0", "0"]
    shown = tables.whole(down, problems(down))
    assert "s1    h:5      down         2" in shown
    assert "\n 3  pods.1" in shown.replace("\n3 ", "\n 3 ")
    assert "default-0" not in shown, "of a tablet that is up and lags nothing there is no news"
    assert "problems   1\n- shard s1" in shown


def test_hosts_are_a_column_where_there_are_any() -> None:
    assert "HOST" not in tables.shard_list(HEALTHY)
    one_of_two = (HEALTHY.shards[0], HEALTHY.shards[1]._replace(host="s0"))
    status = HEALTHY._replace(shards=one_of_two)
    lines = tables.shard_list(status).splitlines()
    assert [line.split()[:5] for line in lines] == [
        ["NAME", "ADDRESS", "STATE", "HOST", "TABLETS"],
        ["s0", "h:4", "up", "-", "2"],
        ["s1", "h:5", "up", "s0", "2"],
    ]
    assert lines[0] in tables.whole(status, [])
    told = documents.shard_list(status)["shards"]
    assert isinstance(told, list)
    assert [shard["host"] for shard in told] == [None, "s0"]


def test_healthy_status_says_so() -> None:
    calm = HEALTHY._replace(tablets=HEALTHY.tablets[2:])
    shown = tables.whole(calm, [])
    assert "tablets    2, all up, none lags" in shown
    assert "problems   none" in shown
    assert "sequencer  b, reign 3, revision 40, window up to 10001, 12 renewals" in shown
    assert "revision   40, compacted never, map version 7" in shown


def test_stale_status_names_no_sequencer() -> None:
    status = without_quorum()
    shown = tables.whole(status._replace(floor=12), problems(status))
    assert "revision   40 (stale), compacted below 12" in shown
    assert "sequencer  none (reign 3 was that of b)" in shown
    assert "yes" not in tables.coordinator_status(status)
