"""What a whole cluster committed, told by the cluster itself, and which shard committed it.

What it is: one watch over every key, read beside whatever else a test does, and the judge of what
came. What it is not: a judge of single keys; the tests compare what they wrote.

Words: a *commit* of a shard is a revision that changed a key of it, so a transaction over two
shards is a commit of either. A *gap* is a run of revisions that no event names: a new sequencer
skips what its forerunner may have handed out, and nothing else may.

Invariants that are checked of all that is told:
- revisions rise from answer to answer, also over a reconnect; each answer has whole revisions;
- between the first and the last there is no gap but those that the test allows;
- every shard has its share of the commits, and the one watch carried events of all of them.

Which shard a key belongs to is computed from the layout that the cluster was given; that this is
where the key really lies is shown by test_cluster_etcdctl.py, from the stopped shards' disks.

Worked example: `with Ledger(store.endpoints, LAYOUT) as ledger: write()`, then `ledger.judge()`
fails if one of the shards slept.

Tested by planted faults in test_cluster_ledger.py.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Self

import grpc

from kubebraid.base.tabletmap import TabletMap
from kubebraid.cli.layouts import read_layout
from kubebraid.proto.etcd import rpc_pb2 as pb
from tests.e2e.processes import wait_for
from tests.e2e.store import SHARDS

SHARD_NAMES: Final = tuple(f"shard-{number}" for number in range(SHARDS))
SHARE_MIN: Final = 0.2
CAUGHT_UP_S_MAX: Final = 30.0
AGAIN_S: Final = 0.1
ASK_S: Final = 0.2  # between two progress requests: one that comes too early is not answered
CALL_S_MAX: Final = 10.0
EVERY_KEY: Final = (b"\0", b"\0")
OPTIONS: Final = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1))


def buckets(count: int, *resources: str) -> str:
    """A layout that hashes each of these Kubernetes resources into `count` tablets."""
    return ",".join(f"/registry/{resource}/={count}" for resource in resources)


def placed(layout: str) -> TabletMap:
    """The map that a new cluster makes of `--tablets=layout`."""
    return read_layout(layout, SHARD_NAMES)


@dataclass(frozen=True)
class Told:
    """One event: which key changed at which revision."""

    revision: int
    key: bytes
    is_delete: bool


class Ledger:
    """The watch and what it was told; as a context it follows while the block runs."""

    def __init__(
        self, endpoints: Sequence[str], layout: str, span: tuple[bytes, bytes] = EVERY_KEY
    ) -> None:
        self._span = span
        self._ports = [int(endpoint.rpartition(":")[2]) for endpoint in endpoints]
        self._map = placed(layout)
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._stop = threading.Event()
        self._live = threading.Event()
        self._requests: queue.SimpleQueue[pb.WatchRequest | None] = queue.SimpleQueue()
        self._call: Any = None
        self._error = ""
        self._next = 0
        self._covered = 0
        self.connections = 0
        self.began_at = 0
        self.told: list[Told] = []

    def __enter__(self) -> Self:
        self._thread.start()
        wait_for("the watch over every key", lambda: self._live.is_set() or self._error, CALL_S_MAX)
        assert not self._error, self._error
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._call is not None:
            self._call.cancel()
        self._requests.put(None)
        self._thread.join(CALL_S_MAX)
        assert not self._thread.is_alive(), "the ledger hangs"

    # -- following -----------------------------------------------------------------------------

    def _run(self) -> None:
        turn = 0
        while not self._stop.is_set() and not self._error:
            port = self._ports[turn % len(self._ports)]
            turn += 1
            try:
                self._follow(port)
            except grpc.RpcError:
                self._stop.wait(AGAIN_S)  # that router is away: the other one goes on
            except AssertionError as wrong:
                self._error = str(wrong)

    def _follow(self, port: int) -> None:
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS) as channel:
            opened: Any = channel.stream_stream(
                "/etcdserverpb.Watch/Watch",
                request_serializer=pb.WatchRequest.SerializeToString,
                response_deserializer=pb.WatchResponse.FromString,
            )
            requests = self._requests = queue.SimpleQueue()
            key, end = self._span
            create = pb.WatchCreateRequest(key=key, range_end=end, start_revision=self._next)
            requests.put(pb.WatchRequest(create_request=create))
            self._call = call = opened(iter(requests.get, None))
            try:
                for answer in call:
                    self.take(answer)
            finally:
                requests.put(None)

    def take(self, answer: pb.WatchResponse) -> None:
        """One answer of the watch, checked."""
        assert not answer.canceled, f"the watch was ended: {answer}"
        if answer.created:
            self.connections += 1
            if not self._next:
                self.began_at = self._covered = answer.header.revision
                self._next = self.began_at + 1
                self._live.set()
            return
        revisions = [event.kv.mod_revision for event in answer.events]
        assert all(one <= other for one, other in pairwise(revisions)), revisions
        if revisions:
            told = f"{revisions[0]} was told behind {self._next - 1}"
            assert revisions[0] >= self._next, told
            self.told += [
                Told(event.kv.mod_revision, event.kv.key, event.type != 0)
                for event in answer.events
            ]
            self._next = revisions[-1] + 1
        self._covered = max(
            self._covered, answer.header.revision if not revisions else revisions[-1]
        )

    # -- judging -------------------------------------------------------------------------------

    def catch_up(self, revision: int) -> None:
        """Return once the watch has promised that it told everything up to `revision`."""
        asked_s = 0.0

        def covered() -> bool:
            nonlocal asked_s
            assert not self._error, self._error
            if self._covered < revision and time.monotonic() - asked_s > ASK_S:
                asked_s = time.monotonic()
                self._requests.put(pb.WatchRequest(progress_request=pb.WatchProgressRequest()))
            return self._covered >= revision

        wait_for(f"the watch over every key to reach {revision}", covered, CAUGHT_UP_S_MAX)

    def gaps(self) -> list[tuple[int, int]]:
        """The runs of revisions that no event names, first and last of each."""
        revisions = sorted({told.revision for told in self.told} | {self.began_at})
        return [(one + 1, other - 1) for one, other in pairwise(revisions) if other > one + 1]

    def shard_of(self, key: bytes) -> str:
        """By the layout."""
        return self._map.tablet_of(key).shard

    def commits(self) -> Counter[str]:
        """Of each shard."""
        return Counter(shard for _, shard in self._pairs())

    def _pairs(self) -> Iterator[tuple[int, str]]:
        yield from {(told.revision, self.shard_of(told.key)) for told in self.told}

    def judge(self, *, share_min: float = SHARE_MIN, gaps_max: int = 0) -> Counter[str]:
        """The commits of each shard, given that each has its share and that nothing is missing."""
        commits = self.commits()
        all_commits = commits.total()
        assert all_commits, "nothing was written"
        shares = {shard: commits[shard] / all_commits for shard in SHARD_NAMES}
        assert set(commits) == set(SHARD_NAMES), f"the watch carried events of {set(commits)} only"
        assert min(shares.values()) >= share_min, f"commits are spread unevenly: {commits}"
        gaps = self.gaps()
        assert len(gaps) <= gaps_max, f"revisions are missing: {gaps}"
        return commits
