"""Plans: what an operator's word becomes on a map, and what is refused with which reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count

import pytest

from kubebraid.base.errors import Code, RequestRefused
from kubebraid.base.ports import TabletLoad
from kubebraid.base.reshard import Kind, Migration, Phase
from kubebraid.base.tabletmap import TabletMap, layout
from kubebraid.proto.adminreshard import PlanRequest, Verb
from kubebraid.router.draft import Scene, Standing
from kubebraid.router.planner import MIGRATIONS_MAX, Made, plan
from kubebraid.router.splits import to_sample

PODS, EVENTS, LEASES = b"/registry/pods/", b"/registry/events/", b"/registry/leases/"
UP = {"a": Standing(True), "b": Standing(True), "c": Standing(True)}


def placed(**shards: str) -> TabletMap:
    """default-0, events.0, events.1, default-1, leases, default-2, pods, default-3; on a but for
    those named."""
    made = layout([PODS, EVENTS, LEASES], "a", {EVENTS: 2})
    by_name = {name.replace("_", "-").replace("events", "events."): s for name, s in shards.items()}
    moved = (replace_shard(made, by_name)).tablets
    return TabletMap(1, moved)


def replace_shard(tablets: TabletMap, by_name: dict[str, str]) -> TabletMap:
    return TabletMap(
        tablets.version,
        tuple(replace(t, shard=by_name.get(t.name, t.shard)) for t in tablets.tablets),
    )


def drawing() -> Callable[[], int]:
    return count(0x7F3A).__next__


def made(request: PlanRequest, scene: Scene | TabletMap) -> Made:
    scene = Scene(scene, UP) if isinstance(scene, TabletMap) else scene
    return plan(request, scene, drawing())


def one(request: PlanRequest, scene: Scene | TabletMap) -> Migration:
    (migration,) = made(request, scene).migrations
    return migration


def refused(request: PlanRequest, scene: Scene | TabletMap) -> str:
    with pytest.raises(RequestRefused) as caught:
        made(request, scene)
    assert caught.value.message.startswith("kubebraid: ")
    return caught.value.message.removeprefix("kubebraid: ")


def split(name: str, **how: object) -> PlanRequest:
    return PlanRequest(Verb.SPLIT, (name,), **how)  # type: ignore[arg-type]


def move(name: str, to: str) -> PlanRequest:
    return PlanRequest(Verb.MOVE, (name,), to=(to,))


def merge(*names: str) -> PlanRequest:
    return PlanRequest(Verb.MERGE, names)


def shape(migration: Migration) -> list[tuple[str, bytes, bytes | None, int, int]]:
    return [(t.name, t.span.start, t.span.end, t.bucket, t.buckets) for t in migration.targets]


def names(migrations: Sequence[Migration]) -> list[tuple[str, str, str]]:
    return [(m.targets[0].name, m.source, m.target) for m in migrations]


# -- split -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["pods", "7", "/registry/pods/", "/registry/pods"])
def test_split_at_a_key_makes_two_tablets_of_the_same_shard(word: str) -> None:
    migration = one(split(word, at=b"/registry/pods/m"), placed())
    assert migration.kind is Kind.SPLIT
    assert (migration.source, migration.target, migration.sources) == ("a", "a", (7,))
    assert shape(migration) == [
        ("pods-1", b"/registry/pods", b"/registry/pods/m", 0, 1),
        ("pods-2", b"/registry/pods/m", b"/registry/pods0", 0, 1),
    ]
    assert [t.id for t in migration.targets] == [9, 10], "ids that nobody has"
    assert [t.oepoch for t in migration.targets] == [2, 2]
    assert migration.id == "split-pods-7f3a"
    assert migration.phase is Phase.PLANNED


def test_flags_of_the_request_are_those_of_each_migration() -> None:
    request = split("pods", at=b"/registry/pods/m", manual=True, rate=9, keep_source=True)
    migration = one(request, placed())
    assert (migration.manual, migration.rate, migration.keep_source) == (True, 9, True)


def test_names_of_parts_are_new_also_of_a_part_that_is_split_again() -> None:
    first = one(split("pods", at=b"/registry/pods/m"), placed())
    tablets = after(placed(), [first])
    again = one(split("pods-1", at=b"/registry/pods/c"), tablets)
    assert [t.name for t in again.targets] == ["pods-3", "pods-4"]


def test_prefix_that_was_split_before_is_split_where_the_key_is() -> None:
    first = one(split("pods", at=b"/registry/pods/m"), placed())
    tablets = after(placed(), [first])
    again = one(split("/registry/pods/", at=b"/registry/pods/x"), tablets)
    assert shape(again)[0][:3] == ("pods-3", b"/registry/pods/m", b"/registry/pods/x")


def test_split_by_parts_cuts_at_the_sampled_keys_inside() -> None:
    borders = (b"/registry/a", b"/registry/pods", b"/registry/pods/c", b"/registry/pods/h", b"z")
    request = split("pods", parts=3)
    assert one(request, Scene(placed(), UP, borders=borders)).targets[1].span.start == (
        b"/registry/pods/c"
    )
    assert len(one(request, Scene(placed(), UP, borders=borders)).targets) == 3
    fewer = made(split("pods", parts=9), Scene(placed(), UP, borders=borders))
    assert len(fewer.migrations[0].targets) == 3
    assert fewer.notes == ("its keys give no more than 3 parts",)
    assert "too few keys" in refused(request, placed())


def test_tablet_to_sample_is_named_by_splits_by_parts_alone() -> None:
    tablet = to_sample(split("/registry/pods/", parts=2), placed())
    assert tablet is not None
    assert tablet.name == "pods"
    assert to_sample(split("pods", at=b"x"), placed()) is None
    assert to_sample(move("pods", "b"), placed()) is None


def test_split_by_hash_makes_all_buckets_on_the_owner() -> None:
    migration = one(split("pods", buckets=4), placed())
    span = (b"/registry/pods", b"/registry/pods0")
    assert shape(migration) == [(f"pods.{at}", *span, at, 4) for at in range(4)]
    assert {t.shard for t in migration.targets} == {"a"}


def test_prefix_inside_a_tablet_is_cut_out_and_hashed_in_one_migration() -> None:
    migration = one(split("/registry/pods/ns1/", buckets=2), placed())
    inside = (b"/registry/pods/ns1", b"/registry/pods/ns10")
    assert shape(migration) == [
        ("pods-1", b"/registry/pods", inside[0], 0, 1),
        ("pods-ns1.0", *inside, 0, 2),
        ("pods-ns1.1", *inside, 1, 2),
        ("pods-2", inside[1], b"/registry/pods0", 0, 1),
    ]


def test_buckets_go_to_the_shards_that_are_named_behind_the_split() -> None:
    cut, *moves = made(split("pods", buckets=4, to=("a", "b")), placed()).migrations
    assert len(moves) == 2  # two buckets stay where they are made
    for migration in moves:
        assert migration.kind is Kind.MOVE
        assert migration.after == cut.id
        assert migration.sources == (migration.targets[0].id,)
        assert (migration.source, migration.target) == ("a", "b")
        assert replace(migration.targets[0], shard="a") in cut.targets
    assert len({cut.id, *(m.id for m in moves)}) == 3


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (split("pods"), "a split wants one of --at, --parts and --hash"),
        (split("pods", at=b"x", buckets=2), "a split wants one of"),
        (split("pods", at=b"/registry/nodes"), "lies outside of pods"),
        (split("pods", at=b"/registry/pods"), "tablet pods begins at /registry/pods already"),
        (split("/registry/pods/", at=b"/registry/x"), "lies outside of /registry/pods/"),
        (split("events.1", at=b"/registry/events/x"), "one of 2 hash buckets"),
        (split("/registry/events/", at=b"/registry/events/x"), "hash buckets"),
        (split("events.0", buckets=2), "hash buckets"),
        (split("/registry/events/", buckets=4), "name one of them"),
        (split("pods", buckets=3), "a power of two, from 2 to 256"),
        (split("pods", buckets=1), "a power of two"),
        (split("pods", buckets=512), "a power of two"),
        (split("pods", parts=1), "two parts or more"),
        (split("/registry/pods/ns1/", parts=2), "cut it out first: tablet split pods --at"),
        (split("pod", buckets=2), "no tablet is called 'pod'; is it pods?"),
        (split("/", buckets=2), "no prefix"),
        (split("/registry/\\", buckets=2), "a backslash begins"),
        (split("pods", buckets=2, to=("z",)), "no shard is called 'z'; there are a, b, c"),
        (PlanRequest(Verb.SPLIT, ("pods", "leases"), buckets=2), "one tablet or prefix is named"),
    ],
)
def test_split_is_refused_with_the_reason(request_: PlanRequest, text: str) -> None:
    assert text in refused(request_, placed())


def test_border_through_a_prefix_is_told() -> None:
    cut = one(split("pods", at=b"/registry/pods/ns1/m"), placed())
    tablets = after(placed(), [cut])
    assert "a border of tablets goes through" in refused(
        split("/registry/pods/ns1/", buckets=2), tablets
    )


# -- move ------------------------------------------------------------------------------------------


def test_move_keeps_id_name_and_range() -> None:
    migration = one(move("pods", "b"), placed())
    assert (migration.kind, migration.source, migration.target) == (Kind.MOVE, "a", "b")
    assert migration.sources == (7,)
    assert migration.targets[0].id == 7
    assert shape(migration)[0][:3] == ("pods", b"/registry/pods", b"/registry/pods0")
    assert migration.targets[0].shard == "b"
    assert migration.copies


def test_prefix_of_several_tablets_moves_those_that_are_elsewhere() -> None:
    plan_ = made(move("/registry/events/", "b"), placed(events1="b"))
    assert names(plan_.migrations) == [("events.0", "a", "b")]
    assert plan_.notes == ("tablet events.1 is on b already",)
    assert made(move("events", "a"), placed()).migrations == ()


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (move("pods", "z"), "no shard is called 'z'"),
        (move("nothing", "b"), "no tablet is called 'nothing'"),
        (PlanRequest(Verb.MOVE, ("pods",)), "a move goes to one shard"),
        (PlanRequest(Verb.MOVE, ("pods",), to=("a", "b")), "a move goes to one shard"),
        (move("/registry/pods/ns1/", "b"), "is a part of tablet pods"),
    ],
)
def test_move_is_refused_with_the_reason(request_: PlanRequest, text: str) -> None:
    assert text in refused(request_, placed())


@pytest.mark.parametrize(
    ("down", "text"),
    [("b", "shard b cannot be reached"), ("a", "shard a, which owns the data, cannot be reached")],
)
def test_shards_of_a_move_must_be_up(down: str, text: str) -> None:
    scene = Scene(placed(), {**UP, down: Standing(False)})
    assert text in refused(move("pods", "b"), scene)


@pytest.mark.parametrize("phase", [Phase.PLANNED, Phase.FROZEN, Phase.DRAINING])
def test_tablet_of_an_unfinished_migration_is_left_alone(phase: Phase) -> None:
    other = one(move("pods", "c"), placed())._replace(id="m1", phase=phase)
    scene = Scene(placed(), UP, migrations=(other,))
    for request in (move("pods", "b"), split("pods", buckets=2), merge("default-2", "pods")):
        told = refused(request, scene)
        assert f"tablet pods is in migration m1 ({phase.name.lower()})" in told
        assert ("reshard cancel m1" in told) is (phase is not Phase.DRAINING)
    assert made(move("leases", "b"), scene).migrations


@pytest.mark.parametrize("phase", [Phase.DONE, Phase.ABORTED])
def test_migration_that_has_ended_is_in_nobodys_way(phase: Phase) -> None:
    other = one(move("pods", "c"), placed())._replace(phase=phase)
    migration = one(move("pods", "b"), Scene(placed(), UP, migrations=(other,)))
    assert migration.id != other.id, "ids are never used twice"


@pytest.mark.parametrize(("free", "fits"), [(-1, True), (120, True), (119, False)])
def test_copy_must_fit_the_disk_with_a_margin(free: int, fits: bool) -> None:
    loads = {7: TabletLoad(7, 100, 1, 0, 0)}
    scene = Scene(placed(), {**UP, "b": Standing(True, free)}, loads)
    if fits:
        assert made(move("pods", "b"), scene).migrations
    else:
        assert "choose another shard, or make room" in refused(move("pods", "b"), scene)


def test_copies_of_one_plan_must_fit_together() -> None:
    loads = {2: TabletLoad(2, 100, 1, 0, 0), 3: TabletLoad(3, 100, 1, 0, 0)}
    scene = Scene(placed(), {**UP, "b": Standing(True, 239)}, loads)
    assert "b has 0 MiB of disk free" in refused(move("/registry/events/", "b"), scene)


# -- merge -----------------------------------------------------------------------------------------


def test_neighbours_of_one_shard_merge_at_once() -> None:
    cut = one(split("pods", at=b"/registry/pods/m"), placed())
    tablets = after(placed(), [cut])
    migration = one(merge("pods-2", "pods-1"), tablets)
    assert migration.kind is Kind.MERGE
    assert migration.sources == tuple(t.id for t in tablets.tablets if t.name.startswith("pods"))
    assert shape(migration) == [("pods", b"/registry/pods", b"/registry/pods0", 0, 1)]
    assert one(merge("/registry/pods/"), tablets).targets == migration.targets


def test_tablets_of_several_shards_move_together_first_one_after_the_other() -> None:
    tablets = placed(leases="c", default_2="b")
    first, second, last = made(merge("default-1", "leases", "default-2"), tablets).migrations
    assert names([first, second]) == [("leases", "c", "a"), ("default-2", "b", "a")]
    assert (first.after, second.after, last.after) == ("", first.id, second.id)
    assert (last.kind, last.source, last.target) == (Kind.MERGE, "a", "a")
    assert last.sources == (4, 5, 6)


def test_merge_happens_where_most_of_it_is() -> None:
    loads = {4: TabletLoad(4, 10, 1, 0, 0), 5: TabletLoad(5, 90, 1, 0, 0)}
    scene = Scene(placed(leases="c"), UP, loads)
    moved, merged = made(merge("default-1", "leases"), scene).migrations
    assert names([moved]) == [("default-1", "a", "c")]
    assert (merged.source, merged.after) == ("c", moved.id)


def test_all_buckets_of_a_range_merge_into_one_tablet() -> None:
    for request in (merge("events.1", "events.0"), merge("events"), merge("/registry/events/")):
        migration = one(request, placed())
        assert shape(migration) == [("events", b"/registry/events", b"/registry/events0", 0, 1)]


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (merge("pods"), "two tablets or more"),
        (merge("pods", "pods"), "two tablets or more"),
        (merge("pods", "leases"), "leases and pods are not neighbours"),
        (merge("default-0", "events.0"), "events.0 is one of 2 hash buckets"),
        (merge("events.0", "default-1"), "all are merged at once"),
        (merge("events", "default-1"), "all are merged at once"),
    ],
)
def test_merge_is_refused_with_the_reason(request_: PlanRequest, text: str) -> None:
    assert text in refused(request_, placed())


# -- drain, rebalance ------------------------------------------------------------------------------


def test_drain_moves_every_tablet_to_the_others_that_are_up() -> None:
    scene = Scene(placed(pods="b"), {**UP, "c": Standing(False)})
    moves = made(PlanRequest(Verb.DRAIN, ("a",)), scene).migrations
    assert {m.target for m in moves} == {"b"}
    assert sorted(m.sources[0] for m in moves) == [1, 2, 3, 4, 5, 6, 8]


def test_drain_of_an_empty_shard_is_nothing_to_do() -> None:
    assert made(PlanRequest(Verb.DRAIN, ("c",)), placed()) == Made((), ("c owns no tablet",))


@pytest.mark.parametrize(
    ("shards", "shard", "text"),
    [
        (UP, "z", "no shard is called 'z'"),
        ({"a": Standing(True)}, "a", "no other shard"),
        ({**UP, "a": Standing(False)}, "a", "cannot be reached"),
    ],
)
def test_drain_is_refused_with_the_reason(
    shards: dict[str, Standing], shard: str, text: str
) -> None:
    assert text in refused(PlanRequest(Verb.DRAIN, (shard,)), Scene(placed(), shards))


def test_rebalance_moves_from_the_heaviest_to_the_lightest() -> None:
    loads = {t: TabletLoad(t, 100, 1, 1, 0) for t in range(1, 9)}
    moves = made(PlanRequest(Verb.REBALANCE), Scene(placed(), UP, loads)).migrations
    assert {m.source for m in moves} == {"a"}
    assert sorted(m.target for m in moves) == ["b", "b", "b", "c", "c"]  # 3, 3 and 2


def test_rebalance_of_even_shards_says_that_there_is_nothing_to_do() -> None:
    tablets = placed(default_0="b", events0="b", events1="b", default_1="c", leases="c")
    plan_ = made(PlanRequest(Verb.REBALANCE), tablets)
    assert plan_ == Made((), ("no move would make the shards more even",))


def test_rebalance_leaves_alone_what_was_moved_lately_or_is_on_its_way() -> None:
    other = one(move("pods", "c"), placed())._replace(phase=Phase.PREPARING)
    rested = frozenset({1, 2, 3, 4, 5, 6})
    scene = Scene(placed(), UP, migrations=(other,), rested=rested)
    moves = made(PlanRequest(Verb.REBALANCE), scene).migrations
    assert [m.sources for m in moves] == [(8,)]


def test_plan_is_bounded_and_says_what_follows() -> None:
    tablets = layout([b"/registry/x%d/" % n for n in range(150)], "a")
    plan_ = made(PlanRequest(Verb.DRAIN, ("a",)), tablets)
    assert len(plan_.migrations) == MIGRATIONS_MAX
    more = len(tablets.tablets) - MIGRATIONS_MAX
    assert plan_.notes == (f"{more} more follow: repeat the command when these are done",)


def test_ids_of_one_plan_are_unique_also_where_names_are_cut() -> None:
    long = "x" * 40
    tablets = layout([f"/registry/{long}{n}/".encode() for n in "ab"], "a")
    draws = iter([1, 1, 1, 1, 2, 3, 4, 5])
    drained = plan(PlanRequest(Verb.DRAIN, ("a",)), Scene(tablets, UP), draws.__next__)
    ids = [m.id for m in drained.migrations]
    assert len(set(ids)) == len(ids) == len(tablets.tablets)


def test_names_and_ids_that_were_promised_to_others_are_not_given_again() -> None:
    other = one(split("leases", at=b"/registry/leases/m"), placed())
    promised = tuple(
        replace(tablet, name=f"pods-{n}", id=20 + n) for n, tablet in enumerate(other.targets, 1)
    )
    scene = Scene(placed(), UP, migrations=(other._replace(targets=promised),))
    migration = one(split("pods", at=b"/registry/pods/m"), scene)
    assert [(t.id, t.name) for t in migration.targets] == [(23, "pods-3"), (24, "pods-4")]


def test_refusals_have_the_code_that_belongs_to_them() -> None:
    found = {}
    for request in (split("pods"), move("nothing", "b"), merge("pods")):
        with pytest.raises(RequestRefused) as caught:
            made(request, placed())
        found[request.verb] = caught.value.code
    assert found == {
        Verb.SPLIT: Code.INVALID_ARGUMENT,
        Verb.MOVE: Code.NOT_FOUND,
        Verb.MERGE: Code.FAILED_PRECONDITION,
    }


def after(tablets: TabletMap, migrations: Sequence[Migration]) -> TabletMap:
    """The map when they are done, as the coordinator would make it."""
    numbers = count(max(t.id for t in tablets.tablets) + 1)
    left = list(tablets.tablets)
    for migration in migrations:
        left = [t for t in left if t.id not in migration.sources]
        moves = migration.kind is Kind.MOVE
        left += [t if moves else replace(t, id=next(numbers)) for t in migration.targets]
    return TabletMap(tablets.version + 1, tuple(sorted(left, key=lambda t: t.place)))
