//! Docker's frames: one byte of stream, three of nothing, four of length, then a line.

use bytes::{Bytes, BytesMut};

pub(super) const STDOUT: u8 = 1;
pub(super) const STDERR: u8 = 2;
const HEADER: usize = 8;

/// `text` as one frame.
pub(super) fn frame(stream: u8, text: &[u8]) -> Bytes {
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[stream, 0, 0, 0][..], &length, text].concat().into()
}

/// Cuts a stream into its lines: at frames, or at newlines when it comes from a terminal.
pub(super) struct Frames {
    framed: bool,
    seen: BytesMut,
}

impl Frames {
    pub(super) fn new(framed: bool) -> Self {
        Frames { framed, seen: BytesMut::new() }
    }

    /// The lines that are whole now.
    pub(super) fn push(&mut self, chunk: &[u8]) -> Vec<(u8, Bytes)> {
        self.seen.extend_from_slice(chunk);
        std::iter::from_fn(|| if self.framed { self.next_frame() } else { self.next_line() })
            .collect()
    }

    /// What is left when the stream has ended: a terminal's last line without a newline.
    pub(super) fn rest(mut self) -> Option<(u8, Bytes)> {
        (!self.framed && !self.seen.is_empty()).then(|| (STDOUT, self.seen.split().freeze()))
    }

    fn next_frame(&mut self) -> Option<(u8, Bytes)> {
        let header = self.seen.first_chunk::<HEADER>()?;
        let stream = header[0];
        let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if self.seen.len() - HEADER < length {
            return None;
        }
        let mut frame = self.seen.split_to(HEADER + length);
        Some((stream, frame.split_off(HEADER).freeze()))
    }

    fn next_line(&mut self) -> Option<(u8, Bytes)> {
        let end = self.seen.iter().position(|byte| *byte == b'\n')?;
        Some((STDOUT, self.seen.split_to(end + 1).freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_whole_however_it_was_cut() {
        let whole = [frame(STDOUT, b"one\n"), frame(STDERR, b"two\n")].concat();
        for cut in 0..=whole.len() {
            let mut frames = Frames::new(true);
            let mut got = frames.push(&whole[..cut]);
            got.extend(frames.push(&whole[cut..]));
            let want =
                [(STDOUT, Bytes::from_static(b"one\n")), (STDERR, Bytes::from_static(b"two\n"))];
            assert_eq!(got, want, "cut at {cut}");
        }
    }

    #[test]
    fn a_terminals_last_line_needs_no_newline() {
        let mut frames = Frames::new(false);
        assert_eq!(frames.push(b"a\nb"), [(STDOUT, Bytes::from_static(b"a\n"))]);
        assert_eq!(frames.rest(), Some((STDOUT, Bytes::from_static(b"b"))));
    }
}
