"""The flags of serve: what wins over what, and that nothing unservable gets past them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from kubebraid.base.limits import PROGRESS_INTERVAL_MS
from kubebraid.cli.flag_sources import BadFlags, read_values
from kubebraid.cli.flag_values import LogConfig
from kubebraid.cli.flags import BY_NAME, FLAGS
from kubebraid.cli.layouts import read_layout
from kubebraid.cli.node import SHARD
from kubebraid.cli.refused_flags import REFUSED, why_refused
from kubebraid.cli.serve_config import ServeConfig, parse_serve
from kubebraid.coordinator.autocompact import HOUR_MS, Retention

ROOT: Final = Path(__file__).resolve().parents[3]


def parse(*argv: str, **environ: str) -> ServeConfig:
    return parse_serve(argv, environ)


def test_without_flags_the_documented_defaults_hold() -> None:
    config = parse()
    assert config.data_dir == Path("default.kubebraid")
    assert config.client_urls == ("http://127.0.0.1:2379",)
    assert config.metrics_urls == ()
    assert (config.name, config.front, config.engine) == ("default", "auto", "rocksdb")
    assert config.first_map == read_layout("kubernetes", SHARD)
    assert config.progress_interval_ms == PROGRESS_INTERVAL_MS == 600_000
    assert config.advertised_urls == config.client_urls
    assert config.retention == Retention("periodic", 0)
    assert config.log == LogConfig("info", "json", "default")
    assert config.warnings == ()


def test_every_flag_is_taken() -> None:
    config = parse(
        "--data-dir=/data",
        "--listen-client-urls=http://a:1, http://[::1]:2",
        "--listen-metrics-urls=http://b:3",
        "--name=one",
        "--front=grpcio",
        "--engine=memory",
        "--tablets=single",
        "--watch-progress-notify-interval=5s",
        "--advertise-client-urls=https://a.example:443,unix:///run/a",
        "--auto-compaction-mode=revision",
        "--auto-compaction-retention=1000",
        "--log-level=debug",
        "--log-format=console",
        "--log-outputs=stdout",
    )
    assert config.data_dir == Path("/data")
    assert config.advertised_urls == ("https://a.example:443", "unix:///run/a")
    assert config.retention == Retention("revision", 1_000)
    assert config.log == LogConfig("debug", "console", "stdout")
    assert config.client_urls == ("http://a:1", "http://[::1]:2")
    assert config.metrics_urls == ("http://b:3",)
    assert (config.name, config.front, config.engine) == ("one", "grpcio", "memory")
    assert len(config.first_map.tablets) == 1
    assert config.progress_interval_ms == 5_000


def test_store_in_tikv_is_named_and_found_by_its_pd() -> None:
    config = parse("--engine=tikv", "--pd=a:1, [::1]:2", "--tikv-store=one.two")
    assert (config.engine, config.pd, config.tikv_store) == (
        "tikv",
        ("a:1", "[::1]:2"),
        "one.two",
    )


def test_flag_wins_over_environment_and_environment_over_default() -> None:
    environ = {"KUBEBRAID_NAME": "env", "KUBEBRAID_DATA_DIR": "/env"}
    config = parse("--name=flag", **environ)
    assert (config.name, config.data_dir) == ("flag", Path("/env"))


def test_our_variable_wins_over_etcds() -> None:
    config = parse(KUBEBRAID_NAME="ours", ETCD_NAME="etcds", ETCD_DATA_DIR="/etcds")
    assert (config.name, config.data_dir) == ("ours", Path("/etcds"))


@pytest.mark.parametrize("prefix", ["KUBEBRAID_", "ETCD_"])
def test_every_flag_has_both_variables(prefix: str) -> None:
    for flag in FLAGS:
        if flag.name != "config-file":  # has a test of its own
            value = flag.choices[-1] if flag.choices else "any text"
            values = read_values([], {flag.variable(prefix): value})
            assert (values[flag.name], values.named(flag.name)) == (value, flag.variable(prefix))


def test_empty_variable_is_one_that_is_not_set() -> None:
    """As in etcd; container manifests have many of them."""
    config = parse(KUBEBRAID_NAME="", ETCD_NAME="etcds", ETCD_LOG_LEVEL="")
    assert (config.name, config.log.level) == ("etcds", "info")


def test_environment_is_checked_as_a_flag_is() -> None:
    with pytest.raises(BadFlags, match="KUBEBRAID_ENGINE=bolt is none of rocksdb, memory"):
        parse(KUBEBRAID_ENGINE="bolt")
    with pytest.raises(BadFlags, match="ETCD_WATCH_PROGRESS_NOTIFY_INTERVAL=5 is no duration"):
        parse(ETCD_WATCH_PROGRESS_NOTIFY_INTERVAL="5")


def test_unknown_variable_of_ours_is_warned_of_with_the_nearest_name() -> None:
    assert parse(KUBEBRAID_DATADIR="/x", KUBEBRAID_HELP="1").warnings == (
        "unknown variable KUBEBRAID_DATADIR; did you mean KUBEBRAID_DATA_DIR",
        "unknown variable KUBEBRAID_HELP",
    )


def test_variables_of_others_are_ignored_in_silence() -> None:
    """etcdctl's, those of images, and what Kubernetes sets for Services."""
    config = parse(
        ETCDCTL_ENDPOINTS="http://a:1",
        ETCD_VERSION="3.7.3",
        ETCD_UNSUPPORTED_ARCH="arm",
        ETCD_CLIENT_DEBUG="debug",
        ETCD_PEER_SERVICE_HOST="10.0.0.1",
        ETCD_PEER_PORT="tcp://10.0.0.1:2380",
        ETCD_PEER_PORT_2380_TCP_ADDR="10.0.0.1",
        KUBEBRAID_SERVICE_PORT_HTTP="2379",
        KUBEBRAID_PORT="tcp://10.0.0.2:2379",
    )
    assert config == parse()


