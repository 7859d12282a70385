//! What stands below a path, what differs between two looks at it, and the archive that carries the difference.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};
use dockerfile::Ignore;

use super::notice::Notice;

/// Paths below a rule's path (`""` is the path itself, when it is a file), directories among them, and what tells
/// their versions apart.
pub(super) type Snapshot = BTreeMap<String, Stamp>;

/// A version of a file: modification time, size and mode; of a directory: that it is there.
pub(super) type Stamp = (i64, i64, u64, u32);

/// What a directory has for a version.
const DIRECTORY: Stamp = (0, 0, 0, 0);

/// Paths that differ between two snapshots.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) changed: Vec<String>,
    pub(super) removed: Vec<String>,
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.changed.len() + self.removed.len()
    }
}

/// Which paths a rule looks at.
pub(super) struct Filter {
    ignore: Ignore,
    include: Ignore,
}

impl Filter {
    /// `ignore` and `include` of the rule; `.dockerignore` counts where the rule's path is the build context.
    pub(super) fn new(rule: &compose::model::Watch, context: Option<&Path>) -> Result<Self> {
        let mut patterns: Vec<String> =
            vec!["**/.git".to_owned(), "**/*.swp".to_owned(), "**/*~".to_owned()];
        if context.is_some_and(|context| context == Path::new(&rule.path)) {
            let text = fs::read_to_string(Path::new(&rule.path).join(".dockerignore"));
            let lines = text.unwrap_or_default();
            let lines = lines.lines().map(str::trim);
            patterns
                .extend(lines.filter(|l| !l.is_empty() && !l.starts_with('#')).map(str::to_owned));
        }
        let anywhere = |pattern: &String| {
            let bare = pattern.trim_start_matches("./").trim_end_matches('/');
            if bare.contains('/') { bare.to_owned() } else { format!("**/{bare}") }
        };
        patterns.extend(rule.ignore.iter().map(anywhere));
        let include: Vec<String> = rule.include.iter().map(anywhere).collect();
        let parse = |patterns: &[String]| {
            Ignore::from_patterns(patterns.iter().map(String::as_str))
                .with_context(|| format!("cannot watch {}", rule.path))
        };
        Ok(Filter { ignore: parse(&patterns)?, include: parse(&include)? })
    }

    fn wants(&self, path: &str) -> bool {
        !self.ignore.matches(path) && (self.include.is_empty() || self.include.matches(path))
    }
}

/// Looks at everything below `root`; every directory on the way is put on `notice`.
pub(super) fn scan(root: &Path, filter: &Filter, notice: &mut Notice) -> Result<Snapshot> {
    let mut out = Snapshot::new();
    let Some(meta) = there(fs::symlink_metadata(root))? else {
        notice.add(root.parent().unwrap_or(root));
        return Ok(out);
    };
    if !fs::metadata(root).is_ok_and(|meta| meta.is_dir()) {
        notice.add(root.parent().unwrap_or(root));
        out.insert(String::new(), stamp(&meta));
        return Ok(out);
    }
    let mut open = vec![String::new()];
    while let Some(dir) = open.pop() {
        let path = root.join(&dir);
        notice.add(&path);
        let Some(entries) = there(fs::read_dir(&path))? else { continue };
        for entry in entries {
            let Some(entry) = there(entry)? else { continue };
            let Some(meta) = there(entry.metadata())? else { continue };
            let Ok(name) = entry.file_name().into_string() else { continue };
            let name = if dir.is_empty() { name } else { format!("{dir}/{name}") };
            if filter.wants(&name) {
                out.insert(name.clone(), stamp(&meta));
            }
            if meta.is_dir() && !(filter.ignore.matches(&name) && filter.ignore.prunes(&name)) {
                open.push(name);
            }
        }
    }
    Ok(out)
}

/// What went away while one looked is simply not there.
fn there<T>(found: io::Result<T>) -> Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(err)
            if matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        Err(err) => Err(err.into()),
    }
}

fn stamp(meta: &Metadata) -> Stamp {
    if meta.is_dir() {
        return DIRECTORY;
    }
    (meta.mtime(), meta.mtime_nsec(), meta.len(), meta.mode())
}

