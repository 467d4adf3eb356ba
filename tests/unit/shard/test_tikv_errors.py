"""Texts of tikv-client 0.0.4, as it wrote them, and what the engine makes of each."""

from __future__ import annotations

import pytest

from kubebraid.shard.storage import tikv_link
from kubebraid.shard.storage.engine import EngineClosed, EngineError
from kubebraid.shard.storage.tikv_errors import (
    EngineConflict,
    EngineFenced,
    EngineHeld,
    EngineUnavailable,
    EngineUncertain,
    EngineUnsupported,
    locked,
    of_call,
    of_commit,
    too_long,
)

CONFLICT = (
    "Multiple key errors: [KeyError(KeyError { locked: None, retryable: "
    '"", abort: "", conflict: Some(WriteConflict { start_ts: 1, conflict_ts: 2, key: [120], '
    "primary: [], conflict_commit_ts: 3 }), already_exist: None })]"
)
TOO_LONG = (
    'gRPC api error: status: OutOfRange, message: "Error, message length too large: '
    'found 5000005 bytes, the limit is: 4194304 bytes"'
)


@pytest.mark.parametrize(
    ("text", "kind", "definite"),
    [
        (CONFLICT, EngineConflict, True),
        ("Failed to resolve lock", EngineHeld, True),
        ("Multiple errors: [ResolveLockError([LockInfo { key: [1] }])]", EngineUncertain, False),
        ("gRPC api error: status: Unavailable", EngineUncertain, False),
        ("Whether the transaction is committed or not is undetermined", EngineUncertain, False),
        (f"undetermined: {'Failed to resolve lock'}", EngineUncertain, False),
        ("", EngineUncertain, False),
    ],
)
def test_error_of_a_commit_is_definite_only_where_its_first_phase_was_refused(
    text: str, kind: type[EngineError], definite: bool
) -> None:
    error = of_commit(Exception(text))
    assert type(error) is kind
    assert error.definite is definite


def test_conflict_is_the_sign_of_another_writer() -> None:
    assert issubclass(EngineConflict, EngineFenced)


def test_error_of_a_call_that_writes_nothing_is_definite_and_ours_stay_what_they_are() -> None:
    error = of_call("a read", TimeoutError())
    assert type(error) is EngineUnavailable
    assert error.definite
    assert str(error) == "a read: TimeoutError"
    held = of_call("a write", Exception("Failed to resolve lock"))
    assert type(held) is EngineHeld
    assert held.definite
    ours = EngineClosed("closed")
    assert of_call("a read", ours) is ours
    assert of_commit(ours) is ours


def test_texts_that_are_tried_again_or_read_in_other_pages_are_told_apart() -> None:
    assert too_long(Exception(TOO_LONG))
    assert not too_long(Exception(CONFLICT))
    for text in ("Failed to resolve lock", "ResolveLockError([])", "locked: Some(LockInfo {})"):
        assert locked(Exception(text))
    assert not locked(Exception(CONFLICT))


def test_machine_without_the_client_is_told_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tikv_link, "native", None)
    with pytest.raises(EngineUnsupported, match="tikv-client") as refused:
        tikv_link.Link.opened(["127.0.0.1:2379"])
    assert "CPython 3.11" in refused.value.hint
    assert refused.value.definite
