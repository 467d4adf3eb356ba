"""Servers and dialers: who gets in, who is tried again, and what strangers can do."""

from __future__ import annotations

import errno
import logging
import os
import pickle
import socket
from typing import Any

import pytest

from kubebraid.base.limits import (
    LINK_BACKOFF_MOST_MS,
    LINK_HANDSHAKE_MS_MAX,
    LINK_LOG_MS,
    LINK_STRANGERS_MAX,
)
from kubebraid.proto.links import endpoints
from kubebraid.proto.links.addresses import AddressRefused, Endpoint
from kubebraid.proto.links.connection import Connection
from kubebraid.proto.links.handshake import DIALER, IdentityRefused
from kubebraid.proto.links.reasons import Reason

from .kit import DIALER_NONCE, OTHER_SECRET, ROUTER, SECRET, SHARD, Process, Raw, World, output


@pytest.fixture(autouse=True)
def all_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "kubebraid.links")


def reasons(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [str(record.__dict__.get("reason", "")) for record in caplog.records]
    return [reason for reason in found if reason]


def restarted(process: Process, world: World) -> Process:
    """The same role and name; another incarnation."""
    world.processes.remove(process)
    process.close()
    peer = process.me.peer
    return world.process(process.me._replace(peer=peer._replace(incarnation=peer.incarnation + 1)))


def test_server_and_dialer_meet(world: World) -> None:
    router, shard = world.process(ROUTER), world.process(SHARD)
    router.dial(shard.listen().address)
    world.until(lambda: router.user.links and shard.user.links)
    assert router.user.links[0].peer == SHARD.peer
    assert shard.user.links[0].peer == ROUTER.peer


def test_server_and_dialer_meet_over_ipv6(world: World) -> None:
    router, shard = world.process(ROUTER), world.process(SHARD)
    try:
        address = shard.listen("[::1]:0").address
    except OSError:
        pytest.skip("no IPv6 here")
    router.dial(address)
    world.until(lambda: router.user.links and shard.user.links)


def test_name_is_resolved_beside_the_loop(world: World) -> None:
    router, shard = world.process(ROUTER, None), world.process(SHARD, None)
    port = shard.listen("127.0.0.1:0").address.rpartition(":")[2]
    router.dial(f"localhost:{port}")

    def met() -> bool:
        world.clock.ms += 10  # if ::1 comes first, it is refused and 127.0.0.1 is next
        return bool(router.user.links and shard.user.links)

    world.until(met)


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:7000"])
def test_without_a_secret_nothing_leaves_loopback(world: World, address: str) -> None:
    process = world.process(SHARD, None)
    with pytest.raises(AddressRefused):
        process.listen(address)
    with pytest.raises(AddressRefused):
        process.dial(address)


def test_with_a_secret_any_address_may_be_listened_on(world: World) -> None:
    process = world.process(SHARD)
    assert not process.listen("0.0.0.0:0").address.endswith(":0")


def test_name_that_cannot_be_told_is_refused_before_the_first_peer_comes(world: World) -> None:
    peer = SHARD.peer._replace(name="two words")
    process = world.process(SHARD._replace(peer=peer))
    with pytest.raises(IdentityRefused):
        process.listen()
    with pytest.raises(IdentityRefused):
        process.dial("127.0.0.1:7000")


def test_name_that_leads_off_loopback_is_not_dialled_without_a_secret(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the resolver knows where a name leads, hence only then can it be refused."""
    leads = [Endpoint(socket.AF_INET, ("192.0.2.1", 7000))]
    monkeypatch.setattr(endpoints, "resolve", lambda _address: leads)
    router = world.process(ROUTER, None)
    router.dial("shard-1.example:7000")
    world.until(lambda: reasons(caplog))
    assert "without a cluster secret" in reasons(caplog)[0]


def test_wrong_secret_is_told_in_both_logs_and_opens_nothing(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    router, shard = world.process(ROUTER, OTHER_SECRET), world.process(SHARD)
    router.dial(shard.listen().address)
    world.until(lambda: len(reasons(caplog)) == 2)
    assert set(reasons(caplog)) == {Reason.SECRET.value, Reason.SHUNNED.value}
    world.advance(5_000)
    assert router.user.log == shard.user.log == []


class Bomb:
    """Unpickled, it makes a folder."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


def test_garbage_and_pickles_on_the_port_have_no_effect(world: World, tmp_path: Any) -> None:
    """Before and after the greeting; an honest dialer comes through all the time."""
    shard = world.process(SHARD)
    address = shard.listen().address
    bomb = pickle.dumps(Bomb(str(tmp_path / "bang")))
    hello = output(Connection(DIALER, ROUTER, OTHER_SECRET, DIALER_NONCE))
    garbage = [bytes(100_000), b"\xff" * 5_000, bomb * 100, hello + bomb, hello + bomb[:32]]
    raws = [Raw(world, address) for _ in garbage]
    for raw, data in zip(raws, garbage, strict=True):
        raw.say(data)
    for raw in raws:
        world.until(raw.is_cut)
    assert not (tmp_path / "bang").exists()
    router = world.process(ROUTER)
    router.dial(address)
    world.until(lambda: router.user.links and shard.user.log)
    assert shard.user.log == ["opened router-7"]


def test_stranger_that_knocks_is_told_a_nonce_only(world: World) -> None:
    shard = world.process(SHARD)
    raw = Raw(world, shard.listen().address)
    raw.say(output(raw.connection))
    heard = b""
    for _ in range(20):
        world.turn()
        heard += raw.hear() or b""
    assert len(heard) == 40
    for known in (b"shard", b"braid", SHARD.peer.incarnation.to_bytes(8, "big")):
        assert known not in heard[:8]
    raw.say(bytes(32))
    world.until(raw.is_cut)


def test_crowd_of_strangers_is_bounded_and_keeps_nobody_out(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    shard = world.process(SHARD)
    server = shard.listen()
    crowd = [Raw(world, server.address) for _ in range(LINK_STRANGERS_MAX + 5)]
    world.turn(30)
    assert len(server._strangers) == LINK_STRANGERS_MAX
    assert [raw.is_cut() for raw in crowd] == [True] * 5 + [False] * LINK_STRANGERS_MAX
    assert Reason.CROWDED.value in reasons(caplog)
    router = world.process(ROUTER)
    router.dial(server.address)
    world.until(lambda: router.user.links)
    world.advance(LINK_HANDSHAKE_MS_MAX + 200)
    assert len(server._strangers) == 0
    assert all(raw.is_cut() for raw in crowd)
    assert router.user.log == ["opened shard-1"]


def test_log_of_refusals_is_one_line_a_second(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    shard = world.process(SHARD)
    address = shard.listen().address

    def knock() -> None:
        raw = Raw(world, address)
        raw.say(b"GET / HTTP/1.1\r\n")
        world.until(raw.is_cut)
        world.turn(2)

    for _ in range(10):
        knock()
    assert reasons(caplog) == [Reason.STRANGE.value]
    world.clock.ms += LINK_LOG_MS
    world.turn()
    knock()
    assert reasons(caplog) == [Reason.STRANGE.value] * 2
    assert caplog.records[-1].__dict__["unlogged"] == 9


def test_server_that_comes_later_is_found_and_told_about_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    shard = world.process(SHARD)
    server = shard.listen()
    server.close()
    router = world.process(ROUTER)
    router.dial(server.address)
    world.advance(10_000)
    assert router.user.log == []
    assert len(reasons(caplog)) == 1
    assert Reason.NETWORK.value in reasons(caplog)[0]
    shard.listen(server.address)
    world.advance(LINK_BACKOFF_MOST_MS + 200)
    assert router.user.log == ["opened shard-1"]


def test_restarted_peer_is_found_again_as_another_incarnation(world: World) -> None:
    router, shard = world.process(ROUTER), world.process(SHARD)
    address = shard.listen().address
    router.dial(address)
    world.until(lambda: router.user.links)
    world.advance(2_000)
    again = restarted(shard, world)
    world.until(lambda: not router.user.links)
    again.listen(address)
    world.advance(300)
    assert router.user.log == ["opened shard-1", "closed shard-1", "opened shard-1"]
    assert router.user.links[0].peer.incarnation == SHARD.peer.incarnation + 1
    router.user.links[0].send(1, b"again")
    world.until(lambda: again.user.got)


def test_link_that_ends_at_once_is_tried_again_more_and_more_slowly(world: World) -> None:
    """A peer that sends us away each time is not knocked at twenty times a second."""
    router, shard = world.process(ROUTER), world.process(SHARD)
    shard.user.on_opened = lambda link: link.close()
    router.dial(shard.listen().address)
    world.advance(10_000, step_ms=50)
    assert 10 <= shard.user.log.count("opened router-7") <= 16


def test_two_links_of_one_name_are_both_told(world: World) -> None:
    shard = world.process(SHARD)
    address = shard.listen().address
    for _ in range(2):
        world.process(ROUTER).dial(address)
    world.until(lambda: len(shard.user.links) == 2)
    assert shard.user.log == ["opened router-7"] * 2


def test_closed_server_keeps_its_links_and_closed_dialer_dials_no_more(world: World) -> None:
    router, shard = world.process(ROUTER), world.process(SHARD)
    server = shard.listen()
    dialer = router.dial(server.address)
    world.until(lambda: router.user.links and shard.user.links)
    server.close()
    world.advance(5_000)
    assert router.user.log == ["opened shard-1"]
    shard.listen(server.address)
    dialer.close()
    world.advance(5_000)
    assert router.user.log == ["opened shard-1", "closed shard-1"]
    assert shard.user.log == ["opened router-7", "closed router-7"]


class Tired:
    """A listening socket for which no descriptors are left, `times` over."""

    def __init__(self, sock: socket.socket, times: int) -> None:
        self._sock, self.times = sock, times

    def accept(self) -> tuple[socket.socket, Any]:
        self.times -= 1
        if self.times >= 0:
            raise OSError(errno.EMFILE, "too many open files")
        return self._sock.accept()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


def test_server_without_descriptors_rests_and_goes_on(world: World) -> None:
    """The connection that it cannot accept must not keep its loop busy."""
    router, shard = world.process(ROUTER), world.process(SHARD)
    server = shard.listen()
    assert server._sock is not None
    tired: Any = Tired(server._sock, times=2)
    server._sock = tired
    router.dial(server.address)
    world.turn(100)
    assert tired.times == 1, "asked once in this moment"
    world.advance(500)
    assert router.user.links


def test_dialer_without_descriptors_tries_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    router, shard = world.process(ROUTER), world.process(SHARD)
    address = shard.listen().address

    def refuse(*_: Any) -> socket.socket:
        raise OSError(errno.EMFILE, "too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(socket, "socket", refuse)
        router.dial(address)
        world.turn(5)
    world.advance(500)
    assert router.user.links


def test_own_secret_is_in_no_line_of_the_log(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    router, shard = world.process(ROUTER, OTHER_SECRET), world.process(SHARD)
    router.dial(shard.listen().address)
    world.until(lambda: len(reasons(caplog)) == 2)
    for record in caplog.records:
        for secret in (SECRET, OTHER_SECRET):
            assert secret.hex() not in str(record.__dict__)
            assert repr(secret) not in str(record.__dict__)
