"""etcdctl's flags for every command, and every form of output of the commands on data."""

from __future__ import annotations

from typing import Any, Final

import pytest

from kubebraid.cli.bench.servers import free_port
from kubebraid.proto.etcd import rpc_pb2
from tests.e2e.store import Store
from tests.e2e.twin import LeaseOf, Rev, Twin

pytestmark = pytest.mark.e2e

NO_TABLE: Final = "Error: table not supported as output format"
AT_STORE: Final = "--endpoints={ENDPOINT}"


def everything(form: str) -> list[tuple[str, ...]]:
    """One of each command on data, in one form of output."""
    commands = (
        *("put form/a one --prev-kv", "put form/a two --prev-kv", "put form/b \x01\xe9"),
        *("get form/a", "get form/ --prefix --keys-only"),
        *("get form/ --prefix --limit=1 --order=DESCEND", "get form/none"),
        *("get form/ --prefix --stream", "get form/none --stream"),
        *("del form/a --prev-kv", "del form/none", "get form/a"),
    )
    return [(*command.replace("form/", f"{form}/").split(" "), "-w", form) for command in commands]


@pytest.mark.parametrize("form", ["simple", "json", "fields"])
def test_every_command_on_data_prints_as_beside_etcd(twin: Twin, form: str) -> None:
    for command in everything(form):
        twin.ok(*command)
    taken = f'ver("{form}/c") = "0"\n\nput {form}/c x\nget {form}/b\ndel {form}/none\n\n\n'
    other = f'value("{form}/c") != "x"\n\n\nget {form}/ --prefix\ndel {form}/c --prev-kv\n\n'
    assert "FAIL" not in twin.ok("txn", "-w", form, stdin=taken)
    assert "SUCC" not in twin.ok("txn", "-w", form, stdin=other)
    twin.fails("txn", "-w", form, stdin=f"\nput {form}/d x\ndel {form}/d\n\n\n")
    twin.ok("compaction", Rev(1), "-w", form)


@pytest.mark.parametrize("form", ["simple", "json", "fields"])
def test_every_lease_command_prints_as_beside_etcd(twin: Twin, form: str) -> None:
    twin = twin.hiding("ttl", "TTL") if form == "fields" else twin.hiding("ttl")
    twin.grant("one", 300)
    twin.ok("put", "formlease/a", "x", "--lease=", LeaseOf("one"))
    twin.ok("lease", "grant", "100", "-w", form)
    twin.ok("lease", "timetolive", LeaseOf("one"), "--keys", "-w", form)
    twin.ok("lease", "timetolive", LeaseOf("one"), "-w", form)
    twin.ok("lease", "keep-alive", LeaseOf("one"), "--once", "-w", form)
    twin.ok("get", "formlease/a", "-w", form)
    twin.ok("lease", "revoke", LeaseOf("one"), "-w", form)
    twin.ok("lease", "timetolive", LeaseOf("one"), "-w", form)


def test_no_command_on_data_has_a_table(twin: Twin) -> None:
    for command in (*everything("table"), ("lease", "grant", "100", "-w", "table")):
        assert twin.fails(*command) == NO_TABLE
    # The commands themselves were carried out, as on etcd.
    assert twin.keys("table/", "--prefix") == ["table/b"]


def test_the_protobuf_form_holds_what_the_json_form_says(shared_store: Store) -> None:
    etcdctl = shared_store.etcdctl
    revision = etcdctl.put("pb/a", "one")
    got = rpc_pb2.RangeResponse.FromString(etcdctl.octets("get", "pb/a", "-w", "protobuf"))
    (pair,) = got.kvs
    assert (got.header.revision, got.count) == (revision, 1)
    assert (pair.key, pair.value, pair.mod_revision) == (b"pb/a", b"one", revision)
    put = rpc_pb2.PutResponse.FromString(
        etcdctl.octets("put", "pb/a", "two", "--prev-kv", "-w", "protobuf")
    )
    assert (put.header.revision, put.prev_kv.value) == (revision + 1, b"one")
    deleted = rpc_pb2.DeleteRangeResponse.FromString(
        etcdctl.octets("del", "pb/a", "--prev-kv", "-w", "protobuf")
    )
    assert (deleted.deleted, deleted.prev_kvs[0].value) == (1, b"two")
    members = rpc_pb2.MemberListResponse.FromString(
        etcdctl.octets("member", "list", "-w", "protobuf")
    )
    assert members.header.member_id == members.members[0].ID == etcdctl.header["member_id"]
    alarms = rpc_pb2.AlarmResponse.FromString(etcdctl.octets("alarm", "list", "-w", "protobuf"))
    assert alarms.header.cluster_id == etcdctl.header["cluster_id"]


def test_hexadecimal_output_escapes_every_byte(twin: Twin) -> None:
    twin.ok("put", "hex/\u00e9", "a\x01b")
    assert twin.ok("get", "hex/", "--prefix", "--hex").startswith("\\x68\\x65\\x78\\x2f\\xc3\\xa9")
    twin.grant("hex", 300)
    twin.ok("put", "hex/lease", "x", "--lease=", LeaseOf("hex"))
    twin = twin.hiding("TTL", "ttl")
    for form in ("json", "fields"):
        twin.ok("get", "hex/", "--prefix", "--hex", "-w", form)
        twin.ok("lease", "timetolive", LeaseOf("hex"), "--hex", "-w", form)


# ------------------------------------------------------------------------------------ reaching it


