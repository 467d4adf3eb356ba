"""A relay passes every byte in order, or none; its mode says what becomes of connections."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import pytest

from tests.robustness.proxy import HOST, Mode, Relay

Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Scene: TypeAlias = Callable[[Relay], Awaitable[None]]

WAIT_S_MAX: Final = 5.0
SOON_S: Final = 0.1


def play(scene: Scene) -> None:
    """The scene with a relay before a server that answers each line with itself."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(line)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def main() -> None:
        server = await asyncio.start_server(echo, HOST, 0)
        port: int = server.sockets[0].getsockname()[1]
        async with asyncio.timeout(WAIT_S_MAX), asyncio.TaskGroup() as dials:
            relay = await Relay(port).start(dials)
            try:
                await scene(relay)
            finally:
                relay.close()
                server.close()

    asyncio.run(main())


async def dial(relay: Relay) -> Streams:
    return await asyncio.open_connection(HOST, relay.port)


async def heard(reader: asyncio.StreamReader) -> bytes | None:
    """A line, if one comes soon; empty at the end of the connection."""
    try:
        async with asyncio.timeout(SOON_S):
            return await reader.readline()
    except TimeoutError:
        return None


def test_much_passes_both_ways_unchanged() -> None:
    async def scene(relay: Relay) -> None:
        reader, writer = await dial(relay)
        lines = [b"%d" % n * 1_000 + b"\n" for n in range(1_000)]
        writer.writelines(lines)
        assert [await reader.readline() for _ in lines] == lines
        assert relay.passed == 2 * sum(map(len, lines))
        writer.close()

    play(scene)


def test_end_of_one_side_is_told_to_the_other() -> None:
    async def scene(relay: Relay) -> None:
        reader, writer = await dial(relay)
        writer.write(b"last\n")
        writer.write_eof()
        assert await reader.read() == b"last\n"
        writer.close()

    play(scene)


def test_cut_ends_connections_and_takes_no_new_one() -> None:
    async def scene(relay: Relay) -> None:
        reader, writer = await dial(relay)
        writer.write(b"before\n")
        assert await reader.readline() == b"before\n"
        relay.turn(Mode.CUT)
        with pytest.raises(ConnectionResetError):
            await reader.readline()
        refused, third = await dial(relay)
        with pytest.raises(ConnectionResetError):
            await refused.readline()
        relay.turn(Mode.PASS)
        again, other = await dial(relay)
        other.write(b"after\n")
        assert await again.readline() == b"after\n"
        for each in (writer, third, other):
            each.close()

    play(scene)


def test_silence_delivers_late_and_in_order() -> None:
    async def scene(relay: Relay) -> None:
        reader, writer = await dial(relay)
        writer.write(b"1\n")
        assert await reader.readline() == b"1\n"
        relay.turn(Mode.SILENT)
        writer.write(b"2\n")
        late, other = await dial(relay)
        other.write(b"new\n")
        assert await heard(reader) is None
        assert await heard(late) is None
        relay.turn(Mode.PASS)
        writer.write(b"3\n")
        assert [await reader.readline(), await reader.readline()] == [b"2\n", b"3\n"]
        assert await late.readline() == b"new\n"
        writer.close()
        other.close()

    play(scene)


def test_silence_that_ends_by_a_reset_delivers_nothing() -> None:
    async def scene(relay: Relay) -> None:
        reader, writer = await dial(relay)
        writer.write(b"1\n")
        assert await reader.readline() == b"1\n"
        passed = relay.passed
        relay.turn(Mode.SILENT)
        writer.write(b"2\n")
        assert await heard(reader) is None
        relay.reset()
        relay.turn(Mode.PASS)
        with pytest.raises(ConnectionResetError):
            await reader.readline()
        assert relay.passed == passed, "nothing of it reached the server"
        writer.close()

    play(scene)


def test_slow_keeps_the_order_and_takes_its_time() -> None:
    async def scene(relay: Relay) -> None:
        reader, writer = await dial(relay)
        relay.turn(Mode.SLOW, 0.05)
        began = asyncio.get_running_loop().time()
        for n in range(20):
            writer.write(b"%d\n" % n)
            await asyncio.sleep(0.001)
        assert [await reader.readline() for _ in range(20)] == [b"%d\n" % n for n in range(20)]
        assert asyncio.get_running_loop().time() - began >= 0.1, "there and back"
        writer.close()

    play(scene)


def test_who_ends_in_silence_is_told_of_when_it_is_over() -> None:
    async def scene(relay: Relay) -> None:
        reader, writer = await dial(relay)
        writer.write(b"1\n")
        assert await reader.readline() == b"1\n"
        relay.turn(Mode.SILENT)
        writer.close()
        await asyncio.sleep(SOON_S)
        assert relay.ends, "the server does not know"
        relay.turn(Mode.PASS)
        await asyncio.sleep(SOON_S)
        assert not relay.ends

    play(scene)


def test_server_that_is_away_ends_the_connection() -> None:
    async def scene(relay: Relay) -> None:
        relay.target = 1  # nobody listens there
        reader, writer = await dial(relay)
        with pytest.raises(ConnectionResetError):
            await reader.readline()
        writer.close()

    play(scene)


def test_connection_that_is_over_is_reset_without_a_word() -> None:
    async def scene(relay: Relay) -> None:
        _, writer = await dial(relay)
        await asyncio.sleep(SOON_S)
        ends = list(relay.ends)
        writer.transport.abort()
        await asyncio.sleep(SOON_S)
        for end in ends:  # as a dial does whose client has left meanwhile
            end.abort()

    play(scene)
