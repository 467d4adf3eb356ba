"""Our own rules, those that no linter has: `python tools/tidy.py [FOLDER]`, also run as a test.

What it is: one pass over the files that git knows or would add. A soft finding is printed, a hard
one fails. What it is not: it judges no style that ruff judges (that is the pyproject's part).

Words: the *roles' folders* are those linked from src/kubebraid; a *pure* module is one listed in
pyproject.toml under [tool.kubebraid.tidy], it touches no clock, chance, network or thread.

Invariants:
- generated code (`*_pb2*`) is read by no rule but the one about leaks;
- every rule is shown to fail on a planted breach.

Worked example: in router/kv.py `from kubebraid.router.plan import plan` is hard (inside a folder
imports are relative), and so is `from ..shard import writer` (across folders they are absolute).

Tested in tests/tidy/test_tidy.py.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

FOLDERS: Final = ("base", "cli", "coordinator", "proto", "router", "shard")
README_FOLDERS: Final = (*FOLDERS, "deploy", "docs", "tests", "tools")

FILE_LINES: Final = (400, 600)  # soft, hard: beyond one sitting's reading a file has two subjects
TEST_FILE_LINES: Final = (600, 900)  # a suite may be long; its tests may not
FUNCTION_LINES: Final = (50, 70)  # a screen
PARAMETERS_MAX: Final = 6
METHODS_MAX: Final = 20
LINE_COLUMNS_MAX: Final = 100
ASSERTIONS_PER_FUNCTION_MIN: Final = 1.0
README_LINES_MAX: Final = 30
DOCUMENT_LINES_MAX: Final = {"ARCHITECTURE.md": 300, "CONTRIBUTING.md": 100, "Makefile": 60}
assert FILE_LINES[0] < FILE_LINES[1] <= TEST_FILE_LINES[1], "tests are given more room, not less"
assert FUNCTION_LINES[0] < FUNCTION_LINES[1] < FILE_LINES[0]

DRAWERS: Final = {"utils", "util", "helpers", "helper", "common", "misc", "manager"}
GENERATED: Final = re.compile(r"_pb2(_grpc)?\.pyi?$")
# Kept or vendored as they are: their words are not ours.
VERBATIM: Final = re.compile(r"(^|/)(LICENSE|go\.sum)$|\.lock$|^proto/.*\.proto$")

# Written in pieces, so that this file does not breach its own rules.
MARK: Final = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
SLEEP: Final = re.compile(r"\bsleep\(")
LEAKS: Final = {
    "machine path": re.compile(
        r"(?<![\w./-])/(work|root|Users|home/(?!nonroot)\w+|tmp/\w)(/|\s|$)"
    ),
    # Any index a command could name, and the hosts by which the usual ones are known.
    "package index": re.compile(
        r"--(extra-)?inde[x]-url\b"
        r"|\b(pyp[i]|pythonhoste[d]|(proxy|sum)\.golan[g]|crate[s]|registry\.(npmj|yarnpk)\w"
        r"|repo1?\.mave[n]|(deb|security)\.debia[n])\.(org|io|com)\b"
    ),
}


@dataclass(frozen=True)
class Finding:
    """One breach of one rule at one place."""

    rule: str
    path: str
    line: int
    text: str
    hard: bool = True

    def __str__(self) -> str:
        kind = "error" if self.hard else "note"
        return f"{self.path}:{self.line}: {kind}: {self.rule}: {self.text}"


@dataclass(frozen=True)
class Config:
    """What pyproject.toml says: the pure modules, and which of them are held to their density."""

    pure: tuple[str, ...]
    assertions_hard: tuple[str, ...]
    contract: tuple[str, ...]


@dataclass(frozen=True)
class Module:
    """A Python file of ours, parsed."""

    path: str
    tree: ast.Module

    @property
    def name(self) -> str:
        """The name it is imported by: router/kv.py is kubebraid.router.kv."""
        parts = PurePosixPath(self.path).with_suffix("").parts
        parts = parts[1:] if parts[0] == "src" else ("kubebraid", *parts)
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def is_test(self) -> bool:
        return self.path.startswith("tests/")


Function = ast.FunctionDef | ast.AsyncFunctionDef


def known_files(root: Path) -> list[str]:
    """What git tracks or would add; outside a repository everything that is not hidden or built."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, capture_output=True, check=False)
    in_repository = listed.returncode == 0
    names = listed.stdout.decode().split("\0") if in_repository else list(walk(root))
    # Tracked but deleted files are gone, links are read where they point to.
    return sorted({n for n in names if n and (root / n).is_file() and not (root / n).is_symlink()})


