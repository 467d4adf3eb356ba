"""The flags of the roles: what wins over what, and that nothing that cannot start gets by."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Final

import pytest

from kubebraid.base.limits import PROGRESS_INTERVAL_MS, REQUEST_BYTES_MAX, TXN_OPS_MAX
from kubebraid.cli.flag_sources import BadFlags
from kubebraid.cli.flags import Command
from kubebraid.cli.layouts import read_layout
from kubebraid.cli.role_config import (
    CoordinatorConfig,
    RouterConfig,
    ShardConfig,
    parse_coordinator,
    parse_router,
    parse_shard,
)
from kubebraid.cli.role_flags import COORDINATOR, DEV_CLUSTER, ROUTER, SHARD
from kubebraid.router.autosplit import OFF, Bounds

ROOT: Final = Path(__file__).resolve().parents[3]
THREE: Final = "--coordinators=a=127.0.0.1:1,b=127.0.0.1:2,c=[::1]:3"
OF_COORDINATOR: Final = (
    "--name=a",
    THREE,
    "--listen=127.0.0.1:1",
    "--data-dir=/d",
    "--initial-shards=s1,s2",
)
OF_SHARD: Final = ("--name=s1", THREE, "--listen=127.0.0.1:4", "--data-dir=/d")
OF_ROUTER: Final = ("--name=r1", THREE)


def coordinator(*argv: str, **environ: str) -> CoordinatorConfig:
    return parse_coordinator(argv, environ)


def shard(*argv: str, **environ: str) -> ShardConfig:
    return parse_shard(argv, environ)


def router(*argv: str, **environ: str) -> RouterConfig:
    return parse_router(argv, environ)


def test_coordinator_knows_its_peers_and_the_first_map() -> None:
    config = coordinator(*OF_COORDINATOR, "--tablets=/registry/events/=4")
    assert config.member.coordinators == {
        "a": "127.0.0.1:1",
        "b": "127.0.0.1:2",
        "c": "[::1]:3",
    }
    assert (config.member.cluster, config.member.secret_file) == ("kubebraid", None)
    assert (config.found, config.data_dir) == (True, Path("/d"))
    assert config.first_map == read_layout("/registry/events/=4", ["s1", "s2"])
    assert {t.buckets for t in config.first_map.tablets} == {1, 4}


def test_coordinator_of_an_existing_cluster_needs_no_shards() -> None:
    config = coordinator(*OF_COORDINATOR[:4], "--initial-cluster-state=existing")
    assert not config.found
    with pytest.raises(BadFlags, match=r"^--initial-shards is needed for a new"):
        coordinator(*OF_COORDINATOR[:4])


def test_shard_tells_its_listener_unless_told_otherwise() -> None:
    assert shard(*OF_SHARD).advertise == "127.0.0.1:4"
    secret = "--cluster-secret-file=/s"
    config = shard(*OF_SHARD[:2], "--listen=0.0.0.0:4", "--data-dir=/d", secret, "--advertise=s:4")
    assert (config.listen, config.advertise) == ("0.0.0.0:4", "s:4")
    assert (config.engine, config.member.secret_file) == ("rocksdb", Path("/s"))
    with pytest.raises(BadFlags, match=r"^--advertise is needed where --listen=0.0.0.0:4 is every"):
        shard(*OF_SHARD[:2], "--listen=0.0.0.0:4", "--data-dir=/d", secret)


def test_shard_on_tikv_has_a_store_of_its_own_and_no_directory() -> None:
    on_tikv = (*OF_SHARD[:3], "--engine=tikv", "--pd=a:1, [::1]:2")
    config = shard(*on_tikv)
    assert (config.engine, config.pd) == ("tikv", ("a:1", "[::1]:2"))
    assert config.tikv_prefix == "kubebraid"
    assert shard(*on_tikv, "--cluster-name=prod").tikv_prefix == "prod"
    assert shard(*on_tikv, "--cluster-name=prod", "--tikv-store=x.y").tikv_prefix == "x.y"


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--engine=tikv"], "--engine=tikv and --pd need each other"),
        (["--pd=a:1"], "--engine=tikv and --pd need each other"),
        (["--engine=tikv", "--pd=a"], "'a' is no HOST:PORT"),
        (["--engine=tikv", "--pd=a:1,"], "'' is no HOST:PORT"),
        (["--engine=tikv", "--pd=a:1", "--tikv-store=a/b"], "--tikv-store=a/b is no name"),
        (["--engine=tikv", "--pd=a:1", "--tikv-store=a b"], "--tikv-store=a b is no name"),
    ],
)
def test_shard_refuses_a_store_in_tikv_that_cannot_be_found(
    flags: list[str], sentence: str
) -> None:
    with pytest.raises(BadFlags, match=sentence):
        shard(*OF_SHARD, *flags)


def test_router_has_serves_defaults() -> None:
    config = router(*OF_ROUTER)
    assert config.client_urls == config.advertised_urls == ("http://127.0.0.1:2379",)
    assert config.progress_interval_ms == PROGRESS_INTERVAL_MS
    assert (config.request_bytes_max, config.txn_ops_max) == (REQUEST_BYTES_MAX, TXN_OPS_MAX)
    config = router(
        *OF_ROUTER,
        "--listen-client-urls=http://127.0.0.1:5,unix:///run/kb.sock",
        "--advertise-client-urls=https://kb.example:2379",
        "--front=grpcio",
        "--watch-progress-notify-interval=5s",
        "--max-request-bytes=1000",
        "--max-txn-ops=7",
    )
    assert config.client_urls == ("http://127.0.0.1:5", "unix:///run/kb.sock")
    assert config.advertised_urls == ("https://kb.example:2379",)
    assert (config.front, config.progress_interval_ms) == ("grpcio", 5_000)
    assert (config.request_bytes_max, config.txn_ops_max) == (1_000, 7)


@pytest.mark.parametrize(
    ("size", "wanted"),
    [("4096", 4_096), ("500MB", 500_000_000), ("4GiB", 4 << 30), ("1.5kib", 1536)],
)
def test_router_splits_by_itself_where_it_is_told_to(size: str, wanted: int) -> None:
    assert router(*OF_ROUTER).auto_split == OFF
    config = router(
        *OF_ROUTER,
        f"--auto-split-bytes={size}",
        "--auto-split-writes=900",
        "--auto-split-cooldown=1m30s",
        KUBEBRAID_AUTO_SPLIT_TABLETS_MAX="60",
    )
    assert config.auto_split == Bounds(wanted, 900, 60, 90_000)


# -- sources ---------------------------------------------------------------------------------------


def test_flag_wins_over_variable_and_variable_over_file(tmp_path: Path) -> None:
    path = tmp_path / "shard.toml"
    path.write_text('name = "of-file"\ndata-dir = "/of-file"\nlog-level = "warn"\n')
    config = shard(
        f"--config-file={path}",
        THREE,
        "--listen=127.0.0.1:4",
        "--data-dir=/of-flag",
        KUBEBRAID_DATA_DIR="/of-variable",
        KUBEBRAID_NAME="of-variable",
    )
    assert config.data_dir == Path("/of-flag")
    assert config.member.name == "of-variable"
    assert config.member.log.level == "warn"
    assert config.member.warnings == ()


def test_etcds_variables_are_not_a_roles(tmp_path: Path) -> None:
    config = shard(*OF_SHARD, ETCD_NAME="x", ETCD_CERT_FILE="y", KUBEBRAID_ENGIN="memory")
    assert config.member.name == "s1"
    warning = "unknown variable KUBEBRAID_ENGIN; did you mean KUBEBRAID_ENGINE"
    assert config.member.warnings == (warning,)


@pytest.mark.parametrize("key", ["config-file", "print-config"])
def test_what_is_about_the_file_cannot_stand_in_it(tmp_path: Path, key: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(f'{key} = "true"\n')
    with pytest.raises(BadFlags, match=f"{key} cannot stand in a configuration file"):
        shard(*OF_SHARD, f"--config-file={path}")


def test_printed_configuration_gives_the_same_when_read(tmp_path: Path) -> None:
    flags = (*OF_COORDINATOR, "--tablets=/registry/a/=2,/registry/b/", "--cluster-name=prod-1")
    printed = coordinator(*flags, "--cluster-secret-file=/s", "--print-config").member.print_config
    told = tomllib.loads(printed)
    assert told["name"] == "a"
    assert told["cluster-secret-file"] == "/s"
    assert {"config-file", "print-config"}.isdisjoint(told)
    path = tmp_path / "c.toml"
    path.write_text(printed)
    again = coordinator(f"--config-file={path}", "--print-config")
    assert again.member.print_config == printed
    assert again.first_map == coordinator(*flags).first_map
    assert coordinator(f"--config-file={path}").member.print_config == ""


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ("--nam=b", "unknown flag --nam; did you mean --name"),
        ("--initial-cluster=a", "unknown flag --initial-cluster"),
        ("stray", "'stray' is no flag"),
        ("--name=a b", "--name: 'a b' is no name of up to 64 bytes"),
        ("--name=d", "--name=d is none of the coordinators that --coordinators names: a, b, c"),
        ("--name=", "--name is needed"),
        ("--cluster-name=", "--cluster-name: '' is no name"),
        ("--coordinators=", "--coordinators is needed"),
        ("--coordinators=a", "--coordinators: 'a' is not name=host:port"),
        ("--coordinators=a=127.0.0.1:1,b=127.0.0.1:2", "names 2 coordinators; a cluster has 1, 3"),
        ("--coordinators=a=127.0.0.1:1,a=127.0.0.1:2,b=127.0.0.1:3", "has a twice"),
        ("--coordinators=a=127.0.0.1:1,b=127.0.0.1:1", "has 127.0.0.1:1 twice"),
        ("--coordinators=a=127.0.0.1:0", "127.0.0.1:0 has no port"),
        ("--coordinators=a=10.0.0.1:1", "10.0.0.1:1: without a cluster secret links stay on"),
        ("--listen=", "--listen is needed"),
        ("--listen=1", "--listen: '1' is not HOST:PORT"),
        ("--listen=0.0.0.0:1", "--listen: 0.0.0.0:1: without a cluster secret links stay on"),
        ("--data-dir=", "--data-dir is needed: where its log is kept"),
        ("--initial-cluster-state=old", "--initial-cluster-state=old is none of new, existing"),
        ("--initial-shards=s1,s 2", "--initial-shards: 's 2' is no name"),
        ("--initial-shards=s1,s1", "--initial-shards names a shard twice"),
        ("--tablets=x", "--tablets: .*'x' is no layout"),
        ("--tablets=/registry/events/=3", "'3' behind '/registry/events/' is no number of buckets"),
        ("--log-level=loud", "--log-level=loud is none of debug, info"),
        ("--print-config=1", "ignored explicit argument '1'"),
    ],
)
def test_refusal_names_the_flag(flag: str, sentence: str) -> None:
    kept = [
        other
        for other in OF_COORDINATOR
        if not other.startswith(flag[: flag.find("=") + 1] or "none")
    ]
    with pytest.raises(BadFlags, match=sentence):
        coordinator(*kept, flag)


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ("--listen-client-urls=", "--listen-client-urls is empty"),
        ("--listen-client-urls=https://a:1", "--listen-client-urls: .*TLS is not there yet"),
        ("--listen-client-urls=http://a:1,http://a:1", "--listen-client-urls has http://a:1 twice"),
        ("--advertise-client-urls=here", "--advertise-client-urls: here is no http://host:port"),
        ("--watch-progress-notify-interval=5", "--watch-progress-notify-interval=5 is no duration"),
        ("--max-request-bytes=0", "--max-request-bytes=0 is no number from 1"),
        ("--max-txn-ops=many", "--max-txn-ops=many is no number from 1"),
        ("--auto-split-bytes=-1", "--auto-split-bytes=-1 is no size; write bytes, 500MB or 4GiB"),
        ("--auto-split-bytes=4gig", "--auto-split-bytes=4gig is no size"),
        ("--auto-split-bytes=.5GiB", "--auto-split-bytes=.5GiB is no size"),
        ("--auto-split-writes=-1", "--auto-split-writes=-1 is no number from 0"),
        ("--auto-split-tablets-max=1001", "--auto-split-tablets-max=1001 is no number from 1 to"),
        ("--auto-split-cooldown=999ms", "--auto-split-cooldown=999ms is too short: 1s or more"),
        ("--front=iron", "--front=iron is none of auto, native, grpcio"),
        ("--quota-backend-bytes=1", "unknown flag --quota-backend-bytes"),
        ("--data-dir=/d", "unknown flag --data-dir"),
    ],
)
def test_router_refuses_what_it_cannot_keep(flag: str, sentence: str) -> None:
    with pytest.raises(BadFlags, match=sentence):
        router(*OF_ROUTER, flag)


def test_refusal_names_the_variable_or_the_key_instead(tmp_path: Path) -> None:
    with pytest.raises(BadFlags, match=r"^KUBEBRAID_MAX_TXN_OPS=0 is no number"):
        router(*OF_ROUTER, KUBEBRAID_MAX_TXN_OPS="0")
    path = tmp_path / "r.toml"
    path.write_text("max-txn-ops = 0\n")
    with pytest.raises(BadFlags, match=r"r.toml: max-txn-ops=0 is no number"):
        router(*OF_ROUTER, f"--config-file={path}")
    path.write_text("max-txn-op = 1\n")
    with pytest.raises(BadFlags, match=r"unknown key max-txn-op; did you mean max-txn-ops"):
        router(*OF_ROUTER, f"--config-file={path}")


def test_a_name_without_a_secret_is_left_to_who_resolves_it() -> None:
    config = shard("--name=s", "--coordinators=a=coordinator-a:1", *OF_SHARD[2:])
    assert config.member.coordinators == {"a": "coordinator-a:1"}


# -- the pages -------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [COORDINATOR, SHARD, ROUTER, DEV_CLUSTER], ids=lambda c: c.name)
def test_documented_table_is_the_parsers(command: Command) -> None:
    name = "dev-cluster" if command is DEV_CLUSTER else "roles"
    page = (ROOT / f"docs/operating/{name}.md").read_text()
    rows = dict(re.findall(r"^\| `--([a-z-]+)` \|.* (?:`([^`]*)`|none) \|[^|]*\|$", page, re.M))
    for flag in command.flags:
        assert rows.get(flag.name) == flag.default, flag.name


def test_documented_flags_are_all_there() -> None:
    page = (ROOT / "docs/operating/roles.md").read_text()
    rows = re.findall(r"^\| `--([a-z-]+)` \| ([a-z, ]+) \|", page, re.M)
    told = {name: set(roles.split(", ")) for name, roles in rows}
    commands = {"coordinator": COORDINATOR, "shard": SHARD, "router": ROUTER}
    for name in {flag.name for command in commands.values() for flag in command.flags}:
        takers = {role for role, command in commands.items() if name in command.by_name}
        assert told.pop(name) == ({"all"} if len(takers) == 3 else takers), name
    assert told == {}, "the page has flags that nobody takes"