def test_etcds_variable_for_what_is_not_there_is_refused() -> None:
    with pytest.raises(BadFlags, match=r"ETCD_INITIAL_CLUSTER is a flag of etcd .* without peers"):
        parse(ETCD_INITIAL_CLUSTER="a=http://a:2380")
    with pytest.raises(BadFlags, match=r"ETCD_CERT_FILE .*TLS is not there yet") as caught:
        parse(ETCD_CERT_FILE="/c", ETCD_KEY_FILE="/k", ETCD_WAL_DIR="/w")
    assert "nor is there ETCD_KEY_FILE, ETCD_WAL_DIR" in str(caught.value)


def test_etcds_variable_that_asks_for_nothing_is_no_matter() -> None:
    assert parse(ETCD_FORCE_NEW_CLUSTER="false", ETCD_WAL_DIR="").warnings == ()


# Every flag of `etcd --help`, 3.7.3, that is not a flag of ours; the e2e suite asks a real etcd.
ETCDS_OWN: Final = """
    wal-dir snapshot-count heartbeat-interval election-timeout initial-election-tick-advance
    listen-peer-urls listen-client-http-urls max-snapshots max-wals memory-mlock
    backend-bbolt-freelist-type backend-batch-interval backend-batch-limit max-concurrent-streams
    grpc-keepalive-min-time grpc-keepalive-interval grpc-keepalive-timeout socket-reuse-port
    socket-reuse-address enable-grpc-gateway raft-read-timeout raft-write-timeout feature-gates
    initial-advertise-peer-urls initial-cluster initial-cluster-state initial-cluster-token
    discovery discovery-token discovery-endpoints discovery-srv discovery-srv-name discovery-proxy
    strict-reconfig-check pre-vote v2-deprecation cert-file key-file client-cert-auth
    client-cert-file client-key-file client-crl-file client-cert-allowed-hostname trusted-ca-file
    auto-tls peer-cert-file peer-key-file peer-client-cert-auth peer-trusted-ca-file peer-auto-tls
    self-signed-cert-validity cipher-suites cors host-whitelist tls-min-version tls-max-version
    auth-token bcrypt-cost auth-token-ttl enable-pprof metrics logger enable-log-rotation
    log-rotation-config-json warning-unary-request-duration enable-distributed-tracing
    distributed-tracing-address corrupt-check-time compact-hash-check-time compaction-batch-limit
    experimental-watch-progress-notify-interval proxy proxy-dial-timeout
    warning-apply-duration bootstrap-defrag-threshold-megabytes max-learners
    snapshot-catchup-entries compaction-sleep-interval downgrade-check-time force-new-cluster
    unsafe-no-fsync version
"""


