"""`kubebraid serve`: one process, every role, one data directory.

What it is: the shell around a node: fronts and signals on the asyncio thread, the loop on its own.
What it is not: any decision about data.

It tells of itself twice: the banner on stdout is for whoever starts it by hand, the log on stderr
for whoever reads it later.

Order of a stop (SIGTERM, SIGINT): refuse what is new and end the streams (clients resume at
another endpoint or after the restart), answer what was accepted, close the fronts, end the loop,
close the engine. Exit codes: 0 stopped, 1 could not start or lost its engine, 2 usage.

Tested in tests/e2e/test_serve_command.py.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from urllib.parse import urlsplit

from kubebraid import ETCD_VERSION, VERSION
from kubebraid.base.limits import DRAIN_GRACE_S, MESSAGE_OVERHEAD_BYTES
from kubebraid.base.seams import SystemClock, SystemRandom
from kubebraid.coordinator.state import StateUnreadable
from kubebraid.proto.front_unix import SocketFile
from kubebraid.proto.fronts import chosen_kind, is_path, listen_address, make_front
from kubebraid.proto.server import AddressInUse, Front
from kubebraid.shard import keycodec
from kubebraid.shard.fencing import FenceDamaged
from kubebraid.shard.mark import SHARD_CELL
from kubebraid.shard.storage.datadir import DataDir, DataDirError, DataDirForeign, Extent
from kubebraid.shard.storage.engine import Engine, EngineError
from kubebraid.shard.storage.memory import MemoryEngine
from kubebraid.shard.storage.space import ENDLESS, DeviceSpace
from kubebraid.shard.witness import epoch, witness

from .flag_sources import BadFlags
from .listening import bind_briefly
from .logs import fields, set_up
from .metrics_http import MetricsServer
from .node import Node, NodeOptions, Seams
from .serve_config import ServeConfig, parse_serve

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
GC_THRESHOLD: Final = 50_000  # young collections are for cycles, and the hot path makes none

_log = logging.getLogger("kubebraid.serve")


def serve(argv: Sequence[str]) -> int:
    """The command. One sentence on stderr says why it could not start."""
    try:
        config = parse_serve(argv)
    except BadFlags as error:
        print(f"kubebraid serve: {error} (see 'kubebraid serve --help')", file=sys.stderr)
        return EXIT_USAGE
    set_up(config.log.level, config.log.form, config.log.output)
    for warning in config.warnings:
        _log.warning(warning)
    code = _served(config)
    if config.engine == "tikv":
        from kubebraid.shard.storage.tikv_link import leave

        leave(code)
    return code


def _served(config: ServeConfig) -> int:
    try:
        return _serve(config)
    except DataDirError as error:
        return _refuse(f"{error}; {error.hint}")
    except AddressInUse as error:
        return _refuse(f"{error}; {error.hint}; the data directory was not changed")
    except (EngineError, StateUnreadable, FenceDamaged) as error:
        return _refuse(f"the store in {_where(config)} cannot be served: {error}; {error.hint}")


def _refuse(sentence: str) -> int:
    print(f"kubebraid serve: {sentence}", file=sys.stderr)
    return EXIT_FAILED


def _serve(config: ServeConfig) -> int:
    """Bind first, so that a used port leaves the data directory untouched."""
    server = Server(config)
    try:
        import uvloop

        return uvloop.run(server.run())
    except ImportError:
        return asyncio.run(server.run())


class Server:
    """The running process."""

    def __init__(self, config: ServeConfig) -> None:
        self._config = config
        self._stop = asyncio.Event()
        self._fatal: BaseException | None = None
        self._node: Node | None = None
        self._asyncio: asyncio.AbstractEventLoop | None = None

    async def run(self) -> int:
        """Serve until a signal or a fatal error; the exit code."""
        config = self._config
        self._asyncio = asyncio.get_running_loop()
        for url in config.client_urls + config.metrics_urls:
            _probe(url)
        directory = DataDir.open(config.data_dir) if config.engine == "rocksdb" else None
        try:
            engine = _opened(config) if directory is None else directory.open_engine()
            held = Extent()
            try:
                if engine.get(keycodec.cell(SHARD_CELL)) is not None:
                    raise DataDirForeign(f"{_where(config)} belongs to a shard of a cluster")
                if directory is not None:
                    directory.begin(Extent(witness(engine), epoch(engine)))
                code = await self._with_engine(engine, directory)
                held = Extent(witness(engine), epoch(engine))
            finally:
                engine.close()
            if directory is not None:
                directory.stopped(held)
            return code
        finally:
            if directory is not None:
                directory.close()

    async def _with_engine(self, engine: Engine, directory: DataDir | None) -> int:
        config = self._config
        options = _node_options(config, _identity(config) if directory is None else directory.uuid)
        executor = ThreadPoolExecutor(1, thread_name_prefix="kubebraid-background")
        seams = Seams(
            SystemClock(),
            SystemRandom(),
            self._die,
            executor,
            ENDLESS if directory is None else DeviceSpace(directory.path),
        )
        node = Node(engine, config.first_map, options, seams)
        self._node = node
        if directory is not None:
            directory.started(epoch(engine))
        _log_start(config, node)
        message_bytes_max = config.request_bytes_max + MESSAGE_OVERHEAD_BYTES
        fronts = [
            make_front(config.front, url, node.deliver, message_bytes_max)
            for url in config.client_urls
        ]
        metrics = [MetricsServer(url, node) for url in config.metrics_urls]
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD)
        thread = threading.Thread(target=node.loop.run, name="kubebraid-loop")
        thread.start()
        started: list[Front] = []
        try:
            for server in metrics:
                server.start()
            for front in fronts:
                await front.start()
                started.append(front)
            self._announce(node)
            await self._stop.wait()
        finally:
            await self._drain(node, started)
            for server in metrics:
                server.stop()
            node.loop.stop()
            thread.join()
            executor.shutdown(cancel_futures=True)
        if self._fatal is not None:
            raise self._fatal
        _log.info("stopped", extra=fields(revision=node.sequencer.revision))
        return 0

    def _announce(self, node: Node) -> None:
        config = self._config
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)
        endpoints = ",".join(config.advertised_urls)
        tablets = len(node.coordinator.tablet_map().tablets)
        print(
            f"KubeBraid {VERSION} serves the etcd {ETCD_VERSION} API\n"
            f"  clients   {','.join(config.client_urls)}\n"
            f"  metrics   {','.join(config.metrics_urls) or 'none (--listen-metrics-urls)'}\n"
            f"  data      {_place(config)}\n"
            f"  revision  {node.sequencer.revision}, {tablets} tablets\n"
            f"Give this to kube-apiserver:\n"
            f"  --etcd-servers={endpoints}",
            flush=True,
        )
        served = fields(clients=config.client_urls, metrics=config.metrics_urls, pid=os.getpid())
        _log.info("served", extra=served)

    def _signalled(self, number: signal.Signals) -> None:
        _log.info("stop signal", extra=fields(signal=number.name))
        self._stop.set()

    async def _drain(self, node: Node, fronts: Sequence[Front]) -> None:
        """Streams end, accepted calls are answered, listeners close."""
        clock = SystemClock()
        began_ms = clock.now_ms()
        node.loop.post(node.router.drain)
        # After a fatal error nobody answers any more: waiting would only keep clients waiting.
        grace_s = DRAIN_GRACE_S if self._fatal is None else 0.0
        await asyncio.gather(*(front.stop(grace_s) for front in fronts))
        _log.info("drained", extra=fields(took_ms=clock.now_ms() - began_ms))

    def _die(self, error: BaseException) -> None:
        """Called on the loop's thread: the process must not go on serving."""
        _log.error("fatal error", exc_info=error)
        self._fatal = error
        assert self._asyncio is not None
        self._asyncio.call_soon_threadsafe(self._stop.set)


