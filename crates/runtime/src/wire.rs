//! Framing, and the two ways the daemon uses it: whole frames over tokio's streams.

use crate::protocol::MAX_FRAME;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// A message as a frame.
pub(crate) fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let length = u32::try_from(frame.len() - 4).map_err(io::Error::other)?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame)
}

/// The body of the first frame in `buf` and where it ends; `None` while it is incomplete.
pub(crate) fn decode(buf: &[u8]) -> io::Result<Option<(&[u8], usize)>> {
    let Some(head) = buf.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*head) as usize;
    if length > MAX_FRAME {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "frame too long"));
    }
    Ok(buf.get(4..4 + length).map(|body| (body, 4 + length)))
}

/// Writes one frame.
pub(crate) async fn send(stream: &mut UnixStream, message: &impl Serialize) -> io::Result<()> {
    stream.write_all(&encode(message)?).await
}

/// Reads one frame; end of file in place of it is `UnexpectedEof`. Not cancel-safe.
pub(crate) async fn receive<T: DeserializeOwned>(stream: &mut UnixStream) -> io::Result<T> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let length = u32::from_be_bytes(head) as usize;
    if length > MAX_FRAME {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "frame too long"));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(serde_json::from_slice(&body)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_back_only_when_whole() {
        let frame = encode(&"hello").unwrap();
        assert!(decode(&frame[..frame.len() - 1]).unwrap().is_none());
        let (body, end) = decode(&frame).unwrap().unwrap();
        assert_eq!((body, end), (&b"\"hello\""[..], frame.len()));
    }

    #[test]
    fn an_absurd_length_is_refused() {
        assert!(decode(&[0xff; 8]).is_err());
    }
}
