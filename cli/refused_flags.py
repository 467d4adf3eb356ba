"""etcd's flags that serve does not have: why not, and what to do instead.

What it is: a table, so that whoever brings a working etcd command line learns of each promise that
would not be kept. What it is not: the flags there are (`flags.py`).

Invariants: every flag of etcd 3.7 is either there or here; what is refused is never half obeyed.

Worked example: `--initial-cluster=a=http://a:2380` is refused with "there are no peers: ...".

Source: `etcd --help` of 3.7.3, and the flags that 3.5 and 3.6 still had. Tested in
tests/unit/cli/test_serve_config.py, tests/e2e/test_serve_flags.py.
"""

from __future__ import annotations

from typing import Final

_ALONE: Final = (
    "this is one server without peers; leave the flag out, and back its disk up or replicate it"
)
_RAFT: Final = "no election and no heartbeat take place in one process; leave the flag out"
_RAFT_LOG: Final = "there is no Raft log beside the store; everything lies below --data-dir"
_TLS: Final = (
    "TLS is not there yet; serve on 127.0.0.1 or a unix:// socket, or behind a proxy that ends TLS"
)
_PEER_TLS: Final = "there are no peers to talk to, with TLS or without; leave the flag out"
_AUTH: Final = "users and roles are not there; limit access by network, or by a unix:// socket"
_BACKEND: Final = "bbolt's settings mean nothing to RocksDB; leave the flag out"
_SYNC: Final = "an acknowledged write is on disk, always; --engine=memory keeps nothing, for tests"
_PROXY: Final = "there is no proxy mode, as in etcd since 3.6; point clients at the server itself"
_TRANSPORT: Final = "gRPC's keep-alive and sockets are not adjustable; leave the flag out"
_HTTP: Final = "only gRPC is served to clients, without a JSON gateway; leave the flag out"
_CHECKS: Final = "there are no members whose copies could be compared; leave the flag out"
_COMPACTION: Final = "history is removed in bounded slices between requests; leave the flag out"
_WARNING: Final = "turns of the loop above 100 ms are logged, whatever takes them; leave it out"
_TRACING: Final = "there is no tracing and no profiler; /metrics has the figures"
_LOG: Final = "use --log-level, --log-format and --log-outputs, and leave rotation to the system"
_FEATURES: Final = "etcd's feature gates are not there; leave the flag out"
_EXPERIMENTAL: Final = (
    "experimental flags are not there; since etcd 3.6 they have plain names, "
    "such as --watch-progress-notify-interval"
)
_LEGACY: Final = "etcd's v2 store was never there; leave the flag out"

# A name that ends with * stands for all that begin so; the first entry that fits counts.
REFUSED: Final = {
    "version": "ask 'kubebraid version'",
    "initial-election-tick-advance": _RAFT,
    "initial-*": _ALONE,
    "listen-peer-urls": _ALONE,
    "discovery*": _ALONE,
    "strict-reconfig-check": _ALONE,
    "force-new-cluster": _ALONE,
    "max-learners": _ALONE,
    "heartbeat-interval": _RAFT,
    "election-timeout": _RAFT,
    "pre-vote": _RAFT,
    "raft-*": _RAFT,
    "snapshot-*": _RAFT_LOG,
    "wal-dir": _RAFT_LOG,
    "max-snapshots": _RAFT_LOG,
    "max-wals": _RAFT_LOG,
    "cert-file": _TLS,
    "key-file": _TLS,
    "client-cert-*": _TLS,
    "client-key-file": _TLS,
    "client-crl-file": _TLS,
    "client-transport-security": _TLS,  # of a configuration file, as peer-transport-security
    "trusted-ca-file": _TLS,
    "auto-tls": _TLS,
    "ca-file": _TLS,
    "cipher-suites": _TLS,
    "tls-*": _TLS,
    "self-signed-cert-validity": _TLS,
    "peer-*": _PEER_TLS,
    "auth-*": _AUTH,
    "bcrypt-cost": _AUTH,
    "backend-*": _BACKEND,
    "bootstrap-defrag-threshold-megabytes": _BACKEND,
    "memory-mlock": _BACKEND,
    "unsafe-no-fsync": _SYNC,
    "proxy*": _PROXY,
    "gateway*": _PROXY,
    "grpc-*": _TRANSPORT,
    "max-concurrent-streams": _TRANSPORT,
    "socket-*": _TRANSPORT,
    "enable-grpc-gateway": _HTTP,
    "listen-client-http-urls": _HTTP,
    "cors": _HTTP,
    "host-whitelist": _HTTP,
    "corrupt-check-time": _CHECKS,
    "compact-hash-check-*": _CHECKS,
    "downgrade-check-time": _CHECKS,
    "compaction-*": _COMPACTION,
    "warning-*": _WARNING,
    "enable-pprof": _TRACING,
    "metrics": _TRACING,
    "enable-distributed-tracing": _TRACING,
    "distributed-tracing-*": _TRACING,
    "logger": _LOG,
    "log-rotation-config-json": _LOG,
    "log-package-levels": _LOG,
    "enable-log-rotation": _LOG,
    "debug": _LOG,
    "feature-gates": _FEATURES,
    "experimental-*": _EXPERIMENTAL,
    "enable-v2": _LEGACY,
    "v2-deprecation": _LEGACY,
}


def why_refused(name: str) -> str | None:
    """The sentence for a flag of etcd that is not there; None for any other name."""
    for pattern, sentence in REFUSED.items():
        if pattern == name or (pattern.endswith("*") and name.startswith(pattern[:-1])):
            return sentence
    return None
