"""Twenty clients on a cluster of eight processes to which everything happens, judged twice.

For three minutes (thirty in the soak) one fault follows the other: SIGKILL, SIGSTOP, networks that
are cut, slow, silent or half open, each before the sequencer's coordinator, another one, a shard
and a router (tests/robustness/faults.py). Then two judges read what was recorded: ours, which knows
gaps in revisions, counts and leases, and etcd's own robustness validators with Porcupine.

The seed decides which faults come in which order, and is printed. Here it is always the same, in
the soak a new one; KUBEBRAID_ROBUSTNESS_SEED=7 chooses another.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.processes import Finished, Peers, run
from tests.robustness.faults import Kind, Target
from tests.robustness.load import SHARDS
from tests.robustness.run import Verdict
from tests.robustness.run import run as play

pytestmark = [pytest.mark.e2e, pytest.mark.cluster]

CI_S: Final = 180.0
SOAK_S: Final = 1_800.0
CI_SEED: Final = 11
FAULTS_MIN: Final = 2 * len(Kind)  # two rounds: every kind, every target, a sequencer that dies
SHARE_MIN: Final = 0.2  # of the changes, in each shard
CALLS_PER_S_MIN: Final = 15.0  # under faults, on two slow cores; less would prove little
VALIDATORS_S_MAX: Final = 720.0  # they give up by themselves before
EXCERPT_S: Final = 20.0
LINEARIZED_S: Final = 45.0  # Porcupine's search grows faster than the history, in memory too
VALIDATORS: Final = "client-go-robustness"
EVERYTHING: Final = "\0"

Line = dict[str, Any]


def seed(default: int) -> int:
    """What was asked for, else the default."""
    return int(os.environ.get("KUBEBRAID_ROBUSTNESS_SEED", default))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the run of the module leaves its history."""
    return tmp_path_factory.mktemp("robustness")


@pytest.fixture(scope="module")
def verdict(folder: Path) -> Verdict:
    """The run of the module. A violation fails every test of it."""
    verdict = play(seed(CI_SEED), CI_S, folder)
    print(verdict)
    return verdict


@pytest.fixture(scope="module")
def lines(verdict: Verdict, folder: Path) -> list[Line]:
    """The beginning of its history, to be harmed."""
    text = (folder / "history.jsonl").read_text()
    return excerpt([json.loads(line) for line in text.splitlines()], EXCERPT_S)


def excerpt(lines: list[Line], seconds: float) -> list[Line]:
    """What is known of the time up to the newest revision that was answered so early. Watches stay
    whole, as the model takes the changes from them."""
    found = [line for line in lines if line["type"] == "call"]
    end = min(line["called"] for line in found) + seconds * 1e9
    newest = max(line["revision"] for line in found if line["returned"] <= end)
    kept = [line for line in found if line["called"] <= end and revision_of(line, lines) <= newest]
    return kept + [line for line in lines if line["type"] == "watch"]


def revision_of(call: Line, lines: list[Line]) -> int:
    """Where a call stands: by its answer, or if it had none, by what the watches tell."""
    if call["outcome"] != "unknown" or call["kind"] not in {"txn", "revoke"}:
        return int(call["revision"])
    puts = {op["value"] for op in call.get("then", ()) if op["op"] == "put"}
    compared = {compare["mod"] for compare in call.get("compares", ())}
    lease = call.get("request", {}).get("lease")
    for told in (told for stream in events_of(lines, "all-0") for told in stream):
        for event in told["events"]:
            row, previous = event["row"], event["previous"] or {"mod": -1, "lease": -1}
            gone = not event["put"] and (not puts and previous["mod"] in compared)
            if row["value"] in puts or gone or (not event["put"] and previous["lease"] == lease):
                return int(row["mod"])
    return 0


def check_extent(verdict: Verdict, seconds: float) -> None:
    """A run in which little happened proves little."""
    assert set(verdict.shares) == set(SHARDS)
    assert min(verdict.shares.values()) >= SHARE_MIN, verdict.shares
    assert verdict.told_shards == set(SHARDS), "a watch of all keys tells of all shards"
    assert verdict.calls.total() >= CALLS_PER_S_MIN * seconds, verdict
    faults = [injected.fault for injected in verdict.injected]
    assert len(faults) >= FAULTS_MIN, verdict
    assert {fault.kind for fault in faults} == set(Kind), verdict
    assert {fault.target for fault in faults} == set(Target), verdict
    assert verdict.reigns > 1, "the sequencer never changed hands"


def test_nothing_is_broken_whatever_happens(verdict: Verdict) -> None:
    check_extent(verdict, CI_S)


@pytest.mark.slow
def test_nothing_is_broken_in_half_an_hour(tmp_path: Path) -> None:
    verdict = play(seed(secrets.randbelow(1_000_000)), SOAK_S, tmp_path)
    print(verdict)
    check_extent(verdict, SOAK_S)


# -- etcd's own validators ---------------------------------------------------------------------


