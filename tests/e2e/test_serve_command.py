"""The command `kubebraid serve`: how it starts, refuses to start, ends, and goes on after an end.

A refusal costs nothing: the exit code tells its kind, stderr holds one sentence, and the directory
is the same to the byte. An end loses nothing: not by SIGTERM, and not by SIGKILL either.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import grpc
import pytest

from kubebraid.cli.bench.servers import free_port
from tests.e2e.etcdctl import Watch
from tests.e2e.grpcwatch import GrpcWatch
from tests.e2e.processes import Finished, Peers, Supervisor, run, wait_for
from tests.e2e.store import Kind, Store, kubebraid_environment, serve_argv

pytestmark = pytest.mark.e2e

READY_S_WANTED: Final = 2.0
READY_S_MAX: Final = 20.0
STOP_S_MAX: Final = 5.0
REFUSE_S_MAX: Final = 20.0
REFUSED: Final = 1
USAGE: Final = 2
LEASE_TTL_S: Final = 3
WRITES_MAX: Final = 2_000
ENDS: Final = ("terminate", "kill")

Damage = Callable[[Path], None]


@pytest.fixture
def store(supervisor: Supervisor, peers: Peers, kind: Kind) -> Store:
    """A store of the test's own, running."""
    store = Store(supervisor, peers, kind)
    store.start()
    return store


@pytest.fixture(scope="module")
def used_directory(module_supervisor: Supervisor, peers: Peers, kind: Kind) -> Path:
    """A data directory with something in it, left in good order; to be copied, not used."""
    only_kubebraid(kind)
    store = Store(module_supervisor, peers, kind, "used")
    store.start()
    store.etcdctl.put("kept", "value")
    assert store.terminate() == 0
    return store.data_dir


