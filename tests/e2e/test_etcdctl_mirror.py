"""etcdctl make-mirror between KubeBraid and etcd, in both directions, with each of its flags."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final

import pytest

from tests.e2e.etcdctl import Watch
from tests.e2e.processes import Peers, Process, Supervisor, wait_for
from tests.e2e.store import Kind, Store

pytestmark = pytest.mark.e2e

MIRRORED_S_MAX: Final = 20.0
KEYS: Final = 250  # more than two of etcd's transactions of 128 hold
TXN_OPS: Final = 100

Pair = tuple[Store, Store]


@pytest.fixture(params=["to etcd", "from etcd"])
def pair(request: pytest.FixtureRequest, shared_store: Store, etcd: Store) -> Pair:
    """A source and a destination."""
    return (shared_store, etcd) if request.param == "to etcd" else (etcd, shared_store)


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    """The test's own part of the keyspace, on either store."""
    return f"{zlib.crc32(request.node.nodeid.encode()):08x}/"


def fill(store: Store, prefix: str, names: Sequence[str], value: str) -> None:
    """Write many keys in few transactions."""
    for start in range(0, len(names), TXN_OPS):
        puts = "".join(f"put {prefix}{name} {value}\n" for name in names[start : start + TXN_OPS])
        store.etcdctl.ok("txn", stdin=f"\n{puts}\n\n")


def names(count: int = KEYS) -> list[str]:
    """Names of keys in their order."""
    return [f"{number:03}" for number in range(count)]


def mirror(supervisor: Supervisor, pair: Pair, *flags: str) -> Process:
    """A running make-mirror."""
    source, destination = pair
    argv = source.etcdctl.argv("make-mirror", *flags, destination.endpoint)
    return supervisor.add("mirror", argv).start()


def arrives(store: Store, prefix: str, want: dict[str, str]) -> None:
    """Wait until the destination holds just this."""
    try:
        wait_for("the mirror", lambda: store.etcdctl.values(prefix) == want, MIRRORED_S_MAX)
    except AssertionError:
        assert store.etcdctl.values(prefix) == want


def below(prefix: str, values: dict[str, str]) -> dict[str, str]:
    """The same values under a prefix."""
    return {prefix + name: value for name, value in values.items()}


def test_mirror_copies_what_is_there_and_follows_changes(
    pair: Pair, prefix: str, supervisor: Supervisor
) -> None:
    source, destination = pair
    fill(source, prefix, names(), "old")
    source.etcdctl.put("outside/" + prefix, "x")
    follower = mirror(supervisor, pair, "--prefix", prefix)
    want = dict.fromkeys(names(), "old")
    arrives(destination, prefix, below(prefix, want))
    for number, name in enumerate(names()[:6]):
        source.etcdctl.put(prefix + name, f"new {number}")
        want[name] = f"new {number}"
    source.etcdctl.ok("del", prefix + "100")
    del want["100"]
    source.etcdctl.put(prefix + "late", "x")
    want["late"] = "x"
    arrives(destination, prefix, below(prefix, want))
    assert destination.etcdctl.values("outside/" + prefix) == {}
    # One revision that deletes more keys than a transaction of the destination may hold.
    source.etcdctl.ok("del", prefix, "--prefix")
    arrives(destination, prefix, {})
    assert follower.alive, follower.text()


def test_mirror_puts_what_it_copies_below_another_prefix(
    pair: Pair, prefix: str, supervisor: Supervisor
) -> None:
    source, destination = pair
    fill(source, prefix, names(5), "old")
    other = "mirrored/" + prefix
    mirror(supervisor, pair, "--prefix", prefix, "--dest-prefix", other)
    want = dict.fromkeys(names(5), "old")
    arrives(destination, other, below(other, want))
    source.etcdctl.put(prefix + "live", "x")
    source.etcdctl.ok("del", prefix + "000")
    want["live"] = "x"
    del want["000"]
    arrives(destination, other, below(other, want))
    assert destination.etcdctl.values(prefix) == {}


def test_mirror_without_a_prefix_at_the_destination(
    pair: Pair, prefix: str, supervisor: Supervisor
) -> None:
    source, destination = pair
    inner = "root-" + prefix
    fill(source, prefix + inner, names(3), "old")
    mirror(supervisor, pair, "--prefix", prefix, "--no-dest-prefix")
    want = dict.fromkeys(names(3), "old")
    arrives(destination, inner, below(inner, want))
    source.etcdctl.ok("del", prefix + inner + "001")
    del want["001"]
    arrives(destination, inner, below(inner, want))


