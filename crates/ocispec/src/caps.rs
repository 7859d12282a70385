//! Capabilities: Docker's default set, `--cap-add` and `--cap-drop`.

use crate::error::{SpecError, Warning};
use crate::input::Facts;
use types::container::HostConfig;

/// What a container has when nothing is said.
pub const DEFAULT_CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// Every capability of Linux, in the kernel's order.
pub const ALL_CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// The container's capabilities as far as the daemon has them.
pub(crate) fn of_container(
    host: &HostConfig,
    privileged: bool,
    facts: &Facts,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<&'static str>, SpecError> {
    let asked = asked(host, privileged)?;
    let (given, missing): (Vec<_>, Vec<_>) = asked.into_iter().partition(|name| facts.has(name));
    if !missing.is_empty() {
        warnings.push(Warning::Capabilities(missing.into_iter().map(str::to_owned).collect()));
    }
    Ok(given)
}

/// What was asked for, in the kernel's order. Docker's rules: `ALL` in drop starts from nothing, in add
/// from everything; a name both dropped and added under `ALL` follows the specific one.
fn asked(host: &HostConfig, privileged: bool) -> Result<Vec<&'static str>, SpecError> {
    if privileged {
        return Ok(ALL_CAPABILITIES.to_vec());
    }
    let add = named("CapAdd", host.cap_add.as_deref())?;
    let drop = named("CapDrop", host.cap_drop.as_deref())?;
    let all = |list: &[&str]| list.contains(&"ALL");
    let has = |name: &&str| {
        if drop.contains(name) {
            false
        } else if all(&add) {
            true
        } else {
            add.contains(name) || (!all(&drop) && DEFAULT_CAPABILITIES.contains(name))
        }
    };
    Ok(ALL_CAPABILITIES.into_iter().filter(has).collect())
}

/// Checked names, with `CAP_` and in capitals; `ALL` stays.
fn named(field: &'static str, list: Option<&[String]>) -> Result<Vec<&'static str>, SpecError> {
    list.unwrap_or_default().iter().map(|name| normalize(field, name)).collect()
}

fn normalize(field: &'static str, name: &str) -> Result<&'static str, SpecError> {
    let upper = name.trim().to_ascii_uppercase();
    if upper == "ALL" {
        return Ok("ALL");
    }
    let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    ALL_CAPABILITIES
        .into_iter()
        .find(|known| *known == full)
        .ok_or(SpecError::UnknownCapability { field, name: full })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(add: &[&str], drop: &[&str]) -> HostConfig {
        let list = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        HostConfig { cap_add: list(add), cap_drop: list(drop), ..HostConfig::default() }
    }

    #[test]
    fn names_are_added_and_dropped_in_any_spelling() {
        let caps = asked(&host(&["net_admin"], &["CAP_CHOWN"]), false).unwrap();
        assert!(caps.contains(&"CAP_NET_ADMIN") && !caps.contains(&"CAP_CHOWN"));
        assert_eq!(caps.len(), DEFAULT_CAPABILITIES.len());
    }

    #[test]
    fn all_gives_way_to_a_name() {
        assert_eq!(asked(&host(&["CHOWN"], &["ALL"]), false).unwrap(), vec!["CAP_CHOWN"]);
        let caps = asked(&host(&["ALL"], &["CHOWN"]), false).unwrap();
        assert_eq!(caps.len(), ALL_CAPABILITIES.len() - 1);
    }

    #[test]
    fn an_unknown_name_reads_as_from_dockerd() {
        let err = asked(&host(&["bogus"], &[]), false).unwrap_err();
        assert_eq!(err.to_string(), r#"invalid CapAdd: unknown capability: "CAP_BOGUS""#);
    }

    #[test]
    fn what_the_daemon_lacks_is_left_out_with_a_warning() {
        let facts = Facts { capabilities: vec!["CAP_CHOWN".to_owned()], ..Facts::default() };
        let mut warnings = Vec::new();
        let caps =
            of_container(&host(&["CHOWN", "SYS_RESOURCE"], &["ALL"]), false, &facts, &mut warnings);
        assert_eq!(caps.unwrap(), vec!["CAP_CHOWN"]);
        assert_eq!(warnings, vec![Warning::Capabilities(vec!["CAP_SYS_RESOURCE".to_owned()])]);
    }
}
