//! The connection to a TiKV cluster, as Python sees it: every call is awaited on asyncio's loop.
//!
//! What it is: arguments and answers, between Python's objects and the client's; reads at a timestamp. What it is
//! not: the transaction that writes (`write.rs`), or what an error means (`errors.rs`).
//!
//! Invariants:
//! - the GIL is held while arguments are taken and an answer is made, never while TiKV is asked;
//! - every read has a snapshot of its own: a snapshot serialises its calls, and remembers what it has read;
//! - a call that is cancelled in Python is dropped here.
//!
//! Worked example: `client = await kubebraid_tikv.connect(["127.0.0.1:2379"], 3.0)`, then
//! `await client.get(await client.current_timestamp(), b"key")`.
//!
//! Tested in tests/contract/test_engine.py and tests/contract/test_tikv_*.py.

use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3_async_runtimes::tokio::future_into_py;
use tikv_client::{
    CheckLevel, Config, Error, KvPair, Snapshot, Timestamp, TimestampExt, TransactionClient, TransactionOptions,
};
use tokio::time::timeout;

use crate::errors::Failure;
use crate::locks::{around, ended};
use crate::write::{write, Bytes, May, Order, Value};

/// Of an answer. A page of rows is asked for by their number, and follows from the size of those before.
const ANSWER_BYTES_MAX: usize = 256 << 20;

type Rows = Vec<(Bytes, Bytes)>;
type Writer = (Bytes, Bytes, (Vec<Value>, Vec<Bytes>));

/// Connect to the cluster whose PD listens at these HOST:PORTs, within so many seconds. With paths of PEM files
/// (all three) every connection is TLS, to PD and to the stores.
#[pyfunction]
#[pyo3(signature = (addresses, seconds, *, ca = None, cert = None, key = None))]
pub fn connect(
    py: Python<'_>,
    addresses: Vec<String>,
    seconds: f64,
    ca: Option<String>,
    cert: Option<String>,
    key: Option<String>,
) -> PyResult<Bound<'_, PyAny>> {
    let most = duration(seconds)?;
    let mut config = Config::default().with_grpc_max_decoding_message_size(ANSWER_BYTES_MAX);
    config = match (ca, cert, key) {
        (None, None, None) => config,
        (Some(ca), Some(cert), Some(key)) => config.with_security(ca, cert, key),
        _ => return Err(PyValueError::new_err("TLS needs all of ca, cert and key")),
    };
    future_into_py(py, async move {
        let connected = timeout(most, TransactionClient::new_with_config(addresses, config)).await;
        match connected {
            Ok(Ok(client)) => Ok(Client { client }),
            Ok(Err(error)) => Err(Failure::of_call(error).into()),
            Err(_) => Err(Failure::Unavailable("no connection in time".to_owned()).into()),
        }
    })
}

/// A connection; made by `connect`.
#[pyclass(frozen)]
pub struct Client {
    client: TransactionClient,
}

impl Client {
    fn at(&self, timestamp: u64) -> Snapshot {
        let options = TransactionOptions::new_optimistic().drop_check(CheckLevel::None);
        self.client.snapshot(Timestamp::from_version(timestamp), options)
    }
}

