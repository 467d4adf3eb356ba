"""The mesh of a process: what it dials and takes is dialled and taken as who it is."""

from __future__ import annotations

from kubebraid.base.links import Mesh
from kubebraid.proto.links.mesh import SocketMesh

from .kit import ROUTER, SECRET, SHARD, World


def test_two_meshes_meet_and_a_closed_dialer_ends_its_link(world: World) -> None:
    """As base/links.py promises to whoever holds a `Mesh`."""
    router, shard = world.process(ROUTER), world.process(SHARD)
    address = SocketMesh(shard.network, SHARD, SECRET).listen("127.0.0.1:0", shard.user).address
    mesh: Mesh = SocketMesh(router.network, ROUTER, SECRET)
    dialer = mesh.dial(address, router.user)
    world.until(lambda: router.user.links and shard.user.links)
    assert router.user.links[0].peer == SHARD.peer
    assert shard.user.links[0].peer == ROUTER.peer
    dialer.close()
    world.until(lambda: not router.user.links and not shard.user.links)
    world.advance(3_000)
    assert router.user.log == ["opened shard-1", "closed shard-1"]
