"""`kubebraid ctl` before routers that answer as a test says: flags, exit codes, what is printed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest

from kubebraid.__main__ import main
from kubebraid.cli.bench.servers import free_port
from kubebraid.cli.ctl import ask, tables
from kubebraid.cli.ctl.ask import BadEndpoint, Routers, Unreachable
from kubebraid.proto.adminwire import CLUSTER_STATUS, ClusterStatus, encode_status

from .ctl_status import HEALTHY, coordinators, shards

Capture = pytest.CaptureFixture[str]


class _Router(grpc.GenericRpcHandler):
    """Answers ClusterStatus with these bytes; None: it knows no such method."""

    def __init__(self, body: bytes | None) -> None:
        self._body = body

    def service(
        self, details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        if self._body is None or details.method != CLUSTER_STATUS:
            return None
        body = self._body

        def answer(_request: bytes, _context: grpc.ServicerContext) -> bytes:
            return body

        return grpc.unary_unary_rpc_method_handler(answer)


@contextmanager
def router(answer: ClusterStatus | bytes | None) -> Iterator[str]:
    """A router's endpoint."""
    body = encode_status(answer) if isinstance(answer, ClusterStatus) else answer
    with ThreadPoolExecutor(1) as executor:
        server = grpc.server(executor, [_Router(body)])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.stop(0).wait()


def nobody() -> str:
    return f"http://127.0.0.1:{free_port()}"


# -- endpoints -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("endpoint", "target"),
    [
        ("http://127.0.0.1:2379", "127.0.0.1:2379"),
        ("http://router.example:2379/", "router.example:2379"),
        ("127.0.0.1:2379", "127.0.0.1:2379"),
        ("http://[::1]:2379", "[::1]:2379"),
        ("unix:///run/kb.sock", "unix:///run/kb.sock"),
    ],
)
def test_endpoint_is_understood(endpoint: str, target: str) -> None:
    assert ask.target(endpoint) == target


@pytest.mark.parametrize(
    "endpoint",
    ["https://a:1", "ftp://a:1", "http://a", "http://:1", "http://a:x", "http://a:1/x", "unix:x"],
)
def test_bad_endpoint_is_usage(endpoint: str, capsys: Capture) -> None:
    with pytest.raises(BadEndpoint):
        ask.target(endpoint)
    assert main(["ctl", "status", f"--endpoint={endpoint}"]) == 2
    assert "write http://host:port" in capsys.readouterr().err


def test_first_endpoint_that_answers_counts() -> None:
    with router(None) as foreign, router(HEALTHY) as good, router(shards(s0="down")) as later:
        assert Routers([nobody(), foreign, good, later]).status() == HEALTHY


def test_each_failure_is_told_when_nobody_answers() -> None:
    refused = nobody()
    with router(None) as foreign, router(b"\xff") as torn:
        with pytest.raises(Unreachable) as caught:
            Routers([refused, foreign, torn]).status()
        told = str(caught.value)
    assert f"{refused}: connection refused" in told
    assert f"{foreign}: it is no router of KubeBraid" in told
    assert f"{torn}: its answer is not understood" in told


def test_router_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask, "ASK_S_MAX", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, router(HEALTHY) as good:
        hanging = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert Routers([hanging, good]).status() == HEALTHY
        with pytest.raises(Unreachable, match=r"no answer in 0\.2 s"):
            Routers([hanging]).status()


# -- the command -----------------------------------------------------------------------------------


