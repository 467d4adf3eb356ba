"""Our messages have the names, numbers and types of etcd 3.7.3, field by field.

The table was read from etcd's own .proto files, not from ours: whoever changes a field here breaks
every etcd client. `name=number:type`, a star means repeated; enums have no type.
"""

from __future__ import annotations

from typing import Any

from kubebraid.proto.etcd import auth_pb2, election_pb2, kv_pb2, lock_pb2, rpc_pb2

ETCD = """
authpb.Permission.Type: READ=0 WRITE=1 READWRITE=2
authpb.Permission: permType=1:Type key=2:bytes range_end=3:bytes
authpb.Role: name=1:bytes keyPermission=2:Permission*
authpb.User: name=1:bytes password=2:bytes roles=3:string* options=4:UserAddOptions
authpb.UserAddOptions: no_password=1:bool
etcdserverpb.AlarmMember: memberID=1:uint64 alarm=2:AlarmType
etcdserverpb.AlarmRequest.AlarmAction: GET=0 ACTIVATE=1 DEACTIVATE=2
etcdserverpb.AlarmRequest: action=1:AlarmAction memberID=2:uint64 alarm=3:AlarmType
etcdserverpb.AlarmResponse: header=1:ResponseHeader alarms=2:AlarmMember*
etcdserverpb.AlarmType: NONE=0 NOSPACE=1 CORRUPT=2
etcdserverpb.AuthDisableRequest:
etcdserverpb.AuthDisableResponse: header=1:ResponseHeader
etcdserverpb.AuthEnableRequest:
etcdserverpb.AuthEnableResponse: header=1:ResponseHeader
etcdserverpb.AuthRoleAddRequest: name=1:string
etcdserverpb.AuthRoleAddResponse: header=1:ResponseHeader
etcdserverpb.AuthRoleDeleteRequest: role=1:string
etcdserverpb.AuthRoleDeleteResponse: header=1:ResponseHeader
etcdserverpb.AuthRoleGetRequest: role=1:string
etcdserverpb.AuthRoleGetResponse: header=1:ResponseHeader perm=2:Permission*
etcdserverpb.AuthRoleGrantPermissionRequest: name=1:string perm=2:Permission
etcdserverpb.AuthRoleGrantPermissionResponse: header=1:ResponseHeader
etcdserverpb.AuthRoleListRequest:
etcdserverpb.AuthRoleListResponse: header=1:ResponseHeader roles=2:string*
etcdserverpb.AuthRoleRevokePermissionRequest: role=1:string key=2:bytes range_end=3:bytes
etcdserverpb.AuthRoleRevokePermissionResponse: header=1:ResponseHeader
etcdserverpb.AuthStatusRequest:
etcdserverpb.AuthStatusResponse: header=1:ResponseHeader enabled=2:bool authRevision=3:uint64
etcdserverpb.AuthUserAddRequest: name=1:string password=2:string options=3:UserAddOptions
    hashedPassword=4:string
etcdserverpb.AuthUserAddResponse: header=1:ResponseHeader
etcdserverpb.AuthUserChangePasswordRequest: name=1:string password=2:string
    hashedPassword=3:string
etcdserverpb.AuthUserChangePasswordResponse: header=1:ResponseHeader
etcdserverpb.AuthUserDeleteRequest: name=1:string
etcdserverpb.AuthUserDeleteResponse: header=1:ResponseHeader
etcdserverpb.AuthUserGetRequest: name=1:string
etcdserverpb.AuthUserGetResponse: header=1:ResponseHeader roles=2:string*
etcdserverpb.AuthUserGrantRoleRequest: user=1:string role=2:string
etcdserverpb.AuthUserGrantRoleResponse: header=1:ResponseHeader
etcdserverpb.AuthUserListRequest:
etcdserverpb.AuthUserListResponse: header=1:ResponseHeader users=2:string*
etcdserverpb.AuthUserRevokeRoleRequest: name=1:string role=2:string
etcdserverpb.AuthUserRevokeRoleResponse: header=1:ResponseHeader
etcdserverpb.AuthenticateRequest: name=1:string password=2:string
etcdserverpb.AuthenticateResponse: header=1:ResponseHeader token=2:string
etcdserverpb.CompactionRequest: revision=1:int64 physical=2:bool
etcdserverpb.CompactionResponse: header=1:ResponseHeader
etcdserverpb.Compare.CompareResult: EQUAL=0 GREATER=1 LESS=2 NOT_EQUAL=3
etcdserverpb.Compare.CompareTarget: VERSION=0 CREATE=1 MOD=2 VALUE=3 LEASE=4
etcdserverpb.Compare: result=1:CompareResult target=2:CompareTarget key=3:bytes version=4:int64
    create_revision=5:int64 mod_revision=6:int64 value=7:bytes lease=8:int64 range_end=64:bytes
etcdserverpb.DefragmentRequest:
etcdserverpb.DefragmentResponse: header=1:ResponseHeader
etcdserverpb.DeleteRangeRequest: key=1:bytes range_end=2:bytes prev_kv=3:bool
etcdserverpb.DeleteRangeResponse: header=1:ResponseHeader deleted=2:int64 prev_kvs=3:KeyValue*
etcdserverpb.DowngradeInfo: enabled=1:bool targetVersion=2:string
etcdserverpb.DowngradeRequest.DowngradeAction: VALIDATE=0 ENABLE=1 CANCEL=2
etcdserverpb.DowngradeRequest: action=1:DowngradeAction version=2:string
etcdserverpb.DowngradeResponse: header=1:ResponseHeader version=2:string
etcdserverpb.DowngradeVersionTestRequest: ver=1:string
etcdserverpb.HashKVRequest: revision=1:int64
etcdserverpb.HashKVResponse: header=1:ResponseHeader hash=2:uint32 compact_revision=3:int64
    hash_revision=4:int64
etcdserverpb.HashRequest:
etcdserverpb.HashResponse: header=1:ResponseHeader hash=2:uint32
etcdserverpb.LeaseCheckpoint: ID=1:int64 remaining_TTL=2:int64
etcdserverpb.LeaseCheckpointRequest: checkpoints=1:LeaseCheckpoint*
etcdserverpb.LeaseCheckpointResponse: header=1:ResponseHeader
etcdserverpb.LeaseGrantRequest: TTL=1:int64 ID=2:int64
etcdserverpb.LeaseGrantResponse: header=1:ResponseHeader ID=2:int64 TTL=3:int64 error=4:string
etcdserverpb.LeaseKeepAliveRequest: ID=1:int64
etcdserverpb.LeaseKeepAliveResponse: header=1:ResponseHeader ID=2:int64 TTL=3:int64
etcdserverpb.LeaseLeasesRequest:
etcdserverpb.LeaseLeasesResponse: header=1:ResponseHeader leases=2:LeaseStatus*
etcdserverpb.LeaseRevokeRequest: ID=1:int64
etcdserverpb.LeaseRevokeResponse: header=1:ResponseHeader
etcdserverpb.LeaseStatus: ID=1:int64
etcdserverpb.LeaseTimeToLiveRequest: ID=1:int64 keys=2:bool
etcdserverpb.LeaseTimeToLiveResponse: header=1:ResponseHeader ID=2:int64 TTL=3:int64
    grantedTTL=4:int64 keys=5:bytes*
etcdserverpb.Member: ID=1:uint64 name=2:string peerURLs=3:string* clientURLs=4:string*
    isLearner=5:bool
etcdserverpb.MemberAddRequest: peerURLs=1:string* isLearner=2:bool
etcdserverpb.MemberAddResponse: header=1:ResponseHeader member=2:Member members=3:Member*
etcdserverpb.MemberListRequest: linearizable=1:bool
etcdserverpb.MemberListResponse: header=1:ResponseHeader members=2:Member*
etcdserverpb.MemberPromoteRequest: ID=1:uint64
etcdserverpb.MemberPromoteResponse: header=1:ResponseHeader members=2:Member*
etcdserverpb.MemberRemoveRequest: ID=1:uint64
etcdserverpb.MemberRemoveResponse: header=1:ResponseHeader members=2:Member*
etcdserverpb.MemberUpdateRequest: ID=1:uint64 peerURLs=2:string*
etcdserverpb.MemberUpdateResponse: header=1:ResponseHeader members=2:Member*
etcdserverpb.MoveLeaderRequest: targetID=1:uint64
etcdserverpb.MoveLeaderResponse: header=1:ResponseHeader
etcdserverpb.PutRequest: key=1:bytes value=2:bytes lease=3:int64 prev_kv=4:bool
    ignore_value=5:bool ignore_lease=6:bool
etcdserverpb.PutResponse: header=1:ResponseHeader prev_kv=2:KeyValue
etcdserverpb.RangeRequest.SortOrder: NONE=0 ASCEND=1 DESCEND=2
etcdserverpb.RangeRequest.SortTarget: KEY=0 VERSION=1 CREATE=2 MOD=3 VALUE=4
etcdserverpb.RangeRequest: key=1:bytes range_end=2:bytes limit=3:int64 revision=4:int64
    sort_order=5:SortOrder sort_target=6:SortTarget serializable=7:bool keys_only=8:bool
    count_only=9:bool min_mod_revision=10:int64 max_mod_revision=11:int64
    min_create_revision=12:int64 max_create_revision=13:int64
etcdserverpb.RangeResponse: header=1:ResponseHeader kvs=2:KeyValue* more=3:bool count=4:int64
etcdserverpb.RangeStreamResponse: range_response=1:RangeResponse
etcdserverpb.RequestOp: request_range=1:RangeRequest request_put=2:PutRequest
    request_delete_range=3:DeleteRangeRequest request_txn=4:TxnRequest
etcdserverpb.ResponseHeader: cluster_id=1:uint64 member_id=2:uint64 revision=3:int64
    raft_term=4:uint64
etcdserverpb.ResponseOp: response_range=1:RangeResponse response_put=2:PutResponse
    response_delete_range=3:DeleteRangeResponse response_txn=4:TxnResponse
etcdserverpb.SnapshotRequest:
etcdserverpb.SnapshotResponse: header=1:ResponseHeader remaining_bytes=2:uint64 blob=3:bytes
    version=4:string
etcdserverpb.StatusRequest:
etcdserverpb.StatusResponse: header=1:ResponseHeader version=2:string dbSize=3:int64
    leader=4:uint64 raftIndex=5:uint64 raftTerm=6:uint64 raftAppliedIndex=7:uint64
    errors=8:string* dbSizeInUse=9:int64 isLearner=10:bool storageVersion=11:string
    dbSizeQuota=12:int64 downgradeInfo=13:DowngradeInfo
etcdserverpb.TxnRequest: compare=1:Compare* success=2:RequestOp* failure=3:RequestOp*
etcdserverpb.TxnResponse: header=1:ResponseHeader succeeded=2:bool responses=3:ResponseOp*
etcdserverpb.WatchCancelRequest: watch_id=1:int64
etcdserverpb.WatchCreateRequest.FilterType: NOPUT=0 NODELETE=1
etcdserverpb.WatchCreateRequest: key=1:bytes range_end=2:bytes start_revision=3:int64
    progress_notify=4:bool filters=5:FilterType* prev_kv=6:bool watch_id=7:int64 fragment=8:bool
etcdserverpb.WatchProgressRequest:
etcdserverpb.WatchRequest: create_request=1:WatchCreateRequest cancel_request=2:WatchCancelRequest
    progress_request=3:WatchProgressRequest
etcdserverpb.WatchResponse: header=1:ResponseHeader watch_id=2:int64 created=3:bool
    canceled=4:bool compact_revision=5:int64 cancel_reason=6:string fragment=7:bool
    events=11:Event*
mvccpb.Event.EventType: PUT=0 DELETE=1
mvccpb.Event: type=1:EventType kv=2:KeyValue prev_kv=3:KeyValue
mvccpb.KeyValue: key=1:bytes create_revision=2:int64 mod_revision=3:int64 version=4:int64
    value=5:bytes lease=6:int64
v3electionpb.CampaignRequest: name=1:bytes lease=2:int64 value=3:bytes
v3electionpb.CampaignResponse: header=1:ResponseHeader leader=2:LeaderKey
v3electionpb.LeaderKey: name=1:bytes key=2:bytes rev=3:int64 lease=4:int64
v3electionpb.LeaderRequest: name=1:bytes
v3electionpb.LeaderResponse: header=1:ResponseHeader kv=2:KeyValue
v3electionpb.ProclaimRequest: leader=1:LeaderKey value=2:bytes
v3electionpb.ProclaimResponse: header=1:ResponseHeader
v3electionpb.ResignRequest: leader=1:LeaderKey
v3electionpb.ResignResponse: header=1:ResponseHeader
v3lockpb.LockRequest: name=1:bytes lease=2:int64
v3lockpb.LockResponse: header=1:ResponseHeader key=2:bytes
v3lockpb.UnlockRequest: key=1:bytes
v3lockpb.UnlockResponse: header=1:ResponseHeader
"""


