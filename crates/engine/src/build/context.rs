//! The build context: a directory of the builder's own, gone with the build.

use super::{BuildOptions, archive, git, scope};
use crate::fetch;
use crate::{Body, Engine, Error, Result};
use dockerfile::{Dockerfile, Ignore};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const DEFAULT_NAME: &str = "Dockerfile";
const IGNORE_FILE: &str = ".dockerignore";

/// What `COPY` and `ADD` take from.
#[derive(Debug)]
pub(super) struct Context {
    dir: TempDir,
    /// The context's own directory, when it is not the whole of `dir`.
    inside: Option<PathBuf>,
    /// A remote that was a Dockerfile and nothing else.
    only_file: Option<String>,
}

impl Engine {
    /// Receives the context: the body, or what `remote` names.
    pub(super) async fn build_context(
        &self,
        options: &BuildOptions,
        body: Body,
    ) -> Result<Context> {
        // The store empties this directory when it opens: contexts of builds that a crash ended go with it.
        let tmp = self.0.images.root().join("tmp");
        let dir = tempfile::Builder::new().prefix("build-").tempdir_in(&tmp);
        let dir =
            dir.map_err(|err| Error::caused(format!("failed to create {}", tmp.display()), err))?;
        let mut context = Context { dir, inside: None, only_file: None };
        match options.remote.as_str() {
            "" | "client-session" => {
                let to = context.root().to_owned();
                let body = tokio_util::io::SyncIoBridge::new(body);
                unpack(move || archive::unpack_context(body, &to)).await?;
            }
            remote if let Some(repository) = git::Remote::parse(remote) => {
                context.check_out(&repository).await?;
            }
            remote if remote.starts_with("http://") || remote.starts_with("https://") => {
                context.fetch(remote).await?;
            }
            remote => {
                return Err(Error::invalid(format!(
                    "unable to prepare context: unsupported remote {remote:?}"
                )));
            }
        }
        Ok(context)
    }
}

async fn unpack(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> Result<()> {
    let done =
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|err| Err(io::Error::other(err)));
    done.map_err(|err| Error::invalid(format!("Error processing tar file: {err}")))
}

impl Context {
    /// Where its files are.
    pub(super) fn root(&self) -> &Path {
        self.inside.as_deref().unwrap_or_else(|| self.dir.path())
    }

    async fn check_out(&mut self, repository: &git::Remote) -> Result<()> {
        let inside = repository.check_out(self.dir.path(), git::PROTOCOLS).await;
        self.inside = Some(inside.map_err(|err| err.context("unable to prepare context"))?);
        let _ours = fs::remove_dir_all(self.dir.path().join(".git"));
        Ok(())
    }

    async fn fetch(&mut self, url: &str) -> Result<()> {
        let failed = |message: String| {
            Error::invalid(format!("failed to download remote context {url}: {message}"))
        };
        let to = self.root().join(".remote-context");
        let file = fetch::download(url, &to).await.map_err(|err| failed(err.to_string()))?;
        if file.content_type.starts_with("text/plain") {
            let text = fs::read_to_string(&to).map_err(|err| failed(err.to_string()))?;
            self.only_file = Some(text);
            return fs::remove_file(&to).map_err(|err| failed(err.to_string()));
        }
        let root = self.root().to_owned();
        unpack(move || {
            let packed = fs::File::open(&to)?;
            fs::remove_file(&to)?;
            archive::unpack_context(packed, &root)
        })
        .await
    }

    /// Reads the Dockerfile, up to the wanted target, and removes it from the context if the context
    /// ignores it.
    pub(super) fn dockerfile(&self, options: &BuildOptions) -> Result<Dockerfile> {
        let name = if options.dockerfile.is_empty() { DEFAULT_NAME } else { &options.dockerfile };
        let text = match &self.only_file {
            Some(text) => text.clone(),
            None => self.read_dockerfile(name)?,
        };
        let file = Dockerfile::parse(&text, name).and_then(|file| file.until(&options.target));
        file.map_err(Error::from_lower)
    }

    fn read_dockerfile(&self, name: &str) -> Result<String> {
        let relative = Path::new(name.trim_start_matches('/'));
        if scope::escapes(relative) {
            return Err(Error::invalid(format!(
                "Forbidden path outside the build context: {name} ()"
            )));
        }
        let missing = || Error::invalid(format!("Cannot locate specified Dockerfile: {name}"));
        let candidates: &[&Path] = match name {
            DEFAULT_NAME => &[Path::new(DEFAULT_NAME), Path::new("dockerfile")],
            _ => &[relative],
        };
        let found = candidates.iter().find_map(|name| self.existing(name)).ok_or_else(missing)?;
        let bytes = fs::read(&found)
            .map_err(|err| Error::invalid(format!("unexpected error reading Dockerfile: {err}")))?;
        self.remove_ignored(relative)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn existing(&self, path: &Path) -> Option<PathBuf> {
        scope::follow(self.root(), path).ok().filter(|path| path.exists())
    }

    /// The client has left out the rest already; these two it must always send.
    fn remove_ignored(&self, dockerfile: &Path) -> Result<()> {
        let Some(path) = self.existing(Path::new(IGNORE_FILE)) else { return Ok(()) };
        let text = fs::read(path).unwrap_or_default();
        let ignore = Ignore::parse(&String::from_utf8_lossy(&text))
            .map_err(|err| Error::invalid(format!("failed to read {IGNORE_FILE}: {err}")))?;
        for name in [Path::new(IGNORE_FILE), dockerfile] {
            if ignore.matches(&name.to_string_lossy()) {
                let _already_gone = fs::remove_file(self.root().join(name));
            }
        }
        Ok(())
    }
}
