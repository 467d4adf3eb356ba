"""What an operator may write for --tablets, and the sentence for everything else."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubebraid.base.tabletmap import TabletMap
from kubebraid.cli.layouts import KUBERNETES, BadLayout, read_layout

PREFIXES = ("/registry/pods/", "/registry/events/")


def names(tablets: TabletMap) -> list[str]:
    return [tablet.name for tablet in tablets.tablets]


def test_kubernetes_gives_each_heavy_resource_a_tablet() -> None:
    tablets = read_layout("kubernetes", "s")
    for prefix in KUBERNETES:
        owner = tablets.tablet_of(prefix.encode() + b"default/x")
        assert owner.span.start == prefix.rstrip("/").encode()
        assert not owner.name.startswith("default")
    assert {tablet.shard for tablet in tablets.tablets} == {"s"}


@pytest.mark.parametrize("key", [b"/registry/pods", b"/registry/pods/", b"/registry/pods/a/b"])
def test_barrier_key_without_slash_belongs_to_its_resource(key: bytes) -> None:
    """kube-apiserver reads /registry/pods for the present revision of the pods."""
    assert read_layout("kubernetes", "s").tablet_of(key).name == "pods"


@pytest.mark.parametrize("key", [b"compact_rev_key", b"/registry/health", b"/registry/podsx"])
def test_keys_outside_every_prefix_have_a_default_tablet(key: bytes) -> None:
    assert read_layout("kubernetes", "s").tablet_of(key).name.startswith("default")


def test_services_specs_and_endpoints_are_two_resources() -> None:
    tablets = read_layout("kubernetes", "s")
    specs = tablets.tablet_of(b"/registry/services/specs/ns/x").name
    endpoints = tablets.tablet_of(b"/registry/services/endpoints/ns/x").name
    assert (specs, endpoints) == ("services-specs", "services-endpoints")


def test_single_is_one_tablet_of_everything() -> None:
    (tablet,) = read_layout("single", "s").tablets
    assert (tablet.span.start, tablet.span.end) == (b"", None)


@pytest.mark.parametrize(
    "value", ["/registry/pods/,/registry/events/", " /registry/pods , /registry/events,"]
)
def test_list_of_prefixes_makes_these_and_the_default_ones(value: str) -> None:
    assert names(read_layout(value, "s")) == [
        "default-0",
        "events",
        "default-1",
        "pods",
        "default-2",
    ]


def test_one_prefix_under_registry_needs_no_comma() -> None:
    assert names(read_layout("/registry/pods/", "s")) == ["default-0", "pods", "default-1"]


def test_file_holds_one_prefix_a_line(tmp_path: Path) -> None:
    path = tmp_path / "layout"
    path.write_text("# heavy\n/registry/pods/\n\n  /registry/events/\n", encoding="utf-8")
    listed = read_layout("/registry/pods/,/registry/events/", "s")
    assert read_layout(str(path), "s") == listed


def buckets(tablets: TabletMap) -> dict[str, int]:
    return {name: tablets.tablet_of(name.encode() + b"x").buckets for name in PREFIXES}


@pytest.mark.parametrize(
    "value",
    [
        "/registry/pods/,/registry/events/=4",
        "/registry/pods=1,/registry/events = 4 ",
        "/registry/events=4,/registry/pods/",
    ],
)
def test_number_behind_a_prefix_hashes_it_into_so_many_tablets(value: str) -> None:
    tablets = read_layout(value, ["s", "t"])
    assert buckets(tablets) == {"/registry/pods/": 1, "/registry/events/": 4}
    assert [name for name in names(tablets) if name.startswith("events")] == [
        "events.0",
        "events.1",
        "events.2",
        "events.3",
    ]


@pytest.mark.parametrize("prefix", ["/registry/pods/", "/data/"])
def test_one_prefix_with_a_number_needs_no_comma(prefix: str) -> None:
    assert read_layout(f"{prefix}=256", "s").tablet_of(prefix.encode()).buckets == 256


def test_prefix_that_holds_an_equals_sign_is_written_with_a_number() -> None:
    assert names(read_layout("/a=b/=1,/c/", "s"))[1] == "a=b"


def test_kubernetes_hashes_nothing() -> None:
    assert {tablet.buckets for tablet in read_layout("kubernetes", ["s", "t"]).tablets} == {1}


def test_file_holds_numbers_behind_its_prefixes(tmp_path: Path) -> None:
    path = tmp_path / "layout=4"
    path.write_text("# many\n/registry/events/=4\n/registry/pods/\n", encoding="utf-8")
    assert buckets(read_layout(str(path), "s")) == {"/registry/pods/": 1, "/registry/events/": 4}


@pytest.mark.parametrize(
    "number",
    ["0", "3", "512", "-4", "+4", "04", "4.0", "four", "", "\u0664", "4=", "9" * 5_000, "/"],
)
def test_number_of_buckets_that_is_none_is_refused_with_a_sentence(number: str) -> None:
    with pytest.raises(BadLayout, match="a power of two, from 1 to 256") as caught:
        read_layout(f"/registry/pods/={number},/x/", "s")
    assert "=4" in caught.value.hint


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("registry/pods/,/x/", "no key prefix"),
        ("/,/x/", "no key prefix"),
        ("//,/x/", "no key prefix"),
        ("/registry/pods/,/registry/pods/", "listed twice"),
        ("/registry/pods,/registry/pods/", "listed twice"),
        ("/registry/pods/=2,/registry/pods/=4", "listed twice"),
        ("=4,/x/", "no key prefix"),
        ("pods=4", "no key prefix"),
        ("kubernets", "no layout, no list of prefixes and no readable file"),
        ("", "no readable file"),
        (".", "no readable file"),
    ],
)
def test_value_that_is_no_layout_is_refused_with_a_sentence(value: str, words: str) -> None:
    with pytest.raises(BadLayout, match=words) as caught:
        read_layout(value, "s")
    assert caught.value.definite
    assert "kubernetes" in caught.value.hint


def test_file_that_is_no_text_is_refused_with_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "layout"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(BadLayout, match="no readable file"):
        read_layout(str(path), "s")


def test_prefix_longer_than_a_file_name_is_still_a_prefix() -> None:
    """Looking whether it is a file must not end in a traceback."""
    prefix = "/registry/" + "x" * 300 + "/"
    assert len(read_layout(prefix, "s").tablets) == 3


@pytest.mark.parametrize(
    "value",
    ["/registry/default-0/,/x/", "/registry/pods/,/registry/pods-1/", "/a/b/,/a-b/,/a-b-1/"],
)
def test_prefixes_whose_names_meet_still_make_a_layout(value: str) -> None:
    """Names are for people; keys are what a layout is about, and these are all different."""
    tablets = read_layout(value, "s")
    assert len(set(names(tablets))) == len(tablets.tablets)


def test_layout_with_more_tablets_than_a_map_can_have_is_refused() -> None:
    value = ",".join(f"/registry/r{number}/=256" for number in range(4))
    with pytest.raises(BadLayout, match="at most 1000"):
        read_layout(value, "shard-0")
