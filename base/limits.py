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
EXPECT_KEYS_MAX: Final = 8_192  # read at once before a batch; two of each write
EXPECT_BYTES_MAX: Final = 32 * 1024 * 1024  # ... and what was found; the rest is read one by one
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
DUMP_PAGE_ROWS: Final = 32  # small rows come before large ones: 48 MiB at the worst
SNAPSHOTS_MAX: Final = 4  # of one router at once: each holds a state of every shard
SNAPSHOT_STALL_MS: Final = 300_000  # a client that takes nothing keeps states for so long
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
MARK_EVERY_MS: Final = 10_000  # what an older copy of a running shard's disk may lack unnoticed
UPKEEP_RETRY_MS: Final = 1_000  # after a failed slice of background work

# -- background --
COMPACT_SLICE_REVISIONS: Final = 256  # history removed per turn of the loop
COMPACT_SLICE_ROWS: Final = 8_192  # ... and rows of it, but a whole revision; TiKV takes 32 768
LEASE_RETRY_MS: Final = 1_000  # a revoke that was refused (full queue) is tried again
LEASE_EXPIRIES_PER_TURN: Final = 64  # etcd revokes at most 1000 a second per member
DRAIN_GRACE_S: Final = 5.0  # SIGTERM: how long open calls may finish

# -- links --
LINK_BODY_BYTES_MAX: Final = 64 * 1024 * 1024  # two of the largest batches; what one peer may claim
LINK_BACKLOG_BYTES_MAX: Final = 256 * 1024 * 1024  # unsent; beyond it the link ends, not the memory
LINK_READ_BYTES: Final = 256 * 1024  # of one link in one turn: about 0.3 ms of hashing
LINK_JOIN_BYTES_MAX: Final = 64 * 1024  # pieces up to that are sent as one copy, larger ones as is
LINK_PIECES_MAX: Final = 512  # in one system call; Linux refuses more than 1024
LINK_PING_MS: Final = 1_000  # after so much silence of ours the peer is shown that we live
LINK_DEAD_MS: Final = 3_000  # two pings may be lost to a long turn of the peer's loop
LINK_HANDSHAKE_MS_MAX: Final = 3_000  # connecting included
LINK_FRAME_MS_MAX: Final = 30_000  # the largest frame at 2 MB/s; a flipped length is noticed then
LINK_BACKOFF_FIRST_MS: Final = 50  # a restarted process is found at once
LINK_BACKOFF_MOST_MS: Final = 1_000  # a dead one costs its peers a SYN a second
LINK_STRANGERS_MAX: Final = 64  # connections to one server that have proved nothing yet
LINK_LOG_MS: Final = 1_000  # whoever knocks may not fill the log: one line in so much time

# -- hosts --
HOST_BEAT_MS: Final = 400  # how often a process that serves shards of others too says that it lives
HOST_AWAY_MS: Final = 2_000  # without a beat; then others take its shards
HOST_LEAVE_MS: Final = 100  # if all hosts end at once, none is given what others leave
HOST_LINGER_MS: Final = 1_000  # a process that was replaced says so to whoever still asks it
HOST_RETRY_MS_MAX: Final = 5_000  # before a store that could not be taken is tried again

# -- raft --
RAFT_TICK_MS: Final = 10  # the least time between two ticks that nothing asked for
RAFT_HEARTBEAT_MS: Final = 100  # a leader's sign of life; also how late a lost message is repeated
RAFT_ELECTION_MS_MIN: Final = 400  # PySyncObj wants more than three heartbeats
RAFT_ELECTION_MS_MAX: Final = 800  # a sequencer's failover waits for one election
RAFT_FALLBACK_MS: Final = 1_000  # a leader without a quorum's answers stops calling itself one
RAFT_COMMAND_BYTES_MAX: Final = 256 * 1024  # of one command; the largest, a tablet map, has tens
RAFT_APPEND_BYTES_MAX: Final = 1024 * 1024  # entries of one message; more in one entry: a pickle
RAFT_SNAPSHOT_BYTES_MAX: Final = 8 * 1024 * 1024  # sent in one message; the state is below 1 MiB
RAFT_QUEUE_MAX: Final = 1_024  # commands and barriers that wait for the one in flight
RAFT_OUTCOME_MS_MAX: Final = 3_000  # then a submission ends as unknown; an election takes 1-2 s
RAFT_RESUBMIT_MS: Final = 500  # the same command once more: a forward is lost with its link
RAFT_RETRY_MS: Final = 50  # ... or after a definite refusal, such as a change of leader
RAFT_COMPACT_ENTRIES: Final = 50_000  # compacting rarely keeps followers from needing snapshots
RAFT_COMPACT_MS: Final = 86_400_000  # a day
RAFT_SNAPSHOT_RETRY_MS: Final = 60_000  # after a snapshot that could not be written
RAFT_REFILL_ASK_MS: Final = 1_000  # a member without a log asks for one this often
RAFT_BACKLOG_BYTES_MAX: Final = 32 * 1024 * 1024  # unsent to a peer; more is dropped, Raft repeats

