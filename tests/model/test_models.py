"""The models say what they have to: the design holds, every planted fault is found.

What it is: each case of `cases.py` as a test. Those that take seconds belong to the end-to-end
tests, because they run a program; the others to `make soak`, where the largest are cut by time and
the random walks are other ones each time (a failure prints the behaviour that leads to it).

A fault that is not found means that the model has lost its teeth: its "holds" says nothing then.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.e2e.processes import Peers, missing
from tests.model.cases import ALL, Expected, make
from tests.model.tlc import Broken, Verdict, run

SECONDS_MAX: Final = 120.0  # a short case takes one to eight on a quiet machine
SLOW_SECONDS_MAX: Final = 900.0
OUTPUT_CHARS: Final = 6_000

pytestmark = [pytest.mark.e2e, pytest.mark.cluster]


PARAMETERS: Final = [
    pytest.param(expected, id=expected.case.name, marks=[pytest.mark.slow] * expected.slow)
    for expected in ALL
]


@pytest.fixture(scope="module")
def java() -> str:
    return Peers().system("java")


@pytest.fixture(scope="module")
def jar() -> Path:
    path = Peers().folder / "lib" / "tla2tools.jar"
    if not path.is_file():
        missing(f"{path.name} is not in {path.parent}: run tests/peers/fetch_tlc.sh")
    return path


@pytest.mark.parametrize("expected", PARAMETERS)
def test_model_shows_what_it_has_to(
    expected: Expected, java: str, jar: Path, tmp_path: Path
) -> None:
    seconds = expected.seconds or (SLOW_SECONDS_MAX if expected.slow else SECONDS_MAX)
    result = run(expected.case, jar, tmp_path, seconds, java)
    if expected.verdict is Verdict.CUT:
        # A fast machine may come to the end of what was to be cut.
        assert result.verdict in {Verdict.CUT, Verdict.HOLDS}, result.output[-OUTPUT_CHARS:]
        assert result.distinct > 0, "it was cut before it had looked at anything"
        return
    found = (result.verdict, result.said)
    assert found == (expected.verdict, expected.said), result.output[-OUTPUT_CHARS:]
    if expected.verdict is Verdict.HOLDS:
        assert result.distinct == expected.states, "the model has grown or shrunk: see cases.py"


def test_model_that_cannot_be_evaluated_is_no_verdict(java: str, jar: Path, tmp_path: Path) -> None:
    """A misspelt bound once passed for "no error found": TLC had not looked at one state."""
    case = make("Spine", "evaluated_to_nothing", {"NW": frozenset({"two"})}, ())
    with pytest.raises(Broken):
        run(case, jar, tmp_path, SECONDS_MAX, java)
