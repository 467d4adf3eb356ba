"""A folder that one process has at a time: made if it is missing, and locked.

What it is: the lock of a coordinator's data directory and of dev-cluster's. What it is not: a
shard's data directory, which also knows what it holds (`shard/storage/datadir.py`).

Invariants: the lock is the file LOCK, held by an open descriptor: it ends with the process, however
that ends, and no child inherits it; the file itself stays, since its name is what is locked.

Worked example: a second coordinator with the same --data-dir raises FolderInUse; nothing changed.

Tested in tests/unit/cli/test_role_folders.py.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from kubebraid.base.errors import KubeBraidError

LOCK: Final = "LOCK"


class FolderRefused(KubeBraidError):
    """The folder cannot be used; nothing in it was changed."""

    definite = True
    hint = "check owner, permissions and free space of the path"


class FolderInUse(FolderRefused):
    """Another process has it."""

    hint = "stop the other process, or give this one a --data-dir of its own"


class FolderForeign(FolderRefused):
    """It holds something else."""

    hint = "give the --data-dir that was made for it, or an empty folder"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Have the folder within the block. Raises FolderRefused."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        reason = error.strerror or str(error)
        raise FolderRefused(f"{path} cannot be used as a data directory ({reason})") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderInUse(f"{path} is in use by another process") from None
        yield
    finally:
        os.close(descriptor)
