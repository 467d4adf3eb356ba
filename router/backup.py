"""Hashes and Defragment: what operators ask of every shard at once.

What it is: the maintenance calls that go over everything: Hash, HashKV, Defragment. What it is not:
Snapshot (`snapshots.py`), or the owners' work.

Invariants: a hash is of a revision that was closed when it was taken; none of them stops the
traffic.

Worked example: HashKV at 40 of two shards is the sum of their sums at 40, modulo 2**32.

Tested in tests/unit/router/test_backup.py, tests/e2e/test_etcdctl.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.ports import Sample
from kubebraid.base.revision import Revision
from kubebraid.proto import requests, responses

from .answers import Caller, after_all
from .context import Context
from .kv import KvService
from .on_disk import when_on_disk

HASH_MODULUS = 1 << 32
Done: TypeAlias = Callable[[int], None]


class BackupService:
    """Hash, HashKV, Defragment."""

    def __init__(self, context: Context, kv: KvService) -> None:
        self._context = context
        self._kv = kv

    def defragment(self, caller: Caller, payload: bytes) -> None:
        """Answered when the space is back; the store serves meanwhile, unlike etcd's."""
        requests.check_empty(payload)
        owners = self._context.serving()

        def answer(_sample: Sample) -> None:
            failed: list[RequestRefused] = []

            def end() -> None:
                if failed:
                    caller.fail(failed[0])
                else:
                    caller.edge.respond(caller.call_id, b"")  # etcd's answer has no header

            one_done = after_all(len(owners), end)

            def done(refused: RequestRefused | None) -> None:
                failed.extend([] if refused is None else [refused])
                one_done()

            for owner in owners:
                owner.defragment(done)

        self._kv.with_sample(answer)

    def hash(self, caller: Caller, payload: bytes) -> None:
        requests.check_empty(payload)

        def answer(sample: Sample) -> None:
            self._hash(
                caller,
                sample,
                sample.revision,
                lambda total: caller.respond(sample.revision, responses.hash_of(total)),
            )

        self._kv.with_sample(answer)

    def hash_kv(self, caller: Caller, payload: bytes) -> None:
        wanted = requests.hash_revision(payload)

        def answer(sample: Sample) -> None:
            floor = self._context.coordinator.compact_revision()
            revision = wanted if wanted > 0 else sample.revision
            if revision > sample.revision:
                caller.fail(errors.FUTURE_REVISION)
            elif revision < floor:
                caller.fail(errors.COMPACTED)
            else:
                self._hash(
                    caller,
                    sample,
                    revision,
                    lambda total: caller.respond(
                        sample.revision,
                        responses.hash_kv(total, floor, wanted or revision),
                    ),
                )

        self._kv.with_sample(answer)

    def _hash(self, caller: Caller, sample: Sample, revision: Revision, done: Done) -> None:
        """`done` is told the sum over all shards, each asked when everything of the sample is on
        its disk. A tablet that changes hands meanwhile may be in no part, or in two: asked anew."""
        floor = self._context.coordinator.compact_revision()
        parts: list[int | RequestRefused] = []
        names = sorted({tablet.shard for tablet in self._context.tablets.tablets})

        def add(part: int | RequestRefused) -> None:
            parts.append(part)
            if len(parts) == len(names):
                self._context.sequencer.read_revision(end)

        def end(newest: Sample) -> None:
            refused = [part for part in parts if isinstance(part, RequestRefused)]
            if refused:
                caller.fail(refused[0])
            elif newest.map_version != sample.map_version:
                caller.fail(errors.OTHER_MAP)
            else:
                done(sum(part for part in parts if isinstance(part, int)) % HASH_MODULUS)

        for name in names:
            then = partial(self._context.owners[name].hash_versions, floor, revision, add)
            when_on_disk(self._context, name, sample, then, add)
