"""What clients were answered, held against what really happened.

What it is: one judge for each kind of call. What it is not: the history (`truth.py`) or the watches
(`watch_checks.py`).

Words: *changed*: a write that made a revision; its state *before* is that of the revision before.

Invariants that it judges: inv02 (real time), inv04 (headers), inv05 (a range is the state at one
revision), inv06 (a transaction whole), inv16 (definite and uncertain failures), inv20 (compaction).

Worked example: a put was refused with "no leader", and its value is in the history: a breach of
inv16.

Tested in tests/sim/test_breaches.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from kubebraid.base.errors import COMPACTED, FUTURE_REVISION, Code

from .truth import Truth, Version
from .verdict import Violation

if TYPE_CHECKING:
    from .client import Call
    from .world import World

EXPECTED: Final = (int(Code.UNAVAILABLE), int(Code.UNIMPLEMENTED), 999)


def check_calls(world: World) -> None:
    """All calls of a run that is over."""
    truth = world.truth
    _check_values(world)
    judges: dict[str, Callable[[Truth, Call], None]] = {
        "Put": _put,
        "Txn": _txn,
        "DeleteRange": _delete,
        "Range": _range,
        "Compact": _compact,
        "LeaseGrant": _lease,
        "LeaseRevoke": _lease,
    }
    for call in world.clients.calls:
        if call.code == 0:
            header = call.answer.header.revision
            serializable = call.method == "Range" and call.request.serializable
            if header < (1 if serializable else call.floor):
                raise Violation("inv04", f"{call} is older than its floor")
            judges[call.method](truth, call)
        else:
            _refused(world, call)


def _check_values(world: World) -> None:
    """inv16: each value is there as often as its call's outcome allows."""
    calls = {call.number: call for call in world.clients.calls}
    seen: dict[bytes, int] = {}
    for revision in world.truth.revisions():
        for version in world.truth.commits[revision]:
            if version.value is None:
                continue
            if seen.setdefault(version.value, revision) != revision:
                raise Violation("inv16", f"{version} was there before, at {seen[version.value]}")
            call = calls.get(int(version.value))
            if call is None or call.definite:
                raise Violation("inv16", f"{version} is there, but {call}")


def _refused(world: World, call: Call) -> None:
    """A refusal for which there was a reason."""
    if call.code in EXPECTED or world.clients.leases.refused_rightly(call):
        return
    asked = call.request.revision if call.method in ("Range", "Compact") else 0
    if call.text == COMPACTED.message and asked <= world.clients.compacting:
        return
    if call.text == FUTURE_REVISION.message:
        if asked > call.floor:
            return
        raise Violation("inv04", f"{call}: that revision had been shown")
    raise Violation("answer", f"{call}")


# -- writes ------------------------------------------------------------------------------------


def _changed(truth: Truth, call: Call, wanted: Sequence[tuple[bytes, bytes | None]]) -> int:
    """The revision of a write that must have made exactly these changes."""
    revision = int(call.answer.header.revision)
    if revision <= call.floor:
        raise Violation("inv02", f"{call}: a later write, a lower revision")
    made = truth.commits.get(revision)
    if made is None:
        raise Violation("inv01", f"{call}: nothing is stored at {revision} {truth.lost}")
    if sorted((v.key, v.value or b"") for v in made) != sorted((k, v or b"") for k, v in wanted):
        raise Violation("inv06", f"{call}: stored is {made}, wanted {wanted}")
    return revision


def _put(truth: Truth, call: Call) -> None:
    revision = _changed(truth, call, [(call.request.key, call.request.value)])
    if call.request.prev_kv:
        old = truth.at(call.request.key, revision - 1)
        _same(call, [call.answer.prev_kv] if call.answer.HasField("prev_kv") else [], old)


def _delete(truth: Truth, call: Call) -> None:
    request, header = call.request, call.answer.header.revision
    before = _state(truth, request.key, request.range_end, header - bool(call.answer.deleted))
    if len(before) != call.answer.deleted:
        raise Violation("inv05", f"{call}: {len(before)} keys were there: {before}")
    if before:
        _changed(truth, call, [(version.key, None) for version in before])
        if request.prev_kv:
            _same(call, call.answer.prev_kvs, *before)


def _txn(truth: Truth, call: Call) -> None:
    request, answer = call.request, call.answer
    wanted = _effects(truth, call) if answer.succeeded else []
    revision = _changed(truth, call, wanted) - 1 if wanted else answer.header.revision
    held = all(_holds(truth, compare, revision) for compare in request.compare)
    if held != answer.succeeded:
        raise Violation("inv05", f"{call}: the compares were {held} at {revision}")
    if not answer.succeeded:
        key = request.failure[0].request_range.key
        found = answer.responses[0].response_range
        _same(call, found.kvs, truth.at(key, revision))


def _effects(truth: Truth, call: Call) -> list[tuple[bytes, bytes | None]]:
    """What the success branch changed; deletes of nothing change nothing."""
    wanted: list[tuple[bytes, bytes | None]] = []
    for op, response in zip(call.request.success, call.answer.responses, strict=True):
        if op.HasField("request_put"):
            wanted.append((op.request_put.key, op.request_put.value))
        elif response.response_delete_range.deleted:
            wanted.append((op.request_delete_range.key, None))
    return wanted


def _holds(truth: Truth, compare: Any, revision: int) -> bool:
    version = truth.at(compare.key, revision)
    return bool((0 if version is None else version.mod) == compare.mod_revision)


# -- reads -------------------------------------------------------------------------------------


def _range(truth: Truth, call: Call) -> None:
    request, answer = call.request, call.answer
    revision = request.revision or answer.header.revision
    if revision < call.compacted:
        raise Violation("inv20", f"{call}: {call.compacted} had been compacted")
    if revision > answer.header.revision:
        raise Violation("inv04", f"{call}: from the future")
    there = _state(truth, request.key, request.range_end, revision)
    if answer.count != len(there):
        raise Violation("inv05", f"{call}: {len(there)} keys were there: {there}")
    rows = there[: request.limit] if request.limit else there
    _same(call, answer.kvs, *([] if request.count_only else rows))
    if answer.more != (len(rows) < len(there) and not request.count_only):
        raise Violation("inv05", f"{call}: more is wrong, {there}")


def _state(truth: Truth, key: bytes, end: bytes, revision: int) -> list[Version]:
    if not end:
        keys = [key]
    else:
        keys = [k for k in truth.all_keys() if key <= k and (end == b"\x00" or k < end)]
    versions = [truth.at(k, revision) for k in keys]
    return [version for version in versions if version is not None]


def _same(call: Call, kvs: Sequence[Any], *wanted: Version | None) -> None:
    """inv05: exactly these rows, whole."""
    told = [
        Version(kv.mod_revision, kv.key, kv.value, kv.create_revision, kv.version, kv.lease)
        for kv in kvs
    ]
    if told != [version for version in wanted if version is not None]:
        raise Violation("inv05", f"{call}: told {told}, there was {wanted}")


def _lease(_truth: Truth, _call: Call) -> None:
    """What became of the keys is `leases.py`'s to judge."""


def _compact(truth: Truth, call: Call) -> None:
    if call.request.revision > call.answer.header.revision:
        raise Violation("inv20", f"{call}: compacted what is not there yet")
