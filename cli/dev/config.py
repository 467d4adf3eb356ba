"""The flags of `kubebraid dev-cluster`: what an operator writes becomes a frozen value.

What it is: the checks that need no disk. What it is not: the table of flags (`role_flags.py`), or
what a data directory of an earlier start has to say (`site.py`).

Invariants: a number that makes no cluster is refused here, before anything is touched.

Worked example: `--coordinators=2` is refused: two coordinators cannot outvote one.

Tested in tests/unit/cli/test_dev_config.py.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kubebraid.base.limits import REQUEST_BYTES_CEILING
from kubebraid.shard.storage.tikv_seam import Tls

from ..flag_sources import BadFlags, Values, read_values
from ..flag_values import interval_ms, number
from ..role_config import auto_split, check_layout
from ..role_flags import DEV_CLUSTER, ROUTER_PASSED
from ..tikv_flags import TIKV, pd_addresses, store_name, tls_of
from ..toml_text import toml_of

PROCESSES_MAX: Final = 64  # of one role: more are no cluster to try things with
COORDINATORS: Final = ("1", "3", "5")
PORT_MAX: Final = 65_535


@dataclass(frozen=True, slots=True)
class DevConfig:
    """Everything it was told. A count or an engine that is None was left to its default, or to
    what the data directory has, as is an empty `pd`, `tikv_store` or `tikv_bin`. `router_flags` and
    `log_flags` are handed on as they are."""

    data_dir: Path
    state_file: Path
    coordinators: int | None
    shards: int | None
    routers: int | None
    engine: str | None
    base_port: int | None
    tablets: str
    restart: bool
    pd: str = ""
    tls: Tls | None = None
    tikv_store: str = ""
    tikv_bin: str = ""
    router_flags: tuple[str, ...] = ()
    log_flags: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    print_config: str = ""


def parse_dev(argv: Sequence[str], environ: Mapping[str, str] | None = None) -> DevConfig:
    """Raises BadFlags; exits for --help, as argparse does."""
    values = read_values(argv, os.environ if environ is None else environ, DEV_CLUSTER)
    if values["coordinators"] not in COORDINATORS:
        told = f"{values.named('coordinators')}={values['coordinators']}"
        raise BadFlags(f"{told} is none of 1, 3 or 5: a majority has to survive the others")
    coordinators = int(values["coordinators"])
    shards = number(values, "shards", 1, PROCESSES_MAX)
    routers = number(values, "routers", 1, PROCESSES_MAX)
    base_port = None
    if values["base-port"]:
        most = PORT_MAX + 1 - coordinators - shards - routers
        base_port = number(values, "base-port", 1, most)
    check_layout(values, [f"shard-{index}" for index in range(shards)])
    interval_ms(values, "watch-progress-notify-interval")
    number(values, "max-request-bytes", 1, REQUEST_BYTES_CEILING)
    number(values, "max-txn-ops", 1, 1 << 16)
    auto_split(values)
    _check_tikv(values)
    data_dir = Path(values["data-dir"]).absolute()
    state_file = Path(values["state-file"]).absolute() if values["state-file"] else None
    asked = values["print-config"] not in ("", "false")
    return DevConfig(
        data_dir=data_dir,
        state_file=state_file or data_dir / "state.json",
        coordinators=coordinators if values.is_given("coordinators") else None,
        shards=shards if values.is_given("shards") else None,
        routers=routers if values.is_given("routers") else None,
        engine=values["engine"] if values.is_given("engine") else None,
        base_port=base_port,
        tablets=values["tablets"],
        restart=values["no-restart"] in ("", "false"),
        pd=",".join(pd_addresses(values)),
        tikv_store=store_name(values) if values["tikv-store"] else "",
        tikv_bin=str(Path(values["tikv-bin"]).absolute()) if values["tikv-bin"] else "",
        router_flags=_passed(values, [flag.name for flag in ROUTER_PASSED]),
        tls=tls_of(values),
        log_flags=_passed(values, ["log-level", "log-format"]),
        warnings=values.warnings,
        print_config=toml_of(values) if asked else "",
    )


def _check_tikv(values: Values) -> None:
    named = [values.named(name) for name in ("pd", "tikv-bin") if values[name]]
    if len(named) > 1:
        raise BadFlags(f"{' and '.join(named)}: one TiKV is there already, or one is started")
    if named and values.is_given("engine") and values["engine"] != TIKV:
        raise BadFlags(f"{named[0]} is for --engine=tikv")


def _passed(values: Values, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"--{name}={values[name]}" for name in names if values.is_given(name))
