"""How our RocksDB is set up: every option, with its reason.

What it is: the options of an open. What it is not: a place for an operator's wishes; each of these
was measured or is needed for what `rocksdb.py` promises.

Worked example: `options(create=False)` opens what is there and makes nothing.

Tested in tests/contract/test_rocksdb_traps.py.
"""

from __future__ import annotations

from typing import Final

import rocksdict

BLOCK_CACHE_BYTES: Final = 256 << 20  # the newest rows of a large cluster; the rest is page cache
# Four times the default: a quarter of the reads and of the index, better compressed, and a get
# is not slower.
BLOCK_BYTES: Final = 16 << 10
WALK_AHEAD_BYTES: Final = 128 << 10  # what a walk over a range reads at once from a file
# Bounds the log that an open replays to about a second. RocksDB keeps as much in reserve: after a
# full device it takes writes again by itself only once more than this is free.
WRITE_BUFFER_BYTES: Final = 64 << 20
# By default two: while a full one is written to its file, a flush that need not wait waits all the
# same (100 to 300 ms in the loop), and so does any write once the other one is full.
WRITE_BUFFERS_MAX: Final = 3
OPEN_FILES_MAX: Final = 512  # below the usual limit of 1,024 descriptors, sockets included
# A file where half of a window of rows is tombstones is compacted early: scans walk over every
# tombstone, and no other thread runs meanwhile.
TOMBSTONE_WINDOW_ROWS: Final = 4_096
TOMBSTONE_RATIO: Final = 0.5


def options(create: bool) -> rocksdict.Options:
    """The options of one open."""
    table = rocksdict.BlockBasedOptions()
    table.set_block_cache(rocksdict.Cache(BLOCK_CACHE_BYTES))
    table.set_block_size(BLOCK_BYTES)
    table.set_bloom_filter(10, False)
    # Indexes and filters inside the cache: memory stays bounded, whatever the data set.
    table.set_cache_index_and_filter_blocks(True)
    table.set_pin_l0_filter_and_index_blocks_in_cache(True)
    made = rocksdict.Options(raw_mode=True)
    made.create_if_missing(create)
    made.set_block_based_table_factory(table)
    # The default, point-in-time, drops everything after a damaged record without a word.
    made.set_wal_recovery_mode(rocksdict.DBRecoveryMode.tolerate_corrupted_tail_records())
    made.set_paranoid_checks(True)
    made.set_compression_type(rocksdict.DBCompressionType.lz4())
    made.set_write_buffer_size(WRITE_BUFFER_BYTES)
    made.set_max_write_buffer_number(WRITE_BUFFERS_MAX)
    made.set_bytes_per_sync(1 << 20)  # spreads a flush's writing, so that our syncs do not wait
    made.set_max_background_jobs(2)
    made.set_max_open_files(OPEN_FILES_MAX)
    made.set_keep_log_file_num(4)
    made.set_max_log_file_size(16 << 20)
    made.add_compact_on_deletion_collector_factory(
        TOMBSTONE_WINDOW_ROWS, int(TOMBSTONE_WINDOW_ROWS * TOMBSTONE_RATIO), TOMBSTONE_RATIO
    )
    return made
