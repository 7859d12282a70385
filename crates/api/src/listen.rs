//! Where the API is offered: `-H` values, and the sockets made of them.

use crate::socket::Stream;
use crate::tls::{TlsError, TlsFiles};
use nix::sys::socket::{AddressFamily, SockaddrLike, SockaddrStorage, getsockname};
use nix::unistd::{Gid, Group, chown};
use rustls::ServerConfig;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use tokio::net::{TcpListener, UnixListener};

/// Docker's port for plain TCP, and for TLS.
const PLAIN_PORT: u16 = 2375;
const TLS_PORT: u16 = 2376;

/// One `-H` value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// `unix:///run/sampan.sock`.
    Unix(PathBuf),
    /// `tcp://host:port`; the host may be empty (every address), the port too (2375, with TLS 2376).
    Tcp { host: String, port: Option<u16> },
    /// `fd://`: every socket that the service manager handed over.
    Activated,
}

impl FromStr for Host {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        let bad = || ListenError::BadHost(text.to_owned());
        match text.trim().split_once("://") {
            Some(("unix", path)) if path.starts_with('/') => Ok(Host::Unix(path.into())),
            Some(("fd", _)) => Ok(Host::Activated),
            Some(("tcp", address)) => tcp(address).ok_or_else(bad),
            None if text.starts_with('/') => Ok(Host::Unix(text.into())),
            None if !text.contains("://") && !text.is_empty() => tcp(text).ok_or_else(bad),
            _ => Err(bad()),
        }
    }
}

fn tcp(address: &str) -> Option<Host> {
    let address = address.trim_end_matches('/');
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (address, ""),
    };
    let port = if port.is_empty() { None } else { Some(port.parse().ok()?) };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.contains('/')).then(|| Host::Tcp { host: host.to_owned(), port })
}

/// How to listen.
#[derive(Debug, Default)]
pub struct ListenOptions {
    pub hosts: Vec<Host>,
    /// Owner group of unix sockets; `None` is `docker` if there is such a group, else root.
    pub group: Option<String>,
    pub tls: Option<TlsFiles>,
    /// Plain TCP on an address that other machines reach: whoever reaches it is root here.
    pub allow_plain_tcp: bool,
    /// What the service manager handed over, for [`Host::Activated`].
    pub activated: Vec<OwnedFd>,
}

/// A socket could not be offered.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("unable to parse docker host `{0}`")]
    BadHost(String),
    #[error("no sockets found via socket activation: make sure the service was started by systemd")]
    NotActivated,
    #[error("group {0} not found")]
    NoGroup(String),
    #[error(
        "refusing to listen on {0} without TLS: anyone who reaches it is root on this machine. \
         Use --tlsverify, or say --allow-plain-tcp if that is what you want"
    )]
    PlainTcp(SocketAddr),
    #[error("can't create unix socket {path:?}")]
    Unix { path: PathBuf, source: io::Error },
    #[error("failed to listen on {host:?}")]
    Tcp { host: String, source: io::Error },
    #[error("failed to use a socket of the service manager")]
    Activated(#[source] io::Error),
    #[error("invalid TLS configuration")]
    Tls(#[from] TlsError),
}

/// Bound sockets, ready to be served.
pub struct Listeners {
    pub(crate) sockets: Vec<Listener>,
    pub(crate) tls: Option<Arc<ServerConfig>>,
}

#[derive(Debug)]
pub(crate) enum Listener {
    Unix { listener: UnixListener, _file: Option<SocketFile> },
    Tcp(TcpListener),
}

/// The file of a socket that we made; it goes with its listener.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(err) = std::fs::remove_file(&self.0) {
            tracing::debug!("failed to remove {}: {err}", self.0.display());
        }
    }
}

impl Listener {
    pub(crate) fn is_tcp(&self) -> bool {
        matches!(self, Listener::Tcp(_))
    }

    pub(crate) async fn accept(&self) -> io::Result<Stream> {
        match self {
            Listener::Unix { listener, .. } => Ok(Stream::Unix(listener.accept().await?.0)),
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
        }
    }
}

impl Listeners {
    /// Binds everything, or nothing.
    pub async fn bind(mut options: ListenOptions) -> Result<Listeners, ListenError> {
        let tls = options.tls.as_ref().map(TlsFiles::load).transpose()?;
        let mut sockets = Vec::new();
        for host in std::mem::take(&mut options.hosts) {
            match host {
                Host::Unix(path) => sockets.push(unix(&path, options.group.as_deref())?),
                Host::Tcp { host, port } => {
                    let port = port.unwrap_or(if tls.is_some() { TLS_PORT } else { PLAIN_PORT });
                    sockets.push(Listener::Tcp(
                        bind_tcp(&host, port, tls.is_some() || options.allow_plain_tcp).await?,
                    ));
                }
                Host::Activated if options.activated.is_empty() => {
                    return Err(ListenError::NotActivated);
                }
                Host::Activated => {
                    for fd in options.activated.drain(..) {
                        sockets.push(activated(fd).map_err(ListenError::Activated)?);
                    }
                }
            }
        }
        Ok(Listeners { sockets, tls })
    }

