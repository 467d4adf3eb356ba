"""Where keys and tablets go: hash buckets of a range, and rendezvous of tablets with shards.

What it is: pure functions of bytes, the same in every process and version for ever. What it is
not: the map (`tabletmap.py`), which remembers where each tablet was placed.

Invariants:
- a key's bucket depends on the key and the number of buckets alone;
- a shard that comes or goes moves only the tablets that it wins or held (rendezvous hashing);
- the buckets of one range are shared out evenly: no shard has two more of them than another.

Worked example: `bucket_of(b"a", 4)` is 1, for the 128-bit hash of "a" ends so; `place(b"pods",
["shard-0", "shard-1"])` is the shard whose hash together with that name is the highest.

Source: MurmurHash3 x64 128 with seed 0; Thaler and Ravishankar, rendezvous hashing (1998).
Tested in tests/unit/base/test_placement.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import mmh3

BUCKETS_MAX: Final = 256  # of one range: beyond it a listing costs more than the writers gain
BUCKETS: Final = tuple(1 << n for n in range(BUCKETS_MAX.bit_length()))  # what a range may have


def bucket_of(key: bytes, buckets: int) -> int:
    """The bucket of a key; `buckets` is a power of two."""
    assert buckets > 0, buckets
    assert buckets & (buckets - 1) == 0, "a power of two"
    return mmh3.mmh3_x64_128_uintdigest(key) & (buckets - 1)


def place(name: bytes, shards: Sequence[str]) -> str:
    """The shard that a new tablet goes to."""
    assert shards, "somebody must own it"
    return max(shards, key=lambda shard: (_weight(name, shard), shard))


def place_evenly(names: Sequence[bytes], shards: Sequence[str]) -> list[str]:
    """The shards that the new buckets of one range go to, in the order of `names`: each to the best
    that has room. Placed one by one, four buckets would nearly never meet all of four shards."""
    share, over = divmod(len(names), len(shards))
    held = dict.fromkeys(shards, 0)
    placed = []
    for name in names:
        shard = place(name, [s for s in shards if held[s] < share + (over > 0)])
        over -= held[shard] == share
        held[shard] += 1
        placed.append(shard)
    return placed


def _weight(name: bytes, shard: str) -> int:
    # The length first, so that no two pairs of names make the same bytes.
    return mmh3.mmh3_x64_128_uintdigest(b"%d/%b/%b" % (len(name), name, shard.encode()))
