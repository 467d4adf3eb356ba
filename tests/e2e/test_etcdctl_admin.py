"""etcdctl for whoever runs a store: endpoint, member, alarm, defrag, and what is refused.

What is compared with etcd: every form of output, without the figures that are a store's own (size,
raft's index, hash). What has to differ is asserted as what it says: there are no users, no members
to manage and no leader to move here, and each refusal tells what to do instead.
"""

from __future__ import annotations

import re
from typing import Any, Final

import pytest

from kubebraid.cli.bench.servers import free_port
from tests.e2e.printed import cells
from tests.e2e.processes import Peers, Supervisor, wait_for
from tests.e2e.store import Kind, Store
from tests.e2e.twin import Rev, Twin

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("perf_checks")]

WRITERS: Final = ("simple", "table", "json", "fields")
# A store's own: what it weighs, and raft's index, which reads move on etcd and nothing moves here.
FIGURES: Final = (
    *("dbSize", "dbSizeInUse", "dbSizeQuota", "raftIndex", "raftAppliedIndex"),
    *("DBSize", "DBSizeInUse", "DBSizeQuota", "RaftIndex", "RaftAppliedIndex"),
    *("DB SIZE", "IN USE", "PERCENTAGE NOT IN USE", "QUOTA", "RAFT TERM"),
    *("RAFT INDEX", "RAFT APPLIED INDEX", "TOOK"),
)
NO_USERS: Final = "users and roles are not there; limit access by network or by client certificate"
OF_USERS: Final = (
    "auth enable",
    "auth disable",
    "user add a --no-password",
    "user add a --new-user-password=x",
    "user add a:b --interactive=false",
    "user get a",
    "user get a --detail",
    "user list",
    "user delete a",
    "user passwd a --interactive=false",
    "user grant-role a r",
    "user revoke-role a r",
    "role add r",
    "role get r",
    "role list",
    "role delete r",
    "role grant-permission r readwrite k",
    "role grant-permission r read k --prefix",
    "role grant-permission r write k --from-key",
    "role revoke-permission r k",
    "role revoke-permission r k --prefix",
    "role revoke-permission r k --from-key",
    "get a --user=root:x",
    "get a --user=root --password=x",
)
NO_DOWNGRADE: Final = "Downgrade does not apply; install the version you want"
NO_MEMBERS: Final = "members are not managed by this API;"
NOSPACE: Final = "etcdserver: mvcc: database space exceeded"


@pytest.fixture
def figures(twin: Twin) -> Twin:
    """Both stores, compared without figures."""
    return twin.hiding(*FIGURES)


@pytest.fixture
def ours(kind: Kind, shared_store: Store) -> Store:
    """The store under test, where etcd answers otherwise."""
    if kind is Kind.ETCD:
        pytest.skip("this is where kubebraid is meant to differ, and the store under test is etcd")
    return shared_store


def simple(line: str) -> list[str]:
    """The items of one line of the simple form."""
    return line.strip().split(", ")


def refused(store: Store, *args: str, stdin: str = "") -> str:
    """Why the store does not have it, given that it says so as gRPC means it."""
    done = store.etcdctl.run(*args, stdin=stdin)
    logged_in = any(arg.startswith("--user=") for arg in args)
    assert done.code == (2 if logged_in else 1), str(done)  # 2: there was no connection
    found = re.search(r"rpc error: code = Unimplemented desc = kubebraid: (.*)\n", done.stderr)
    assert found, str(done)
    return found[1]


# ---------------------------------------------------------------------------------------- endpoint


@pytest.mark.parametrize("form", ["table", "json", "fields"])
@pytest.mark.parametrize("cluster", [(), ("--cluster",)], ids=["named", "cluster"])
def test_endpoint_status_has_etcds_shape_in_every_form(
    figures: Twin, form: str, cluster: tuple[str, ...]
) -> None:
    figures.ok("put", "status", "x")
    figures.ok("endpoint", "status", *cluster, "-w", form)


def test_endpoint_status_says_the_same_in_every_form(shared_store: Store) -> None:
    etcdctl = shared_store.etcdctl
    (answer,) = etcdctl.json("endpoint", "status")
    status = answer["Status"]
    (row,) = cells(etcdctl.ok("endpoint", "status", "-w", "table"))
    assert row["ENDPOINT"] == answer["Endpoint"] == shared_store.endpoint
    assert row["ID"] == f"{status['leader']:x}"
    assert (row["VERSION"], row["STORAGE VERSION"]) == ("3.7.3", "3.7.0")
    assert (row["IS LEADER"], row["IS LEARNER"], row["ERRORS"]) == ("true", "false", "")
    assert 0 < status["dbSizeInUse"] <= status["dbSize"]
    line = simple(etcdctl.ok("endpoint", "status"))
    moving = {"DB SIZE", "IN USE", "PERCENTAGE NOT IN USE", "RAFT INDEX", "RAFT APPLIED INDEX"}
    said = dict(zip(row, line, strict=True))
    assert {name for name in row if said[name] != row[name]} <= moving
    fields = etcdctl.ok("endpoint", "status", "-w", "fields")
    assert f'"Leader" : {status["leader"]}\n' in fields


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize("cluster", [(), ("--cluster",)], ids=["named", "cluster"])
def test_endpoint_health_is_told_in_every_form(
    figures: Twin, form: str, cluster: tuple[str, ...]
) -> None:
    figures.hiding("Took").ok("endpoint", "health", *cluster, "-w", form)


