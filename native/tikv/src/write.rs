//! One transaction: rows are looked at, and written if they hold what they may.
//!
//! What it is: begin, one read of all rows that are looked at, the check, and the two phases of a commit, in one
//! call and under one deadline. What it is not: the choice of rows, or what comes after a commit without an end
//! (`shard/storage/tikv.py`).
//!
//! Words: the *primary* is the row whose commit decides for all others; the client takes the first row that is put
//! into a transaction, and here that is the writer row. *Definite*: it is known that nothing was written.
//!
//! Invariants:
//! - nothing is sent that could write before all rows hold what they may;
//! - the writer row is put first, so it is the primary;
//! - a transaction whose commit began is rolled back only if it is known to have failed;
//! - whoever stops waiting (the deadline, a cancelled Python task) drops the transaction, and with it the
//!   renewal of its locks. What had been sent may arrive all the same: hence `Uncertain`;
//! - no commit in one phase, and none that decides without its primary ("1PC", "async commit"): the client sends a
//!   first phase again when an answer is lost, and what then meets its own commit is told as a conflict.
//!
//! Worked example: the writer row holds another token than it may: `Failure::Refused` with its key.
//!
//! Tested in tests/contract/test_tikv_*.py.

use std::collections::HashMap;
use std::time::Duration;

use tikv_client::{CheckLevel, Error, TimestampExt, Transaction, TransactionClient, TransactionOptions};
use tokio::time::{timeout, timeout_at, Instant};

use crate::errors::Failure;
use crate::locks::{around, ended};

const UNDO: Duration = Duration::from_secs(2);

pub type Bytes = Vec<u8>;
pub type Value = Option<Bytes>;

/// What a row may hold: one of the values (`None`: there is no such row), or any that begins like one of `begins`.
pub struct May {
    pub values: Vec<Value>,
    pub begins: Vec<Bytes>,
}

impl May {
    fn hold(&self, found: Option<&Bytes>) -> bool {
        self.values.iter().any(|value| value.as_ref() == found)
            || found.is_some_and(|held| self.begins.iter().any(|begin| held.starts_with(begin)))
    }
}

/// What is to be written, and when.
pub struct Order {
    pub row: Bytes,
    pub token: Bytes,
    /// Rows that are looked at, with what they may hold; the first is the writer row.
    pub checks: Vec<(Bytes, May)>,
    pub rows: Vec<(Bytes, Value)>,
}

impl Order {
    fn range(&self) -> (Bytes, Bytes) {
        around(self.checks.iter().map(|(key, _)| key).chain(self.rows.iter().map(|(key, _)| key)))
    }
}

/// The commit's timestamp.
pub async fn write(client: TransactionClient, order: Order, most: Duration) -> Result<u64, Failure> {
    let deadline = Instant::now() + most;
    let (start, end) = order.range();
    let begun = timeout_at(deadline, async {
        let options = TransactionOptions::new_optimistic().drop_check(CheckLevel::None);
        let mut txn = client.begin_with_options(options).await.map_err(Failure::of_call)?;
        match check(&mut txn, &order.checks).await {
            Ok(None) => put(&mut txn, order).await.map_err(Failure::of_call)?,
            Ok(Some(row)) => return Err(Failure::Refused(row)),
            Err(error) => {
                ended(&client, &error, &start, &end).await;
                return Err(Failure::of_call(error));
            }
        }
        Ok(txn)
    });
    let Ok(begun) = begun.await else {
        return Err(Failure::Unavailable("no answer in time".to_owned()));
    };
    let mut txn = begun?;
    let error = match timeout_at(deadline, txn.commit()).await {
        Ok(Ok(Some(at))) => return Ok(at.version()),
        Ok(Ok(None)) => unreachable!("the writer row is always put"),
        Ok(Err(error)) => error,
        Err(_) => return Err(Failure::Uncertain("no end of a commit in time".to_owned())),
    };
    let failure = Failure::of_commit(&error, txn.start_timestamp().version());
    if failure.is_definite() {
        // As far as TiKV can be reached: else the locks end by their age.
        let undone = async {
            let _ = txn.rollback().await;
            ended(&client, &error, &start, &end).await;
        };
        let _ = timeout(UNDO, undone).await;
    }
    Err(failure)
}

async fn check(txn: &mut Transaction, checks: &[(Bytes, May)]) -> Result<Option<Bytes>, Error> {
    let keys: Vec<Bytes> = checks.iter().map(|(key, _)| key.clone()).collect();
    let pairs = txn.batch_get(keys).await?;
    let found: HashMap<Bytes, Bytes> = pairs.map(|pair| (pair.0.into(), pair.1)).collect();
    let wrong = checks.iter().find(|(key, may)| !may.hold(found.get(key)));
    Ok(wrong.map(|(key, _)| key.clone()))
}

async fn put(txn: &mut Transaction, order: Order) -> Result<(), Error> {
    txn.put(order.row, order.token).await?;
    for (key, value) in order.rows {
        match value {
            Some(value) => txn.put(key, value).await?,
            None => txn.delete(key).await?,
        }
    }
    Ok(())
}
