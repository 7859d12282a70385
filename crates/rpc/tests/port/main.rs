//! The cluster's port over real sockets and real TLS.

mod authorisation;
mod certificates;
mod connections;
mod fixture;
mod http;
mod joining;
mod rotation;
