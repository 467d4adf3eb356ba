"""The simulator steps what ships, and each promise of the design has a test that bears its name.

What it is: a look at the sources of the tests. What it is not: a judgement of what a test checks;
tests/sim/test_breaches.py shows that.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).resolve().parents[1]
PROMISES: Final = (
    *(f"inv{number:02}" for number in range(1, 24)),
    *(f"m{number:02}" for number in range(1, 16)),
)
NOT_YET: Final[dict[str, str]] = {}  # a promise, and why nothing can test it yet
FAKES: Final = {
    "network.py": {"SimMesh", "SimServer", "SimDialer", "SimPoller", "End", "Wire", "Net"},
    "disk.py": {"SimEngine"},
    "clock.py": {"SimClock"},
    "edges.py": {"Edge"},
}
PROTOCOL: Final = frozenset(
    ("alloc", "allocate", "read_revision", "apply", "submit", "register", "adopt", "publish")
)


def named() -> set[str]:
    """The promises that some test's name begins with."""
    found: set[str] = set()
    for path in sorted(TESTS.rglob("test_*.py")):
        found |= set(re.findall(r"def test_((?:inv|m)\d\d)_", path.read_text(encoding="utf-8")))
    return found


def test_each_promise_has_a_test_of_its_name() -> None:
    missing = set(PROMISES) - named()
    assert missing == set(NOT_YET), "NOT_YET says what is missing, and nothing else"
    assert named() <= set(PROMISES), "a name that the design does not have"


def test_the_simulator_has_no_protocol_of_its_own() -> None:
    """A class there that had one of these methods would be stepped in place of what ships."""
    for path in sorted((TESTS / "sim").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ClassDef) or node.name in FAKES.get(path.name, ()):
                continue
            methods = {part.name for part in node.body if isinstance(part, ast.FunctionDef)}
            assert not methods & PROTOCOL, f"{path.name}: {node.name} has {methods & PROTOCOL}"


def test_the_simulator_steps_the_roles_that_ship() -> None:
    source = (TESTS / "sim/nodes.py").read_text(encoding="utf-8")
    for role in ("coordinator", "shard", "router"):
        assert f"from kubebraid.{role}.role import" in source
