//! The cluster's port over real sockets and real TLS.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as the tests do")]

mod authorisation;
mod certificates;
mod connections;
mod fixture;
mod http;
mod joining;
mod rotation;
