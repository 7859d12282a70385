//! A container's `LogConfig`, checked as dockerd checks it.
//!
//! `local` is stored in json-file's format (ours rotates and needs no other); `none` keeps nothing.
//! `compress` is accepted and rotated files stay plain.

use crate::writer::Rotation;
use errdefs::{Classify, ErrorKind};
use regex_lite::Regex;
use std::collections::BTreeMap;

/// Without limits of the user's own: one noisy container must not fill the disk (dockerd's json-file
/// has no limit, its `local` has 20 MB × 5).
const DEFAULT_MAX_BYTES: u64 = 10 * 1000 * 1000;
const DEFAULT_MAX_FILES: u32 = 5;

/// Where the output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    JsonFile,
    Local,
    None,
}

impl Driver {
    /// Docker's word; the empty one is the default driver.
    pub fn parse(name: &str) -> Result<Self, OptionError> {
        match name {
            "" | "json-file" => Ok(Driver::JsonFile),
            "local" => Ok(Driver::Local),
            "none" => Ok(Driver::None),
            _ => Err(OptionError::Driver(name.to_owned())),
        }
    }
}

/// A checked `LogConfig`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOptions {
    pub driver: Driver,
    pub rotation: Rotation,
    /// Labels of the container that every entry repeats.
    labels: Chosen,
    /// Variables of its environment likewise.
    env: Chosen,
    tag: Option<String>,
}

/// Keys chosen by name or by pattern.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Chosen {
    names: Vec<String>,
    /// A regular expression that was compiled once already.
    pattern: Option<String>,
}

impl Chosen {
    fn has(&self, key: &str) -> bool {
        let matches = |pattern: &String| Regex::new(pattern).is_ok_and(|regex| regex.is_match(key));
        self.names.iter().any(|name| name == key) || self.pattern.as_ref().is_some_and(matches)
    }
}

/// A log option that cannot be: Docker's sentences.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OptionError {
    #[error("logger: no log driver named '{0}' is registered")]
    Driver(String),
    #[error("unknown log opt '{0}' for json-file log driver")]
    UnknownJsonFile(String),
    #[error("unknown log opt '{0}' for log driver local")]
    UnknownLocal(String),
    #[error("logger: logging mode not supported: {0}")]
    Mode(String),
    #[error("logger: max-buffer-size option is only supported with 'mode=non-blocking'")]
    BufferWithoutMode,
    #[error("error parsing option max-buffer-size: invalid size: '{0}'")]
    BufferSize(String),
    #[error("invalid size: '{0}'")]
    Size(String),
    #[error("max-size must be a positive number")]
    ZeroSize,
    #[error("strconv.Atoi: parsing {0:?}: invalid syntax")]
    Count(String),
    #[error("max-file cannot be less than 1")]
    ZeroCount,
    #[error("strconv.ParseBool: parsing {0:?}: invalid syntax")]
    Bool(String),
    #[error("error parsing regexp: {0}")]
    Regex(String),
}

impl Classify for OptionError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidParameter
    }
}

/// What a `tag` template may speak of.
#[derive(Debug, Clone, Copy, Default)]
pub struct TagInfo<'a> {
    pub id: &'a str,
    /// Without the leading slash.
    pub name: &'a str,
    pub image_id: &'a str,
    pub image_name: &'a str,
}

impl LogOptions {
    /// Checks `HostConfig.LogConfig`.
    pub fn parse(driver: &str, config: &BTreeMap<String, String>) -> Result<Self, OptionError> {
        let driver = Driver::parse(driver)?;
        let rotation =
            Rotation { max_bytes: Some(DEFAULT_MAX_BYTES), max_files: DEFAULT_MAX_FILES };
        let mut options = LogOptions {
            driver,
            rotation,
            labels: Chosen::default(),
            env: Chosen::default(),
            tag: None,
        };
        if driver == Driver::None {
            return Ok(options);
        }
        check_mode(config)?;
        for (key, value) in config {
            options.set(key, value)?;
        }
        if config.contains_key("max-size") && !config.contains_key("max-file") {
            // dockerd: a size alone keeps one file.
            options.rotation.max_files = 1;
        }
        Ok(options)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), OptionError> {
        let json = self.driver == Driver::JsonFile;
        match key {
            "mode" | "max-buffer-size" => {}
            "max-size" if value == "-1" => self.rotation.max_bytes = None,
            "max-size" => self.rotation.max_bytes = Some(max_size(value)?),
            "max-file" => self.rotation.max_files = max_file(value)?,
            "compress" => check_bool(value)?,
            "labels" if json => self.labels.names = list(value),
            "env" if json => self.env.names = list(value),
            "labels-regex" if json => self.labels.pattern = pattern(value)?,
            "env-regex" if json => self.env.pattern = pattern(value)?,
            "tag" if json => self.tag = Some(value.to_owned()).filter(|tag| !tag.is_empty()),
            _ if json => return Err(OptionError::UnknownJsonFile(key.to_owned())),
            _ => return Err(OptionError::UnknownLocal(key.to_owned())),
        }
        Ok(())
    }