def _node_options(config: ServeConfig, uuid: str) -> NodeOptions:
    return NodeOptions(
        uuid=uuid,
        name=config.name,
        client_urls=config.advertised_urls,
        progress_interval_ms=config.progress_interval_ms,
        quota_bytes=config.quota_bytes,
        request_bytes_max=config.request_bytes_max,
        txn_ops_max=config.txn_ops_max,
        retention=config.retention,
    )


def _log_start(config: ServeConfig, node: Node) -> None:
    """The summary that a report of a problem should begin with."""
    retention = config.retention
    summary = fields(
        version=VERSION,
        etcd_version=ETCD_VERSION,
        name=config.name,
        data_dir=str(config.data_dir.absolute()),
        engine=config.engine,
        front=chosen_kind(config.front),
        listen_client_urls=config.client_urls,
        advertise_client_urls=config.advertised_urls,
        listen_metrics_urls=config.metrics_urls,
        revision=node.sequencer.revision,
        compact_revision=node.coordinator.compact_revision(),
        tablets=len(node.coordinator.tablet_map().tablets),
        auto_compaction=f"{retention.mode} {retention.amount}" if retention.amount else "off",
        quota_backend_bytes=config.quota_bytes,
        max_request_bytes=config.request_bytes_max,
        max_txn_ops=config.txn_ops_max,
        watch_progress_notify_interval_ms=config.progress_interval_ms,
    )
    _log.info("starting", extra=summary)


def _opened(config: ServeConfig) -> Engine:
    """The store of an engine that needs no data directory."""
    if config.engine == "memory":
        return MemoryEngine()
    # Loading it starts a client's threads, which no other engine should pay for.
    from kubebraid.shard.storage.tikv import TikvEngine

    return TikvEngine.open(config.pd, config.tikv_store.encode(), create=True, tls=config.tls)


def _identity(config: ServeConfig) -> str:
    """What the ids of cluster and member are made of, where no data directory holds it."""
    return f"tikv/{config.tikv_store}" if config.engine == "tikv" else "memory"


def _where(config: ServeConfig) -> str:
    return f"TiKV, {config.tikv_store}" if config.engine == "tikv" else str(config.data_dir)


def _place(config: ServeConfig) -> str:
    if config.engine == "memory":
        return "in memory only: everything is lost at exit"
    if config.engine == "tikv":
        return f"TiKV at {', '.join(config.pd)}, store {config.tikv_store}"
    return f"{config.data_dir} (RocksDB; one copy on this disk)"


def _probe(url: str) -> None:
    """Refuse a used address before the data directory is touched. Raises AddressInUse."""
    address = listen_address(url)
    if is_path(address):
        SocketFile(address).check()
        return
    parts = urlsplit(url)
    family = socket.AF_INET6 if ":" in (parts.hostname or "") else socket.AF_INET
    bind_briefly(family, (parts.hostname, parts.port), url)
