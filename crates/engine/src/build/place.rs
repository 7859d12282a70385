//! `COPY` and `ADD`: sources gathered, hashed, and written into a layer.

use super::copy::Target;
use super::executor::{Executor, blocking, discard};
use super::output::Failure;
use super::sources::{self, Source};
use super::{comment, owner};
use crate::fetch;
use dockerfile::{Copy, Heredoc, Ignore};
use image::RwLayer;
use sha2::{Digest, Sha256};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Where files are taken from.
pub(super) struct Origin {
    pub(super) root: PathBuf,
    /// Of an image that was mounted for this.
    pub(super) mounted: Option<RwLayer>,
}

impl Executor {
    pub(super) async fn copy(&mut self, name: &'static str, copy: &Copy) -> Result<(), Failure> {
        let origin = self.origin(copy.from.as_deref()).await?;
        let copied = self.copy_from(name, copy, &origin.root).await;
        if let Some(rw) = origin.mounted {
            discard(rw).await;
        }
        copied
    }

    /// The context, an earlier stage, or an image.
    pub(super) async fn origin(&mut self, from: Option<&str>) -> Result<Origin, Failure> {
        let Some(name) = from else {
            return Ok(Origin { root: self.context.root().to_owned(), mounted: None });
        };
        let bad = |why: String| Failure::new(format!("invalid from flag value {name}: {why}"));
        let id = match self.earlier_stage(name) {
            Some(Some(id)) => id,
            Some(None) => return Err(bad("the stage is empty".to_owned())),
            None if self.file.find(name).is_some() || name.parse::<usize>().is_ok() => {
                return Err(bad("no earlier stage is called so".to_owned()));
            }
            None => {
                let found = self.resolve(name, None).await;
                found.map_err(|failure| bad(failure.message))?.id.clone()
            }
        };
        let rw = self.writable(Some(&id)).await?;
        match rw.mount().await {
            Ok(root) => Ok(Origin { root, mounted: Some(rw) }),
            Err(err) => {
                discard(rw).await;
                Err(err.into())
            }
        }
    }

    async fn copy_from(
        &mut self,
        name: &'static str,
        copy: &Copy,
        root: &Path,
    ) -> Result<(), Failure> {
        let failed = |failure: Failure| Failure::new(format!("{name} failed: {}", failure.message));
        let made = self.made_files(name, copy).await.map_err(failed)?;
        let exclude = Ignore::from_patterns(copy.exclude.iter().map(String::as_str))
            .map_err(|err| failed(Failure::new(err.to_string())))?;
        let (words, from) = (local_words(name, copy), root.to_owned());
        let ready = made.sources.clone();
        let (sources, hash, exclude) =
            blocking(move || gather(&from, &words, ready, exclude)).await.map_err(failed)?;
        let destination = destination(&self.stage.config.working_dir, &copy.destination);
        if sources.len() > 1 && !destination.ends_with('/') {
            return Err(Failure::new(format!(
                "When using {name} with more than one source file, the destination must be a directory and end with a /"
            )));
        }
        let shell = dockerfile::shell(&self.stage.config);
        let created_by = comment::copy(&shell, name, &flags(copy), &hash, &destination);
        let config = self.stage.config.clone();
        if self.cached(&created_by, &config).await {
            return Ok(());
        }
        let copy = copy.clone();
        let unpack = if name == "ADD" { Some(copy.unpack.unwrap_or(true)) } else { None };
        let layer = self
            .layer(move |root| {
                let target = Target {
                    owner: copy
                        .chown
                        .as_deref()
                        .map_or(Ok(owner::ROOT), |text| owner::chown(&root, text))?,
                    owner_given: copy.chown.is_some(),
                    mode: copy.chmod.as_deref().map(owner::chmod).transpose()?,
                    root: &root,
                    exclude: &exclude,
                    parents: copy.parents,
                    unpack,
                };
                let copied = target.copy(&sources, &destination);
                copied.map_err(|err| Failure::new(format!("{name} failed: {err}")))
            })
            .await?;
        self.commit(created_by, config, Some(&layer)).await
    }

    /// Heredocs and downloads, as files of their own.
    async fn made_files(&self, name: &str, copy: &Copy) -> Result<Made, Failure> {
        let mut made = Made::default();
        for heredoc in &copy.contents {
            let place = made.place(self.engine.0.images.root(), &heredoc.name)?;
            write_heredoc(&place, heredoc).map_err(|err| Failure::new(err.to_string()))?;
        }
        for url in copy.sources.iter().filter(|word| name == "ADD" && is_url(word)) {
            let place = made.place(self.engine.0.images.root(), "download")?;
            let downloaded = tokio::select! {
                downloaded = fetch::download(url, &place) => downloaded?,
                () = self.output.cancelled() => return Err(Failure::new("build cancelled")),
            };
            let to_directory = copy.destination.ends_with('/');
            if downloaded.name.is_empty() && to_directory {
                return Err(Failure::new(format!("cannot determine filename from url: {url}")));
            }
            check_digest(&place, copy.checksum.clone()).await?;
            let private = fs::set_permissions(&place, Permissions::from_mode(0o600));
            private.map_err(|err| Failure::new(err.to_string()))?;
            if let Some(source) = made.sources.last_mut() {
                source.name = downloaded.name.into();
                source.made = copy.unpack != Some(true);
            }
        }
        Ok(made)
    }
}

