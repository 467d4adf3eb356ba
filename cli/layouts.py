"""Tablet layouts: which prefixes get a tablet of their own in a new store.

What it is: the named layouts and the reading of an operator's own. What it is not: the cutting of
the keyspace (`base/tabletmap.layout`).

Words: `kubernetes`: the heavy resources of a kube-apiserver under /registry; `single`: one tablet;
`=4` behind a prefix: its keys are hashed into four tablets, so that several shards write them.

Invariant: a layout counts only when a store is created; afterwards the stored map rules.

Worked example: `--tablets=/registry/pods/,/registry/events/=4` makes one tablet for the pods, four
for the events, and the default ones.

Tested in tests/unit/cli/test_layouts.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from kubebraid.base.limits import TABLETS_MAX
from kubebraid.base.placement import BUCKETS, BUCKETS_MAX
from kubebraid.base.tabletmap import TabletMap, layout

_NUMBERS: Final = {str(number): number for number in BUCKETS}

# Resources by their storage prefix: many objects, frequent writes, or both. What is not listed
# shares the default tablets.
KUBERNETES: Final = (
    "/registry/apiextensions.k8s.io/customresourcedefinitions/",
    "/registry/configmaps/",
    "/registry/controllerrevisions/",
    "/registry/csinodes/",
    "/registry/daemonsets/",
    "/registry/deployments/",
    "/registry/endpointslices/",
    "/registry/events/",
    "/registry/jobs/",
    "/registry/leases/",
    "/registry/masterleases/",
    "/registry/minions/",
    "/registry/namespaces/",
    "/registry/persistentvolumeclaims/",
    "/registry/persistentvolumes/",
    "/registry/pods/",
    "/registry/replicasets/",
    "/registry/secrets/",
    "/registry/serviceaccounts/",
    "/registry/services/endpoints/",
    "/registry/services/specs/",
    "/registry/statefulsets/",
    "/registry/volumeattachments/",
)


class BadLayout(ValueError):
    """A --tablets value that names no layout; the text says what is wrong."""

    definite = True
    hint = (
        "use kubernetes, single, a comma-separated list of prefixes, each perhaps with =4 behind it"
        " for four buckets, or a file of them"
    )


def read_layout(value: str, shards: str | Sequence[str]) -> TabletMap:
    """The first map for `--tablets=value`. Raises BadLayout."""
    written = [_buckets(line) for line in _lines(value)]
    prefixes = [prefix.rstrip("/").encode() + b"/" for prefix, _ in written]
    buckets = {key: of for key, (_, of) in zip(prefixes, written, strict=True)}
    try:
        made = layout(prefixes, shards, buckets)
    except ValueError as error:
        raise BadLayout(f"--tablets: {error}") from error
    if len(made.tablets) > TABLETS_MAX:
        tablets = len(made.tablets)
        raise BadLayout(f"--tablets: {tablets} tablets; at most {TABLETS_MAX} can be kept")
    return made


def _buckets(line: str) -> tuple[str, int]:
    """A prefix and into how many buckets its keys are hashed."""
    prefix, mark, number = (part.strip() for part in line.rpartition("="))
    if not mark:
        prefix, number = number, "1"
    if not prefix.startswith("/") or not prefix.strip("/"):
        raise BadLayout(f"--tablets: {prefix!r} is no key prefix; it must begin with '/'")
    if number not in _NUMBERS:
        raise BadLayout(
            f"--tablets: {number!r} behind {prefix!r} is no number of buckets; they are a power of"
            f" two, from 1 to {BUCKETS_MAX}"
        )
    return prefix, _NUMBERS[number]


def _lines(value: str) -> list[str]:
    """What is written for each prefix."""
    if value == "kubernetes":
        return list(KUBERNETES)
    if value == "single":
        return []
    listed = value.startswith("/registry") or "=" in value
    if "," in value or (listed and not Path(value).is_file()):
        return [part.strip() for part in value.split(",") if part.strip()]
    try:
        lines = Path(value).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadLayout(
            f"--tablets: {value!r} is no layout, no list of prefixes and no readable file ({error})"
        ) from error
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]
