//! `cp`: files between a container and here, both ways.

use std::fs;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use base64::Engine;
use clap::Args;
use futures_util::TryStreamExt;
use serde_json::Value;
use tokio_util::io::{StreamReader, SyncIoBridge};

use crate::client::{Client, ClientError, Query, no_body, segment};
use crate::ctx::Ctx;
use crate::format::units::human_size;
use crate::report::{self, Exit};
use crate::{sink, tarball};

/// `sampan cp`.
#[derive(Debug, Args)]
pub(crate) struct CpArgs {
    /// Archive mode (copy all uid/gid information)
    #[arg(short = 'a', long)]
    archive: bool,
    /// Always follow symbol link in SRC_PATH
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Suppress progress output during copy
    #[arg(short = 'q', long)]
    quiet: bool,
    /// CONTAINER:SRC_PATH or SRC_PATH, or '-' for a tar archive on standard input
    #[arg(value_name = "SRC")]
    source: String,
    /// CONTAINER:DEST_PATH or DEST_PATH, or '-' for a tar archive on standard output
    #[arg(value_name = "DEST")]
    destination: String,
}

/// Go's bits of `os.FileMode`, as the stat header carries them.
const GO_DIR: u64 = 1 << 31;
const GO_SYMLINK: u64 = 1 << 27;

/// Copies.
pub(crate) async fn run(ctx: &Ctx, args: CpArgs) -> Result<Exit> {
    let client = ctx.client().await?;
    match (split(&args.source), split(&args.destination)) {
        (Some((container, path)), None) => from_container(client, &args, container, path).await,
        (None, Some((container, path))) => to_container(client, &args, container, path).await,
        (Some(_), Some(_)) => bail!("copying between containers is not supported"),
        (None, None) => bail!("must specify at least one container source"),
    }
}

/// `container:path`; a word that begins like a path is local.
fn split(word: &str) -> Option<(&str, &str)> {
    if word.starts_with(['/', '.']) {
        return None;
    }
    word.split_once(':').filter(|(container, _)| !container.is_empty())
}

/// What the daemon says about a path in a container.
struct Stat {
    mode: u64,
    link_target: String,
}

async fn stat(client: &Client, container: &str, path: &str) -> Result<Stat, ClientError> {
    let route = format!("/containers/{}/archive", segment(container));
    let query = Query::new().with("path", path);
    let reply =
        client.send(http::Method::HEAD, &route, &query, Default::default(), no_body()).await?;
    let header = reply.headers().get("x-docker-container-path-stat");
    let decoded = header
        .and_then(|value| base64::engine::general_purpose::STANDARD.decode(value.as_bytes()).ok())
        .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok())
        .unwrap_or_default();
    Ok(Stat {
        mode: decoded["mode"].as_u64().unwrap_or(0),
        link_target: decoded["linkTarget"].as_str().unwrap_or_default().to_owned(),
    })
}

async fn from_container(
    client: &Client,
    args: &CpArgs,
    container: &str,
    path: &str,
) -> Result<Exit> {
    let mut source = path.to_owned();
    if args.follow_link {
        let seen = stat(client, container, path).await?;
        if seen.mode & GO_SYMLINK != 0 {
            source = join_link(path, &seen.link_target);
        }
    }
    let route = format!("/containers/{}/archive", segment(container));
    let query = Query::new().with("path", source.as_str());
    let open = client.bytes(http::Method::GET, &route, &query, Default::default(), no_body()).await;
    if args.destination == "-" {
        sink::Sink::open(None)?.write(open?).await?;
        return Ok(report::OK);
    }
    let reader = SyncIoBridge::new(StreamReader::new(
        open.map_err(|err| named(err, container, path))?.map_err(std::io::Error::other),
    ));
    let target = local_target(&args.destination, path)?;
    let owner = args.archive;
    let copied = tokio::task::spawn_blocking(move || unpack(reader, &target, owner)).await??;
    announce(args, copied, &absolute(&args.destination)?.display().to_string());
    Ok(report::OK)
}

