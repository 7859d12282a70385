//! Where `save`, `export` and `cp … -` write: standard output in a pipe, or a file that appears whole.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use crate::terminal;

/// An output that is opened before the daemon is asked.
pub(crate) enum Sink {
    Stdout,
    File { file: std::fs::File, part: PathBuf, path: PathBuf },
}

impl Sink {
    /// Standard output unless `path` names a file. Binary data never goes to a terminal.
    pub(crate) fn open(path: Option<&str>) -> Result<Self> {
        let Some(path) = path.filter(|path| !path.is_empty()) else {
            if terminal::stdout_is_terminal() {
                bail!("cowardly refusing to save to a terminal. Use the -o flag or redirect");
            }
            return Ok(Sink::Stdout);
        };
        let path = Path::new(path).to_owned();
        if path.is_dir() {
            bail!("failed to write to {}: it is a directory", path.display());
        }
        let name = path.file_name().context("the output path names no file")?.to_string_lossy();
        let part = path.with_file_name(format!(".{name}.{}", std::process::id()));
        let file = std::fs::File::create(&part)
            .with_context(|| format!("invalid output path {:?}", path.display().to_string()))?;
        Ok(Sink::File { file, part, path })
    }

    /// Copies the stream; a file takes its name only when all of it is there.
    pub(crate) async fn write(
        self,
        mut stream: impl Stream<Item = std::io::Result<Bytes>> + Unpin,
    ) -> Result<()> {
        match self {
            Sink::Stdout => {
                while let Some(chunk) = stream.next().await {
                    std::io::stdout().lock().write_all(&chunk?)?;
                }
                Ok(std::io::stdout().flush()?)
            }
            Sink::File { mut file, part, path } => {
                let copied = async {
                    while let Some(chunk) = stream.next().await {
                        file.write_all(&chunk?)?;
                    }
                    std::fs::rename(&part, &path)
                };
                let outcome = copied.await;
                if outcome.is_err() {
                    let _ = std::fs::remove_file(&part);
                }
                outcome.with_context(|| format!("failed to write {}", path.display()))
            }
        }
    }
}
