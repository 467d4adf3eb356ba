"""The flags of dev-cluster, before any disk is looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubebraid.cli.dev.config import DevConfig, parse_dev
from kubebraid.cli.flag_sources import BadFlags


def parse(*argv: str, **environ: str) -> DevConfig:
    return parse_dev(argv, environ)


def test_what_was_not_said_is_left_to_the_data_directory() -> None:
    config = parse()
    assert (config.coordinators, config.shards, config.routers) == (None, None, None)
    assert (config.engine, config.base_port, config.restart) == (None, None, True)
    assert config.data_dir == Path("dev.kubebraid").absolute()
    assert config.state_file == config.data_dir / "state.json"
    assert (config.router_flags, config.log_flags) == ((), ())


def test_every_flag_is_taken() -> None:
    config = parse(
        "--coordinators=5",
        "--shards=4",
        "--routers=1",
        "--engine=memory",
        "--base-port=7000",
        "--data-dir=/d",
        "--state-file=s.json",
        "--tablets=single",
        "--no-restart",
        "--max-txn-ops=9",
        "--auto-split-bytes=1GiB",
        "--log-level=debug",
        KUBEBRAID_FRONT="grpcio",
    )
    assert (config.coordinators, config.shards, config.routers) == (5, 4, 1)
    assert (config.engine, config.base_port, config.restart) == ("memory", 7_000, False)
    assert (config.data_dir, config.state_file) == (Path("/d"), Path("s.json").absolute())
    assert config.router_flags == ("--front=grpcio", "--max-txn-ops=9", "--auto-split-bytes=1GiB")
    assert config.log_flags == ("--log-level=debug",)


def test_switch_may_be_off_in_a_variable() -> None:
    assert parse(KUBEBRAID_NO_RESTART="false").restart
    assert not parse(KUBEBRAID_NO_RESTART="true").restart


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ("--coordinators=0", "--coordinators=0 is none of 1, 3 or 5"),
        ("--coordinators=4", "--coordinators=4 is none of 1, 3 or 5"),
        ("--auto-split-cooldown=1ms", "--auto-split-cooldown=1ms is too short"),
        ("--shards=0", "--shards=0 is no number from 1 to 64"),
        ("--shards=-1", "--shards=-1 is no number"),
        ("--routers=65", "--routers=65 is no number from 1 to 64"),
        ("--base-port=0", "--base-port=0 is no number from 1 to 65528"),
        ("--engine=bolt", "--engine=bolt is none of rocksdb, memory, tikv"),
        ("--pd=a", "--pd: 'a' is no HOST:PORT"),
        ("--tikv-store=a b", "--tikv-store=a b is no name"),
        ("--tablets=/a/=5", "--tablets: .*'5' behind '/a/' is no number of buckets"),
        ("--watch-progress-notify-interval=0s", "must be positive"),
        ("--max-request-bytes=-1", "--max-request-bytes=-1 is no number"),
        ("--no-restart=yes", "ignored explicit argument 'yes'"),
        ("--stat-file=x", "unknown flag --stat-file; did you mean --state-file"),
    ],
)
def test_refusal_names_the_flag(flag: str, sentence: str) -> None:
    with pytest.raises(BadFlags, match=sentence):
        parse(flag)


def test_pd_of_another_engine_is_refused() -> None:
    with pytest.raises(BadFlags, match="--pd is for --engine=tikv"):
        parse("--engine=memory", "--pd=a:1")
    config = parse("--engine=tikv", "--pd=a:1, b:2", "--tikv-store=mine")
    assert (config.engine, config.pd, config.tikv_store) == ("tikv", "a:1,b:2", "mine")


def test_tikv_is_there_or_is_started() -> None:
    config = parse("--engine=tikv", "--tikv-bin=bin")
    assert (config.pd, config.tikv_bin) == ("", str(Path("bin").absolute()))
    with pytest.raises(BadFlags, match="--pd and --tikv-bin: one TiKV is there already, or one is"):
        parse("--engine=tikv", "--pd=a:1", "--tikv-bin=bin")
    with pytest.raises(BadFlags, match="--tikv-bin is for --engine=tikv"):
        parse("--engine=memory", "--tikv-bin=bin")


def test_the_last_port_is_still_a_port() -> None:
    assert parse("--base-port=65528").base_port == 65_528
    with pytest.raises(BadFlags, match="from 1 to 65530"):
        parse("--base-port=65531", "--coordinators=1")
