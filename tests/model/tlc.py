"""One configuration of a model, checked by TLC: written, run, and its answer read.

What it is: the bridge from `cases.py` to the Java program. What it is not: it knows no model and
expects no verdict.

Words: a *case* is a model with its bounds and planted faults; *distinct* states are those that TLC
counts once; *cut* says that the time ended before the states did and nothing wrong was seen.

Invariants:
- a verdict is given only for what TLC itself states by its exit code and its sentence; anything
  else (no Java, a model that does not parse) is `Broken`, never "holds";
- one worker: the states are visited in one order, so the same fault is found every time.

Worked example: `run(case, jar, folder, 60)` writes MC_noFence.tla and MC_noFence.cfg to `folder`
(constants need a module: a configuration file cannot hold a tuple) and answers
Result(VIOLATED, "ClosedTruth", 912, 8, 1.2).

Tested in tests/model/test_tlc.py.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final, NamedTuple

MODELS: Final = Path(__file__).resolve().parents[2] / "docs" / "model"
HEAP_MB: Final = 2_048  # eight million states of these models fit
WALK_DEPTH: Final = 150  # steps of a random walk; the longest behaviour of a model is shorter

Value = bool | int | tuple[int, ...] | frozenset[str]

_EXIT_HOLDS: Final = 0
_EXIT_DEADLOCK: Final = 11
_EXIT_VIOLATED: Final = 12
_STATES: Final = re.compile(r"([\d,]+) (?:distinct states found|states checked)")
_DEPTH: Final = re.compile(r"depth of the complete state graph search is (\d+)")
_INVARIANT: Final = re.compile(r"Error: Invariant (\w+) is violated")
_ERR: Final = re.compile(r'/\\ err = "([^"]+)"')
_BANNER: Final = re.compile(r"TLC2 Version .*")


class Broken(AssertionError):
    """TLC gave no verdict: what it printed is the text."""


class Verdict(Enum):
    """What a run showed."""

    HOLDS = "holds"
    VIOLATED = "violated"
    CUT = "cut"


@dataclass(frozen=True, slots=True)
class Case:
    """A model with bounds. `walk`: random walks instead of every state, until the time ends;
    `long`: minutes, which Java's better compiler makes shorter."""

    name: str
    model: str
    constants: Mapping[str, Value]
    invariants: tuple[str, ...]
    stuck: bool = True  # a state without a next step is an error
    walk: bool = False
    long: bool = False


class Result(NamedTuple):
    """`said`: the broken invariant, or the words of the model's `err`, or "Deadlock"."""

    verdict: Verdict
    said: str
    distinct: int
    depth: int
    seconds: float
    output: str


def text(value: Value) -> str:
    """A constant as TLA+ writes it."""
    match value:
        case bool():
            return str(value).upper()
        case int():
            return str(value)
        case tuple():
            return f"<<{', '.join(map(str, value))}>>"
        case frozenset():
            return "{" + ", ".join(f'"{name}"' for name in sorted(value)) + "}"


def write(case: Case, folder: Path) -> str:
    """Puts the module that binds the constants, and its configuration; answers its name."""
    name = f"MC_{case.name}"
    bound = "".join(f"c_{key} == {text(value)}\n" for key, value in case.constants.items())
    head = f"---- MODULE {name} ----\nEXTENDS {case.model}\n"
    (folder / f"{name}.tla").write_text(f"{head}{bound}====\n")
    lines = ["SPECIFICATION Spec"]
    lines += [f"CONSTANT {key} <- c_{key}" for key in case.constants]
    lines += [f"INVARIANT {invariant}" for invariant in case.invariants]
    (folder / f"{name}.cfg").write_text("\n".join(lines) + "\n")
    return name


def queue(case: Case, folder: Path) -> Path:
    """Where TLC keeps the states that it has still to look at."""
    return folder / f"states_{case.name}"


def command(case: Case, jar: Path, folder: Path, java: str) -> list[str]:
    """A polite process: low priority, one worker, the simplest collector."""
    line = ["nice", "-n", "10", java, "-XX:+UseSerialGC", f"-Xmx{HEAP_MB}m"]
    line += [] if case.long else ["-XX:TieredStopAtLevel=1"]  # it ends before better code pays
    line += [f"-DTLA-Library={MODELS}", "-cp", str(jar), "tlc2.TLC", "-workers", "1"]
    line += ["-metadir", str(queue(case, folder))]
    line += ["-simulate", "-depth", str(WALK_DEPTH)] if case.walk else []
    line += [] if case.stuck else ["-deadlock"]
    return [*line, f"MC_{case.name}"]


def run(case: Case, jar: Path, folder: Path, seconds: float, java: str = "java") -> Result:
    """Check one case in `folder` for at most `seconds`. Raises Broken."""
    write(case, folder)
    begin = time.monotonic()
    code: int | None
    try:
        done = subprocess.run(
            command(case, jar, folder, java),
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        code, output = done.returncode, done.stdout + done.stderr
    except subprocess.TimeoutExpired as expired:
        # Bytes, whatever `text` says: what had come when the time was over.
        raw = expired.stdout
        code, output = None, raw.decode() if isinstance(raw, bytes) else ""
    finally:
        # A run that was cut leaves its queue of states behind: hundreds of megabytes.
        shutil.rmtree(queue(case, folder), ignore_errors=True)
    return read(code, output, time.monotonic() - begin)


def read(code: int | None, output: str, seconds: float) -> Result:
    """The answer in TLC's output; `code` None: it was ended because its time was over."""
    states = [int(number.replace(",", "")) for number in _STATES.findall(output)]
    depth = int(found.group(1)) if (found := _DEPTH.search(output)) else 0
    verdict, said = _verdict(code, output)
    return Result(verdict, said, states[-1] if states else 0, depth, seconds, output)


def _verdict(code: int | None, output: str) -> tuple[Verdict, str]:
    invariant = _INVARIANT.search(output)
    if code == _EXIT_VIOLATED and invariant is not None:
        words = _ERR.findall(output)
        is_err = invariant.group(1) == "NoErr" and words
        return Verdict.VIOLATED, words[-1] if is_err else invariant.group(1)
    if code == _EXIT_DEADLOCK and "Error: Deadlock reached." in output:
        return Verdict.VIOLATED, "Deadlock"
    if code == _EXIT_HOLDS and "No error has been found." in output:
        return Verdict.HOLDS, ""
    # A run that was cut must have begun, else there was nothing to cut.
    if code is None and _BANNER.search(output) and "Error:" not in output:
        return Verdict.CUT, ""
    raise Broken(f"TLC ended with {code} and no verdict:\n{output[-3_000:]}")
