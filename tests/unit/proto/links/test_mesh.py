"""The mesh of a process: what it dials and takes is dialled and taken as who it is."""

from __future__ import annotations

import pytest

from kubebraid.base.links import Mesh
from kubebraid.proto.links.mesh import SocketMesh

from .kit import ROUTER, SECRET, SHARD, FakeClock, World


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


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_address_that_is_reserved_is_reached_when_somebody_listens_there(
    world: World, host: str
) -> None:
    """Whoever dials before waits in the queue of the socket, and is not refused."""
    router, shard = world.process(ROUTER), world.process(SHARD)
    mesh = SocketMesh(shard.network, SHARD, SECRET)
    address = mesh.reserve(f"{host}:0")
    assert address.startswith(f"{host}:")
    assert not address.endswith(":0")
    SocketMesh(router.network, ROUTER, SECRET).dial(address, router.user)
    world.advance(1_000)
    assert (router.user.log, shard.user.log) == ([], [])
    mesh.listen(address, shard.user)
    world.until(lambda: router.user.links and shard.user.links)
    assert router.user.log == ["opened shard-1"], "by its first try"
    assert world.clock.ms == FakeClock().ms + 1_000
    mesh.close()
    world.advance(1_000)
    assert shard.user.links, "what is listened at is not the mesh's any more"


def test_closed_mesh_gives_back_what_it_has_reserved(world: World) -> None:
    network = world.process(SHARD).network
    mesh, other = (SocketMesh(network, SHARD, SECRET) for _ in range(2))
    address = mesh.reserve("127.0.0.1:0")
    with pytest.raises(OSError, match="in use"):
        other.reserve(address)
    mesh.close()
    assert other.reserve(address) == address
    other.close()
