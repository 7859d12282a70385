//! `--user` and `--group-add` against the contents of the image's `/etc/passwd` and `/etc/group`.

use crate::error::SpecError;

/// Linux ids as Docker accepts them.
const MAX_ID: u32 = i32::MAX as u32;

/// Whom a process runs as.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExecUser {
    pub uid: u32,
    pub gid: u32,
    /// The group itself first, then those the group file or `--group-add` give.
    pub additional_gids: Vec<u32>,
    /// From the passwd file, else `/`.
    pub home: String,
}

struct Passwd<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

/// Resolves `user` (`name|uid[:group|gid]`, empty for root). `passwd` and `group` are the files' contents,
/// empty when there are none.
pub fn resolve_user(
    user: &str,
    passwd: &str,
    group: &str,
    group_add: &[String],
) -> Result<ExecUser, SpecError> {
    let (name, group_name) = user.split_once(':').unwrap_or((user, ""));
    let name = if name.is_empty() { "0" } else { name };
    let number = number(name)?;
    let found = users(passwd).find(|entry| match number {
        Some(uid) => entry.uid == uid || entry.name == name,
        None => entry.name == name,
    });
    let mut result = match (&found, number) {
        (Some(entry), _) => ExecUser {
            uid: entry.uid,
            gid: entry.gid,
            additional_gids: Vec::new(),
            home: entry.home.to_owned(),
        },
        (None, Some(uid)) => ExecUser { uid, home: "/".to_owned(), ..ExecUser::default() },
        (None, None) => return Err(SpecError::UnknownUser(name.to_owned())),
    };
    if result.home.is_empty() {
        "/".clone_into(&mut result.home);
    }
    let mut more = Vec::new();
    if !group_name.is_empty() {
        let gid = group_id(group_name, group)?;
        result.gid = gid.ok_or_else(|| SpecError::UnknownGroup(group_name.to_owned()))?;
    } else if let Some(entry) = &found {
        let member = |group: &Group<'_>| group.members.split(',').any(|m| m == entry.name);
        more.extend(groups(group).filter(member).map(|group| group.gid));
    }
    for name in group_add {
        let gid = group_id(name, group)?;
        more.push(gid.ok_or_else(|| SpecError::UnknownAdditionalGroup(name.clone()))?);
    }
    result.additional_gids.push(result.gid);
    for gid in more {
        if !result.additional_gids.contains(&gid) {
            result.additional_gids.push(gid);
        }
    }
    Ok(result)
}

/// A group's id by its name or number; a number needs no entry.
fn group_id(name: &str, group: &str) -> Result<Option<u32>, SpecError> {
    let number = number(name)?;
    Ok(groups(group).find(|entry| entry.name == name).map(|entry| entry.gid).or(number))
}

fn number(text: &str) -> Result<Option<u32>, SpecError> {
    match text.parse::<i64>() {
        Ok(id) => {
            u32::try_from(id).ok().filter(|id| *id <= MAX_ID).map(Some).ok_or(SpecError::IdRange)
        }
        Err(_) => Ok(None),
    }
}

fn users(passwd: &str) -> impl Iterator<Item = Passwd<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = fields.nth(1).unwrap_or("");
        Some(Passwd { name, uid, gid, home })
    })
}

fn groups(group: &str) -> impl Iterator<Item = Group<'_>> {
    group.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some(Group { name, gid, members: fields.next().unwrap_or("") })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/var/www:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nwww:x:34:\nlog:x:4:web,adm\naudio:x:29:\n";

    fn resolve(user: &str) -> Result<(u32, u32, Vec<u32>, String), String> {
        resolve_user(user, PASSWD, GROUP, &[])
            .map(|u| (u.uid, u.gid, u.additional_gids, u.home))
            .map_err(|err| err.to_string())
    }

    #[test]
    fn names_and_numbers_mean_the_same_user() {
        assert_eq!(resolve(""), Ok((0, 0, vec![0], "/root".to_owned())));
        assert_eq!(resolve("web"), Ok((33, 34, vec![34, 4], "/var/www".to_owned())));
        assert_eq!(resolve("33"), resolve("web"));
        assert_eq!(resolve("web:audio"), Ok((33, 29, vec![29], "/var/www".to_owned())));
        assert_eq!(resolve("1000"), Ok((1000, 0, vec![0], "/".to_owned())));
        assert_eq!(resolve("1000:77"), Ok((1000, 77, vec![77], "/".to_owned())));
    }

    #[test]
    fn refusals_are_dockers() {
        let no_user = "unable to find user foo: no matching entries in passwd file";
        let no_group = "unable to find group foo: no matching entries in group file";
        assert_eq!(resolve("foo"), Err(no_user.to_owned()));
        assert_eq!(resolve("web:foo"), Err(no_group.to_owned()));
        assert_eq!(
            resolve("4294967296"),
            Err("uids and gids must be in range 0-2147483647".to_owned())
        );
    }

    #[test]
    fn added_groups_may_be_names_or_numbers() {
        let add = ["audio".to_owned(), "500".to_owned()];
        let user = resolve_user("web", PASSWD, GROUP, &add).unwrap();
        assert_eq!(user.additional_gids, vec![34, 4, 29, 500]);
        let err = resolve_user("web", PASSWD, GROUP, &["nope".to_owned()]).unwrap_err();
        assert_eq!(err.to_string(), "Unable to find group nope");
    }
}
