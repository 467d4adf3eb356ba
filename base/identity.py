"""The numbers by which etcd's clients know a cluster and its members.

What it is: ids that are drawn from names, so that they stay over restarts. What it is not: a
secret, or an order.

Invariant: an id is a positive int64; the same names give the same ids in every process.

Worked example: `member_id(uuid, "router-0")` is in the header of whatever router-0 answers.

Tested in tests/unit/base/test_identity.py.
"""

from __future__ import annotations

import hashlib


def cluster_id(uuid: str) -> int:
    """Of the store, or of the cluster, that this id names."""
    return _number(uuid)


def member_id(uuid: str, name: str) -> int:
    """Of a process of it."""
    return _number(f"{uuid}/{name}")


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1 or 1
