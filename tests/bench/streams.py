"""What one message costs the server on many Watch streams: framed by hand, and by grpc.aio.

What it is: a script. It starts a native front in a child process, once with each of the two stream
servers, alternating, and reads with a raw HTTP/2 client that costs next to nothing. Printed is the
CPU time of the whole child a message, and the part of it that Python's threads have: the rest is
Rust's, or gRPC's core's. What it is not: a watch; the child sends the same bytes to all streams, so
that the streams alone are measured.

Words: a *tick* sends one message to every stream, as one event with as many watchers does; *paced*
ticks come at a fixed rate, *flat out* the next follows as soon as nothing waits to be written.

Worked example: `python tests/bench/streams.py` prints one line a run and the medians at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import select
import socket
import statistics
import subprocess
import sys
import threading
import time
from typing import Any, Final

from hpack import Encoder

from kubebraid.proto.front_native import BIDI_CALL_ID_FIRST, NativeFront
from kubebraid.proto.front_rules import target_of
from kubebraid.proto.server import Edge, EdgeEvent, Kind, Shape
from kubebraid.proto.stream_aio import AioServer
from kubebraid.proto.stream_h2 import StreamServer

WATCH: Final = "/etcdserverpb.Watch/Watch"
KINDS: Final = ("aio", "h2")
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
WIDE: Final = 2**31 - 1
PATIENCE_S: Final = 30.0
SETTLE_S: Final = 0.5


class Aio(AioServer):
    """grpc.aio in the place of `StreamServer`."""

    async def start(self, target: str) -> int:
        """Takes a path, as `StreamServer` does."""
        return await super().start(target_of(target))


class Child:
    """The process under measurement: a front, and ticks on all its streams."""

    def __init__(self, kind: str, args: argparse.Namespace) -> None:
        self.args = args
        self.payload = bytes(args.size)
        self.calls: list[int] = []
        self.full = threading.Event()
        self.front = NativeFront("127.0.0.1:0", self.deliver)
        if kind == "aio":
            server: Any = Aio(self.deliver, (Shape.BIDI,), self.front, BIDI_CALL_ID_FIRST)
            self.front._bidi = server
        assert kind == "aio" or isinstance(self.front._bidi, StreamServer), kind

    def deliver(self, _edge: Edge, events: list[EdgeEvent]) -> None:
        self.calls += [event.call_id for event in events if event.kind == Kind.OPEN]
        if len(self.calls) == self.args.streams:
            self.full.set()

    def tick(self) -> None:
        for call_id in self.calls:
            self.front.send(call_id, self.payload)

    def settle(self) -> None:
        while any(self.front.pending_bytes(call_id) for call_id in self.calls):
            time.sleep(0.0005)

    def measure(self) -> None:
        assert self.full.wait(PATIENCE_S), f"{len(self.calls)} streams were opened"
        self.tick()  # warm
        self.settle()
        time.sleep(SETTLE_S)
        began_s, cpu_s, python_s = time.perf_counter(), time.process_time(), python_cpu_s()
        for tick in range(self.args.ticks):
            self.tick()
            if self.args.rate:
                due_s = began_s + (tick + 1) / self.args.rate
                time.sleep(max(0.0, due_s - time.perf_counter()))
            else:
                self.settle()
        self.settle()
        time.sleep(SETTLE_S / 5)
        messages = self.args.ticks * len(self.calls)
        found = {
            "us": (time.process_time() - cpu_s) / messages * 1e6,
            "python": (python_cpu_s() - python_s) / messages * 1e6,
            "rate": messages / (time.perf_counter() - began_s),
        }
        print(json.dumps(found), flush=True)

    async def run(self) -> None:
        await self.front.start()
        print(self.front.address, flush=True)
        await asyncio.to_thread(self.measure)
        await asyncio.to_thread(sys.stdin.read)
        await self.front.stop(0.0)


def python_cpu_s() -> float:
    """CPU time of the threads that Python knows."""
    idents = [thread.ident for thread in threading.enumerate() if thread.ident is not None]
    return sum(time.clock_gettime(time.pthread_getcpuclockid(ident)) for ident in idents)


def frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return len(body).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + body


def connect(address: str, streams: int) -> socket.socket:
    """A connection with so many open Watch streams, and windows that never close."""
    host, _, port = address.rpartition(":")
    client = socket.create_connection((host, int(port)))
    window = (4).to_bytes(2) + WIDE.to_bytes(4)
    grow = (WIDE - 65_535).to_bytes(4)
    out = [PREFACE, frame(4, 0, 0, window), frame(8, 0, 0, grow)]
    encoder = Encoder()
    names = {":method": "POST", ":scheme": "http", ":path": WATCH, ":authority": address}
    names |= {"content-type": "application/grpc", "te": "trailers"}
    out += [frame(1, 4, 2 * i + 1, encoder.encode(list(names.items()))) for i in range(streams)]
    client.sendall(b"".join(out) + frame(4, 1, 0, b""))
    return client


def drain(clients: list[socket.socket], stop: threading.Event) -> None:
    """Reads and forgets; its CPU is not the server's."""
    while not stop.is_set():
        for client in select.select(clients, [], [], 0.1)[0]:
            client.recv(1 << 20)


def run(kind: str, connections: int, args: argparse.Namespace) -> dict[str, float]:
    """One run of one kind in a fresh process."""
    command = [sys.executable, __file__, "--child", kind]
    for name in ("streams", "size", "ticks", "rate"):
        command += [f"--{name}", str(getattr(args, name))]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        address = child.stdout.readline().strip()
        clients = [connect(address, args.streams // connections) for _ in range(connections)]
        stop = threading.Event()
        reader = threading.Thread(target=drain, args=(clients, stop))
        reader.start()
        try:
            found: dict[str, float] = json.loads(child.stdout.readline())
        finally:
            stop.set()
            reader.join()
            child.stdin.close()
            for client in clients:
                client.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU a message on Watch streams")
    parser.add_argument("--child", choices=KINDS, help="used by the script itself")
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--size", type=int, default=300, help="bytes of a message")
    parser.add_argument("--ticks", type=int, default=200)
    parser.add_argument("--rate", type=int, default=50, help="ticks a second; 0: flat out")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    if args.child:
        import uvloop

        uvloop.run(Child(args.child, args).run())
        return
    for connections in (1, args.streams):
        found: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
        for _ in range(args.rounds):
            for kind in KINDS:
                found[kind].append(run(kind, connections, args))
        pace = f"{args.rate} ticks/s" if args.rate else "flat out"
        print(f"{args.streams} streams of {connections} connection(s), {pace}")
        for kind in KINDS:
            every = " ".join(f"{one['us']:.1f}" for one in found[kind])
            cost, python, rate = (
                statistics.median(one[name] for one in found[kind])
                for name in ("us", "python", "rate")
            )
            part = f"{python:.1f} of it Python's"
            print(f"  {kind:3} {cost:6.1f} us CPU a message ({every}), {part}, {rate:,.0f}/s")


if __name__ == "__main__":
    main()
