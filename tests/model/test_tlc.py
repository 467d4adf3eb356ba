"""What TLC printed is read strictly: no verdict without its own word for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.model.cases import SPLIT, make
from tests.model.tlc import Broken, Verdict, command, read, text, write

BANNER = "TLC2 Version 2.15 of Day Month 20?? (rev: eb3ff99)\n"
COUNTS = "199,291 states generated, 42,126 distinct states found, 0 states left on queue.\n"
DEPTH = "The depth of the complete state graph search is 21.\n"


def test_complete_run_holds_with_its_counts() -> None:
    output = f"{BANNER}Model checking completed. No error has been found.\n{COUNTS}{DEPTH}"
    result = read(0, output, 7.5)
    assert result[:5] == (Verdict.HOLDS, "", 42_126, 21, 7.5)


def test_violation_of_what_clients_see_is_told_by_the_words_of_err() -> None:
    trace = '/\\ err = ""\n/\\ err = "real-time order"\n'
    result = read(12, f"Error: Invariant NoErr is violated.\n{trace}{COUNTS}", 1.0)
    assert (result.verdict, result.said) == (Verdict.VIOLATED, "real-time order")


def test_violation_of_an_inner_invariant_is_told_by_its_name() -> None:
    result = read(12, f'Error: Invariant ClosedTruth is violated.\n/\\ err = ""\n{COUNTS}', 1.0)
    assert (result.verdict, result.said) == (Verdict.VIOLATED, "ClosedTruth")


def test_deadlock_is_a_violation() -> None:
    result = read(11, f"Error: Deadlock reached.\n{COUNTS}", 1.0)
    assert (result.verdict, result.said) == (Verdict.VIOLATED, "Deadlock")


def test_run_whose_time_ended_is_cut_at_what_it_had_seen() -> None:
    progress = "Progress(9): 1,200 states generated (1 s/min), 345 distinct states found\n"
    result = read(None, BANNER + progress, 200.0)
    assert (result.verdict, result.distinct) == (Verdict.CUT, 345)


def test_random_walk_counts_the_states_it_checked() -> None:
    assert read(None, f"{BANNER}Progress: 20,000 states checked.\n", 100.0).distinct == 20_000


@pytest.mark.parametrize(
    ("code", "output"),
    [
        pytest.param(1, "Error: Unable to access jarfile\n", id="no jar"),
        pytest.param(127, "", id="no java"),
        pytest.param(150, f"{BANNER}***Parse Error***\n", id="no TLA+"),
        pytest.param(75, f"{BANNER}Error: TLC threw an unexpected exception.\n", id="exception"),
        pytest.param(0, BANNER, id="ended well without saying what was found"),
        pytest.param(12, BANNER, id="violated, but what?"),
        pytest.param(None, "", id="cut before it began"),
        pytest.param(None, f"{BANNER}Error: out of memory\n", id="cut after an error"),
    ],
)
def test_anything_else_is_no_verdict(code: int | None, output: str) -> None:
    with pytest.raises(Broken):
        read(code, output, 1.0)


def test_constants_are_written_as_tla_writes_them() -> None:
    values = (True, False, 4, (1, 2), frozenset[str](), frozenset({"b", "a"}))
    assert [text(v) for v in values] == ["TRUE", "FALSE", "4", "<<1, 2>>", "{}", '{"a", "b"}']


def test_case_becomes_a_module_and_its_configuration(tmp_path: Path) -> None:
    name = write(make("Spine", "some", {"Kinds": SPLIT}, ["noFence"]), tmp_path)
    module = (tmp_path / f"{name}.tla").read_text()
    configuration = (tmp_path / f"{name}.cfg").read_text()
    assert "EXTENDS Spine" in module
    assert 'c_Kinds == {"split"}' in module
    assert 'c_Mut == {"noFence"}' in module
    assert "CONSTANT Mut <- c_Mut" in configuration
    assert "INVARIANT ClosedTruth" in configuration


def test_only_a_model_in_which_time_ends_may_come_to_a_stop(tmp_path: Path) -> None:
    jar = Path("tla2tools.jar")
    assert "-deadlock" in command(make("Lease", "l", {}), jar, tmp_path, "java")
    assert "-deadlock" not in command(make("Spine", "s", {}), jar, tmp_path, "java")