@pytest.mark.parametrize("name", ETCDS_OWN.split())
def test_flag_of_etcd_that_is_not_there_is_refused_with_what_to_do(name: str) -> None:
    for argv in ([f"--{name}=a=http://b:1"], [f"--{name}", "a=http://b:1"], [f"--{name}"]):
        with pytest.raises(
            BadFlags, match=f"^--{name} is a flag of etcd that is not there: ."
        ) as caught:
            parse(*argv)
        assert len(str(caught.value)) < 250


def test_no_flag_is_both_there_and_refused() -> None:
    assert [name for name in BY_NAME if why_refused(name)] == []
    for sentence in REFUSED.values():
        assert "\n" not in sentence
        assert not sentence.endswith(".")


def test_several_refused_flags_are_named_at_once() -> None:
    """Whoever brings a line of etcd's should not need one try a flag."""
    with pytest.raises(BadFlags) as caught:
        parse(
            "--name=a", "--initial-cluster", "a=http://a:1", "--pre-vote", "--wal-dir=/w", "--nam=x"
        )
    assert str(caught.value).endswith("(nor is there --pre-vote, --wal-dir)")


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("--nam=a", "unknown flag --nam; did you mean --name"),
        ("-data-dir=a", "unknown flag --data-dir; did you mean --data-dir"),
        ("--listen-client-url=http://a:1", "did you mean --listen-client-urls"),
        ("--no-such-flag", "unknown flag --no-such-flag$"),
        ("stray", "'stray' is no flag: flags begin with --"),
    ],
)
def test_unknown_flag_is_refused_with_the_nearest_name(word: str, sentence: str) -> None:
    with pytest.raises(BadFlags, match=sentence):
        parse(word)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--name=a", "--name=b"], "--name is given twice"),
        (["--name=a", "--name=a"], "--name is given twice"),
        (["--name"], "expected one argument"),
        (["--front=http2"], "--front=http2 is none of auto, native, grpcio"),
        (["--engine=bolt"], "--engine=bolt is none of"),
        (["--engine=tikv"], "--engine=tikv and --pd need each other"),
        (["--pd=a:1"], "--engine=tikv and --pd need each other"),
        (["--engine=tikv", "--pd=a"], "'a' is no HOST:PORT"),
        (["--engine=tikv", "--pd=a:1,"], "'' is no HOST:PORT"),
        (["--engine=tikv", "--pd=http://a:1"], "is no HOST:PORT"),
        (["--tikv-store="], "--tikv-store= is no name"),
        (["--tikv-store=a b"], "--tikv-store=a b is no name"),
        (["--log-level=loud"], "--log-level=loud is none of debug, info, warn, error"),
        (["--log-format=xml"], "none of json, console"),
        (["--log-outputs=/var/log/x"], "none of default, stderr, stdout"),
        (["--auto-compaction-mode=hourly"], "none of periodic, revision"),
        (["--tablets=nothing-such"], "no layout"),
        (["--listen-client-urls="], "nothing to serve"),
        (["--listen-client-urls=,"], "nothing to serve"),
        (["--listen-client-urls=https://a:1"], "TLS"),
        (["--listen-client-urls=a:1"], "scheme must be http or unix"),
        (["--listen-client-urls=http://a"], "host and port are both needed"),
        (["--listen-client-urls=http://a:99999"], "the port is no number"),
        (["--listen-client-urls=http://a:1/path"], "only host and port"),
        (["--listen-client-urls=unixs:///x"], "TLS is not there yet, use unix"),
        (["--listen-client-urls=unix://"], "a path must follow"),
        (["--listen-client-urls=http://a:1,http://a:1/"], "twice"),
        (["--listen-metrics-urls=http://:1"], "host and port are both needed"),
        (["--advertise-client-urls=a:1"], "no http://host:port and no unix:///path"),
        (["--advertise-client-urls=http://:1"], "no http://host:port"),
        (["--advertise-client-urls=http://a:x"], "no http://host:port"),
        (["--advertise-client-urls=unix://"], "no unix:///path"),
        (["--watch-progress-notify-interval=0s"], "must be positive"),
        (["--watch-progress-notify-interval=-5s"], "no duration"),
        (["--watch-progress-notify-interval=5"], "no duration"),
        (["--watch-progress-notify-interval="], "no duration"),
        (["--watch-progress-notify-interval=5d"], "no duration"),
    ],
)
def test_what_cannot_be_served_is_refused_with_a_sentence(argv: list[str], words: str) -> None:
    with pytest.raises(BadFlags, match=words) as caught:
        parse(*argv)
    assert caught.value.definite
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("10m", 600_000),
        ("2000us", 2),
        ("3000000ns", 3),
        ("1h30m", 5_400_000),
        ("500ms", 500),
        ("1.5s", 1_500),
        ("1m1ms", 60_001),
    ],
)
def test_durations_are_written_as_in_go(text: str, ms: int) -> None:
    assert parse(f"--watch-progress-notify-interval={text}").progress_interval_ms == ms


