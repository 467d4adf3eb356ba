"""`kubebraid serve` on a disk that can be taken away, fill up, or fail.

What it is: one server process under the shim, its ends and its returns, at one port. What it is
not: the clients (clients.py) or the verdict (judge.py).

Worked example:

    server = Server(supervisor, tmp_path, Kind.NATIVE)
    server.start()
    with Load(server.port, seed=1) as load:
        load.wait_for_more(50, 20.0)
        server.power_cut(Mode.STRICT, seed=1)
        server.start()
        judge_load(load)

Used by tests/e2e/test_durability.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import grpc

from kubebraid.cli.bench.servers import free_port
from kubebraid.proto.etcd import rpc_pb2
from tests.e2e.processes import Supervisor, Timeout, listens, wait_for
from tests.e2e.store import Kind, kubebraid_environment, serve_argv
from tests.faults.clients import Connection
from tests.faults.powercut import Mode, load_tree
from tests.faults.shim import Shim

READY_S_MAX: Final = 20.0
EXIT_S_MAX: Final = 20.0
ALARM_S_MAX: Final = 2.0
CHURN_S_MAX: Final = 5.0
SYNC_US: Final = 300  # as a good disk; with the cut most probably between a write and its sync
DEVICE_BYTES: Final = 32 << 20  # what the server sizes its own files by: the model holds them all


class Server:
    """The process, its disk and its port. `disk` defaults to a folder; it may be a mount."""

    def __init__(
        self,
        supervisor: Supervisor,
        folder: Path,
        kind: Kind = Kind.NATIVE,
        *,
        disk: Path | None = None,
        recorded: bool = True,
    ) -> None:
        self.disk = disk or folder / "disk"
        self.disk.mkdir(exist_ok=True)
        self.data_dir = self.disk / "data"
        self.shim = Shim(folder / "faults", self.disk) if recorded else None
        self.port = free_port()
        environment = kubebraid_environment()
        if self.shim is not None:
            self.shim.control.sync_takes(SYNC_US)
            self.shim.control.device(DEVICE_BYTES)
            environment |= self.shim.environment()
        argv = serve_argv(self.data_dir, self.port, free_port(), kind.value)
        self.process = supervisor.add("serve", argv, env=environment, cwd=folder)

    @property
    def recorded(self) -> Shim:
        """The shim, of a server that has one."""
        assert self.shim is not None, "this server runs without the shim"
        return self.shim

    def launch(self) -> None:
        """Start it, and do not wait."""
        self.process.start()

    def start(self) -> None:
        """Start it; returns when it answers."""
        self.launch()
        self.wait_ready()

    def launched(self) -> bool:
        """Start it; does it serve? If not it has ended in good order."""
        self.launch()
        wait_for("a start or an end", self._decided, READY_S_MAX)
        if self.process.alive:
            self.wait_ready()
            return True
        self.wait_exit()
        return False

    def _decided(self) -> bool:
        return not self.process.alive or listens(self.port)

    def wait_ready(self) -> None:
        """Wait until it answers a read."""

        def listening() -> bool:
            if not self.process.alive:
                raise Timeout(f"ended with {self.process.code}: {self.process.text()[-2000:]}")
            return listens(self.port)

        wait_for("the server to listen", listening, READY_S_MAX)
        connection = Connection(self.port)
        connection.call("KV/Range", rpc_pb2.RangeRequest(key=b"ready"), READY_S_MAX)
        connection.close()

    def kill(self) -> None:
        """SIGKILL: the page cache survives."""
        self.process.kill()
        if self.shim is not None:
            self.shim.begin()

    def power_cut(self, mode: Mode, seed: int) -> int:
        """SIGKILL, and the page cache is lost; how many changes were at the mercy of the disk."""
        self.process.kill()
        model = self.recorded.disk()
        self._check_record(set(model.seen().items()))
        self.recorded.power_cut(mode, seed)
        return model.unsafe()

    def _check_record(self, recorded: set[tuple[str, bytes | None]]) -> None:
        """Nothing escaped the shim, but for the one call in which the process was killed."""
        names = {name for name, _ in recorded ^ set(load_tree(self.disk).items())}
        assert len(names) <= 2, f"changed behind the record: {names}"  # a rename has two

    def wait_exit(self) -> str:
        """It stops by itself, with exit code 1 and one sentence: the last line of its log."""
        code = self.process.wait(EXIT_S_MAX)
        lines = self.process.text().splitlines()
        assert code == 1, f"exit code {code}: {lines[-20:]}"
        # In a field of the log one may be; as the last words of the program it would be a crash.
        assert not any(line.startswith("Traceback") for line in lines), lines[-20:]
        assert lines[-1].startswith("kubebraid serve: "), lines[-20:]
        return lines[-1]

    def alarms(self) -> list[str]:
        """The alarms that are raised. Raises grpc.RpcError."""
        found = self._alarm(rpc_pb2.AlarmRequest())
        return [rpc_pb2.AlarmType.Name(member.alarm) for member in found]

    def disarm(self) -> None:
        """`etcdctl alarm disarm`. Raises grpc.RpcError."""
        for member in self._alarm(rpc_pb2.AlarmRequest()):
            request = rpc_pb2.AlarmRequest(
                action=rpc_pb2.AlarmRequest.DEACTIVATE,
                memberID=member.memberID,
                alarm=member.alarm,
            )
            self._alarm(request)

    def _alarm(self, request: rpc_pb2.AlarmRequest) -> list[rpc_pb2.AlarmMember]:
        connection = Connection(self.port)
        try:
            return list(connection.call("Maintenance/Alarm", request, ALARM_S_MAX).alarms)
        finally:
            connection.close()

    def compact(self, revision: int) -> None:
        """Raises grpc.RpcError."""
        connection = Connection(self.port)
        try:
            request = rpc_pb2.CompactionRequest(revision=revision)
            connection.call("KV/Compact", request, CHURN_S_MAX)
        finally:
            connection.close()

    def churn(self) -> bool:
        """Flush, merge and clean up, so that files of every kind come and go; did it work?"""
        connection = Connection(self.port)
        try:
            connection.call("Maintenance/Defragment", rpc_pb2.DefragmentRequest(), CHURN_S_MAX)
        except grpc.RpcError:
            return False
        finally:
            connection.close()
        return True
