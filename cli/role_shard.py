"""`kubebraid shard`: from its configuration to its process, on its engine.

What it is: the order of a start and of an end. What it is not: what the flags mean
(`role_config.py`), how a process runs (`role.py`), or the rules of its parts.

Invariants: a used address is refused before the data directory is touched; before anything is
served the directory's marker says which owner epoch the fences have reached, so that a store that
comes back with less is known for it; the engine is closed before the directory's lock is given
back. On TiKV there is no directory, and the process is a host (`host_threads.py`).

Worked example: a shard that was killed starts on the same directory, says START_SHARD with a new
incarnation, and serves once the map names that one.

Tested in tests/unit/cli/test_roles.py, tests/e2e/test_dev_cluster.py.
"""

from __future__ import annotations

import secrets

from kubebraid.base.seams import SystemClock
from kubebraid.shard.main import Place, ShardProcess
from kubebraid.shard.role import ShardOptions
from kubebraid.shard.storage.datadir import DataDir, Extent
from kubebraid.shard.storage.memory import MemoryEngine
from kubebraid.shard.storage.space import DeviceSpace
from kubebraid.shard.witness import epoch, witness

from .listening import check_link_address
from .role import Fatal, run
from .role_config import ShardConfig, load_secret
from .tikv_flags import TIKV


def start(config: ShardConfig) -> int:
    """The exit code. Raises DataDirError, EngineError, FenceDamaged, KubeBraidError, AddressInUse,
    OSError where it cannot start."""
    secret = load_secret(config.member)
    check_link_address(config.listen, secret)
    if config.engine == "memory":
        # Another number each time, so that nobody takes what was lost for what was kept.
        return _serve(config, secret, Place(MemoryEngine()), f"memory-{secrets.token_hex(8)}")
    if config.engine == TIKV:
        return _on_tikv(config, secret)
    directory = DataDir.open(config.data_dir)
    try:
        engine = directory.open_engine()
        held = Extent()
        try:
            directory.begin(Extent(witness(engine), epoch(engine)))
            place = Place(engine, DeviceSpace(directory.path), directory.started)
            code = _serve(config, secret, place, directory.uuid)
            held = Extent(witness(engine), epoch(engine))
        finally:
            engine.close()
        directory.stopped(held)
        return code
    finally:
        directory.close()


def _on_tikv(config: ShardConfig, secret: bytes | None) -> int:
    # Loading it starts a client's threads, which no other engine should pay for.
    from kubebraid.shard.storage.tikv_link import chosen

    from .host_threads import HostProcess

    # A spare without a client would be found out when it is given a dead host's shards.
    chosen(config.tls is not None)
    fatal = Fatal()
    return run(HostProcess(config, secret, fatal), fatal)


def _serve(config: ShardConfig, secret: bytes | None, place: Place, store: str) -> int:
    fatal = Fatal()
    options = ShardOptions(
        name=config.member.name,
        listen=config.listen,
        advertise=config.advertise,
        store=store,
        coordinators=config.member.coordinators,
        incarnation=secrets.randbits(63),
    )
    cluster = (config.member.cluster, secret)
    return run(ShardProcess(options, cluster, place, SystemClock(), fatal), fatal)