# -- the map --
SHARDS_MAX: Final = 256  # that were ever started; each has a row in the state and a link to all
TABLETS_MAX: Final = 1_000  # a map is one command of the log, and some 170 bytes a tablet

# -- the sequencer's lease --
SEQUENCER_TTL_MS: Final = 1_500  # with an election behind it a takeover stays below 3 s
LEASE_DRIFT_PERCENT: Final = 10  # how much faster a candidate's clock may run
WINDOW_REVISIONS_MIN: Final = 10_000  # the least that a reign may hand out ahead of its record
WINDOW_SECONDS: Final = 2  # ... or so much of the recent rate

# -- owner links --
OWNER_CALLS_MAX: Final = 65_536  # of one router to one shard without an answer: about 50 MB of it
OWNER_MESSAGE_BYTES: Final = 1024 * 1024  # what is packed into one message before it leaves
OWNER_PART_BYTES: Final = 16 * 1024 * 1024  # a larger message leaves in parts
OWNER_AHEAD_BYTES: Final = 4 * 1024 * 1024  # of one read or dump, sent and not yet taken
OWNER_GRANT_BYTES: Final = 1024 * 1024  # taken before the shard is told: a message a megabyte
OWNER_BACKLOG_BYTES_MAX: Final = 64 * 1024 * 1024  # unsent; a router behind that far reads the log
OWNER_STATUS_MS: Final = 1_000  # figures of a shard are that old at most

# -- calls that are tried again --
RETRY_MS_MAX: Final = 5_000  # a shard that restarts, a sequencer that is replaced
SAMPLE_WAIT_MS_MAX: Final = 5_000  # a read without a sequencer; etcd: 5 s and an election
RETRY_EVERY_MS: Final = 50  # unless something is heard before
RETRY_FIRST_MS: Final = 2  # where maps differ, mostly for the milliseconds of a reshard
RETRY_CALLS_MAX: Final = 16_384  # bounds memory; beyond it clients are told at once

# -- transactions over several shards --
ACROSS_LOCK_MS: Final = 1_000  # a slot held without a next step; a router needs some round trips
ACROSS_WAIT_MS: Final = 500  # for a slot; less than others may be held meanwhile
ACROSS_WAITING_MAX: Final = 1_024  # locks that wait for one slot; beyond it: too many requests
ACROSS_PREPARED_MS: Final = 2_000  # without a decision: its router is taken for dead
ACROSS_ASK_MS: Final = 250  # how often another shard is asked again

# -- copies of tablets --
COPY_PIECE_BYTES_MAX: Final = 512 * 1024  # read in one go: some milliseconds of the source's loop
COPY_WAITING_MAX: Final = 64  # rounds that wait for the source's batch slot
COPY_FOLLOW_MS: Final = 20  # between two rounds of a copy that has caught up
COPY_RETRY_MS: Final = 250  # after a refusal, such as a source that restarts
COPY_AWAY_MS: Final = 1_000  # without an answer a source counts as away, and no switch begins
COPY_SWEEP_RETRY_MS_MAX: Final = 60_000  # of a sweep that fails again and again: it reads much
COPY_REPORT_MS: Final = 500  # how often the coordinators are told what has not changed
COPY_CHECK_KEYS: Final = 500  # compared by one sum: some milliseconds of either loop
COPY_CHECK_BYTES: Final = 4 << 20  # of their values, about: the same, where values are large
COPY_JOINS_MAX: Final = 64  # leases whose homes are asked at a time
COPY_SWEEP_ROWS: Final = 512  # removed rows of one slice
COPY_TRIES_MAX: Final = 5  # beginnings of one copy, none of which led to a verified one

