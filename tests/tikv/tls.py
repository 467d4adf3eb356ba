"""Relays that speak TLS before PD and a store that do not, and the certificates for it.

What it is: the encrypted end of a TiKV cluster with TLS, which asks each client for a certificate.
What it is not: TiKV's own TLS. PD's relay lets plain connections through as well, since the store,
which has no TLS, asks PD at the address that clients are told; a store's relay hangs up on them
(the store itself is among those: it dials its own address).

Invariants: a connection in TLS has shown a certificate of the relay's CA, and is counted.

Worked example: `with Encrypted(tls) as relays, Cluster.started(folder, before=relays.before)`: the
clients are told the relay's port, and whoever speaks plainly to it is hung up on.

Tested by the tests that use it: tests/contract/test_tikv_tls.py.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Any, Final, Self

from kubebraid.shard.storage.tikv_seam import Tls
from tests.e2e.processes import Peers, run

HANDSHAKE: Final = b"\x16"  # the first byte of a connection in TLS
FIRST_BYTE_S: Final = 10.0
CHUNK: Final = 1 << 16
HOST: Final = "127.0.0.1"
NEW_KEY: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
DAYS: Final = ("-days", "2")


class Authority:
    """A CA, and the certificates that it signs."""

    def __init__(self, peers: Peers, folder: Path) -> None:
        folder.mkdir()
        self._openssl = peers.system("openssl")
        self._folder = folder
        self.ca, self._key = str(folder / "ca.pem"), str(folder / "ca.key")
        name = ("-subj", f"/CN={folder.name}")
        self._run("req", "-x509", *NEW_KEY, *name, *DAYS, "-keyout", self._key, "-out", self.ca)

    def signed(self, name: str) -> Tls:
        """For this machine, whichever side shows it."""
        request, extra, cert, key = (
            str(self._folder / f"{name}.{kind}") for kind in ("csr", "ext", "pem", "key")
        )
        Path(extra).write_text(f"subjectAltName=IP:{HOST}\n")
        self._run("req", *NEW_KEY, "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        by = ("-CA", self.ca, "-CAkey", self._key, "-CAcreateserial", "-extfile", extra)
        self._run("x509", "-req", "-in", request, *by, *DAYS, "-out", cert)
        return Tls(self.ca, cert, key)

    def _run(self, *words: str) -> None:
        run([self._openssl, *words]).ok()


class Encrypted:
    """Relays, each before one port of 127.0.0.1; on a loop in a thread."""

    def __init__(self, tls: Tls) -> None:
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=tls.ca)
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._context.load_cert_chain(tls.cert, tls.key)
        self._context.set_alpn_protocols(["h2"])
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_until_complete, args=(self._serve(),))
        self._ready = Event()
        self._ended = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None
        self.shown: Counter[int] = Counter()
        """Connections in TLS, by the relay's port."""
        self.refused: Counter[int] = Counter()
        """Those that wanted TLS and showed nothing that the CA signed."""

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()
        self._loop.close()

    async def _serve(self) -> None:
        async with asyncio.TaskGroup() as self._tasks:
            self._ready.set()
            await self._ended.wait()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

    def before(self, port: int) -> int:
        """The port of a new relay, before this one of a store."""
        return self._relay(port, plain=False)

    def before_pd(self, port: int) -> int:
        """The same before PD's."""
        return self._relay(port, plain=True)

    def _relay(self, port: int, plain: bool) -> int:
        listener = socket.create_server((HOST, 0))
        listener.setblocking(False)
        relay: int = listener.getsockname()[1]
        self._start(self._listen(listener, relay, port, plain))
        return relay

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        assert self._tasks is not None
        self._loop.call_soon_threadsafe(self._tasks.create_task, work)

    async def _listen(self, listener: socket.socket, relay: int, port: int, plain: bool) -> None:
        assert self._tasks is not None
        with listener:
            while True:
                accepted, _ = await self._loop.sock_accept(listener)
                self._tasks.create_task(self._pass(accepted, relay, port, plain))

    async def _pass(self, accepted: socket.socket, relay: int, port: int, plain: bool) -> None:
        """One connection, until either side ends it."""
        with accepted, suppress(OSError, TimeoutError):
            encrypted = await self._first_byte(accepted) == HANDSHAKE
            if not encrypted and not plain:
                return
            try:
                near = await self._opened(accepted, encrypted)
            except ssl.SSLError:
                self.refused[relay] += 1
                return
            self.shown[relay] += encrypted
            far = await asyncio.open_connection(HOST, port)
            await _both(near, far)

    async def _first_byte(self, accepted: socket.socket) -> bytes:
        """It stays to be read."""
        readable = asyncio.Event()
        self._loop.add_reader(accepted, readable.set)
        try:
            async with asyncio.timeout(FIRST_BYTE_S):
                await readable.wait()
        finally:
            self._loop.remove_reader(accepted)
        return accepted.recv(1, socket.MSG_PEEK)

    async def _opened(
        self, accepted: socket.socket, encrypted: bool
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        context = self._context if encrypted else None
        transport, _ = await self._loop.connect_accepted_socket(
            lambda: protocol, accepted, ssl=context
        )
        return reader, asyncio.StreamWriter(transport, protocol, reader, self._loop)


async def _both(
    near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    far: tuple[asyncio.StreamReader, asyncio.StreamWriter],
) -> None:
    """Both ways, until one ends."""

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError):
                while piece := await source.read(CHUNK):
                    target.write(piece)
                    await target.drain()
        finally:
            for _, writer in (near, far):
                writer.transport.abort()

    async with asyncio.TaskGroup() as ways:
        ways.create_task(copy(near[0], far[1]))
        ways.create_task(copy(far[0], near[1]))
