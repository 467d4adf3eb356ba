"""The flags of `coordinator`, `shard` and `router`: what an operator writes becomes frozen values.

What it is: the checks that need no disk, and the reading of the secret. A flag wins over its
KUBEBRAID_ variable, which wins over the configuration file, so that one file may serve all
processes of a kind. What it is not: the table of flags (`role_flags.py`), or the process
(`roles.py`).

Invariants: whatever cannot be started is refused here with a sentence that names the flag, the
variable or the key; without a secret nothing listens or dials beyond loopback.

Worked example: `--listen=10.0.0.7:7201` without --cluster-secret-file is refused.

Tested in tests/unit/cli/test_role_config.py.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kubebraid.base import secret
from kubebraid.base.limits import REQUEST_BYTES_CEILING, TABLETS_MAX
from kubebraid.base.links import Peer
from kubebraid.base.tabletmap import TabletMap
from kubebraid.proto.links.addresses import AddressRefused, check_open, is_literal, parse, resolve
from kubebraid.proto.links.handshake import Identity, IdentityRefused, encode
from kubebraid.router.autosplit import Bounds
from kubebraid.shard.storage.tikv_seam import Tls

from .flag_sources import BadFlags, Values, read_values
from .flag_values import (
    LogConfig,
    advertised_urls,
    front_kind,
    interval_ms,
    listen_urls,
    log_config,
    number,
    size_bytes,
    split,
)
from .layouts import BadLayout, read_layout
from .role_flags import COORDINATOR, ROUTER, SHARD
from .tikv_flags import TIKV, pd_of_engine, store_name, tls_of
from .toml_text import toml_of

if TYPE_CHECKING:
    from kubebraid.proto.fronts import FrontKind

COORDINATORS_COUNTS: Final = (1, 3, 5)
COOLDOWN_MS_MIN: Final = 1_000  # figures are no newer
ANY_HOST: Final = ("0.0.0.0", "::")


@dataclass(frozen=True, slots=True)
class MemberConfig:
    """What every role is told. `coordinators`: name -> address; `print_config`: the effective
    configuration, if it was asked for; `warnings` are to be logged."""

    name: str
    cluster: str
    coordinators: Mapping[str, str]
    secret_file: Path | None
    log: LogConfig
    warnings: tuple[str, ...] = ()
    print_config: str = ""


@dataclass(frozen=True, slots=True)
class CoordinatorConfig:
    """`found`: whether a new cluster begins, with `first_map`."""

    member: MemberConfig
    listen: str
    data_dir: Path
    first_map: TabletMap
    found: bool


@dataclass(frozen=True, slots=True)
class ShardConfig:
    """`advertise` is what routers are told; `tikv_prefix`: of the names of all shards' stores."""

    member: MemberConfig
    listen: str
    advertise: str
    data_dir: Path
    engine: str
    pd: tuple[str, ...] = ()
    tls: Tls | None = None
    tikv_prefix: str = ""


@dataclass(frozen=True, slots=True)
class RouterConfig:
    """URLs are kept as written."""

    member: MemberConfig
    client_urls: tuple[str, ...]
    advertised_urls: tuple[str, ...]
    front: FrontKind
    progress_interval_ms: int
    request_bytes_max: int
    txn_ops_max: int
    auto_split: Bounds


def parse_coordinator(
    argv: Sequence[str], environ: Mapping[str, str] | None = None
) -> CoordinatorConfig:
    """Raises BadFlags; exits for --help, as argparse does."""
    values = read_values(argv, os.environ if environ is None else environ, COORDINATOR)
    member = _member(values)
    if member.name not in member.coordinators:
        names = ", ".join(sorted(member.coordinators))
        raise BadFlags(
            f"{values.named('name')}={member.name} is none of the coordinators that "
            f"{values.named('coordinators')} names: {names}"
        )
    found = values["initial-cluster-state"] == "new"
    shards = split(values["initial-shards"])
    for shard in shards:
        _check_word(values, "initial-shards", shard)
    if len(set(shards)) != len(shards):
        raise BadFlags(f"{values.named('initial-shards')} names a shard twice")
    if found and not shards:
        raise BadFlags(
            "--initial-shards is needed for a new cluster: the names of the shards that its "
            "tablets begin on; a cluster that exists wants --initial-cluster-state=existing"
        )
    return CoordinatorConfig(
        member=member,
        listen=_listen(values, member),
        data_dir=_data_dir(values),
        # Of a cluster that exists it is never used.
        first_map=check_layout(values, shards or ("shard-0",)),
        found=found,
    )


def parse_shard(argv: Sequence[str], environ: Mapping[str, str] | None = None) -> ShardConfig:
    """Raises BadFlags; exits for --help, as argparse does."""
    values = read_values(argv, os.environ if environ is None else environ, SHARD)
    member = _member(values)
    listen = _listen(values, member)
    advertise = listen
    if values["advertise"]:
        _check_address(values, "advertise", values["advertise"], member.secret_file)
        advertise = values["advertise"]
    elif parse(listen).host in ANY_HOST:
        raise BadFlags(
            f"--advertise is needed where {values.named('listen')}={listen} is every address: "
            "routers have to be told one"
        )
    engine = values["engine"]
    return ShardConfig(
        member=member,
        listen=listen,
        advertise=advertise,
        data_dir=Path(values["data-dir"]) if engine == TIKV else _data_dir(values),
        engine=engine,
        pd=pd_of_engine(values),
        tls=tls_of(values),
        tikv_prefix=store_name(values) if values["tikv-store"] else member.cluster,
    )


