"""`python -m tests.model.run [--slow] [NAME...]`: check cases and print a table of what they show.

What it is: the models by hand, for `make model` and for the tables of docs/model/README.md. What it
is not: a test; it ends with 1 if a case does not show what it has to, and goes on to the others.

Worked example: `python -m tests.model.run noFence` prints one row and leaves the behaviour that TLC
found in build/model/noFence.out.

The same cases run as tests in tests/model/test_models.py.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from tests.e2e.processes import Peers
from tests.model.cases import ALL, DEFAULTS, Expected
from tests.model.tlc import Case, Verdict, run, text

OUTPUT: Final = Path(__file__).resolve().parents[2] / "build" / "model"
SECONDS_MAX: Final = 900.0


def bounds(case: Case) -> str:
    """What a case changes of its model's defaults, faults aside: those are its name."""
    changed = {
        key: value
        for key, value in case.constants.items()
        if key != "Mut" and value != DEFAULTS[case.model][key]
    }
    return " ".join(f"{key}={text(value)}" for key, value in changed.items()) or "-"


def main(arguments: list[str]) -> int:
    """0: every case shows what it has to."""
    names = [name for name in arguments if not name.startswith("-")]
    strays = set(names) - {expected.case.name for expected in ALL}
    if strays or set(arguments) - set(names) - {"--slow"}:
        print(f"usage: python -m tests.model.run [--slow] [NAME...]; unknown: {sorted(strays)}")
        return 2
    slow = "--slow" in arguments
    chosen = [e for e in ALL if (e.case.name in names if names else e.slow is slow)]
    OUTPUT.mkdir(parents=True, exist_ok=True)
    jar = Peers().folder / "lib" / "tla2tools.jar"
    print("| model | case | bounds | shows | distinct states | depth | seconds |")
    print("|---|---|---|---|---|---|---|")
    wrong = [expected.case.name for expected in chosen if not show(expected, jar)]
    if wrong:
        print(f"Not as they have to be: {', '.join(wrong)}. What TLC said is in {OUTPUT}.")
    return 1 if wrong else 0


def show(expected: Expected, jar: Path) -> bool:
    """Check one case and print its row; answers whether it is as it has to be."""
    case = expected.case
    result = run(case, jar, OUTPUT, expected.seconds or SECONDS_MAX)
    (OUTPUT / f"{case.name}.out").write_text(result.output)
    said = f"{result.verdict.value}: {result.said}" if result.said else result.verdict.value
    cells = (case.model, case.name, bounds(case), said, f"{result.distinct:,}")
    print("|", " | ".join(cells), "|", result.depth or "-", "|", f"{result.seconds:.1f}", "|")
    sys.stdout.flush()
    if expected.verdict is Verdict.CUT:
        return result.verdict is not Verdict.VIOLATED
    counted = expected.verdict is not Verdict.HOLDS or result.distinct == expected.states
    return counted and (result.verdict, result.said) == (expected.verdict, expected.said)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
