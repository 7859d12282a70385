//! What the client sees: the builder's own lines and the output of `RUN`.

use std::future::Future;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use types::image::{ErrorDetail, Progress};

/// Why a build ended without an image.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) message: String,
    /// The exit code of a `RUN`.
    pub(super) code: Option<i64>,
}

impl Failure {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Failure { message: message.into(), code: None }
    }
}

impl From<crate::Error> for Failure {
    fn from(err: crate::Error) -> Self {
        Failure::new(errdefs::chain(&err))
    }
}

impl From<image::Error> for Failure {
    fn from(err: image::Error) -> Self {
        Failure::new(errdefs::chain(&err))
    }
}

impl From<dockerfile::ParseError> for Failure {
    fn from(err: dockerfile::ParseError) -> Self {
        Failure::new(err.to_string())
    }
}

/// Where messages go. With `quiet`, they are kept back until something fails.
pub(super) struct Output {
    send: mpsc::Sender<Progress>,
    held: Option<Vec<Progress>>,
    closing: CancellationToken,
}

impl Output {
    pub(super) fn new(
        send: mpsc::Sender<Progress>,
        quiet: bool,
        closing: CancellationToken,
    ) -> Self {
        Output { send, held: quiet.then(Vec::new), closing }
    }

    /// A message, unless the client is gone: then the build ends by itself soon.
    pub(super) async fn message(&mut self, message: Progress) {
        match &mut self.held {
            Some(held) => held.push(message),
            None => drop(self.send.send(message).await),
        }
    }

    pub(super) async fn text(&mut self, text: impl Into<String>) {
        self.message(Progress::stream(text)).await;
    }

    /// Where a pull reports to.
    pub(super) fn progress(&self) -> mpsc::Sender<Progress> {
        match self.held {
            None => self.send.clone(),
            Some(_) => mpsc::channel(1).0,
        }
    }

    /// The last message of a quiet build: the id alone.
    pub(super) async fn quiet_result(&mut self, id: &str) {
        if self.held.is_some() {
            let _client_gone = self.send.send(Progress::stream(format!("{id}\n"))).await;
        }
    }

    pub(super) async fn failed(&mut self, failure: Failure) {
        for message in self.held.take().into_iter().flatten() {
            let _client_gone = self.send.send(message).await;
        }
        let detail = ErrorDetail { code: failure.code, message: failure.message.clone() };
        let last = Progress {
            error_detail: Some(detail),
            error: Some(failure.message),
            ..Progress::default()
        };
        let _client_gone = self.send.send(last).await;
    }

    /// Whether nobody waits for the result any more.
    pub(super) fn is_cancelled(&self) -> bool {
        self.send.is_closed() || self.closing.is_cancelled()
    }

    /// Resolves when nobody waits any more.
    pub(super) fn cancelled(&self) -> impl Future<Output = ()> + use<> {
        let (send, closing) = (self.send.clone(), self.closing.clone());
        async move {
            tokio::select! {
                () = send.closed() => {}
                () = closing.cancelled() => {}
            }
        }
    }
}

/// Takes Docker's frames apart, in pieces of any size, into texts for the client.
#[derive(Debug, Default)]
pub(super) struct Frames {
    waiting: Vec<u8>,
    /// Bytes of a character that the last frame cut, by stream.
    cut: [Vec<u8>; 2],
}

const HEADER: usize = 8;
const STDERR: u8 = 2;

impl Frames {
    /// The texts that `bytes` complete. Standard error is red, as dockerd makes it.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<String> {
        self.waiting.extend_from_slice(bytes);
        let (mut texts, mut at) = (Vec::new(), 0);
        while let Some(header) = self.waiting.get(at..at + HEADER) {
            let is_error = header[0] == STDERR;
            let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
            let Some(body) = self.waiting.get(at + HEADER..at + HEADER + length) else { break };
            let text = whole_characters(&mut self.cut[usize::from(is_error)], body);
            if !text.is_empty() {
                texts.push(if is_error { format!("\x1b[91m{text}\x1b[0m") } else { text });
            }
            at += HEADER + length;
        }
        self.waiting.drain(..at);
        texts
    }
}

/// Text so far; a character that is not complete yet waits in `cut`.
fn whole_characters(cut: &mut Vec<u8>, body: &[u8]) -> String {
    cut.extend_from_slice(body);
    let end = match std::str::from_utf8(cut) {
        Err(err) if err.error_len().is_none() => err.valid_up_to(),
        _ => cut.len(),
    };
    let rest = cut.split_off(end);
    let text = String::from_utf8_lossy(cut).into_owned();
    *cut = rest;
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(stream: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&[stream, 0, 0, 0], &length[..], body].concat()
    }

    #[test]
    fn frames_are_read_whatever_pieces_they_come_in() {
        let bytes = [frame(1, b"one\n"), frame(2, b"bad\n"), frame(1, b"two\n")].concat();
        for size in 1..bytes.len() {
            let mut frames = Frames::default();
            let texts: Vec<String> =
                bytes.chunks(size).flat_map(|piece| frames.feed(piece)).collect();
            assert_eq!(texts, ["one\n", "\x1b[91mbad\n\x1b[0m", "two\n"]);
        }
    }

    #[test]
    fn a_character_that_a_frame_cuts_is_put_together() {
        let mut frames = Frames::default();
        let euro = "€".as_bytes();
        let bytes = [frame(1, &euro[..2]), frame(1, &euro[2..]), frame(1, b"\xff!")].concat();
        assert_eq!(frames.feed(&bytes).concat(), "€\u{fffd}!");
    }
}