/// Files that exist for one instruction only.
#[derive(Default)]
struct Made {
    dirs: Vec<TempDir>,
    sources: Vec<Source>,
}

impl Made {
    /// A place for a file called `name`, in a directory of its own.
    fn place(&mut self, store: &Path, name: &str) -> Result<PathBuf, Failure> {
        let dir = tempfile::Builder::new().prefix("build-").tempdir_in(store.join("tmp"));
        let dir = dir.map_err(|err| Failure::new(err.to_string()))?;
        let path = dir.path().join(name);
        self.sources.push(Source {
            path: path.clone(),
            name: name.into(),
            relative: name.into(),
            made: true,
        });
        self.dirs.push(dir);
        Ok(path)
    }
}

fn write_heredoc(place: &Path, heredoc: &Heredoc) -> io::Result<()> {
    fs::write(place, heredoc.text())?;
    fs::set_permissions(place, Permissions::from_mode(0o644))
}

/// `ADD --checksum=sha256:…`.
async fn check_digest(place: &Path, wanted: Option<String>) -> Result<(), Failure> {
    let Some(wanted) = wanted else { return Ok(()) };
    let place = place.to_owned();
    blocking(move || {
        let mut sum = Sha256::new();
        let mut file = fs::File::open(&place).map_err(|err| Failure::new(err.to_string()))?;
        let mut buffer = vec![0; 128 * 1024];
        loop {
            match io::Read::read(&mut file, &mut buffer) {
                Ok(0) => break,
                Ok(count) => sum.update(&buffer[..count]),
                Err(err) => return Err(Failure::new(err.to_string())),
            }
        }
        let got = format!("sha256:{}", hex::encode(sum.finalize()));
        if got == wanted {
            Ok(())
        } else {
            Err(Failure::new(format!("digest mismatch {got}: {wanted}")))
        }
    })
    .await
}

fn is_url(word: &str) -> bool {
    word.starts_with("http://") || word.starts_with("https://")
}

fn local_words(name: &str, copy: &Copy) -> Vec<String> {
    copy.sources.iter().filter(|word| name != "ADD" || !is_url(word)).cloned().collect()
}

fn gather(
    root: &Path,
    words: &[String],
    made: Vec<Source>,
    exclude: Ignore,
) -> Result<(Vec<Source>, String, Ignore), Failure> {
    let mut all = made;
    for word in words {
        all.extend(sources::find(root, word)?);
    }
    if all.is_empty() {
        return Err(Failure::new("no source files were specified"));
    }
    let hash = sources::hash(&all, &exclude).map_err(|err| Failure::new(err.to_string()))?;
    Ok((all, hash, exclude))
}

/// Absolute; with a slash at its end where a directory is meant.
fn destination(working_dir: &str, written: &str) -> String {
    let is_dir = written.ends_with('/') || matches!(written, "." | "..") || written.ends_with("/.");
    let path = if written.starts_with('/') {
        PathBuf::from(written)
    } else {
        Path::new("/").join(working_dir.trim_start_matches('/')).join(written)
    };
    let parts: PathBuf = path.components().collect();
    let text = parts.to_string_lossy();
    if is_dir && !text.ends_with('/') { format!("{text}/") } else { text.into_owned() }
}

/// What of the flags changes the result.
fn flags(copy: &Copy) -> String {
    let mut text = String::new();
    for (name, value) in [("chown", &copy.chown), ("chmod", &copy.chmod)] {
        if let Some(value) = value {
            text.push_str(&format!("--{name}={value} "));
        }
    }
    if copy.parents {
        text.push_str("--parents ");
    }
    if let Some(unpack) = copy.unpack {
        text.push_str(&format!("--unpack={unpack} "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_absolute_and_keep_what_makes_them_directories() {
        for (working_dir, written, want) in [
            ("", "x", "/x"),
            ("/app", "x", "/app/x"),
            ("/app", ".", "/app/"),
            ("/app", "./", "/app/"),
            ("/app", "/etc/", "/etc/"),
            ("app", "sub/.", "/app/sub/"),
            ("", "/", "/"),
        ] {
            assert_eq!(destination(working_dir, written), want, "{working_dir} {written}");
        }
    }
}
