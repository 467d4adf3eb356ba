"""What a message between two processes costs: over our links, and over a grpc.aio stream.

What it is: a script. It starts two children, a receiver and a sender, and prints a table: the CPU
time of each of both processes a message, for bodies of several sizes, with one message in a turn of
the loop and with 64; and the round trip of one message at a time. What it is not: a test of a
role; nothing is done with a body.

Words: a *turn* of the sender sends its messages and waits until the link has taken them. With
grpc.aio, which has no turns, the messages are written to one bidi stream one after the other.

Worked example: `python tests/bench/links.py --rounds=3` prints figures of three runs a line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Any, Final

from kubebraid.base.links import Link, Peer
from kubebraid.base.loop import WaitingLoop
from kubebraid.base.seams import SystemClock
from kubebraid.proto.links.endpoints import LinkDialer, LinkServer
from kubebraid.proto.links.handshake import Identity
from kubebraid.proto.links.network import Network
from kubebraid.proto.links.poller import Poller

SECRET: Final = bytes(range(32))
CASES: Final = ((100, 1), (100, 64), (10_000, 1), (10_000, 64), (1_000_000, 1), (1_000_000, 8))
BYTES_MAX: Final = 300_000_000  # of one case
MESSAGES_MAX: Final = 30_000
ECHO, COUNT, CPU = 1, 2, 3  # kinds; the last one is answered with the receiver's CPU time
UNSENT_MAX: Final = 4_000_000
PATH: Final = "/bench.Links/Talk"


def messages_of(size: int, together: int) -> int:
    """How many a case sends: whole turns."""
    count = min(MESSAGES_MAX, BYTES_MAX // size)
    return count - count % together


def cpu_bytes() -> bytes:
    return str(time.process_time()).encode()


class Receiver:
    """Answers what asks for an answer."""

    def opened(self, link: Link) -> None:
        pass

    def received(self, link: Link, kind: int, body: bytes) -> None:
        if kind == ECHO:
            link.send(ECHO, body)
        elif kind == CPU:
            link.send(CPU, cpu_bytes())

    def closed(self, link: Link) -> None:
        os._exit(0)


class Sender:
    """A user and a part: first round trips, then the case, then the receiver's figures."""

    def __init__(self, loop: WaitingLoop, size: int, together: int, trips: int) -> None:
        self._loop, self._body, self._together = loop, bytes(size), together
        self._trips, self._left = trips, messages_of(size, together)
        self._count = self._left
        self._trip_us: list[float] = []
        self._sent_s = self._began_s = self._cpu_s = self._theirs_s = 0.0
        self._link: Link | None = None
        self._filling = False

    def opened(self, link: Link) -> None:
        self._link = link
        self._trip()

    def _trip(self) -> None:
        assert self._link is not None
        self._sent_s = time.perf_counter()
        self._link.send(ECHO, self._body)

    def received(self, link: Link, kind: int, body: bytes) -> None:
        if kind == ECHO:
            self._trip_us.append((time.perf_counter() - self._sent_s) * 1e6)
            if len(self._trip_us) < self._trips:
                self._trip()
            else:
                link.send(CPU, b"")
        elif not self._filling:
            self._theirs_s, self._filling = float(body), True
            self._cpu_s, self._began_s = time.process_time(), time.perf_counter()
        else:
            self._report(float(body))

    def turn(self) -> bool:
        link = self._link
        if not self._filling or link is None or not self._left:
            return False
        if link.pending_bytes() > UNSENT_MAX:
            return False
        for _ in range(self._together):
            link.send(COUNT, self._body)
        self._left -= self._together
        if not self._left:
            link.send(CPU, b"")
        return bool(self._left)

    def next_deadline_ms(self) -> int | None:
        return None

    def closed(self, link: Link) -> None:
        os._exit(1)

    def _report(self, theirs_s: float) -> None:
        ours_s = time.process_time() - self._cpu_s
        trips = sorted(self._trip_us[len(self._trip_us) // 10 :])
        found = {
            "send": ours_s / self._count * 1e6,
            "receive": (theirs_s - self._theirs_s) / self._count * 1e6,
            "rate": self._count / (time.perf_counter() - self._began_s),
            "p50": trips[len(trips) // 2],
            "p99": trips[len(trips) * 99 // 100],
        }
        print(json.dumps(found), flush=True)
        self._loop.stop()


def run_link(mode: str, address: str, args: argparse.Namespace) -> None:
    clock = SystemClock()
    poller = Poller(clock)
    loop = WaitingLoop(clock, poller)
    network = Network(poller, loop.post)
    me = Identity(Peer("shard", mode, os.getpid()), "bench")
    if mode == "receive":
        loop.attach((network,))
        server = LinkServer(network, address, me, SECRET, Receiver())
        print(server.address, flush=True)
    else:
        sender = Sender(loop, args.size, args.together, args.trips)
        loop.attach((sender, network))
        LinkDialer(network, address, me, SECRET, sender)
    loop.run()


# ---- grpc.aio, for comparison: the kind is the first byte of a message ----


def generic_handler() -> Any:
    import grpc

    async def talk(requests: AsyncIterator[bytes], _context: object) -> AsyncIterator[bytes]:
        async for message in requests:
            if message[0] == ECHO:
                yield message
            elif message[0] == CPU:
                yield bytes([CPU]) + cpu_bytes()

    handler: Any = grpc.stream_stream_rpc_method_handler(talk)
    return grpc.method_handlers_generic_handler("bench.Links", {"Talk": handler})


async def receive_aio() -> None:
    import grpc

    options = [("grpc.max_receive_message_length", -1)]
    server = grpc.aio.server(options=options)
    server.add_generic_rpc_handlers((generic_handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


async def send_aio(address: str, args: argparse.Namespace) -> None:
    import grpc

    options = [("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        call: Any = channel.stream_stream(PATH)()
        body, trips = bytes(args.size), list[float]()

        async def ask(kind: int) -> bytes:
            await call.write(bytes([kind]) + body)
            answer: bytes = await call.read()
            return answer[1:]

        for _ in range(args.trips):
            began_s = time.perf_counter()
            await ask(ECHO)
            trips.append((time.perf_counter() - began_s) * 1e6)
        theirs_s, ours_s = float(await ask(CPU)), time.process_time()
        began_s = time.perf_counter()
        count = messages_of(args.size, args.together)
        for _ in range(count):
            await call.write(bytes([COUNT]) + body)
        theirs_s = float(await ask(CPU)) - theirs_s
        ours_s = time.process_time() - ours_s
        trips = sorted(trips[len(trips) // 10 :])
        found = {
            "send": ours_s / count * 1e6,
            "receive": theirs_s / count * 1e6,
            "rate": count / (time.perf_counter() - began_s),
            "p50": trips[len(trips) // 2],
            "p99": trips[len(trips) * 99 // 100],
        }
        print(json.dumps(found), flush=True)
        call.cancel()


def run_once(kind: str, size: int, together: int, trips: int) -> dict[str, float]:
    """One run of one case in two fresh processes."""
    command = [sys.executable, __file__, "--kind", kind, "--size", str(size)]
    command += ["--together", str(together), "--trips", str(trips), "--child"]
    with subprocess.Popen([*command, "receive"], stdout=-1, text=True) as receiver:
        assert receiver.stdout is not None
        address = receiver.stdout.readline().strip()
        sent = subprocess.run([*command, "send", address], stdout=-1, text=True, check=True)
        receiver.kill()
    found: dict[str, float] = json.loads(sent.stdout)
    return found


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="CPU a message between two processes")
    parser.add_argument("--child", nargs="+", help="used by the script itself")
    parser.add_argument("--kind", choices=("links", "aio", "both"), default="both")
    parser.add_argument("--size", type=int, default=0)
    parser.add_argument("--together", type=int, default=1)
    parser.add_argument("--trips", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> None:
    args = parse(arguments)
    if args.child:
        mode, address = [*args.child, "127.0.0.1:0"][:2]
        if args.kind == "links":
            run_link(mode, address, args)
        else:
            asyncio.run(receive_aio() if mode == "receive" else send_aio(address, args))
        return
    kinds = ("links", "aio") if args.kind == "both" else (args.kind,)
    print("CPU us a message, medians of the rounds; rates and round trips, the best round")
    print("kind    bytes  a turn    send  receive    messages/s   trip p50  p99 us")
    for size, together in CASES:
        runs: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
        for _ in range(args.rounds):
            for kind in kinds:
                runs[kind].append(run_once(kind, size, together, args.trips))
        for kind in kinds:
            of = {name: [run[name] for run in runs[kind]] for name in runs[kind][0]}
            send, receive = statistics.median(of["send"]), statistics.median(of["receive"])
            # What others do on the machine costs time of the clock, never CPU time of ours.
            rate, p50, p99 = max(of["rate"]), min(of["p50"]), min(of["p99"])
            figures = f"{send:7.1f}  {receive:7.1f}  {rate:12,.0f}  {p50:9.0f}  {p99:6.0f}"
            print(f"{kind:5}  {size:7}  {together:6}  {figures}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
