"""Texts of tikv-client 0.0.4, as it wrote them, what the engine makes of each, and whose errors
are told by kinds; which client is taken."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from kubebraid.cli.flag_sources import read_values
from kubebraid.cli.flags import HANDED_ON
from kubebraid.shard.storage import tikv_link, tikv_native, tikv_steps
from kubebraid.shard.storage.engine import EngineClosed, EngineError
from kubebraid.shard.storage.tikv_errors import (
    ClientError,
    EngineConflict,
    EngineFenced,
    EngineHeld,
    EngineTooLong,
    EngineUnavailable,
    EngineUncertain,
    EngineUnsupported,
    EngineWithoutTls,
    locked,
    of_call,
    of_commit,
    too_long,
)
from kubebraid.shard.storage.tikv_seam import Tls

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


def test_error_whose_kind_its_client_tells_is_of_that_kind_whatever_its_text() -> None:
    held, long = ClientError(EngineHeld, CONFLICT), ClientError(EngineTooLong, CONFLICT)
    assert type(of_call("a read", held)) is EngineHeld
    assert locked(held)
    assert not too_long(held)
    assert too_long(long)
    assert not locked(long)
    assert str(of_call("a read", ClientError(EngineUnavailable, "no\nanswer"))) == (
        "a read: no answer"
    )


def test_variable_that_names_a_client_is_handed_on_and_stands_for_no_flag() -> None:
    assert tikv_link.CHOICE in HANDED_ON
    assert read_values(["--name=a"], {tikv_link.CHOICE: "native"}).warnings == ()


@pytest.mark.parametrize(
    ("built", "installed", "named", "name"),
    [
        (True, True, "", "native"),
        (False, True, "", "tikv-client"),
        (True, False, "", "native"),
        (True, True, "tikv-client", "tikv-client"),
        (True, True, "native", "native"),
        (True, False, "tikv-client", None),
        (False, True, "native", None),
        (True, True, "etcd", None),
        (False, False, "", None),
    ],
)
def test_our_own_client_is_taken_where_it_was_built_unless_another_is_named(
    monkeypatch: pytest.MonkeyPatch, built: bool, installed: bool, named: str, name: str | None
) -> None:
    monkeypatch.setenv(tikv_link.CHOICE, named)
    binding = SimpleNamespace(__version__="1") if built else None
    monkeypatch.setattr(tikv_native, "binding", binding)
    monkeypatch.setattr(tikv_steps, "native", SimpleNamespace() if installed else None)
    assert tikv_link.available() is (name is not None)
    if name is not None:
        assert tikv_link.chosen().name == name
        return
    with pytest.raises(EngineUnsupported) as refused:
        tikv_link.Link.opened(["127.0.0.1:2379"])
    assert "make native" in refused.value.hint
    assert refused.value.definite


def test_client_without_tls_is_not_taken_where_tls_is_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tikv_steps, "native", SimpleNamespace())
    monkeypatch.setattr(tikv_native, "binding", SimpleNamespace(__version__="1"))
    monkeypatch.delenv(tikv_link.CHOICE, raising=False)
    assert tikv_link.chosen(tls=True).name == "native"
    monkeypatch.setattr(tikv_native, "binding", None)
    assert tikv_link.chosen().name == "tikv-client"
    with pytest.raises(EngineWithoutTls, match="tikv-client, the client of TiKV here, does not sp"):
        tikv_link.Link.opened(["127.0.0.1:2379"], tls=Tls("ca", "cert", "key"))
