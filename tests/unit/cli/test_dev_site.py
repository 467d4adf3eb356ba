"""dev-cluster's data directory: what a second start may change, and what it may not."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from kubebraid.cli.dev.argv import argv_of, endpoints, specs
from kubebraid.cli.dev.config import DevConfig, parse_dev
from kubebraid.cli.dev.site import (
    NoPrograms,
    PdUnknown,
    Site,
    SiteDamaged,
    SiteRefused,
    free_ports,
    load,
    save,
    settle,
)
from kubebraid.cli.role_config import parse_coordinator, parse_router, parse_shard


def config_of(folder: Path, *flags: str) -> DevConfig:
    return parse_dev([f"--data-dir={folder}", *flags], {})


def settled(folder: Path, *flags: str, before: Site | None = None) -> Site:
    return settle(config_of(folder, *flags), before)


def test_new_cluster_has_names_and_free_ports(tmp_path: Path) -> None:
    site = settled(tmp_path)
    assert site.names("coordinator") == ["coordinator-0", "coordinator-1", "coordinator-2"]
    assert (len(site.names("shard")), len(site.names("router"))) == (3, 2)
    assert len(set(site.ports.values())) == 8
    assert (site.engine, site.founded) == ("rocksdb", False)


def test_base_port_is_the_first_routers(tmp_path: Path) -> None:
    site = settled(tmp_path, "--base-port=7000", "--coordinators=1", "--shards=12", "--routers=1")
    assert list(site.ports.values()) == list(range(7_000, 7_014))
    assert endpoints(site) == ["http://127.0.0.1:7000"]
    assert site.names("shard")[2:] == [f"shard-{index}" for index in range(2, 12)]


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    site = replace(settled(tmp_path), founded=True)
    assert load(tmp_path) is None
    save(tmp_path, site)
    assert load(tmp_path) == site


def test_second_start_goes_on_with_names_and_ports(tmp_path: Path) -> None:
    first = replace(settled(tmp_path, "--shards=2", "--engine=rocksdb"), founded=True)
    assert settled(tmp_path, before=first) == first
    more = settled(tmp_path, "--routers=3", before=first)
    assert {name: more.ports[name] for name in first.ports} == first.ports
    assert more.founded
    assert more.names("router") == ["router-0", "router-1", "router-2"]
    moved = settled(tmp_path, "--base-port=7000", before=first)
    assert (set(moved.ports), moved.ports["router-0"]) == (set(first.ports), 7_000)


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ("--shards=4", r"--shards=4: the cluster in .* was made with 3"),
        ("--coordinators=1", r"--coordinators=1: the cluster in .* was made with 3"),
        ("--engine=memory", r"--engine=memory: the cluster in .* has rocksdb"),
    ],
)
def test_flags_that_contradict_the_cluster_are_refused(
    tmp_path: Path, flag: str, sentence: str
) -> None:
    first = settled(tmp_path)
    with pytest.raises(SiteRefused, match=sentence):
        settled(tmp_path, flag, before=first)


def test_stores_in_tikv_keep_the_name_that_was_drawn(tmp_path: Path) -> None:
    with pytest.raises(PdUnknown, match="--engine=tikv needs --pd"):
        settled(tmp_path, "--engine=tikv")
    first = settled(tmp_path, "--engine=tikv", "--pd=a:1")
    assert first.tikv_store.startswith("dev-")
    assert settled(tmp_path, "--engine=tikv", "--pd=a:1").tikv_store != first.tikv_store
    save(tmp_path, first)
    assert load(tmp_path) == first
    assert settled(tmp_path, before=first) == first
    assert settled(tmp_path, "--pd=b:1", before=first) == replace(first, pd="b:1")
    with pytest.raises(SiteRefused, match=f"--tikv-store=x: .* has {first.tikv_store}"):
        settled(tmp_path, "--tikv-store=x", before=first)
    assert settled(tmp_path, "--engine=tikv", "--pd=a:1", "--tikv-store=x").tikv_store == "x"


def test_pd_of_a_cluster_that_is_not_on_tikv_is_refused(tmp_path: Path) -> None:
    first = settled(tmp_path)
    with pytest.raises(SiteRefused, match="--pd is for --engine=tikv: the engine is rocksdb"):
        settled(tmp_path, "--pd=a:1", before=first)


def programs(folder: Path) -> Path:
    """Two that could be run, by their looks."""
    folder.mkdir()
    for name in ("tikv-pd", "tikv-store"):
        (folder / name).write_text("#!/bin/false\n")
        (folder / name).chmod(0o755)
    return folder


def test_tikv_of_its_own_keeps_its_ports_whatever_the_roles_do(tmp_path: Path) -> None:
    own = f"--tikv-bin={programs(tmp_path / 'bin')}"
    first = settled(tmp_path, "--engine=tikv", own)
    had = {name: first.ports[name] for name in ("pd-0", "pd-peer-0", "store-0")}
    assert len(set(first.ports.values())) == 11
    assert first.pd == f"127.0.0.1:{had['pd-0']}"
    save(tmp_path, first)
    assert load(tmp_path) == first
    assert settled(tmp_path, before=first) == first
    moved = settled(tmp_path, "--base-port=7000", before=first)
    assert {name: moved.ports[name] for name in had} == had
    assert moved.ports["router-0"] == 7_000
    with pytest.raises(SiteRefused, match="a port of TiKV's is among those from there on"):
        settled(tmp_path, f"--base-port={had['store-0']}", before=first)
    with pytest.raises(SiteRefused, match=r"--pd=a:1: the cluster in .* has a TiKV of its own"):
        settled(tmp_path, "--pd=a:1", before=first)
    other = settled(tmp_path, "--engine=tikv", "--pd=a:1")
    with pytest.raises(SiteRefused, match=r"--tikv-bin=.*: .* is on the TiKV at a:1"):
        settled(tmp_path, own, before=other)
    with pytest.raises(SiteRefused, match="--tikv-bin is for --engine=tikv: the engine is rocksdb"):
        settled(tmp_path, own, before=settled(tmp_path))


@pytest.mark.parametrize("lacks", ["tikv-pd", "tikv-store"])
def test_folder_without_the_programs_is_refused(tmp_path: Path, lacks: str) -> None:
    folder = programs(tmp_path / "bin")
    (folder / lacks).chmod(0o644)
    with pytest.raises(NoPrograms, match=f"--tikv-bin={folder}: there is no program {lacks}$"):
        settled(tmp_path, "--engine=tikv", f"--tikv-bin={folder}")
    assert "tests/tikv/build.sh builds" in NoPrograms.hint


def test_cluster_in_memory_has_no_second_start(tmp_path: Path) -> None:
    first = settled(tmp_path, "--engine=memory")
    with pytest.raises(SiteRefused, match="was in memory, and is gone"):
        settled(tmp_path, before=first)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 2}', '{"format": 1, "ports": {}}'])
def test_damaged_file_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "cluster.json").write_text(text)
    with pytest.raises(SiteDamaged, match="is damaged or of another version"):
        load(tmp_path)


def test_folder_of_others_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    with pytest.raises(SiteRefused, match=r"it holds 'letters' and no cluster\.json"):
        load(tmp_path)


def test_free_ports_are_no_ones() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_ports(1, set())[0]))
        listener.listen()
        used = listener.getsockname()[1]
        found = free_ports(50, set())
    assert len(set(found)) == 50
    assert used not in found


# -- command lines ---------------------------------------------------------------------------------


def of(role: str, site: Site, config: DevConfig) -> list[Sequence[str]]:
    """The flags of all processes of a role, without its name."""
    found = [argv_of(spec, config, site) for spec in specs(site) if spec.role == role]
    assert {argv[0] for argv in found} == {role}
    return [argv[1:] for argv in found]


def test_roles_understand_their_command_lines(tmp_path: Path) -> None:
    config = config_of(tmp_path, "--tablets=/registry/a/=2", "--max-txn-ops=9", "--log-level=warn")
    site = settle(config, None)
    coordinators = [parse_coordinator(argv, {}) for argv in of("coordinator", site, config)]
    shards = [parse_shard(argv, {}) for argv in of("shard", site, config)]
    routers = [parse_router(argv, {}) for argv in of("router", site, config)]
    members = [each.member for each in coordinators]
    members += [each.member for each in shards] + [each.member for each in routers]
    assert [member.name for member in members] == [spec.name for spec in specs(site)]
    assert {member.secret_file for member in members} == {tmp_path / "secret"}
    assert {member.log.level for member in members} == {"warn"}
    known = {coordinator.member.name: coordinator.listen for coordinator in coordinators}
    assert all(member.coordinators == known for member in members)
    assert len({each.data_dir for each in coordinators} | {each.data_dir for each in shards}) == 6
    assert coordinators[0].first_map == coordinators[2].first_map
    assert {tablet.shard for tablet in coordinators[0].first_map.tablets} <= {
        shard.member.name for shard in shards
    }
    assert {router.txn_ops_max for router in routers} == {9}
    assert [router.client_urls[0] for router in routers] == endpoints(site)


def test_shards_on_tikv_differ_in_their_stores_alone(tmp_path: Path) -> None:
    config = config_of(tmp_path, "--engine=tikv", "--pd=a:1,b:2", "--shards=2")
    site = settle(config, None)
    shards = [parse_shard(argv, {}) for argv in of("shard", site, config)]
    assert {shard.pd for shard in shards} == {("a:1", "b:2")}
    assert [shard.tikv_prefix for shard in shards] == [site.tikv_store] * 2
    assert [shard.member.name for shard in shards] == ["shard-0", "shard-1"]
    assert not any("--data-dir" in word for argv in of("shard", site, config) for word in argv)


def test_shard_that_was_removed_has_no_process_at_any_later_start(tmp_path: Path) -> None:
    first = replace(settled(tmp_path), removed=["shard-1"])
    save(tmp_path, first)
    again = settled(tmp_path, before=load(tmp_path))
    assert [spec.name for spec in specs(again) if spec.role == "shard"] == ["shard-0", "shard-2"]
    assert again.names("shard") == ["shard-0", "shard-1", "shard-2"], "the number is what it was"


def test_cluster_is_new_until_it_has_served(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    site = settle(config, None)
    assert all(parse_coordinator(argv, {}).found for argv in of("coordinator", site, config))
    later = replace(site, founded=True)
    assert not any(parse_coordinator(argv, {}).found for argv in of("coordinator", later, config))
