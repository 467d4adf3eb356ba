"""The flags of serve: what wins over what, and that nothing unservable gets past them."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubebraid.base.limits import PROGRESS_INTERVAL_MS
from kubebraid.cli.layouts import read_layout
from kubebraid.cli.node import SHARD
from kubebraid.cli.serve_config import BadFlags, ServeConfig, parse_serve


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
    )
    assert config.data_dir == Path("/data")
    assert config.client_urls == ("http://a:1", "http://[::1]:2")
    assert config.metrics_urls == ("http://b:3",)
    assert (config.name, config.front, config.engine) == ("one", "grpcio", "memory")
    assert len(config.first_map.tablets) == 1
    assert config.progress_interval_ms == 5_000


def test_flag_wins_over_environment_and_environment_over_default() -> None:
    environ = {"KUBEBRAID_NAME": "env", "KUBEBRAID_DATA_DIR": "/env"}
    config = parse("--name=flag", **environ)
    assert (config.name, config.data_dir) == ("flag", Path("/env"))


def test_environment_is_checked_as_a_flag_is() -> None:
    with pytest.raises(BadFlags, match="KUBEBRAID_ENGINE=bolt is none of rocksdb, memory"):
        parse(KUBEBRAID_ENGINE="bolt")
    with pytest.raises(BadFlags, match="no duration"):
        parse(KUBEBRAID_WATCH_PROGRESS_NOTIFY_INTERVAL="5")


def test_environment_of_others_is_ignored() -> None:
    assert parse(KUBEBRAID_HELP="1", ETCD_NAME="x", KUBEBRAID_GIVEN="x").name == "default"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--name=a", "--name=b"], "--name is given twice"),
        (["--name=a", "--name=a"], "--name is given twice"),
        (["--nam=a"], "unrecognized"),
        (["stray"], "unrecognized"),
        (["--name"], "expected one argument"),
        (["--front=http2"], "invalid choice"),
        (["--engine=bolt"], "invalid choice"),
        (["--tablets=nothing-such"], "no layout"),
        (["--listen-client-urls="], "nothing to serve"),
        (["--listen-client-urls=,"], "nothing to serve"),
        (["--listen-client-urls=https://a:1"], "TLS"),
        (["--listen-client-urls=a:1"], "scheme must be http"),
        (["--listen-client-urls=http://a"], "host and port are both needed"),
        (["--listen-client-urls=http://a:99999"], "the port is no number"),
        (["--listen-client-urls=http://a:1/path"], "only host and port"),
        (["--listen-metrics-urls=http://:1"], "host and port are both needed"),
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
    [("10m", 600_000), ("1h30m", 5_400_000), ("500ms", 500), ("1.5s", 1_500), ("1m1ms", 60_001)],
)
def test_durations_are_written_as_in_go(text: str, ms: int) -> None:
    assert parse(f"--watch-progress-notify-interval={text}").progress_interval_ms == ms


def test_nothing_is_touched_by_reading_flags(tmp_path: Path) -> None:
    parse(f"--data-dir={tmp_path / 'new'}")
    assert list(tmp_path.iterdir()) == []


def test_limits_are_etcds_unless_flags_say_otherwise() -> None:
    default = parse_serve([], {})
    assert (default.quota_bytes, default.request_bytes_max) == (0, 1536 * 1024)
    assert default.txn_ops_max == 128
    given = ["--quota-backend-bytes=4096", "--max-request-bytes=1000", "--max-txn-ops=7"]
    asked = parse_serve(given, {})
    assert (asked.quota_bytes, asked.request_bytes_max, asked.txn_ops_max) == (4096, 1000, 7)


@pytest.mark.parametrize(
    "flag",
    [
        "--quota-backend-bytes=-1",
        "--quota-backend-bytes=2G",
        "--max-request-bytes=0",
        "--max-request-bytes=99999999",
        "--max-txn-ops=0",
    ],
)
def test_limit_that_is_no_number_in_its_bounds_is_refused(flag: str) -> None:
    with pytest.raises(BadFlags, match=flag.split("=", maxsplit=1)[0]):
        parse_serve([flag], {})
