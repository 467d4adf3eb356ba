"""The flags of the engine on TiKV: where it is, and the name of a store in it.

What it is: what serve, shard and dev-cluster have in common there. What it is not: the tables of
flags (`flags.py`, `role_flags.py`), or the engine.

Invariants: files of TLS were read, and fit, before anything connects; a shard's store has a slash
in its name and serve's has none, so that neither opens the other's; two shards of one cluster never
have the same.

Worked example: shard-1 of the cluster `prod` keeps its rows in the store `prod/shard-1`.

Tested in tests/unit/cli/test_serve_config.py, tests/unit/cli/test_role_config.py.
"""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from typing import Final

from kubebraid.shard.storage.tikv_seam import Tls

from .flag_sources import BadFlags, Values

TIKV: Final = "tikv"
TLS: Final = ("tikv-cacert", "tikv-cert", "tikv-key")
_ADDRESS: Final = re.compile(r"(\[[0-9a-fA-F:]+\]|[^\s:/\[\]]+):\d{1,5}")
_NAME: Final = re.compile(r"[\w.-]{1,100}", re.ASCII)


def pd_of_engine(values: Values) -> tuple[str, ...]:
    """Where TiKV's PD listens; needed for that engine, and for no other. Raises BadFlags."""
    if (values["engine"] == TIKV) != bool(values["pd"]):
        raise BadFlags(f"--engine=tikv and {values.named('pd')} need each other")
    return pd_addresses(values)


def pd_addresses(values: Values) -> tuple[str, ...]:
    """HOST:PORT of each; none where nothing was said. Raises BadFlags."""
    return addresses_of(values.named("pd"), values["pd"])


def addresses_of(name: str, text: str) -> tuple[str, ...]:
    """The same of a text; `name`: how the operator knows the flag. Raises BadFlags."""
    addresses = tuple(word.strip() for word in text.split(",")) if text else ()
    for address in addresses:
        if not _ADDRESS.fullmatch(address):
            raise BadFlags(f"{name}: {address!r} is no HOST:PORT")
    return addresses


def tls_of(values: Values) -> Tls | None:
    """Absolute paths; None where nothing was said. Raises BadFlags."""
    told = [values.named(name) for name in TLS if values[name]]
    if not told:
        return None
    if not values["pd"]:
        raise BadFlags(f"{', '.join(told)}: {values.named('pd')} is not there")
    if len(told) < len(TLS):
        raise BadFlags(f"TLS to TiKV needs all of {', '.join(map(values.named, TLS))}")
    tls = Tls(*(_readable(values, name) for name in TLS))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(tls.ca)
    except ssl.SSLError as error:
        raise BadFlags(f"{_said(values, TLS[0])} is no certificate in PEM") from error
    try:
        context.load_cert_chain(tls.cert, tls.key, password="")
    except ssl.SSLError as error:
        names = " and ".join(_said(values, name) for name in TLS[1:])
        why = "are no certificate and its private key, in PEM and without a password"
        raise BadFlags(f"{names} {why}") from error
    return tls


def tls_flags(tls: Tls | None) -> tuple[str, ...]:
    """What tells it to a child."""
    return tuple(f"--{name}={path}" for name, path in zip(TLS, tls, strict=True)) if tls else ()


def _readable(values: Values, name: str) -> str:
    path = Path(values[name]).absolute()
    try:
        path.read_bytes()
    except OSError as error:
        raise BadFlags(f"{_said(values, name)}: {error.strerror}") from error
    return str(path)


def _said(values: Values, name: str) -> str:
    return f"{values.named(name)}={values[name]}"


def store_name(values: Values) -> str:
    """As it was told. Raises BadFlags."""
    text = values["tikv-store"]
    if not _NAME.fullmatch(text):
        raise BadFlags(
            f"{values.named('tikv-store')}={text} is no name: letters, digits, -, _ and ."
        )
    return text


def shard_store(prefix: str, shard: str) -> str:
    """The name of a shard's own store."""
    return f"{prefix}/{shard}"
