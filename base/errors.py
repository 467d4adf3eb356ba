"""The errors that roles tell each other, and what a caller may conclude from each.

    KubeBraidError
    +-- Refused            definite: nothing happened and nothing will
    |   +-- RequestRefused   etcd would refuse it too: carries etcd's code and text
    |   |   +-- Unanswered     not definite: etcd's code and text for an unknown outcome
    |   +-- StaleEpoch       the asker does not own the tablet (any more)
    |   +-- NotReady         the role does not serve (draining, starting)
    +-- OutcomeUnknown     the write may or may not be there

What it is: a tree with two facts per error (`definite`, `hint`). What it is not: gRPC; the
numbers of codes are named here because etcd's texts belong to them, `proto/status.py` maps.

Tested in tests/unit/base/test_errors.py.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Code(IntEnum):
    """The gRPC status codes that etcd uses."""

    OK = 0
    CANCELED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15


class KubeBraidError(Exception):
    """The root. `definite`: the write surely did not happen. `hint`: what to do next."""

    definite = False
    hint = "look at the cause"


class Refused(KubeBraidError):
    """Nothing happened."""

    definite = True
    hint = "correct the request"


class RequestRefused(Refused):
    """A refusal that etcd's clients know by code and text."""

    def __init__(self, code: Code, message: str) -> None:
        assert code is not Code.OK
        assert message
        super().__init__(message)
        self.code = code
        self.message = message


class Unanswered(RequestRefused):
    """A write was sent and no answer came: a client is told what etcd tells it then."""

    definite = False
    hint = "read the key at a newer revision before trying again"


class StaleEpoch(Refused):
    """The asker's ownership of a tablet has ended."""

    hint = "fetch the map and ask the present owner"


class Removed(StaleEpoch):
    """The cluster has forgotten the shard."""

    hint = "do not start it again; its store can be deleted"


class NotReady(Refused):
    """The role is starting, draining or stopped."""

    hint = "try again, or at another endpoint"


class OutcomeUnknown(KubeBraidError):
    """The engine did not answer; the write may be there."""

    hint = "read the key at a newer revision before trying again"


def _invalid(text: str) -> RequestRefused:
    return RequestRefused(Code.INVALID_ARGUMENT, f"etcdserver: {text}")


# etcd's refusals, byte for byte (api/v3rpc/rpctypes/error.go). Raised and returned as values:
# they carry no traceback worth keeping.
EMPTY_KEY: Final = _invalid("key is not provided")
KEY_NOT_FOUND: Final = _invalid("key not found")
VALUE_PROVIDED: Final = _invalid("value is provided")
LEASE_PROVIDED: Final = _invalid("lease is provided")
TOO_MANY_OPS: Final = _invalid("too many operations in txn request")
DUPLICATE_KEY: Final = _invalid("duplicate key given in txn request")
INVALID_SORT: Final = _invalid("invalid sort option")
REQUEST_TOO_LARGE: Final = _invalid("request is too large")
COMPACTED: Final = RequestRefused(
    Code.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted"
)
FUTURE_REVISION: Final = RequestRefused(
    Code.OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision"
)
LEASE_NOT_FOUND: Final = RequestRefused(Code.NOT_FOUND, "etcdserver: requested lease not found")
LEASE_EXISTS: Final = RequestRefused(Code.FAILED_PRECONDITION, "etcdserver: lease already exists")
LEASE_TTL_TOO_LARGE: Final = RequestRefused(Code.OUT_OF_RANGE, "etcdserver: too large lease TTL")
TOO_MANY_REQUESTS: Final = RequestRefused(Code.RESOURCE_EXHAUSTED, "etcdserver: too many requests")
NO_SPACE: Final = RequestRefused(
    Code.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded"
)
CORRUPT: Final = RequestRefused(Code.DATA_LOSS, "etcdserver: corrupt cluster")
TIMED_OUT: Final = RequestRefused(Code.UNAVAILABLE, "etcdserver: request timed out")
NO_LEADER: Final = RequestRefused(Code.UNAVAILABLE, "etcdserver: no leader")
STOPPED: Final = RequestRefused(Code.UNAVAILABLE, "etcdserver: server stopped")
# Said between roles alone: definite, and worth another try with the newest map.
OTHER_MAP: Final = RequestRefused(Code.UNAVAILABLE, "kubebraid: planned with another map")
# What a router's end of a link to a shard answers by itself.
OWNER_AWAY: Final = RequestRefused(Code.UNAVAILABLE, "etcdserver: no leader")
OUTCOME_UNKNOWN_REPLY: Final = Unanswered(TIMED_OUT.code, TIMED_OUT.message)


def precondition(text: str) -> RequestRefused:
    """What the present state does not allow; the text says why, and what to do."""
    return RequestRefused(Code.FAILED_PRECONDITION, f"kubebraid: {text}")


def unimplemented(text: str) -> RequestRefused:
    """A part of etcd's API that is not there; the text says what to do instead."""
    return RequestRefused(Code.UNIMPLEMENTED, f"kubebraid: {text}")
