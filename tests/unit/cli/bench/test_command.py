"""The command line: what is refused, and a report from a file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from kubebraid.cli.bench.command import (
    EXIT_DONE,
    EXIT_REFUSED,
    EXIT_USAGE,
    bench,
    default_folder,
    needed,
    parser,
    spoken,
)
from kubebraid.cli.bench.figures import Figure
from kubebraid.cli.bench.results import Failure, Outcome, Results, Taken, write
from kubebraid.cli.bench.scenarios import choose

RESULTS = Results(
    runs=(Taken("kubebraid bench put/64", "2026-03-01T12:00:00Z", {"KubeBraid": "1.0"}),),
    outcomes=(Outcome("put/64", "words", ({"kubebraid": (Figure("throughput", "/s", 1.0),)},)),),
    failures=(),
)


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["--shards=2"], EXIT_USAGE, "--profile=cluster"),
        (["--profile=cluster", "--shards=0"], EXIT_USAGE, "--shards"),
        (["--profile=cluster", "--shards=1,2"], EXIT_USAGE, "one number"),
        (["--engine=tikv"], EXIT_USAGE, "need each other"),
        (["--pd=127.0.0.1:1"], EXIT_USAGE, "need each other"),
        (["--engine=tikv", "--pd=127.0.0.1"], EXIT_USAGE, "'127.0.0.1' is no HOST:PORT"),
        (["--engine=tikv", "--pd=127.0.0.1:1", "--shards=1,1"], EXIT_USAGE, "--shards"),
        (["--engine=tikv", "--pd=127.0.0.1:1", "reshard/10m"], EXIT_USAGE, "was not made for"),
        (["put/46"], EXIT_USAGE, "did you mean"),
        (["--rounds=0"], EXIT_USAGE, "--rounds"),
        (["--scale=0"], EXIT_USAGE, "--scale"),
        (["--scale=2"], EXIT_USAGE, "--scale"),
        (["--rounds=2", "--rounds", "3"], EXIT_USAGE, "--rounds is given twice"),
    ],
)
def test_refused_with_a_sentence(
    argv: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(argv) == code
    printed = capsys.readouterr()
    assert words in printed.err
    assert printed.out == ""


def test_missing_programs_are_named_with_what_builds_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An installed package has no sources of the load generator: it says what is missing."""
    monkeypatch.setenv("KUBEBRAID_PEERS", str(tmp_path))
    assert bench(["put/64"]) == EXIT_REFUSED
    told = capsys.readouterr().err
    assert "bench-load is not in" in told
    assert "tests/bench/build.sh" in told
    assert "etcd is not in" in told


def test_only_what_is_measured_is_needed() -> None:
    assert needed(choose(["put"]), ["kubebraid"]) == ["bench-load", "benchmark"]
    both = needed(choose(["put", "kube"]), ["kubebraid", "etcd"])
    assert both == ["bench-load", "benchmark", "etcd", "kube-apiserver"]


def test_list_names_every_scenario(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(["--list"]) == EXIT_DONE
    assert "storage/space" in capsys.readouterr().out


def test_report_is_made_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "results.json"
    path.write_text(write(RESULTS))
    assert bench([f"--from={path}", "--output=markdown"]) == EXIT_DONE
    assert capsys.readouterr().out.startswith("# Results\n")
    assert bench([f"--from={path}", "--output=json"]) == EXIT_DONE
    assert json.loads(capsys.readouterr().out) == json.loads(write(RESULTS))


def test_failed_requests_end_in_another_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "results.json"
    failures = (Failure("put/64", "etcd", "3 requests failed"),)
    path.write_text(write(replace(RESULTS, failures=failures)))
    assert bench([f"--from={path}"]) == EXIT_REFUSED
    assert "FAILED: put/64 on etcd: 3 requests failed" in capsys.readouterr().err


def test_file_of_something_else_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.json"
    path.write_text("{}")
    assert bench([f"--from={path}"]) == EXIT_REFUSED
    assert "not a result" in capsys.readouterr().err


def test_runs_are_merged_into_one_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [tmp_path / f"{number}.json" for number in (1, 2, 3)]
    for path in paths:
        path.write_text(write(RESULTS))
    assert bench(["--output=json", "--from", *map(str, paths)]) == EXIT_DONE
    (outcome,) = json.loads(capsys.readouterr().out)["outcomes"]
    assert len(outcome["rounds"]) == 3


def test_runs_of_different_versions_are_not_merged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    newer = Taken("kubebraid bench", "2026-04-01T12:00:00Z", {"KubeBraid": "1.1"})
    paths = tmp_path / "old.json", tmp_path / "new.json"
    paths[0].write_text(write(RESULTS))
    paths[1].write_text(write(replace(RESULTS, runs=(newer,))))
    assert bench(["--from", *map(str, paths)]) == EXIT_REFUSED
    printed = capsys.readouterr()
    assert "the runs differ in KubeBraid: 1.0; 1.1" in printed.err
    assert printed.out == ""


def test_command_is_told_without_where_data_and_text_went() -> None:
    words = ["put/64", "--data-dir", "here", "--output", "json", "--scale=0.5", "--peer=none"]
    told = spoken(parser().parse_args(words))
    assert told == "kubebraid bench put/64 --rounds=3 --scale=0.5 --peer=none"


def test_data_go_into_a_checkout_or_the_systems_folder(tmp_path: Path) -> None:
    assert not default_folder(tmp_path).is_relative_to(tmp_path)
    (tmp_path / "pyproject.toml").touch()
    assert default_folder(tmp_path) == tmp_path / "build" / "bench"
