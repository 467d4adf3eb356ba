"""Limits: the relations that the file documents, and the numbers that are etcd's."""

from __future__ import annotations

from kubebraid.base import limits


def test_every_limit_is_positive() -> None:
    """A bound of zero would stop what it bounds, silently."""
    named = {name: value for name, value in vars(limits).items() if name.isupper()}
    assert named
    assert all(value > 0 for value in named.values()), named


def test_what_clients_can_reach_is_etcds_default() -> None:
    """server/embed/config.go and lease/lessor.go."""
    assert limits.REQUEST_BYTES_MAX == 1_572_864
    assert limits.MESSAGE_BYTES_MAX - limits.REQUEST_BYTES_MAX == 524_288
    assert limits.TXN_OPS_MAX == 128
    assert limits.LEASE_TTL_S_MAX == 9_000_000_000
    assert limits.LEASE_TTL_S_MIN == 2
    assert limits.PROGRESS_INTERVAL_MS == 600_000


def test_largest_request_fits_through_every_stage() -> None:
    assert limits.MESSAGE_BYTES_MAX >= limits.REQUEST_BYTES_MAX
    assert limits.BATCH_BYTES_MAX >= limits.MESSAGE_BYTES_MAX
    assert limits.WATCH_BYTES_MAX >= limits.REQUEST_BYTES_MAX
    assert limits.WATCH_EVENTS_MAX >= limits.TXN_OPS_MAX


def test_full_queue_fills_a_batch() -> None:
    assert limits.WRITE_QUEUE_MAX >= limits.BATCH_WRITES_MAX >= limits.TXN_OPS_MAX


def test_slice_of_the_log_fits_one_response() -> None:
    assert limits.LOG_SLICE_REVISIONS <= limits.WATCH_EVENTS_MAX


def test_longest_lease_fits_the_clock() -> None:
    """Deadlines are milliseconds in arithmetic that etcd's clients see as int64."""
    assert limits.LEASE_TTL_S_MAX * 1000 < 1 << 63
