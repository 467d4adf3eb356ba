"""dev-cluster's data directory: who takes part, on which ports, and whether the cluster is founded.

What it is: the file cluster.json, and the cluster that it and the flags make together. What it is
not: the processes (`supervise.py`).

    DIR/cluster.json      this file's: ports by name, engine, founded, and where TiKV is
    DIR/secret            the cluster's secret, mode 0600
    DIR/coordinator-0/    ... and shard-0/: the data directory of each
    DIR/tikv/             the data of a TiKV of its own (`tikv.py`)
    DIR/logs/router-0.log what each process prints

Words: *founded*: the cluster has served once. Until then its coordinators may begin a new cluster;
ever after one whose directory is lost must ask the others, because it forgot its votes. *Removed*:
a shard that the cluster has forgotten.

Invariants: names, the number of coordinators and shards, and the stores' names in TiKV never
change; cluster.json is written whole, before any process starts, and again when the cluster is
founded.

Worked example: a second `dev-cluster --data-dir=DIR` without other flags runs the same names on the
same ports.

Tested in tests/unit/cli/test_dev_site.py.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from kubebraid.base import secret
from kubebraid.base.errors import KubeBraidError

from ..locked_folder import LOCK
from ..tikv_flags import TIKV
from . import tikv
from .config import DevConfig

FORMAT: Final = 1
FILE: Final = "cluster.json"
SECRET: Final = "secret"
ROLES: Final = ("router", "coordinator", "shard")  # routers have the first ports
DEFAULTS: Final = {"coordinator": 3, "shard": 3, "router": 2}
PORTS: Final = range(15_000, 60_000)  # where free ones are looked for, below the kernel's own
TRIES: Final = 200


class SiteRefused(KubeBraidError):
    """The data directory and the flags make no cluster; nothing was changed."""

    definite = True
    hint = "leave the flag out, or name another --data-dir"


class PdUnknown(SiteRefused):
    """TiKV may be anywhere."""

    hint = "give --pd=HOST:PORT of TiKV's PD, or --tikv-bin=DIR to have one started"


class NoPrograms(SiteRefused):
    """There is no TiKV to be started."""

    hint = "tests/tikv/build.sh builds tikv-pd and tikv-store, and prints where they are"


class SiteDamaged(SiteRefused):
    """cluster.json is not what was written."""

    hint = "restore the directory, or name another --data-dir"


@dataclass(frozen=True, slots=True)
class Site:
    """`ports`: by the name of the process, on 127.0.0.1. `pd`, `tikv_store`: empty but on TiKV.
    `tikv_bin`: the folder of its programs, if it is dev-cluster's own. `removed`: names of shards
    that have no process any more."""

    engine: str
    ports: dict[str, int]
    founded: bool = False
    pd: str = ""
    tikv_store: str = ""
    tikv_bin: str = ""
    removed: list[str] = field(default_factory=list)

    def names(self, role: str) -> list[str]:
        """Of all processes of a role, by number."""
        names = [name for name in self.ports if name.rpartition("-")[0] == role]
        return sorted(names, key=lambda name: int(name.rpartition("-")[2]))


def load(folder: Path) -> Site | None:
    """None: the folder is new. Raises SiteRefused."""
    path = folder / FILE
    if not path.exists():
        others = set(os.listdir(folder)) - {LOCK, SECRET, "logs", "lost+found", f"{FILE}.new"}
        if others:
            found = f"it holds {min(others)!r} and no {FILE}"
            raise SiteRefused(f"--data-dir={folder} is not dev-cluster's: {found}")
        return None
    try:
        told = json.loads(path.read_text())
        assert told.pop("format") == FORMAT
        site = Site(**told)
        assert all(isinstance(port, int) for port in site.ports.values())
        assert all(site.names(role) for role in ROLES)
        assert not site.tikv_bin or all(name in site.ports for name in tikv.PORTS)
    except (ValueError, TypeError, KeyError, AttributeError, AssertionError) as error:
        raise SiteDamaged(f"{path} is damaged or of another version ({error})") from error
    return site


def save(folder: Path, site: Site) -> None:
    """Durably, and whole."""
    fresh = folder / f"{FILE}.new"
    with fresh.open("w") as file:
        json.dump({"format": FORMAT, **asdict(site)}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, folder / FILE)


def secret_of(folder: Path) -> Path:
    """The secret's file; made if it is not there. Raises SecretRefused."""
    path = folder / SECRET
    if not path.exists():
        secret.make(path)
    return path


