"""KV.Put and KV.DeleteRange: options, sizes at the limit, and their refusals."""

from __future__ import annotations

from typing import Final

from kubebraid.proto.etcd import rpc_pb2 as pb

from .case import (
    FRUITS,
    Call,
    Case,
    Open,
    Send,
    Take,
    bad,
    case,
    delete,
    grant,
    lease,
    put,
    ranged,
    revoke,
    time_to_live,
    watching,
)

REQUEST_MAX: Final = 1536 * 1024
MESSAGE_MAX: Final = REQUEST_MAX + 512 * 1024
UNKNOWN_LEASE: Final = 4711

PUTS: Final = (
    case("put.same_value_again_is_a_write", put("a", "1"), put("a", "1"), ranged("a")),
    case("put.prev_kv_of_a_new_key", put("a", "1", prev_kv=True)),
    case("put.prev_kv", grant("x"), put("a", "1", lease=lease("x")),
         put("a", "2", prev_kv=True), put("a", "3", prev_kv=True)),
    case("put.prev_kv_of_a_deleted_key", put("a", "1"), delete("a"), put("a", "2", prev_kv=True)),
    case("put.ignore_value", put("a", "1"), put("a", ignore_value=True), ranged("a")),
    case("put.ignore_value_drops_the_lease", grant("x"), put("a", "1", lease=lease("x")),
         put("a", ignore_value=True), ranged("a"), time_to_live(lease("x"), keys=True)),
    case("put.ignore_value_and_attach", grant("x"), put("a", "1"),
         put("a", ignore_value=True, lease=lease("x")), ranged("a")),
    case("put.ignore_lease", grant("x"), put("a", "1", lease=lease("x")),
         put("a", "2", ignore_lease=True), ranged("a"), time_to_live(lease("x"), keys=True)),
    case("put.ignore_lease_of_a_key_without", put("a", "1"), put("a", "2", ignore_lease=True),
         ranged("a")),
    case("put.ignore_both", grant("x"), put("a", "1", lease=lease("x")),
         put("a", ignore_value=True, ignore_lease=True, prev_kv=True), ranged("a")),
    case("put.ignore_value_and_prev_kv", put("a", "1"), put("a", ignore_value=True, prev_kv=True)),
    case("put.without_lease_detaches", grant("x"), put("a", "1", lease=lease("x")), put("a", "2"),
         time_to_live(lease("x"), keys=True), ranged("a")),
    case("put.long_key", put("k" * 20_000, "1"), ranged("k" * 20_000, count_only=True)),
    case("put.key_of_every_byte", Call("KV.Put", pb.PutRequest(key=b"k" + bytes(range(256)))),
         ranged("k", "l")),
    case("put.key_zero", put("\0", "1"), ranged("\0"), ranged("\0", "\0\0")),
)  # fmt: skip

BAD_PUTS: Final = (
    bad("put.empty_key", put("", "1")),
    bad("put.empty_key_and_value_provided", put("", "1", ignore_value=True)),
    bad("put.nothing_at_all", put("")),
    bad("put.value_provided", put("a", "1"), put("a", "2", ignore_value=True), ranged("a")),
    bad("put.value_provided_for_a_new_key", put("a", "2", ignore_value=True)),
    bad("put.lease_provided", put("a", "1"), put("a", "2", lease=7, ignore_lease=True),
        ranged("a")),
    bad("put.value_and_lease_provided", put("a", "2", lease=7, ignore_value=True,
        ignore_lease=True)),
    bad("put.ignore_value_of_an_absent_key", put("a", ignore_value=True), ranged("a")),
    bad("put.ignore_lease_of_an_absent_key", put("a", "1", ignore_lease=True), ranged("a")),
    bad("put.ignore_value_of_a_deleted_key", put("a", "1"), delete("a"),
        put("a", ignore_value=True)),
    bad("put.lease_unknown", put("a", "1", lease=UNKNOWN_LEASE), ranged("a")),
    bad("put.lease_unknown_over_a_key", put("a", "1"), put("a", "2", lease=UNKNOWN_LEASE),
        ranged("a")),
    bad("put.lease_negative", put("a", "1", lease=-1)),
    bad("put.lease_revoked", grant("x"), revoke(lease("x")), put("a", "1", lease=lease("x"))),
    bad("put.lease_unknown_and_key_absent_for_ignored_value",
        put("a", lease=UNKNOWN_LEASE, ignore_value=True)),
)  # fmt: skip

