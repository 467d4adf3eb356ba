"""Tablet layouts: which prefixes get a tablet of their own in a new store.

What it is: the named layouts and the reading of an operator's own. What it is not: the cutting of
the keyspace (`base/tabletmap.layout`).

Words: `kubernetes`: the heavy resources of a kube-apiserver under /registry; `single`: one tablet.

Invariant: a layout counts only when a store is created; afterwards the stored map rules.

Worked example: `--tablets=/registry/pods/,/registry/events/` makes these two and the default ones.

Tested in tests/unit/cli/test_layouts.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from kubebraid.base.tabletmap import TabletMap, layout

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
    hint = "use kubernetes, single, a comma-separated list of prefixes, or a file of them"


def read_layout(value: str, shard: str) -> TabletMap:
    """The first map for `--tablets=value`. Raises BadLayout."""
    prefixes = _prefixes(value)
    for prefix in prefixes:
        if not prefix.startswith("/") or not prefix.strip("/"):
            raise BadLayout(f"--tablets: {prefix!r} is no key prefix; it must begin with '/'")
    try:
        return layout([prefix.rstrip("/").encode() + b"/" for prefix in prefixes], shard)
    except ValueError as error:
        raise BadLayout(f"--tablets: {error}") from error


def _prefixes(value: str) -> list[str]:
    if value == "kubernetes":
        return list(KUBERNETES)
    if value == "single":
        return []
    if "," in value or (value.startswith("/registry") and not Path(value).is_file()):
        return [part.strip() for part in value.split(",") if part.strip()]
    try:
        lines = Path(value).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadLayout(
            f"--tablets: {value!r} is no layout, no list of prefixes and no readable file ({error})"
        ) from error
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]
