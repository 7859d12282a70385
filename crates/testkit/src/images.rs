//! Stand-in base images made out of Debian packages, because tests and the demo reach no image registry.
//!
//! ```text
//! recipe (packages, files, links) ─ apt-get download, dpkg -x ─► stage directory ─► layer tar ─► docker-archive
//! ```
//!
//! Everything lands under one directory (`target/images`) and is made once: a layer's name carries the digest of its
//! recipe and of its packages' names and versions. The tars are deterministic (sorted, fixed times, owner 0). They
//! are stand-ins: `python:3.7-alpine` holds Debian's Python on Debian's libc, and its `apk` says so.

mod archive;
mod packages;
mod recipes;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};

use recipes::{Image, Layer};

/// Where images are kept unless told otherwise; one place for every build profile.
pub fn default_dir() -> PathBuf {
    crate::workspace().join("target/images")
}

/// The references that [`make`] knows, in the order they are made.
pub fn references() -> Vec<&'static str> {
    recipes::IMAGES.iter().map(|image| image.reference).collect()
}

/// Makes the named images (all of them when `references` is empty) under `dir` and returns their archives in the order
/// asked for. Quick when nothing changed. Several processes may call it at once: they take turns.
pub fn make(dir: &Path, references: &[&str]) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    let _turn = lock(dir)?;
    let chosen = choose(&recipes::IMAGES, references)?;
    let mut workshop = Workshop::open(dir, &chosen)?;
    chosen.iter().map(|image| workshop.make(image)).collect()
}

/// The archive of one image; made when it is missing or its recipe has changed. Unlike [`make`] it does not ask apt
/// whether Debian has newer packages: tests call it all the time.
pub fn archive(reference: &str) -> Result<PathBuf> {
    let known = choose(&recipes::IMAGES, &[reference])?;
    if let Some(image) = known.first() {
        let (tar, stamp) = places(&default_dir(), image);
        let recipe = archive::digest_of(&[recipes::SOURCE]);
        if tar.exists()
            && fs::read_to_string(stamp).is_ok_and(|text| text.lines().nth(1) == Some(&recipe))
        {
            return Ok(tar);
        }
    }
    let mut made = make(&default_dir(), &[reference])?;
    made.pop().context("no image was made")
}

/// Where an image's archive is, and its stamp: the digests of its content and of the recipes' source.
fn places(dir: &Path, image: &Image) -> (PathBuf, PathBuf) {
    let name = image.reference.replace([':', '/'], "_");
    (dir.join(format!("{name}.tar")), dir.join(format!("{name}.key")))
}

fn lock(dir: &Path) -> Result<Flock<File>> {
    let file = File::create(dir.join("lock"))?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, errno)| errno)
        .context("waiting for the image lock")
}

fn choose<'a>(all: &'a [Image], references: &[&str]) -> Result<Vec<&'a Image>> {
    if references.is_empty() {
        return Ok(all.iter().collect());
    }
    references
        .iter()
        .map(|wanted| {
            let full = if wanted.contains(':') {
                (*wanted).to_owned()
            } else {
                format!("{wanted}:latest")
            };
            match all.iter().find(|image| image.reference == full) {
                Some(image) => Ok(image),
                None => bail!(
                    "no recipe for the image {full}; there are {}",
                    self::references().join(", ")
                ),
            }
        })
        .collect()
}

/// One run of image making: knows which package files belong to which layer, and stages each layer at most once.
struct Workshop {
    dir: PathBuf,
    packages: BTreeMap<&'static str, packages::Package>,
    stages: tempfile::TempDir,
}

impl Workshop {
    fn open(dir: &Path, images: &[&Image]) -> Result<Self> {
        let names: Vec<&'static str> = images
            .iter()
            .flat_map(|image| image.layers)
            .flat_map(|layer| layer.packages.iter().copied())
            .collect();
        let packages = packages::resolve(&dir.join("packages"), &names)?;
        fs::create_dir_all(dir.join("layers"))?;
        let stages = tempfile::Builder::new().prefix("stage-").tempdir_in(dir)?;
        Ok(Workshop { dir: dir.to_owned(), packages, stages })
    }

    fn make(&mut self, image: &Image) -> Result<PathBuf> {
        let config = (image.config)().to_string();
        let keys: Vec<String> = image.layers.iter().map(|layer| self.key(layer)).collect();
        let content = archive::digest_of(&[&keys.join(" "), &config, image.reference]);
        let key = format!("{content}\n{}\n", archive::digest_of(&[recipes::SOURCE]));
        let (tar, stamp) = places(&self.dir, image);
        if tar.exists() && fs::read_to_string(&stamp).is_ok_and(|old| old == key) {
            return Ok(tar);
        }
        eprintln!("images: making {}", image.reference);
        let layers = self.layers(image)?;
        archive::write_image(&tar, image.reference, &(image.config)(), &layers)
            .with_context(|| format!("writing {}", tar.display()))?;
        fs::write(&stamp, key)?;
        Ok(tar)
    }

    fn layers(&mut self, image: &Image) -> Result<Vec<PathBuf>> {
        let mut lower = Vec::new();
        let mut tars = Vec::new();
        for layer in image.layers {
            let tar =
                self.dir.join(format!("layers/{}-{}.tar", layer.name, &self.key(layer)[..12]));
            let is_last = tars.len() + 1 == image.layers.len();
            // A finishing step runs programs of the layers below, so those are staged even when their tar is cached.
            let needed_above = !is_last && image.layers.iter().any(|above| above.finish.is_some());
            if !tar.exists() || needed_above {
                let root = self.stage(layer, &lower)?;
                if !tar.exists() {
                    archive::write_layer(&tar, &root, layer.owners)
                        .with_context(|| format!("writing {}", tar.display()))?;
                }
                lower.push(root);
            }
            tars.push(tar);
        }
        Ok(tars)
    }

    fn stage(&mut self, layer: &Layer, lower: &[PathBuf]) -> Result<PathBuf> {
        let root = self.stages.path().join(layer.name);
        if root.exists() {
            return Ok(root);
        }
        fs::create_dir(&root)?;
        let chosen =
            layer.packages.iter().filter_map(|name| self.packages.get(name)).collect::<Vec<_>>();
        packages::unpack(&self.dir.join("packages"), &chosen, &root)?;
        recipes::furnish(layer, &root)
            .with_context(|| format!("furnishing the layer {}", layer.name))?;
        if let Some(finish) = layer.finish {
            finish(&recipes::Stage { root: &root, lower, cache: &self.dir })
                .with_context(|| format!("finishing the layer {}", layer.name))?;
        }
        Ok(root)
    }

    /// Changes whenever the layer's content may: with its recipe's source and with its packages' versions.
    fn key(&self, layer: &Layer) -> String {
        let files: Vec<&str> = layer
            .packages
            .iter()
            .filter_map(|name| self.packages.get(name))
            .map(|p| p.file_name.as_str())
            .collect();
        archive::digest_of(&[layer.name, &files.join(" "), recipes::SOURCE])
    }
}
