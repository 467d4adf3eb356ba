//! Locks whose transaction nobody knows.
//!
//! What it is: what is done when a read, or the first phase of a commit, meets such a lock. What it is not: locks
//! of transactions that are known; the client looks into those itself.
//!
//! Why. A transaction locks its rows in all regions at once, so a process that dies in that moment may leave the lock
//! of a secondary row, and none of its primary. Whoever meets it asks for the primary and is told `TxnNotFound`:
//! then it may come yet, until the lock's time is over, and after that it has to be rolled back. tikv-client 0.4.0
//! looks for that answer under another name than it comes with, so it rolls back nothing, and such a row would be
//! locked for good.
//!
//! Invariants:
//! - only locks that are at least as old as the unknown transaction, and that one `LOCK_MS`, are ended. TiKV rolls
//!   back at the primary, so one that is not dead finds out when it commits: it is delayed, never divided;
//! - the caller is told `Locked` in any case, and tries again; a pause keeps it from doing so all the time.
//!
//! Worked example: a killed process left `z` locked at 12:00:00; a read at 12:00:01 is told `Locked`, the first
//! one behind 12:00:03 rolls the lock back, and the next one reads.
//!
//! Tested in tests/contract/test_tikv_lost.py.

use std::time::Duration;

use tikv_client::transaction::ResolveLocksOptions;
use tikv_client::{Error, Timestamp, TimestampExt, TransactionClient};
use tokio::time::sleep;

use crate::errors::lost;
use crate::write::Bytes;

/// How long a lock of a small transaction lasts.
const LOCK_MS: i64 = 3_000;
const PAUSE: Duration = Duration::from_millis(20);

/// To be called with every error of a call that reads or writes keys of [start, end).
pub async fn ended(client: &TransactionClient, error: &Error, start: &[u8], end: &[u8]) {
    let Some(began) = lost(error) else { return };
    let Ok(now) = client.current_timestamp().await else {
        return;
    };
    if now.physical - Timestamp::from_version(began).physical < LOCK_MS {
        sleep(PAUSE).await;
        return;
    }
    let (start, end): (Bytes, Bytes) = (start.to_vec(), end.to_vec());
    let options = ResolveLocksOptions::default();
    // Some stores leave out the locks that begin at the border itself.
    let border = Timestamp::from_version(began + 1);
    // What it could not end is met again by the caller's next try.
    let _ = client.cleanup_locks(start..end, &border, options).await;
}

/// The range of some keys.
pub fn around<'k>(keys: impl Iterator<Item = &'k Bytes> + Clone) -> (Bytes, Bytes) {
    let start = keys.clone().min().cloned().unwrap_or_default();
    let mut end = keys.max().cloned().unwrap_or_default();
    end.push(0);
    (start, end)
}
