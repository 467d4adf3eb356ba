"""`kubebraid router`: from its configuration to its process and its fronts.

What it is: the order of a start. What it is not: what the flags mean (`role_config.py`), how a
process runs (`role.py`), or the rules of its parts.

Invariants: a used address is refused at once, although the fronts begin to listen only when
clients can be answered.

Worked example: started before any coordinator, it waits; its banner says when it serves.

Tested in tests/unit/cli/test_roles.py, tests/e2e/test_dev_cluster.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from kubebraid.base.limits import MESSAGE_OVERHEAD_BYTES
from kubebraid.base.seams import SystemClock, SystemRandom
from kubebraid.proto.fronts import listen_address
from kubebraid.router.main import RouterProcess
from kubebraid.router.role import RouterOptions

from .listening import check_free
from .role import Fatal
from .role_config import RouterConfig, load_secret
from .role_fronts import RouterShell


def start(config: RouterConfig) -> int:
    """The exit code. Raises KubeBraidError, AddressInUse, OSError where it cannot start."""
    urls = config.client_urls
    options = RouterOptions(
        name=config.member.name,
        coordinators=config.member.coordinators,
        client_urls=config.advertised_urls,
        progress_interval_ms=config.progress_interval_ms,
        request_bytes_max=config.request_bytes_max,
        txn_ops_max=config.txn_ops_max,
        auto_split=config.auto_split,
    )
    cluster = (config.member.cluster, load_secret(config.member))
    for url in urls:
        check_free(listen_address(url))

    def make(ready: Callable[[], None], fatal: Fatal) -> RouterProcess:
        seams = (SystemClock(), SystemRandom())
        return RouterProcess(options, cluster, seams, fatal, ready)

    bytes_max = config.request_bytes_max + MESSAGE_OVERHEAD_BYTES
    shell = RouterShell(make, urls, config.front, bytes_max)

    def announce() -> None:
        print(f"KubeBraid router {options.name} serves {','.join(urls)}", flush=True)

    try:
        import uvloop

        return uvloop.run(shell.run(announce))
    except ImportError:
        return asyncio.run(shell.run(announce))
