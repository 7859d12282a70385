//! What a create request may say, checked before anything is made. The sentences are dockerd's. Pure.

use crate::{Error, Result};
use lifecycle::Restart;
use std::collections::BTreeSet;
use types::container::{Config, HostConfig};
use types::port::parse_port;

/// dockerd's smallest memory limit: less does not start a process.
const LEAST_MEMORY: i64 = 6 * 1024 * 1024;

/// As an address of `--add-host`: the host, as the container reaches it.
const HOST_GATEWAY: &str = "host-gateway";

pub(crate) const LEAST_IO_WEIGHT: u16 = 10;

/// Refuses a name Docker refuses.
pub(crate) fn name(name: &str) -> Result<()> {
    let mut chars = name.chars();
    let head = chars.next().is_some_and(|first| first.is_ascii_alphanumeric());
    let tail = name.len() > 1 && chars.all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    if head && tail {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
    )))
}

/// Refuses what no container could be made of. Warnings are what is accepted and not done.
pub(crate) fn request(config: &Config, host: &HostConfig) -> Result<Vec<String>> {
    network_mode(config, host)?;
    settings(config, host)
}

/// As [`request`], of a container that is there: what it shares with another has been filled in.
pub(crate) fn settings(config: &Config, host: &HostConfig) -> Result<Vec<String>> {
    config_part(config)?;
    host_part(host)?;
    resources(host)
}

/// What makes no sense beside the network mode or the UTS mode (moby's `validateNetMode`).
fn network_mode(config: &Config, host: &HostConfig) -> Result<()> {
    let refuse = |what: &str| Err(Error::invalid(what));
    let has_links = host.links.as_ref().is_some_and(|links| !links.is_empty());
    let undefined = "can't be used with links. This would result in undefined behavior";
    if let Some(other) = host.network_mode.strip_prefix("container:") {
        let filled =
            |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
        let conflicts = [
            (!config.hostname.is_empty(), "hostname and the network mode"),
            (
                has_links,
                "container type network can't be used with links. This would result in undefined behavior",
            ),
            (!host.dns.is_empty(), "dns and the network mode"),
            (filled(&host.extra_hosts), "custom host-to-IP mapping and the network mode"),
            (!config.mac_address.is_empty(), "mac-address and the network mode"),
            (
                !host.port_bindings.is_empty() || host.publish_all_ports,
                "port publishing and the container type network mode",
            ),
            (
                config.exposed_ports.as_ref().is_some_and(|ports| !ports.is_empty()),
                "port exposing and the container type network mode",
            ),
        ];
        if other.is_empty() {
            return refuse("Invalid network mode: invalid container format container:<name|id>");
        }
        if let Some((_, conflict)) = conflicts.into_iter().find(|(conflict, _)| *conflict) {
            return Err(Error::invalid(format!("conflicting options: {conflict}")));
        }
    }
    if host.uts_mode == "host" && !config.hostname.is_empty() {
        return refuse("conflicting options: hostname and the UTS mode");
    }
    if host.network_mode == "host" && has_links {
        return Err(Error::invalid(format!(
            "conflicting options: host type networking {undefined}"
        )));
    }
    Ok(())
}

fn config_part(config: &Config) -> Result<()> {
    if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
        return Err(Error::invalid(format!(
            "the working directory '{}' is invalid, it needs to be an absolute path",
            config.working_dir
        )));
    }
    for entry in config.env.iter().flatten() {
        if entry.is_empty() || entry.starts_with('=') {
            return Err(Error::invalid(format!("invalid environment variable: {entry}")));
        }
    }
    if !config.stop_signal.is_empty() && super::signal::parse(&config.stop_signal).is_none() {
        return Err(Error::invalid(format!("invalid signal: {}", config.stop_signal)));
    }
    for port in config.exposed_ports.iter().flatten().map(|(port, _)| port) {
        parse_port(port)
            .ok_or_else(|| Error::invalid(format!("invalid port specification: \"{port}\"")))?;
    }
    let Some(health) = &config.healthcheck else { return Ok(()) };
    let refuse =
        |what: &str| Err(Error::invalid(format!("{what} in Healthcheck cannot be less than 1ms")));
    let too_short = |nanos: i64| nanos != 0 && nanos < 1_000_000;
    match () {
        () if too_short(health.interval) => refuse("Interval"),
        () if too_short(health.timeout) => refuse("Timeout"),
        () if too_short(health.start_period) => refuse("StartPeriod"),
        () if too_short(health.start_interval) => refuse("StartInterval"),
        () if health.retries < 0 => {
            Err(Error::invalid("Retries in Healthcheck cannot be negative"))
        }
        () => Ok(()),
    }
}

