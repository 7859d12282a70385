//! Archives that are written while they are sent: the walk runs on a blocking thread, its bytes are
//! the body of a request. Four chunks may wait; a slow daemon slows the walk.

use std::io::Write;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::client::Body;

/// Bytes per chunk.
const CHUNK: usize = 64 * 1024;

/// Where a walk writes its archive.
pub(crate) struct ChannelWriter {
    sender: mpsc::Sender<std::io::Result<Bytes>>,
    buffer: Vec<u8>,
}

impl ChannelWriter {
    fn send(&mut self) -> std::io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK));
        self.sender
            .blocking_send(Ok(Bytes::from(chunk)))
            .map_err(|_| std::io::Error::new(std::io::ErrorKind::BrokenPipe, "the request ended"))
    }
}

impl Write for ChannelWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.send()
    }
}

/// A request body that `fill` writes; its error fails the request.
pub(crate) fn body<F>(fill: F) -> Body
where
    F: FnOnce(&mut ChannelWriter) -> std::io::Result<()> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(4);
    let failures = sender.clone();
    tokio::task::spawn_blocking(move || {
        let mut writer = ChannelWriter { sender, buffer: Vec::with_capacity(CHUNK) };
        if let Err(err) = fill(&mut writer).and_then(|()| writer.flush()) {
            // the receiver is gone when the request already failed
            let _ = failures.blocking_send(Err(err));
        }
    });
    bollard::body_try_stream(chunks(receiver))
}

/// A request body read from standard input or a file.
pub(crate) fn reader_body(mut reader: impl std::io::Read + Send + 'static) -> Body {
    body(move |out| std::io::copy(&mut reader, out).map(drop))
}

fn chunks(
    receiver: mpsc::Receiver<std::io::Result<Bytes>>,
) -> impl futures_util::Stream<Item = std::io::Result<Bytes>> + Send {
    futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    })
}