fn named(err: ClientError, container: &str, path: &str) -> ClientError {
    match err {
        ClientError::Daemon { status: 404, message } if message.is_empty() => ClientError::Daemon {
            status: 404,
            message: format!("Could not find the file {path} in container {container}"),
        },
        other => other,
    }
}

fn join_link(path: &str, target: &str) -> String {
    if target.starts_with('/') || target.is_empty() {
        return if target.is_empty() { path.to_owned() } else { target.to_owned() };
    }
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    format!("{parent}/{target}")
}

/// Where the first element of the archive goes.
fn local_target(destination: &str, source: &str) -> Result<PathBuf> {
    let path = absolute(destination)?;
    if path.is_dir() {
        if source.ends_with("/.") {
            return Ok(path);
        }
        let base = Path::new(source).file_name().map(PathBuf::from);
        return Ok(base.map_or(path.clone(), |base| path.join(base)));
    }
    if destination.ends_with('/') && !path.exists() {
        bail!("destination directory {destination:?} does not exist");
    }
    let parent = path.parent().context("invalid destination")?;
    if !parent.is_dir() {
        bail!("invalid output path: directory {:?} does not exist", parent.display().to_string());
    }
    Ok(path)
}

fn absolute(path: &str) -> Result<PathBuf> {
    let cwd = std::env::current_dir().context("failed to read the current folder")?;
    Ok(cwd.join(path))
}

/// Writes the archive with its first path element replaced by `target`; returns the bytes of files.
fn unpack(reader: impl Read, target: &Path, owner: bool) -> Result<u64> {
    let mut archive = tar::Archive::new(reader);
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(owner);
    let mut copied = 0;
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let inner: PathBuf = path
            .components()
            .filter(|part| !matches!(part, Component::RootDir | Component::CurDir))
            .skip(usize::from(!path.starts_with(".")))
            .collect();
        if inner.components().any(|part| !matches!(part, Component::Normal(_))) {
            bail!("the archive holds an unsafe path: {}", path.display());
        }
        let place =
            if inner.as_os_str().is_empty() { target.to_owned() } else { target.join(&inner) };
        refuse_links(target, &place)?;
        if entry.header().entry_type().is_dir() {
            if place.is_file() {
                bail!("cannot copy directory to file {}", place.display());
            }
            fs::create_dir_all(&place)?;
        }
        copied += entry.size();
        match entry.link_name()?.filter(|_| entry.header().entry_type().is_hard_link()) {
            Some(link) => {
                let inside: PathBuf = link.components().skip(1).collect();
                fs::hard_link(target.join(inside), &place)?;
            }
            None => {
                entry
                    .unpack(&place)
                    .with_context(|| format!("failed to write {}", place.display()))?;
            }
        }
    }
    Ok(copied)
}

/// A container must not lead us out of the target through a link it brought along.
fn refuse_links(target: &Path, place: &Path) -> Result<()> {
    let mut parent = place.parent();
    while let Some(dir) = parent.filter(|dir| dir.starts_with(target)) {
        if fs::symlink_metadata(dir).is_ok_and(|meta| meta.is_symlink()) {
            bail!("the archive writes through the link {}", dir.display());
        }
        parent = dir.parent();
    }
    Ok(())
}

async fn to_container(client: &Client, args: &CpArgs, container: &str, path: &str) -> Result<Exit> {
    let route = format!("/containers/{}/archive", segment(container));
    let (body, folder, size) = if args.source == "-" {
        (tarball::reader_body(std::io::stdin()), path.to_owned(), 0)
    } else {
        let source = absolute(&args.source)?;
        let meta =
            if args.follow_link { fs::metadata(&source) } else { fs::symlink_metadata(&source) };
        let meta = meta.with_context(|| format!("lstat {}", source.display()))?;
        let (folder, name) =
            remote_target(client, container, path, &args.source, meta.is_dir()).await?;
        let follow = args.follow_link;
        let size = weigh(&source);
        let body = tarball::body(move |out| {
            let mut builder = tar::Builder::new(out);
            builder.follow_symlinks(follow);
            if meta.is_dir() {
                builder.append_dir_all(&name, &source)?;
            } else {
                builder.append_path_with_name(&source, &name)?;
            }
            builder.finish()
        });
        (body, folder, size)
    };
    let query = Query::new()
        .with("path", folder)
        .with("noOverwriteDirNonDir", "true")
        .flag("copyUIDGID", args.archive);
    client.send(http::Method::PUT, &route, &query, Default::default(), body).await?;
    if args.source != "-" {
        announce(args, size, &args.destination);
    }
    Ok(report::OK)
}