def walk(root: Path) -> Iterator[str]:
    for folder, below, names in os.walk(root):
        below[:] = [b for b in below if not b.startswith(".") and b not in {"build", "__pycache__"}]
        yield from (str((Path(folder) / name).relative_to(root).as_posix()) for name in names)


def read_config(root: Path) -> Config:
    document = tomllib.loads((root / "pyproject.toml").read_text())
    tidy: dict[str, Any] = document["tool"]["kubebraid"]["tidy"]
    contracts = document["tool"]["importlinter"]["contracts"]
    pure = next(c for c in contracts if c.get("id") == "pure")
    strays = set(tidy["assertions_hard"]) - set(tidy["pure"])
    assert not strays, f"assertions_hard names modules that are not pure: {sorted(strays)}"
    return Config(
        pure=tuple(tidy["pure"]),
        assertions_hard=tuple(tidy["assertions_hard"]),
        contract=tuple(pure["source_modules"]),
    )


# --- rules on text -----------------------------------------------------------------------------


def check_leaks(path: str, text: str) -> Iterator[Finding]:
    """No file says on which machine it was made or where packages are fetched from."""
    for number, line in enumerate(text.splitlines(), 1):
        for what, pattern in LEAKS.items():
            if found := pattern.search(line):
                yield Finding("leak", path, number, f"{what} {found.group()!r}")


def check_marks(path: str, text: str) -> Iterator[Finding]:
    """What is not done is an issue, not a comment."""
    for number, line in enumerate(text.splitlines(), 1):
        if found := MARK.search(line):
            yield Finding("mark", path, number, f"{found.group()}: do it, or file it")


def check_sleep(path: str, text: str) -> Iterator[Finding]:
    """A unit test that sleeps is slow and still races; its clock is a seam."""
    if not path.startswith("tests/unit/"):
        return
    for number, line in enumerate(text.splitlines(), 1):
        if SLEEP.search(line):
            yield Finding("sleep", path, number, "unit tests step a fake Clock")


def check_document(path: str, text: str) -> Iterator[Finding]:
    """Short documents stay short."""
    length = len(text.splitlines())
    at_top = re.fullmatch(rf"({'|'.join(README_FOLDERS)})/README\.md", path)
    bound = README_LINES_MAX if at_top else DOCUMENT_LINES_MAX.get(path)
    if bound is not None and length > bound:
        yield Finding("document", path, bound, f"{length} lines, at most {bound}")


def check_lines(path: str, text: str) -> Iterator[Finding]:
    """File and line length."""
    soft, hard = TEST_FILE_LINES if path.startswith("tests/") else FILE_LINES
    lines = text.splitlines()
    if len(lines) > soft:
        bound = f"{len(lines)} lines, aim at {soft}, at most {hard}"
        yield Finding("file", path, soft, bound, hard=len(lines) > hard)
    for number, line in enumerate(lines, 1):
        if len(line) > LINE_COLUMNS_MAX:
            yield Finding("line", path, number, f"{len(line)} columns, at most {LINE_COLUMNS_MAX}")


def check_name(path: str) -> Iterator[Finding]:
    """A drawer without a subject collects everything."""
    if PurePosixPath(path).stem in DRAWERS:
        yield Finding("name", path, 1, "name the file for what it holds")


# --- rules on syntax ---------------------------------------------------------------------------


def check_docstring(module: Module) -> Iterator[Finding]:
    """Every module says what it is; an empty file has nothing to say."""
    if module.tree.body and not ast.get_docstring(module.tree):
        yield Finding("docstring", module.path, 1, "the head says what this is and what it is not")


def functions(tree: ast.AST) -> Iterator[Function]:
    return (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


def check_functions(module: Module) -> Iterator[Finding]:
    """Length and parameters (not counting self; fixtures of a test are not parameters)."""
    soft, hard = FUNCTION_LINES
    for function in functions(module.tree):
        assert function.end_lineno is not None
        length = function.end_lineno - function.lineno + 1
        if length > soft:
            text = f"{function.name} has {length} lines, aim at {soft}, at most {hard}"
            yield Finding("function", module.path, function.lineno, text, hard=length > hard)
        given = function.args
        names = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
        count = len(names) - (names[:1] in (["self"], ["cls"]))
        if count > PARAMETERS_MAX and not (module.is_test and function.name.startswith("test_")):
            text = f"{function.name} takes {count} parameters, at most {PARAMETERS_MAX}"
            yield Finding("parameters", module.path, function.lineno, text)


def check_classes(module: Module) -> Iterator[Finding]:
    """A class with many methods does many things (in a test: it may be a state machine)."""
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.ClassDef):
            continue
        count = sum(isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef) for n in node.body)
        if count > METHODS_MAX:
            text = f"{node.name} has {count} methods, at most {METHODS_MAX}"
            yield Finding("methods", module.path, node.lineno, text, hard=not module.is_test)


