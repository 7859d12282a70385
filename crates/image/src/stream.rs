//! Bytes between blocking code and async streams: a bounded channel with a `Write` or `Read` on one side.

use bytes::Bytes;
use futures_util::Stream;
use std::io::{self, Read, Write};
use std::pin::Pin;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;

/// Bytes on their way out.
pub type ByteStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// Chunks in flight, each of at most 64 KiB: enough to keep both sides busy.
const CHUNKS: usize = 8;
const CHUNK_BYTES: usize = 64 * 1024;

/// Runs `write` on a blocking thread and streams what it writes; its error ends the stream. A dropped
/// stream makes the next write fail, which ends `write`.
pub(crate) fn written_by<F>(write: F) -> ByteStream
where
    F: FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(CHUNKS);
    let failures = sender.clone();
    tokio::task::spawn_blocking(move || {
        let mut out = io::BufWriter::with_capacity(CHUNK_BYTES, ChannelWriter(sender));
        let done = write(&mut out).and_then(|()| out.flush());
        if let Err(err) = done {
            let _reader_gone = failures.blocking_send(Err(err));
        }
    });
    Box::pin(futures_util::stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    }))
}

struct ChannelWriter(mpsc::Sender<io::Result<Bytes>>);

impl Write for ChannelWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let chunk = Bytes::copy_from_slice(buffer);
        match self.0.blocking_send(Ok(chunk)) {
            Ok(()) => Ok(buffer.len()),
            Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The blocking end of an async reader. The reader is driven by `feed`, which must be polled beside it.
pub(crate) struct ChannelReader {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
    ended: bool,
}

impl Read for ChannelReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.chunks.blocking_recv() {
                Some(Ok(end)) if end.is_empty() => {
                    self.ended = true;
                    return Ok(0);
                }
                Some(chunk) => self.current = chunk?,
                None if self.ended => return Ok(0),
                // The async side was dropped half-way: the client is gone.
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        let n = buffer.len().min(self.current.len());
        buffer[..n].copy_from_slice(&self.current.split_to(n));
        Ok(n)
    }
}

/// Runs `read` on a blocking thread over the bytes of `from`, and drives both until `read` is done.
pub(crate) async fn read_by<F, T>(mut from: impl AsyncRead + Unpin, read: F) -> T
where
    F: FnOnce(ChannelReader) -> T + Send + 'static,
    T: Send + 'static,
{
    let (sender, chunks) = mpsc::channel(CHUNKS);
    let feed = async move {
        loop {
            let mut chunk = bytes::BytesMut::with_capacity(CHUNK_BYTES);
            let message = from.read_buf(&mut chunk).await.map(|_| chunk.freeze());
            // An empty chunk tells the end from an abandoned transfer.
            let last = !matches!(&message, Ok(chunk) if !chunk.is_empty());
            if sender.send(message).await.is_err() || last {
                return;
            }
        }
    };
    let reader = ChannelReader { chunks, current: Bytes::new(), ended: false };
    let work = crate::store::blocking(move || read(reader));
    tokio::pin!(work);
    tokio::select! {
        done = &mut work => done,
        () = feed => work.await,
    }
}