fn host_part(host: &HostConfig) -> Result<()> {
    let restart = Restart::parse(&host.restart_policy).map_err(Error::invalid)?;
    if host.auto_remove && restart != Restart::No {
        return Err(Error::invalid("can't create 'AutoRemove' container with restart policy"));
    }
    for (port, bindings) in &host.port_bindings {
        parse_port(port)
            .ok_or_else(|| Error::invalid(format!("invalid port specification: \"{port}\"")))?;
        for binding in bindings.iter().flatten() {
            if !is_port_range(&binding.host_port) {
                return Err(Error::invalid(format!(
                    "invalid port specification: \"{}\"",
                    binding.host_port
                )));
            }
            if !binding.host_ip.is_empty() && binding.host_ip.parse::<std::net::IpAddr>().is_err() {
                return Err(Error::invalid(format!("invalid IP address: \"{}\"", binding.host_ip)));
            }
        }
    }
    for extra in host.extra_hosts.iter().flatten() {
        add_host(extra)?;
    }
    let isolated = ["default", "process", ""];
    if !isolated.contains(&host.isolation.as_str()) {
        return Err(Error::invalid(format!("invalid isolation '{}' on linux", host.isolation)));
    }
    if !matches!(host.cgroupns_mode.as_str(), "" | "host" | "private") {
        let mode = &host.cgroupns_mode;
        return Err(Error::invalid(format!("invalid cgroup namespace mode: {mode}")));
    }
    namespaces(host)?;
    if host.annotations.iter().flatten().any(|(key, _)| key.is_empty()) {
        return Err(Error::invalid(
            "invalid Annotations: the empty string is not permitted as an annotation key",
        ));
    }
    if host.storage_opt.as_ref().is_some_and(|options| !options.is_empty()) {
        return Err(Error::system(
            "--storage-opt is supported only for overlay over xfs with 'pquota' mount option",
        ));
    }
    Ok(())
}

/// The words of `--ipc`, `--pid` and `--uts`. Only a PID mode must name its container here.
fn namespaces(host: &HostConfig) -> Result<()> {
    let refuse =
        |kind: &str, mode: &str| Err(Error::invalid(format!("invalid {kind} mode: {mode}")));
    let (ipc, pid, uts) = (&host.ipc_mode, &host.pid_mode, &host.uts_mode);
    let own = matches!(ipc.as_str(), "" | "none" | "private" | "host" | "shareable");
    if !own && !ipc.starts_with("container:") {
        return refuse("IPC", ipc);
    }
    let named = pid.strip_prefix("container:").is_some_and(|name| !name.is_empty());
    if !matches!(pid.as_str(), "" | "host") && !named {
        return refuse("PID", pid);
    }
    if !matches!(uts.as_str(), "" | "host") {
        return refuse("UTS", uts);
    }
    Ok(())
}

/// Empty, `PORT` or `FIRST-LAST`.
fn is_port_range(text: &str) -> bool {
    let port = |text: &str| text.parse::<u16>().ok();
    match text.split_once('-') {
        None => text.is_empty() || port(text).is_some(),
        Some((first, last)) => port(first).zip(port(last)).is_some_and(|(a, b)| a <= b),
    }
}

/// `NAME:ADDRESS` or `NAME=ADDRESS`, where an address may be written in brackets or be the host's own.
fn add_host(extra: &str) -> Result<()> {
    let parts = extra.split_once([':', '=']).filter(|(name, _)| !name.is_empty());
    let Some((_, address)) = parts else {
        return Err(Error::invalid(format!("bad format for add-host: \"{extra}\"")));
    };
    let bare = address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
    let is_address = bare.unwrap_or(address).parse::<std::net::IpAddr>().is_ok();
    if address == HOST_GATEWAY || is_address {
        return Ok(());
    }
    Err(Error::invalid(format!("invalid IP address in add-host: \"{address}\"")))
}