# -- resharding --
RESHARD_ACTIVE_MAX: Final = 2  # migrations that copy at once; the others wait for their turn
RESHARD_UNFINISHED_MAX: Final = 256  # a plan is one command, and all of them travel with the state
RESHARD_ENDED_MAX: Final = 50  # that operators can still look up
RESHARD_FREEZE_MS: Final = 1_000  # then the switch is given up; the goal for a pause is 100 ms
RESHARD_LAG_MAX: Final = 1_000  # revisions that the last round behind the seal may have to bring
RESHARD_TRIES_MAX: Final = 5  # switches of one migration that came to their deadline
RESHARD_SILENT_MS: Final = 2_000  # without a report (each 500 ms) a target counts as away
RESHARD_RETRY_MS: Final = 500  # before the second try; each later one waits twice as long

assert BATCH_WRITES_MAX >= TXN_OPS_MAX
assert WINDOW_REVISIONS_MIN // 2 >= BATCH_WRITES_MAX, "a renewal makes room for any batch"
assert WRITE_QUEUE_MAX >= BATCH_WRITES_MAX, "a full queue must be able to fill a batch"
assert REQUEST_BYTES_MAX <= REQUEST_BYTES_ADVISED <= REQUEST_BYTES_CEILING
assert BATCH_BYTES_MAX >= MESSAGE_BYTES_MAX, "the largest request must fit a batch"
assert BATCH_BYTES_MAX >= REQUEST_BYTES_CEILING + MESSAGE_OVERHEAD_BYTES, "... that a flag allows"
assert WRITE_QUEUE_BYTES_MAX >= BATCH_BYTES_MAX, "... of large requests, too"
assert SCAN_FIRST_ROWS <= SCAN_SLICE_ROWS
assert WATCH_BYTES_MAX >= REQUEST_BYTES_MAX, "one transaction must fit, or no watch could advance"
assert LOG_SLICE_REVISIONS <= WATCH_EVENTS_MAX
assert LINK_BODY_BYTES_MAX >= BATCH_BYTES_MAX + MESSAGE_OVERHEAD_BYTES, "a batch is one message"
assert LINK_BACKLOG_BYTES_MAX >= 2 * LINK_BODY_BYTES_MAX, "a large message must not end its link"
assert OWNER_CALLS_MAX >= WRITE_QUEUE_MAX, "one router must be able to fill a shard's queue"
assert OWNER_PART_BYTES <= LINK_BODY_BYTES_MAX
assert OWNER_BACKLOG_BYTES_MAX + LINK_BODY_BYTES_MAX <= LINK_BACKLOG_BYTES_MAX
assert OWNER_GRANT_BYTES < OWNER_AHEAD_BYTES, "a read must not stand still between two grants"
assert LINK_DEAD_MS >= 3 * LINK_PING_MS, "one lost beat is no death"
assert HOST_AWAY_MS >= 3 * HOST_BEAT_MS, "nor is one of a host"
assert 3 * RAFT_HEARTBEAT_MS < RAFT_ELECTION_MS_MIN < RAFT_ELECTION_MS_MAX
assert RAFT_TICK_MS < RAFT_HEARTBEAT_MS < RAFT_FALLBACK_MS
assert RAFT_RETRY_MS < RAFT_RESUBMIT_MS < RAFT_OUTCOME_MS_MAX
assert TABLETS_MAX * 200 < RAFT_COMMAND_BYTES_MAX, "a map is one command"
assert RAFT_COMMAND_BYTES_MAX + 1024 < RAFT_APPEND_BYTES_MAX, "an envelope must fit a message"
assert ACROSS_WAIT_MS < ACROSS_LOCK_MS <= ACROSS_PREPARED_MS, "who waits may still prepare"
