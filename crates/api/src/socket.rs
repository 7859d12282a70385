//! An accepted connection that can be watched while hyper owns it.
//!
//! hyper runs with half-close on, because a client may end its stdin and still wait for output. The price
//! is that hyper then no longer notices clients that went away; [`Peer::gone`] does.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;

/// A client that has not read its reply's head by then writes first, or is stuck: it is not waited for any longer.
const READS_WITHIN: Duration = Duration::from_secs(60);
/// Between two looks at whether it has.
const LONGEST_PAUSE: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(crate) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// Calls the same method on whichever stream it is.
macro_rules! each {
    ($stream:expr, $inner:ident => $call:expr) => {
        match $stream {
            Stream::Unix($inner) => $call,
            Stream::Tcp($inner) => $call,
        }
    };
}

/// The half that reads and writes.
#[derive(Debug)]
pub(crate) struct Socket(Arc<Stream>);

/// The half that watches.
#[derive(Debug, Clone)]
pub(crate) struct Peer(Arc<Stream>);

impl Socket {
    pub(crate) fn new(stream: Stream) -> (Socket, Peer) {
        let stream = Arc::new(stream);
        (Socket(stream.clone()), Peer(stream))
    }
}

impl Peer {
    /// Resolves when the client has closed its sending side. Never, once it has sent more than its request:
    /// then only a failing write tells.
    pub(crate) async fn gone(&self) {
        loop {
            let Ok(_) = each!(&*self.0, stream => stream.ready(Interest::READABLE).await) else {
                return;
            };
            match each!(&*self.0, stream => stream.try_io(Interest::READABLE, || peek(stream.as_fd())))
            {
                Ok(0) => return,
                Ok(_) => std::future::pending().await,
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}

impl Peer {
    /// Resolves when the client has read all that was sent to it so far, or when it seems not to want to. Over TCP the
    /// kernel tells only that it has arrived.
    pub(crate) async fn has_read(&self) {
        let late = Instant::now() + READS_WITHIN;
        let mut pause = Duration::from_micros(100);
        while each!(&*self.0, stream => sys::socket::unsent(stream)).is_ok_and(|bytes| bytes > 0)
            && Instant::now() < late
        {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        if let Stream::Tcp(_) = *self.0 {
            tokio::time::sleep(LONGEST_PAUSE).await;
        }
    }
}

/// How many bytes lie ready, at most one; 0 at the end of the stream.
fn peek(fd: BorrowedFd<'_>) -> io::Result<usize> {
    use nix::sys::socket::{MsgFlags, recv};
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    Ok(recv(fd.as_raw_fd(), &mut [0], flags)?)
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(each!(&*self.0, stream => stream.poll_read_ready(cx)))?;
            match each!(&*self.0, stream => stream.try_read(buf.initialize_unfilled())) {
                Ok(read) => {
                    buf.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
                Err(err) => return Poll::Ready(Err(err)),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(each!(&*self.0, stream => stream.poll_write_ready(cx)))?;
            match each!(&*self.0, stream => stream.try_write(data)) {
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(each!(&*self.0, stream => stream.poll_write_ready(cx)))?;
            match each!(&*self.0, stream => stream.try_write_vectored(data)) {
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        use nix::sys::socket::{Shutdown, shutdown};
        let fd = each!(&*self.0, stream => stream.as_raw_fd());
        match shutdown(fd, Shutdown::Write) {
            Ok(()) | Err(nix::errno::Errno::ENOTCONN) => Poll::Ready(Ok(())),
            Err(err) => Poll::Ready(Err(err.into())),
        }
    }
}
