"""etcdctl snapshot save, `kubebraid ctl snapshot`, and a store that goes on from the file.

etcdctl has no `snapshot status` or `restore` any more (etcdutl has, for etcd's own file); what is
in our file is checked and read back by our command.
"""

from __future__ import annotations

import re
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.etcdctl import Etcdctl
from tests.e2e.grpcclient import Rpc
from tests.e2e.processes import Finished, Peers, Supervisor, run, wait_for
from tests.e2e.store import Kind, Store, kubebraid_environment
from tests.e2e.twin import Twin

pytestmark = pytest.mark.e2e

KEYS: Final = 300
WRITES_MAX: Final = 20_000
ETCD_VERSION_S_MAX: Final = 20.0


@pytest.fixture(autouse=True)
def _only_kubebraid(kind: Kind) -> None:
    if kind is Kind.ETCD:
        pytest.skip("etcd's own file is read by etcdutl; the store under test is etcd")


def ctl(*args: str) -> Finished:
    """`kubebraid ctl snapshot ...`."""
    argv = (sys.executable, "-m", "kubebraid", "ctl", "snapshot", *args)
    return run(argv, env=kubebraid_environment())


def restored(supervisor: Supervisor, peers: Peers, kind: Kind, file: Path, *flags: str) -> Store:
    """A running store made from a snapshot, in a directory of its own."""
    data_dir = file.with_suffix(".data")
    ctl("restore", str(file), "--data-dir", str(data_dir), *flags).ok()
    served = Kind.NATIVE if kind.is_cluster else kind  # one process, whatever was saved
    store = Store(supervisor, peers, served, "restored", data_dir)
    store.start()
    return store


def everything(etcdctl: Etcdctl, *flags: str) -> list[dict[str, Any]]:
    """All keys with all that is known of them."""
    pairs = etcdctl.json("get", "", "--prefix", *flags).get("kvs", [])
    assert isinstance(pairs, list)
    return pairs


