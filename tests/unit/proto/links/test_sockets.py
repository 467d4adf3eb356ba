"""Links over real sockets of 127.0.0.1; the test steps both loops and moves the clock."""

from __future__ import annotations

import logging
import socket
import struct
from typing import NamedTuple

import pytest

from kubebraid.base.limits import (
    LINK_DEAD_MS,
    LINK_FRAME_MS_MAX,
    LINK_HANDSHAKE_MS_MAX,
    LINK_PIECES_MAX,
    LINK_READ_BYTES,
)
from kubebraid.base.links import Link
from kubebraid.proto.links import sockets
from kubebraid.proto.links.frames import HEAD
from kubebraid.proto.links.reasons import Reason

from .kit import ROUTER, SHARD, Process, Raw, World, output


class Pair(NamedTuple):
    """A router that has dialled a shard."""

    router: Process
    shard: Process

    @property
    def to_shard(self) -> Link:
        return self.router.user.links[0]

    @property
    def to_router(self) -> Link:
        return self.shard.user.links[0]


def link_up(world: World) -> Pair:
    router, shard = world.process(ROUTER), world.process(SHARD)
    router.dial(shard.listen().address)
    world.until(lambda: router.user.links and shard.user.links)
    return Pair(router, shard)


def raw_peer(world: World) -> tuple[Raw, Process]:
    """A shard, and a router that is held by the test."""
    shard = world.process(SHARD)
    raw = Raw(world, shard.listen().address)
    raw.open()
    world.until(lambda: shard.user.links)
    return raw, shard


@pytest.fixture(autouse=True)
def all_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "kubebraid.links")


def reasons(caplog: pytest.LogCaptureFixture) -> str:
    return "; ".join(str(record.__dict__.get("reason", "")) for record in caplog.records)


def test_messages_go_both_ways_and_whole(world: World) -> None:
    pair = link_up(world)
    assert pair.to_shard.peer == SHARD.peer
    assert pair.to_router.peer == ROUTER.peer
    pair.shard.user.on_received = lambda link, kind, body: link.send(kind + 1, body * 2)
    pair.to_shard.send(1, b"hi")
    world.until(lambda: pair.router.user.got)
    assert pair.router.user.got == [(2, b"hihi")]


def test_messages_of_a_turn_leave_together(world: World) -> None:
    """One system call here, one read there."""
    pair = link_up(world)
    world.turn(3)
    for number in range(64):
        pair.to_shard.send(1, bytes([number]))
    assert pair.to_shard.pending_bytes() == 64 * (HEAD.size + 1)
    pair.router.loop.turn()
    assert pair.to_shard.pending_bytes() == 0
    pair.shard.loop.turn(10)
    assert len(pair.shard.user.got) == 64


