"""The tables of the flags of `coordinator`, `shard`, `router` and `dev-cluster`.

What it is: data, as `flags.py` is for serve. What it is not: what a value means (`role_config.py`,
`dev/config.py`).

Invariants: a flag that two commands have means the same in both, but perhaps for its default;
docs/operating/roles.md and dev-cluster.md list the same tables.

Worked example: `--listen` of a shard, else KUBEBRAID_LISTEN, else the key `listen` of its
configuration file; it has no default, so without any of them the shard does not start.

Tested in tests/unit/cli/test_role_config.py, tests/unit/cli/test_dev_config.py.
"""

from __future__ import annotations

from typing import Final

from kubebraid.base.limits import PROGRESS_INTERVAL_MS, REQUEST_BYTES_MAX, TXN_OPS_MAX

from .flags import ENGINE, Command, Flag
from .logs import FORMATS, LEVELS, OUTPUTS

_FILE: Final = (
    Flag("config-file", "", "a .toml file with these names as keys; flags and variables win"),
    Flag("print-config", "", "print the effective configuration as TOML, and end", switch=True),
)
_LOG: Final = (
    Flag("log-level", "info", "what is logged: this and worse", tuple(LEVELS)),
    Flag("log-format", "json", "json or console, a line an event", FORMATS),
)
_MEMBER: Final = (
    Flag("name", "", "the name of this process in its cluster; it stays over restarts"),
    Flag("cluster-name", "kubebraid", "the name of the cluster, the same for all of its processes"),
    Flag(
        "coordinators",
        "",
        "all coordinators, 1, 3 or 5 of them: name=host:port,name=host:port,...",
    ),
    Flag(
        "cluster-secret-file",
        "",
        "the file of the cluster's secret; without it links stay on loopback",
    ),
)
_OUTPUTS: Final = Flag("log-outputs", "default", "where the log goes; default is stderr", OUTPUTS)
_TABLETS: Final = Flag(
    "tablets",
    "kubernetes",
    "layout of a new cluster: kubernetes, single, prefixes, or a file of them; "
    "a prefix may have hash buckets: /registry/events/=4",
)
# Of a router; dev-cluster hands them on to its routers.
ROUTER_PASSED: Final = (
    Flag(
        "front",
        "auto",
        "what carries gRPC; auto is native where it is installed",
        ("auto", "native", "grpcio"),
    ),
    Flag(
        "watch-progress-notify-interval",
        f"{PROGRESS_INTERVAL_MS // 60_000}m",
        "how often idle watches that asked for it are told the revision",
    ),
    Flag("max-request-bytes", str(REQUEST_BYTES_MAX), "the largest write, in bytes"),
    Flag("max-txn-ops", str(TXN_OPS_MAX), "the most operations in a branch of a transaction"),
    Flag("auto-split-bytes", "0", "split a tablet that has more, like 4GiB; 0 is off"),
    Flag("auto-split-writes", "0", "split a tablet that has more writes a second; 0 is off"),
    Flag("auto-split-tablets-max", "256", "nothing is split by itself from so many tablets on"),
    Flag("auto-split-cooldown", "5m", "how long after a split none is made by itself"),
)

COORDINATOR: Final = Command(
    "coordinator",
    "Run one of the coordinators of a cluster: the map, the leases and the sequencer.",
    (
        *_MEMBER,
        Flag("listen", "", "host:port for the other processes of the cluster"),
        Flag("data-dir", "", "where its log is kept"),
        Flag(
            "initial-cluster-state",
            "new",
            "new on the very first start of a cluster alone, existing ever after",
            ("new", "existing"),
        ),
        Flag("initial-shards", "", "the shards of a new cluster: name,name,..."),
        _TABLETS,
        *_FILE,
        *_LOG,
        _OUTPUTS,
    ),
)
SHARD: Final = Command(
    "shard",
    "Run a shard of a cluster: the owner of some of its tablets.",
    (
        *_MEMBER,
        Flag("listen", "", "host:port for the routers"),
        Flag("advertise", "", "host:port that the routers are told; empty is --listen"),
        Flag("data-dir", "", "where its tablets are kept; not used with --engine=tikv"),
        *ENGINE,
        Flag(
            "tikv-store",
            "",
            "what its store's name in TiKV begins with; empty is the cluster's name",
        ),
        *_FILE,
        *_LOG,
        _OUTPUTS,
    ),
)
ROUTER: Final = Command(
    "router",
    "Run a router of a cluster: it serves the etcd v3 API, and keeps nothing.",
    (
        *_MEMBER,
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
        *ROUTER_PASSED,
        *_FILE,
        *_LOG,
        _OUTPUTS,
    ),
)
DEV_CLUSTER: Final = Command(
    "dev-cluster",
    "Run a whole cluster on this machine, a process a role, and keep it running.",
    (
        Flag("coordinators", "3", "how many: 1, 3 or 5"),
        Flag("shards", "3", "how many"),
        Flag("routers", "2", "how many"),
        *ENGINE,
        Flag(
            "tikv-store",
            "",
            "what its stores' names in TiKV begin with; empty: one is drawn, and kept",
        ),
        Flag(
            "tikv-bin",
            "",
            "folder of tikv-pd and tikv-store, which are then started too: instead of --pd",
        ),
        Flag("base-port", "", "routers listen from this port on; empty: any free ports, kept"),
        Flag("data-dir", "dev.kubebraid", "where everything is kept: data, logs, secret"),
        Flag("state-file", "", "JSON of what runs; empty is state.json in the data directory"),
        _TABLETS,
        Flag("no-restart", "", "leave a process that ended as it is", switch=True),
        *ROUTER_PASSED,
        *_FILE,
        *_LOG,
    ),
)
for _command in (COORDINATOR, SHARD, ROUTER, DEV_CLUSTER):
    assert len(_command.by_name) == len(_command.flags), f"{_command.name}: a name stands once"