/// From `before` to `after`. A file where a directory was is both: the directory goes first.
pub(super) fn diff(before: &Snapshot, after: &Snapshot) -> Changes {
    let changed = after.iter().filter(|(name, stamp)| before.get(*name) != Some(stamp));
    let removed = before.iter().filter(|(name, was)| {
        after.get(*name).is_none_or(|is| (**was == DIRECTORY) != (*is == DIRECTORY))
    });
    Changes {
        changed: changed.map(|(name, _)| name.clone()).collect(),
        removed: removed.map(|(name, _)| name.clone()).collect(),
    }
}

/// A tar of the named paths below `root`, each under its `place` in the container. A file is read before its length
/// is written: one that grows meanwhile must not tear the tar. A directory with something in it needs no entry.
pub(super) fn archive(
    root: &Path,
    names: &[String],
    place: impl Fn(&str) -> String,
) -> io::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    builder.follow_symlinks(false);
    let sorted: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    for name in names {
        let path = if name.is_empty() { root.to_owned() } else { root.join(name) };
        let below = format!("{name}/");
        let first = sorted.range(below.as_str()..).next();
        let filled = first.is_some_and(|first| first.starts_with(&below));
        let target = place(name);
        let target = target.trim_start_matches('/');
        match append(&mut builder, &path, target, filled) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    builder.into_inner()
}

fn append(
    builder: &mut tar::Builder<Vec<u8>>,
    path: &Path,
    target: &str,
    filled: bool,
) -> io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    if meta.is_dir() {
        return if filled { Ok(()) } else { builder.append_dir(target, path) };
    }
    if !meta.is_file() {
        return builder.append_path_with_name(path, target);
    }
    let bytes = fs::read(path)?;
    let mut header = tar::Header::new_gnu();
    header.set_metadata(&meta);
    header.set_size(bytes.len() as u64);
    builder.append_data(&mut header, target, bytes.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(path: &Path) -> compose::model::Watch {
        compose::model::Watch {
            path: path.to_string_lossy().into_owned(),
            ignore: vec!["node_modules/".to_owned(), "*.log".to_owned()],
            ..Default::default()
        }
    }

    #[tokio::test]
    async fn a_change_is_what_two_looks_differ_in() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path();
        fs::create_dir_all(root.join("src/node_modules/x")).expect("made");
        for name in ["a.js", "src/b.js", "src/node_modules/x/c.js", "turns", "x.log"] {
            fs::write(root.join(name), "1").expect("written");
        }
        let filter = Filter::new(&rule(root), None).expect("a filter");
        let mut notice = Notice::new().expect("notices");
        let before = scan(root, &filter, &mut notice).expect("a look");
        assert_eq!(before.keys().collect::<Vec<_>>(), ["a.js", "src", "src/b.js", "turns"]);
        fs::write(root.join("src/b.js"), "22").expect("written");
        fs::write(root.join("src/new.js"), "1").expect("written");
        fs::write(root.join("y.log"), "1").expect("written");
        fs::create_dir_all(root.join("empty")).expect("made");
        fs::remove_file(root.join("turns")).expect("removed");
        fs::create_dir_all(root.join("turns")).expect("made");
        fs::create_dir_all(root.join("full")).expect("made");
        fs::write(root.join("full/d.js"), "1").expect("written");
        fs::remove_file(root.join("a.js")).expect("removed");
        let after = scan(root, &filter, &mut notice).expect("a look");
        let changes = diff(&before, &after);
        assert_eq!(
            changes.changed,
            ["empty", "full", "full/d.js", "src/b.js", "src/new.js", "turns"]
        );
        assert_eq!(changes.removed, ["a.js", "turns"], "what becomes a directory goes first");
        let archive =
            archive(root, &changes.changed, |name| format!("/app/{name}")).expect("a tar");
        let mut tar = tar::Archive::new(archive.as_slice());
        let names: Vec<String> = tar
            .entries()
            .expect("entries")
            .map(|entry| entry.expect("an entry").path().expect("a path").display().to_string())
            .collect();
        assert_eq!(
            names,
            ["app/empty", "app/full/d.js", "app/src/b.js", "app/src/new.js", "app/turns"]
        );
    }

    #[test]
    fn patterns_may_choose_what_is_looked_at() {
        let mut wanted = rule(Path::new("/x"));
        wanted.include = vec!["*.py".to_owned(), "web/static".to_owned()];
        let filter = Filter::new(&wanted, None).expect("a filter");
        for path in ["a.py", "deep/b.py", "web/static/x.css"] {
            assert!(filter.wants(path), "{path}");
        }
        for path in ["a.js", "node_modules/a.py", ".git/x.py", "web/x.css"] {
            assert!(!filter.wants(path), "{path}");
        }
    }
}
