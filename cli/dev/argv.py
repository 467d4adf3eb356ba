"""The command line of each process of dev-cluster, as an operator would type it.

What it is: flags put together. What it is not: a start (`command.py`).

Invariants: a coordinator is told that the cluster is new only until it has served once.

Worked example: shard-0 of a cluster in DIR has its data in DIR/shard-0 and listens on the port that
DIR/cluster.json names.

Tested in tests/unit/cli/test_dev_site.py.
"""

from __future__ import annotations

from typing import Final

from .config import DevConfig
from .site import SECRET, Site
from .supervise import Spec

HOST: Final = "127.0.0.1"


def specs(site: Site) -> list[Spec]:
    """All processes, in the order of their start."""
    return [
        Spec(role, name, f"{HOST}:{site.ports[name]}")
        for role in ("coordinator", "shard", "router")
        for name in site.names(role)
    ]


def endpoints(site: Site) -> list[str]:
    """What clients use."""
    return [f"http://{HOST}:{site.ports[name]}" for name in site.names("router")]


def argv_of(spec: Spec, config: DevConfig, site: Site) -> list[str]:
    """The role, then its flags."""
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
    argv += [f"--listen={spec.address}", f"--data-dir={config.data_dir / spec.name}"]
    if spec.role == "shard":
        return [*argv, f"--engine={site.engine}"]
    return [
        *argv,
        f"--initial-cluster-state={'existing' if site.founded else 'new'}",
        f"--initial-shards={','.join(site.names('shard'))}",
        f"--tablets={config.tablets}",
    ]
