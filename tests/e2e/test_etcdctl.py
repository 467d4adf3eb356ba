"""etcdctl on the store: what an operator types has to answer as a real etcd does.

Almost every command runs on a real etcd too and the outputs are compared (twin.py); the test
itself then only says what it wants to see beyond that. Each test has keys of its own, one store
serves all of them.
"""

from __future__ import annotations

import json
import re
import time
from typing import Final

import pytest

from tests.e2e.etcdctl import Watch, text
from tests.e2e.processes import Supervisor, wait_for
from tests.e2e.store import Store
from tests.e2e.twin import LeaseOf, Rev, Twin

pytestmark = pytest.mark.e2e

COMPACTED: Final = "etcdserver: mvcc: required revision has been compacted"
FUTURE: Final = "etcdserver: mvcc: required revision is a future revision"
LEASE_TTL_S: Final = 2


def fruits(twin: Twin, prefix: str) -> None:
    """Four keys, written in another order than that of their names; the last one twice."""
    for key, value in (("pear", "3"), ("apple", "4"), ("plum", "1"), ("fig", "2"), ("fig", "0")):
        twin.ok("put", f"{prefix}/{key}", value)


# ---------------------------------------------------------------------------------------- put, get


def test_put_then_get_gives_the_value_and_counts_versions(twin: Twin) -> None:
    assert twin.ok("put", "put/a", "one") == "OK\n"
    assert twin.ok("put", "put/a", "two") == "OK\n"
    assert twin.ok("get", "put/a") == "put/a\ntwo\n"
    pair = twin.json("get", "put/a")["kvs"][0]
    assert pair["version"] == 2
    assert twin.relative(pair["create_revision"]) == 1
    assert twin.relative(pair["mod_revision"]) == 2


def test_put_with_prev_kv_prints_the_value_before(twin: Twin) -> None:
    twin.ok("put", "prev/a", "one", "--prev-kv")
    assert twin.ok("put", "prev/a", "two", "--prev-kv") == "OK\nprev/a\none\n"


def test_put_from_stdin_keeps_every_byte(twin: Twin) -> None:
    value = "line one\n\ttwo: \u00e9\u4e16 \x01\n"
    twin.ok("put", "stdin/a", stdin=value)
    assert twin.ok("get", "stdin/a", "--print-value-only") == value + "\n"
    twin.ok("put", "stdin/empty", "")
    twin.json("get", "stdin/empty")


def test_put_with_ignored_value_or_lease_keeps_what_was_there(twin: Twin) -> None:
    twin.ok("put", "ignore/a", "one")
    twin.ok("put", "ignore/a", "--ignore-value")
    twin.ok("put", "ignore/a", "two", "--ignore-lease")
    assert twin.ok("get", "ignore/a") == "ignore/a\ntwo\n"
    assert "etcdserver: key not found" in twin.fails("put", "ignore/none", "--ignore-value")


def test_get_of_an_absent_key_prints_nothing(twin: Twin) -> None:
    assert twin.ok("get", "absent") == ""
    assert "kvs" not in twin.json("get", "absent")


def test_get_does_not_move_the_revision(twin: Twin, shared_store: Store) -> None:
    before = shared_store.etcdctl.revision()
    twin.ok("get", "absent")
    twin.ok("get", "", "--prefix", "--count-only", "-w", "fields")
    assert shared_store.etcdctl.revision() == before


def test_get_prefix_gives_the_keys_in_order(twin: Twin) -> None:
    fruits(twin, "prefix")
    twin.ok("put", "prefiy", "outside")
    names = ["prefix/apple", "prefix/fig", "prefix/pear", "prefix/plum"]
    assert twin.keys("prefix/", "--prefix") == names
    assert twin.keys("prefix/", "prefix0") == names
    assert twin.keys("prefix/fig", "prefix/plum") == names[1:3]
    assert twin.keys("prefix/plum", "prefix/fig") == []


def test_get_with_limit_counts_all_and_tells_more(twin: Twin) -> None:
    fruits(twin, "limit")
    answer = twin.json("get", "limit/", "--prefix", "--limit=3")
    first = ["limit/apple", "limit/fig", "limit/pear"]
    assert [text(pair["key"]) for pair in answer["kvs"]] == first
    assert (answer["count"], answer["more"]) == (4, True)
    whole = twin.json("get", "limit/", "--prefix", "--limit=4")
    assert (whole["count"], whole.get("more", False)) == (4, False)


