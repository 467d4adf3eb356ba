"""`kubebraid coordinator`: from its configuration to its process, on a locked data directory.

What it is: the order of a start. What it is not: what the flags mean (`role_config.py`), how a
process runs (`role.py`), or the rules of its parts.

    DIR/LOCK    held while the process runs
    DIR/raft/   the journal, which owns that folder whole

Invariants: a used address and a wrong directory are refused before anything is touched; a data
directory has one process.

Worked example: two coordinators with one --data-dir: the second one says so and ends.

Tested in tests/unit/cli/test_roles.py, tests/e2e/test_dev_cluster.py.
"""

from __future__ import annotations

import secrets
from typing import Final

from kubebraid.base.seams import SystemClock
from kubebraid.coordinator.main import CoordinatorProcess
from kubebraid.coordinator.role import CoordinatorOptions

from .listening import check_link_address
from .locked_folder import FolderForeign, locked
from .role import COORDINATOR_LINGER_S, Fatal, run
from .role_config import CoordinatorConfig, load_secret

RAFT: Final = "raft"
OTHERS: Final = "KUBEBRAID"  # the marker in the data directory of a shard, or of serve


def start(config: CoordinatorConfig) -> int:
    """The exit code. Raises KubeBraidError, AddressInUse, OSError where it cannot start."""
    secret = load_secret(config.member)
    check_link_address(config.listen, secret)
    if (config.data_dir / OTHERS).exists():
        raise FolderForeign(f"{config.data_dir} is the data directory of a shard or of serve")
    with locked(config.data_dir):
        folder = config.data_dir / RAFT
        folder.mkdir(mode=0o700, exist_ok=True)
        options = CoordinatorOptions(
            name=config.member.name,
            cluster=config.member.cluster,
            listen=config.listen,
            members=config.member.coordinators,
            incarnation=secrets.randbits(63),
            founding=(secrets.token_hex(16), config.first_map) if config.found else None,
        )
        fatal = Fatal()
        process = CoordinatorProcess(options, folder, secret, SystemClock(), fatal)
        return run(process, fatal, COORDINATOR_LINGER_S)
