"""Who is let in, whose adoption is confirmed, who is refused: over every outcome of the log."""

from __future__ import annotations

import pytest

from kubebraid.base.errors import Code
from kubebraid.base.ports import Adoption, ShardStart
from kubebraid.coordinator import commands
from kubebraid.coordinator.member import Member
from kubebraid.coordinator.transition import Adopted, Seat, StartShard
from tests.unit.coordinator.test_member import START, Cluster, ask, serving


def after(incarnation: int, *previous: int) -> ShardStart:
    """A process of s0 whose store says `previous`."""
    address = f"h:{incarnation}"
    return START._replace(incarnation=incarnation, address=address, previous=Adoption(*previous))


def adopted(member: Member, incarnation: int, marks: int = 0) -> None:
    member.adopted("s0", Adoption(incarnation, marks))


def lived() -> tuple[Cluster, Member]:
    """s0 serves as incarnation 8, behind 7; nobody has that store's present form but it."""
    cluster, a = serving()
    for start in (START, after(8, 7)):
        assert ask(a, start) == []
        cluster.run()
        adopted(a, start.incarnation)
        cluster.run()
    (shard,) = a.state.shards
    assert (shard.confirmed, shard.tried) == (Adoption(8), ())
    return cluster, a


@pytest.mark.parametrize("previous", [(), (7,), (7, 5), (9,)])
def test_older_copy_is_refused_with_what_to_do_and_who_serves_goes_on(
    previous: tuple[int, ...],
) -> None:
    """The worked example of the module."""
    cluster, a = lived()
    refused = ask(a, after(10, *previous))
    a.turn()
    assert refused == [], "behind a barrier"
    oepoch = a.state.tablets.tablets[0].oepoch
    replies = cluster.alloc(a, ends=((1, oepoch, 0),))
    cluster.run()
    assert len(replies) == 1
    assert not replies[0].refused
    (why,) = refused
    assert why.code is Code.UNIMPLEMENTED
    assert "s0 is an older copy" in why.message
    assert "incarnation 8 (mark 0)" in why.message
    assert a.state.shards[0].incarnation == 8


def test_store_that_was_in_use_is_refused_where_nobody_knows_of_that() -> None:
    cluster, a = serving()
    refused = ask(a, after(8, 7))
    cluster.run()
    assert "no record" in refused[0].message
    assert a.state.shards == ()


def test_right_store_is_let_in_at_once() -> None:
    cluster, a = lived()
    assert ask(a, after(9, 8)) == []
    cluster.run()
    assert a.state.shards[0].incarnation == 9


def entry(member: Member, start: ShardStart) -> bytes:
    """The command by which that process is let in."""
    (known,) = member.state.shards
    ends = tuple((t.id, t.begin) for t in member.state.tablets.tablets)
    who = (start.shard, start.store, start.incarnation, start.address)
    command = StartShard(member.state.cepoch, *who, ends, known.since, start.previous)
    return commands.encode(command)


def test_member_that_lags_refuses_nobody() -> None:
    """The shard heard of its adoption from a member that was ahead."""
    cluster, a = lived()
    refused = ask(a, after(10, 9))
    a.turn()
    cluster.entries.append(entry(a, after(9, 8)))
    cluster.run()
    assert refused == []
    assert a.state.shards[0].incarnation == 10


def test_barrier_without_an_outcome_is_asked_again() -> None:
    cluster, a = lived()
    cluster.logs["a"].passes = False
    refused = ask(a, after(10, 7))
    cluster.run()
    assert refused == []
    cluster.logs["a"].passes = True
    cluster.run()
    assert len(refused) == 1


@pytest.mark.parametrize("fate", ["applied", "late", "unknown", "twice", "full"])
def test_adoption_is_confirmed_over_every_outcome_of_its_submission(fate: str) -> None:
    cluster, a = serving()
    ask(a, START)
    cluster.run()
    cluster.logs["a"].fates.append(fate)
    adopted(a, 7)
    cluster.run()
    cluster.logs["a"].arrive()
    cluster.run()
    assert a.state.shards[0].serving