def test_get_from_key_goes_to_the_end_of_the_keyspace(twin: Twin) -> None:
    for name in ("a", "b", "c"):
        twin.ok("put", f"~last/{name}", name)
    assert twin.keys("~last/b", "--from-key") == ["~last/b", "~last/c"]
    assert twin.keys("~last/a", "--from-key", "--limit=2") == ["~last/a", "~last/b"]


def test_get_at_a_revision_reads_the_past(twin: Twin) -> None:
    twin.ok("put", "past/a", "one")
    twin.ok("put", "past/b", "one")
    twin.ok("put", "past/a", "two")
    twin.ok("del", "past/b")
    assert twin.ok("get", "past/a", "--rev=", Rev(1)) == "past/a\none\n"
    assert twin.keys("past/", "--prefix", "--rev=", Rev(1)) == ["past/a"]
    assert twin.keys("past/", "--prefix", "--rev=", Rev(3)) == ["past/a", "past/b"]
    assert twin.keys("past/", "--prefix", "--rev=", Rev(4)) == ["past/a"]


def test_get_at_a_future_revision_is_refused(twin: Twin) -> None:
    twin.ok("put", "future/a", "one")
    assert twin.fails("get", "future/a", "--rev=", Rev(1_000_000)) == f"Error: {FUTURE}"


def test_get_keys_only_and_count_only_leave_the_rest_out(twin: Twin) -> None:
    fruits(twin, "only")
    assert twin.ok("get", "only/f", "--prefix", "--keys-only") == "only/fig\n\n"
    bare = twin.json("get", "only/", "--prefix", "--keys-only")["kvs"]
    assert all("value" not in pair for pair in bare)
    assert '"Count" : 4' in twin.ok("get", "only/", "--prefix", "--count-only", "-w", "fields")
    assert '"Count" : 0' in twin.ok("get", "only/x", "--count-only", "-w", "fields")
    limited = ["get", "only/", "--prefix", "--count-only", "--limit=2", "-w", "fields"]
    assert '"Count" : 4' in twin.ok(*limited)


@pytest.mark.parametrize("order", ["ASCEND", "DESCEND"])
@pytest.mark.parametrize("target", ["KEY", "VALUE", "VERSION", "CREATE", "MODIFY"])
def test_get_sorts_by_every_target_in_both_orders(twin: Twin, target: str, order: str) -> None:
    fruits(twin, f"sort-{target}-{order}")
    ways = [f"--sort-by={target}", f"--order={order}"]
    whole = twin.keys(f"sort-{target}-{order}/", "--prefix", *ways)
    assert len(whole) == 4
    # The limit applies after the sorting: the first two of all four, not two sorted.
    assert twin.keys(f"sort-{target}-{order}/", "--prefix", "--limit=2", *ways) == whole[:2]


def test_get_sorted_by_value_gives_the_values_in_order(twin: Twin) -> None:
    fruits(twin, "values")
    printed = twin.ok("get", "values/", "--prefix", "--sort-by=VALUE", "--print-value-only")
    assert printed.split() == ["0", "1", "3", "4"]


def test_get_between_revisions_filters_by_creation_and_change(twin: Twin) -> None:
    fruits(twin, "between")
    twin.keys("between/", "--prefix", "--min-mod-rev=", Rev(3))
    twin.keys("between/", "--prefix", "--max-mod-rev=", Rev(3))
    twin.keys("between/", "--prefix", "--min-create-rev=", Rev(2), "--max-create-rev=", Rev(3))


def test_get_serializable_reads_the_same_on_one_member(twin: Twin) -> None:
    twin.ok("put", "serial/a", "one")
    assert twin.ok("get", "serial/a", "--consistency=s") == "serial/a\none\n"