    /// The TCP addresses, for `tcp://…:0`.
    pub fn tcp_addresses(&self) -> Vec<SocketAddr> {
        let address = |listener: &Listener| match listener {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::Unix { .. } => None,
        };
        self.sockets.iter().filter_map(address).collect()
    }
}

fn unix(path: &Path, group: Option<&str>) -> Result<Listener, ListenError> {
    let fail = |source| ListenError::Unix { path: path.to_owned(), source };
    let gid = socket_group(group)?;
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(fail)?;
    }
    clear_stale(path).map_err(fail)?;
    let listener = UnixListener::bind(path).map_err(fail)?;
    // Until here only root could connect: the umask leaves no write permission to others.
    chown(path, None, Some(gid)).map_err(|err| fail(err.into()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(fail)?;
    Ok(Listener::Unix { listener, _file: Some(SocketFile(path.to_owned())) })
}

/// Removes a socket that nobody listens on any more; one that is served is an error.
fn clear_stale(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(err) => Err(err),
        Ok(found) if !found.file_type().is_socket() => Err(io::ErrorKind::AlreadyExists.into()),
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
            Err(io::ErrorKind::AddrInUse.into())
        }
        Ok(_) => std::fs::remove_file(path),
    }
}

fn socket_group(name: Option<&str>) -> Result<Gid, ListenError> {
    let named = name.unwrap_or("docker");
    match (Group::from_name(named).ok().flatten(), named.parse()) {
        (Some(group), _) => Ok(group.gid),
        (None, Ok(gid)) => Ok(Gid::from_raw(gid)),
        (None, Err(_)) if name.is_none() => Ok(Gid::from_raw(0)),
        (None, Err(_)) => Err(ListenError::NoGroup(named.to_owned())),
    }
}

async fn bind_tcp(host: &str, port: u16, any_address: bool) -> Result<TcpListener, ListenError> {
    let fail = |source| ListenError::Tcp { host: host.to_owned(), source };
    let host_or_all = if host.is_empty() { "0.0.0.0" } else { host };
    let addresses: Vec<SocketAddr> = match host_or_all.parse::<IpAddr>() {
        Ok(ip) => vec![SocketAddr::new(ip, port)],
        Err(_) => tokio::net::lookup_host((host_or_all, port)).await.map_err(fail)?.collect(),
    };
    if let Some(open) = addresses.iter().find(|address| !address.ip().is_loopback() && !any_address)
    {
        return Err(ListenError::PlainTcp(*open));
    }
    TcpListener::bind(addresses.as_slice()).await.map_err(fail)
}

fn activated(fd: OwnedFd) -> io::Result<Listener> {
    let address: SockaddrStorage = getsockname(fd.as_raw_fd())?;
    if address.family() == Some(AddressFamily::Unix) {
        let listener = std::os::unix::net::UnixListener::from(fd);
        listener.set_nonblocking(true)?;
        return Ok(Listener::Unix { listener: UnixListener::from_std(listener)?, _file: None });
    }
    let listener = std::net::TcpListener::from(fd);
    listener.set_nonblocking(true)?;
    Ok(Listener::Tcp(TcpListener::from_std(listener)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_as_dockerd_reads_them() {
        let tcp = |host: &str, port| Ok(Host::Tcp { host: host.to_owned(), port });
        let read = |text: &str| text.parse::<Host>().map_err(|err| err.to_string());
        assert_eq!(read("unix:///run/a.sock"), Ok(Host::Unix("/run/a.sock".into())));
        assert_eq!(read("tcp://127.0.0.1:0"), tcp("127.0.0.1", Some(0)));
        assert_eq!(read("tcp://[::1]:2375"), tcp("::1", Some(2375)));
        assert_eq!(read("tcp://[::1]"), tcp("::1", None));
        assert_eq!(read("tcp://:2375"), tcp("", Some(2375)));
        assert_eq!(read("fd://"), Ok(Host::Activated));
        assert_eq!(read("ftp://x"), Err("unable to parse docker host `ftp://x`".into()));
        assert!(read("unix://relative").is_err() && read("tcp://a:b").is_err());
    }

    #[tokio::test]
    async fn plain_tcp_to_the_world_needs_a_second_word() {
        let options = |allow_plain_tcp| ListenOptions {
            hosts: vec![Host::Tcp { host: "0.0.0.0".into(), port: Some(0) }],
            allow_plain_tcp,
            ..ListenOptions::default()
        };
        assert!(matches!(Listeners::bind(options(false)).await, Err(ListenError::PlainTcp(_))));
        assert_eq!(
            Listeners::bind(options(true)).await.map(|bound| bound.tcp_addresses().len()).ok(),
            Some(1)
        );
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_served_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let first = unix(&path, Some("0")).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert!(unix(&path, Some("0")).is_err());
        drop(first);
        assert!(!path.exists());
        // What a killed daemon leaves.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists() && unix(&path, Some("0")).is_ok());
    }
}
