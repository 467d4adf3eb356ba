"""The command line of each process of dev-cluster, as an operator would type it.

What it is: flags put together. What it is not: a start (`command.py`), or TiKV's own flags
(`tikv.py`).

Invariants: a coordinator is told that the cluster is new only until it has served once; a shard
that was removed from the cluster has no process any more.

Worked example: shard-0 of a cluster in DIR has its data in DIR/shard-0 and listens on the port that
DIR/cluster.json names.

Tested in tests/unit/cli/test_dev_site.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ..tikv_flags import TIKV, tls_flags
from . import tikv
from .config import DevConfig
from .site import SECRET, Site
from .supervise import ROLES, Spec

HOST: Final = "127.0.0.1"


def specs(site: Site) -> list[Spec]:
    """All processes, in the order of their start."""
    own = tikv.specs(site.ports) if site.tikv_bin else []
    return own + [
        Spec(role, name, f"{HOST}:{site.ports[name]}")
        for role in ROLES
        for name in site.names(role)
        if name not in site.removed
    ]


def endpoints(site: Site) -> list[str]:
    """What clients use."""
    return [f"http://{HOST}:{site.ports[name]}" for name in site.names("router")]


def argv_of(spec: Spec, config: DevConfig, site: Site) -> list[str]:
    """The role, then its flags; of TiKV's two what `child.py` takes instead."""
    if spec.role not in ROLES:
        return tikv.argv_of(spec, Path(site.tikv_bin), site.ports, config.data_dir)
    coordinators = (f"{name}={HOST}:{site.ports[name]}" for name in site.names("coordinator"))
    argv = [
        spec.role,
        f"--name={spec.name}",
        f"--coordinators={','.join(coordinators)}",
        f"--cluster-secret-file={config.data_dir / SECRET}",
        *config.log_flags,
    ]
    if spec.role == "router":
        return [*argv, f"--listen-client-urls=http://{spec.address}", *config.router_flags]
    argv.append(f"--listen={spec.address}")
    if spec.role == "shard" and site.engine == TIKV:
        store = ("--engine=tikv", f"--pd={site.pd}", f"--tikv-store={site.tikv_store}")
        return [*argv, *store, *tls_flags(config.tls)]
    argv.append(f"--data-dir={config.data_dir / spec.name}")
    if spec.role == "shard":
        return [*argv, f"--engine={site.engine}"]
    return [
        *argv,
        f"--initial-cluster-state={'existing' if site.founded else 'new'}",
        f"--initial-shards={','.join(site.names('shard'))}",
        f"--tablets={config.tablets}",
    ]
