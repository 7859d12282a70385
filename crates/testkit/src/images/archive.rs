//! Deterministic tars: a layer from a directory, and `docker save`'s archive around layers and a config.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// Every file's time: the archives must not depend on when they were made (2024-01-01T00:00:00Z).
const MTIME: u64 = 1_704_067_200;
const CREATED: &str = "2024-01-01T00:00:00Z";

/// Path inside the image, owner, group.
pub(crate) type Owner = (&'static str, u64, u64);

/// SHA-256 of the parts, each closed by a zero byte so that they cannot run into one another.
pub(crate) fn digest_of(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part.as_bytes());
        hasher.update([0]);
    }
    hex::encode(hasher.finalize())
}

/// Packs `root` as a layer: sorted, owner 0 except for `owners`. Appears under `tar` only when whole.
pub(crate) fn write_layer(tar: &Path, root: &Path, owners: &[Owner]) -> Result<()> {
    let partial = tar.with_extension("partial");
    let mut builder = Builder::new(BufWriter::new(File::create(&partial)?));
    let mut paths = Vec::new();
    walk(root, Path::new(""), &mut paths)?;
    paths.sort();
    for path in paths {
        append(&mut builder, root, &path, owners)?;
    }
    builder.into_inner()?.flush()?;
    Ok(fs::rename(partial, tar)?)
}

fn walk(root: &Path, below: &Path, paths: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            walk(root, &path, paths)?;
        }
        paths.push(path);
    }
    Ok(())
}

fn append(
    builder: &mut Builder<impl Write>,
    root: &Path,
    path: &Path,
    owners: &[Owner],
) -> Result<()> {
    let source = root.join(path);
    let meta = fs::symlink_metadata(&source)?;
    let (_, uid, gid) =
        owners.iter().find(|(owned, _, _)| Path::new(owned) == path).copied().unwrap_or(("", 0, 0));
    let mut header = Header::new_gnu();
    header.set_mode(meta.permissions().mode() & 0o7777);
    header.set_mtime(MTIME);
    header.set_uid(uid);
    header.set_gid(gid);
    header.set_size(0);
    if meta.is_symlink() {
        header.set_entry_type(EntryType::Symlink);
        builder.append_link(&mut header, path, fs::read_link(&source)?)?;
    } else if meta.is_dir() {
        header.set_entry_type(EntryType::Directory);
        builder.append_data(&mut header, format!("{}/", path.display()), io::empty())?;
    } else {
        header.set_size(meta.len());
        builder.append_data(&mut header, path, File::open(&source)?)?;
    }
    Ok(())
}

/// Writes what `docker save` would: layers, config, `manifest.json` and `repositories`.
pub(crate) fn write_image(
    tar: &Path,
    reference: &str,
    config: &Value,
    layers: &[PathBuf],
) -> Result<()> {
    let digests = layers.iter().map(|layer| digest_file(layer)).collect::<Result<Vec<_>>>()?;
    let config = image_config(config, &digests).to_string();
    let config_name = format!("{}.json", digest_bytes(config.as_bytes()));
    let (repository, tag) = reference.rsplit_once(':').unwrap_or((reference, "latest"));
    let layer_names: Vec<String> =
        digests.iter().map(|digest| format!("{digest}/layer.tar")).collect();
    let manifest = json!([{"Config": config_name, "RepoTags": [reference], "Layers": layer_names}]);
    let repositories = json!({repository: {tag: digests.last()}});

    let partial = tar.with_extension("partial");
    let mut builder = Builder::new(BufWriter::new(File::create(&partial)?));
    for (name, layer) in layer_names.iter().zip(layers) {
        let file = File::open(layer)?;
        builder.append_data(&mut plain(file.metadata()?.len()), name, file)?;
    }
    for (name, text) in [
        (config_name.as_str(), config),
        ("manifest.json", manifest.to_string()),
        ("repositories", repositories.to_string()),
    ] {
        builder.append_data(&mut plain(text.len() as u64), name, text.as_bytes())?;
    }
    builder.into_inner()?.flush()?;
    Ok(fs::rename(partial, tar)?)
}

fn plain(size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_mode(0o644);
    header.set_mtime(MTIME);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size);
    header
}

fn image_config(config: &Value, layer_digests: &[String]) -> Value {
    let diff_ids: Vec<String> =
        layer_digests.iter().map(|digest| format!("sha256:{digest}")).collect();
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let mut history: Vec<Value> = layer_digests
        .iter()
        .map(|_| json!({"created": CREATED, "created_by": "/bin/sh -c #(nop) ADD Debian packages in / "}))
        .collect();
    history.push(
        json!({"created": CREATED, "created_by": "/bin/sh -c #(nop)  CMD", "empty_layer": true}),
    );
    json!({
        "architecture": architecture,
        "os": "linux",
        "created": CREATED,
        "config": config,
        // What the classic builder leaves; docker-compose 1.29 reads the image's volumes there.
        "container_config": config,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": history,
    })
}

fn digest_bytes(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn digest_file(path: &Path) -> Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hasher.finalize())),
            n => hasher.update(&buffer[..n]),
        }
    }
}