def test_healthy_status_is_exit_code_0(capsys: Capture) -> None:
    with router(HEALTHY) as endpoint:
        assert main(["ctl", "--endpoint", endpoint, "status"]) == 0
        run = capsys.readouterr()
    assert (run.out, run.err) == (tables.whole(HEALTHY, []) + "\n", "")


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (["status"], {"coordinators", "sequencer", "shards", "tablets", "problems"}),
        (["shard", "list"], {"shards"}),
        (["tablet", "list"], {"tablets"}),
        (["coordinator", "status"], {"coordinators", "sequencer"}),
    ],
)
def test_json_has_the_promised_keys(words: list[str], keys: set[str], capsys: Capture) -> None:
    with router(HEALTHY) as endpoint:
        assert main(["ctl", *words, "--output=json", f"--endpoint={endpoint}"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert keys <= set(told)
    assert set(told) == keys or words == ["status"]


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        (["status"], shards(s1="down"), 1),
        (["shard", "list"], shards(s1="down"), 1),
        (["tablet", "list"], shards(s1="down"), 1),
        (["coordinator", "status"], shards(s1="down"), 0),
        (["coordinator", "status"], coordinators(c="unreachable"), 1),
        (["tablet", "list"], coordinators(c="unreachable"), 0),
        (["status"], coordinators(c="unreachable"), 1),
    ],
)
def test_problem_is_exit_code_1_where_it_belongs(
    words: list[str], status: ClusterStatus, code: int, capsys: Capture
) -> None:
    with router(status) as endpoint:
        assert main(["ctl", *words, f"--endpoint={endpoint}"]) == code
    run = capsys.readouterr()
    assert run.out.count("\n") > 2
    assert run.err.count("\n") == code
    assert run.err == "" or run.err.startswith("kubebraid ctl: ")


def test_variable_names_the_endpoints(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    with router(HEALTHY) as endpoint:
        monkeypatch.setenv("KUBEBRAID_ENDPOINT", f"{nobody()},{endpoint}")
        assert main(["ctl", "shard", "list"]) == 0
        assert main(["ctl", "shard", "list", f"--endpoint={nobody()}"]) == 1
    assert "no endpoint answers" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv",
    [
        ["status", "--output=yaml"],
        ["status", "--output=json", "--output=json"],
        ["status", "--unknown"],
        ["coordinator", "refill", "a", "--timeout=0"],
        ["coordinator", "refill", "a", "--timeout=soon"],
    ],
)
def test_wrong_flag_is_exit_code_2(argv: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["ctl", *argv])
    assert ended.value.code == 2
    assert "kubebraid ctl: error: " in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv",
    [
        ["stat"],
        ["shard"],
        ["shard", "status"],
        ["tablet", "list", "more"],
        ["coordinator", "refill"],
        ["--output=json"],
    ],
)
def test_unknown_noun_or_verb_is_exit_code_2(argv: list[str], capsys: Capture) -> None:
    assert main(["ctl", *argv]) == 2
    run = capsys.readouterr()
    assert (run.out, run.err.count("\n")) == ("", 1)
    assert "coordinator refill NAME" in run.err


def test_ctl_alone_names_the_nouns(capsys: Capture) -> None:
    assert main(["ctl"]) == 2
    assert "status, shard, tablet, reshard, rebalance, coordinator" in capsys.readouterr().err


def test_reader_that_has_gone_is_no_traceback() -> None:
    """`kubebraid ctl tablet list | head -1`."""
    reading, writing = os.pipe()
    os.close(reading)
    with router(HEALTHY) as endpoint, os.fdopen(writing, "wb") as broken:
        argv = [sys.executable, "-m", "kubebraid", "ctl", "tablet", "list"]
        done = subprocess.run(
            [*argv, f"--endpoint={endpoint}"], stdout=broken, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (1, b"")


# -- refill ----------------------------------------------------------------------------------------


def test_refill_of_a_healthy_member_is_refused(capsys: Capture) -> None:
    with router(HEALTHY) as endpoint:
        assert main(["ctl", "coordinator", "refill", "b", f"--endpoint={endpoint}"]) == 1
    run = capsys.readouterr()
    assert run.out == ""
    assert "coordinator b has its log (follower)" in run.err


def test_refill_that_takes_too_long_is_exit_code_1(capsys: Capture) -> None:
    with router(coordinators(b="waiting")) as endpoint:
        argv = ["coordinator", "refill", "b", "--timeout=0.1", f"--endpoint={endpoint}"]
        assert main(["ctl", *argv]) == 1
    run = capsys.readouterr()
    assert run.out == "b waits, and asks the others for a refill\n"
    assert "b has not caught up yet" in run.err