SIZES: Final = (
    case("size.value_of_1_mib", put("a", b"v" * (1 << 20)), ranged("a")),
    case("size.request_just_below_the_limit", put("a", b"v" * (REQUEST_MAX - 256)), ranged("a")),
    bad("size.request_one_above_the_limit", put("a", b"v" * (REQUEST_MAX + 1)), ranged("a")),
    bad("size.request_far_above_the_limit", put("a", b"v" * (MESSAGE_MAX - 64))),
    bad("size.message_above_the_grpc_limit", put("a", b"v" * MESSAGE_MAX), ranged("a")),
    bad("size.message_far_above_the_grpc_limit", put("a", b"v" * (4 << 20)), put("a", "1")),
    bad("size.transaction_above_the_limit", Call("KV.Txn", pb.TxnRequest(success=[
        pb.RequestOp(request_put=pb.PutRequest(key=b"%c" % (97 + n),
        value=b"v" * (1 << 19))) for n in range(3)])),
        ranged("a", "z", count_only=True)),
    bad("size.range_message_above_the_grpc_limit", ranged("k" * MESSAGE_MAX)),
    bad("size.range_message_above_the_request_limit", ranged("k" * (REQUEST_MAX + 1),
        count_only=True)),
    bad("size.delete_message_above_the_request_limit", delete("k" * (REQUEST_MAX + 1))),
    bad("size.compare_above_the_request_limit", Call("KV.Txn", pb.TxnRequest(compare=[
        pb.Compare(target=pb.Compare.VALUE, key=b"a", value=b"v" * (REQUEST_MAX + 1))]))),
    bad("size.watch_message_above_the_grpc_limit", Open(), Send(watching("a" * MESSAGE_MAX)),
        Take(1)),
    case("size.answer_above_all_limits", [put(f"a{n}", b"v" * (1 << 20)) for n in range(4)],
         ranged("a", "b"), delete("a", "b", prev_kv=True)),
)  # fmt: skip

DELETES: Final = (
    case("delete.absent_key", delete("a"), ranged("a")),
    case("delete.key", put("a", "1"), delete("a"), ranged("a")),
    case("delete.key_twice", put("a"), delete("a"), delete("a")),
    case("delete.prev_kv", grant("x"), put("a", "1", lease=lease("x")),
         put("a", "2", lease=lease("x")),
         delete("a", prev_kv=True), time_to_live(lease("x"), keys=True)),
    case("delete.prev_kv_of_nothing", delete("a", prev_kv=True)),
    case("delete.interval", FRUITS, delete("apple", "pear"), ranged("a", "z")),
    case("delete.interval_with_prev_kv", FRUITS, delete("fig", "z", prev_kv=True)),
    case("delete.from_key", FRUITS, delete("g", "\0", prev_kv=True), ranged("a", "z")),
    case("delete.everything", FRUITS, delete("\0", "\0"), ranged("\0", "\0")),
    case("delete.key_is_no_prefix", put("ab"), delete("a")),
    case("delete.end_is_key", put("a"), delete("a", "a")),
    case("delete.end_below_key", FRUITS, delete("z", "a")),
    case("delete.empty_interval_takes_no_revision", put("a"), delete("x", "z"), put("a")),
    case("delete.detaches_the_lease", grant("x"), put("a", lease=lease("x")), delete("a"),
         revoke(lease("x")), ranged("a")),
    bad("delete.empty_key", delete("")),
    bad("delete.empty_key_with_end", FRUITS, delete("", "z"), ranged("a", "z", count_only=True)),
    bad("delete.empty_key_from_key", delete("", "\0")),
    case("delete.many_keys", [put(f"a{n:02}") for n in range(30)], delete("a", "b", prev_kv=True)),
)  # fmt: skip

CASES: Final[tuple[Case, ...]] = (*PUTS, *BAD_PUTS, *SIZES, *DELETES)
