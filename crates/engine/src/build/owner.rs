//! `--chown=user[:group]` and `--chmod=octal`, by the image's own user database.

use super::output::Failure;
use super::scope;
use std::path::Path;

/// Root, unless told otherwise.
pub(super) const ROOT: (u32, u32) = (0, 0);

/// User and group by name or number. A user alone brings the group of the same number, as Docker has it
/// for numbers, or of the same name.
pub(super) fn chown(root: &Path, text: &str) -> Result<(u32, u32), Failure> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, group),
        None => (text, text),
    };
    let uid = find(root, "passwd", "user", "uid", user)?;
    let gid = if text.contains(':') || group.parse::<u32>().is_ok() {
        find(root, "group", "group", "gid", group)?
    } else {
        find(root, "group", "group", "gid", group)
            .or_else(|err| primary_group(root, user).ok_or(err))?
    };
    Ok((uid, gid))
}

fn find(root: &Path, file: &str, kind: &str, id: &str, name: &str) -> Result<u32, Failure> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    database(root, file)
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&name))
        .and_then(|fields| fields.get(2)?.parse().ok())
        .ok_or_else(|| {
            Failure::new(format!(
                "unable to convert uid/gid chown string to host mapping: can't find {id} for {kind} {name}: no such {kind}: {name}"
            ))
        })
}

fn primary_group(root: &Path, user: &str) -> Option<u32> {
    let passwd = database(root, "passwd");
    let fields = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    fields.into_iter().find(|fields| fields.first() == Some(&user))?.get(3)?.parse().ok()
}

fn database(root: &Path, file: &str) -> String {
    let path = scope::follow(root, &Path::new("etc").join(file));
    path.and_then(std::fs::read_to_string).unwrap_or_default()
}

/// Permission bits.
pub(super) fn chmod(text: &str) -> Result<u32, Failure> {
    let refuse = || {
        Failure::new(format!(
            "invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"
        ))
    };
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o7777 => Ok(mode),
        _ => Err(refuse()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_up_in_the_image() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::fs::write(dir.path().join("etc/passwd"), "root:x:0:0::/:\nweb:x:33:44::/:\n").unwrap();
        std::fs::write(dir.path().join("etc/group"), "root:x:0:\nstaff:x:50:\n").unwrap();
        let owner = |text: &str| chown(dir.path(), text).map_err(|failure| failure.message);
        assert_eq!(owner("web:staff"), Ok((33, 50)));
        assert_eq!(owner("web"), Ok((33, 44)));
        assert_eq!(owner("7"), Ok((7, 7)));
        assert_eq!(owner("7:staff"), Ok((7, 50)));
        assert_eq!(
            owner("nobody"),
            Err("unable to convert uid/gid chown string to host mapping: can't find uid for user nobody: no such user: nobody".into())
        );
    }

    #[test]
    fn modes_are_octal() {
        assert_eq!(chmod("755").ok(), Some(0o755));
        assert!(chmod("u+x").is_err() && chmod("10000").is_err());
    }
}