def test_mirror_from_a_revision_takes_only_what_comes_then(
    pair: Pair, prefix: str, supervisor: Supervisor
) -> None:
    source, destination = pair
    fill(source, prefix, names(3), "before")
    source.etcdctl.put(prefix + "000", "then")
    begin = source.etcdctl.revision()
    source.etcdctl.put(prefix + "new", "x")
    source.etcdctl.ok("del", prefix + "001")
    destination.etcdctl.put(prefix + "001", "stale")
    flags = ("--prefix", prefix, "--dest-prefix", prefix, f"--rev={begin}")
    mirror(supervisor, pair, *flags)
    arrives(destination, prefix, below(prefix, {"000": "then", "new": "x"}))


def test_mirror_cuts_a_large_revision_at_max_txn_ops(
    pair: Pair, prefix: str, supervisor: Supervisor
) -> None:
    source, destination = pair
    source.etcdctl.put(prefix + "first", "x")
    mirror(supervisor, pair, "--prefix", prefix, "--max-txn-ops=10")
    arrives(destination, prefix, below(prefix, {"first": "x"}))
    begin = destination.etcdctl.revision()
    seen = Watch.start(supervisor, destination.etcdctl, [prefix, "--prefix", f"--rev={begin + 1}"])
    puts = "".join(f"put {prefix}{name} x\n" for name in names(25))
    source.etcdctl.ok("txn", stdin=f"\n{puts}\n\n")
    revisions = [event.revision - begin for event in seen.wait(25)]
    assert [revisions.count(number) for number in (1, 2, 3)] == [10, 10, 5]


def test_mirror_of_a_compacted_revision_ends_with_the_reason(
    pair: Pair, prefix: str, supervisor: Supervisor
) -> None:
    source, _ = pair
    for value in ("one", "two", "three"):
        source.etcdctl.put(prefix, value)
    revision = source.etcdctl.revision()
    source.etcdctl.ok("compact", str(revision))
    follower = mirror(supervisor, pair, "--prefix", prefix, f"--rev={revision - 2}")
    assert follower.wait(MIRRORED_S_MAX) == 1
    assert "required revision has been compacted" in follower.text()


def test_flags_of_the_destination_that_ask_for_less_security(
    pair: Pair, prefix: str, supervisor: Supervisor
) -> None:
    source, destination = pair
    source.etcdctl.put(prefix, "x")
    mirror(supervisor, pair, "--prefix", prefix, "--dest-insecure-transport=true")
    arrives(destination, prefix, {prefix: "x"})
    both = mirror(supervisor, pair, "--dest-prefix=a", "--no-dest-prefix")
    assert both.wait(MIRRORED_S_MAX) != 0
    assert "cannot be set at the same time" in both.text()


def test_a_user_at_a_destination_without_users_is_refused(
    kind: Kind, shared_store: Store, etcd: Store, supervisor: Supervisor
) -> None:
    if kind is Kind.ETCD:
        pytest.skip("etcd has users, and the store under test is etcd")
    for flags in (("--dest-user=root:x",), ("--dest-user=root", "--dest-password=x")):
        refused = mirror(supervisor, (etcd, shared_store), *flags)
        assert refused.wait(MIRRORED_S_MAX) != 0
        assert "kubebraid: users and roles are not there" in refused.text()


def test_a_whole_store_goes_to_etcd_and_from_there_to_a_new_store(
    supervisor: Supervisor, peers: Peers, kind: Kind
) -> None:
    """Two mirrors in a row, without a prefix: what comes out is what went in, live changes too."""
    stores = [
        Store(supervisor, peers, each, f"chain-{number}")
        for number, each in enumerate((kind, Kind.ETCD, kind))
    ]
    for store in stores:
        store.start()
    first, middle, last = stores
    for prefix in ("/registry/pods/", "/registry/events/", "plain/", "~"):
        fill(first, prefix, names(40), "old")
    mirror(supervisor, (first, middle))
    mirror(supervisor, (middle, last))
    arrives(last, "", first.etcdctl.values(""))
    first.etcdctl.put("/registry/pods/late", "new")
    first.etcdctl.ok("del", "/registry/events/", "--prefix")
    first.etcdctl.put("~000", "new")
    want = first.etcdctl.values("")
    assert len(want) == 121
    arrives(last, "", want)
    assert middle.etcdctl.values("") == want
