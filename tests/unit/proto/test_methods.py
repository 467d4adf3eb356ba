"""METHODS of proto/server.py are the services of our .proto files, no more and no fewer."""

from __future__ import annotations

from typing import Any

from kubebraid.proto.admin import admin_pb2
from kubebraid.proto.etcd import election_pb2, health_pb2, lock_pb2, rpc_pb2
from kubebraid.proto.server import METHOD_BY_PATH, METHODS, Shape

SERVICES = [
    *rpc_pb2.DESCRIPTOR.services_by_name.values(),
    *health_pb2.DESCRIPTOR.services_by_name.values(),
    *lock_pb2.DESCRIPTOR.services_by_name.values(),
    *election_pb2.DESCRIPTOR.services_by_name.values(),
    *admin_pb2.DESCRIPTOR.services_by_name.values(),
]


def shape(method: Any) -> Shape:
    assert not (method.client_streaming and not method.server_streaming), "etcd has no such method"
    if method.client_streaming:
        return Shape.BIDI
    return Shape.SERVER_STREAM if method.server_streaming else Shape.UNARY


def test_methods_are_those_of_the_descriptors_with_their_shapes() -> None:
    described = {
        f"/{service.full_name}/{method.name}": shape(method)
        for service in SERVICES
        for method in service.methods
    }
    assert {spec.path: spec.shape for spec in METHODS} == described


def test_paths_lead_back_to_their_index() -> None:
    assert [METHOD_BY_PATH[spec.path] for spec in METHODS] == list(range(len(METHODS)))


def test_bidi_methods_are_the_two_of_etcd() -> None:
    bidi = {spec.path for spec in METHODS if spec.shape is Shape.BIDI}
    assert bidi == {"/etcdserverpb.Watch/Watch", "/etcdserverpb.Lease/LeaseKeepAlive"}


def test_files_register_under_our_names_not_under_those_of_etcd() -> None:
    assert rpc_pb2.DESCRIPTOR.name == "kubebraid/proto/etcd/rpc.proto"
    assert {file.name for file in rpc_pb2.DESCRIPTOR.dependencies} == {
        "kubebraid/proto/etcd/auth.proto",
        "kubebraid/proto/etcd/kv.proto",
    }
