//! Layer compressions, told apart by their first bytes: media types in the wild are often wrong.

use std::io::{self, BufRead, BufReader, Read};

const READ_BUFFER: usize = 256 * 1024;

/// How a tar is wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    pub(crate) fn of(first_bytes: &[u8]) -> Compression {
        match first_bytes {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
            _ => Compression::None,
        }
    }
}

/// The uncompressed bytes of `from`, and how they were compressed.
pub(crate) fn decompress<'a>(
    from: impl Read + Send + 'a,
) -> io::Result<(Box<dyn Read + Send + 'a>, Compression)> {
    let mut from = BufReader::with_capacity(READ_BUFFER, Peeked::new(from)?);
    let compression = Compression::of(from.fill_buf()?);
    let plain: Box<dyn Read + Send + 'a> = match compression {
        Compression::None => Box::new(from),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(from)),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(from)?),
    };
    Ok((plain, compression))
}

/// Guarantees that the first read returns at least four bytes, if there are four.
struct Peeked<R> {
    head: io::Cursor<Vec<u8>>,
    rest: R,
}

impl<R: Read> Peeked<R> {
    fn new(mut rest: R) -> io::Result<Self> {
        let mut head = Vec::with_capacity(4);
        rest.by_ref().take(4).read_to_end(&mut head)?;
        Ok(Peeked { head: io::Cursor::new(head), rest })
    }
}

impl<R: Read> Read for Peeked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.head.read(buffer)? {
            0 => self.rest.read(buffer),
            n => Ok(n),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn each_compression_is_recognised_and_undone() {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(b"layer").unwrap();
        let zst = zstd::encode_all(&b"layer"[..], 1).unwrap();
        for (bytes, kind) in [
            (b"layer".to_vec(), Compression::None),
            (gz.finish().unwrap(), Compression::Gzip),
            (zst, Compression::Zstd),
        ] {
            let (mut plain, found) = decompress(&bytes[..]).unwrap();
            let mut text = String::new();
            plain.read_to_string(&mut text).unwrap();
            assert_eq!((text.as_str(), found), ("layer", kind));
        }
        assert_eq!(decompress(&b""[..]).unwrap().1, Compression::None);
    }
}
