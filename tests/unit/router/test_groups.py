"""Which watchers a commit concerns: by key, by prefix, by an odd range."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubebraid.base.keyspace import KeyRange, prefix_end, single
from kubebraid.base.record import Commit, Event
from kubebraid.router.groups import FEW, Groups
from kubebraid.router.watcher import Options, Request, Watcher, encode

from .fakes import Client, Shards, commit

ALL = Options(KeyRange(b"a", b"z"), False, False, False)


def watcher(options: Options = ALL) -> Watcher:
    shards = Shards()
    hub = shards.hub()
    client = Client(shards, hub)
    client.watch()
    feed = client.session.watchers[0].feed
    return Watcher(client.session, 7, Request(options, 0, False), 9, feed)


def prefix(start: bytes) -> Options:
    return ALL._replace(span=KeyRange(start, prefix_end(start)))


def crowded() -> Groups:
    """So many groups elsewhere that they are not asked one by one."""
    groups = Groups()
    for number in range(FEW + 1):
        groups.add(watcher(prefix(b"elsewhere/%d/" % number)))
    return groups


def test_watchers_that_want_the_same_share_one_group() -> None:
    """Worked example: the payload is encoded once, whoever many apiservers watch the pods."""
    groups = Groups()
    one, two = watcher(), watcher()
    groups.add(one)
    groups.add(two)
    ((options, _, members),) = groups.concerned([commit(5, b"b")])
    assert options == ALL
    assert set(members) == {one, two}
    assert len(groups) == 2
    assert one.synced


def test_single_key_watch_is_concerned_only_by_its_key() -> None:
    """Each uncached client watch of one object is such a one: there may be 100,000 of them."""
    groups = crowded()
    one, other = watcher(ALL._replace(span=single(b"b"))), watcher(ALL._replace(span=single(b"c")))
    groups.add(one)
    groups.add(other)
    assert groups.concerned([commit(5, b"x")]) == []
    ((_, _, members),) = groups.concerned([commit(5, b"x"), commit(6, b"b")])
    assert members == [one]


def test_single_key_watches_with_other_options_are_all_concerned() -> None:
    groups = crowded()
    plain = watcher(ALL._replace(span=single(b"b")))
    previous = watcher(ALL._replace(span=single(b"b"), prev_kv=True))
    groups.add(plain)
    groups.add(previous)
    found = groups.concerned([commit(5, b"b"), commit(6, b"b")])
    assert {w for _, _, members in found for w in members} == {plain, previous}
    groups.remove(plain)
    ((_, _, members),) = groups.concerned([commit(5, b"b")])
    assert members == [previous]


def test_prefix_watch_is_concerned_only_by_what_lies_under_it() -> None:
    """Worked example."""
    groups = crowded()
    a, b = watcher(prefix(b"/a/")), watcher(prefix(b"/b/"))
    groups.add(a)
    groups.add(b)
    ((options, theirs, members),) = groups.concerned([commit(5, b"/", b"/b/x"), commit(6, b"/b/y")])
    assert options == b.options
    assert members == [b]
    assert [(c.revision, [e.key for e in c.events]) for c in theirs] == [
        (5, [b"/b/x"]),
        (6, [b"/b/y"]),
    ]


KEYS = st.binary(max_size=4).map(lambda key: key.translate(bytes(n % 3 for n in range(256))))


@st.composite
def spans(draw: st.DrawFn) -> KeyRange:
    start, other = draw(KEYS), draw(KEYS)
    kinds = [single(start), KeyRange(start, None), KeyRange(start, prefix_end(start))]
    if start < other:
        kinds.append(KeyRange(start, other))
    return draw(st.sampled_from(kinds))


@given(st.lists(spans(), max_size=12), st.lists(st.lists(KEYS, max_size=4), max_size=5))
def test_index_finds_what_looking_at_every_group_finds(
    wanted: list[KeyRange], written: list[list[bytes]]
) -> None:
    """The index only leaves out what a group does not want: the same bytes reach everybody."""
    groups = Groups()
    watchers = [watcher(ALL._replace(span=span)) for span in wanted]
    for one in watchers:
        groups.add(one)
    commits = [
        Commit(revision, tuple(Event(key, True, b"raw", None) for key in keys))
        for revision, keys in enumerate(written, start=2)
        if keys
    ]
    sent = {
        one: [(piece.last, piece.payload) for piece in encode(theirs, options)]
        for options, theirs, members in groups.concerned(commits)
        for one in members
    }
    for one in watchers:
        expected = [(piece.last, piece.payload) for piece in encode(commits, one.options)]
        assert sent.get(one, []) == expected


@pytest.mark.parametrize("span", [single(b"b"), KeyRange(b"a", None), KeyRange(b"b", b"c")])
def test_group_that_nobody_is_in_is_gone(span: KeyRange) -> None:
    groups = crowded()
    before = len(groups)
    one = watcher(ALL._replace(span=span))
    groups.add(one)
    groups.remove(one)
    assert not one.synced
    assert len(groups) == before
    assert groups.concerned([commit(5, b"b")]) == []


def test_leaving_members_keep_the_group_for_the_others() -> None:
    groups = Groups()
    one, two = watcher(), watcher()
    groups.add(one)
    groups.add(two)
    groups.remove(one)
    ((_, _, members),) = groups.concerned([commit(5, b"b")])
    assert members == [two]
