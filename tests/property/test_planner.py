"""Random maps and requests: what is planned covers every key, one step after the other.

A plan is carried out here as the coordinator would: its migrations in their order, ids given as
they come, a move of a tablet that the plan made found by its name.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import count

from hypothesis import event, given
from hypothesis import strategies as st

from kubebraid.base.errors import RequestRefused
from kubebraid.base.ports import ShardPlace, TabletLoad
from kubebraid.base.reshard import Kind, Migration, Phase, Planned
from kubebraid.base.tabletmap import Tablet, TabletMap, layout
from kubebraid.coordinator import planning
from kubebraid.coordinator.state import State
from kubebraid.proto.adminreshard import PlanRequest, Verb, decode_token, encode_token
from kubebraid.router.balance import MOVES_MAX
from kubebraid.router.draft import Scene, Standing, busy
from kubebraid.router.planner import plan

SHARDS = ("s0", "s1", "s2")
PREFIXES = tuple(b"/registry/%c/" % letter for letter in b"abcde")
KEYS = st.sampled_from([b"/registry/%c/%c" % (a, b) for a in b"abcdez" for b in b"0mz"])
WORDS = st.sampled_from(
    [f"/registry/{letter}/" for letter in "abcdez"]
    + ["/registry/a/m/", "a", "b.1", "c", "default-0", "default-1", "a-1", "b", "1", "3"]
)


def wishes(verb: Verb, **fields: st.SearchStrategy[object]) -> st.SearchStrategy[PlanRequest]:
    """Requests with these fields; hypothesis alone would fill the others, too."""

    def wish(told: dict[str, object]) -> PlanRequest:
        return PlanRequest(verb, **told)  # type: ignore[arg-type]

    return st.fixed_dictionaries(fields).map(wish)


ONE: st.SearchStrategy[object] = st.tuples(WORDS)
REQUESTS = st.one_of(
    wishes(Verb.SPLIT, names=ONE, at=KEYS, to=st.sampled_from([(), SHARDS[:2], SHARDS])),
    wishes(Verb.SPLIT, names=ONE, parts=st.integers(1, 5)),
    wishes(
        Verb.SPLIT,
        names=ONE,
        buckets=st.sampled_from([2, 4, 8, 3]),
        to=st.sampled_from([(), SHARDS[:1], SHARDS[1:], SHARDS]),
    ),
    wishes(Verb.MOVE, names=ONE, to=st.tuples(st.sampled_from(SHARDS)), manual=st.booleans()),
    wishes(Verb.MERGE, names=st.lists(WORDS, min_size=1, max_size=3).map(tuple)),
    wishes(Verb.DRAIN, names=st.tuples(st.sampled_from(SHARDS))),
    wishes(Verb.REBALANCE),
)


@st.composite
def worlds(draw: st.DrawFn) -> TabletMap:
    prefixes = draw(st.lists(st.sampled_from(PREFIXES), unique=True, max_size=4))
    buckets = {p: draw(st.sampled_from([1, 1, 2, 4])) for p in prefixes}
    return layout(prefixes, SHARDS, buckets)


def carried_out(tablets: TabletMap, migrations: tuple[Migration, ...]) -> TabletMap:
    """One after the other; every map on the way is checked when it is made."""
    fresh = count(max(t.id for t in tablets.tablets) + 100)
    given: dict[int, int] = {}
    for migration in migrations:
        here = tablets.by_id()
        sources = [here[given.get(source, source)] for source in migration.sources]
        assert {t.shard for t in sources} == {migration.source}
        assert {t.shard for t in migration.targets} == {migration.target}
        if migration.kind is Kind.MOVE:
            targets = [replace(migration.targets[0], id=sources[0].id)]
            assert targets == [replace(sources[0], shard=migration.target)]
        else:
            assert given.keys().isdisjoint(t.id for t in migration.targets)
            assert here.keys().isdisjoint(t.id for t in migration.targets)
            given |= {t.id: next(fresh) for t in migration.targets}
            targets = [replace(t, id=given[t.id]) for t in migration.targets]
        left = [t for t in tablets.tablets if t not in sources]
        whole = sorted([*left, *targets], key=lambda t: t.place)
        tablets = TabletMap(tablets.version + 1, tuple(whole))
    return tablets


def taken(tablets: TabletMap, migrations: tuple[Migration, ...]) -> None:
    """The coordinators take the plan, as it is behind its way to an operator and back."""
    if not migrations:
        return
    places = tuple(ShardPlace(shard, "disk", 1, "h:1", 1) for shard in SHARDS)
    state = State(1, -1, tablets, cluster="c", shards=places)
    planned = Planned(migrations, tablets.version)
    number, read = decode_token(encode_token(0, planned))
    assert (number, read) == (0, planned)
    found = planning.taken(state, planned)
    assert not isinstance(found, str), found
    assert [m.id for m in found[0]] == [m.id for m in migrations]


def ordered(migrations: tuple[Migration, ...]) -> None:
    """Two that share a tablet come one behind the other, by `after`."""
    done: dict[str, set[str]] = {}
    holders: dict[int, str] = {}
    for migration in migrations:
        behind = {migration.after} | done.get(migration.after, set()) if migration.after else set()
        done[migration.id] = behind
        mine = {*migration.sources, *(tablet.id for tablet in migration.targets)}
        for tablet in mine:
            assert tablet not in holders or holders[tablet] in behind, (tablet, migration)
            holders[tablet] = migration.id
    assert len(done) == len(migrations), "ids are unique"


@given(
    worlds(),
    st.lists(REQUESTS, min_size=1, max_size=4),
    st.dictionaries(st.integers(1, 12), st.integers(0, 100)),
    st.lists(KEYS, max_size=4),
)
def test_whatever_is_planned_covers_every_key(
    tablets: TabletMap, requests: list[PlanRequest], sizes: dict[int, int], borders: list[bytes]
) -> None:
    numbers = count(1)
    recorded: tuple[Migration, ...] = ()
    shards = dict.fromkeys(SHARDS, Standing(True))
    for request in requests:
        loads = {t: TabletLoad(t, size, 1, size / 7, 0) for t, size in sizes.items()}
        scene = Scene(tablets, shards, loads, recorded, tuple(borders))
        try:
            made = plan(request, scene, numbers.__next__)
        except RequestRefused as refused:
            event(f"refused: {refused.code.name}")
            continue
        event(f"{request.verb.value}: {min(2, len(made.migrations))}")
        ordered(made.migrations)
        taken(tablets, made.migrations)
        assert {m.id for m in made.migrations}.isdisjoint(m.id for m in recorded)
        tablets = carried_out(tablets, made.migrations)
        recorded += tuple(m._replace(phase=Phase.DONE) for m in made.migrations)
        check_wish(request, tablets, made.migrations)


def check_wish(request: PlanRequest, tablets: TabletMap, migrations: tuple[Migration, ...]) -> None:
    """What was wanted is so."""
    match request.verb:
        case Verb.DRAIN:
            assert all(t.shard != request.names[0] for t in tablets.tablets)
        case Verb.MOVE:
            assert all(t.shard == request.to[0] for m in migrations for t in m.targets)
        case Verb.SPLIT if request.at is not None:
            assert request.at in {t.span.start for t in tablets.tablets}
        case Verb.SPLIT if request.buckets:
            assert request.buckets in {t.buckets for t in migrations[0].targets}
        case Verb.REBALANCE:
            assert len(migrations) <= MOVES_MAX
        case _:
            assert tablets.tablets


@given(worlds(), REQUESTS, st.lists(st.integers(1, 12), min_size=1, max_size=3))
def test_tablets_of_unfinished_migrations_are_in_no_plan(
    tablets: TabletMap, request: PlanRequest, held: list[int]
) -> None:
    by_id = tablets.by_id()
    recorded = tuple(
        Migration(f"m{n}", Kind.MOVE, tablet.shard, "s9", (tablet.id,), (_moved(tablet),))
        for n, tablet in enumerate(by_id[t] for t in set(held) if t in by_id)
    )
    scene = Scene(tablets, dict.fromkeys(SHARDS, Standing(True)), {}, recorded)
    try:
        made = plan(request, scene, count(1).__next__)
    except RequestRefused:
        return
    touched = {source for m in made.migrations for source in m.sources}
    assert touched.isdisjoint(busy(recorded))


def _moved(tablet: Tablet) -> Tablet:
    return replace(tablet, shard="s9")
