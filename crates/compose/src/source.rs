//! Where values come from: the files that were read, and places in them.
//!
//! A [`Span`] is small and copied into every node; the text stays once in [`Sources`].

use std::path::{Path, PathBuf};

/// Index of a file in [`Sources`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u32);

/// A place in a file. Lines and columns count from 1; line 0 is "made by us, no place".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    pub file: FileId,
    pub line: u32,
    /// In characters.
    pub column: u32,
    /// In characters, at most to the end of the line; at least 1.
    pub len: u32,
}

impl Span {
    /// The place of what no file says.
    pub const NONE: Span = Span { file: FileId(0), line: 0, column: 0, len: 0 };

    /// False for [`Span::NONE`].
    pub const fn is_real(self) -> bool {
        self.line > 0
    }
}

/// One file as it was read.
#[derive(Debug, Clone)]
pub struct Source {
    /// Absolute, or `-` for standard input.
    pub path: PathBuf,
    pub text: String,
    /// Where each line begins, in bytes: a file of many mistakes is looked into for each of them.
    lines: Vec<usize>,
}

/// Every file that took part in a load, in the order of reading.
#[derive(Debug, Clone, Default)]
pub struct Sources(Vec<Source>);

impl Sources {
    /// Keeps a file and names it.
    pub fn add(&mut self, path: &Path, text: String) -> FileId {
        let begins = text.match_indices('\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(begins).collect();
        self.0.push(Source { path: path.to_owned(), text, lines });
        FileId(u32::try_from(self.0.len() - 1).unwrap_or(u32::MAX))
    }

    /// The file behind an id.
    pub fn get(&self, id: FileId) -> Option<&Source> {
        self.0.get(id.0 as usize)
    }

    /// All files, first read first.
    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.0.iter()
    }

    /// The text of a span's line.
    pub fn line(&self, span: Span) -> Option<&str> {
        let index = (span.line as usize).checked_sub(1)?;
        let source = self.get(span.file)?;
        source.text.get(*source.lines.get(index)?..)?.lines().next()
    }
}