def test_get_as_json_and_fields_names_every_field(twin: Twin) -> None:
    twin.ok("put", "shape/a", "one")
    answer = twin.json("get", "shape/a")
    assert set(answer) == {"header", "kvs", "count"}
    assert set(answer["kvs"][0]) == {"key", "create_revision", "mod_revision", "version", "value"}
    assert answer["header"]["revision"] == answer["kvs"][0]["mod_revision"]
    assert '"Version" : 1' in twin.ok("get", "shape/a", "-w", "fields")
    assert set(twin.json("put", "shape/a", "two")) == {"header"}
    assert twin.json("del", "shape/a", "--prev-kv")["deleted"] == 1


def test_value_too_large_is_refused_with_etcds_text(twin: Twin) -> None:
    error = twin.fails("put", "large/a", stdin="x" * (1536 * 1024 + 100))
    assert error == "Error: etcdserver: request is too large"
    twin.ok("put", "large/a", stdin="x" * (1024 * 1024))
    assert len(twin.ok("get", "large/a", "--print-value-only")) == 1024 * 1024 + 1


def test_empty_key_is_refused(twin: Twin) -> None:
    assert twin.fails("put", "", "value") == "Error: etcdserver: key is not provided"


# --------------------------------------------------------------------------------------------- del


def test_del_counts_what_it_deleted_and_gives_it_back(twin: Twin) -> None:
    fruits(twin, "del")
    assert twin.ok("del", "del/none") == "0\n"
    assert twin.ok("del", "del/fig", "--prev-kv") == "1\ndel/fig\n0\n"
    assert twin.ok("del", "del/", "--prefix") == "3\n"
    assert twin.keys("del/", "--prefix") == []


def test_del_of_nothing_does_not_move_the_revision(twin: Twin) -> None:
    twin.ok("put", "still/a", "one")
    assert twin.relative(twin.json("del", "still/none")["header"]["revision"]) == 1
    assert twin.relative(twin.json("put", "still/a", "two")["header"]["revision"]) == 2


def test_del_of_a_prefix_has_one_revision(twin: Twin, supervisor: Supervisor) -> None:
    fruits(twin, "delmany")
    watch = twin.watch(supervisor, "delmany/", "--prefix", "--prev-kv", "--rev=", Rev(6))
    assert twin.ok("del", "delmany/", "--prefix", "--prev-kv").startswith("4\n")
    assert [(kind, revision) for kind, _, _, revision, _ in watch.wait(4)] == [("DELETE", 6)] * 4
    # Created again, a key begins its life anew.
    twin.ok("put", "delmany/fig", "again")
    pair = twin.json("get", "delmany/fig")["kvs"][0]
    assert (pair["version"], twin.relative(pair["create_revision"])) == (1, 7)


def test_del_from_key_and_range_are_half_open(twin: Twin) -> None:
    for name in ("a", "b", "c", "d"):
        twin.ok("put", f"~~end/{name}", name)
    assert twin.ok("del", "~~end/a", "~~end/c", "--range") == "2\n"
    assert twin.ok("del", "~~end/d", "--from-key") == "1\n"
    assert twin.keys("~~end/", "--prefix") == ["~~end/c"]


# --------------------------------------------------------------------------------------------- txn


def test_txn_takes_the_success_branch_when_all_compares_hold(twin: Twin) -> None:
    twin.ok("put", "txn/a", "one")
    script = (
        'value("txn/a") = "one"\nmod("txn/a") = "{+1}"\ncreate("txn/a") = "{+1}"\n'
        'ver("txn/a") = "1"\nversion("txn/none") = "0"\n\n'
        "put txn/a two\nput txn/b new\nget txn/a\ndel txn/none\n\nget txn/none\n\n"
    )
    printed = twin.ok("txn", stdin=script)
    assert printed == "SUCCESS\n\nOK\n\nOK\n\ntxn/a\ntwo\n\n0\n"
    # Both puts share the revision of the transaction.
    pairs = twin.json("get", "txn/", "--prefix")["kvs"]
    assert {twin.relative(pair["mod_revision"]) for pair in pairs} == {2}


def test_txn_takes_the_failure_branch_when_one_compare_does_not_hold(twin: Twin) -> None:
    twin.ok("put", "txnf/a", "one")
    script = 'ver("txnf/a") = "1"\nvalue("txnf/a") = "two"\n\nput txnf/a bad\n\nget txnf/a\n\n'
    assert twin.ok("txn", stdin=script) == "FAILURE\n\ntxnf/a\none\n"
    assert twin.relative(twin.json("get", "txnf/a")["header"]["revision"]) == 1


