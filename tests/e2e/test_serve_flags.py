"""The flags of `kubebraid serve` as operators of etcd use them: sockets, files, variables, the log.

What etcd does with the same flag is asked of a real etcd where that is quick.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, Final

import grpc
import pytest

from kubebraid.cli.bench.servers import free_port
from kubebraid.cli.flags import BY_NAME
from kubebraid.cli.refused_flags import why_refused
from kubebraid.proto.etcd import rpc_pb2
from tests.e2e.etcdctl import Etcdctl, Watch
from tests.e2e.processes import Peers, Process, Supervisor, Timeout, run, wait_for
from tests.e2e.store import Kind, Store, kubebraid_environment

pytestmark = pytest.mark.e2e

READY_S_MAX: Final = 20.0
COMPACTED_S_MAX: Final = 15.0
CALL_S_MAX: Final = 20.0
USAGE: Final = 2
SERVE: Final = (sys.executable, "-m", "kubebraid", "serve")
COMPACTED: Final = "Error: etcdserver: mvcc: required revision has been compacted\n"
MEBI: Final = 1024 * 1024


@pytest.fixture(autouse=True)
def only_kubebraid(kind: Kind) -> None:
    """Nothing here is about a suite that runs on etcd."""
    if kind is Kind.ETCD:
        pytest.skip("this is about kubebraid's own command, and the store under test is etcd")


def served(process: Process, etcdctl: Etcdctl) -> Process:
    """It runs and answers."""

    def ready() -> bool:
        if not process.alive:
            raise Timeout(f"it ended with exit code {process.code} before it was ready")
        return etcdctl.run("endpoint", "health").code == 0

    process.start()
    wait_for("the server to be ready", ready, READY_S_MAX)
    return process


def log_lines(process: Process) -> list[dict[str, Any]]:
    """What it logged as JSON; its banner is no log."""
    return [json.loads(line) for line in process.text().splitlines() if line.startswith("{")]


# ------------------------------------------------------------------------------------- Unix sockets


def test_etcdctl_works_over_a_unix_socket(
    supervisor: Supervisor, peers: Peers, kind: Kind, tmp_path: Path
) -> None:
    path, port = tmp_path / "kb.sock", free_port()
    argv = (
        *SERVE,
        f"--data-dir={tmp_path / 'data'}",
        f"--listen-client-urls=unix://{path},http://127.0.0.1:{port}",
        f"--listen-metrics-urls=unix://{tmp_path / 'metrics.sock'}",
        f"--front={kind.value}",
    )
    process = supervisor.add("unix", argv, env=kubebraid_environment())
    etcdctl = Etcdctl(peers, f"unix://{path}")
    served(process, etcdctl)
    watch = Watch.start_many(supervisor, etcdctl, ["watch a/ --prefix"])
    revision = Etcdctl(peers, f"http://127.0.0.1:{port}").put("a/1", "told")
    assert [(event.key, event.revision) for event in watch.wait(1)] == [("a/1", revision)]
    process.kill()
    assert path.exists(), "nobody could remove it"
    served(process, etcdctl)
    assert etcdctl.values("a/") == {"a/1": "told"}
    assert process.terminate() == 0
    assert not path.exists()
    assert not (tmp_path / "metrics.sock").exists()


def test_socket_of_another_server_is_refused_and_data_left_alone(
    supervisor: Supervisor, peers: Peers, kind: Kind, tmp_path: Path
) -> None:
    path = tmp_path / "kb.sock"
    argv = (*SERVE, f"--listen-client-urls=unix://{path}", f"--front={kind.value}")
    first = (*argv, "--engine=memory")
    etcdctl = Etcdctl(peers, f"unix://{path}")
    served(supervisor.add("first", first, env=kubebraid_environment()), etcdctl)
    done = run([*argv, f"--data-dir={tmp_path / 'data'}"], env=kubebraid_environment())
    assert done.code == 1
    assert f"cannot listen on unix:{path}: another process does" in done.stderr
    assert not (tmp_path / "data").exists()
    etcdctl.put("still", "served")


# ----------------------------------------------------------------------- files, variables, refusals


def test_configuration_file_stands_alone(
    supervisor: Supervisor, peers: Peers, kind: Kind, tmp_path: Path
) -> None:
    port = free_port()
    path = tmp_path / "kb.yaml"
    path.write_text(
        f"name: filed\ndata-dir: {tmp_path / 'data'}\nwal-dir:\nfront: {kind.value}\n"
        f"listen-client-urls: http://127.0.0.1:{port}\n"
        "advertise-client-urls: https://kb.example:2379\n"
    )
    argv = (*SERVE, f"--config-file={path}", "--name=flag")
    env = {**kubebraid_environment(), "ETCD_DATA_DIR": str(tmp_path / "other")}
    etcdctl = Etcdctl(peers, f"http://127.0.0.1:{port}")
    process = served(supervisor.add("filed", argv, env=env), etcdctl)
    (member,) = etcdctl.json("member", "list")["members"]
    assert (member["name"], member["clientURLs"]) == ("filed", ["https://kb.example:2379"])
    assert not (tmp_path / "other").exists()
    warned = [line["msg"] for line in log_lines(process) if line["level"] == "warn"]
    assert [text.partition(" is ignored")[0] for text in warned] == ["--name", "ETCD_DATA_DIR"]


def test_etcds_variables_are_understood(
    supervisor: Supervisor, peers: Peers, kind: Kind, tmp_path: Path
) -> None:
    port = free_port()
    env = {
        **kubebraid_environment(),
        "ETCD_NAME": "etcds",
        "ETCD_DATA_DIR": str(tmp_path / "data"),
        "ETCD_LISTEN_CLIENT_URLS": f"http://127.0.0.1:{port}",
        "ETCD_ADVERTISE_CLIENT_URLS": f"http://127.0.0.1:{port}",
        "ETCD_VERSION": "3.7.3",
        "ETCDCTL_ENDPOINTS": "http://127.0.0.1:1",
        "KUBEBRAID_NAME": "ours",
        "KUBEBRAID_FRONT": kind.value,
        "KUBEBRAID_DATADIR": "misspelt",
    }
    etcdctl = Etcdctl(peers, f"http://127.0.0.1:{port}")
    process = served(supervisor.add("variables", SERVE, env=env), etcdctl)
    (member,) = etcdctl.json("member", "list")["members"]
    assert member["name"] == "ours"
    assert (tmp_path / "data").is_dir()
    (warning,) = [line["msg"] for line in log_lines(process) if line["level"] == "warn"]
    assert warning.endswith("did you mean KUBEBRAID_DATA_DIR")


@pytest.mark.parametrize("how", ["flag", "variable"])
def test_flag_of_a_cluster_is_refused_with_one_sentence(tmp_path: Path, how: str) -> None:
    value = "a=http://127.0.0.1:2380"
    argv = [*SERVE, f"--data-dir={tmp_path / 'data'}"]
    env = kubebraid_environment()
    if how == "flag":
        argv += ["--initial-cluster", value]
    else:
        env["ETCD_INITIAL_CLUSTER"] = value
    done = run(argv, env=env)
    assert done.code == USAGE, str(done)
    (line,) = done.stderr.splitlines()
    assert "this is one server without peers; leave the flag out" in line
    assert not (tmp_path / "data").exists()


def test_every_flag_of_a_real_etcd_is_there_or_refused(peers: Peers) -> None:
    done = run([peers.path("etcd"), "--help"])
    names = re.findall(r"^\s+--([a-z0-9-]+)", done.stdout + done.stderr, re.MULTILINE)
    assert len(names) > 80, "etcd lists its flags"
    assert [name for name in names if name not in BY_NAME and why_refused(name) is None] == []


# ------------------------------------------------------------------------------------------ the log


def test_log_is_json_and_tells_a_life_from_start_to_end(
    supervisor: Supervisor, peers: Peers, kind: Kind, tmp_path: Path
) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    argv = (
        *SERVE,
        f"--data-dir={tmp_path / 'data'}",
        f"--listen-client-urls={endpoint}",
        f"--front={kind.value}",
        "--quota-backend-bytes=-1",
    )
    etcdctl = Etcdctl(peers, endpoint)
    process = served(supervisor.add("log", argv, env=kubebraid_environment()), etcdctl)
    etcdctl.ok("compact", str(etcdctl.put("a", "b")))
    assert process.terminate() == 0
    lines = log_lines(process)
    assert [line["msg"] for line in lines] == [
        "starting",
        "served",
        "compaction begun",
        "compaction finished",
        "stop signal",
        "drained",
        "stopped",
    ]
    for line in lines:
        assert list(line)[:4] == ["level", "ts", "logger", "msg"]
        assert line["level"] == "info"
    assert (lines[0]["listen_client_urls"], lines[0]["front"]) == ([endpoint], kind.value)
    assert (lines[2]["revision"], lines[3]["revision"]) == (2, 2)
    assert lines[4]["signal"] == "SIGTERM"


def test_quiet_log_leaves_the_banner(
    supervisor: Supervisor, peers: Peers, kind: Kind, tmp_path: Path
) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    argv = (
        *SERVE,
        f"--data-dir={tmp_path / 'data'}",
        f"--listen-client-urls={endpoint}",
        f"--front={kind.value}",
        "--log-level=panic",
        "--log-format=console",
    )
    process = supervisor.add("quiet", argv, env=kubebraid_environment())
    served(process, Etcdctl(peers, endpoint))
    assert process.terminate() == 0
    banner = process.text().splitlines()
    assert (len(banner), banner[-1]) == (7, f"  --etcd-servers={endpoint}")


# --------------------------------------------------------------------------------- compaction, size


@pytest.mark.parametrize("which", ["ours", "etcd"])
def test_periodic_retention_compacts_as_etcd_does(
    supervisor: Supervisor, peers: Peers, kind: Kind, which: str
) -> None:
    """A key that is written now and then: soon its old versions are gone, the newest is there."""
    store = Store(supervisor, peers, Kind.ETCD if which == "etcd" else kind)
    store.process.argv = (*store.process.argv, "--auto-compaction-retention=1s")
    store.start()
    first = store.etcdctl.put("key", "one")

    def compacted() -> bool:
        store.etcdctl.put("key", "more")
        return store.etcdctl.run("get", "key", f"--rev={first}").stderr == COMPACTED

    wait_for("the first version to be compacted", compacted, COMPACTED_S_MAX)
    newest = store.etcdctl.put("key", "newest")
    assert store.etcdctl.ok("get", "key", f"--rev={newest}") == "key\nnewest\n"
    assert store.etcdctl.revision() == newest, "a compaction takes no revision"


@pytest.mark.parametrize("which", ["ours", "etcd"])
def test_requests_may_be_as_large_as_the_flag_says(
    supervisor: Supervisor, peers: Peers, kind: Kind, which: str
) -> None:
    store = Store(supervisor, peers, Kind.ETCD if which == "etcd" else kind)
    store.process.argv = (*store.process.argv, f"--max-request-bytes={10 * MEBI}")
    store.start()
    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{store.port}", options=unlimited) as channel:

        def call(method: str, request: Any, answer: Any) -> Any:
            return channel.unary_unary(
                f"/etcdserverpb.KV/{method}",
                request_serializer=type(request).SerializeToString,
                response_deserializer=answer.FromString,
            )(request, timeout=CALL_S_MAX)

        value = bytes(10 * MEBI - 1024)
        call("Put", rpc_pb2.PutRequest(key=b"large", value=value), rpc_pb2.PutResponse)
        got = call("Range", rpc_pb2.RangeRequest(key=b"large"), rpc_pb2.RangeResponse)
        assert got.kvs[0].value == value
        for size, text in (
            (10 * MEBI, "etcdserver: request is too large"),
            (11 * MEBI, "grpc: received message larger than max (11534344 vs. 11010048)"),
        ):
            with pytest.raises(grpc.RpcError) as refused:
                call("Put", rpc_pb2.PutRequest(key=b"k", value=bytes(size)), rpc_pb2.PutResponse)
            assert refused.value.details() == text