    /// What every entry of this container carries: the chosen labels and variables, and the tag.
    pub fn attributes(
        &self,
        labels: &BTreeMap<String, String>,
        env: &[String],
        info: TagInfo<'_>,
    ) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let chosen = labels.iter().filter(|(key, _)| self.labels.has(key));
        found.extend(chosen.map(|(key, value)| (key.clone(), value.clone())));
        for (key, value) in env.iter().filter_map(|variable| variable.split_once('=')) {
            if self.env.has(key) {
                found.insert(key.to_owned(), value.to_owned());
            }
        }
        if let Some(tag) = &self.tag {
            found.insert("tag".to_owned(), expand_tag(tag, info));
        }
        found
    }
}

fn check_mode(config: &BTreeMap<String, String>) -> Result<(), OptionError> {
    let mode = config.get("mode").map_or("", String::as_str);
    if !matches!(mode, "" | "blocking" | "non-blocking") {
        return Err(OptionError::Mode(mode.to_owned()));
    }
    match config.get("max-buffer-size") {
        Some(_) if mode != "non-blocking" => Err(OptionError::BufferWithoutMode),
        Some(size) if human_size(size).is_none() => Err(OptionError::BufferSize(size.clone())),
        _ => Ok(()),
    }
}

fn list(value: &str) -> Vec<String> {
    value.split(',').filter(|key| !key.is_empty()).map(str::to_owned).collect()
}

fn pattern(value: &str) -> Result<Option<String>, OptionError> {
    if value.is_empty() {
        return Ok(None);
    }
    match Regex::new(value) {
        Ok(_) => Ok(Some(value.to_owned())),
        Err(err) => Err(OptionError::Regex(err.to_string())),
    }
}

fn max_size(value: &str) -> Result<u64, OptionError> {
    match human_size(value) {
        None => Err(OptionError::Size(value.to_owned())),
        Some(0) => Err(OptionError::ZeroSize),
        Some(size) => Ok(size),
    }
}

fn max_file(value: &str) -> Result<u32, OptionError> {
    let count: i64 = value.parse().map_err(|_| OptionError::Count(value.to_owned()))?;
    u32::try_from(count).ok().filter(|count| *count > 0).ok_or(OptionError::ZeroCount)
}

fn check_bool(value: &str) -> Result<(), OptionError> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(()),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(()),
        _ => Err(OptionError::Bool(value.to_owned())),
    }
}

/// Docker's decimal sizes: `10m` is ten million bytes.
fn human_size(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = lower[digits.len()..].trim_end_matches('b').trim_end_matches('i');
    let power = match unit {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let number: f64 = digits.trim_end_matches(' ').parse().ok()?;
    (number >= 0.0 && number.is_finite()).then(|| (number * 1000f64.powi(power)) as u64)
}

/// The fields that dockerd's templates have; anything else stays as it is written.
fn expand_tag(tag: &str, info: TagInfo<'_>) -> String {
    let short = |id: &str| {
        let hex = id.strip_prefix("sha256:").unwrap_or(id);
        hex.get(..12).unwrap_or(hex).to_owned()
    };
    let fields = [
        ("ID", short(info.id)),
        ("FullID", info.id.to_owned()),
        ("Name", info.name.to_owned()),
        ("ImageID", short(info.image_id)),
        ("ImageFullID", info.image_id.to_owned()),
        ("ImageName", info.image_name.to_owned()),
        ("DaemonName", "docker".to_owned()),
    ];
    fields.iter().fold(tag.to_owned(), |text, (field, value)| {
        text.replace(&format!("{{{{.{field}}}}}"), value)
            .replace(&format!("{{{{ .{field} }}}}"), value)
    })
}

#[cfg(test)]
mod tests;
