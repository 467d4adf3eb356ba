"""`kubebraid dev-cluster`: from flags to a running cluster, and back to nothing.

What it is: the refusals of a start, and the loop that looks after the processes, asks a router how
it is, and prints. What it is not: production; a service manager runs the roles there, one each.

Order of a start: flags, the data directory's lock, its file, the ports; a TiKV of its own, if there
is one; then all roles at once. Order of a stop (SIGTERM, SIGINT): routers, shards, coordinators,
TiKV; a second signal kills what is left. Exit codes: 0 stopped, 1 could not start, 2 usage.

Invariants: no process is left behind, however this one ends (`child.py`); the state file is there
only while the cluster serves.

Worked example: `kubebraid dev-cluster --data-dir=/tmp/kb` prints two endpoints for etcdctl.

Tested in tests/e2e/test_dev_cluster.py.
"""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Final, NamedTuple

from kubebraid import ETCD_VERSION, VERSION
from kubebraid.base.errors import KubeBraidError
from kubebraid.base.seams import SystemClock
from kubebraid.proto.server import AddressInUse

from .. import pd_http
from ..flag_sources import BadFlags
from ..flags import PREFIXES, handed_on
from ..listening import check_free
from ..locked_folder import locked
from ..role import EXIT_REMOVED
from . import state_file, tikv
from .argv import HOST, argv_of, endpoints, specs
from .config import DevConfig, parse_dev
from .probe import ONE, WHOLE, Asker
from .screen import Screen, state_line
from .site import Site, load, save, secret_of, settle
from .supervise import PD, ROLES, STORE, Child, Spec, Supervisor

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
TICK_S: Final = 0.1
ASK_EVERY_MS: Final = 1_000
START_MS_MAX: Final = 120_000  # a large store on a slow disk; a new cluster takes a few seconds
PORT_MS_MAX: Final = 3_000  # those of a killed cluster are free once the last process is gone
LAST_LINE_CHARS: Final = 300


def dev_cluster(argv: Sequence[str]) -> int:
    """The command. One sentence on stderr says why it could not start."""
    try:
        config = parse_dev(argv)
    except BadFlags as error:
        print(
            f"kubebraid dev-cluster: {error} (see 'kubebraid dev-cluster --help')", file=sys.stderr
        )
        return EXIT_USAGE
    if config.print_config:
        print(config.print_config, end="")
        return 0
    for warning in config.warnings:
        print(f"kubebraid dev-cluster: {warning}", file=sys.stderr)
    if platform.system() != "Linux":
        return _refuse("it runs on Linux only, whose kernel ends the processes with this one")
    try:
        if config.data_dir.exists():
            load(config.data_dir)  # before the lock makes its file in what may be somebody else's
        with locked(config.data_dir):
            return _start(config)
    except (AddressInUse, KubeBraidError) as error:
        return _refuse(f"{error}; {error.hint}")
    except OSError as error:
        return _refuse(str(error))


def _refuse(sentence: str) -> int:
    print(f"kubebraid dev-cluster: {sentence}", file=sys.stderr)
    return EXIT_FAILED


def _start(config: DevConfig) -> int:
    """In the locked data directory."""
    site = settle(config, load(config.data_dir))
    _check_ports(site)
    secret_of(config.data_dir)
    (config.data_dir / "logs").mkdir(exist_ok=True)
    save(config.data_dir, site)
    return DevCluster(config, site, Screen(sys.stdout)).run()


def _check_ports(site: Site) -> None:
    clock = SystemClock()
    end_ms = clock.now_ms() + PORT_MS_MAX
    for port in site.ports.values():
        while True:
            try:
                check_free(f"{HOST}:{port}")
                break
            except AddressInUse:
                if clock.now_ms() > end_ms:
                    raise
            threading.Event().wait(TICK_S)


class _Step(NamedTuple):
    """Of a start: these roles begin once they may."""

    roles: tuple[str, ...]
    may: Callable[[], bool]


def _steps(site: Site) -> list[_Step]:
    roles = _Step(ROLES, lambda: True)
    if not site.tikv_bin:
        return [roles]
    store = _Step((STORE,), lambda: tikv.leads(site.pd))
    return [_Step((PD,), lambda: True), store, roles._replace(may=lambda: tikv.serves(site.pd))]