def test_endpoint_commands_tell_of_an_endpoint_that_is_away(figures: Twin) -> None:
    away = f"--endpoints=http://127.0.0.1:{free_port()}"
    quick = ("--endpoints={ENDPOINT}", away, "--command-timeout=1s", "--dial-timeout=1s")
    done = figures.bare("endpoint", "status", *quick, "-w", "json")
    assert done.code == 1
    assert "context deadline exceeded" in done.stderr
    assert '"Endpoint"' in done.stdout
    done = figures.bare("endpoint", "health", *quick)
    assert done.code == 1
    assert "Error: unhealthy cluster" in done.stderr
    assert figures.bare("get", "none", *quick[:2]).ok() == ""


@pytest.mark.parametrize("form", WRITERS)
def test_endpoint_hashkv_has_etcds_shape_in_every_form(twin: Twin, form: str) -> None:
    """The sums themselves are each store's own: etcd adds up its own rows, which we do not have."""
    twin.ok("put", "hash/a", "x")
    twin.ok("compact", Rev(1))
    twin.ok("put", "hash/b", "x")
    twin.ok("put", "hash/c", "x")
    hiding = twin.hiding("hash", "Hash", "HASH")
    if form == "simple":
        ours, theirs = (simple(line) for line in hiding.each("endpoint", "hashkv"))
        assert len(ours) == len(theirs) == 3
        assert int(ours[1]) > 0
        assert twin.relative(int(ours[2])) == 3
        return
    answer = hiding.ok("endpoint", "hashkv", "--cluster", "-w", form)
    assert answer != hiding.ok("endpoint", "hashkv", "--rev=", Rev(2), "-w", form)


def test_endpoint_hashkv_is_of_what_is_stored(twin: Twin, shared_store: Store) -> None:
    def sums() -> Any:
        (answer,) = shared_store.etcdctl.json("endpoint", "hashkv")
        return answer["HashKV"]["hash"]

    twin.ok("put", "hashof", "one")
    one = sums()
    assert sums() == one
    twin.ok("put", "hashof", "two")
    assert sums() != one
    base = shared_store.etcdctl.revision()
    (past,) = shared_store.etcdctl.json("endpoint", "hashkv", f"--rev={base - 1}")
    assert past["HashKV"]["hash"] == one
    error = twin.fails("endpoint", "hashkv", "--rev=", Rev(100))
    assert error.endswith("Error: etcdserver: mvcc: required revision is a future revision")
    twin.ok("compact", Rev(2))
    error = twin.fails("endpoint", "hashkv", "--rev=", Rev(1))
    assert error.endswith("Error: etcdserver: mvcc: required revision has been compacted")


# ------------------------------------------------------------------------------------------ member


@pytest.mark.parametrize("form", ["table", "json", "fields"])
@pytest.mark.parametrize("consistency", ["l", "s"])
def test_member_list_has_etcds_shape_in_every_form(twin: Twin, form: str, consistency: str) -> None:
    """A peer address is each store's own: etcd's port for raft, here the address for clients."""
    hiding = twin.hiding("peerURLs", "PeerURL", "PEER ADDRS")
    hiding.ok("member", "list", f"--consistency={consistency}", "-w", form)


def test_member_list_in_hexadecimal_names_the_ids_of_the_other_forms(
    twin: Twin, shared_store: Store
) -> None:
    etcdctl = shared_store.etcdctl
    twin.hiding("peerURLs").ok("member", "list", "--hex", "-w", "json")
    twin.hiding("PeerURL").ok("member", "list", "--hex", "-w", "fields")
    (member,) = etcdctl.json("member", "list")["members"]
    (in_hex,) = etcdctl.json("member", "list", "--hex")["members"]
    assert in_hex["ID"] == f"{member['ID']:x}" == simple(etcdctl.ok("member", "list"))[0]
    (row,) = cells(etcdctl.ok("member", "list", "-w", "table"))
    assert [*row.values()] == simple(etcdctl.ok("member", "list"))


