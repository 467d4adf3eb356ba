"""Judges two servers' outcomes of one sequence, step by step, and counts what was compared.

What it is: the comparison, the differences that are meant, the tally. What it is not: a client.

Invariants:
- outcomes are equal or told; what is excused is named in table.py, described here by a predicate
  as narrow as can be, and counted;
- a difference is told at the first step that has one: what follows it follows from it.

Worked example: a RangeStream with a sort target and no order may differ from etcd's, but then it
has to be what our Range answers without the target, and that is what etcd's Range answers.
Tested in test_fuzz_parts.py with planted differences.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from .case import SPAN, Call, CallStream, Send
from .fuzz import FLOOR, NOW, Step
from .runner import Outcome
from .table import DIFFERENCES
from .test_api_table import shown, unlike

UNSORTED: Final = "a stream is not sorted by chunks"
FLOOR_HISTORY: Final = "previous versions at the floor"
NOTED_HASH: Final = "a hash is of what is stored"
assert {UNSORTED, FLOOR_HISTORY, NOTED_HASH} <= set(DIFFERENCES), (
    "only what the table names is excused"
)

COMPACTED: Final = "etcdserver: mvcc: required revision has been compacted"
WRITES: Final = ("KV.Put", "KV.DeleteRange", "KV.Txn")


@dataclass
class Tally:
    """What has been compared."""

    rpcs: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    texts: Counter[str] = field(default_factory=Counter)
    excused: Counter[str] = field(default_factory=Counter)
    written: int = 0
    events: int = 0
    _newest: int = 0

    @property
    def requests(self) -> int:
        return self.rpcs.total()

    def begin(self) -> None:
        """Another sequence: revisions count from zero."""
        self._newest = 0

    def count(self, step: Step, outcome: Outcome) -> None:
        name = rpc_of(step)
        self.rpcs[name] += 1
        for each in outcome if isinstance(outcome, list) else [outcome]:
            self.count_events(each)
            text = refusal_text(each)
            if text:
                self.refused[name] += 1
                self.texts[text] += 1
            elif (
                name in WRITES
                and (revision := _distance(each["header"]["revision"])) > self._newest
            ):
                self._newest = revision
                self.written += 1

    def count_events(self, outcome: Outcome) -> None:
        self.events += sum(len(events) for events in _watched_events(outcome))

    def lines(self) -> Iterator[str]:
        refused = self.refused.total()
        yield (
            f"{self.requests} requests, {self.written} changed something, {refused} refused with "
            f"{len(self.texts)} texts, {self.events} events compared"
        )
        for name, number in sorted(self.rpcs.items()):
            yield f"  {number:7} {name}, {self.refused[name]} refused"
        for title, number in self.excused.most_common():
            yield f"  {number:7} excused: {title}"


def rpc_of(step: Step) -> str:
    """The method, or what is asked of a watch stream."""
    if not isinstance(step, Send):
        return step.method
    return f"Watch {step.request.WhichOneof('request_union')}"


def refusal_text(outcome: Outcome) -> str:
    """Of a call that was refused, or of a watch that was."""
    if not isinstance(outcome, dict):
        return ""
    if outcome[""] == "refused":
        return f"{outcome['code']}: {outcome['text']}"
    return str(outcome.get("cancel_reason", ""))


def _distance(revision: str) -> int:
    """Of a revision as plain.py tells it: from the beginning of the sequence."""
    return int(revision.removeprefix("base"))


def _watched_events(outcome: Outcome) -> Iterator[list[Outcome]]:
    """The lists of events of an outcome of fuzz_watch, of one stream or of all."""
    if not isinstance(outcome, dict):
        return
    if outcome[""] == "Watched":
        yield from (told for name, told in outcome.items() if name.startswith("watch "))
    elif outcome[""] == "Watches":
        for each in outcome.values():
            yield from _watched_events(each)


def readable(step: Step) -> str:
    """One line: stand-ins by their names, long runs of a character by their length."""
    request = " ".join(f"{step.request}".split())
    request = re.sub(r"(.)\1{40,}", lambda run: f"{run[1]}*{len(run[0])}", request)
    request = re.sub(r"\b\d{17,18}\b", lambda number: _stand_in(int(number[0])), request)
    stream = f" on {step.stream}" if isinstance(step, Send) else ""
    return f"{rpc_of(step)}{stream}: {shown(request)}"


def _stand_in(number: int) -> str:
    for name, origin in (("NOW", NOW), ("FLOOR", FLOOR)):
        if abs(number - origin) < SPAN:
            return f"{name}{number - origin:+d}"
    return str(number)


# -- judging ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """The first step with unlike outcomes; `index` of the end is the number of the steps."""

    index: int
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(self.lines)


def judge(
    steps: Sequence[Step], theirs: Sequence[Outcome], ours: Sequence[Outcome], tally: Tally
) -> Found | None:
    """The first difference that is not meant, if there is one."""
    assert len(theirs) == len(ours) == len(steps) + 1
    tally.begin()
    for index, (want, have) in enumerate(zip(theirs, ours, strict=True)):
        step = steps[index] if index < len(steps) else None
        differs = unlike_step(step, want, have, tally)
        if differs:
            title = "the events at the end" if step is None else readable(step)
            return Found(index, (f"request {index}: {title}", *differs))
        if step is None:
            tally.count_events(want)
        else:
            tally.count(step, want)
    return None


def unlike_step(step: Step | None, want: Outcome, have: Outcome, tally: Tally) -> list[str]:
    """How the outcomes differ, the meant differences counted and left out."""
    if want == have:
        return []
    if isinstance(step, CallStream) and _is_unsorted_stream(step, want, have):
        tally.excused[UNSORTED] += 1
        return []
    if _is_noted_hash(step, want, have):
        tally.excused[NOTED_HASH] += 1
        return []
    if want == _without_floor_history(want, have):
        tally.excused[FLOOR_HISTORY] += 1
        return []
    return [f"    {line}" for line in unlike(want, have, "answer")]


def _is_unsorted_stream(step: CallStream, want: Outcome, have: Outcome) -> bool:
    """Ours is what Range answers, which etcd's Range agrees with, and etcd's stream is not."""
    if not isinstance(want, list) or not isinstance(have, list):
        return False
    (theirs, their_range), (ours, our_range) = want, have
    if theirs[""] != ours[""] or their_range != our_range:
        return False
    return bool(_sortless(step, ours) == _sortless(step, our_range))


def _sortless(step: CallStream, answer: Outcome) -> Outcome:
    """Without the leases that keys_only shows or does not show depending on the sort target."""
    if not step.request.keys_only or "kvs" not in answer:
        return answer
    rows = [{name: row[name] for name in row if name != "lease"} for row in answer["kvs"]]
    return {**answer, "kvs": rows}


def _is_noted_hash(step: Step | None, want: Outcome, have: Outcome) -> bool:
    """Of the compacted revision, told as of the compaction before; or of an older one, told yet."""
    if not (isinstance(step, Call) and step.method == "Maintenance.HashKV"):
        return False
    (theirs, floor), (ours, our_floor) = want, have
    if floor != our_floor or theirs[""] == "refused":
        return False
    if ours == {"": "refused", "code": "OUT_OF_RANGE", "text": COMPACTED}:
        return _distance(theirs["hash_revision"]) < _distance(floor)
    at_floor = theirs["hash_revision"] == floor == ours.get("compact_revision")
    return bool(at_floor and {**theirs, "compact_revision": floor} == ours)


def _without_floor_history(want: Outcome, have: Outcome) -> Outcome:
    """Ours without the previous versions of events at the floor that etcd does not tell."""
    if isinstance(want, list) and isinstance(have, list) and len(want) == len(have):
        return [_without_floor_history(*pair) for pair in zip(want, have, strict=True)]
    if not (isinstance(want, dict) and isinstance(have, dict)):
        return have
    trimmed = dict(have)
    for name in {*want} & {*have}:
        if want[""] == "Watched" and name.startswith("watch "):
            trimmed[name] = _trimmed_events(want[name], have[name], want["floor"])
        elif want[""] == "Watches":
            trimmed[name] = _without_floor_history(want[name], have[name])
    return trimmed


def _trimmed_events(want: list[Outcome], have: list[Outcome], floor: str) -> list[Outcome]:
    if len(want) != len(have):
        return have
    trimmed = []
    for left, right in zip(want, have, strict=True):
        more = right["kv"]["mod_revision"] == floor and "prev_kv" not in left
        trimmed.append({name: right[name] for name in right if not (more and name == "prev_kv")})
    return trimmed