def test_nothing_is_touched_by_reading_flags(tmp_path: Path) -> None:
    parse(f"--data-dir={tmp_path / 'new'}")
    assert list(tmp_path.iterdir()) == []


def test_limits_are_etcds_unless_flags_say_otherwise() -> None:
    default = parse()
    assert (default.quota_bytes, default.request_bytes_max) == (0, 1536 * 1024)
    assert default.txn_ops_max == 128
    asked = parse("--quota-backend-bytes=4096", "--max-request-bytes=1000", "--max-txn-ops=7")
    assert (asked.quota_bytes, asked.request_bytes_max, asked.txn_ops_max) == (4096, 1000, 7)


def test_negative_quota_is_none() -> None:
    """As in etcd; there 0 is 2 GiB, here it is none as well."""
    assert parse("--quota-backend-bytes=-1").quota_bytes == 0


@pytest.mark.parametrize(
    "flag",
    [
        "--quota-backend-bytes=2G",
        "--quota-backend-bytes=",
        "--max-request-bytes=0",
        "--max-request-bytes=99999999",
        "--max-txn-ops=0",
    ],
)
def test_limit_that_is_no_number_in_its_bounds_is_refused(flag: str) -> None:
    with pytest.raises(BadFlags, match=flag.split("=", maxsplit=1)[0]):
        parse(flag)


def test_large_requests_are_allowed_and_warned_of_as_etcd_does() -> None:
    mebi = 1024 * 1024
    ten = parse(f"--max-request-bytes={10 * mebi}", "--front=native")
    assert (ten.request_bytes_max, ten.warnings) == (10 * mebi, ())
    more = parse(f"--max-request-bytes={10 * mebi + 1}", "--front=native")
    assert more.warnings == ("--max-request-bytes is above the 10485760 that etcd advises",)


@pytest.mark.parametrize("url", ["http://0.0.0.0:2379", "http://[::]:2379"])
def test_address_of_every_machine_is_advertised_only_with_a_warning(url: str) -> None:
    (warning,) = parse(f"--listen-client-urls={url}").warnings
    assert url in warning
    config = parse(f"--listen-client-urls={url}", "--advertise-client-urls=http://10.0.0.5:2379")
    assert config.warnings == ()


