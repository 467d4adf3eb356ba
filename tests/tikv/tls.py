"""Relays that speak TLS before PD and a store that do not, and the certificates for it.

What it is: the encrypted end of a TiKV cluster with TLS, which asks each client for a certificate.
What it is not: TiKV's own TLS. PD's relay lets plain connections through as well, since the store,
which has no TLS, asks PD at the address that clients are told; a store's relay hangs up on them
(the store itself is among those: it dials its own address).

Invariants: a connection in TLS has shown a certificate of the relay's CA, and is counted.

Worked example: `with encrypted(folder, authority) as (relays, cluster)`: clients are told the
relays' ports, and whoever speaks plainly to the store's is hung up on.

Tested by the tests that use it: tests/contract/test_tikv_tls.py, tests/e2e/test_serve_tikv.py.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Self

from kubebraid.shard.storage.tikv_seam import Tls
from tests.e2e.processes import Peers, run
from tests.robustness.proxy import HOST, Relay
from tests.tikv.cluster import Cluster
from tests.tikv.relays import Relays

HANDSHAKE: Final = b"\x16"  # the first byte of a connection in TLS
FIRST_BYTE_S: Final = 10.0
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


class Encrypted(Relays):
    """Relays of a cluster whose clients have to show a certificate."""

    def __init__(self, tls: Tls) -> None:
        super().__init__()
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=tls.ca)
        self.context.verify_mode = ssl.CERT_REQUIRED
        self.context.load_cert_chain(tls.cert, tls.key)
        self.context.set_alpn_protocols(["h2"])
        self.shown: Counter[int] = Counter()
        """Connections in TLS, by the relay's port; each relay has an entry."""
        self.refused: Counter[int] = Counter()
        """Those that wanted TLS and showed nothing that the CA signed."""

    def before(self, port: int) -> int:
        """The port of a new relay, before this one of a store."""
        return self.add(_Encrypting(port, self, plain=False))

    def before_pd(self, port: int) -> int:
        """The same before PD's."""
        return self.add(_Encrypting(port, self, plain=True))


class _Encrypting(Relay):
    """It looks at the first byte of a connection, to know whether it is in TLS."""

    def __init__(self, target: int, all_: Encrypted, *, plain: bool) -> None:
        super().__init__(target)
        self._all = all_
        self._plain = plain
        self._listening: asyncio.Task[None] | None = None

    async def start(self, dials: asyncio.TaskGroup) -> Self:
        self._dials = dials
        listener = socket.create_server((HOST, 0))
        listener.setblocking(False)
        self.port = listener.getsockname()[1]
        self._all.shown[self.port] = 0
        self._listening = dials.create_task(self._listen(listener, dials))
        return self

    def close(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
        super().close()

    async def _listen(self, listener: socket.socket, dials: asyncio.TaskGroup) -> None:
        with listener:
            while True:
                accepted, _ = await asyncio.get_running_loop().sock_accept(listener)
                dials.create_task(self._take(accepted))

    async def _take(self, accepted: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with suppress(OSError, TimeoutError):
            encrypted = await _first_byte(accepted) == HANDSHAKE
            if not encrypted and not self._plain:
                accepted.close()
                return
            context = self._all.context if encrypted else None
            try:
                await loop.connect_accepted_socket(self.end, accepted, ssl=context)
            except ssl.SSLError:
                self._all.refused[self.port] += 1
                return
            self._all.shown[self.port] += encrypted


async def _first_byte(accepted: socket.socket) -> bytes:
    """It stays to be read."""
    loop, readable = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(accepted, readable.set)
    try:
        async with asyncio.timeout(FIRST_BYTE_S):
            await readable.wait()
    finally:
        loop.remove_reader(accepted)
    return accepted.recv(1, socket.MSG_PEEK)


@contextmanager
def encrypted(folder: Path, authority: Authority) -> Iterator[tuple[Encrypted, Cluster]]:
    """A running cluster whose clients have to show a certificate of this CA."""
    with (
        Encrypted(authority.signed("tikv")) as relays,
        Cluster.started(folder, before=relays.before, before_pd=relays.before_pd) as cluster,
    ):
        yield relays, cluster
