//! Flags of an instruction, taken one by one; what is left at the end is unknown.

use crate::error::Syntax;
use crate::instruction::{MountKind, RunMount};

/// May be given more than once.
const LISTS: [&str; 2] = ["mount", "exclude"];

/// `--name[=value]` in the order written.
#[derive(Debug)]
pub(super) struct Flags(Vec<(String, Option<String>)>);

impl Flags {
    pub(super) fn new(words: Vec<String>) -> Result<Self, Syntax> {
        let mut flags: Vec<(String, Option<String>)> = Vec::new();
        for word in words {
            let bare = word.trim_start_matches("--");
            let (name, value) = match bare.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (bare, None),
            };
            if flags.iter().any(|(seen, _)| seen == name) && !LISTS.contains(&name) {
                return Err(Syntax::DuplicateFlag(name.to_owned()));
            }
            flags.push((name.to_owned(), value));
        }
        Ok(Flags(flags))
    }

    fn take(&mut self, name: &str) -> Option<Option<String>> {
        let at = self.0.iter().position(|(seen, _)| seen == name)?;
        Some(self.0.remove(at).1)
    }

    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, Syntax> {
        match self.take(name) {
            Some(None) => Err(Syntax::FlagWithoutValue(name.to_owned())),
            Some(value) => Ok(value),
            None => Ok(None),
        }
    }

    pub(super) fn boolean(&mut self, name: &str) -> Result<Option<bool>, Syntax> {
        match self.take(name) {
            None => Ok(None),
            Some(None) => Ok(Some(true)),
            Some(Some(value)) => match value.to_ascii_lowercase().as_str() {
                "true" => Ok(Some(true)),
                "false" => Ok(Some(false)),
                _ => Err(Syntax::FlagNotBoolean(name.to_owned(), value)),
            },
        }
    }

    pub(super) fn many(&mut self, name: &str) -> Result<Vec<String>, Syntax> {
        std::iter::from_fn(|| self.text(name).transpose()).collect()
    }

    /// Refuses the first flag that nobody took.
    pub(super) fn done(&self) -> Result<(), Syntax> {
        match self.0.first() {
            Some((name, _)) => Err(Syntax::UnknownFlag(name.clone())),
            None => Ok(()),
        }
    }
}

/// Reads `type=cache,target=/x,…`.
pub(super) fn mount(text: &str) -> Result<RunMount, Syntax> {
    let mut mount = RunMount { read_only: true, ..RunMount::default() };
    let mut writable = None;
    for field in text.split(',') {
        let (key, value) = field.split_once('=').unwrap_or((field, ""));
        let bad = |why| Syntax::MountField(key.to_owned(), why);
        let number = || value.parse().map_err(|_| bad("not a number"));
        match key.to_ascii_lowercase().as_str() {
            "type" => mount.kind = mount_kind(value)?,
            "from" => mount.from = Some(value.to_owned()),
            "source" | "src" => mount.source = value.to_owned(),
            "target" | "dst" | "destination" => mount.target = value.to_owned(),
            "readonly" | "ro" => writable = Some(value == "false"),
            "readwrite" | "rw" => writable = Some(value != "false"),
            "id" => mount.id = Some(value.to_owned()),
            "size" => mount.size = Some(size(value).ok_or_else(|| bad("not a size"))?),
            "mode" => {
                let mode = u32::from_str_radix(value, 8);
                mount.mode = Some(mode.map_err(|_| bad("not an octal mode"))?);
            }
            "uid" => mount.uid = Some(number()?),
            "gid" => mount.gid = Some(number()?),
            "required" => mount.required = value != "false",
            "env" => mount.env = Some(value.to_owned()),
            "sharing" => {}
            _ => return Err(bad("unexpected key")),
        }
    }
    // Binds are read-only unless told otherwise, the others writable.
    mount.read_only = !writable.unwrap_or(mount.kind != MountKind::Bind);
    let needs_target = !matches!(mount.kind, MountKind::Secret | MountKind::Ssh);
    if mount.target.is_empty() && needs_target {
        return Err(Syntax::MountField("target".to_owned(), "missing"));
    }
    Ok(mount)
}

fn mount_kind(value: &str) -> Result<MountKind, Syntax> {
    match value {
        "bind" => Ok(MountKind::Bind),
        "cache" => Ok(MountKind::Cache),
        "tmpfs" => Ok(MountKind::Tmpfs),
        "secret" => Ok(MountKind::Secret),
        "ssh" => Ok(MountKind::Ssh),
        other => Err(Syntax::MountType(other.to_owned())),
    }
}

/// Docker's binary sizes: `64m`.
fn size(text: &str) -> Option<i64> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let shift = match lower[digits.len()..].trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        _ => return None,
    };
    digits.trim().parse::<i64>().ok()?.checked_shl(shift)
}
