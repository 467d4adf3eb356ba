"""What was acknowledged is there: after SIGKILL, power cuts, and errors of the disk.

The store runs as a whole process on the disk of tests/faults; six writers, a reader and two
watchers live through all of its deaths. In the end tests/faults/judge.py compares every answer,
event and row with a model that repeats the store's history.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Final

import grpc
import pytest
from _pytest.mark import ParameterSet

from kubebraid.proto.etcd import rpc_pb2
from tests.e2e.processes import Supervisor, Timeout, run
from tests.e2e.store import UNDER_TEST, Kind
from tests.faults.clients import Connection, Load, Outcome, pause
from tests.faults.control import FOR_EVER, LIE, On, Rule
from tests.faults.devices import NO_SPACE, Device, SmallDevice, SuddenlyFull, mount_memory
from tests.faults.harness import Server
from tests.faults.judge import judge_load
from tests.faults.powercut import Mode
from tests.robustness.validate import Broken

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(UNDER_TEST == (Kind.ETCD,), reason="the disk under a real etcd is its own"),
]

LIFE_S: Final = (0.0, 0.8)  # how long a process lives once it serves
START_S: Final = (0.0, 0.6)  # how long one lives that is to die while it starts
STARTS_EVERY: Final = 3  # every third death is one while starting
MORE_S_MAX: Final = 30.0


def with_rounds(ci: int, soak: int) -> list[ParameterSet]:
    """How often a test does what it does, in each CI run and in a long run."""
    return [
        pytest.param(ci, id="ci"),
        pytest.param(soak, id="soak", marks=pytest.mark.slow),
    ]


def live(server: Server, load: Load, random: Random, number: int) -> None:
    """A life of the process, up to the moment in which it is to die."""
    if number % STARTS_EVERY == STARTS_EVERY - 1:
        server.launch()
        pause(random.uniform(*START_S))
        return
    server.start()
    load.wait_for_more(5, MORE_S_MAX)
    if random.random() < 0.4:
        server.churn()
    pause(random.uniform(*LIFE_S))


@pytest.mark.parametrize("kills", with_rounds(15, 200))
def test_sigkill_under_load_loses_and_repeats_nothing(
    supervisor: Supervisor, tmp_path: Path, kills: int
) -> None:
    random = Random(kills)
    server = Server(supervisor, tmp_path, recorded=False)
    with Load(server.port, seed=kills) as load:
        for number in range(kills):
            live(server, load, random, number)
            server.kill()
        server.start()
        load.wait_for_more(20, MORE_S_MAX)
        model = judge_load(load)
    print(f"{kills} kills, {model.revision} revisions")
    assert model.revision > kills * 10


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("cuts", with_rounds(10, 100))
def test_power_cut_under_load_loses_and_repeats_nothing_that_was_acknowledged(
    supervisor: Supervisor, tmp_path: Path, mode: Mode, cuts: int
) -> None:
    random = Random(cuts)
    server = Server(supervisor, tmp_path)
    unsafe = []
    with Load(server.port, seed=cuts) as load:
        for number in range(cuts):
            live(server, load, random, number)
            unsafe.append(server.power_cut(mode, number))
        server.start()
        load.wait_for_more(20, MORE_S_MAX)
        model = judge_load(load)
    print(f"{cuts} cuts, {model.revision} revisions, unsafe changes at the cuts: {unsafe}")
    assert max(unsafe) > 0, "a disk that loses nothing proves nothing"
    assert model.revision > cuts * 10


# ------------------------------------------------------------------------------------- disk errors

WAL: Final = "data/rocksdb/*.log"
SST: Final = "data/rocksdb/*.sst"
MANIFEST: Final = "data/rocksdb/MANIFEST-*"
FOLDER: Final = "data/rocksdb"
Table = dict[str, tuple[On, str]]
SERVING: Final[Table] = {
    "write of the log": (On.WRITE, WAL),
    "sync of the log": (On.SYNC, WAL),
    "new log": (On.CREATE, WAL),
    "write of a table": (On.WRITE, SST),
    "sync of a table": (On.SYNC, SST),
    "new table": (On.CREATE, SST),
    "write of the manifest": (On.WRITE, MANIFEST),
    "sync of the manifest": (On.SYNC, MANIFEST),
    "sync of the folder": (On.SYNC, FOLDER),
    "removal": (On.UNLINK, "data/rocksdb/*"),
}
STARTING: Final[Table] = SERVING | {
    "new manifest": (On.CREATE, MANIFEST),
    "rename of CURRENT": (On.RENAME, "data/rocksdb/CURRENT"),
    "write of CURRENT": (On.WRITE, "*.dbtmp"),
    "sync of CURRENT": (On.SYNC, "*.dbtmp"),
    "options": (On.CREATE, "*OPTIONS*"),
    "write of the marker": (On.WRITE, "data/KUBEBRAID.new"),
    "rename of the marker": (On.RENAME, "data/KUBEBRAID"),
    "everything": (On.WRITE, "*"),
}
ALWAYS_SERVING: Final = ("write of the log", "sync of the log")
ALWAYS_STARTING: Final = ("rename of CURRENT",)
SOAK_ONLY: Final = ("sync of the log", "write of a table", "new table", "removal")  # at a start
ERRORS: Final = (errno.EIO, errno.ENOSPC)
STRIKE_S_MAX: Final = 3.0
AFTERMATH_S: Final = 0.3


def chosen(table: Table, error: int, rounds: int) -> list[tuple[str, tuple[On, str]]]:
    """In CI each error has half of a table, and what all depends on."""
    if rounds > 1:
        return list(table.items()) * rounds
    rows = [row for row in table.items() if table is SERVING or row[0] not in SOAK_ONLY]
    half = rows[ERRORS.index(error) :: len(ERRORS)]
    always = ALWAYS_SERVING if table is SERVING else ALWAYS_STARTING
    return [row for row in rows if row in half or row[0] in always]


def provoke(server: Server, rule: Rule) -> bool:
    """Work of every kind until the rule has struck; not all files are touched in every life."""
    end = time.monotonic() + STRIKE_S_MAX
    while not rule.failed and server.process.alive and time.monotonic() < end:
        server.churn()
    return rule.failed > 0


def settle(server: Server, load: Load) -> str:
    """After the disk is well again: the server goes on, or stops in good order."""
    pause(AFTERMATH_S)
    server.recorded.control.clear()
    pause(AFTERMATH_S)
    try:
        server.disarm()
        load.wait_for_more(10, MORE_S_MAX)
    except (grpc.RpcError, Timeout):
        return server.wait_exit()
    return "went on"


@pytest.mark.parametrize("rounds", with_rounds(1, 6))
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: errno.errorcode[error])
def test_disk_error_under_load_loses_nothing_and_leaves_nothing_open(
    supervisor: Supervisor, tmp_path: Path, error: int, rounds: int
) -> None:
    """Once, or until it is mended; then a power cut: a failed sync must not be believed later."""
    server = Server(supervisor, tmp_path)
    server.start()
    never = []
    with Load(server.port, seed=error) as load:
        for number, (fault, (on, pattern)) in enumerate(chosen(SERVING, error, rounds)):
            load.wait_for_more(10, MORE_S_MAX)
            # Errors and rounds take turns: what is one call here is all calls there.
            began = time.monotonic()
            times = FOR_EVER if (number + error + number // len(SERVING)) % 2 else 1
            rule = server.recorded.control.rule(on, pattern, error, skip=number % 2, times=times)
            if not provoke(server, rule):
                never.append(fault)
            came = settle(server, load)
            took = time.monotonic() - began
            what = f"{fault}, {errno.errorcode[error]} x{times}"
            print(f"{what}: struck {rule.failed}, after {took:.1f} s {came}")
            server.power_cut(Mode.STRICT, number)
            server.start()
            server.disarm()
        load.wait_for_more(20, MORE_S_MAX)
        judge_load(load, dense=False)
    assert not never, f"faults that never came: {never}"


@pytest.mark.parametrize("rounds", with_rounds(1, 6))
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: errno.errorcode[error])
def test_disk_error_at_a_start_costs_nothing_but_this_start(
    supervisor: Supervisor, tmp_path: Path, error: int, rounds: int
) -> None:
    """A start flushes what a kill left in the log, and makes a new manifest."""
    server = Server(supervisor, tmp_path)
    server.start()
    never = []
    with Load(server.port, seed=error) as load:
        for number, (fault, (on, pattern)) in enumerate(chosen(STARTING, error, rounds)):
            load.wait_for_more(10, MORE_S_MAX)
            server.kill()
            rule = server.recorded.control.rule(on, pattern, error, times=1)
            served = server.launched()
            print(f"{fault}: struck {rule.failed}, {'served' if served else 'refused'}")
            if not rule.failed:
                never.append(fault)
            server.recorded.control.clear()
            server.power_cut(Mode.RANDOM, number)
            server.start()
            server.disarm()
        load.wait_for_more(20, MORE_S_MAX)
        judge_load(load, dense=False)
    assert not never, f"faults that never came: {never}"


def test_disk_that_lies_about_its_syncs_is_found_out_by_the_judge(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    """The control experiment: without real syncs this suite fails."""
    server = Server(supervisor, tmp_path)
    server.start()
    with Load(server.port, seed=1) as load:
        server.recorded.control.rule(On.SYNC, WAL, LIE)
        load.wait_for_more(50, MORE_S_MAX)
        server.power_cut(Mode.STRICT, 0)
        server.recorded.control.clear()
        server.start()
        load.wait_for_more(20, MORE_S_MAX)
        with pytest.raises(Broken):
            judge_load(load)


# --------------------------------------------------------------------------------------- full disk

BIG_BYTES: Final = 200_000
FULL_S: Final = 1.5


@pytest.fixture(params=["slowly", "suddenly", "small"])
def device(
    request: pytest.FixtureRequest, supervisor: Supervisor, tmp_path: Path
) -> Iterator[Device]:
    """A server, not started, on a disk that is to be full."""
    if request.param != "small":
        kind = Device if request.param == "slowly" else SuddenlyFull
        yield kind(Server(supervisor, tmp_path))
        return
    mount = tmp_path / "mount"
    mount.mkdir()
    mount_memory(mount)
    try:
        server = Server(supervisor, tmp_path, disk=mount, recorded=False)
        yield SmallDevice(server)
        server.process.close()
    finally:
        run(["umount", "--lazy", str(mount)]).ok()


def test_full_disk_refuses_writes_and_serves_the_rest_until_there_is_room(device: Device) -> None:
    server = device.server
    server.start()
    with Load(server.port, seed=1, value_bytes=BIG_BYTES) as load:
        device.fill(load)
        assert server.alarms() == ["NOSPACE"]
        # One of each writer may have been under way when the alarm was raised.
        begun = [len(writer.writes) + 1 for writer in load.writers]
        reads = len(load.reader.reads)
        server.compact(10)
        pause(FULL_S)
        assert server.process.alive, server.process.text()[-2000:]
        assert len(load.reader.reads) > reads, "reads go on"
        for writer, first in zip(load.writers, begun, strict=True):
            for write in writer.writes[first:-1]:
                deletes = isinstance(write.request, rpc_pb2.DeleteRangeRequest)
                right = Outcome.ACKNOWLEDGED if deletes else Outcome.REFUSED
                assert (write.outcome, write.detail) == (right, "" if deletes else NO_SPACE)
        assert not any(write.detail and write.detail != NO_SPACE for write in load.so_far())
        device.free()
        server.disarm()
        load.wait_for_more(50, MORE_S_MAX)
        assert server.alarms() == []
        server.kill()
        server.start()
        judge_load(load, dense=False, compacted=10)


def delete_patiently(connection: Connection, key: bytes) -> None:
    """A delete that met a failing write is told to try again, once: that write is settled then."""
    request = rpc_pb2.DeleteRangeRequest(key=key)
    try:
        answer = connection.call("KV/DeleteRange", request)
    except grpc.RpcError as refused:
        if refused.details() != "etcdserver: request timed out":
            raise
        answer = connection.call("KV/DeleteRange", request)
    assert answer.deleted == 1


def test_full_disk_lets_keys_be_deleted_and_refuses_puts(device: Device) -> None:
    """By hand, one call after the other: a load cannot tell which of its calls came when."""
    server = device.server
    server.start()
    with Load(server.port, seed=2, value_bytes=BIG_BYTES) as load:
        device.fill(load)
    connection = Connection(server.port)
    put = rpc_pb2.PutRequest(key=b"by hand", value=b"x")
    for _ in range(3):
        with pytest.raises(grpc.RpcError) as refused:
            connection.call("KV/Put", put)
        assert f"{refused.value.code()}: {refused.value.details()}" == NO_SPACE
    before = connection.everything()
    assert before.count > 0
    for row in before.kvs:
        delete_patiently(connection, row.key)
    assert connection.everything().count == 0
    server.compact(connection.everything().header.revision)
    assert server.churn()
    device.free()
    server.disarm()
    connection.call("KV/Put", put)
    connection.close()


@pytest.mark.parametrize(
    ("device", "when"),
    [
        ("small", "while it is full"),
        ("small", "after there is room"),
        ("slowly", "while it is full"),
        pytest.param("slowly", "after there is room", marks=pytest.mark.slow),
        pytest.param("suddenly", "while it is full", marks=pytest.mark.slow),
        pytest.param("suddenly", "after there is room", marks=pytest.mark.slow),
    ],
    indirect=["device"],
)
def test_server_killed_on_a_full_disk_loses_nothing(device: Device, when: str) -> None:
    """A start needs room for what it flushes; without it the refusal is a sentence."""
    server = device.server
    server.start()
    with Load(server.port, seed=3, value_bytes=BIG_BYTES) as load:
        device.fill(load)
        server.kill()
        if when == "while it is full":
            print("started" if server.launched() else "refused", server.process.text()[-300:])
            server.process.kill()
        device.free()
        server.start()
        server.disarm()
        load.wait_for_more(50, MORE_S_MAX)
        judge_load(load, dense=False)
