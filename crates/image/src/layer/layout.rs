//! A layer's canonical tar by place: any part of it can be read without making what lies before.
//!
//! ```text
//! tar      | header | content of a file | padding, header, header | content … |
//! segments | Text   | File              | Text                    | File      |
//! ```
//!
//! Made by packing the directory once without reading its files. Headers and paths lie in an unnamed temporary file: a
//! layer of a hundred thousand files has tens of megabytes of them.

use super::pack::{Marks, Sink, open, pack_into};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Where each byte of a layer's tar comes from.
pub(crate) struct Layout {
    /// Headers as they are in the tar, and paths of files.
    text: File,
    /// In the tar's order, without gaps.
    segments: Vec<Segment>,
    size: u64,
}

struct Segment {
    /// Where it begins in the tar.
    at: u64,
    source: Source,
}

#[derive(Clone, Copy)]
enum Source {
    /// From this place of the text on.
    Text(u64),
    /// A file's content; its path is that part of the text.
    File { path: u64, bytes: u32 },
}

impl Layout {
    /// Of the layer directory `root`; `tmp` is for the text. Blocking.
    pub(crate) fn of(root: &Path, tmp: &Path) -> io::Result<Layout> {
        let text = tempfile::tempfile_in(tmp)?;
        let recorder = Recorder {
            text: BufWriter::with_capacity(64 * 1024, text),
            written: 0,
            segments: Vec::new(),
            at: 0,
            in_text: false,
        };
        let (recorder, _) = pack_into(root, Marks::Whiteouts, recorder)?;
        let text = recorder.text.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(Layout { text, segments: recorder.segments, size: recorder.at })
    }

    /// Bytes of the whole tar.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Fills `buffer` with what is at `at`, less only at the end. Blocking.
    pub(crate) fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let wanted = usize::try_from(self.size.saturating_sub(at)).unwrap_or(usize::MAX);
        let wanted = wanted.min(buffer.len());
        let mut next = self.segments.partition_point(|segment| segment.at <= at).saturating_sub(1);
        let mut done = 0;
        while done < wanted {
            let Some(segment) = self.segments.get(next) else { break };
            let end = self.segments.get(next + 1).map_or(self.size, |following| following.at);
            let here = at + done as u64;
            let left = usize::try_from(end - here).unwrap_or(usize::MAX).min(wanted - done);
            self.read_segment(segment, here - segment.at, &mut buffer[done..done + left])?;
            done += left;
            next += 1;
        }
        Ok(done)
    }

    fn read_segment(&self, segment: &Segment, skip: u64, buffer: &mut [u8]) -> io::Result<()> {
        match segment.source {
            Source::Text(begin) => self.text.read_exact_at(buffer, begin + skip),
            Source::File { path, bytes } => {
                let mut name = vec![0; bytes as usize];
                self.text.read_exact_at(&mut name, path)?;
                // One that is shorter than it was gives a wrong digest; an error says so sooner.
                open(&PathBuf::from(OsStr::from_bytes(&name)))?.read_exact_at(buffer, skip)
            }
        }
    }
}

/// Takes the tar apart.
struct Recorder {
    text: BufWriter<File>,
    /// Bytes of the text.
    written: u64,
    segments: Vec<Segment>,
    /// Bytes of the tar.
    at: u64,
    /// The last segment is text that ends where the text ends.
    in_text: bool,
}

impl Write for Recorder {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if !self.in_text && !buffer.is_empty() {
            self.segments.push(Segment { at: self.at, source: Source::Text(self.written) });
            self.in_text = true;
        }
        self.text.write_all(buffer)?;
        self.written += buffer.len() as u64;
        self.at += buffer.len() as u64;
        Ok(buffer.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        self.text.flush()
    }
}

impl Sink for Recorder {
    fn content(&mut self, real: &Path, size: u64) -> io::Result<()> {
        if size == 0 {
            return Ok(());
        }
        let name = real.as_os_str().as_bytes();
        let bytes = u32::try_from(name.len()).map_err(io::Error::other)?;
        let source = Source::File { path: self.written, bytes };
        self.segments.push(Segment { at: self.at, source });
        self.text.write_all(name)?;
        self.written += name.len() as u64;
        self.at += size;
        self.in_text = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::pack::pack;
    use std::fs;

    #[test]
    fn every_part_is_that_of_the_whole_tar() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("deep/er")).unwrap();
        fs::write(root.join("empty"), "").unwrap();
        fs::write(root.join("deep/block"), [7; 512]).unwrap();
        fs::write(root.join("deep/er/odd"), [8; 70_001]).unwrap();
        fs::write(root.join("x".repeat(200)), "a long name").unwrap();
        std::os::unix::fs::symlink("deep", root.join("link")).unwrap();
        fs::hard_link(root.join("deep/block"), root.join("same")).unwrap();
        let mut whole = Vec::new();
        pack(&root, Marks::Whiteouts, &mut whole).unwrap();

        let layout = Layout::of(&root, dir.path()).unwrap();
        assert_eq!(layout.size(), whole.len() as u64);
        for (at, bytes) in [
            (0, whole.len()),
            (1, 700),
            (511, 2),
            (512, 513),
            (5_000, 66_000),
            (whole.len() - 9, 9),
        ] {
            let mut part = vec![0; bytes];
            assert_eq!(layout.read_at(&mut part, at as u64).unwrap(), bytes);
            assert!(part == whole[at..at + bytes], "{bytes} bytes at {at}");
        }
        let mut beyond = [0; 8];
        assert_eq!(layout.read_at(&mut beyond, layout.size() - 3).unwrap(), 3);
        assert_eq!(layout.read_at(&mut beyond, layout.size() + 3).unwrap(), 0);
    }
}