def test_members_are_not_managed(ours: Store) -> None:
    url = f"--peer-urls=http://127.0.0.1:{free_port()}"
    for args, instead in (
        (("add", "second", url), "start another router instead"),
        (("add", "second", url, "--learner"), "start another router instead"),
        (("remove", "1"), "stop the router instead"),
        (("update", "1", url), "restart it with other listen URLs"),
    ):
        assert refused(ours, "member", *args) == f"{NO_MEMBERS} {instead}"
    assert refused(ours, "member", "promote", "1") == "there are no learners"
    assert len(ours.etcdctl.json("member", "list")["members"]) == 1


# --------------------------------------------------------------------- alarm, defragmentation, auth


def test_alarms_are_listed_and_disarmed_as_by_etcd(twin: Twin) -> None:
    for form in ("simple", "json"):
        twin.ok("alarm", "list", "-w", form)
        assert twin.ok("alarm", "disarm", "-w", form) in {"", "{}\n"}
    twin.fails("alarm", "list", "-w", "table")


def test_a_full_store_raises_an_alarm_until_it_is_disarmed(
    supervisor: Supervisor, peers: Peers, kind: Kind
) -> None:
    """The operator's way out of a full store: delete, compact, defragment, disarm."""
    store = Store(supervisor, peers, kind, "small", flags=("--quota-backend-bytes=16777216",))
    store.start()
    etcdctl = store.etcdctl

    def full() -> bool:
        return NOSPACE in etcdctl.run("put", "full/a", stdin="x" * (1 << 20)).stderr

    wait_for("the quota to be used up", full, 30)
    (alarm,) = etcdctl.json("alarm", "list")["alarms"]
    assert alarm["alarm"] == 1
    assert alarm["memberID"] == etcdctl.header["member_id"]
    assert etcdctl.ok("alarm", "list").split() == [f"memberID:{alarm['memberID']}", "alarm:NOSPACE"]
    health = etcdctl.run("endpoint", "health", "-w", "json")
    assert health.code == 1
    assert "Active Alarm(s): NOSPACE" in health.stdout
    assert etcdctl.run("put", "full/b", "x").stderr == f"Error: {NOSPACE}\n"
    etcdctl.ok("get", "full/a", "--keys-only")
    etcdctl.ok("del", "full/a")
    etcdctl.ok("compact", str(etcdctl.revision()), "--physical")
    etcdctl.ok("defrag")
    assert "alarm:NOSPACE" in etcdctl.ok("alarm", "disarm")
    assert etcdctl.ok("alarm", "list") == ""
    etcdctl.put("full/b", "x")
    assert etcdctl.json("endpoint", "health")[0]["health"] is True


@pytest.mark.parametrize("cluster", [(), ("--cluster",)], ids=["named", "cluster"])
def test_defrag_names_each_endpoint_that_it_defragmented(
    twin: Twin, cluster: tuple[str, ...]
) -> None:
    twin.ok("put", "defrag", "kept")
    twin.ok("defrag", *cluster)
    assert twin.ok("get", "defrag") == "defrag\nkept\n"


def test_auth_is_off_and_says_so(twin: Twin) -> None:
    assert twin.ok("auth", "status").startswith("Authentication Status: false\n")
    assert not twin.json("auth", "status").get("enabled", False)


def test_users_and_roles_are_refused_with_what_to_do_instead(ours: Store) -> None:
    for command in OF_USERS:
        assert refused(ours, *command.split(), stdin="x\n") == NO_USERS


def test_leaders_and_versions_are_refused_with_what_to_do_instead(ours: Store) -> None:
    leader = f"{ours.etcdctl.header['member_id']:x}"
    text = "there is no leader to move: every router serves"
    assert refused(ours, "move-leader", leader) == text
    for command in (("validate", "3.6.0"), ("enable", "3.6.0"), ("cancel",)):
        assert refused(ours, "downgrade", *command) == NO_DOWNGRADE


def test_a_token_that_nobody_asked_for_is_ignored(twin: Twin) -> None:
    twin.ok("put", "token", "x")
    assert twin.ok("get", "token", "--auth-jwt-token=none") == "token\nx\n"


# ------------------------------------------------------------------------------------------- check


def test_check_perf_refuses_a_prefix_that_is_in_use(shared_store: Store) -> None:
    shared_store.etcdctl.put("/used/a", "x")
    done = shared_store.etcdctl.run("check", "perf", "--prefix=/used/")
    assert 'prefix "/used/" has keys' in done.stderr
    assert shared_store.etcdctl.values("/used/") == {"/used/a": "x"}


def test_check_datascale_finds_no_metrics_at_the_address_for_clients(
    ours: Store,
) -> None:
    """It measures the server's memory by HTTP at the client address, where only gRPC is served."""
    flags = ("--load=s", "--prefix=/scale/", "--auto-compact", "--auto-defrag")
    done = ours.etcdctl.run("check", "datascale", *flags)
    assert done.code == 1
    assert "FAIL: Could not read process_resident_memory_bytes" in done.stdout
    assert ours.etcdctl.values("/scale/") == {}