def described_field(field: Any) -> str:
    if field.message_type is not None:
        kind = field.message_type.name
    elif field.enum_type is not None:
        kind = field.enum_type.name
    else:
        kind = SCALARS[field.type]
    return f"{field.name}={field.number}:{kind}{'*' if field.is_repeated else ''}"


SCALARS = {3: "int64", 4: "uint64", 5: "int32", 8: "bool", 9: "string", 12: "bytes", 13: "uint32"}


def described(message: Any) -> dict[str, set[str]]:
    """A message and all that is declared inside it."""
    found = {message.full_name: {described_field(field) for field in message.fields}}
    for enum in message.enum_types:
        found[enum.full_name] = {f"{value.name}={value.number}" for value in enum.values}
    for nested in message.nested_types:
        found |= described(nested)
    return found


def table() -> dict[str, set[str]]:
    rows = ETCD.strip().replace("\n    ", " ").splitlines()
    return {name: set(fields.split()) for name, _, fields in (row.partition(":") for row in rows)}


def test_every_message_and_enum_is_that_of_etcd() -> None:
    ours: dict[str, set[str]] = {}
    for module in (kv_pb2, auth_pb2, rpc_pb2, lock_pb2, election_pb2):
        for message in module.DESCRIPTOR.message_types_by_name.values():
            ours |= described(message)
        for enum in module.DESCRIPTOR.enum_types_by_name.values():
            ours[enum.full_name] = {f"{value.name}={value.number}" for value in enum.values}
    assert ours == table()


def test_choices_are_those_of_etcd() -> None:
    choices = {
        f"{message.name}.{oneof.name}": {field.name for field in oneof.fields}
        for message in rpc_pb2.DESCRIPTOR.message_types_by_name.values()
        for oneof in message.oneofs
    }
    assert choices == {
        "Compare.target_union": {"version", "create_revision", "mod_revision", "value", "lease"},
        "RequestOp.request": {
            "request_range",
            "request_put",
            "request_delete_range",
            "request_txn",
        },
        "ResponseOp.response": {
            "response_range",
            "response_put",
            "response_delete_range",
            "response_txn",
        },
        "WatchRequest.request_union": {"create_request", "cancel_request", "progress_request"},
    }