def parse_router(argv: Sequence[str], environ: Mapping[str, str] | None = None) -> RouterConfig:
    """Raises BadFlags; exits for --help, as argparse does."""
    values = read_values(argv, os.environ if environ is None else environ, ROUTER)
    member = _member(values)
    client_urls = listen_urls(values, "listen-client-urls")
    if not client_urls:
        name = values.named("listen-client-urls")
        raise BadFlags(f"{name} is empty: there would be nothing to serve")
    return RouterConfig(
        member=member,
        client_urls=client_urls,
        advertised_urls=advertised_urls(values, "advertise-client-urls") or client_urls,
        front=front_kind(values["front"]),
        progress_interval_ms=interval_ms(values, "watch-progress-notify-interval"),
        request_bytes_max=number(values, "max-request-bytes", 1, REQUEST_BYTES_CEILING),
        txn_ops_max=number(values, "max-txn-ops", 1, 1 << 16),
        auto_split=auto_split(values),
    )


def load_secret(member: MemberConfig) -> bytes | None:
    """What the cluster's processes have in common; None without one. Raises SecretRefused."""
    return None if member.secret_file is None else secret.load(member.secret_file)


def auto_split(values: Values) -> Bounds:
    """When a router splits a tablet by itself. Raises BadFlags."""
    cooldown_ms = interval_ms(values, "auto-split-cooldown")
    if cooldown_ms < COOLDOWN_MS_MIN:
        told = f"{values.named('auto-split-cooldown')}={values['auto-split-cooldown']}"
        raise BadFlags(f"{told} is too short: 1s or more")
    return Bounds(
        bytes=size_bytes(values, "auto-split-bytes"),
        writes=number(values, "auto-split-writes", 0, 1 << 31),
        tablets_max=number(values, "auto-split-tablets-max", 1, TABLETS_MAX),
        cooldown_ms=cooldown_ms,
    )


def check_layout(values: Values, shards: Sequence[str]) -> TabletMap:
    """The first map that --tablets stands for. Raises BadFlags."""
    try:
        return read_layout(values["tablets"], shards)
    except BadLayout as error:
        raise BadFlags(f"{values.named('tablets')}: {error}; {error.hint}") from error


# -- what every role is told ----------------------------------------------------------------------


def _member(values: Values) -> MemberConfig:
    name, cluster = _needed(values, "name"), values["cluster-name"]
    _check_word(values, "name", name)
    _check_word(values, "cluster-name", cluster)
    path = values["cluster-secret-file"]
    secret_file = Path(path) if path else None
    asked = values["print-config"] not in ("", "false")
    return MemberConfig(
        name=name,
        cluster=cluster,
        coordinators=_coordinators(values, secret_file),
        secret_file=secret_file,
        log=log_config(values),
        warnings=values.warnings,
        print_config=toml_of(values) if asked else "",
    )


def _needed(values: Values, name: str) -> str:
    if not values[name]:
        text = values.command.by_name[name].text
        raise BadFlags(f"--{name} is needed: {text}")
    return values[name]


def _check_word(values: Values, name: str, word: str) -> None:
    """A name as links carry it."""
    try:
        encode(Identity(Peer("router", word, 0), word))
    except IdentityRefused as error:
        raise BadFlags(f"{values.named(name)}: {error}; use letters, digits, . _ and -") from error


def _coordinators(values: Values, secret_file: Path | None) -> dict[str, str]:
    named = values.named("coordinators")
    members: dict[str, str] = {}
    for part in split(_needed(values, "coordinators")):
        name, equals, address = part.partition("=")
        if not equals:
            raise BadFlags(f"{named}: {part!r} is not name=host:port")
        _check_word(values, "coordinators", name)
        _check_address(values, "coordinators", address, secret_file)
        if name in members or address in members.values():
            raise BadFlags(f"{named} has {name if name in members else address} twice")
        members[name] = address
    if len(members) not in COORDINATORS_COUNTS:
        raise BadFlags(f"{named} names {len(members)} coordinators; a cluster has 1, 3 or 5")
    return members


def _listen(values: Values, member: MemberConfig) -> str:
    address = _needed(values, "listen")
    _check_address(values, "listen", address, member.secret_file)
    return address


def _check_address(values: Values, name: str, text: str, secret_file: Path | None) -> None:
    """Names are left to the process that uses them: to resolve one may take long."""
    try:
        address = parse(text)
        if secret_file is None and is_literal(address):
            check_open(address, resolve(address))
    except AddressRefused as error:
        raise BadFlags(f"{values.named(name)}: {error}; {error.hint}") from error
    if address.port == 0:
        raise BadFlags(f"{values.named(name)}: {text} has no port that others could know")


def _data_dir(values: Values) -> Path:
    return Path(_needed(values, "data-dir"))
