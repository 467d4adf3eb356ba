"""The judge of what a cluster committed notices what it is there for: by planted faults."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pytest

from kubebraid.proto.etcd import kv_pb2
from kubebraid.proto.etcd import rpc_pb2 as pb
from tests.e2e.ledger import SHARD_NAMES, Ledger, buckets, placed

pytestmark = [pytest.mark.e2e, pytest.mark.cluster]

LAYOUT: Final = buckets(32, "pods")
BEGAN_AT: Final = 5


def keys_of(shard: str, count: int) -> list[bytes]:
    """Keys that the layout places there."""
    names = (b"/registry/pods/%d" % number for number in range(1_000))
    return [name for name in names if placed(LAYOUT).tablet_of(name).shard == shard][:count]


KEYS: Final = {shard: keys_of(shard, 3) for shard in SHARD_NAMES}


def answer(*events: tuple[int, bytes]) -> pb.WatchResponse:
    """An answer with a put of each key at its revision."""
    told = pb.WatchResponse()
    for revision, key in events:
        told.events.append(kv_pb2.Event(kv=kv_pb2.KeyValue(key=key, mod_revision=revision)))
    return told


def told(*answers: pb.WatchResponse) -> Ledger:
    """A ledger that was told these, live from BEGAN_AT on."""
    ledger = Ledger([], LAYOUT)
    ledger.take(pb.WatchResponse(created=True, header=pb.ResponseHeader(revision=BEGAN_AT)))
    for each in answers:
        ledger.take(each)
    return ledger


def in_turn(shards: Sequence[str]) -> list[pb.WatchResponse]:
    """A write of each, one revision after the other."""
    return [answer((BEGAN_AT + 1 + at, KEYS[shard][0])) for at, shard in enumerate(shards)]


def test_fair_shares_without_a_gap_are_accepted() -> None:
    ledger = told(*in_turn([*SHARD_NAMES, *SHARD_NAMES]))
    assert ledger.judge() == dict.fromkeys(SHARD_NAMES, 2)
    assert ledger.gaps() == []


def test_transaction_is_a_commit_of_each_shard_whose_keys_it_has() -> None:
    one, other, third = SHARD_NAMES
    both = answer((6, KEYS[one][0]), (6, KEYS[one][1]), (6, KEYS[other][0]))
    ledger = told(both, answer((7, KEYS[third][0])))
    assert ledger.judge() == dict.fromkeys(SHARD_NAMES, 1)


def test_shard_that_slept_is_noticed() -> None:
    with pytest.raises(AssertionError, match="carried events of"):
        told(*in_turn([SHARD_NAMES[0], SHARD_NAMES[1]])).judge()
    with pytest.raises(AssertionError, match="spread unevenly"):
        told(*in_turn([SHARD_NAMES[0]] * 8 + [SHARD_NAMES[1]] * 8 + [SHARD_NAMES[2]])).judge()
    with pytest.raises(AssertionError, match="nothing was written"):
        told().judge()


@pytest.mark.parametrize("missing", [0, 2])
def test_revision_that_nobody_was_told_of_is_noticed(missing: int) -> None:
    answers = in_turn([*SHARD_NAMES, *SHARD_NAMES])
    del answers[missing]
    ledger = told(*answers)
    with pytest.raises(AssertionError, match="revisions are missing"):
        ledger.judge()
    assert ledger.judge(gaps_max=1)
    assert ledger.gaps() == [(BEGAN_AT + 1 + missing, BEGAN_AT + 1 + missing)]


def test_revision_that_comes_twice_or_late_is_noticed() -> None:
    first, second, third = in_turn(SHARD_NAMES)
    with pytest.raises(AssertionError, match="6 was told behind 6"):
        told(first, first)
    with pytest.raises(AssertionError, match="7 was told behind 8"):
        told(first, third, second)
    with pytest.raises(AssertionError):
        told(answer((7, KEYS[SHARD_NAMES[0]][0]), (6, KEYS[SHARD_NAMES[1]][0])))


def test_watch_that_the_server_ended_is_noticed() -> None:
    with pytest.raises(AssertionError, match="the watch was ended"):
        told(pb.WatchResponse(canceled=True, compact_revision=9))
