//! Framing of what the daemon streams: stdout/stderr frames and JSON messages.
//!
//! Pure decoders over byte chunks; they hold back an incomplete frame and never block.

use bytes::{Buf, Bytes, BytesMut};
use serde_json::Value;

/// Which of the container's outputs a frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    Stdout,
    Stderr,
}

/// Splits Docker's multiplexed stream (8-byte header: kind, 3 zeros, big-endian length).
#[derive(Debug, Default)]
pub(crate) struct Demux {
    pending: BytesMut,
}

impl Demux {
    /// Takes a chunk and returns the frames it completes.
    pub(crate) fn push(&mut self, chunk: &[u8]) -> Vec<(Output, Bytes)> {
        self.pending.extend_from_slice(chunk);
        let mut frames = Vec::new();
        while let Some(header) = self.pending.first_chunk::<8>() {
            let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
            // 2 is stderr and 3 the daemon's own error text; all else is output
            let output = if matches!(header[0], 2 | 3) { Output::Stderr } else { Output::Stdout };
            if self.pending.len() < 8 + length {
                break;
            }
            self.pending.advance(8);
            frames.push((output, self.pending.split_to(length).freeze()));
        }
        frames
    }
}

/// Splits a stream of concatenated JSON values (one per line or not separated at all).
#[derive(Debug, Default)]
pub(crate) struct JsonStream {
    pending: Vec<u8>,
}

impl JsonStream {
    /// Takes a chunk and returns the values it completes. Bytes that are not JSON are dropped with
    /// the error, so that one bad message ends the stream instead of repeating.
    pub(crate) fn push(&mut self, chunk: &[u8]) -> Result<Vec<Value>, serde_json::Error> {
        self.pending.extend_from_slice(chunk);
        let mut values = Vec::new();
        let mut reader = serde_json::Deserializer::from_slice(&self.pending).into_iter::<Value>();
        let mut used = 0;
        let mut failure = None;
        while let Some(item) = reader.next() {
            match item {
                Ok(value) => {
                    values.push(value);
                    used = reader.byte_offset();
                }
                Err(err) if err.is_eof() => break,
                Err(err) => {
                    failure = Some(err);
                    break;
                }
            }
        }
        match failure {
            Some(err) => {
                self.pending.clear();
                Err(err)
            }
            None => {
                self.pending.drain(..used);
                Ok(values)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_split_over_chunks_come_out_whole() {
        let mut demux = Demux::default();
        assert!(demux.push(&[1, 0, 0, 0, 0, 0]).is_empty());
        assert!(demux.push(&[0, 3, b'a']).is_empty());
        let frames = demux.push(b"bc\x02\0\0\0\0\0\0\x01!");
        assert_eq!(
            frames,
            [
                (Output::Stdout, Bytes::from_static(b"abc")),
                (Output::Stderr, Bytes::from_static(b"!")),
            ]
        );
    }

    #[test]
    fn json_values_are_found_across_chunk_borders() {
        let mut stream = JsonStream::default();
        assert!(stream.push(b"{\"a\":").unwrap().is_empty());
        let values = stream.push(b"1}\r\n{\"b\":2}{\"c").unwrap();
        assert_eq!(values, [serde_json::json!({"a": 1}), serde_json::json!({"b": 2})]);
        assert_eq!(stream.push(b"\":3}").unwrap(), [serde_json::json!({"c": 3})]);
    }

    #[test]
    fn a_bad_message_is_reported_once() {
        let mut stream = JsonStream::default();
        assert!(stream.push(b"nonsense").is_err());
        assert!(stream.push(b"{}").is_ok());
    }
}