@pytest.mark.parametrize(
    ("mode", "text", "amount"),
    [
        ("periodic", "0", 0),
        ("periodic", "0s", 0),
        ("periodic", "8", 8 * HOUR_MS),
        ("periodic", "30m", HOUR_MS // 2),
        ("periodic", "1h30m", HOUR_MS * 3 // 2),
        ("periodic", "2s", 2_000),
        ("revision", "0", 0),
        ("revision", "1000", 1_000),
    ],
)
def test_retention_is_read_as_etcd_reads_it(mode: str, text: str, amount: int) -> None:
    config = parse(f"--auto-compaction-mode={mode}", f"--auto-compaction-retention={text}")
    assert (config.retention.mode, config.retention.amount) == (mode, amount)


@pytest.mark.parametrize(
    ("mode", "text", "words"),
    [
        ("periodic", "-1", "no number of hours and no duration"),
        ("periodic", "-1h", "no number of hours and no duration"),
        ("periodic", "1.5", "no number of hours and no duration"),
        ("periodic", "", "no number of hours and no duration"),
        ("periodic", "9999999", "no number of hours and no duration"),
        ("periodic", "99ms", "too short; 100ms is the least"),
        ("revision", "5m", "no number of revisions"),
        ("revision", "-5", "no number of revisions"),
    ],
)
def test_retention_that_nobody_can_mean_is_refused(mode: str, text: str, words: str) -> None:
    with pytest.raises(BadFlags, match=f"--auto-compaction-retention={text} is .*{words}|{words}"):
        parse(f"--auto-compaction-mode={mode}", f"--auto-compaction-retention={text}")


# -- a configuration file --------------------------------------------------------------------------


def test_file_alone_is_the_configuration_and_the_rest_is_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "kb.yaml"
    path.write_text("name: filed\nlisten-client-urls: http://a:1,http://b:2\n")
    config = parse(
        f"--config-file={path}", "--name=flag", ETCD_DATA_DIR="/e", ETCD_WAL_DIR="/w", ETCDCTL_X="1"
    )
    assert (config.name, config.data_dir) == ("filed", Path("default.kubebraid"))
    assert config.client_urls == ("http://a:1", "http://b:2")
    assert [warning.partition(" is ignored: ")[0] for warning in config.warnings] == [
        "--name",
        "ETCD_DATA_DIR",
        "ETCD_WAL_DIR",
    ]
    assert all(str(path) in warning for warning in config.warnings)


@pytest.mark.parametrize("variable", ["KUBEBRAID_CONFIG_FILE", "ETCD_CONFIG_FILE"])
def test_variable_names_the_file_too(tmp_path: Path, variable: str) -> None:
    path = tmp_path / "kb.toml"
    path.write_text('name = "filed"\nmax-txn-ops = 7\n')
    config = parse(**{variable: str(path)})
    assert (config.name, config.txn_ops_max, config.warnings) == ("filed", 7, ())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nam: a", "unknown key nam; did you mean name"),
        ("data_dir: a", "unknown key data_dir; did you mean data-dir"),
        ("initial-cluster: a=http://a:1\nwal-dir: /w", "without peers.*nor is there wal-dir"),
        ("client-transport-security:\n  cert-file: /c", "client-transport-security .*TLS"),
        ("front: http2", "kb.yaml: front=http2 is none of"),
        ("max-txn-ops: many", "kb.yaml: max-txn-ops=many is no number"),
        ("config-file: other.yaml", "cannot stand in a configuration file"),
        ("- a", "has no keys"),
    ],
)
def test_file_that_cannot_be_served_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "kb.yaml"
    path.write_text(text)
    with pytest.raises(BadFlags, match=words):
        parse(f"--config-file={path}")


def test_durations_of_a_file_may_be_gos_nanoseconds(tmp_path: Path) -> None:
    path = tmp_path / "kb.yaml"
    path.write_text("watch-progress-notify-interval: 5000000000\n")
    assert parse(f"--config-file={path}").progress_interval_ms == 5_000


def test_etcds_sample_file_asks_for_nothing_that_is_not_there(tmp_path: Path) -> None:
    """Empty keys and false ones, as in the file that comes with etcd."""
    path = tmp_path / "etcd.conf.yml"
    path.write_text(
        "name: 'default'\ndata-dir:\nwal-dir:\ncors:\ndiscovery-srv: ''\nenable-pprof: false\n"
        "client-transport-security:\n  cert-file:\n  client-cert-auth: false\n"
        "log-level: debug\nlog-outputs: [stderr]\n"
    )
    config = parse(f"--config-file={path}")
    assert config.log == LogConfig("debug", "json", "stderr")


# -- the page --------------------------------------------------------------------------------------


def test_documented_table_is_the_parsers() -> None:
    page = (ROOT / "docs/operating/serve.md").read_text()
    rows = re.findall(r"^\| `--([a-z-]+)` \| `([A-Z_]+)` \| (?:`([^`]*)`|none) \|", page, re.M)
    assert rows == [(flag.name, flag.variable("KUBEBRAID_"), flag.default) for flag in FLAGS]


def test_documented_refusals_are_the_tables() -> None:
    page = (ROOT / "docs/operating/serve.md").read_text()
    section = page.partition("## Flags of etcd that are refused")[2].partition("\n## ")[0]
    named = set(re.findall(r"`--([a-z0-9*-]+)`", section))
    assert named == set(REFUSED) - {"client-transport-security"}
