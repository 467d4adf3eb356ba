"""The table of serve's flags: the one place that names them, their defaults and their variables.

What it is: data, and what a command is to the reader of flags. What it is not: what a value means
(`serve_config.py`), the flags of the other commands (`role_flags.py`), or the flags of etcd that
are not there (`refused_flags.py`).

Words: a *value* is text as an operator writes it, wherever: flags, variables and files agree.

Invariants: a name stands once; every flag has a variable under each prefix; docs/operating/serve.md
lists the same table.

Worked example: `--data-dir`, else KUBEBRAID_DATA_DIR, else ETCD_DATA_DIR, else `default.kubebraid`.

Tested in tests/unit/cli/test_serve_config.py.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from kubebraid.base.limits import PROGRESS_INTERVAL_MS, REQUEST_BYTES_MAX, TXN_OPS_MAX

from .logs import FORMATS, LEVELS, OUTPUTS

PREFIXES: Final = ("KUBEBRAID_", "ETCD_")  # of variables; the first one wins
# Variables of a process that stand for no flag; whoever starts processes hands them on.
HANDED_ON: Final = frozenset(("KUBEBRAID_TIKV_CLIENT",))


def handed_on(environ: Mapping[str, str], configuring: tuple[str, ...]) -> dict[str, str]:
    """The environment of a child: without variables that begin so and would stand for its flags."""
    return {
        name: value
        for name, value in environ.items()
        if name in HANDED_ON or not name.startswith(configuring)
    }


class Flag(NamedTuple):
    """One flag. `name` is without dashes before it; without `choices` any text may come.

    A `switch` takes no value on the command line: there it means true."""

    name: str
    default: str
    text: str
    choices: tuple[str, ...] = ()
    switch: bool = False

    def variable(self, prefix: str) -> str:
        """The name of its variable."""
        return prefix + self.name.upper().replace("-", "_")


class Command(NamedTuple):
    """A command that takes flags. `like_etcd`: it stands where an etcd stood, so that etcd's
    variables count as well, its other flags are refused by name, and a configuration file is the
    whole configuration; elsewhere flags and variables win over the file."""

    name: str
    about: str
    flags: tuple[Flag, ...]
    like_etcd: bool = False

    @property
    def by_name(self) -> dict[str, Flag]:
        """Its flags."""
        return {flag.name: flag for flag in self.flags}

    @property
    def prefixes(self) -> tuple[str, ...]:
        """Of its variables; the first one wins."""
        return PREFIXES if self.like_etcd else PREFIXES[:1]


# Of whoever keeps rows; dev-cluster hands them on to its shards.
ENGINE: Final = (
    Flag(
        "engine",
        "rocksdb",
        "memory keeps nothing: for tests; tikv needs --pd and a client (docs/operating/tikv.md)",
        ("rocksdb", "memory", "tikv"),
    ),
    Flag("pd", "", "HOST:PORT of TiKV's PD, several separated by commas: for --engine=tikv"),
    Flag("tikv-cacert", "", "PEM file of who signs what PD and TiKV show: speak TLS to them"),
    Flag("tikv-cert", "", "PEM file of the certificate that they are shown"),
    Flag("tikv-key", "", "PEM file of its private key, which has no password"),
)
FLAGS: Final = (
    Flag("data-dir", "default.kubebraid", "where everything is kept"),
    Flag(
        "listen-client-urls",
        "http://127.0.0.1:2379",
        "comma-separated URLs for etcd clients: http://host:port or unix:///path",
    ),
    Flag(
        "advertise-client-urls",
        "",
        "what MemberList tells clients to use; empty is the listen URLs",
    ),
    Flag(
        "listen-metrics-urls",
        "",
        "comma-separated URLs of /metrics, /health, /livez, /readyz and /version",
    ),
    Flag("name", "default", "the name of this member"),
    Flag(
        "config-file",
        "",
        "a YAML file (or .toml) with these names as keys; other flags and variables are ignored",
    ),
    Flag(
        "front",
        "auto",
        "what carries gRPC; auto is native where it is installed",
        ("auto", "native", "grpcio"),
    ),
    *ENGINE,
    Flag("tikv-store", "kubebraid", "name of the store in TiKV: one process serves it at a time"),
    Flag(
        "tablets",
        "kubernetes",
        "layout of a new store: kubernetes, single, a list of prefixes, or a file of them",
    ),
    Flag(
        "auto-compaction-mode",
        "periodic",
        "whether the retention is a time or a number of revisions",
        ("periodic", "revision"),
    ),
    Flag(
        "auto-compaction-retention",
        "0",
        "how much history stays: hours or a duration like 30m, or revisions; 0 is off",
    ),
    Flag(
        "watch-progress-notify-interval",
        f"{PROGRESS_INTERVAL_MS // 60_000}m",
        "how often idle watches that asked for it are told the revision",
    ),
    Flag(
        "quota-backend-bytes",
        "0",
        "refuse writes beyond so many bytes on disk; 0 (etcd: 2 GiB) and below are no quota",
    ),
    Flag("max-request-bytes", str(REQUEST_BYTES_MAX), "the largest write, in bytes"),
    Flag("max-txn-ops", str(TXN_OPS_MAX), "the most operations in a branch of a transaction"),
    Flag("log-level", "info", "what is logged: this and worse", tuple(LEVELS)),
    Flag("log-format", "json", "json or console, a line an event", FORMATS),
    Flag("log-outputs", "default", "where the log goes; default is stderr", OUTPUTS),
)
BY_NAME: Final = {flag.name: flag for flag in FLAGS}
assert len(BY_NAME) == len(FLAGS), "a name stands once"
SERVE: Final = Command(
    "serve", "Serve the etcd v3 API from one process, on one data directory.", FLAGS, like_etcd=True
)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that a misspelt one was probably meant to be."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.7)
    return found[0] if found else None
