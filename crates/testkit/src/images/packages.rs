//! Debian package files: asked for by name with `apt-get download`, unpacked with `dpkg-deb -x`. Nothing is installed
//! on this machine, and root is not needed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// What a container has no use for; keeps the images small.
const UNWANTED: &[&str] = &[
    "etc/init.d",
    "lib/systemd",
    "usr/lib/systemd",
    "usr/share/bash-completion",
    "usr/share/bug",
    "usr/share/doc",
    "usr/share/doc-base",
    "usr/share/initramfs-tools",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
];

/// One package file, as apt names it.
pub(crate) struct Package {
    /// Name, version and architecture: `redis-server_5%3a7.0.15-1_amd64.deb`.
    pub(crate) file_name: String,
}

/// Finds the candidate version of every package and fetches the files not yet in `cache`.
pub(crate) fn resolve(
    cache: &Path,
    names: &[&'static str],
) -> Result<BTreeMap<&'static str, Package>> {
    fs::create_dir_all(cache)?;
    // Asked elsewhere than in the cache: apt does not list what is already in its working directory.
    let elsewhere = Path::new("/");
    let listing = match apt(elsewhere, &["--print-uris"], names) {
        Ok(listing) => listing,
        Err(_) if nix::unistd::geteuid().is_root() => {
            eprintln!("images: apt knows too little: running apt-get update");
            let updated =
                Command::new("apt-get").args(["-qq", "update"]).stdin(Stdio::null()).status();
            ensure!(updated.context("running apt-get update")?.success(), "apt-get update failed");
            apt(elsewhere, &["--print-uris"], names)?
        }
        Err(err) => {
            return Err(
                err.context("apt's package lists are missing or old: run `apt-get update` as root")
            );
        }
    };
    let files: Vec<&str> = listing.lines().filter_map(|line| line.split(' ').nth(1)).collect();
    let mut found = BTreeMap::new();
    for &name in names {
        let prefix = format!("{name}_");
        match files.iter().find(|file| file.starts_with(&prefix)) {
            Some(file) => found.insert(name, Package { file_name: (*file).to_owned() }),
            None => bail!(
                "apt offers no package {name}: this needs Debian 12's main archive in sources.list"
            ),
        };
    }
    fetch_missing(cache, &found)?;
    Ok(found)
}

fn fetch_missing(cache: &Path, found: &BTreeMap<&'static str, Package>) -> Result<()> {
    let missing: Vec<&str> = found
        .iter()
        .filter(|(_, p)| !cache.join(&p.file_name).exists())
        .map(|(&name, _)| name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("images: fetching {} Debian packages ({} …)", missing.len(), missing[0]);
    apt(cache, &[], &missing)?;
    Ok(())
}

fn apt(dir: &Path, flags: &[&str], names: &[&str]) -> Result<String> {
    let output = Command::new("apt-get")
        .args(["-qq", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3", "download"])
        .args(flags)
        .args(names)
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .context("running apt-get (the images are made of Debian packages)")?;
    ensure!(
        output.status.success(),
        "apt-get download failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Unpacks `packages` over one another into `root`, then drops documentation and init scripts.
pub(crate) fn unpack(cache: &Path, packages: &[&Package], root: &Path) -> Result<()> {
    for package in packages {
        let file = cache.join(&package.file_name);
        let status =
            Command::new("dpkg-deb").arg("-x").arg(&file).arg(root).stdin(Stdio::null()).status();
        ensure!(
            status.context("running dpkg-deb")?.success(),
            "dpkg-deb could not unpack {}",
            file.display()
        );
    }
    for unwanted in UNWANTED {
        let path = root.join(unwanted);
        if path.exists() {
            fs::remove_dir_all(&path).with_context(|| format!("dropping {}", path.display()))?;
        }
    }
    Ok(())
}
