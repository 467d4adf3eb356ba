"""Every case of the table on a real etcd and on KubeBraid: the answers have to be the same.

The cases are in the `cases_*` files, one file a topic; what is normalised is in plain.py; which
differences are meant, and why, is in table.py.

On TiKV bad input is `slow`: it is refused before an engine is asked, and a case takes twice as long
there as on disks. Everything else runs in `make tikv`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest

from tests.e2e.ledger import Ledger
from tests.e2e.store import Kind

from .case import Case, Message, Step
from .runner import SERVICES, Outcome, path_of
from .table import (
    CASES,
    CLUSTER_DIFFERENCES,
    DIFFERENCES,
    DIFFERENCES_MAX,
    MEANT,
    MEANT_ON_A_CLUSTER,
    MEANT_ON_TIKV,
    TIKV_DIFFERENCES,
    Difference,
)
from .world import SUBJECTS, World

pytestmark = pytest.mark.e2e

LONG_NAME: Final = 64  # then it is about its length
CASES_MIN: Final = 300
BAD_MIN: Final = 60
SHOWN_CHARS: Final = 700


def marked(case: Case) -> Any:
    """The case as a parameter."""
    late = case.bad and Kind.TIKV in SUBJECTS
    return pytest.param(case, id=case.name, marks=[pytest.mark.slow] if late else [])


def meant_on(kind: Kind) -> Mapping[str, Difference]:
    """The differences that are right there, by case."""
    if kind is Kind.TIKV:
        return MEANT_ON_TIKV
    return MEANT_ON_A_CLUSTER if kind.is_cluster else MEANT


@pytest.mark.parametrize("case", [marked(case) for case in CASES])
@pytest.mark.parametrize("kind", SUBJECTS, ids=lambda kind: kind.value)
@pytest.mark.usefixtures("ledger")
def test_answers_are_those_of_etcd(world: World, case: Case, kind: Kind) -> None:
    """Field by field; a refusal by its code and its whole text."""
    theirs, ours = world.outcomes(case, Kind.ETCD), world.outcomes(case, kind)
    found = differences(case, theirs, ours)
    meant = meant_on(kind).get(case.name)
    if meant is not None:
        told = f"this case does not differ any more: {meant.reason}"
        assert found or meant.sometimes, told
        for want, have in zip(theirs, ours, strict=True):
            if meant.code and want != have:
                assert refused_with(have) == meant.code, "\n".join(["", *found])
    else:
        assert not found, "\n".join(["", *found])


def test_every_shard_of_the_cluster_did_its_share(world: World, ledger: Ledger | None) -> None:
    """Or the table would say little about several shards."""
    if ledger is None:
        pytest.skip("no cluster is under test")
    print(f"commits: {dict(world.shares(ledger))}; {len(ledger.told)} events over one watch")


def differences(case: Case, theirs: list[Outcome], ours: list[Outcome]) -> list[str]:
    """Each step with unlike outcomes: what was sent, and each field that differs."""
    found: list[str] = []
    for number, (step, want, have) in enumerate(zip(case.steps, theirs, ours, strict=True)):
        if want != have:
            found.append(f"step {number}: {shown(step)}")
            found += [f"    {line}" for line in unlike(want, have, "answer")]
    return found


def refused_with(outcome: Outcome) -> str:
    """The code of a refusal, or nothing."""
    is_refusal = isinstance(outcome, dict) and outcome[""] == "refused"
    return str(outcome["code"]) if is_refusal else ""


def unlike(want: Outcome, have: Outcome, path: str) -> Iterator[str]:
    """The places where two outcomes differ, as deep as they can be named."""
    if isinstance(want, dict) and isinstance(have, dict) and want.get("") == have.get(""):
        for name in sorted({*want, *have}):
            if want.get(name) != have.get(name):
                yield from unlike(want.get(name), have.get(name), f"{path}.{name}")
    elif isinstance(want, list) and isinstance(have, list) and len(want) == len(have):
        for index, (left, right) in enumerate(zip(want, have, strict=True)):
            if left != right:
                yield from unlike(left, right, f"{path}[{index}]")
    else:
        yield f"{path}:\n        etcd: {shown(want)}\n        ours: {shown(have)}"


def shown(value: Step | Outcome) -> str:
    """On one line, and not too long."""
    text = " ".join(str(value).split())
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]} ..."


def test_table_is_as_large_as_promised(capsys: pytest.CaptureFixture[str]) -> None:
    """How many cases each method has; no method of etcd's is left out."""
    counts = Counter(path_of(method) for case in CASES for method in case.methods)
    bad = sum(case.bad for case in CASES)
    with capsys.disabled():
        print(f"\n{len(CASES)} cases, {bad} of them bad input")
        for method, count in sorted(counts.items()):
            print(f"  {count:4} {method}")
    assert len(CASES) >= CASES_MIN
    assert bad >= BAD_MIN
    every = {
        f"/{service.full_name}/{method.name}"
        for service in SERVICES.values()
        for method in service.methods
    }
    assert not every - set(counts), "methods that no case calls"


def test_no_two_cases_are_the_same_but_for_the_names_of_keys() -> None:
    """Another key is not another case."""
    alike: dict[str, list[str]] = defaultdict(list)
    for case in CASES:
        alike[skeleton(case)].append(case.name)
    assert not [names for names in alike.values() if len(names) > 1]


def skeleton(case: Case) -> str:
    """The steps with every key replaced by its rank among the case's keys."""
    messages = [request_of(step) for step in case.steps]
    names = sorted({name for message in messages for name in names_in(message)})
    words: list[str] = []
    for step, message in zip(case.steps, messages, strict=True):
        rest = {name: value for name, value in vars(step).items() if value is not message}
        words.append(f"{type(step).__name__}{rest}{anonymous(message, names)}")
    return "\n".join(words)


def request_of(step: Step) -> Message:
    """The message that a step sends, if any."""
    return getattr(step, "request", None) or getattr(step, "first", None)


def names_in(message: Message) -> Iterator[bytes]:
    """All keys and ends of ranges; a long one is not just a name, it is about its length."""
    if not hasattr(message, "ListFields"):
        return
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None:
            for each in [value] if hasattr(value, "DESCRIPTOR") else value:
                yield from names_in(each)
        elif is_name(descriptor.name, value):
            yield value


def is_name(field: str, value: Any) -> bool:
    return field in ("key", "range_end") and value[:1] != b"\0" and len(value) < LONG_NAME


def anonymous(message: Message, names: list[bytes]) -> str:
    """The message as text, its keys as ranks."""
    if not hasattr(message, "ListFields"):
        return str(message)
    parts: list[str] = []
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None:
            inner = [value] if hasattr(value, "DESCRIPTOR") else value
            parts.append(f"{descriptor.name}={[anonymous(each, names) for each in inner]}")
        elif is_name(descriptor.name, value):
            parts.append(f"{descriptor.name}={names.index(value)}")
        else:
            parts.append(f"{descriptor.name}={value}")
    return f"{type(message).__name__}({', '.join(parts)})"


def test_meant_differences_are_few_and_say_why() -> None:
    """A list of exceptions that grows is a list of defects."""
    listed = DIFFERENCES | CLUSTER_DIFFERENCES | TIKV_DIFFERENCES
    assert len(listed) <= DIFFERENCES_MAX
    names = {case.name for case in CASES}
    for title, meant in listed.items():
        assert len(meant.reason) > len(title), title
        assert set(meant.cases) <= names, title
    assert sum(len(meant.cases) for meant in listed.values()) == len(MEANT_ON_TIKV)
