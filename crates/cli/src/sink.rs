//! Where `save`, `export` and `cp … -` write: standard output in a pipe, or a file that appears whole.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use crate::terminal;
use crate::whole_file::WholeFile;

/// An output that is opened before the daemon is asked.
pub(crate) enum Sink {
    Stdout,
    File { file: WholeFile, path: String },
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
        let file = WholeFile::create(Path::new(path))
            .with_context(|| format!("invalid output path {path:?}"))?;
        Ok(Sink::File { file, path: path.to_owned() })
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
            Sink::File { mut file, path } => {
                let copied = async {
                    while let Some(chunk) = stream.next().await {
                        file.write_all(&chunk?)?;
                    }
                    file.finish()
                };
                copied.await.with_context(|| format!("failed to write {path}"))
            }
        }
    }
}