fn resources(host: &HostConfig) -> Result<Vec<String>> {
    let invalid = |text: &str| Err(Error::invalid(text));
    if host.memory != 0 && host.memory < LEAST_MEMORY {
        return invalid("Minimum memory limit allowed is 6MB");
    }
    if host.memory > 0 && host.memory_swap > 0 && host.memory_swap < host.memory {
        return invalid("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    if host.memory == 0 && host.memory_swap > 0 {
        return invalid(
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        );
    }
    if host.memory_swappiness.is_some_and(|value| !(-1..=100).contains(&value)) {
        let value = host.memory_swappiness.unwrap_or_default();
        return Err(Error::invalid(format!(
            "Invalid value: {value}, valid memory swappiness range is 0-100"
        )));
    }
    if host.memory_reservation != 0 && host.memory_reservation < LEAST_MEMORY {
        return invalid("Minimum memory reservation allowed is 6MB");
    }
    if host.memory > 0 && host.memory_reservation > host.memory {
        return invalid(
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        );
    }
    if host.nano_cpus < 0 {
        return invalid("Range of CPUs is from 0.01 to the number of available CPUs");
    }
    if host.nano_cpus > 0 && host.cpu_period > 0 {
        return invalid("Conflicting options: Nano CPUs and CPU Period cannot both be set");
    }
    if host.nano_cpus > 0 && host.cpu_quota > 0 {
        return invalid("Conflicting options: Nano CPUs and CPU Quota cannot both be set");
    }
    if host.cpu_period != 0 && !(1000..=1_000_000).contains(&host.cpu_period) {
        return invalid(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        );
    }
    if host.cpu_quota > 0 && host.cpu_quota < 1000 {
        return invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)");
    }
    if host.cpu_shares < 0 {
        let shares = host.cpu_shares;
        return Err(Error::invalid(format!(
            "invalid CPU shares ({shares}): value must be a positive integer"
        )));
    }
    if host.blkio_weight > 0 && !(LEAST_IO_WEIGHT..=1000).contains(&host.blkio_weight) {
        return invalid("Range of blkio weight is from 10 to 1000");
    }
    if host.shm_size < 0 {
        return invalid("SHM size can not be less than 0");
    }
    if !(-1000..=1000).contains(&host.oom_score_adj) {
        let value = host.oom_score_adj;
        return Err(Error::invalid(format!(
            "Invalid value {value}, range for oom score adj is [-1000, 1000]"
        )));
    }
    let mut warnings = Vec::new();
    if host.network_mode == "host" && !host.port_bindings.is_empty() {
        warnings.push("Published ports are discarded when using host network mode".to_owned());
    }
    if host.oom_kill_disable == Some(true) && host.memory == 0 {
        warnings.push(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources."
                .to_owned(),
        );
    }
    Ok(warnings)
}

/// Which CPUs and memory nodes a container may be bound to; both as the kernel lists them (`0-1,4`).
pub(crate) struct Available<'a> {
    pub(crate) cpus: &'a str,
    pub(crate) mems: &'a str,
}

/// Refuses a set that is none, or of what is not there.
pub(crate) fn sets(host: &HostConfig, available: &Available<'_>) -> Result<()> {
    let kinds = [
        ("cpus", "CPUs", &host.cpuset_cpus, available.cpus),
        ("mems", "memory nodes", &host.cpuset_mems, available.mems),
    ];
    for (kind, what, wanted, there) in kinds {
        let wanted_numbers = numbers(wanted).ok_or_else(|| {
            Error::invalid(format!(
                "Invalid value {wanted} for cpuset {kind}: invalid format: {wanted}"
            ))
        })?;
        let Some(there_numbers) = numbers(there) else { continue };
        if !there.is_empty() && !wanted_numbers.is_subset(&there_numbers) {
            return Err(Error::invalid(format!(
                "Requested {what} are not available - requested {wanted}, available: {there}"
            )));
        }
    }
    Ok(())
}

/// Far above what any kernel numbers: a range is not to fill our memory.
const HIGHEST: u32 = 8192;

/// `0-2,5`; `None` when it is no such list.
fn numbers(list: &str) -> Option<BTreeSet<u32>> {
    let mut found = BTreeSet::new();
    for part in list.split(',').filter(|_| !list.is_empty()) {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        let (low, high): (u32, u32) = (low.parse().ok()?, high.parse().ok()?);
        if low > high || high > HIGHEST {
            return None;
        }
        found.extend(low..=high);
    }
    Some(found)
}