def check_imports(module: Module) -> Iterator[Finding]:
    """Relative inside a top-level folder, absolute across: else checkers see two of a class."""
    folder, *below = PurePosixPath(module.path).parts
    own = f"kubebraid.{folder}" if folder in FOLDERS else None
    for node in ast.walk(module.tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif own and isinstance(node, ast.ImportFrom) and node.level > len(below):
            text = f"across folders: from kubebraid.{node.module or '…'} import …"
            yield Finding("import", module.path, node.lineno, text)
        for name in names:
            if own and f"{name}.".startswith(f"{own}."):
                text = f"inside {folder}/ imports are relative, not {name}"
            elif name.split(".")[0] in FOLDERS:
                text = f"{name} is kubebraid.{name}; elsewhere the bare name is a stranger's"
            else:
                continue
            yield Finding("import", module.path, getattr(node, "lineno", 1), text)


# --- rules on the whole ------------------------------------------------------------------------


def check_readmes(root: Path, paths: list[str]) -> Iterator[Finding]:
    """Each top-level folder that holds something says what, what not, and where to start."""
    for folder in README_FOLDERS:
        if any(p.startswith(f"{folder}/") for p in paths) and f"{folder}/README.md" not in paths:
            yield Finding("readme", f"{folder}/README.md", 1, "missing")


def check_pure(modules: list[Module], config: Config) -> Iterator[Finding]:
    """The import contract names exactly the pure modules that exist."""
    present = {m.name for m in modules} & set(config.pure)
    for name in sorted(present - set(config.contract)):
        text = f"add {name!r} to the source_modules of the contract `pure`"
        yield Finding("pure", "pyproject.toml", 1, text)
    for name in sorted(set(config.contract) - present):
        text = f"remove {name!r} from the contract `pure`: it does not exist or is not listed pure"
        yield Finding("pure", "pyproject.toml", 1, text)


def density(modules: list[Module], names: tuple[str, ...]) -> tuple[int, int]:
    """Functions and assertions of the named modules."""
    chosen = [m.tree for m in modules if m.name in names]
    counted = sum(len(list(functions(tree))) for tree in chosen)
    asserted = sum(isinstance(n, ast.Assert) for tree in chosen for n in ast.walk(tree))
    return counted, asserted


def check_assertions(modules: list[Module], config: Config) -> Iterator[Finding]:
    """Where the decisions are made, an assertion a function on average."""
    for names, hard in ((config.pure, False), (config.assertions_hard, True)):
        counted, asserted = density(modules, names)
        if asserted < counted * ASSERTIONS_PER_FUNCTION_MIN:
            which = "assertions_hard" if hard else "pure"
            text = f"{which}: {asserted} assertions in {counted} functions, aim at one each"
            yield Finding("assertions", "pyproject.toml", 1, text, hard=hard)


def check_python(path: str, text: str) -> tuple[list[Finding], list[Module]]:
    """Every rule on one Python file, and the file parsed (nothing, if it cannot be)."""
    findings = [*check_lines(path, text), *check_name(path), *check_sleep(path, text)]
    try:
        module = Module(path, ast.parse(text))
    except SyntaxError as error:
        return [*findings, Finding("syntax", path, error.lineno or 1, error.msg)], []
    for rule in (check_docstring, check_functions, check_classes, check_imports):
        findings += rule(module)
    return findings, [module]


def check_tree(root: Path, config: Config) -> list[Finding]:
    """All findings of the tree at `root`."""
    paths, findings, modules = known_files(root), list[Finding](), list[Module]()
    for path in paths:
        try:
            text = (root / path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # not text
        findings += check_leaks(path, text)
        if GENERATED.search(path) or VERBATIM.search(path):
            continue
        findings += [*check_marks(path, text), *check_document(path, text)]
        if path.endswith((".py", ".pyi")):
            found, parsed = check_python(path, text)
            findings += found
            modules += parsed
    findings += check_readmes(root, paths)
    findings += check_pure(modules, config)
    findings += check_assertions(modules, config)
    return findings


def main(arguments: list[str]) -> int:
    """0: nothing hard; 1: something hard; 2: usage."""
    if len(arguments) > 1 or any(a.startswith("-") for a in arguments):
        sys.stderr.write("usage: python tools/tidy.py [FOLDER]\n")
        return 2
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parent.parent
    findings = check_tree(root, read_config(root))
    for finding in sorted(findings, key=lambda f: (f.hard, f.path, f.line)):
        sys.stdout.write(f"{finding}\n")
    hard = sum(f.hard for f in findings)
    sys.stdout.write(f"tidy: {hard} errors, {len(findings) - hard} notes\n")
    return 1 if hard else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