@pytest.mark.parametrize(
    ("compare", "holds"),
    [
        ('value("{}") > "l"', True),
        ('value("{}") < "m"', False),
        ('value("{}") != "m"', False),
        ('ver("{}") > "1"', True),
        ('ver("{}") < "2"', False),
        ('create("{}") < "{{+2}}"', True),
        ('create("{}") != "{{+1}}"', False),
        ('mod("{}") > "{{+1}}"', True),
        ('mod("{}") = "{{+1}}"', False),
        ('mod("{}/none") = "0"', True),
        ('create("{}/none") > "0"', False),
        ('value("{}/none") != "x"', False),
    ],
)
def test_txn_compares_every_target_that_etcdctl_can_name(
    twin: Twin, compare: str, *, holds: bool
) -> None:
    key = "cmp/" + re.sub(r"\W+", "-", compare)
    twin.ok("put", key, "x")
    twin.ok("put", key, "m")
    script = compare.format(key) + f"\n\nput {key} yes\n\nput {key} no\n\n"
    assert twin.ok("txn", stdin=script).startswith("SUCCESS" if holds else "FAILURE")
    assert twin.ok("get", key, "--print-value-only") == ("yes\n" if holds else "no\n")


def test_txn_interactive_asks_for_its_three_parts(twin: Twin) -> None:
    printed = twin.ok("txn", "-i", stdin='mod("txni/a") = "0"\n\nput txni/a one\n\nget txni/a\n\n')
    assert "success requests (get, put, del):" in printed
    assert printed.endswith("SUCCESS\n\nOK\n")


def test_txn_with_range_operations_and_json(twin: Twin) -> None:
    fruits(twin, "txnr")
    ways = ("get txnr/ --prefix --limit=2", "del txnr/p --prefix --prev-kv", "get txnr/ --prefix")
    answer = twin.json("txn", stdin="\n" + "\n".join(ways) + "\n\n\n")
    assert answer["succeeded"] is True
    assert len(answer["responses"]) == 3
    assert twin.keys("txnr/", "--prefix") == ["txnr/apple", "txnr/fig"]


def test_txn_that_writes_a_key_twice_is_refused(twin: Twin) -> None:
    error = twin.fails("txn", stdin="\nput twice/a one\nput twice/a two\n\n\n")
    assert error == "Error: etcdserver: duplicate key given in txn request"
    assert twin.keys("twice/", "--prefix") == []


def test_txn_with_129_operations_is_refused_and_128_are_not(twin: Twin) -> None:
    many = "".join(f"put ops/{number} x\n" for number in range(128))
    error = twin.fails("txn", stdin=f"\n{many}put ops/more x\n\n\n")
    assert error == "Error: etcdserver: too many operations in txn request"
    twin.ok("txn", stdin=f"\n{many}\n\n")
    assert len(twin.keys("ops/", "--prefix")) == 128


# ------------------------------------------------------------------------------------------- watch


def test_watch_of_one_key_is_no_prefix_watch(twin: Twin, supervisor: Supervisor) -> None:
    watch = twin.watch(supervisor, "watch", "--rev=", Rev(1))
    for key, value in (("watch", "1"), ("watch/below", "x"), ("watcha", "x"), ("watch", "2")):
        twin.ok("put", key, value)
    twin.ok("del", "watch")
    twin.ok("put", "watch", "3")
    assert watch.wait(4) == [
        ("PUT", "watch", "1", 1, None),
        ("PUT", "watch", "2", 4, None),
        ("DELETE", "watch", "", 5, None),
        ("PUT", "watch", "3", 6, None),
    ]


def test_watch_of_a_prefix_from_the_past_gives_all_in_order(
    twin: Twin, supervisor: Supervisor
) -> None:
    fruits(twin, "wpast")
    twin.ok("del", "wpast/p", "--prefix")
    watch = twin.watch(supervisor, "wpast/", "--prefix", "--rev=", Rev(2), "--prev-kv")
    assert watch.wait(6) == [
        ("PUT", "wpast/apple", "4", 2, None),
        ("PUT", "wpast/plum", "1", 3, None),
        ("PUT", "wpast/fig", "2", 4, None),
        ("PUT", "wpast/fig", "0", 5, "2"),
        ("DELETE", "wpast/pear", "", 6, "3"),
        ("DELETE", "wpast/plum", "", 6, "1"),
    ]
    # ... and goes on live from there.
    twin.ok("put", "wpast/fig", "live")
    assert watch.wait(7)[6] == ("PUT", "wpast/fig", "live", 7, "0")


