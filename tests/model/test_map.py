"""docs/model/README.md and the models keep step with the code and with the cases.

What it is: the section "From action to function" read as data. Each row names an action of a model
and the functions that do it; here it fails if one of them is gone, or if an action has no row. What
it is not: a proof that the function does what the action says; that is for whoever reads both.

Words: an *action* is a definition that the model's `Next` names and that says what stays unchanged.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

import pytest

from tests.model.cases import ALL, DEFAULTS, UNCOUNTED
from tests.model.tlc import MODELS, Verdict

ROOT: Final = MODELS.parents[1]
README: Final = (MODELS / "README.md").read_text()
RULES: Final = (MODELS / "rules.md").read_text()
MODEL_NAMES: Final = tuple(DEFAULTS)

# Actions of the cluster, whose functions are being written. A row in the table takes the name away
# from here; the test sees to it that none is in both.
NOT_YET: Final = frozenset(
    {
        "Spine.RdFast",
        "Spine.RdFastOk",
    }
)
# Nobody's function: the end of a behaviour, time, and what only a planted fault does.
NOBODYS: Final = frozenset(
    {"Spine.Stop", "Txn.Stop", "Across.Stop", "Lease.Tick", "Spine.LocalUnfreeze", "Txn.GcCell"}
)

Function = ast.FunctionDef | ast.AsyncFunctionDef

_ROW: Final = re.compile(r"^\| `(\w+\.\w+)` \| ([^|]*) \|", re.MULTILINE)
_FUNCTION: Final = re.compile(r"`([\w/]+\.py):([\w.]+)`")
_DEFINITION: Final = re.compile(r"^(\w+)(?:\([^)]*\))? ==", re.MULTILINE)
_FAULT: Final = re.compile(r'M\("(\w+)"\)')
_RULE: Final = re.compile(r"^## (M\d+)\b.*$", re.MULTILINE)


def model_text(name: str) -> str:
    """A model without its comments, so that a word in one is not taken for a name."""
    whole = (MODELS / f"{name}.tla").read_text()
    return re.sub(r"\\\*.*|\(\*.*?\*\)", "", whole)


def definitions(model: str) -> dict[str, str]:
    """Each definition of a model with its text."""
    whole = model_text(model)
    starts = [(found.group(1), found.start()) for found in _DEFINITION.finditer(whole)]
    ends = [start for _, start in starts[1:]] + [len(whole)]
    return {name: whole[start:end] for (name, start), end in zip(starts, ends, strict=True)}


def actions(model: str) -> set[str]:
    """What `Next` names and what changes the state, also through a definition it shares."""
    defined = definitions(model)
    moves = {name for name, body in defined.items() if "UNCHANGED" in body}
    moves |= {n for n, body in defined.items() if any(re.search(rf"\b{m}\(", body) for m in moves)}
    named = set(re.findall(r"\w+", defined["Next"])) - {"Next"}
    return {f"{model}.{name}" for name in named & moves}


def functions(path: Path) -> set[str]:
    """Functions and classes of a file; of a class also `Class.method`."""
    names: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if not isinstance(node, ast.ClassDef | Function):
            continue
        names.add(node.name)
        if isinstance(node, ast.ClassDef):
            methods = (below for below in node.body if isinstance(below, Function))
            names |= {f"{node.name}.{method.name}" for method in methods}
    return names


ROWS: Final = dict(_ROW.findall(README))


def test_actions_are_read_from_the_models() -> None:
    """The reader itself: an action that shares its end with another, and one with a helper."""
    spine = actions("Spine")
    assert {"Spine.RdDo", "Spine.CommitApply", "Spine.Stop", "Spine.RSample"} <= spine
    assert not {"Spine.Finish", "Spine.Upd", "Spine.Sh", "Spine.SeqSample", "Spine.Good"} & spine


def test_functions_are_read_from_the_code(tmp_path: Path) -> None:
    path = tmp_path / "some.py"
    path.write_text("def f(): ...\nclass C:\n    def m(self):\n        def inner(): ...\nx = 1\n")
    assert functions(path) == {"f", "C", "C.m"}


@pytest.mark.parametrize("action", sorted(ROWS))
def test_functions_of_an_action_exist(action: str) -> None:
    named = _FUNCTION.findall(ROWS[action])
    assert named, f"the row of {action} names no function as `path.py:name`"
    for path, function in named:
        assert (ROOT / path).is_file(), f"{action}: there is no {path}"
        assert function in functions(ROOT / path), f"{action}: {path} has no {function}"


@pytest.mark.parametrize("model", MODEL_NAMES)
def test_every_action_has_a_row_or_is_excused(model: str) -> None:
    excused = {name for name in NOT_YET | NOBODYS if name.startswith(f"{model}.")}
    rows = {name for name in ROWS if name.startswith(f"{model}.")}
    assert actions(model) == rows | excused
    assert not rows & excused, "an action with a row needs no excuse"


@pytest.mark.parametrize("model", MODEL_NAMES)
def test_every_fault_of_a_model_is_planted_somewhere(model: str) -> None:
    known = set(_FAULT.findall(model_text(model)))
    used: set[str] = set()
    for expected in ALL:
        faults = expected.case.constants["Mut"]
        assert isinstance(faults, frozenset)
        used |= faults if expected.case.model == model else frozenset()
    assert used == known


def test_rules_are_all_there_and_name_faults_that_are_found() -> None:
    parts = _RULE.split(RULES)[1:]
    told = dict(zip(parts[::2], parts[1::2], strict=True))
    assert list(told) == [f"M{number}" for number in range(1, 16)]
    found = set[str]()
    for expected in ALL:
        faults = expected.case.constants["Mut"]
        assert isinstance(faults, frozenset)
        found |= faults if expected.verdict is Verdict.VIOLATED else frozenset()
    for rule, words in told.items():
        faults = frozenset(re.findall(r"`(\w+)`", words.rpartition("Shown by")[2]))
        assert faults, f"{rule} is shown by no fault"
        assert faults <= found, f"{rule}: {sorted(faults - found)} is not found anywhere"


def test_results_in_the_readme_are_those_of_the_cases() -> None:
    cells = [[cell.strip() for cell in line.split("|")] for line in README.splitlines()]
    rows = {row[2]: row for row in cells if len(row) > 5 and row[1] in MODEL_NAMES}
    assert set(rows) == {expected.case.name for expected in ALL}
    for expected in ALL:
        row = rows[expected.case.name]
        if expected.states != UNCOUNTED:
            assert row[5] == f"{expected.states:,}", expected.case.name
        if expected.verdict is Verdict.VIOLATED:
            assert row[4] == f"violated: {expected.said}", expected.case.name