/// The folder to extract in and the name inside it.
async fn remote_target(
    client: &Client,
    container: &str,
    path: &str,
    source: &str,
    is_dir: bool,
) -> Result<(String, String)> {
    let mut path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let mut seen = stat(client, container, &path).await;
    if let Ok(link) = &seen
        && link.mode & GO_SYMLINK != 0
    {
        path = join_link(&path, &link.link_target);
        seen = stat(client, container, &path).await;
    }
    let own_name = Path::new(source).file_name().map(|name| name.to_string_lossy().into_owned());
    match seen {
        Ok(there) if there.mode & GO_DIR != 0 => {
            let contents = source.ends_with("/.") || own_name.is_none();
            let name = if contents { ".".to_owned() } else { own_name.unwrap_or_default() };
            Ok((path, name))
        }
        Ok(_) if is_dir => bail!("cannot copy directory to file {path}"),
        Err(err) if err.status() != Some(404) => Err(err.into()),
        Err(_) if path.ends_with('/') && !is_dir => {
            bail!("destination directory {path:?} does not exist in the container")
        }
        _ => {
            let trimmed = path.trim_end_matches('/');
            let (folder, name) = trimmed.rsplit_once('/').unwrap_or(("", trimmed));
            Ok((
                if folder.is_empty() { "/".to_owned() } else { folder.to_owned() },
                name.to_owned(),
            ))
        }
    }
}

/// Bytes of the files below `path`; for the last line only, so errors count nothing.
fn weigh(path: &Path) -> u64 {
    let Ok(meta) = fs::symlink_metadata(path) else { return 0 };
    if !meta.is_dir() {
        return meta.len();
    }
    fs::read_dir(path).into_iter().flatten().flatten().map(|entry| weigh(&entry.path())).sum()
}

fn announce(args: &CpArgs, bytes: u64, destination: &str) {
    if !args.quiet {
        eprintln!("Successfully copied {} to {destination}", human_size(bytes as f64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_with_a_colon_is_a_container_unless_it_is_a_path() {
        assert_eq!(split("c:/x"), Some(("c", "/x")));
        assert_eq!(split("./c:/x"), None);
        assert_eq!(split("/c:/x"), None);
        assert_eq!(split("file"), None);
    }

    #[test]
    fn an_archive_cannot_write_outside_its_target() {
        let dir = tempfile::tempdir().unwrap();
        let mut builder = tar::Builder::new(Vec::new());
        let mut link = tar::Header::new_gnu();
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_size(0);
        builder.append_link(&mut link, "top/out", "/tmp").unwrap();
        let mut file = tar::Header::new_gnu();
        file.set_size(1);
        file.set_mode(0o644);
        builder.append_data(&mut file, "top/out/evil", &b"x"[..]).unwrap();
        let bytes = builder.into_inner().unwrap();
        let target = dir.path().join("target");
        fs::create_dir(&target).unwrap();
        let err = unpack(&bytes[..], &target, false).unwrap_err();
        assert!(err.to_string().contains("through the link"), "{err}");
    }

    #[test]
    fn the_first_element_takes_the_targets_name() {
        let dir = tempfile::tempdir().unwrap();
        let mut builder = tar::Builder::new(Vec::new());
        let mut file = tar::Header::new_gnu();
        file.set_size(2);
        file.set_mode(0o600);
        builder.append_data(&mut file, "passwd", &b"hi"[..]).unwrap();
        let bytes = builder.into_inner().unwrap();
        let target = dir.path().join("copy");
        assert_eq!(unpack(&bytes[..], &target, false).unwrap(), 2);
        assert_eq!(fs::read_to_string(target).unwrap(), "hi");
    }
}
