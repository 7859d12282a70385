//! Small kernel files, read into one buffer that is used again.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Reads files below a directory.
#[derive(Debug, Default)]
pub(crate) struct Files {
    path: PathBuf,
    buffer: String,
}

impl Files {
    /// The text of `directory/name`; empty when there is none.
    pub(crate) fn text(&mut self, directory: &Path, name: &str) -> &str {
        self.buffer.clear();
        self.path.clear();
        self.path.push(directory);
        self.path.push(name);
        let read =
            File::open(&self.path).and_then(|mut file| file.read_to_string(&mut self.buffer));
        if read.is_err() {
            self.buffer.clear();
        }
        &self.buffer
    }

    /// The file's one number; 0 when there is none, the largest one for `max`.
    pub(crate) fn number(&mut self, directory: &Path, name: &str) -> u64 {
        match self.text(directory, name).trim() {
            "max" => u64::MAX,
            text => text.parse().unwrap_or(0),
        }
    }

    /// Calls `each` with every `name number` line.
    pub(crate) fn table(&mut self, directory: &Path, name: &str, mut each: impl FnMut(&str, u64)) {
        for line in self.text(directory, name).lines() {
            if let Some((key, value)) = line.split_once(' ')
                && let Ok(value) = value.trim().parse()
            {
                each(key, value);
            }
        }
    }
}
