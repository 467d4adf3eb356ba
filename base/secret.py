"""The cluster secret's file: 32 bytes that every process of one cluster holds, and nobody else.

What it is: how the file is read, and how a new one is made. What it is not: what the secret is used
for (`proto/links/handshake.py`), nor a way to distribute it. The secret is never logged.

The file holds exactly 32 raw bytes, or 64 hexadecimal digits and at most one end of line.

Invariants:
- a file that others may read is refused: its owner is we, and it is for us alone; or it is root's
  and readable by a group of ours, because that is how Kubernetes mounts a secret for a process
  that is not root;
- what is plainly no secret, one byte repeated, is refused;
- a file that is there is never written over, and a new one is on the device before it is used.

Worked example: `make(Path("cluster.secret"))` writes 64 digits with mode 0600, `load` of it answers
32 bytes; after `chmod 640` of our own file `load` refuses it and says what to do.

Tested in tests/unit/base/test_secret.py.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from pathlib import Path
from typing import Final

from .errors import KubeBraidError

SECRET_BYTES: Final = 32
FILE_BYTES_MAX: Final = 2 * SECRET_BYTES + 2  # digits, and the longest end of a line
DIGITS: Final = re.compile(rb"[0-9a-fA-F]{64}\r?\n?")
MODE: Final = 0o600


class SecretRefused(KubeBraidError):
    """The file is not used, or not made. `hint` says what to do."""

    definite = True

    def __init__(self, path: Path, what: str, hint: str) -> None:
        super().__init__(f"cluster secret {path}: {what}")
        self.hint = hint


def load(path: Path) -> bytes:
    """The secret. Raises SecretRefused."""
    try:
        # A pipe or a device in its place must not hold up the start.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        hint = "check --cluster-secret-file, and that this process may read the file"
        raise SecretRefused(path, error.strerror or "cannot be read", hint) from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise SecretRefused(path, "is no regular file", "name a file")
        _check_owner(path, found)
        data = os.read(descriptor, FILE_BYTES_MAX + 1)
    finally:
        os.close(descriptor)
    return _parse(path, data)


def _check_owner(path: Path, found: os.stat_result) -> None:
    ours = os.geteuid()
    if found.st_uid not in (ours, 0):
        what = f"belongs to user {found.st_uid}, this process runs as {ours}"
        raise SecretRefused(path, what, f"chown {ours} {path}")
    open_to = found.st_mode & (0o077 if found.st_uid == ours else 0o037)
    if open_to:
        what = f"others may use it (mode {stat.S_IMODE(found.st_mode):04o})"
        hint = f"chmod 600 {path}; of a Kubernetes volume set defaultMode to 0400"
        raise SecretRefused(path, what, f"{hint}; if others could read it, make a new secret")


def _parse(path: Path, data: bytes) -> bytes:
    secret = bytes.fromhex(data.decode()) if DIGITS.fullmatch(data) else data
    if len(secret) != SECRET_BYTES:
        what = f"holds {'more than ' if len(data) > FILE_BYTES_MAX else ''}{len(data)} bytes"
        raise SecretRefused(path, what, "32 raw bytes or 64 hexadecimal digits are a secret")
    if len(set(secret)) == 1:
        raise SecretRefused(path, "is one byte, repeated", "make a random one")
    return secret


def make(path: Path) -> None:
    """Makes a new secret in a new file. Raises SecretRefused."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
    except FileExistsError as error:
        hint = "use it, or remove it if no process of the cluster does"
        raise SecretRefused(path, "is there already", hint) from error
    except OSError as error:
        raise SecretRefused(path, error.strerror or "cannot be made", "name a folder") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_hex(SECRET_BYTES).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        _sync_folder(path.parent)
    except OSError as error:
        path.unlink(missing_ok=True)
        hint = "free space on the device, then try again"
        raise SecretRefused(path, error.strerror or "cannot be written", hint) from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