@pytest.fixture
def data_dir(used_directory: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    copy = tmp_path / "data"
    shutil.copytree(used_directory, copy)
    return copy


def only_kubebraid(kind: Kind) -> None:
    """Skip what says nothing about a real etcd."""
    if kind is Kind.ETCD:
        pytest.skip("this is about kubebraid's own command, and the store under test is etcd")


def end(store: Store, how: str) -> None:
    """End the store by SIGTERM or SIGKILL."""
    if how == "kill":
        store.kill()
        return
    code = store.terminate()
    assert code == (-15 if store.kind is Kind.ETCD else 0)


def contents(folder: Path) -> dict[str, str]:
    """Every file and folder below, with a digest of its bytes."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else "folder"
        for path in sorted(folder.rglob("*"))
    }


def attempt(kind: Kind, folder: Path, *more: str, port: int = 0, metrics_port: int = 0) -> Finished:
    """Run `kubebraid serve` on a folder, where it has to end by itself."""
    argv = serve_argv(folder, port or free_port(), metrics_port or free_port(), kind.value)
    return run([*argv, *more], env=kubebraid_environment(), seconds=REFUSE_S_MAX)


def check_refusal(done: Finished, code: int, *words: str) -> None:
    """One sentence that names the culprit, and the exit code of its kind."""
    lines = done.stderr.splitlines()
    assert done.code == code, str(done)
    assert "Traceback" not in done.stderr, str(done)
    assert len([line for line in lines if line.strip()]) == 1, str(done)
    for word in words:
        assert word in done.stderr, str(done)


# ----------------------------------------------------------------------------------------- starting


def test_serve_on_an_empty_directory_is_ready_soon(
    supervisor: Supervisor, peers: Peers, kind: Kind
) -> None:
    store = Store(supervisor, peers, kind)
    store.data_dir.mkdir(mode=0o700)
    took = store.start()
    print(f"{kind.value}: ready after {took:.2f} s, wanted are {READY_S_WANTED:g} s")
    assert took < READY_S_MAX
    assert store.etcdctl.put("first", "write") == 2, "an empty store is at revision 1, as etcd's is"


def test_serve_tells_its_endpoints_and_the_flag_for_the_apiserver(store: Store) -> None:
    only_kubebraid(store.kind)
    told = store.process.text()
    assert f"--etcd-servers={store.endpoint}" in told
    assert f"http://127.0.0.1:{store.metrics_port}" in told
    assert "Traceback" not in told


def test_serve_exports_metrics(store: Store) -> None:
    answer = ""
    with socket.create_connection(("127.0.0.1", store.metrics_port), timeout=5) as link:
        link.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        while piece := link.recv(65536):
            answer += piece.decode(errors="replace")
    assert answer.splitlines()[0].split()[1] == "200"
    assert "# TYPE " in answer


def test_another_front_serves_what_this_one_stored(
    store: Store, supervisor: Supervisor, peers: Peers
) -> None:
    """A front is the edge of a server and no part of what it stores."""
    only_kubebraid(store.kind)
    revision = store.etcdctl.put("kept", "value")
    end(store, "terminate")
    other = Kind.GRPCIO if store.kind is Kind.NATIVE else Kind.NATIVE
    reopened = Store(supervisor, peers, other, "other", store.data_dir)
    reopened.start()
    assert reopened.etcdctl.values("kept") == {"kept": "value"}
    assert reopened.etcdctl.put("kept", "new") == revision + 1


# ----------------------------------------------------------------------------------------- refusals


def test_second_server_on_the_same_directory_is_refused(store: Store) -> None:
    only_kubebraid(store.kind)
    store.etcdctl.put("kept", "value")
    before = contents(store.data_dir)
    check_refusal(attempt(store.kind, store.data_dir), REFUSED, str(store.data_dir))
    assert contents(store.data_dir) == before
    assert store.etcdctl.values("kept") == {"kept": "value"}


def test_foreign_directory_is_refused(kind: Kind, tmp_path: Path) -> None:
    only_kubebraid(kind)
    folder = tmp_path / "photographs"
    (folder / "2019").mkdir(parents=True)
    (folder / "2019" / "beach.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    before = contents(folder)
    check_refusal(attempt(kind, folder), REFUSED, str(folder))
    assert contents(folder) == before


def test_directory_of_a_real_etcd_is_refused(
    supervisor: Supervisor, peers: Peers, kind: Kind
) -> None:
    """The mistake that whoever replaces an etcd makes first."""
    only_kubebraid(kind)
    etcd = Store(supervisor, peers, Kind.ETCD, "etcd")
    etcd.start()
    etcd.terminate()
    before = contents(etcd.data_dir)
    check_refusal(attempt(kind, etcd.data_dir), REFUSED, str(etcd.data_dir))
    assert contents(etcd.data_dir) == before


def flip_a_byte_of_the_marker(folder: Path) -> None:
    marker = folder / "KUBEBRAID"
    raw = bytearray(marker.read_bytes())
    raw[len(raw) // 2] ^= 1
    marker.write_bytes(raw)


def empty_the_marker(folder: Path) -> None:
    (folder / "KUBEBRAID").write_bytes(b"")


def remove_the_store(folder: Path) -> None:
    shutil.rmtree(folder / "rocksdb")


def remove_the_marker(folder: Path) -> None:
    (folder / "KUBEBRAID").unlink()


def remove_the_current_file(folder: Path) -> None:
    (folder / "rocksdb" / "CURRENT").unlink()


def overwrite_the_manifest(folder: Path) -> None:
    (manifest,) = (folder / "rocksdb").glob("MANIFEST-*")
    manifest.write_bytes(b"\xa5" * manifest.stat().st_size)


def claim_a_newer_format(folder: Path) -> None:
    fields = json.loads((folder / "KUBEBRAID").read_text())
    del fields["checksum"]
    fields["format"] = 99
    digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
    (folder / "KUBEBRAID").write_text(json.dumps({**fields, "checksum": digest}))


@pytest.mark.parametrize(
    "damage",
    [
        flip_a_byte_of_the_marker,
        empty_the_marker,
        remove_the_marker,
        remove_the_store,
        remove_the_current_file,
        overwrite_the_manifest,
        claim_a_newer_format,
    ],
)
def test_damaged_directory_is_refused(kind: Kind, data_dir: Path, damage: Damage) -> None:
    damage(data_dir)
    before = contents(data_dir)
    check_refusal(attempt(kind, data_dir), REFUSED, str(data_dir))
    after = contents(data_dir)
    # RocksDB writes about its failed opening into its own log, which holds nothing of ours.
    assert without_log(after) == without_log(before)


def without_log(files: dict[str, str]) -> dict[str, str]:
    """Without the files that RocksDB writes for people."""
    return {name: digest for name, digest in files.items() if not name.startswith("rocksdb/LOG")}


@contextmanager
def listener() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_client_port_in_use_is_refused(kind: Kind, data_dir: Path) -> None:
    before = contents(data_dir)
    with listener() as port:
        check_refusal(attempt(kind, data_dir, port=port), REFUSED, str(port))
    assert contents(data_dir) == before


def test_metrics_port_in_use_is_refused(kind: Kind, data_dir: Path) -> None:
    before = contents(data_dir)
    with listener() as port:
        check_refusal(attempt(kind, data_dir, metrics_port=port), REFUSED, str(port))
    assert contents(data_dir) == before


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--no-such-flag", "1"),
        ("--front", "telepathy"),
        ("--listen-client-urls", "nonsense"),
        ("--listen-metrics-urls", "http://127.0.0.1:seven"),
    ],
)
def test_wrong_flag_is_refused(kind: Kind, data_dir: Path, flag: str, value: str) -> None:
    before = contents(data_dir)
    argv = serve_argv(data_dir, free_port(), free_port(), kind.value)
    if flag in argv:
        argv[argv.index(flag) + 1] = value
    else:
        argv += [flag, value]
    done = run(argv, env=kubebraid_environment(), seconds=REFUSE_S_MAX)
    check_refusal(done, USAGE, value if "urls" in flag else flag)
    assert contents(data_dir) == before


@pytest.mark.parametrize("more", ["extra", "--front=native"])
def test_stray_word_and_repeated_flag_are_refused(kind: Kind, data_dir: Path, more: str) -> None:
    before = contents(data_dir)
    check_refusal(attempt(kind, data_dir, more), USAGE, more.partition("=")[0])
    assert contents(data_dir) == before


def test_port_that_was_refused_is_served_once_it_is_free(
    supervisor: Supervisor, peers: Peers, kind: Kind, data_dir: Path
) -> None:
    """After any number of refusals the directory still opens, with all that it held."""
    with listener() as port:
        attempt(kind, data_dir, port=port)
    attempt(kind, data_dir, "--no-such-flag")
    store = Store(supervisor, peers, kind, "again", data_dir)
    store.start()
    assert store.etcdctl.values("kept") == {"kept": "value"}


# ------------------------------------------------------------------------------ ending and going on


def test_sigterm_ends_it_soon_also_under_a_watch(store: Store, supervisor: Supervisor) -> None:
    watch = Watch.start_many(supervisor, store.etcdctl, ["watch a/ --prefix", "watch b"])
    store.etcdctl.put("a/1", "told")
    watch.wait(1)
    began = time.monotonic()
    end(store, "terminate")
    # A real etcd waits for its watches up to seven seconds: there is no reason to be like that.
    assert store.kind is Kind.ETCD or time.monotonic() - began < STOP_S_MAX
    assert "Traceback" not in store.process.text()


def test_revisions_go_on_without_a_gap_after_every_end(store: Store) -> None:
    """etcd's clients count on it that nothing but a write moves the revision."""
    expected = {}
    revision = store.etcdctl.put("key/0", "before")
    expected["key/0"] = "before"
    for number, how in enumerate([*ENDS, "kill", "kill", "terminate"], start=1):
        end(store, how)
        store.start()
        assert store.etcdctl.revision() == revision, f"after {how}"
        assert store.etcdctl.values("key/") == expected
        written = store.etcdctl.put(f"key/{number}", how)
        assert written == revision + 1, f"after {how}"
        revision = written
        expected[f"key/{number}"] = how


@pytest.mark.parametrize("how", ENDS)
def test_past_and_compaction_outlive_an_end(store: Store, how: str) -> None:
    etcdctl = store.etcdctl
    revisions = [etcdctl.put("key", value) for value in ("one", "two", "three")]
    etcdctl.ok("compact", str(revisions[1]))
    end(store, how)
    store.start()
    (pair,) = etcdctl.json("get", "key")["kvs"]
    assert (pair["version"], pair["create_revision"]) == (3, revisions[0])
    assert etcdctl.ok("get", "key", f"--rev={revisions[1]}") == "key\ntwo\n"
    refused = etcdctl.run("get", "key", f"--rev={revisions[0]}")
    assert refused.stderr == "Error: etcdserver: mvcc: required revision has been compacted\n"


@pytest.mark.parametrize("how", ENDS)
def test_lease_outlives_an_end_and_then_ends_itself(
    store: Store, supervisor: Supervisor, how: str
) -> None:
    etcdctl = store.etcdctl
    lease = etcdctl.json("lease", "grant", str(LEASE_TTL_S))["ID"]
    etcdctl.ok("put", "short", "lived", f"--lease={lease:x}")
    watch = Watch.start(supervisor, etcdctl, ["short", f"--rev={etcdctl.revision() + 1}"])
    end(store, how)
    store.start()
    (event,) = watch.wait(1)
    assert (event.kind, event.key) == ("DELETE", "short")
    assert etcdctl.values("short") == {}


@pytest.mark.parametrize("how", ENDS)
def test_running_etcdctl_watch_goes_on_after_a_restart(
    store: Store, supervisor: Supervisor, how: str
) -> None:
    etcdctl = store.etcdctl
    first = etcdctl.put("w/1", "before")
    watch = Watch.start(supervisor, etcdctl, ["w/", "--prefix", "--prev-kv", f"--rev={first}"])
    watch.wait(1)
    end(store, how)
    store.start()
    etcdctl.put("w/1", "after")
    etcdctl.put("w/2", "after")
    events = [(e.key, e.value, e.revision - first, e.previous) for e in watch.wait(3)]
    assert events == [
        ("w/1", "before", 0, None),
        ("w/1", "after", 1, "before"),
        ("w/2", "after", 2, None),
    ]
    assert watch.process.alive


@pytest.mark.parametrize("how", ENDS)
def test_grpc_watch_is_told_to_come_again_and_misses_nothing(store: Store, how: str) -> None:
    """A stream that ends as UNAVAILABLE is resumed by clients without a relist."""
    first = store.etcdctl.put("g", "1")
    watch = GrpcWatch(store.port, b"g", first)
    try:
        assert watch.take(1) == [(first, b"1")]
        end(store, how)
        assert watch.end() is grpc.StatusCode.UNAVAILABLE
    finally:
        watch.close()
    store.start()
    store.etcdctl.put("g", "2")
    watch = GrpcWatch(store.port, b"g", first + 1)
    try:
        store.etcdctl.put("g", "3")
        assert watch.take(2) == [(first + 1, b"2"), (first + 2, b"3")]
    finally:
        watch.close()


def test_writes_that_were_acknowledged_before_a_kill_are_there(store: Store) -> None:
    """A kill in the middle of a stream of writes: what was answered is there, in one piece."""
    acknowledged: dict[str, str] = {}

    def write_until_refused() -> None:
        for number in range(WRITES_MAX):
            key, value = f"k/{number}", str(number)
            if store.etcdctl.run("put", key, value, "--command-timeout=3s").code:
                return
            acknowledged[key] = value

    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(write_until_refused)
        wait_for("thirty writes", lambda: len(acknowledged) >= 30, 30)
        store.kill()
        writer.result(30)
    store.start()
    there = store.etcdctl.values("k/")
    assert acknowledged.items() <= there.items()
    assert len(there) <= len(acknowledged) + 1, "a write appeared that nobody sent"
    assert len(acknowledged) < WRITES_MAX, "the writer was done before the kill"
