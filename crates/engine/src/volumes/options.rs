//! What a volume may be called, and what `type`, `device` and `o` make of it.

use crate::{Error, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use types::volume::{CreateRequest, Volume};

/// Refuses a request that no volume can be made of, in Docker's words (without `create NAME: `).
pub(super) fn check(request: &CreateRequest) -> Result<()> {
    if !matches!(request.driver.as_str(), "" | "local") {
        let driver = &request.driver;
        let text =
            format!("error looking up volume plugin {driver}: plugin \"{driver}\" not found");
        return Err(Error::not_found(text));
    }
    check_name(&request.name)?;
    check_options(request.driver_opts.as_ref().unwrap_or(&BTreeMap::new()))
}

fn check_name(name: &str) -> Result<()> {
    if name.len() == 1 {
        return Err(Error::invalid(
            "volume name is too short, names should be at least two alphanumeric characters",
        ));
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if name.bytes().all(allowed)
        && name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
    {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{name:?} includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are \
         allowed. If you intended to pass a host directory, use absolute path"
    )))
}

fn check_options(options: &BTreeMap<String, String>) -> Result<()> {
    if let Some(unknown) =
        options.keys().find(|name| !["type", "o", "device", "size"].contains(&name.as_str()))
    {
        return Err(Error::invalid(format!("invalid option: {unknown:?}")));
    }
    if options.get("size").is_some_and(|size| size != "0") {
        return Err(Error::invalid("quota size requested but no quota support"));
    }
    let needs: [(&str, &[&str]); 3] =
        [("device", &["type"]), ("o", &["device", "type"]), ("type", &["device"])];
    for (option, needed) in needs.iter().filter(|(option, _)| options.contains_key(*option)) {
        if let Some(absent) = needed.iter().find(|needed| !options.contains_key(**needed)) {
            tracing::debug!("volume option {option} needs {absent}");
            return Err(Error::invalid(format!("missing required option: {absent:?}")));
        }
    }
    Ok(())
}

/// What is mounted on a volume's directory while it is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    kind: String,
    device: String,
    options: String,
}

impl Mount {
    /// `None` for a plain directory.
    pub(super) fn of(volume: &Volume) -> Option<Self> {
        let options = volume.options.as_ref()?;
        let get = |name: &str| options.get(name).cloned().unwrap_or_default();
        let mount = Mount { kind: get("type"), device: get("device"), options: get("o") };
        (!mount.kind.is_empty() || !mount.device.is_empty()).then_some(mount)
    }

    /// Mounts it on `data`, unless it is there already (a daemon before us may have done so).
    pub(super) async fn ensure(&self, data: &Path) -> Result<()> {
        if is_mounted(data) {
            return Ok(());
        }
        let options = self.resolved().await?;
        let (flags, rest) = split(&options);
        let kind = (self.kind != "none" && self.kind != "bind").then_some(self.kind.as_str());
        let rest = (!rest.is_empty()).then_some(rest.as_str());
        mount(Some(self.device.as_str()), data, kind, flags, rest).map_err(|err| {
            let text =
                format!("failed to mount local volume: mount {}:{}", self.device, data.display());
            Error::caused(format!("{text}, data: {}", hide_password(&options)), err)
        })
    }

    /// Unmounts it from `data`, if it is there.
    pub(super) fn remove(&self, data: &Path) -> Result<()> {
        if !is_mounted(data) {
            return Ok(());
        }
        umount2(data, MntFlags::MNT_DETACH)
            .map_err(|err| Error::caused(format!("failed to unmount {}", data.display()), err))
    }

    /// The options with the server's name in `addr=` resolved, for file systems whose kernel part wants
    /// an address.
    async fn resolved(&self) -> Result<String> {
        let name = self.options.split(',').find_map(|option| option.strip_prefix("addr="));
        let Some(name) = name.filter(|name| name.parse::<IpAddr>().is_err()) else {
            return Ok(self.options.clone());
        };
        if !matches!(self.kind.as_str(), "nfs" | "nfs4" | "cifs") {
            return Ok(self.options.clone());
        }
        let fail = |err| Error::caused("error resolving passed in network volume address", err);
        let found = tokio::net::lookup_host((name, 0)).await.map_err(fail)?.next();
        let Some(found) = found else {
            return Err(Error::system(format!(
                "error resolving passed in network volume address: {name} has none"
            )));
        };
        Ok(self.options.replacen(&format!("addr={name}"), &format!("addr={}", found.ip()), 1))
    }
}

