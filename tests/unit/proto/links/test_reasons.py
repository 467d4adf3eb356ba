"""The table of reasons: each is brought about by a test of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubebraid.proto.links.reasons import LinkBroken, Reason


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_is_shown_by_a_test(reason: Reason) -> None:
    tests = [path for path in Path(__file__).parent.glob("test_*.py") if path != Path(__file__)]
    assert any(f"Reason.{reason.name}" in path.read_text() for path in tests)


def test_sentence_has_its_detail_if_there_is_one() -> None:
    assert str(LinkBroken(Reason.MAC)) == "a frame's MAC is wrong"
    assert str(LinkBroken(Reason.MAC, "shard-1")) == "a frame's MAC is wrong: shard-1"
