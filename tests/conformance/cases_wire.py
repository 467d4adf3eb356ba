"""Below the API: methods and services that are not there, bytes that are no message, metadata."""

from __future__ import annotations

from typing import Final

from .case import Call, CallStream, Case, bad, case, get, put, putting, ranged

GARBAGE: Final = b"\xff\xff\xff"
TRUNCATED: Final = b"\x0a\x05ab"  # field 1 says five bytes and has two
WRONG_WIRE: Final = b"\x08\x01"  # field 1 as a number
UNKNOWN_FIELD: Final = b"\xfa\x3e\x03abc"  # field 1007
NOT_UTF8: Final = b"\x0a\x02\xff\xfe"
GROUP_END: Final = b"\x0c"

METHODS: Final = (
    bad("wire.unknown_method", Call("/etcdserverpb.KV/Nope", b"")),
    bad("wire.unknown_method_of_health", Call("/grpc.health.v1.Health/Nope", b"")),
    bad("wire.unknown_service", Call("/etcdserverpb.Nope/Range", b"")),
    bad("wire.unknown_service_of_another_package", Call("/v3lockpb.Nope/Lock", b"")),
    bad("wire.method_in_another_case", Call("/etcdserverpb.KV/range", b"")),
    bad("wire.empty_method", Call("/etcdserverpb.KV/", b"")),
    bad("wire.no_method", Call("/etcdserverpb.KV", b"")),
    bad("wire.too_many_slashes", Call("/etcdserverpb.KV/Range/More", b"")),
    bad("wire.only_a_slash", Call("/", b"")),
    bad("wire.reflection_service", Call("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        b"")),
    bad("wire.unary_call_of_a_stream", Call("/etcdserverpb.Watch/Watch", GARBAGE)),
    bad("wire.stream_call_of_an_unknown_method", CallStream("/etcdserverpb.Watch/Nope", b"")),
)  # fmt: skip

MALFORMED: Final = (
    *(
        bad(f"wire.garbage_for_{method.split('.')[1].lower()}", Call(method, GARBAGE))
        for method in ("KV.Range", "KV.Put", "KV.DeleteRange", "KV.Txn", "KV.Compact",
        "Lease.LeaseGrant",
                       "Lease.LeaseTimeToLive", "Maintenance.Status", "Cluster.MemberList",
                       "Auth.AuthStatus")
    ),
    bad("wire.garbage_for_a_range_stream", CallStream("KV.RangeStream", GARBAGE)),
    bad("wire.truncated_field", Call("KV.Range", TRUNCATED)),
    bad("wire.field_of_another_wire_type", Call("KV.Range", WRONG_WIRE)),
    bad("wire.group_end_without_begin", Call("KV.Range", GROUP_END)),
    bad("wire.text_that_is_no_utf8", Call("Auth.UserGet", NOT_UTF8)),
    bad("wire.health_service_that_is_no_utf8", Call("Health.Check", NOT_UTF8)),
    case("wire.unknown_field_is_skipped", put("a", "1"),
         Call("KV.Range", get("zz").SerializeToString() + UNKNOWN_FIELD)),
    case("wire.last_of_a_repeated_scalar_wins", Call("KV.Range", b"\x0a\x01x\x0a\x01y")),
    bad("wire.empty_message_is_an_empty_key", Call("KV.Range", b"")),
    bad("wire.negative_varint_of_ten_bytes", Call("KV.Range",
        b"\x0a\x01y\x18" + b"\xff" * 9 + b"\x01")),
    bad("wire.bool_of_two", Call("KV.Range", b"\x0a\x01y\x38\x02")),
)  # fmt: skip

METADATA: Final = (
    case("wire.client_version_metadata", Call("KV.Range", get("a"),
         metadata=(("client-api-version", "3.7"),))),
    case("wire.unknown_metadata", Call("KV.Put", putting("a"), metadata=(("x-anything", "y"),)),
         ranged("a")),
    case("wire.has_leader_metadata", Call("KV.Put", putting("a", "1"),
         metadata=(("hasleader", "true"),))),
    bad("wire.gzip", Call("KV.Put", putting("a", "1" * 2000), gzip=True), ranged("a")),
)  # fmt: skip

CASES: Final[tuple[Case, ...]] = (*METHODS, *MALFORMED, *METADATA)