class DevCluster:
    """The cluster, from its start to its stop."""

    def __init__(self, config: DevConfig, site: Site, screen: Screen) -> None:
        self._config = config
        self._site = site
        self._screen = screen
        self._clock = SystemClock()
        self._stop = threading.Event()
        self._failure = ""
        self._serves = False
        self._ask_ms = 0
        self._askers = {spec.name: Asker(spec.address) for spec in specs(site)[-_routers(site) :]}
        self._steps = _steps(site)  # those that are still to come
        self._supervisor = Supervisor(specs(site), self._launch, self._restarts, self._changed)

    def run(self) -> int:
        """The exit code."""
        config = self._config
        state_file.remove(config.state_file)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._signalled)
        self._greet()
        began_ms = self._clock.now_ms()
        try:
            while not self._stop.wait(TICK_S) and not self._failure:
                self._tick(self._clock.now_ms(), began_ms)
        finally:
            self._end()
        return EXIT_FAILED if self._failure else 0

    def _tick(self, now_ms: int, began_ms: int) -> None:
        if self._steps and self._steps[0].may():
            self._supervisor.start(now_ms, self._steps.pop(0).roles)
        self._supervisor.tick(now_ms)
        self._ask(now_ms)
        if not self._serves and all(asker.heard for asker in self._askers.values()):
            self._serve()
        if not self._serves and now_ms - began_ms > START_MS_MAX:
            silent = [name for name, asker in self._askers.items() if not asker.heard]
            who = "TiKV" if self._steps else ", ".join(silent)
            self._failure = f"{who} did not answer a read within {START_MS_MAX // 1_000} s"
        self._show()

    def _end(self) -> None:
        """Whatever happened until now."""
        self._screen.end()
        for asker in self._askers.values():
            asker.close()
        self._supervisor.stop(self._clock.now_ms, lambda: _pause(TICK_S / 4))
        state_file.remove(self._config.state_file)
        if self._failure:
            logs = self._config.data_dir / "logs"
            _refuse(f"{self._failure}; see {logs}")
        else:
            self._screen.event("stopped")

    def _signalled(self, _number: int, _frame: FrameType | None) -> None:
        if self._stop.is_set():
            self._supervisor.signal(signal.SIGKILL)
        self._stop.set()

    # -- processes -----------------------------------------------------------------------------

    def _launch(self, spec: Spec) -> subprocess.Popen[bytes]:
        """On the main thread: when the thread that made a child ends, the child is killed."""
        assert threading.current_thread() is threading.main_thread()
        argv = argv_of(spec, self._config, self._site)
        environment = handed_on(os.environ, PREFIXES)
        environment |= {} if spec.role in ROLES else pd_http.ENVIRONMENT
        with self._log(spec).open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "kubebraid.cli.dev.child", str(os.getpid()), *argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self._config.data_dir,
                start_new_session=True,  # Ctrl-C is for us, and we end them in order
            )

    def _log(self, spec: Spec) -> Path:
        return self._config.data_dir / "logs" / f"{spec.name}.log"

    def _restarts(self, spec: Spec, code: int) -> bool:
        """A shard in memory has lost what it had, and no other process may pass for it; one that
        was removed would be refused each time."""
        is_lost = spec.role == "shard" and self._site.engine == "memory"
        return self._config.restart and not is_lost and code != EXIT_REMOVED

    def _changed(self, child: Child) -> None:
        """A process was started, or was seen to have ended."""
        name = child.spec.name
        if child.is_up:
            if child.starts > 1:
                self._screen.event(f"{name} is started again (pid {child.pid})")
            if self._serves:
                self._write_state()
            return
        assert child.code is not None
        if child.code == EXIT_REMOVED:
            self._forget(name)
            return
        if child.code < 0:  # whoever killed it knows why
            told = f"{name} was ended by {signal.Signals(-child.code).name}"
        else:
            last = _last_line(self._log(child.spec))
            told = f"{name} ended with exit code {child.code}: {last}"
        self._screen.event(told)
        if not self._serves and (
            child.code == EXIT_USAGE or not self._restarts(child.spec, child.code)
        ):
            self._failure = f"{told} (the cluster did not serve yet)"

    def _forget(self, name: str) -> None:
        """The cluster has done so; a later start does not begin it either."""
        self._site = replace(self._site, removed=[*self._site.removed, name])
        save(self._config.data_dir, self._site)
        self._screen.event(f"{name} was removed from the cluster: it is not started again")

    # -- the state -----------------------------------------------------------------------------

    def _ask(self, now_ms: int) -> None:
        """Every router until all have answered, then one that is up, now and then."""
        for asker in self._askers.values():
            asker.poll()
        if not self._serves:
            for asker in self._askers.values():
                asker.ask(WHOLE)
        elif now_ms >= self._ask_ms:
            self._ask_ms = now_ms + ASK_EVERY_MS
            self._spokesman().ask(ONE)

    def _spokesman(self) -> Asker:
        up = [c.spec.name for c in self._supervisor.children if c.is_up]
        first = next(iter(self._askers))
        return self._askers[next((name for name in self._askers if name in up), first)]

    def _serve(self) -> None:
        """Every router has answered."""
        self._serves = True
        if not self._site.founded:
            self._site = replace(self._site, founded=True)
            save(self._config.data_dir, self._site)
        self._write_state()
        clients = ",".join(endpoints(self._site))
        self._screen.event(
            f"serves the etcd {ETCD_VERSION} API\n"
            f"  clients   {clients}\n"
            f"Give this to kube-apiserver:\n"
            f"  --etcd-servers={clients}"
        )

    def _write_state(self) -> None:
        children = self._supervisor.children
        state_file.write(self._config.state_file, endpoints(self._site), children)

    def _greet(self) -> None:
        site, config = self._site, self._config
        counts = ", ".join(
            f"{len(site.names(role))} {role}s" for role in ("coordinator", "shard", "router")
        )
        place = f"  TiKV      {site.pd}, stores {site.tikv_store}/NAME\n" if site.pd else ""
        self._screen.event(
            f"KubeBraid {VERSION} dev-cluster: {counts}\n"
            f"  data      {config.data_dir} (logs in {config.data_dir / 'logs'})\n"
            f"{place}"
            f"  state     {config.state_file}"
        )

    def _show(self) -> None:
        begun = [child for child in self._supervisor.children if child.starts]
        children = [child for child in begun if child.spec.name not in self._site.removed]
        down = [child.spec.name for child in children if not child.is_up]
        heard = self._spokesman().heard if self._serves else None
        line = state_line(len(children) - len(down), down, self._serves, heard)
        self._screen.state(line, (self._serves, tuple(down)))


def _routers(site: Site) -> int:
    return len(site.names("router"))


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)


def _last_line(path: Path) -> str:
    """Of a log; empty if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 8_192))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return lines[-1][:LAST_LINE_CHARS] if lines else ""