def test_message_larger_than_any_buffer_arrives_piece_by_piece(world: World) -> None:
    """The kernel takes a part, the rest follows when the link is writable, in order."""
    pair = link_up(world)
    body = bytes(range(256)) * (100 * LINK_READ_BYTES // 256)
    pair.to_shard.send(1, body)
    pair.to_shard.send(2, b"after")
    pair.router.loop.turn()
    assert pair.to_shard.pending_bytes() > 0
    world.until(lambda: len(pair.shard.user.got) == 2)
    assert pair.shard.user.got == [(1, body), (2, b"after")]
    assert pair.to_shard.pending_bytes() == 0


def test_one_link_takes_only_its_share_of_a_turn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if the kernel would take all."""
    monkeypatch.setattr(sockets, "WRITE_BYTES_TURN", 10_000)
    pair = link_up(world)
    count = LINK_PIECES_MAX  # two pieces each, hence two system calls
    for _ in range(count):
        pair.to_shard.send(1, bytes(200))
    before = pair.to_shard.pending_bytes()
    assert pair.router.loop.turn(), "there is more to write"
    assert pair.to_shard.pending_bytes() == before / 2
    world.until(lambda: len(pair.shard.user.got) == count)


def test_idle_link_lives_on_by_its_pings(world: World) -> None:
    pair = link_up(world)
    world.advance(10 * LINK_DEAD_MS)
    assert pair.router.user.log == ["opened shard-1"]
    assert pair.shard.user.log == ["opened router-7"]
    assert pair.router.user.got == pair.shard.user.got == []


def test_peer_that_is_stopped_is_noticed_after_three_seconds(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    pair = link_up(world)
    world.processes.remove(pair.shard)  # its kernel goes on, it does not
    world.advance(LINK_DEAD_MS - 200)
    assert pair.router.user.log == ["opened shard-1"]
    world.advance(400)
    assert pair.router.user.log == ["opened shard-1", "closed shard-1"]
    assert Reason.SILENT.value in reasons(caplog)
    world.processes.append(pair.shard)


def test_process_that_was_stopped_itself_reads_before_it_judges(world: World) -> None:
    """Its peer spoke all the time; after a long pause its own clock says that nothing was heard."""
    pair = link_up(world)
    pair.to_shard.send(1, b"I was here")
    pair.router.loop.turn()
    world.clock.ms += 10 * LINK_DEAD_MS
    pair.shard.loop.turn(10)
    assert pair.shard.user.log == ["opened router-7"]
    assert pair.shard.user.got == [(1, b"I was here")]


def test_long_turn_of_another_part_blames_no_peer(world: World) -> None:
    """The deadline passes within the turn, after the sockets were looked at."""
    pair = link_up(world)
    world.turn(3)

    def stall() -> None:
        world.clock.ms += 10 * LINK_DEAD_MS

    pair.router.loop.post(stall)
    pair.router.loop.turn()
    assert pair.router.user.log == ["opened shard-1"]


def test_handshake_that_creeps_is_cut(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A byte now and then keeps it no longer than one that is silent."""
    shard = world.process(SHARD)
    raw = Raw(world, shard.listen().address)
    hello = output(raw.connection)
    world.turn(3)
    for at in range(LINK_HANDSHAKE_MS_MAX // 250 - 1):
        raw.say(hello[at : at + 1])
        world.advance(250, step_ms=50)
    assert not raw.is_cut()
    world.advance(500, step_ms=50)
    assert raw.is_cut()
    assert Reason.LATE.value in reasons(caplog)
    assert shard.user.log == []


def test_frame_that_creeps_ends_the_link(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """So does one whose length was changed under way: it is waited for, but not for ever."""
    raw, shard = raw_peer(world)
    raw.connection.send(1, bytes(1_000_000))
    frame = output(raw.connection)
    for at in range(LINK_FRAME_MS_MAX // 1_000 - 1):
        raw.say(frame[at : at + 1])
        world.advance(1_000)
        assert not raw.is_cut()
    world.advance(4_000)
    assert raw.is_cut()
    assert shard.user.got == []
    assert shard.user.log == ["opened router-7", "closed router-7"]
    assert Reason.STUCK.value in reasons(caplog)


def test_changed_message_ends_the_link_and_is_not_delivered(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    raw, shard = raw_peer(world)
    raw.connection.send(1, b"good")
    good = output(raw.connection)
    raw.connection.send(1, b"put 10")
    changed = output(raw.connection).replace(b"put 10", b"put 99")
    raw.say(good + changed)
    world.until(raw.is_cut)
    assert shard.user.got == [(1, b"good")]
    assert shard.user.log == ["opened router-7", "closed router-7"]
    assert Reason.MAC.value in reasons(caplog)


def test_backlog_beyond_its_bound_ends_the_link_and_frees_it(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`closed` comes at the end of the turn, not from within `send`."""
    monkeypatch.setattr(sockets, "LINK_BACKLOG_BYTES_MAX", 100_000)
    pair = link_up(world)
    link, user = pair.to_shard, pair.router.user
    for _ in range(100):
        link.send(1, bytes(1_000))
    assert link.pending_bytes() <= 100_000 + HEAD.size + 1_000
    link.send(1, b"dropped")
    assert link.pending_bytes() == 0
    assert user.log == ["opened shard-1"]
    pair.router.loop.turn()
    assert user.log == ["opened shard-1", "closed shard-1"]
    assert Reason.BACKLOG.value in reasons(caplog)


def test_close_sends_what_was_said_and_tells_both_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    pair = link_up(world)
    link = pair.to_shard
    link.send(1, b"goodbye")
    link.close()
    link.close()
    link.send(1, b"dropped")
    assert pair.router.user.log == ["opened shard-1"], "`closed` follows later"
    world.until(lambda: not pair.shard.user.links)
    assert pair.router.user.log[:2] == ["opened shard-1", "closed shard-1"]
    assert pair.shard.user.got == [(1, b"goodbye")]
    assert pair.shard.user.log == ["opened router-7", "closed router-7"]
    assert Reason.CLOSED.value in reasons(caplog)
    assert Reason.ENDED.value in reasons(caplog)


def test_user_that_closes_in_the_midst_of_a_read_hears_no_more(world: World) -> None:
    pair = link_up(world)
    pair.shard.user.on_received = lambda link, _kind, _body: link.close()
    for _ in range(3):
        pair.to_shard.send(1, b"x")
    world.until(lambda: "closed router-7" in pair.shard.user.log)
    assert pair.shard.user.got == [(1, b"x")]


def test_reset_connection_ends_the_link(world: World, caplog: pytest.LogCaptureFixture) -> None:
    raw, shard = raw_peer(world)
    raw.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raw.sock.close()
    world.until(lambda: shard.user.log == ["opened router-7", "closed router-7"])
    assert Reason.NETWORK.value in reasons(caplog)
