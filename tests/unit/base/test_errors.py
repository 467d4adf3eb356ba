"""Errors: what a caller may conclude, and etcd's texts byte for byte."""

from __future__ import annotations

import pytest

from kubebraid.base import errors
from kubebraid.base.errors import Code, KubeBraidError, RequestRefused

# Code and text as etcd's clients match them: api/v3rpc/rpctypes/error.go of 3.7.
ETCD = {
    "EMPTY_KEY": (3, "etcdserver: key is not provided"),
    "KEY_NOT_FOUND": (3, "etcdserver: key not found"),
    "VALUE_PROVIDED": (3, "etcdserver: value is provided"),
    "LEASE_PROVIDED": (3, "etcdserver: lease is provided"),
    "TOO_MANY_OPS": (3, "etcdserver: too many operations in txn request"),
    "DUPLICATE_KEY": (3, "etcdserver: duplicate key given in txn request"),
    "INVALID_SORT": (3, "etcdserver: invalid sort option"),
    "REQUEST_TOO_LARGE": (3, "etcdserver: request is too large"),
    "COMPACTED": (11, "etcdserver: mvcc: required revision has been compacted"),
    "FUTURE_REVISION": (11, "etcdserver: mvcc: required revision is a future revision"),
    "LEASE_NOT_FOUND": (5, "etcdserver: requested lease not found"),
    "LEASE_EXISTS": (9, "etcdserver: lease already exists"),
    "LEASE_TTL_TOO_LARGE": (11, "etcdserver: too large lease TTL"),
    "TOO_MANY_REQUESTS": (8, "etcdserver: too many requests"),
    "NO_SPACE": (8, "etcdserver: mvcc: database space exceeded"),
    "CORRUPT": (15, "etcdserver: corrupt cluster"),
    "TIMED_OUT": (14, "etcdserver: request timed out"),
    "STOPPED": (14, "etcdserver: server stopped"),
    "NO_LEADER": (14, "etcdserver: no leader"),
    "OWNER_AWAY": (14, "etcdserver: no leader"),
    "OUTCOME_UNKNOWN_REPLY": (14, "etcdserver: request timed out"),
}
BETWEEN_ROLES = {"OTHER_MAP"}  # no client is told these


@pytest.mark.parametrize("name", sorted(ETCD))
def test_refusal_has_etcds_code_and_text(name: str) -> None:
    refused = getattr(errors, name)
    assert (int(refused.code), refused.message) == ETCD[name]
    assert str(refused) == refused.message


def test_every_refusal_of_the_module_is_compared_with_etcds() -> None:
    named = {n for n, value in vars(errors).items() if isinstance(value, RequestRefused)}
    assert named == set(ETCD) | BETWEEN_ROLES


@pytest.mark.parametrize(
    ("kind", "definite"),
    [
        (errors.Refused, True),
        (errors.RequestRefused, True),
        (errors.StaleEpoch, True),
        (errors.NotReady, True),
        (errors.OutcomeUnknown, False),
        (KubeBraidError, False),
    ],
)
def test_only_a_refusal_says_that_nothing_happened(
    kind: type[KubeBraidError], definite: bool
) -> None:
    """A router repeats a definite failure and nothing else: a wrong answer here writes twice."""
    assert kind.definite is definite
    assert issubclass(kind, errors.Refused) is definite
    assert kind.hint


def test_missed_answer_is_the_one_refusal_that_is_not_definite() -> None:
    """It has etcd's code and text, and a write behind it that may be there."""
    refusals = [value for value in vars(errors).values() if isinstance(value, RequestRefused)]
    unknown = [refused for refused in refusals if not refused.definite]
    assert unknown == [errors.OUTCOME_UNKNOWN_REPLY]
    assert errors.OUTCOME_UNKNOWN_REPLY is not errors.TIMED_OUT


def test_success_is_no_refusal() -> None:
    with pytest.raises(AssertionError):
        RequestRefused(Code.OK, "fine")


def test_refusal_without_a_text_is_refused() -> None:
    with pytest.raises(AssertionError):
        RequestRefused(Code.UNKNOWN, "")


def test_what_is_not_there_says_so_in_our_own_name() -> None:
    """etcd never says it, so it must not look as if etcd had."""
    refused = errors.unimplemented("snapshots; copy the directory")
    assert refused.code is Code.UNIMPLEMENTED
    assert refused.message == "kubebraid: snapshots; copy the directory"
