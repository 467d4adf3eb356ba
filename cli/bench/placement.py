"""TiKV as one sees it from beside: what PD says, and what PD and stores of this machine cost.

What it is: PD's HTTP answers (stores, how many timestamps it was asked for) and /proc. What it is
not: a client of TiKV: no row is read or written here.

Words: PD is asked for a *timestamp* twice by each transaction of the engine on TiKV, where it
begins and where it commits (shard/storage/tikv_commit.py), and by nothing else of ours that is
frequent. So half of the questions between two looks are the transactions between them, if nobody
else uses the cluster.

Invariants: a process is found by the socket that it listens on, on loopback; one that is not found
(another machine, another user) has no figure, never a zero.

Worked example: 300 puts and 20 more questions to PD: 10 transactions, so 30 writes in each.

Tested in tests/unit/cli/bench/test_placement.py.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from .. import pd_http
from .drivers import BenchError
from .servers import cpu_s_of

ANSWER_S: Final = 5.0
TIMESTAMPS_A_TRANSACTION: Final = 2
PD: Final = "PD"
STORES: Final = "TiKV"
LISTENS: Final = "0A"  # the state of a socket in /proc/net/tcp
_ASKED: Final = re.compile(r"^pd_server_handle_tso_duration_seconds_count(?:\{.*\})? (\S+)$", re.M)
_LOOPBACK: Final = re.compile(r"(?:127(?:\.\d+){3}|localhost|\[::1\]):(\d+)")


class PdSilent(BenchError):
    """PD does not answer."""

    hint = "see that TiKV runs, and that --pd has the HOST:PORT where its PD listens"


class Placement:
    """The cluster of TiKV whose PDs listen at these HOST:PORTs."""

    def __init__(self, addresses: Sequence[str]) -> None:
        assert addresses, "PD has to be somewhere"
        self.addresses = tuple(addresses)

    def stores(self) -> list[tuple[str, str]]:
        """Address and version of each store. Raises PdSilent."""
        for address in self.addresses:
            told: Any = pd_http.value(address, "stores", ANSWER_S)
            with suppress(KeyError, TypeError):  # nothing was told, or nothing that PD would tell
                stores = [entry["store"] for entry in told["stores"] or ()]
                return [(store["address"], store.get("version", "?")) for store in stores]
        raise PdSilent(f"no PD answers at {','.join(self.addresses)}")

    def described(self) -> str:
        """For the top of a report. Raises PdSilent."""
        stores = self.stores()
        versions = ", ".join(sorted({version for _, version in stores}))
        count = f"{len(stores)} store{'s' if len(stores) != 1 else ''}"
        return f"{count}, version {versions or 'unknown'}"

    def timestamps_asked(self) -> float | None:
        """How often so far, at all PDs; None if none of them tells."""
        found = []
        for address in self.addresses:
            found += _ASKED.findall(pd_http.text(address, "/metrics", ANSWER_S) or "")
        return sum(map(float, found)) if found else None

    def pids(self) -> dict[str, list[int]]:
        """Of the processes of this machine, by what they are. Raises PdSilent."""
        wanted = {PD: self.addresses, STORES: [address for address, _ in self.stores()]}
        ports = {name: set(loopback_ports(addresses)) for name, addresses in wanted.items()}
        inodes = {name: set(listening(_socket_tables(), all_of)) for name, all_of in ports.items()}
        found: dict[str, list[int]] = {}
        for pid, inode in _open_sockets():
            for name in (name for name, all_of in inodes.items() if inode in all_of):
                found.setdefault(name, []).append(pid)
        return found


def loopback_ports(addresses: Iterable[str]) -> list[int]:
    """Of those HOST:PORTs that are this machine's beyond doubt."""
    return [int(found[1]) for address in addresses if (found := _LOOPBACK.fullmatch(address))]


def listening(tables: Iterable[str], ports: set[int]) -> Iterator[str]:
    """Inodes of the sockets that listen on one of the ports, from the text of /proc/net/tcp."""
    for table in tables:
        for line in table.splitlines()[1:]:
            words = line.split()
            if words[3] == LISTENS and int(words[1].rpartition(":")[2], 16) in ports:
                yield words[9]


def cpu_s(pids: dict[str, list[int]]) -> dict[str, float]:
    """CPU seconds so far; what has ended since has no figure."""
    found = {}
    for name, all_of in pids.items():
        with suppress(OSError):
            found[name] = cpu_s_of(all_of)
    return found


def _socket_tables() -> Iterator[str]:
    for name in ("tcp", "tcp6"):
        with suppress(OSError):
            yield Path(f"/proc/net/{name}").read_text()


def _open_sockets() -> Iterator[tuple[int, str]]:
    """Process and inode, each once; other users' processes are not to be seen."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        names = []
        with suppress(OSError):
            for descriptor in os.scandir(entry / "fd"):
                with suppress(OSError):
                    names.append(os.readlink(descriptor.path))
        for name in set(names):
            if name.startswith("socket:["):
                yield int(entry.name), name[len("socket:[") : -1]