def settle(config: DevConfig, before: Site | None) -> Site:
    """What is to run. Raises SiteRefused where the flags contradict an earlier start."""
    told = {
        "coordinator": config.coordinators,
        "shard": config.shards,
        "router": config.routers,
    }
    counts = {role: told[role] or DEFAULTS[role] for role in ROLES}
    engine = config.engine or (before.engine if before is not None else "rocksdb")
    if before is not None:
        _check_same(before, told, config)
        counts = {role: told[role] or len(before.names(role)) for role in ROLES}
    names = [f"{role}-{index}" for role in ROLES for index in range(counts[role])]
    pd, store, programs = _in_tikv(engine, config, before)
    kept = {} if before is None else before.ports
    ports = _ports(names, tikv.PORTS if programs else (), config.base_port, kept)
    if programs:
        pd = tikv.pd_address(ports)
    founded = before is not None and before.founded
    removed = [] if before is None else before.removed
    return Site(engine, ports, founded, pd, store, programs, removed)


def _ports(
    names: Sequence[str], own: Sequence[str], base: int | None, kept: Mapping[str, int]
) -> dict[str, int]:
    """The names from `base` on, if it is told; all else keeps what it had, TiKV's too, as PD
    remembers it."""
    ports = dict(kept)
    if base is not None:
        ports.update((name, base + index) for index, name in enumerate(names))
    missing = [name for name in (*names, *own) if name not in ports]
    ports.update(zip(missing, free_ports(len(missing), set(ports.values())), strict=True))
    ports = {name: ports[name] for name in (*names, *own)}
    if len(set(ports.values())) < len(ports):
        raise SiteRefused(f"--base-port={base}: a port of TiKV's is among those from there on")
    return ports


def _in_tikv(engine: str, config: DevConfig, before: Site | None) -> tuple[str, str, str]:
    """PD's addresses, which may change, and what the names of the stores begin with: drawn, as many
    clusters of this command may share one TiKV. Last the folder of its programs, if it is ours."""
    if engine != TIKV:
        for flag, told in (("--pd", config.pd), ("--tikv-bin", config.tikv_bin)):
            if told:
                raise SiteRefused(f"{flag} is for --engine=tikv: the engine is {engine}")
        return "", "", ""
    pd = config.pd or (before.pd if before is not None else "")
    programs = config.tikv_bin or (before.tikv_bin if before is not None else "")
    if not pd and not programs:
        raise PdUnknown("--engine=tikv needs --pd or --tikv-bin")
    if programs and (name := tikv.lacking(Path(programs))):
        raise NoPrograms(f"--tikv-bin={programs}: there is no program {name}")
    drawn = f"dev-{secrets.token_hex(4)}"
    store = before.tikv_store if before is not None else config.tikv_store or drawn
    return pd, store, programs


def _check_same(before: Site, told: dict[str, int | None], config: DevConfig) -> None:
    where = f"the cluster in {config.data_dir}"
    for role in ("coordinator", "shard"):
        had, asked = len(before.names(role)), told[role]
        if asked is not None and asked != had:
            raise SiteRefused(f"--{role}s={asked}: {where} was made with {had}")
    if config.engine is not None and config.engine != before.engine:
        raise SiteRefused(f"--engine={config.engine}: {where} has {before.engine}")
    store = config.tikv_store
    if before.engine == TIKV and store not in ("", before.tikv_store):
        raise SiteRefused(f"--tikv-store={store}: {where} has {before.tikv_store}")
    if before.tikv_bin and config.pd:
        raise SiteRefused(f"--pd={config.pd}: {where} has a TiKV of its own")
    if before.engine == TIKV and config.tikv_bin and not before.tikv_bin:
        raise SiteRefused(f"--tikv-bin={config.tikv_bin}: {where} is on the TiKV at {before.pd}")
    if before.engine == "memory":
        raise SiteRefused(f"--data-dir: {where} was in memory, and is gone")


def free_ports(count: int, taken: set[int]) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on, outside the range from which the kernel gives
    ports to those that dial: in it a peer's try to reach a process that is down may take its
    port. Raises SiteRefused if there are none."""
    last = min(PORTS.stop, _first_ephemeral())
    found: list[int] = []
    with ExitStack() as held:
        for _ in range(TRIES + count):
            if len(found) == count:
                return found
            port = PORTS.start + secrets.randbelow(last - PORTS.start)
            probe = held.enter_context(socket.socket())  # held: no port is found twice
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            if port not in taken:
                found.append(port)
    raise SiteRefused(f"no {count} free ports were found below {last}; give --base-port")


def _first_ephemeral() -> int:
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError):
        return PORTS.stop
    return first if first > PORTS.start + TRIES else PORTS.stop
