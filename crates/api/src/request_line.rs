//! The first request line of a connection, as people type it.
//!
//! `curl -g '…/containers/json?filters={"status":["exited"]}'` sends its quotes as they are. Go's server takes them, hyper's
//! refuses such a target before anything here sees it. So they are escaped on the way to hyper. Only a connection's first
//! line: clients that send several requests on one are libraries, and those escape.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// As much as is read at once while the line has not ended.
const CHUNK: usize = 8 * 1024;
/// What Go lets stand in a target and hyper does not.
const BARE: &[u8] = b"\"<>\\^`{|}";

/// `io`, whose first line has no bare characters in its target.
#[derive(Debug)]
pub(crate) struct RequestLine<IO> {
    io: IO,
    /// Read and escaped, and how much of it was handed on.
    escaped: Vec<u8>,
    given: usize,
    line: Line,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// Nothing but line ends so far, which servers skip.
    Before,
    Within,
    Ended,
}

impl<IO> RequestLine<IO> {
    pub(crate) fn new(io: IO) -> Self {
        RequestLine { io, escaped: Vec::new(), given: 0, line: Line::Before }
    }

    fn take(&mut self, read: &[u8]) {
        for (index, byte) in read.iter().enumerate() {
            match byte {
                b'\n' if self.line == Line::Within => {
                    self.line = Line::Ended;
                    return self.escaped.extend(&read[index..]);
                }
                b'\r' | b'\n' => {}
                _ => self.line = Line::Within,
            }
            match BARE.contains(byte) {
                true => self.escaped.extend(format!("%{byte:02X}").bytes()),
                false => self.escaped.push(*byte),
            }
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for RequestLine<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.given == self.escaped.len() {
            if self.line == Line::Ended {
                self.escaped = Vec::new();
                self.given = 0;
                return Pin::new(&mut self.io).poll_read(cx, buf);
            }
            let mut chunk = [0; CHUNK];
            let mut read = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut read))?;
            self.escaped.clear();
            self.given = 0;
            self.take(read.filled());
        }
        let count = (self.escaped.len() - self.given).min(buf.remaining());
        buf.put_slice(&self.escaped[self.given..self.given + count]);
        self.given += count;
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for RequestLine<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// What comes through of `sent` when no more than `at_once` bytes arrive together.
    async fn through(sent: &str, at_once: usize) -> String {
        let (mut client, server) = tokio::io::duplex(at_once);
        let mut read = String::new();
        let mut line = RequestLine::new(server);
        let send = async {
            client.write_all(sent.as_bytes()).await.unwrap();
            drop(client);
        };
        tokio::join!(send, async { line.read_to_string(&mut read).await.unwrap() });
        read
    }

    #[tokio::test]
    async fn bare_characters_are_escaped_in_the_first_line_and_nowhere_else() {
        let rest = "Host: x\r\n\r\n{\"a\": 1}\nGET /?b=\"c\"\r\n";
        let request = format!("\r\nGET /json?filters={{\"a\":[\"%22\"]}} HTTP/1.1\r\n{rest}");
        let expected =
            format!("\r\nGET /json?filters=%7B%22a%22:[%22%22%22]%7D HTTP/1.1\r\n{rest}");
        for at_once in [1, 7, 4096] {
            assert_eq!(through(&request, at_once).await, expected);
        }
        assert_eq!(through("", 1).await, "");
    }
}
