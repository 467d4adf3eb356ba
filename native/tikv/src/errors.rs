//! What went wrong, as classes of exceptions.
//!
//! What it is: a [`Failure`] for each of the client's errors, told by its type and never by its text, and the
//! Python exception for it. What it is not: what to do about one; `shard/storage/tikv_native.py` has KubeBraid's
//! own errors for these.
//!
//! Invariants:
//! - a failure of a commit is definite only where the first of its two phases was refused: a conflict, or a lock in
//!   the way, which no second phase meets. Everything else is `Uncertain`, whatever it seems to say;
//! - of a lock that lies in the way and whose own transaction nobody knows, the client says `TxnNotFound` with the
//!   start of *that* transaction: it is a lock. With our own start it is not known what it is;
//! - a failure before a commit is never `Uncertain`: nothing was sent that could write.
//!
//! Worked example: a prewrite meets a newer version: `ExtractedErrors([MultipleKeyErrors([KeyError(conflict)])])`,
//! which is `Failure::Conflict`, and `kubebraid_tikv.Conflict` in Python.
//!
//! Tested in tests/contract/test_tikv_*.py; what Python makes of the classes in tests/unit/shard/test_tikv_native.py.

use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::PyErr;
use tikv_client::Error;

/// gRPC's code: here it is the client's own, for an answer that is longer than it takes.
const OUT_OF_RANGE: i32 = 11;

create_exception!(kubebraid_tikv, TikvError, PyException, "What every exception of this module is.");
create_exception!(
    kubebraid_tikv,
    Unavailable,
    TikvError,
    "No answer in time, or not what was asked for; nothing was written."
);
create_exception!(
    kubebraid_tikv,
    Locked,
    Unavailable,
    "A row is locked by a commit that has not ended; nothing was written."
);
create_exception!(kubebraid_tikv, TooLong, Unavailable, "An answer was larger than this client takes.");
create_exception!(
    kubebraid_tikv,
    Refused,
    TikvError,
    "A row, args[0], does not hold what it may; nothing was written."
);
create_exception!(
    kubebraid_tikv,
    Conflict,
    TikvError,
    "A row was written by another since the transaction began; nothing was written."
);
create_exception!(
    kubebraid_tikv,
    Uncertain,
    TikvError,
    "A commit without an answer: it was written, will be, or never."
);

/// Why a call has no answer.
#[derive(Debug)]
pub enum Failure {
    Unavailable(String),
    Locked(String),
    TooLong(String),
    Refused(Vec<u8>),
    Conflict(String),
    Uncertain(String),
}

/// What a single error says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Sign {
    Nothing,
    TooLong,
    Locked,
    Conflict,
}

fn sign(error: &Error) -> Sign {
    match error {
        Error::KeyError(of_key) if of_key.conflict.is_some() => Sign::Conflict,
        Error::KeyError(of_key) if of_key.locked.is_some() => Sign::Locked,
        Error::KeyError(of_key) if of_key.txn_not_found.is_some() => Sign::Locked,
        Error::ResolveLockError(_) | Error::TxnNotFound(_) => Sign::Locked,
        Error::GrpcAPI(status) if i32::from(status.code()) == OUT_OF_RANGE => Sign::TooLong,
        Error::ExtractedErrors(errors) | Error::MultipleKeyErrors(errors) => {
            errors.iter().map(sign).max().unwrap_or(Sign::Nothing)
        }
        _ => Sign::Nothing,
    }
}

/// The start of a transaction that left a lock in the way, and is known to nobody.
pub fn lost(error: &Error) -> Option<u64> {
    match error {
        Error::KeyError(of_key) => of_key.txn_not_found.as_ref().map(|lost| lost.start_ts),
        Error::TxnNotFound(lost) => Some(lost.start_ts),
        Error::ExtractedErrors(errors) | Error::MultipleKeyErrors(errors) => errors.iter().find_map(lost),
        _ => None,
    }
}

impl Failure {
    /// Of a call that writes nothing, or of a transaction's before its commit.
    pub fn of_call(error: Error) -> Failure {
        let text = error.to_string();
        match sign(&error) {
            Sign::Locked => Failure::Locked(text),
            Sign::TooLong => Failure::TooLong(text),
            Sign::Conflict | Sign::Nothing => Failure::Unavailable(text),
        }
    }

    /// Of a commit that began at `own`. A lock counts only as the whole of the error, or as another
    /// transaction's: the first phase ends by these alone.
    pub fn of_commit(error: &Error, own: u64) -> Failure {
        let text = error.to_string();
        match error {
            Error::ResolveLockError(_) => Failure::Locked(text),
            Error::UndeterminedError(_) => Failure::Uncertain(text),
            _ if sign(error) == Sign::Conflict => Failure::Conflict(text),
            _ if lost(error).is_some_and(|start| start != own) => Failure::Locked(text),
            _ => Failure::Uncertain(text),
        }
    }

    /// Whether it is known that nothing was written.
    pub fn is_definite(&self) -> bool {
        !matches!(self, Failure::Uncertain(_))
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> PyErr {
        match failure {
            Failure::Unavailable(text) => Unavailable::new_err(text),
            Failure::Locked(text) => Locked::new_err(text),
            Failure::TooLong(text) => TooLong::new_err(text),
            Failure::Refused(row) => Refused::new_err((row,)),
            Failure::Conflict(text) => Conflict::new_err(text),
            Failure::Uncertain(text) => Uncertain::new_err(text),
        }
    }
}
