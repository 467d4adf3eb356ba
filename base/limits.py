"""Every bound of the system, with its reason. Limits check each other at import.

What it is: named numbers. What it is not: configuration; an operator's flags live in `config`.

Tested in tests/unit/base/test_limits.py (that the documented relations hold).
"""

from __future__ import annotations

from typing import Final

# -- requests (etcd's defaults: server/embed/config.go) --
REQUEST_BYTES_MAX: Final = 1536 * 1024  # etcd --max-request-bytes: 1.5 MiB
MESSAGE_OVERHEAD_BYTES: Final = 512 * 1024  # what etcd adds for a whole gRPC message
MESSAGE_BYTES_MAX: Final = REQUEST_BYTES_MAX + MESSAGE_OVERHEAD_BYTES
REQUEST_BYTES_ADVISED: Final = 10 * 1024 * 1024  # etcd warns above it
REQUEST_BYTES_CEILING: Final = 16 * 1024 * 1024  # the most that --max-request-bytes may allow
TXN_OPS_MAX: Final = 128  # etcd --max-txn-ops
LEASE_TTL_S_MAX: Final = 9_000_000_000  # etcd lease.MaxLeaseTTL
LEASE_TTL_S_MIN: Final = 2  # etcd: the minimum a one-member cluster grants (election based)

# -- batches --
BATCH_WRITES_MAX: Final = 4_096  # a group commit stays near 10 ms of evaluation
BATCH_BYTES_MAX: Final = 32 * 1024 * 1024  # bounds the memory of one engine batch
WRITE_QUEUE_MAX: Final = 16_384  # beyond it: too many requests, as etcd's apply gap
WRITE_QUEUE_BYTES_MAX: Final = 256 * 1024 * 1024  # ... and beyond that much of payload

# -- reads --
SCAN_SLICE_ROWS: Final = 512  # about 1 ms of interpreter: a list never delays writes longer
SCAN_FIRST_ROWS: Final = 64  # the first slice, before it is known how large the rows are
SCAN_SLICE_BYTES: Final = 2 * 1024 * 1024  # what a slice should hold of keys and values
READ_SLICES_PER_TURN: Final = 16  # of all running reads together: bounds a turn
STREAM_CHUNK_BYTES: Final = 1024 * 1024  # a RangeStream chunk, before the next is begun
READ_WAIT_MS_MAX: Final = 5_000  # a read that waits longer for a watermark gives up
COUNT_CACHE_ENTRIES: Final = 1_024  # remembered totals of pages, one per open listing
COUNT_LOG_REVISIONS_MAX: Final = 100_000  # a total is derived from so much of the log at most
BUCKET_KEYS_MAX: Final = 1_024  # keys under one counter: a count scans two buckets, about 1 ms
PAGE_READS_MAX: Final = 10_000  # reads queued at once; beyond it: too many requests

# -- watches --
WATCH_EVENTS_MAX: Final = 1_000  # events in one response, but never splitting a revision
WATCH_BYTES_MAX: Final = 2 * 1024 * 1024  # bytes of events in one response, likewise
WATCHES_PER_STREAM_MAX: Final = 100_000  # an apiserver uses one stream per resource client
LOG_SLICE_REVISIONS: Final = 512  # history read for one catching-up watcher per turn
LOG_SLICE_BYTES: Final = 2 * 1024 * 1024  # ... and its bytes, but at least one revision
PROGRESS_INTERVAL_MS: Final = 600_000  # etcd --watch-progress-notify-interval: 10 min

# -- the device --
RESERVE_BYTES_MAX: Final = 128 * 1024 * 1024  # two write buffers: a reopened store flushes one
RESERVE_DEVICE_SHARE: Final = 16  # ... and no more than this part of a small device
TEND_MS: Final = 250  # free space and tombstones; at 100 MB/s a fifth of the reserve
SETTLE_TRIES_MAX: Final = 3  # a device that fails more often in a row is not served any more
UPKEEP_RETRY_MS: Final = 1_000  # after a failed slice of background work

# -- background --
COMPACT_SLICE_REVISIONS: Final = 256  # history removed per turn of the loop
LEASE_RETRY_MS: Final = 1_000  # a revoke that was refused (full queue) is tried again
LEASE_EXPIRIES_PER_TURN: Final = 64  # etcd revokes at most 1000 a second per member
DRAIN_GRACE_S: Final = 5.0  # SIGTERM: how long open calls may finish

assert BATCH_WRITES_MAX >= TXN_OPS_MAX
assert WRITE_QUEUE_MAX >= BATCH_WRITES_MAX, "a full queue must be able to fill a batch"
assert REQUEST_BYTES_MAX <= REQUEST_BYTES_ADVISED <= REQUEST_BYTES_CEILING
assert BATCH_BYTES_MAX >= MESSAGE_BYTES_MAX, "the largest request must fit a batch"
assert BATCH_BYTES_MAX >= REQUEST_BYTES_CEILING + MESSAGE_OVERHEAD_BYTES, "... that a flag allows"
assert WRITE_QUEUE_BYTES_MAX >= BATCH_BYTES_MAX, "... of large requests, too"
assert SCAN_FIRST_ROWS <= SCAN_SLICE_ROWS
assert WATCH_BYTES_MAX >= REQUEST_BYTES_MAX, "one transaction must fit, or no watch could advance"
assert LOG_SLICE_REVISIONS <= WATCH_EVENTS_MAX
