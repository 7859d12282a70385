//! Compressions of layers and archives, told apart by their first bytes: media types and names in the wild are often wrong.

use std::io::{self, BufRead, BufReader, Read};

const READ_BUFFER: usize = 256 * 1024;
/// The longest of the first bytes that tell.
pub(crate) const MAGIC_BYTES: usize = 6;
/// What an xz stream may ask for; `xz -9` asks for 65 MiB, a hostile header for 4 GiB.
const XZ_MEMORY_KIB: u32 = 256 * 1024;

/// How a tar is wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
    Bzip2,
    Xz,
}

impl Compression {
    pub(crate) fn of(first_bytes: &[u8]) -> Compression {
        match first_bytes {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
            [b'B', b'Z', b'h', ..] => Compression::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
            _ => Compression::None,
        }
    }
}

/// The uncompressed bytes of `from`, whatever of Docker's compressions it has.
pub fn uncompressed<'a>(from: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
    decompress(from).map(|(plain, _)| plain)
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
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(from)),
        Compression::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(from, true, XZ_MEMORY_KIB)),
    };
    Ok((plain, compression))
}

/// Guarantees that the first read returns the bytes that tell, if there are so many.
struct Peeked<R> {
    head: io::Cursor<Vec<u8>>,
    rest: R,
}

impl<R: Read> Peeked<R> {
    fn new(mut rest: R) -> io::Result<Self> {
        let mut head = Vec::with_capacity(MAGIC_BYTES);
        rest.by_ref().take(MAGIC_BYTES as u64).read_to_end(&mut head)?;
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

    /// `layer`, as the programs of these names write it.
    const BZIP2: &[u8] = b"BZh91AY&SY{\x8d\xa3}\x00\x00\x01\x01\x80\x22\x04\x10  \x000\xcd\x00\xc1\xa5\x00\xe2\xeeH\xa7\x0a\x12\x0fq\xb4o\xa0";
    const XZ: &[u8] = b"\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4F\x02\x00!\x01\x16\x00\x00\x00t/\xe5\xa3\x01\x00\x04layer\x00\x00\x00\x00\xf8\x95,\xb6\xdfB\xed\x1e\x00\x01\x1d\x05\xb8-\x80\xaf\x1f\xb6\xf3}\x01\x00\x00\x00\x00\x04YZ";

    #[test]
    fn each_compression_is_recognised_and_undone() {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(b"layer").unwrap();
        let zst = zstd::encode_all(&b"layer"[..], 1).unwrap();
        for (bytes, kind) in [
            (b"layer".to_vec(), Compression::None),
            (gz.finish().unwrap(), Compression::Gzip),
            (zst, Compression::Zstd),
            (BZIP2.to_vec(), Compression::Bzip2),
            (XZ.to_vec(), Compression::Xz),
        ] {
            let (mut plain, found) = decompress(&bytes[..]).unwrap();
            let mut text = String::new();
            plain.read_to_string(&mut text).unwrap();
            assert_eq!((text.as_str(), found), ("layer", kind));
        }
        assert_eq!(decompress(&b""[..]).unwrap().1, Compression::None);
    }
}
