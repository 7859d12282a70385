//! Archives as clients send them: compressed or not, and with numbers of their headers left blank, which Go's reader takes for
//! zero and Rust's refuses.

use std::io::{self, Read};

const BLOCK: usize = 512;
/// Where mode, uid, gid and mtime stand in a header.
const NUMBERS: [(usize, usize); 4] = [(100, 8), (108, 8), (116, 8), (136, 12)];

/// The tar in `from`, as Rust's reader takes it.
pub(crate) fn plain<'a>(from: impl Read + Send + 'a) -> io::Result<impl Read + Send + 'a> {
    let plain = image::uncompressed(from)?;
    Ok(Filled { from: plain, block: [0; BLOCK], given: BLOCK, length: BLOCK, content: 0 })
}

/// A tar whose headers have all their numbers.
struct Filled<R> {
    from: R,
    block: [u8; BLOCK],
    /// Of `block`, what was read already and what there is.
    given: usize,
    length: usize,
    /// Bytes until the next header.
    content: u64,
}

impl<R: Read> Read for Filled<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.given == self.length && self.content > 0 {
            let most = usize::try_from(self.content).unwrap_or(usize::MAX).min(to.len());
            let count = self.from.read(&mut to[..most])?;
            self.content -= count as u64;
            return Ok(count);
        }
        if self.given == self.length {
            self.length = read_block(&mut self.from, &mut self.block)?;
            self.given = 0;
            if self.length == BLOCK {
                self.content = content_of(&mut self.block);
            }
        }
        let count = (self.length - self.given).min(to.len());
        to[..count].copy_from_slice(&self.block[self.given..self.given + count]);
        self.given += count;
        Ok(count)
    }
}

/// As much of a block as there is.
fn read_block(from: &mut impl Read, block: &mut [u8; BLOCK]) -> io::Result<usize> {
    let mut length = 0;
    while length < BLOCK {
        match from.read(&mut block[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
    Ok(length)
}

/// Fills a header's blanks; returns how much of its entry follows, in whole blocks. What is no header stays as it is.
fn content_of(block: &mut [u8; BLOCK]) -> u64 {
    let header = tar::Header::from_byte_slice(block);
    if header.cksum().ok() != Some(sum_of(block)) {
        return 0;
    }
    let size = header.entry_size().unwrap_or(0);
    let is_blank = |field: &[u8]| field.iter().all(|byte| matches!(byte, 0 | b' '));
    let blanks = NUMBERS.iter().filter(|(at, length)| is_blank(&block[*at..at + length]));
    let blanks: Vec<_> = blanks.copied().collect();
    for (at, length) in &blanks {
        block[*at..at + length - 1].fill(b'0');
    }
    if !blanks.is_empty() {
        let sum = format!("{:06o}\0 ", sum_of(block));
        block[148..156].copy_from_slice(sum.as_bytes());
    }
    size.div_ceil(BLOCK as u64).saturating_mul(BLOCK as u64)
}

/// A header's checksum: its own field counts as spaces.
fn sum_of(block: &[u8; BLOCK]) -> u32 {
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    let own: u32 = block[148..156].iter().map(|byte| u32::from(*byte)).sum();
    sum - own + 8 * u32::from(b' ')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// As programs write it that set only name and size.
    fn blank(name: &str, content: &[u8]) -> Vec<u8> {
        let mut header = tar::Header::new_gnu();
        header.set_path(name).unwrap();
        header.set_size(content.len() as u64);
        header.set_cksum();
        let mut tar = header.as_bytes().to_vec();
        tar.extend(content);
        tar.resize(tar.len().next_multiple_of(BLOCK), 0);
        tar
    }

    fn names(tar: &[u8]) -> Vec<(String, u64, u64, String)> {
        let mut archive = tar::Archive::new(plain(tar).unwrap());
        let entry = |entry: io::Result<tar::Entry<'_, _>>| {
            let mut entry: tar::Entry<'_, _> = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            let name = entry.path().unwrap().display().to_string();
            let header = entry.header();
            (name, header.uid().unwrap(), header.mtime().unwrap(), text)
        };
        archive.entries().unwrap().map(entry).collect()
    }

    #[test]
    fn blank_numbers_are_zero_and_contents_are_left_alone() {
        let inner = blank("inner", b"x");
        let text = String::from_utf8_lossy(&inner).into_owned();
        let tar = [blank("a", b"one"), blank("b", &inner), vec![0; 2 * BLOCK]].concat();
        let expected = vec![("a".to_owned(), 0, 0, "one".to_owned()), ("b".to_owned(), 0, 0, text)];
        assert_eq!(names(&tar), expected);
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(&tar).unwrap();
        assert_eq!(names(&packed.finish().unwrap()), expected);
    }

    #[test]
    fn what_is_no_archive_comes_through_unchanged() {
        for text in [&b""[..], b"nonsense", &[7; 3000]] {
            let mut out = Vec::new();
            plain(text).unwrap().read_to_end(&mut out).unwrap();
            assert_eq!(out, text);
        }
    }
}