def fill(etcdctl: Etcdctl) -> str:
    """Keys of several tablets, changed, deleted, leased and compacted; the lease."""
    for prefix in ("/registry/pods/", "/registry/leases/", "plain/"):
        puts = "".join(f"put {prefix}{number} one\n" for number in range(KEYS // 3))
        etcdctl.ok("txn", stdin=f"\n{puts}\n\n")
    etcdctl.put("plain/0", "two")
    etcdctl.ok("compact", str(etcdctl.revision()))
    etcdctl.put("plain/0", "three")
    etcdctl.ok("del", "plain/1")
    etcdctl.put("plain/empty", "")
    lease = f"{etcdctl.json('lease', 'grant', '3600')['ID']:x}"
    etcdctl.ok("put", "/registry/pods/0", "leased", f"--lease={lease}")
    return lease


def newer(written: list[int], number: int) -> bool:
    """Has the writer come so far?"""
    return written[-1] >= number


def test_snapshot_save_prints_as_beside_etcd(twin: Twin, tmp_path: Path) -> None:
    """etcd writes its schema's version seconds after its start, and a snapshot tells it."""
    etcd = twin.sides[1].store.etcdctl
    wait_for(
        "etcd's storage version",
        lambda: etcd.json("endpoint", "status")[0]["Status"].get("storageVersion"),
        ETCD_VERSION_S_MAX,
    )
    twin.ok("put", "saved", "x")
    done = twin.both("snapshot", "save", str(tmp_path / "{SIDE}.db"), "--command-timeout=20s")
    assert done.stdout.endswith("Server version 3.7.0\n")
    assert {file.name for file in tmp_path.iterdir()} == {"ours.db", "etcd.db"}
    assert "expects one argument" in twin.fails("snapshot", "save")
    assert twin.both("snapshot", "save", str(tmp_path / "none" / "f.db")).code != 0


def test_a_restored_store_has_every_key_as_it_was(
    supervisor: Supervisor, peers: Peers, kind: Kind, tmp_path: Path
) -> None:
    store = Store(supervisor, peers, kind)
    store.start()
    etcdctl = store.etcdctl
    lease = fill(etcdctl)
    file = tmp_path / "snap.db"
    revision = etcdctl.revision()
    before = everything(etcdctl)
    (hash_before,) = etcdctl.json("endpoint", "hashkv")
    etcdctl.ok("snapshot", "save", str(file))
    etcdctl.put("later", "is not in it")
    told = ctl("status", str(file)).ok()
    assert told.startswith(f"revision {revision}, ")
    assert f" {len(before)} keys, " in told
    other = restored(supervisor, peers, kind, file)
    assert everything(other.etcdctl) == before
    assert other.etcdctl.revision() == revision
    (hash_after,) = other.etcdctl.json("endpoint", "hashkv")
    assert hash_after["HashKV"]["hash"] == hash_before["HashKV"]["hash"]
    # Not only the newest: the past above the floor, the floor itself, and the lease.
    past = ("--rev", str(revision - 4))
    assert everything(other.etcdctl, *past) == everything(etcdctl, *past)
    below = other.etcdctl.run("get", "plain/0", f"--rev={revision - 5}")
    assert "required revision has been compacted" in below.stderr
    assert "attached keys([/registry/pods/0])" in other.etcdctl.ok(
        "lease", "timetolive", lease, "--keys"
    )
    # It goes on without a gap, and as a store of its own.
    assert other.etcdctl.put("on", "x") == revision + 1
    other.etcdctl.ok("lease", "revoke", lease)
    assert other.etcdctl.values("/registry/pods/0") == {}
    assert other.etcdctl.header["cluster_id"] != etcdctl.header["cluster_id"]


def test_a_store_restored_with_a_bump_makes_old_watches_list_again(
    supervisor: Supervisor, peers: Peers, kind: Kind, tmp_path: Path
) -> None:
    store = Store(supervisor, peers, kind)
    store.start()
    revision = store.etcdctl.put("bump", "x")
    file = tmp_path / "snap.db"
    store.etcdctl.ok("snapshot", "save", str(file))
    other = restored(supervisor, peers, kind, file, "--bump-revision=1000")
    assert other.etcdctl.revision() == revision + 1000
    assert other.etcdctl.put("bump", "y") == revision + 1001
    old = other.etcdctl.run("watch", "bump", f"--rev={revision + 1}")
    assert "required revision has been compacted" in old.stderr


def test_a_snapshot_under_load_is_of_one_instant(
    shared_store: Store, supervisor: Supervisor, peers: Peers, kind: Kind, tmp_path: Path
) -> None:
    """Two keys of two tablets change together; a snapshot never holds one of them alone."""
    stop = threading.Event()
    written = [0]

    def write() -> None:
        with Rpc(shared_store.port) as rpc:
            for number in range(WRITES_MAX):
                if stop.is_set():
                    return
                value = b"%d" % number
                rpc.put_all([(b"/registry/pods/twin", value), (b"/registry/secrets/twin", value)])
                written.append(number)

    shared_store.etcdctl.ok("put", "/registry/events/weight", stdin="x" * (1 << 20))
    writer = threading.Thread(target=write)
    writer.start()
    try:
        files = [tmp_path / f"{number}.db" for number in range(3)]
        for file in files:
            wait_for("the writer to go on", partial(newer, written, written[-1] + 20), 20)
            shared_store.etcdctl.ok("snapshot", "save", str(file))
    finally:
        stop.set()
        writer.join()
    assert written[-1] < WRITES_MAX - 1, "the load ended before the snapshots did"
    revisions = [re.match(r"revision (\d+), ", ctl("status", str(file)).ok()) for file in files]
    numbers = [int(found[1]) for found in revisions if found]
    assert numbers == sorted(numbers)
    assert len(set(numbers)) == len(files)
    other = restored(supervisor, peers, kind, files[1])
    pods = other.etcdctl.values("/registry/pods/twin")["/registry/pods/twin"]
    assert pods == other.etcdctl.values("/registry/secrets/twin")["/registry/secrets/twin"]
    assert other.etcdctl.revision() == numbers[1]


def test_a_damaged_file_is_refused_and_leaves_nothing(shared_store: Store, tmp_path: Path) -> None:
    shared_store.etcdctl.put("damage", "x" * 1000)
    file = tmp_path / "snap.db"
    shared_store.etcdctl.ok("snapshot", "save", str(file))
    whole = file.read_bytes()
    middle = len(whole) // 2
    damages = (
        whole[:-1],
        whole[:middle],
        whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        b"",
    )
    for damaged in damages:
        file.write_bytes(damaged)
        for args in (("status",), ("restore", "--data-dir", str(tmp_path / "data"))):
            done = ctl(*args, str(file))
            assert done.code == 1, str(done)
            assert len(done.stderr.splitlines()) == 1, str(done)
        assert [path.name for path in tmp_path.iterdir()] == ["snap.db"]