def test_variables_stand_for_flags(twin: Twin) -> None:
    env = {"ETCDCTL_ENDPOINTS": "{ENDPOINT}", "ETCDCTL_WRITE_OUT": "json"}
    assert '"revision"' in twin.bare("put", "env/a", "one", env=env).ok()
    # etcdctl refuses to guess which of the two was meant.
    assert twin.bare("get", "env/a", AT_STORE, "-w", "simple", env=env).code == 1
    watched = {"ETCDCTL_ENDPOINTS": "{ENDPOINT}", "ETCDCTL_WATCH_RANGE_END": "env0"}
    assert twin.bare("watch", env=watched).code != 0


def test_every_flag_of_the_connection_is_taken(twin: Twin) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    ways = (
        ("--keepalive-time=1s", "--keepalive-timeout=2s"),
        ("--dial-timeout=2s", "--command-timeout=8s"),
        ("--insecure-transport",),
        ("--insecure-transport=false", "--insecure-discovery=false"),
        ("--max-request-bytes=4096", "--max-recv-bytes=4096"),
        (f"--endpoints={away}",),
        ("--hex=false", "--write-out=simple", "--debug=false"),
    )
    for number, flags in enumerate(ways):
        assert twin.bare("put", f"way/{number}", "x", AT_STORE, *flags).ok() == "OK\n"
        assert twin.bare("get", f"way/{number}", AT_STORE, *flags).ok() == f"way/{number}\nx\n"


def test_limits_of_the_client_are_the_clients(twin: Twin) -> None:
    done = twin.bare("put", "limit/a", "x" * 200, AT_STORE, "--max-request-bytes=100")
    assert "trying to send message larger than max" in done.stderr
    twin.ok("put", "limit/b", "x" * 5_000)
    for side in twin.each("get", "limit/b", "--print-value-only"):
        assert len(side) == 5_001


def test_an_answer_beyond_the_clients_limit_is_an_error(shared_store: Store) -> None:
    shared_store.etcdctl.put("recv/a", "x" * 5_000)
    done = shared_store.etcdctl.run("get", "recv/a", "--max-recv-bytes=4096")
    assert done.code == 1
    assert "received message larger than max" in done.stderr


def test_time_runs_out_as_with_etcd(twin: Twin) -> None:
    late = "Error: context deadline exceeded\n"
    assert twin.bare("get", "none", AT_STORE, "--command-timeout=1ns").stderr == late
    away = f"--endpoints=http://127.0.0.1:{free_port()}"
    done = twin.bare("get", "none", away, "--command-timeout=200ms", "--dial-timeout=100ms")
    assert (done.code, done.stderr) == (1, late)


def test_debug_tells_every_flag_and_connects(shared_store: Store) -> None:
    done = shared_store.etcdctl.run("get", "none", "--debug")
    assert done.code == 0
    assert f"ETCDCTL_ENDPOINTS=[{shared_store.endpoint}]" in done.stderr.splitlines()
    assert "Connectivity change to READY" in done.stderr


def test_words_behind_two_dashes_are_no_flags(twin: Twin) -> None:
    twin.ok("put", "dash/a", "--", "-value")
    assert twin.ok("get", "dash/a", "--print-value-only") == "-value\n"
    twin.ok("put", "--", "-dash", "--x")
    assert twin.ok("get", "--", "-dash") == "-dash\n--x\n"
    assert twin.ok("del", "--", "-dash") == "1\n"


@pytest.mark.parametrize(
    "commands",
    [
        ("put", "put a b c", "get", "get a b c", "del", "del a b --prefix"),
        ("get a --prefix --from-key", "get a --order=NONE", "get a --sort-by=NONE"),
        ("get a --consistency=x", "get a b --prefix", "del a --prefix --from-key"),
        ("get a --stream --order=DESCEND", "get a --rev=x", "get a --print-value-only -w json"),
        ("get a --keys-only --count-only", "get a --count-only"),
        ("lease grant", "lease grant x", "lease grant 0", "lease grant -- -1"),
        ("lease revoke", "lease revoke xyz", "lease revoke 1", "lease timetolive"),
        ("lease timetolive 1", "lease timetolive 1 --keys", "lease keep-alive 1 --once"),
        ("lease keep-alive 1", "compaction", "compaction x", "compaction 0", "compaction -- -1"),
        ("put a x --lease=xyz", "put a x --ignore-value", "put a x --ignore-lease --lease=1"),
        ("watch", "watch a b --prefix", "elect", "elect e", "elect e p -l", "lock"),
        ("make-mirror", "make-mirror a b", "snapshot save", "endpoint hashkv --rev=x"),
        ("member promote xyz", "alarm list a", "get a -w yaml", "get a --unknown", "unknown"),
    ],
    ids=lambda commands: commands[0],
)
def test_what_is_wrong_is_told_in_the_same_words(twin: Twin, commands: tuple[str, ...]) -> None:
    for command in commands:
        twin.both(*command.split())


def test_txn_that_cannot_be_read_is_refused_before_it_is_sent(twin: Twin) -> None:
    for script in (
        "bad\n\n\n\n",
        'mod("a") = "x"\n\n\n\n',
        "\nput a\n\n\n",
        "\nwatch a\n\n\n",
        "\nget\n\n\n",
    ):
        twin.fails("txn", stdin=script)
    twin.fails("txn", "extra", stdin="\n\n\n")


def test_a_key_may_be_any_bytes_an_argument_can_hold(twin: Twin) -> None:
    for key in ("\u00e9\u4e16", "a b", "a\nb", "\x01", "\x7f", "--", "\U0001f600"):
        twin.ok("put", "--", f"bytes/{key}", key)
        twin.ok("get", "--", f"bytes/{key}")
    assert len(twin.keys("bytes/", "--prefix")) == 7
    answer: Any = twin.json("get", "bytes/", "--prefix", "--sort-by=KEY", "--order=DESCEND")
    assert answer["count"] == 7