def test_adoption_of_a_process_that_was_replaced_is_not_submitted() -> None:
    cluster, a = lived()
    submitted = len(cluster.entries)
    adopted(a, 7, 99)
    a.turn()
    cluster.turn()
    assert not any(b'"adopted"' in said for said in cluster.entries[submitted:])
    assert a.state.shards[0].confirmed == Adoption(8)


def overtaken(fate: str) -> tuple[Cluster, Member]:
    """A copy that says 7 was let in here, and tablets froze for it; in the log the adoption of 8
    comes first. `fate`: of its command."""
    cluster, a = serving()
    ask(a, START)
    cluster.run()
    adopted(a, 7)
    cluster.run()
    ask(a, after(8, 7))
    cluster.run()
    cluster.logs["a"].fates.append(fate)
    refused = ask(a, after(9, 7))
    a.turn()
    cluster.entries.append(commands.encode(Adopted("s0", Adoption(8))))
    cluster.run()
    assert len(refused) == 1
    return cluster, a


def test_tablets_that_froze_for_a_copy_go_on_when_it_is_refused() -> None:
    cluster, a = overtaken("applied")
    oepoch = a.state.tablets.tablets[0].oepoch
    replies = cluster.alloc(a, ends=((1, oepoch, 0),))
    cluster.run()
    assert [reply.refused for reply in replies] == [()]


def test_m02_tablets_stay_frozen_while_a_command_with_their_h_may_come() -> None:
    """Whose it is, nobody can tell any more: what is handed out now would be above that H."""
    cluster, a = overtaken("late")
    oepoch = a.state.tablets.tablets[0].oepoch
    replies = cluster.alloc(a, ends=((1, oepoch, 0),))
    cluster.run()
    assert replies == []
    ask(a, after(10, 8))
    cluster.run()
    assert [reply.refused for reply in replies] == [(1,)], "the next start ends it"


# -- hosts -----------------------------------------------------------------------------------------


def seated(host: str) -> tuple[Cluster, Member]:
    """s0 serves as incarnation 7 at this host."""
    cluster, a = serving()
    assert ask(a, START._replace(host=host)) == []
    cluster.run()
    adopted(a, 7)
    cluster.run()
    assert (a.state.shards[0].host, a.state.shards[0].serving) == (host, True)
    return cluster, a


def seat(cluster: Cluster, member: Member, host: str) -> None:
    """As the log has it, from wherever it came."""
    before = member.state.shards[0].host
    cluster.entries.append(commands.encode(Seat(member.state.cepoch, "s0", host, before)))


def test_process_of_a_host_that_has_not_the_seat_is_refused_and_changes_nothing() -> None:
    cluster, a = seated("h0")
    for host in ("h1", ""):
        (refused,) = ask(a, after(8, 7)._replace(host=host))
        assert refused.code is Code.UNIMPLEMENTED
        assert "s0 is served by the host h0" in refused.message
    submitted = len(cluster.entries)
    cluster.run()
    assert not any(b'"start-shard"' in said for said in cluster.entries[submitted:])
    oepoch = a.state.tablets.tablets[0].oepoch
    replies = cluster.alloc(a, ends=((1, oepoch, 0),))
    cluster.run()
    assert [reply.refused for reply in replies] == [()], "nothing was frozen"


def test_host_that_got_the_seat_is_let_in_and_the_one_before_is_not_any_more() -> None:
    cluster, a = seated("h0")
    seat(cluster, a, "h1")
    cluster.run()
    assert a.state.shards[0].incarnation == 7, "who serves goes on"
    assert ask(a, after(8, 7)._replace(host="h1")) == []
    cluster.run()
    adopted(a, 8)
    cluster.run()
    assert (a.state.shards[0].incarnation, a.state.shards[0].host) == (8, "h1")
    (refused,) = ask(a, after(9, 8)._replace(host="h0"))
    assert "served by the host h1" in refused.message


