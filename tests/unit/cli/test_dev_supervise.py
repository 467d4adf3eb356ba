"""The supervisor of dev-cluster, with processes that are not there and a clock that is told."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from kubebraid.cli.dev import state_file
from kubebraid.cli.dev.supervise import ROLES, STOP_GRACE_MS, Child, Spec, Supervisor

SPECS = [
    Spec("coordinator", "coordinator-0", "127.0.0.1:1"),
    Spec("shard", "shard-0", "127.0.0.1:2"),
    Spec("router", "router-0", "127.0.0.1:3"),
]


class Process:
    """One run. It ends when it is told to, or by a signal that it does not ignore."""

    def __init__(self, world: World, name: str, pid: int) -> None:
        self._world = world
        self.name = name
        self.pid = pid
        self.code: int | None = None

    def poll(self) -> int | None:
        return self.code

    def send_signal(self, sig: int) -> None:
        self._world.signals.append((self._world.now_ms, self.name, signal.Signals(sig).name))
        if sig == signal.SIGKILL or self.name not in self._world.deaf:
            self.code = -sig


class World:
    """Time, and what was made in it."""

    def __init__(self, restart: bool = True, never: int | None = None) -> None:
        """`never`: the exit code of who is not started again."""
        self.now_ms = 0
        self.made: list[Process] = []
        self.signals: list[tuple[int, str, str]] = []
        self.changes: list[tuple[str, bool]] = []
        self.deaf: set[str] = set()
        self.supervisor = Supervisor(
            SPECS, self.launch, lambda _, code: restart and code != never, self.changed
        )
        self.supervisor.start(0, ROLES)

    def launch(self, spec: Spec) -> Process:
        self.made.append(Process(self, spec.name, 100 + len(self.made)))
        return self.made[-1]

    def changed(self, child: Child) -> None:
        self.changes.append((child.spec.name, child.is_up))

    def newest(self, name: str) -> Process:
        return [process for process in self.made if process.name == name][-1]

    def pass_ms(self, span_ms: int) -> None:
        for _ in range(span_ms // 10):
            self.now_ms += 10
            self.supervisor.tick(self.now_ms)

    def wait(self) -> None:
        self.now_ms += 10

    def restart_delay_ms(self, name: str) -> int:
        """End it; how long until it is there again."""
        ended_ms, count = self.now_ms, len(self.made)
        self.newest(name).code = 1
        while len(self.made) == count:
            assert self.now_ms - ended_ms < 10_000, "it is not started again"
            self.pass_ms(10)
        return self.now_ms - ended_ms


def test_all_are_started_in_their_order() -> None:
    world = World()
    assert [process.name for process in world.made] == ["coordinator-0", "shard-0", "router-0"]
    assert world.changes == [(spec.name, True) for spec in SPECS]


def test_restart_comes_later_each_time_and_at_once_after_a_long_life() -> None:
    world = World()
    delays = [world.restart_delay_ms("shard-0") for _ in range(6)]
    assert delays == [210, 410, 810, 1_610, 2_010, 2_010], "the tick that sees the end counts"
    world.pass_ms(10_000)
    assert world.restart_delay_ms("shard-0") == 210
    assert world.changes[3:5] == [("shard-0", False), ("shard-0", True)]
    (child,) = [child for child in world.supervisor.children if child.spec.name == "shard-0"]
    assert (child.pid, child.starts) == (world.newest("shard-0").pid, 8)


def test_who_is_not_to_be_restarted_stays_away() -> None:
    world = World(restart=False)
    world.newest("router-0").code = -9
    world.pass_ms(60_000)
    assert len(world.made) == 3
    assert world.changes[3:] == [("router-0", False)]
    child = world.supervisor.children[2]
    assert (child.is_up, child.code, child.pid) == (False, -9, world.newest("router-0").pid)


def test_exit_code_decides_who_is_started_again() -> None:
    world = World(never=4)
    world.newest("shard-0").code = 4
    world.newest("router-0").code = 1
    world.pass_ms(10_000)
    assert [process.name for process in world.made[3:]] == ["router-0"]


def test_roles_are_started_when_they_are_asked_for() -> None:
    world = World()
    later = Supervisor(SPECS, world.launch, lambda *_: True, world.changed)
    later.start(0, ["shard"])
    for now_ms in range(0, 10_000, 100):
        later.tick(now_ms)
    assert [process.name for process in world.made[3:]] == ["shard-0"]
    assert [child.starts for child in later.children] == [0, 1, 0]
    later.start(10_000, ["router", "coordinator"])
    assert [child.starts for child in later.children] == [1, 1, 1]


def test_stop_takes_tikv_behind_the_coordinators_and_pd_last() -> None:
    world = World()
    tikv = [Spec("pd", "pd-0", "127.0.0.1:4"), Spec("store", "store-0", "127.0.0.1:5")]
    whole = Supervisor([*tikv, *SPECS], world.launch, lambda *_: True, world.changed)
    whole.start(0, ("pd", "store", *ROLES))
    whole.stop(lambda: world.now_ms, world.wait)
    names = [name for _, name, _ in world.signals]
    assert names == ["router-0", "shard-0", "coordinator-0", "store-0", "pd-0"]


def test_stop_waits_for_routers_before_shards_and_for_these_before_coordinators() -> None:
    world = World()
    world.deaf = {"router-0"}
    world.supervisor.stop(lambda: world.now_ms, world.wait)
    names = [(name, signal) for _, name, signal in world.signals]
    assert names == [
        ("router-0", "SIGTERM"),
        ("router-0", "SIGKILL"),
        ("shard-0", "SIGTERM"),
        ("coordinator-0", "SIGTERM"),
    ]
    assert world.signals[1][0] == STOP_GRACE_MS
    assert not any(child.is_up for child in world.supervisor.children)


def test_stop_does_not_signal_who_has_ended() -> None:
    world = World()
    world.newest("shard-0").code = 0
    world.pass_ms(10)
    world.supervisor.stop(lambda: world.now_ms, world.wait)
    assert [name for _, name, _ in world.signals] == ["router-0", "coordinator-0"]
    assert len(world.made) == 3, "nothing is started during a stop"


# -- the state file --------------------------------------------------------------------------------


def test_state_file_has_exactly_what_is_promised(tmp_path: Path) -> None:
    world = World()
    path = tmp_path / "state.json"
    state_file.write(path, ["http://127.0.0.1:3"], world.supervisor.children)
    assert json.loads(path.read_text()) == {
        "endpoints": ["http://127.0.0.1:3"],
        "processes": [
            {"role": spec.role, "name": spec.name, "pid": 100 + index, "address": spec.address}
            for index, spec in enumerate(SPECS)
        ],
    }
    assert [found.name for found in tmp_path.iterdir()] == ["state.json"]
    state_file.remove(path)
    state_file.remove(path)
    assert not path.exists()


def test_state_file_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    path = tmp_path / "state.json"
    state_file.write(path, [], world.supervisor.children)
    before = path.read_bytes()
    with path.open("rb") as reader:  # of before the write
        state_file.write(path, ["http://127.0.0.1:3"], world.supervisor.children)
        assert reader.read() == before
    assert path.read_bytes() != before