def test_watch_of_a_range_and_of_all_keys_from_one(twin: Twin, supervisor: Supervisor) -> None:
    half_open = twin.watch(supervisor, "wrange/b", "wrange/d", "--rev=", Rev(1))
    everything = twin.watch(supervisor, "", "--prefix", "--rev=", Rev(1))
    for name in ("a", "b", "c", "d"):
        twin.ok("put", f"wrange/{name}", name)
    assert [key for _, key, *_ in half_open.wait(2)] == ["wrange/b", "wrange/c"]
    assert len(everything.wait(4)) == 4


def test_watch_from_the_future_waits_for_it(twin: Twin, supervisor: Supervisor) -> None:
    watch = twin.watch(supervisor, "wfuture", "--rev=", Rev(3))
    for value in ("one", "two", "three", "four"):
        twin.ok("put", "wfuture", value)
    assert [value for _, _, value, _, _ in watch.wait(2)] == ["three", "four"]


def test_watch_tells_a_transaction_in_one_answer(twin: Twin, supervisor: Supervisor) -> None:
    watch = twin.watch(supervisor, "wtxn/", "--prefix", "--rev=", Rev(1))
    puts = "".join(f"put wtxn/{number:03} x\n" for number in range(100))
    twin.ok("txn", stdin=f"\n{puts}\n\n")
    watch.wait(100)
    for _, one in watch.watches:
        assert [len(answer["Events"]) for answer in one.answers()] == [100]


def test_watches_over_several_prefixes_share_one_stream(
    shared_store: Store, supervisor: Supervisor
) -> None:
    etcdctl = shared_store.etcdctl
    lines = ["watch many/a/ --prefix", "watch many/b/ --prefix", "watch many/c"]
    watch = Watch.start_many(supervisor, etcdctl, lines)
    began = etcdctl.revision()
    revisions = {}
    for key in ("many/a/1", "many/b/1", "many/c", "many/c/1", "many/a/2", "many/d/1"):
        revisions[key] = etcdctl.put(key, key)
    told = {event.key: event.revision for event in watch.wait(4)}
    wanted = ("many/a/1", "many/b/1", "many/c", "many/a/2")
    assert told == {key: revisions[key] for key in wanted}
    # Each watch for itself is in order, and progress covers what is outside of all of them, too.
    assert sorted(told.values()) == [began + 1, began + 2, began + 3, began + 5]

    def covered() -> bool:
        watch.process.write("progress\n")
        return watch.progress() >= revisions["many/d/1"]

    wait_for("progress to reach the last write", covered, 5)
    assert watch.progress() == revisions["many/d/1"]


def test_watch_of_a_compacted_revision_is_cancelled_with_the_reason(
    twin: Twin, supervisor: Supervisor
) -> None:
    for value in ("one", "two", "three"):
        twin.ok("put", "wcompact", value)
    twin.ok("compact", Rev(2))
    printed = twin.watch(supervisor, "wcompact", "--rev=", Rev(1)).ends()
    assert printed == [
        f"watch was canceled ({COMPACTED})",
        "Error: watch is canceled by the server",
    ]
    # The compacted revision itself can still be watched from: its event is there.
    watch = twin.watch(supervisor, "wcompact", "--rev=", Rev(2))
    assert [value for _, _, value, _, _ in watch.wait(2)] == ["two", "three"]


# ------------------------------------------------------------------------------------------- lease