def test_shard_whose_place_names_no_host_takes_that_of_its_next_start() -> None:
    """As the format before hosts had it."""
    cluster, a = lived()
    assert ask(a, after(9, 8)._replace(host="h0")) == []
    cluster.run()
    assert (a.state.shards[0].incarnation, a.state.shards[0].host) == (9, "h0")


@pytest.mark.parametrize("fate", ["applied", "late"])
def test_seat_that_overtakes_a_start_keeps_it_out_and_the_next_host_ends_the_freeze(
    fate: str,
) -> None:
    cluster, a = seated("h0")
    cluster.logs["a"].fates.append(fate)
    refused = ask(a, after(8, 7)._replace(host="h0"))
    a.turn()
    seat(cluster, a, "h1")
    cluster.run()
    cluster.logs["a"].arrive()
    cluster.run()
    assert (a.state.shards[0].incarnation, a.state.shards[0].host) == (7, "h1")
    assert refused == []
    (told,) = ask(a, after(8, 7)._replace(host="h0"))
    assert "h1" in told.message, "it asks again, in vain"
    assert ask(a, after(9, 7)._replace(host="h1")) == []
    cluster.run()
    assert a.state.shards[0].incarnation == 9
    oepoch = a.state.tablets.tablets[0].oepoch
    replies = cluster.alloc(a, incarnation=9, ends=((1, oepoch, 0),))
    cluster.run()
    assert [reply.refused for reply in replies] == [()]


# -- rows that shards share ------------------------------------------------------------------------


def sharing(rows: str) -> tuple[Cluster, Member]:
    """s0 serves as incarnation 7, with its rows there."""
    cluster, a = serving()
    assert ask(a, START._replace(rows=rows)) == []
    cluster.run()
    adopted(a, 7)
    cluster.run()
    assert (a.state.shards[0].rows, a.state.shards[0].serving) == (rows, True)
    return cluster, a


def starts_in(entries: list[bytes]) -> int:
    return sum(b'"start-shard"' in said for said in entries)


@pytest.mark.parametrize(("rows", "other"), [("", "r"), ("r", ""), ("r", "q")])
def test_shard_whose_rows_are_elsewhere_is_refused_with_what_to_do(rows: str, other: str) -> None:
    cluster, a = sharing(rows)
    before, submitted = a.state, len(cluster.entries)
    (new,) = ask(a, ShardStart("s9", "another disk", 8, "h:8", rows=other))
    (known,) = ask(a, after(8, 7)._replace(rows=other))
    cluster.run()
    assert (new.code, known.code) == (Code.UNIMPLEMENTED, Code.UNIMPLEMENTED)
    assert (
        "s9 keeps its rows in another place than the other shards (all shards have one row space "
        "on TiKV, or each has its own disk). Nothing was changed. Start it with their --engine, "
        "--pd and --tikv-store"
    ) in new.message
    assert "s0 keeps its rows in another place than before" in known.message
    assert "Nothing was changed. Start it with its former --engine" in known.message
    assert starts_in(cluster.entries[submitted:]) == 0
    assert (a.state.shards, a.state.tablets) == (before.shards, before.tablets)
    oepoch = a.state.tablets.tablets[0].oepoch
    replies = cluster.alloc(a, ends=((1, oepoch, 0),))
    cluster.run()
    assert [reply.refused for reply in replies] == [()], "nothing was frozen"
    assert ask(a, ShardStart("s9", "another disk", 9, "h:9", rows=rows)) == []
    cluster.run()
    assert [shard.name for shard in a.state.shards] == ["s0", "s9"]


def test_of_two_first_shards_with_rows_in_two_places_one_is_let_in() -> None:
    cluster, a = serving()
    both = [START._replace(rows="r"), ShardStart("s9", "another disk", 8, "h:8", rows="q")]
    assert [ask(a, start) for start in both] == [[], []]
    cluster.run()
    assert starts_in(cluster.entries) == 2
    assert [shard.name for shard in a.state.shards] == ["s0"]
    (told,) = ask(a, both[1])
    assert "s9 keeps its rows in another place" in told.message, "it asks again, in vain"
