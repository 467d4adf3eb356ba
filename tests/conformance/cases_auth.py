"""Auth: authentication is off, and what its methods answer then."""

from __future__ import annotations

from typing import Final

from kubebraid.proto.etcd import auth_pb2
from kubebraid.proto.etcd import rpc_pb2 as pb

from .case import Call, Case, Message, Step, bad, case, put, ranged


def auth(method: str, request: Message) -> Step:
    return Call(f"Auth.{method}", request)


STATUS: Final = auth("AuthStatus", pb.AuthStatusRequest())
GRANT: Final = pb.AuthRoleGrantPermissionRequest(name="nobody", perm=auth_pb2.Permission(key=b"a"))
REVOKE: Final = pb.AuthRoleRevokePermissionRequest(role="nobody", key=b"a")

CASES: Final[tuple[Case, ...]] = (
    case("auth.status", STATUS),
    case("auth.status_header_is_of_now", put("a"), STATUS),
    case("auth.disable_what_is_off", auth("AuthDisable", pb.AuthDisableRequest()), STATUS),
    bad("auth.enable_without_root", auth("AuthEnable", pb.AuthEnableRequest()), STATUS),
    bad("auth.authenticate", auth("Authenticate",
        pb.AuthenticateRequest(name="me", password="it"))),
    bad("auth.user_add_without_name", auth("UserAdd", pb.AuthUserAddRequest(password="it"))),
    bad("auth.user_get_unknown", auth("UserGet", pb.AuthUserGetRequest(name="nobody"))),
    case("auth.user_list_of_none", auth("UserList", pb.AuthUserListRequest())),
    bad("auth.user_delete_unknown", auth("UserDelete", pb.AuthUserDeleteRequest(name="nobody"))),
    bad("auth.user_change_password_unknown",
        auth("UserChangePassword", pb.AuthUserChangePasswordRequest(name="nobody", password="it"))),
    bad("auth.user_grant_role_unknown", auth("UserGrantRole",
        pb.AuthUserGrantRoleRequest(user="nobody", role="root"))),
    bad("auth.user_revoke_role_unknown", auth("UserRevokeRole",
        pb.AuthUserRevokeRoleRequest(name="nobody", role="root"))),
    bad("auth.role_add_without_name", auth("RoleAdd", pb.AuthRoleAddRequest())),
    bad("auth.role_get_unknown", auth("RoleGet", pb.AuthRoleGetRequest(role="nobody"))),
    case("auth.role_list_of_none", auth("RoleList", pb.AuthRoleListRequest())),
    bad("auth.role_delete_unknown", auth("RoleDelete", pb.AuthRoleDeleteRequest(role="nobody"))),
    bad("auth.role_grant_permission_unknown", auth("RoleGrantPermission", GRANT)),
    bad("auth.role_revoke_permission_unknown", auth("RoleRevokePermission", REVOKE)),
    case("auth.token_is_ignored_when_off",
         Call("KV.Put", pb.PutRequest(key=b"a", value=b"1"), metadata=(("token", "garbage"),)),
         ranged("a")),
)  # fmt: skip
