"""PD is away for longer than tikv-client waits before it renews the locks of a commit.

A commit whose end is not known leaves its locks, and tikv-client renews them every 10 s for as long
as the transaction's object is there: nobody could open the store as long as this process lives.
"""

from __future__ import annotations

import time
from pathlib import Path
from threading import Event, Thread
from typing import Final

import pytest

from kubebraid.shard.storage.engine import Batch, EngineError
from kubebraid.shard.storage.tikv import TikvEngine
from kubebraid.shard.storage.tikv_errors import EngineUncertain
from tests.e2e.store import need_tikv_client
from tests.tikv.cluster import Cluster

pytestmark = pytest.mark.tikv

ENGINES: Final = 8  # so that PD's end meets one between its two phases
AWAY_S: Final = 12.0
TRIES: Final = 3
WARM_S: Final = 1.0


class Writing:
    """An engine that writes until a write fails; `ended`: of what."""

    def __init__(self, cluster: Cluster, name: bytes, stop: Event) -> None:
        self.engine = TikvEngine.open([cluster.pd_address], name, create=True)
        self.ended: EngineError | None = None
        self._stop = stop
        self.thread = Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.engine.write(Batch().put(b"a", b"1").put(b"z", b"1"), sync=True)
            except EngineError as error:
                self.ended = error
                return


def test_locks_of_an_unknown_commit_end_while_its_process_lives(tmp_path: Path) -> None:
    need_tikv_client()
    with Cluster.started(tmp_path) as cluster:
        for number in range(TRIES):
            stop = Event()
            names = (b"%d-%d" % (number, at) for at in range(ENGINES))
            writers = [Writing(cluster, name, stop) for name in names]
            time.sleep(WARM_S)
            cluster.pd.kill()
            time.sleep(AWAY_S)
            cluster.start_pd()
            stop.set()
            for writing in writers:
                writing.thread.join()
                writing.engine.reopen()
                writing.engine.close()
            if any(isinstance(writing.ended, EngineUncertain) for writing in writers):
                return
        raise AssertionError(f"no commit was under way when PD ended, {TRIES} times")