def test_lease_ends_and_its_keys_are_deleted_with_an_event(
    twin: Twin, supervisor: Supervisor
) -> None:
    twin.grant("short", LEASE_TTL_S)
    began = time.monotonic()
    twin.ok("put", "lease/a", "one", "--lease=", LeaseOf("short"))
    twin.ok("put", "lease/b", "two", "--lease=", LeaseOf("short"))
    twin.ok("put", "lease/c", "kept", "--lease=", LeaseOf("short"))
    twin.ok("put", "lease/c", "kept")  # without the lease again
    assert twin.json("get", "lease/a")["kvs"][0]["lease"] > 0
    watch = twin.watch(supervisor, "lease/", "--prefix", "--prev-kv", "--rev=", Rev(5))
    assert watch.wait(2) == [
        ("DELETE", "lease/a", "", 5, "one"),
        ("DELETE", "lease/b", "", 5, "two"),
    ]
    assert time.monotonic() - began >= LEASE_TTL_S * 0.9
    assert twin.keys("lease/", "--prefix") == ["lease/c"]


def test_lease_grant_prints_id_and_ttl(twin: Twin) -> None:
    printed = twin.ok("lease", "grant", "3600")
    assert re.fullmatch(r"lease [0-9a-f]{16} granted with TTL\(3600s\)\n", printed)


def test_put_with_an_unknown_lease_is_refused(twin: Twin) -> None:
    error = twin.fails("put", "lease/none", "x", "--lease=1234")
    assert error == "Error: etcdserver: requested lease not found"
    assert twin.keys("lease/none") == []


def test_lease_ttl_out_of_range_is_refused(twin: Twin) -> None:
    error = twin.fails("lease", "grant", "9000000001")
    assert error == "Error: failed to grant lease (etcdserver: too large lease TTL)"


# -------------------------------------------------------------------------------------- compaction


def test_compaction_cuts_the_past_and_keeps_the_present(twin: Twin) -> None:
    for value in ("one", "two", "three"):
        twin.ok("put", "compact/a", value)
    twin.ok("put", "compact/b", "x")
    twin.ok("del", "compact/b")
    assert twin.ok("compact", Rev(2)).startswith("compacted revision ")
    assert twin.fails("get", "compact/a", "--rev=", Rev(1)) == f"Error: {COMPACTED}"
    assert twin.ok("get", "compact/a", "--rev=", Rev(2)) == "compact/a\ntwo\n"
    assert twin.ok("get", "compact/b", "--rev=", Rev(4)) == "compact/b\nx\n"
    assert twin.fails("compact", Rev(2)) == f"Error: {COMPACTED}"
    assert twin.fails("compact", Rev(1)) == f"Error: {COMPACTED}"
    assert twin.fails("compact", Rev(100)) == f"Error: {FUTURE}"
    twin.ok("compact", Rev(5), "--physical")
    assert twin.keys("compact/", "--prefix") == ["compact/a"]


def test_compaction_does_not_move_the_revision(twin: Twin) -> None:
    twin.ok("put", "compacts/a", "one")
    twin.ok("compact", Rev(1))
    assert twin.relative(twin.json("get", "compacts/a")["header"]["revision"]) == 1


# ----------------------------------------------------------------------- endpoint, member, alarm


def test_endpoint_status_tells_the_version_and_a_size(shared_store: Store) -> None:
    (answer,) = shared_store.etcdctl.json("endpoint", "status")
    status = answer["Status"]
    assert answer["Endpoint"] == shared_store.endpoint
    assert status["version"] == "3.7.3"
    assert status["dbSize"] > 0
    assert status["leader"] == status["header"]["member_id"] != 0
    assert status["header"]["revision"] == shared_store.etcdctl.revision()


def test_endpoint_health_says_healthy(shared_store: Store) -> None:
    printed = shared_store.etcdctl.ok("endpoint", "health")
    assert printed.startswith(f"{shared_store.endpoint} is healthy: successfully committed")
    (answer,) = json.loads(shared_store.etcdctl.ok("endpoint", "health", "-w", "json"))
    assert answer["health"] is True


def test_member_list_names_this_store_with_its_url(shared_store: Store) -> None:
    answer = shared_store.etcdctl.json("member", "list")
    (member,) = answer["members"]
    assert member["ID"] == answer["header"]["member_id"]
    assert member["clientURLs"] == [shared_store.endpoint]
    fields = shared_store.etcdctl.ok("member", "list").strip().split(", ")
    assert len(fields) == 6
    assert fields[1] == "started"


def test_alarm_list_is_empty(twin: Twin) -> None:
    assert twin.ok("alarm", "list") == ""
