"""`kubebraid ctl tikv-borders`: where TiKV's regions should begin, before there is load.

What it is: a list of keys, of the layout and the shards of a new cluster. What it is not: it asks
neither TiKV nor PD, and splits nothing: whoever runs TiKV gives the keys to PD.

Words: a *region* is what TiKV replicates and moves as one, a range of keys; a *border* is a key at
which one begins. In TiKV's own order a key is *encoded*: groups of eight bytes, filled up with
zeroes, and behind each 255 less how many were filled. PD's HTTP API takes keys as regions have
them, encoded; TiKV's own call, and the lines that are printed, are not.

Why: a new store is one region, so one machine of TiKV has all of its writes until it has grown.
The rows of a tablet that are written are its newest ones (n), the ones that they replace (h), its
log (l) and its fence (f): each gets a region. A fence is one row, but every batch writes it: where
all tablets' fences are one region, each batch of each shard waits for the same machine. They are in
the space that the shards share, whichever has the tablet; in that of serve's store, which is alone.

Invariants: each printed key is one below which no row of the tablet's kind lies; keys are sorted,
and none stands twice.

Worked example: `--tikv-store=prod --shards=a,b --tablets=single` prints the spaces of prod/a and
prod/b, that of prod, and where in it the tablet's f, h, l and n rows begin.

Tested in tests/unit/cli/test_tikv_borders.py, tests/contract/test_tikv_borders.py.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from kubebraid.base.tabletmap import Tablet, TabletMap
from kubebraid.shard import keycodec
from kubebraid.shard.storage.tikv_space import ROWS, shared_space_of, space_of

from .layouts import BadLayout, read_layout
from .tikv_flags import shard_store

EXIT_USAGE: Final = 2
_GROUP: Final = 8
_ALONE: Final = "shard-0"  # what serve's own shard is called, which nobody sees


def borders(argv: Sequence[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="kubebraid ctl tikv-borders",
        description="Print keys at which to split TiKV's regions, one a line, in hex.",
        allow_abbrev=False,
    )
    parser.add_argument("--tikv-store", required=True, help="as the shards, or serve, are given it")
    parser.add_argument("--shards", default="", help="name,name,...; none: the store of serve")
    parser.add_argument("--tablets", default="kubernetes", help="the layout, as it is founded with")
    parser.add_argument(
        "--pd-json", action="store_true", help="the body for PD's /pd/api/v1/regions/split"
    )
    flags = parser.parse_args(argv)
    shards = [name.strip() for name in flags.shards.split(",") if name.strip()]
    try:
        tablets = read_layout(flags.tablets, shards or _ALONE)
    except BadLayout as error:
        print(f"kubebraid ctl tikv-borders: {error}; {error.hint}", file=sys.stderr)
        return EXIT_USAGE
    rows, spaces = _spaces(flags.tikv_store, shards)
    keys = borders_of(tablets, rows, spaces)
    if flags.pd_json:
        print(json.dumps({"split_keys": [encoded(key).hex() for key in keys]}))
    else:
        print("\n".join(key.hex() for key in keys))
    return 0


def _spaces(store: str, shards: Sequence[str]) -> tuple[bytes, list[bytes]]:
    """What all rows of tablets begin with, and each space."""
    if not shards:
        own = space_of(store.encode())
        return own + ROWS, [own]
    shared = shared_space_of(store.encode())
    return shared, [shared, *(space_of(shard_store(store, shard).encode()) for shard in shards)]


def borders_of(tablets: TabletMap, rows: bytes, spaces: Iterable[bytes]) -> list[bytes]:
    """Sorted. `rows`: what all rows of tablets begin with."""
    keys = set(spaces)
    for tablet in tablets.tablets:
        keys |= {rows + key for key in _of_tablet(tablet)}
    return sorted(keys)


def _of_tablet(tablet: Tablet) -> Iterator[bytes]:
    """Buckets of one range have their fences and log rows apart, and nothing else."""
    yield keycodec.fence(tablet.id)
    yield keycodec.history_bounds(tablet.span)[0]
    yield keycodec.log(tablet.id, 0)
    yield keycodec.newest_bounds(tablet.span)[0]


def encoded(key: bytes) -> bytes:
    """As TiKV stores a transaction's key, and as regions have it (codec::bytes of TiKV)."""
    groups = []
    for start in range(0, len(key) + 1, _GROUP):
        group = key[start : start + _GROUP]
        filled = _GROUP - len(group)
        groups.append(group + bytes(filled) + bytes((0xFF - filled,)))
    return b"".join(groups)
