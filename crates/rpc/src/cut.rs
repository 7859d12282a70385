//! Tasks and streams that have an owner: they end when it says so, upgraded streams included.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;

/// The tasks of one owner. Also hyper's executor.
#[derive(Clone, Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    pub(crate) cut: CancellationToken,
}

impl Tasks {
    /// Runs `task` until it ends or is cut.
    pub(crate) fn spawn<F: Future<Output: Send> + Send + 'static>(&self, task: F) {
        let cut = self.cut.clone();
        self.tracker.spawn(async move { cut.run_until_cancelled(task).await.map(drop) });
    }

    /// Cuts every task and stream, and waits for the tasks.
    pub(crate) async fn stop(&self) {
        self.cut.cancel();
        self.ended().await;
    }

    /// Waits until every task has ended by itself.
    pub(crate) async fn ended(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.spawn(task);
    }
}

/// A stream that fails once its owner is gone, whoever holds it by then.
pub(crate) struct Cuttable<S> {
    stream: S,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    alert: Alert,
}

/// The TLS error that ended a stream's reading, if one did. HTTP/2 keeps an error's text only, and what a peer says of
/// our certificate comes after the handshake, as the first thing that is read.
pub(crate) type Alert = Arc<OnceLock<rustls::Error>>;

impl<S> Cuttable<S> {
    pub(crate) fn new(stream: S, tasks: &Tasks) -> Self {
        let cut = Box::pin(tasks.cut.clone().cancelled_owned());
        Cuttable { stream, cut, alert: Alert::default() }
    }

    /// Where to find the alert afterwards.
    pub(crate) fn alert(&self) -> Alert {
        self.alert.clone()
    }

    fn poll_cut(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.cut.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "this node closes its connections to the cluster",
            )),
            Poll::Pending => Ok(()),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Cuttable<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_cut(cx)?;
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Poll::Ready(Err(err)) = &read
            && let Some(alert) = crate::explain::tls_error(err)
        {
            self.alert.get_or_init(|| alert.clone());
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Cuttable<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_cut(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_cut(cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_cut(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
