"""`kubebraid coordinator`, `shard` and `router`: one role of a cluster each, as a process.

What it is: the right start for a name, and a sentence for what could not start. What it is not: a
start (`role_coordinator.py`, `role_shard.py`, `role_router.py`), or what flags mean
(`role_config.py`).

Invariants: a process loads the code of its own role alone; exit codes are serve's: 0 stopped, 1
could not start or met a fatal error, 2 usage; and 4, of a shard that was removed (`role.py`).

Worked example: `kubebraid shard --name=shard-0 --coordinators=a=127.0.0.1:7101 --data-dir=/data/s0
--listen=127.0.0.1:7201 --cluster-secret-file=/data/secret`.

Tested in tests/unit/cli/test_roles.py, tests/e2e/test_dev_cluster.py.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from typing import Final

from .flag_sources import BadFlags
from .logs import set_up
from .quiet_start import begin_quietly
from .role_config import (
    CoordinatorConfig,
    MemberConfig,
    RouterConfig,
    ShardConfig,
    parse_coordinator,
    parse_router,
    parse_shard,
)
from .tikv_flags import TIKV

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2

_log = logging.getLogger("kubebraid.role")


def role(argv: Sequence[str]) -> int:
    """The command: the role's name, then its flags. One sentence says why it could not start."""
    name, flags = argv[0], argv[1:]
    try:
        config, start = _starter(name, flags)
    except BadFlags as error:
        print(f"kubebraid {name}: {error} (see 'kubebraid {name} --help')", file=sys.stderr)
        return EXIT_USAGE
    if config.print_config:
        print(config.print_config, end="")
        return 0
    set_up(config.log.level, config.log.form, config.log.output)
    begin_quietly()
    for warning in config.warnings:
        _log.warning(warning)
    return _ran(name, start)


def _ran(name: str, start: Callable[[], int]) -> int:
    """The exit code; one sentence says why it could not start."""
    try:
        return start()
    except Exception as error:
        # Each error of ours says what to do; the classes are known to their own role alone.
        hint = getattr(error, "hint", "")
        if not hint and not isinstance(error, OSError):
            raise
        told = f"{error}; {hint}" if hint else str(error)
        print(f"kubebraid {name}: {told}", file=sys.stderr)
        return EXIT_FAILED


def _starter(name: str, flags: Sequence[str]) -> tuple[MemberConfig, Callable[[], int]]:
    """What every role is told, and how this one starts. Raises BadFlags."""
    if name == "coordinator":
        coordinator = parse_coordinator(flags)
        return coordinator.member, lambda: _coordinator(coordinator)
    if name == "shard":
        shard = parse_shard(flags)
        return shard.member, lambda: _shard(shard)
    assert name == "router", name
    router = parse_router(flags)
    return router.member, lambda: _router(router)


def _coordinator(config: CoordinatorConfig) -> int:
    from .role_coordinator import start

    return start(config)


def _shard(config: ShardConfig) -> int:
    from .role_shard import start

    if config.engine == TIKV:
        from kubebraid.shard.storage.tikv_link import leave

        leave(_ran("shard", lambda: start(config)))
    return start(config)


def _router(config: RouterConfig) -> int:
    from .role_router import start

    return start(config)
