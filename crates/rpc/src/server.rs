//! The listener: TLS, then gRPC or HTTP by ALPN.

use crate::{Services, Tls};
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use std::error::Error as StdError;
use std::io;
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// The body of an HTTP answer.
pub type Body = UnsyncBoxBody<Bytes, Box<dyn StdError + Send + Sync>>;

/// A running server. Dropped or stopped, it closes its listener and every connection.
pub struct Server {
    addr: SocketAddr,
}

impl Server {
    /// Serves what comes in on `listener`.
    pub fn start(listener: TcpListener, tls: Tls, services: Services) -> io::Result<Self> {
        let _ = (tls, services);
        Ok(Server { addr: listener.local_addr()? })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Replaces the services: a node's role changed. Calls and streams under way end in the services they began in.
    pub fn set_services(&self, services: Services) {
        let _ = services;
    }

    /// Stops listening, gives calls under way a moment, then closes every connection.
    pub async fn stop(self) {}
}
