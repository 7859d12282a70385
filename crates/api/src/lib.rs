//! The Docker Engine API over HTTP/1.1: one module per object, each a thin translation between the wire
//! and [`engine::Engine`]. Nothing is decided here beyond what the wire itself demands.
//!
//! | module | owns |
//! |---|---|
//! | `server`, `connection`, `listen`, `tls`, `socket` | sockets, connections, orderly shutdown |
//! | `dispatch`, `path`, `version` | from a request's head to its handler; panics |
//! | `query`, `body`, `reply`, `progress`, `failure`, `hijack`, `websocket` | reading requests, writing replies |
//! | `containers`, `exec`, `images`, … | the operations of one object |
//! | `registry` | images pushed and pulled by machines outside of the cluster |
//! | `swarm`, `nodes`, `services`, `tasks`, `secrets`, `configs` | the cluster's objects, on a manager |

mod body;
mod build;
mod configs;
mod connection;
mod containers;
mod context;
mod dispatch;
mod distribution;
mod events;
mod exec;
mod failure;
mod hijack;
mod images;
mod listen;
mod networks;
mod nodes;
mod path;
mod plugins;
mod progress;
mod query;
mod registry;
mod reply;
mod request_line;
mod secrets;
mod server;
mod services;
mod session;
mod socket;
mod spread;
mod swarm;
mod system;
mod tasks;
mod tls;
mod version;
mod volumes;
mod websocket;

pub use listen::{Host, ListenError, ListenOptions, Listeners};
pub use registry::{RegistryOptions, serve_registry};
pub use server::serve;
pub use tls::{TlsError, TlsFiles};
pub use version::ApiVersion;