#[pymethods]
impl Client {
    /// A new timestamp of PD.
    fn current_timestamp<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let client = self.client.clone();
        future_into_py(py, async move {
            let at = client.current_timestamp().await.map_err(Failure::of_call)?;
            Ok(at.version())
        })
    }

    /// What a key holds as of a timestamp; None: there is no such row.
    fn get<'py>(&self, py: Python<'py>, timestamp: u64, key: Bytes) -> PyResult<Bound<'py, PyAny>> {
        let (mut snapshot, client) = (self.at(timestamp), self.client.clone());
        future_into_py(py, async move {
            let (start, end) = around([&key].into_iter());
            let found = snapshot.get(key).await;
            Ok(looked(&client, found, &start, &end).await?)
        })
    }

    /// Keys and values of those that are there, in no order.
    fn batch_get<'py>(&self, py: Python<'py>, timestamp: u64, keys: Vec<Bytes>) -> PyResult<Bound<'py, PyAny>> {
        let (mut snapshot, client) = (self.at(timestamp), self.client.clone());
        future_into_py(py, async move {
            let (start, end) = around(keys.iter());
            let found = snapshot.batch_get(keys).await.map(rows);
            Ok(looked(&client, found, &start, &end).await?)
        })
    }

    /// At most `limit` rows of [start, end), ascending.
    fn scan<'py>(
        &self,
        py: Python<'py>,
        timestamp: u64,
        start: Bytes,
        end: Bytes,
        limit: u32,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (mut snapshot, client) = (self.at(timestamp), self.client.clone());
        future_into_py(py, async move {
            let found = snapshot.scan(start.clone()..end.clone(), limit).await.map(rows);
            Ok(looked(&client, found, &start, &end).await?)
        })
    }

    /// Their keys alone.
    fn scan_keys<'py>(
        &self,
        py: Python<'py>,
        timestamp: u64,
        start: Bytes,
        end: Bytes,
        limit: u32,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (mut snapshot, client) = (self.at(timestamp), self.client.clone());
        future_into_py(py, async move {
            let found = snapshot.scan_keys(start.clone()..end.clone(), limit).await;
            let found = found.map(|keys| keys.map(Bytes::from).collect::<Vec<Bytes>>());
            Ok(looked(&client, found, &start, &end).await?)
        })
    }

    /// End all locks that are older, and ask PD for a new safe point; whether it is this one now.
    fn gc<'py>(&self, py: Python<'py>, safe_point: u64) -> PyResult<Bound<'py, PyAny>> {
        let client = self.client.clone();
        future_into_py(py, async move {
            let moved = client.gc(Timestamp::from_version(safe_point)).await.map_err(Failure::of_call)?;
            Ok(moved)
        })
    }

    /// Write in one transaction: of `writer`, (row, token, (values, begins)), the token into the row, and `rows`
    /// (None: removed), if the row holds one of the values or what begins like one of `begins`, and each of
    /// `guarded` one of its values. The commit's timestamp. It ends within so many seconds, and two more for what
    /// has to be rolled back.
    ///
    /// Raises Refused, Conflict, Locked, Unavailable: nothing was written; Uncertain.
    fn write<'py>(
        &self,
        py: Python<'py>,
        writer: Writer,
        guarded: &Bound<'py, PyDict>,
        rows: &Bound<'py, PyDict>,
        seconds: f64,
    ) -> PyResult<Bound<'py, PyAny>> {
        let most = duration(seconds)?;
        let (row, token, (values, begins)) = writer;
        let mut checks = vec![(row.clone(), May { values, begins })];
        for (key, values) in guarded {
            checks.push((key.extract()?, May { values: values.extract()?, begins: vec![] }));
        }
        let mut changes: Vec<(Bytes, Value)> = Vec::with_capacity(rows.len());
        for (key, value) in rows {
            changes.push((key.extract()?, value.extract()?));
        }
        let order = Order { row, token, checks, rows: changes };
        let client = self.client.clone();
        future_into_py(py, async move { Ok(write(client, order, most).await?) })
    }
}

/// The answer of a read in [start, end); of a lock that nobody ends, see `locks.rs`.
async fn looked<T>(
    client: &TransactionClient,
    found: Result<T, Error>,
    start: &[u8],
    end: &[u8],
) -> Result<T, Failure> {
    if let Err(error) = &found {
        ended(client, error, start, end).await;
    }
    found.map_err(Failure::of_call)
}

fn rows(found: impl Iterator<Item = KvPair>) -> Rows {
    found.map(|pair| (pair.0.into(), pair.1)).collect()
}

fn duration(seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds).map_err(|error| PyValueError::new_err(error.to_string()))
}
