//! `kubebraid_tikv`: KubeBraid's own binding to TiKV's client in Rust.
//!
//! What it is: the calls that the engine on TiKV makes, no more of them, each one trip between Python and Rust
//! whatever number of rows it has. What it is not: a general client of TiKV.
//!
//! Words: an *answer* is what an awaited call returns; see `write.rs` for the one call that writes.
//!
//! Worked example: `client.rs`.

mod client;
mod errors;
mod locks;
mod write;

use pyo3::prelude::*;

/// Threads that talk to TiKV: more of them only take turns with the loop's for the GIL.
const WORKERS: usize = 2;

#[pymodule]
fn kubebraid_tikv(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(WORKERS).thread_name("tikv").enable_all();
    pyo3_async_runtimes::tokio::init(runtime);
    let py = module.py();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<client::Client>()?;
    module.add_function(wrap_pyfunction!(client::connect, module)?)?;
    module.add("TikvError", py.get_type::<errors::TikvError>())?;
    module.add("Unavailable", py.get_type::<errors::Unavailable>())?;
    module.add("Locked", py.get_type::<errors::Locked>())?;
    module.add("TooLong", py.get_type::<errors::TooLong>())?;
    module.add("Refused", py.get_type::<errors::Refused>())?;
    module.add("Conflict", py.get_type::<errors::Conflict>())?;
    module.add("Uncertain", py.get_type::<errors::Uncertain>())
}