/// As [`Config`] says, with a number of CPUs that the machine has.
pub(crate) fn cpus(host: &HostConfig, online: usize) -> Result<()> {
    let most = i64::try_from(online).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
    if host.nano_cpus > most {
        return Err(Error::invalid(format!(
            "range of CPUs is from 0.01 to {online}.00, as there are only {online} CPUs available"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::container::RestartPolicy;
    use types::port::PortBinding;

    #[test]
    fn names_are_dockers() {
        assert!(name("web_1.a-b").is_ok());
        assert_eq!(
            name("-web").unwrap_err().to_string(),
            "Invalid container name (-web), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        );
        assert!(name("a").is_err());
    }

    #[test]
    fn sets_of_cpus_are_read_as_the_kernel_writes_them() {
        let available = Available { cpus: "0-1,4", mems: "0" };
        let check = |cpus: &str| {
            let host = HostConfig { cpuset_cpus: cpus.to_owned(), ..HostConfig::default() };
            sets(&host, &available).map_err(|err| err.to_string())
        };
        assert_eq!([check(""), check("0,4"), check("0-1")], [Ok(()), Ok(()), Ok(())]);
        assert_eq!(check("x").unwrap_err(), "Invalid value x for cpuset cpus: invalid format: x");
        check("1-0").unwrap_err();
        let refused = "Requested CPUs are not available - requested 0-2, available: 0-1,4";
        assert_eq!(check("0-2").unwrap_err(), refused);
    }

    #[test]
    fn who_shares_anothers_network_brings_no_names_and_ports_of_its_own() {
        let host =
            || HostConfig { network_mode: "container:a".to_owned(), ..HostConfig::default() };
        let refused =
            |config: &Config, host: &HostConfig| request(config, host).unwrap_err().to_string();
        let config = Config { hostname: "x".to_owned(), ..Config::default() };
        assert_eq!(refused(&config, &host()), "conflicting options: hostname and the network mode");
        let dns = HostConfig { dns: vec!["1.1.1.1".to_owned()], ..host() };
        assert_eq!(
            refused(&Config::default(), &dns),
            "conflicting options: dns and the network mode"
        );
        let nobody = HostConfig { network_mode: "container:".to_owned(), ..HostConfig::default() };
        assert!(refused(&Config::default(), &nobody).starts_with("Invalid network mode"));
        request(&Config::default(), &host()).unwrap();
    }

    #[test]
    fn contradictions_are_refused() {
        let host = HostConfig {
            auto_remove: true,
            restart_policy: RestartPolicy { name: "always".to_owned(), maximum_retry_count: 0 },
            ..HostConfig::default()
        };
        let refused = request(&Config::default(), &host).unwrap_err().to_string();
        assert_eq!(refused, "can't create 'AutoRemove' container with restart policy");
        let host = HostConfig { memory: 1024, ..HostConfig::default() };
        let refused = request(&Config::default(), &host).unwrap_err().to_string();
        assert_eq!(refused, "Minimum memory limit allowed is 6MB");
    }

    #[test]
    fn hosts_to_add_have_addresses_and_ranges_of_ports_go_upwards() {
        let refused = |host: HostConfig| request(&Config::default(), &host).err();
        let extra = |text: &str| {
            let host =
                HostConfig { extra_hosts: Some(vec![text.to_owned()]), ..HostConfig::default() };
            refused(host).map(|err| err.to_string())
        };
        for fine in ["h:1.2.3.4", "h:::1", "h=[::1]", "h:host-gateway"] {
            assert_eq!(extra(fine), None);
        }
        let bad = |text: &str| Some(format!("bad format for add-host: \"{text}\""));
        assert_eq!((extra("h"), extra(":1.2.3.4")), (bad("h"), bad(":1.2.3.4")));
        assert_eq!(extra("h:x").unwrap(), "invalid IP address in add-host: \"x\"");
        let ports = |text: &str| {
            let binding = PortBinding { host_port: text.to_owned(), ..PortBinding::default() };
            let port_bindings = [("80/tcp".to_owned(), Some(vec![binding]))].into();
            refused(HostConfig { port_bindings, ..HostConfig::default() })
                .map(|err| err.to_string())
        };
        assert_eq!((ports(""), ports("80"), ports("80-81")), (None, None, None));
        for wrong in ["81-80", "x", "80-"] {
            assert_eq!(ports(wrong), Some(format!("invalid port specification: \"{wrong}\"")));
        }
    }
}
