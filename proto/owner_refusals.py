"""Refusals on a wire between our processes: as code, text and whether they are definite.

What it is: the way back to the constants of base/errors. What it is not: a gRPC status.

Invariant: a refusal that is one of base/errors' constants comes out as that very constant, so that
`refused is errors.COMPACTED` holds on both sides; of two with one code and text it is the first.

Worked example: (14, "etcdserver: request timed out", unknown=True) is OUTCOME_UNKNOWN_REPLY.

Tested in tests/unit/proto/test_owner_answers.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from kubebraid.base import errors
from kubebraid.base.errors import Code, RequestRefused, Unanswered

from .internal import owner_pb2


def _constants() -> dict[tuple[int, str, bool], RequestRefused]:
    found: dict[tuple[int, str, bool], RequestRefused] = {}
    for value in vars(errors).values():
        if isinstance(value, RequestRefused):
            found.setdefault((int(value.code), value.message, not value.definite), value)
    return found


_CONSTANTS: Final = _constants()


def put_refusals(
    message: owner_pb2.Refusals, refused: Iterable[tuple[int, RequestRefused]]
) -> None:
    """Each with its number."""
    for number, why in refused:
        message.numbers.append(number)
        message.codes.append(int(why.code))
        message.texts.append(why.message)
        message.unknown.append(not why.definite)


def take_refusals(message: owner_pb2.Refusals) -> Iterator[tuple[int, RequestRefused]]:
    """Raises ValueError: the columns do not fit, or a code is none."""
    columns = (message.numbers, message.codes, message.texts, message.unknown)
    for number, code, text, unknown in zip(*columns, strict=True):
        known = _CONSTANTS.get((code, text, unknown))
        kind = Unanswered if unknown else RequestRefused
        yield number, known or kind(Code(code), text)