fn hide_password(options: &str) -> String {
    let hide = |option: &str| match option.split_once('=') {
        Some(("password" | "pass", _)) => "password=********".to_owned(),
        _ => option.to_owned(),
    };
    options.split(',').map(hide).collect::<Vec<_>>().join(",")
}

/// What mount(8) would pass as flags, and what it would leave to the file system.
fn split(options: &str) -> (MsFlags, String) {
    let mut flags = MsFlags::empty();
    let mut rest = Vec::new();
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match flag(option) {
            Some((flag, on)) => flags.set(flag, on),
            None => rest.push(option),
        }
    }
    (flags, rest.join(","))
}

fn flag(option: &str) -> Option<(MsFlags, bool)> {
    Some(match option {
        "defaults" => (MsFlags::empty(), true),
        "bind" => (MsFlags::MS_BIND, true),
        "rbind" => (MsFlags::MS_BIND | MsFlags::MS_REC, true),
        "ro" => (MsFlags::MS_RDONLY, true),
        "rw" => (MsFlags::MS_RDONLY, false),
        "nosuid" => (MsFlags::MS_NOSUID, true),
        "suid" => (MsFlags::MS_NOSUID, false),
        "nodev" => (MsFlags::MS_NODEV, true),
        "dev" => (MsFlags::MS_NODEV, false),
        "noexec" => (MsFlags::MS_NOEXEC, true),
        "exec" => (MsFlags::MS_NOEXEC, false),
        "sync" => (MsFlags::MS_SYNCHRONOUS, true),
        "async" => (MsFlags::MS_SYNCHRONOUS, false),
        "dirsync" => (MsFlags::MS_DIRSYNC, true),
        "noatime" => (MsFlags::MS_NOATIME, true),
        "atime" => (MsFlags::MS_NOATIME, false),
        "nodiratime" => (MsFlags::MS_NODIRATIME, true),
        "diratime" => (MsFlags::MS_NODIRATIME, false),
        "relatime" => (MsFlags::MS_RELATIME, true),
        "norelatime" => (MsFlags::MS_RELATIME, false),
        "strictatime" => (MsFlags::MS_STRICTATIME, true),
        "nostrictatime" => (MsFlags::MS_STRICTATIME, false),
        _ => return None,
    })
}

fn is_mounted(path: &Path) -> bool {
    let Ok(mounts) = std::fs::read_to_string("/proc/self/mountinfo") else { return false };
    let path = path.to_string_lossy();
    mounts.lines().any(|line| line.split(' ').nth(4).is_some_and(|target| unescape(target) == path))
}

/// Undoes mountinfo's octal escapes of spaces, tabs, newlines and backslashes.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(name: &str, driver: &str, options: &[(&str, &str)]) -> String {
        let pairs = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let request = CreateRequest {
            name: name.to_owned(),
            driver: driver.to_owned(),
            driver_opts: Some(pairs.collect()),
            labels: None,
        };
        check(&request).unwrap_err().to_string()
    }

    #[test]
    fn wrong_requests_get_dockers_sentences() {
        assert_eq!(
            refusal("a/b", "", &[]),
            "\"a/b\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are \
             allowed. If you intended to pass a host directory, use absolute path"
        );
        assert!(refusal("a", "", &[]).starts_with("volume name is too short"));
        assert!(refusal(".hidden", "", &[]).contains("invalid characters"));
        assert_eq!(
            refusal("ab", "nosuch", &[]),
            "error looking up volume plugin nosuch: plugin \"nosuch\" not found"
        );
        assert_eq!(refusal("ab", "", &[("bogus", "1")]), "invalid option: \"bogus\"");
        assert_eq!(refusal("ab", "", &[("device", "/x")]), "missing required option: \"type\"");
    }

    #[test]
    fn flags_are_told_from_the_file_systems_own_options() {
        assert_eq!(split("ro,size=1m,noexec,rw"), (MsFlags::MS_NOEXEC, "size=1m".to_owned()));
        assert_eq!(split("rbind").0, MsFlags::MS_BIND | MsFlags::MS_REC);
        assert_eq!(hide_password("user=a,password=b"), "user=a,password=********");
    }
}
