//! The build context: a folder minus what `.dockerignore` names, as a stream.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use dockerfile::Ignore;

use crate::client::Body;
use crate::tarball;

/// A context and the Dockerfile's name inside it.
pub(super) struct Prepared {
    pub(super) body: Body,
    pub(super) dockerfile: String,
}

/// Name under which a Dockerfile from outside the context travels.
const OUTSIDE: &str = ".dockerfile.sampan";

/// Packs `folder`; the Dockerfile may lie elsewhere or come from standard input (`-`).
pub(super) fn folder(folder: &str, file: Option<&str>) -> Result<Prepared> {
    let root = fs::canonicalize(folder)
        .with_context(|| format!("unable to prepare context: path {folder:?} not found"))?;
    if !root.is_dir() {
        bail!("unable to prepare context: context must be a directory: {}", root.display());
    }
    let (dockerfile, extra) = dockerfile(&root, file)?;
    let ignore = ignore_rules(&root, &dockerfile)?;
    let keep = dockerfile.clone();
    let body = tarball::body(move |out| {
        let mut builder = tar::Builder::new(out);
        builder.follow_symlinks(false);
        append(&mut builder, &root, Path::new(""), &ignore, &keep)?;
        if let Some(text) = extra {
            builder.append_data(&mut header(&text), &keep, text.as_slice())?;
        }
        builder.finish()
    });
    Ok(Prepared { body, dockerfile })
}

/// A context with nothing but a Dockerfile.
pub(super) fn only_dockerfile(text: Vec<u8>) -> Prepared {
    let body = tarball::body(move |out| {
        let mut builder = tar::Builder::new(out);
        builder.append_data(&mut header(&text), "Dockerfile", text.as_slice())?;
        builder.finish()
    });
    Prepared { body, dockerfile: "Dockerfile".to_owned() }
}

/// The header of a Dockerfile that is no file of the context. A number that is not written is none to a strict reader.
fn header(text: &[u8]) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o600);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// The Dockerfile's name in the context, and its text when it lies outside.
fn dockerfile(root: &Path, file: Option<&str>) -> Result<(String, Option<Vec<u8>>)> {
    match file {
        Some("-") => {
            let mut text = Vec::new();
            std::io::Read::read_to_end(&mut std::io::stdin(), &mut text)
                .context("failed to read the Dockerfile from standard input")?;
            Ok((OUTSIDE.to_owned(), Some(text)))
        }
        Some(file) => {
            let path = fs::canonicalize(file).with_context(|| {
                format!("unable to prepare context: unable to evaluate symlinks in Dockerfile path: {file}")
            })?;
            match path.strip_prefix(root) {
                Ok(inside) => Ok((inside.to_string_lossy().into_owned(), None)),
                Err(_) => {
                    let text = fs::read(&path)
                        .with_context(|| format!("failed to read {}", path.display()))?;
                    Ok((OUTSIDE.to_owned(), Some(text)))
                }
            }
        }
        None => {
            let found =
                ["Dockerfile", "dockerfile"].into_iter().find(|name| root.join(name).exists());
            let Some(name) = found else {
                bail!(
                    "unable to prepare context: unable to evaluate symlinks in Dockerfile path: lstat {}: no such file or directory",
                    root.join("Dockerfile").display()
                );
            };
            Ok((name.to_owned(), None))
        }
    }
}

/// `<Dockerfile>.dockerignore` wins over `.dockerignore`.
fn ignore_rules(root: &Path, dockerfile: &str) -> Result<Ignore> {
    let own = root.join(format!("{dockerfile}.dockerignore"));
    let path = if own.is_file() { own } else { root.join(".dockerignore") };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(err) => return Err(err).with_context(|| format!("error reading {}", path.display())),
    };
    Ignore::parse(&text).with_context(|| format!("error checking context: {}", path.display()))
}

/// True when the context leaves `path` out. The Dockerfile and the ignore file always travel.
fn left_out(ignore: &Ignore, path: &str, dockerfile: &str) -> bool {
    path != dockerfile && path != ".dockerignore" && ignore.matches(path)
}

fn append<W: Write>(
    builder: &mut tar::Builder<W>,
    root: &Path,
    folder: &Path,
    ignore: &Ignore,
    dockerfile: &str,
) -> std::io::Result<()> {
    let mut entries: Vec<PathBuf> = fs::read_dir(root.join(folder))?
        .map(|entry| entry.map(|entry| folder.join(entry.file_name())))
        .collect::<Result<_, _>>()?;
    entries.sort();
    for path in entries {
        let full = root.join(&path);
        let name = path.to_string_lossy();
        let is_dir = fs::symlink_metadata(&full)?.is_dir();
        let out = left_out(ignore, &name, dockerfile);
        // a left-out folder may hold the Dockerfile or re-included files
        if is_dir && out && ignore.prunes(&name) && !dockerfile.starts_with(&format!("{name}/")) {
            continue;
        }
        if !out {
            append_one(builder, &full, &path)?;
        }
        if is_dir {
            append(builder, root, &path, ignore, dockerfile)?;
        }
    }
    Ok(())
}

fn append_one<W: Write>(
    builder: &mut tar::Builder<W>,
    full: &Path,
    name: &Path,
) -> std::io::Result<()> {
    let kind = fs::symlink_metadata(full)?.file_type();
    use std::os::unix::fs::FileTypeExt;
    if kind.is_socket() {
        return Ok(());
    }
    builder.append_path_with_name(full, name).map_err(|err| {
        std::io::Error::new(err.kind(), format!("failed to add {}: {err}", name.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(root: &Path, ignore: &str) -> Vec<String> {
        let mut builder = tar::Builder::new(Vec::new());
        let ignore = Ignore::parse(ignore).unwrap();
        append(&mut builder, root, Path::new(""), &ignore, "Dockerfile").unwrap();
        let bytes = builder.into_inner().unwrap();
        let mut archive = tar::Archive::new(&bytes[..]);
        let entries = archive.entries().unwrap();
        entries.map(|e| e.unwrap().path().unwrap().display().to_string()).collect()
    }

    #[test]
    fn the_ignore_file_decides_but_never_over_the_dockerfile() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["Dockerfile", "app.py", "node_modules/x.js", "logs/a.log", "logs/keep.log"] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        let seen = names(dir.path(), "Dockerfile\nnode_modules\nlogs/*\n!logs/keep.log\n");
        assert!(seen.contains(&"Dockerfile".to_owned()), "{seen:?}");
        assert!(seen.contains(&"logs/keep.log".to_owned()), "{seen:?}");
        assert!(
            !seen.iter().any(|n| n.starts_with("node_modules") || n == "logs/a.log"),
            "{seen:?}"
        );
    }
}
