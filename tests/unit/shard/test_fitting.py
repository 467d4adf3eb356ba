"""What an engine does not take is refused before a revision is taken, and nothing else with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest

from kubebraid.base import errors
from kubebraid.shard import fitting
from kubebraid.shard.storage.engine import Batch
from tests.unit.shard.fakes import BreakableEngine, Stand, delete_call, put_call

KEY_BYTES: Final = 4_000
ROWS: Final = 60
LONG: Final = b"/a/" + b"x" * 5_000


class Narrow(BreakableEngine):
    """Takes keys and batches up to a size, as TiKV does; a write of more is a defect here."""

    batches_reads = True  # type: ignore[misc]  # what a nearer engine says for good

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0

    @staticmethod
    def _takes(batch: Batch) -> bool:
        longest = max((len(key) for _, key, _ in batch.operations), default=0)
        return longest <= KEY_BYTES and len(batch) <= ROWS

    def refuses(self, make: Callable[[], Batch]) -> bool:
        self.looks += 1
        return not self._takes(make())

    def write(self, batch: Batch, *, sync: bool) -> None:
        assert self._takes(batch), "it was to be found before"
        super().write(batch, sync=sync)


@pytest.fixture
def stand() -> Stand:
    return Stand(engine=Narrow())


def key(number: int) -> bytes:
    return b"/a/%04d" % number


def test_key_that_is_too_long_is_refused_alone_and_costs_no_revision(stand: Stand) -> None:
    """The worked example of the module."""
    calls = [put_call(key(number)) for number in range(10)]
    replies = stand.write(*calls[:5], put_call(LONG), *calls[5:])
    assert [reply.tag for reply in replies if reply.error is not None] == [LONG]
    assert {reply.error for reply in replies} == {None, errors.REQUEST_TOO_LARGE}
    revisions = [reply.revision for reply in replies if reply.error is None]
    assert revisions == list(range(revisions[0], revisions[0] + 10)), (
        "in their order, without a gap"
    )
    assert [reply.error for reply in stand.write(put_call(b"/a/behind"))] == [None]
    assert stand.fatal == []


def test_deletion_of_too_many_keys_is_refused_and_they_stay(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "CHANGES_SURE", 10)
    for start in range(0, 30, 10):
        stand.write(*[put_call(key(number)) for number in range(start, start + 10)])
    (refused,) = stand.write(delete_call(b"/a/", b"/a0"))
    assert refused.error is errors.REQUEST_TOO_LARGE
    (done,) = stand.write(delete_call(key(0), key(10)))
    assert done.error is None


def test_batch_that_is_too_large_as_a_whole_is_done_call_by_call(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "CHANGES_SURE", 10)
    replies = stand.write(*[put_call(key(number)) for number in range(50)])
    assert [reply.error for reply in replies] == [None] * 50
    revisions = [reply.revision for reply in replies]
    assert revisions == sorted(set(revisions))


def test_small_batches_are_not_looked_at(stand: Stand) -> None:
    stand.write(*[put_call(key(number)) for number in range(15)])
    engine = stand.engine
    assert isinstance(engine, Narrow)
    assert engine.looks == 0


def test_engine_without_limits_is_never_asked() -> None:
    class Wide(BreakableEngine):
        def refuses(self, make: Callable[[], Batch]) -> bool:
            raise AssertionError("it takes everything")

    (reply,) = Stand(engine=Wide()).write(put_call(LONG))
    assert reply.error is None