def validate(peers: Peers, path: Path) -> tuple[Finished, Line]:
    """What they say of a history, which is their last line."""
    done = run([peers.path(VALIDATORS), str(path)], seconds=VALIDATORS_S_MAX)
    said = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(said, dict)
    assert (done.code == 0) == said["ok"], done
    return done, said


def check_accepted(verdict: Verdict, path: Path, peers: Peers) -> None:
    """All of etcd's validators read this history, and found nothing."""
    _, said = validate(peers, path)
    print(said)
    assert said["ok"], said
    # None of them was left out, as they are behind a failure of the one before.
    for part in ("assumptions", "linearization", "watch", "serializable"):
        assert said[part] == "Success", said
    assert said["changes"] == verdict.changes
    assert said["operations"] > CALLS_PER_S_MIN * LINEARIZED_S / 2, said


def test_etcds_validators_accept_the_history(verdict: Verdict, folder: Path, peers: Peers) -> None:
    check_accepted(verdict, folder / "history.jsonl", peers)


def events_of(lines: list[Line], watcher: str) -> list[list[Line]]:
    """The streams of a watcher, each as its answers."""
    return [
        line["told"] for line in lines if line["type"] == "watch" and line["watcher"] == watcher
    ]


def middle(lines: list[Line], watcher: str = "pods") -> tuple[list[Line], int]:
    """A stream, and a place in it with events there and behind."""
    told = max(events_of(lines, watcher), key=len)
    places = [place for place, each in enumerate(told) if each["events"]]
    return told, places[len(places) // 2]


def calls(lines: list[Line], kind: str) -> Iterator[Line]:
    """Those that were answered."""
    return (line for line in lines if line.get("kind") == kind and line["outcome"] == "ok")


def lost(lines: list[Line]) -> None:
    told, place = middle(lines)
    del told[place]


def twice(lines: list[Line]) -> None:
    told, place = middle(lines)
    told.insert(place, told[place])


def reordered(lines: list[Line]) -> None:
    told, place = middle(lines)
    other = next(at for at in range(place + 1, len(told)) if told[at]["events"])
    told[place], told[other] = told[other], told[place]


def torn(lines: list[Line]) -> None:
    """Half of a transaction is left out, somewhere behind the first events of a stream.

    At its very first events another promise would break: that a watch is resumed without a loss.
    """
    for told in events_of(lines, "all-1"):
        filled = [answer["events"] for answer in told if answer["events"]]
        for events in filled[1:]:
            if len(events) > 1 and events[0]["row"]["mod"] == events[1]["row"]["mod"]:
                del events[0]
                return
    raise AssertionError("no transaction of two keys")


def early_bookmark(lines: list[Line]) -> None:
    told, place = middle(lines)
    bookmark = {"at": told[place]["at"], "events": [], "bookmark": True, "compacted": 0}
    told.insert(place, {**bookmark, "revision": told[place]["events"][-1]["row"]["mod"]})


def stale_read(lines: list[Line]) -> None:
    reads = [line for line in calls(lines, "range") if line["results"][0]["rows"]]
    newest = [line for line in reads if not line["request"]["revision"]]
    newest[len(newest) // 2]["results"][0]["rows"][0]["value"] = "of yesterday"


def stale_old_read(lines: list[Line]) -> None:
    reads = [line for line in calls(lines, "range") if line["results"][0]["rows"]]
    old = [line for line in reads if line["request"]["revision"] and not line["request"]["limit"]]
    del old[len(old) // 2]["results"][0]["rows"][0]


def lost_write(lines: list[Line]) -> None:
    writes = [line for line in calls(lines, "txn") if not line["compares"]]
    writes[len(writes) // 2]["revision"] += 1


def false_failure(lines: list[Line]) -> None:
    failed = [line for line in calls(lines, "txn") if not line["succeeded"]]
    chosen = next(line for line in failed[len(failed) // 2 :] if line["results"][0]["rows"])
    chosen["compares"][0]["mod"] = chosen["results"][0]["rows"][0]["mod"]


def written(lines: list[Line], folder: Path) -> Path:
    """A file of them."""
    path = folder / "history.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_etcds_validators_accept_the_excerpt_that_is_to_be_harmed(
    lines: list[Line], tmp_path: Path, peers: Peers
) -> None:
    _, said = validate(peers, written(lines, tmp_path))
    assert said["ok"], said


@pytest.mark.parametrize(
    ("harm", "promise"),
    [
        (lost, "broke Reliable"),
        (twice, "broke Unique"),
        (reordered, "broke Ordered"),
        (torn, "broke Reliable"),
        (early_bookmark, "broke Bookmarkable"),
        (stale_read, "linearization"),
        (stale_old_read, "serializable"),
        (lost_write, "linearization"),
        (false_failure, "linearization"),
    ],
)
def test_etcds_validators_refuse_a_harmed_history(
    lines: list[Line],
    tmp_path: Path,
    peers: Peers,
    harm: Callable[[list[Line]], None],
    promise: str,
) -> None:
    harmed = json.loads(json.dumps(lines))
    harm(harmed)
    done, said = validate(peers, written(harmed, tmp_path))
    assert done.code == 1, said
    assert promise in said["error"], said
