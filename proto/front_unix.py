"""Fronts and other listeners on a Unix socket: the life of its file.

What it is: who may take a path, with which permissions, and that it is gone at the end; a Front
that adds this to another one. What it is not: a listener.

Words: a *stale* file is a socket that nobody listens on any more: its server was killed.

Invariants:
- the socket of a living server is never taken away: both gRPC libraries would do so, silently;
- what is no socket is never removed;
- from its first moment on only the owner of the process can connect (mode 0600);
- at the end the file is removed if it is still the one that was made.

Worked example: `UnixFront(GrpcioFront("/run/kb.sock", deliver), "/run/kb.sock")` removes a stale
file at its start, and its own one at its stop.

Source of the removal: etcd client/pkg/transport/unix_listener.go, which does not ask whether
somebody listens. Tested in tests/unit/proto/test_fronts.py, tests/contract/test_front.py.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from .server import AddressInUse, Front

PATH_BYTES_MAX: Final = 107  # sun_path of Linux has 108, with its closing zero
MODE: Final = 0o600
CONNECT_S_MAX: Final = 1.0


class SocketFile:
    """The file of a Unix socket; `path` may be relative."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._made: tuple[int, int] | None = None  # device and inode

    def check(self) -> bool:
        """Whether a stale file is in the way. Raises `AddressInUse` where nobody may listen."""
        path = self._path
        if not path.parent.is_dir():
            raise AddressInUse(f"cannot listen on unix:{path}: there is no folder {path.parent}")
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            return False
        except OSError as error:
            raise AddressInUse(f"cannot listen on unix:{path}: {error.strerror}") from error
        if not stat.S_ISSOCK(mode):
            raise AddressInUse(f"cannot listen on unix:{path}: it exists and is no socket")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(CONNECT_S_MAX)
            try:
                probe.connect(str(path))
            except (ConnectionRefusedError, FileNotFoundError):
                return True
            except OSError as error:
                raise AddressInUse(f"cannot listen on unix:{path}: {error.strerror}") from error
        raise AddressInUse(f"cannot listen on unix:{path}: another process does")

    @contextmanager
    def made(self) -> Iterator[None]:
        """Around the binding: a stale file goes before, the mode is set after."""
        if self.check():
            self._path.unlink(missing_ok=True)
        # Threads share the mask, but 077 takes nothing from files and folders that are our own.
        before = os.umask(0o077)
        try:
            yield
        finally:
            os.umask(before)
        self._path.chmod(MODE)
        status = self._path.lstat()
        self._made = (status.st_dev, status.st_ino)

    def remove(self) -> None:
        """At the end. Another server's file, made since, stays."""
        try:
            status = self._path.lstat()
        except FileNotFoundError:
            return  # the listener has removed it itself
        if (status.st_dev, status.st_ino) == self._made:
            self._path.unlink(missing_ok=True)


class UnixFront:
    """A Front on a Unix socket: another one, and the file that it listens on."""

    def __init__(self, front: Front, path: str) -> None:
        self._front = front
        self._file = SocketFile(path)

    @property
    def address(self) -> str:
        """See Front: the path."""
        return self._front.address

    async def start(self) -> None:
        """See Front."""
        with self._file.made():
            await self._front.start()

    async def stop(self, grace_s: float) -> None:
        """See Front."""
        await self._front.stop(grace_s)
        self._file.remove()
