//! Which platform a client asks an image for. Every image of this store has one.

use crate::{Engine, Error, Result};
use image::Platform;
use serde::Deserialize;
use types::image::ImageConfig;

/// The OCI image specification's platform, as the query parameter has it.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Wanted {
    os: String,
    architecture: String,
    variant: String,
}

/// What a word alone may be.
const KNOWN: &[&str] = &[
    "linux", "windows", "darwin", "freebsd", "386", "amd64", "arm", "arm64", "armhf", "armel",
    "aarch64", "x86_64", "x86-64", "i386", "loong64", "mips64le", "ppc64le", "riscv64", "s390x",
    "wasm",
];

impl Engine {
    /// Refuses when the image called `name` is not for `platform`, as [`read_platform`] has it.
    pub fn image_is_for(&self, name: &str, platform: &str) -> Result<()> {
        let wanted = read_platform(platform)?;
        let image = self.0.images.resolve(name).map_err(Error::from_lower)?;
        if is_for(&image.config, &wanted) {
            return Ok(());
        }
        Err(Error::not_found(format!(
            "image with reference {name} was found but does not provide the specified platform ({})",
            shown(&wanted)
        )))
    }
}

/// JSON of an OCI platform, as query parameters have it since API 1.47.
pub fn read_platform(platform: &str) -> Result<Platform> {
    let wanted: Wanted = serde_json::from_str(platform)
        .map_err(|err| Error::invalid(format!("failed to parse platform: {err}")))?;
    if wanted.os.is_empty() || wanted.architecture.is_empty() {
        return Err(Error::invalid("both OS and Architecture must be provided"));
    }
    let Wanted { os, architecture, variant } = wanted;
    Ok(Platform { os, architecture, variant })
}

/// `os/arch[/variant]`; empty text is no wish.
pub(crate) fn parse(text: &str) -> Result<Option<Platform>> {
    if text.is_empty() {
        return Ok(None);
    }
    let why = match text.split('/').count() {
        1 if !KNOWN.contains(&text) => "unknown operating system or architecture",
        1..=3 => match Platform::parse(text) {
            Some(platform) => return Ok(Some(platform)),
            None => "an invalid component",
        },
        _ => "cannot parse platform specifier",
    };
    Err(Error::invalid(format!("{text:?}: {why}: invalid argument")))
}

/// An image that names no variant is for all of them.
pub(crate) fn is_for(image: &ImageConfig, wanted: &Platform) -> bool {
    let variant = [&image.variant, &wanted.variant];
    image.os == wanted.os
        && image.architecture == wanted.architecture
        && (variant.iter().any(|variant| variant.is_empty()) || variant[0] == variant[1])
}

pub(crate) fn shown(platform: &Platform) -> String {
    // The only 64-bit ARM that there is needs no variant.
    let plain = platform.architecture == "arm64" && platform.variant == "v8";
    let variant = if plain { "" } else { &platform.variant };
    let parts = [&platform.os, &platform.architecture, variant];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
}
