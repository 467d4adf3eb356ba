"""The command `kubebraid`: picks a subcommand and runs it.

Exit codes: what the subcommand says; 2 for an unknown one.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from kubebraid import VERSION

USAGE = """usage: kubebraid COMMAND [FLAGS]

commands:
  serve        serve the etcd v3 API from one process, on one data directory
  dev-cluster  run a whole cluster on this machine, a process a role
  coordinator  run one role of a cluster: the map and the sequencer,
  shard        ... the owner of some of its tablets,
  router       ... or what serves the etcd v3 API
  ctl          operate a store: status, shards, tablets, coordinators, resharding; snapshot restore
               or status, data check
  bench        measure it beside a real etcd
  version      print the version
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the console script."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not __debug__:
        print("kubebraid: refuses to run with -O: its assertions guard your data", file=sys.stderr)
        return 2
    match arguments[:1]:
        case ["serve"]:
            # Imported here so that `version` and usage errors need no engine.
            from kubebraid.cli.serve import serve

            return serve(arguments[1:])
        case ["coordinator" | "shard" | "router", *_]:
            from kubebraid.cli.roles import role

            return role(arguments)
        case ["dev-cluster", *_]:
            from kubebraid.cli.dev.command import dev_cluster

            return dev_cluster(arguments[1:])
        case ["ctl"]:
            return ctl(arguments[1:])
        case ["bench"]:
            from kubebraid.cli.bench.command import bench

            return bench(arguments[1:])
        case ["version" | "--version"]:
            print(VERSION)
            return 0
        case ["-h" | "--help" | "help"]:
            print(USAGE, end="")
            return 0
        case [unknown]:
            print(f"kubebraid: unknown command {unknown!r}\n{USAGE}", end="", file=sys.stderr)
            return 2
        case _:
            print(USAGE, end="", file=sys.stderr)
            return 2


def ctl(arguments: Sequence[str]) -> int:
    """The operator's commands: a noun, then a verb."""
    match arguments[:1]:
        case ["snapshot"]:
            from kubebraid.cli.snapshot import snapshot

            return snapshot(arguments[1:])
        case ["data"]:
            from kubebraid.cli.data_check import data

            return data(arguments[1:])
        case ["tikv-borders"]:
            from kubebraid.cli.tikv_borders import borders

            return borders(arguments[1:])
        case []:
            known = (
                "kubebraid ctl: the nouns are: status, shard, tablet, reshard, rebalance, "
                "coordinator (of a running store), snapshot (restore FILE --data-dir DIR, status "
                "FILE), data (check DIR), tikv-borders"
            )
            print(known, file=sys.stderr)
            return 2
        case _:
            from kubebraid.cli.ctl.command import operate

            return operate(arguments)


if __name__ == "__main__":
    sys.exit(main())
