//! Limits: `HostConfig` to OCI resources, for start and for update.

use crate::error::{SpecError, Warning};
use crate::input::{BlockDevice, Controller, Device, Facts};
use oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use types::container::{HostConfig, ThrottleDevice};

/// Microseconds; what the kernel and Docker take when only a quota is given.
const CPU_PERIOD: i64 = 100_000;

/// Device numbers every container may use: null, zero, full, random, urandom, tty, console, ptmx and the
/// pseudo-terminals; making nodes of any kind is not using them.
const DEVICE_RULES: [(&str, Option<i64>, Option<i64>, &str); 11] = [
    ("c", None, None, "m"),
    ("b", None, None, "m"),
    ("c", Some(1), Some(3), "rwm"),
    ("c", Some(1), Some(5), "rwm"),
    ("c", Some(1), Some(7), "rwm"),
    ("c", Some(1), Some(8), "rwm"),
    ("c", Some(1), Some(9), "rwm"),
    ("c", Some(5), Some(0), "rwm"),
    ("c", Some(5), Some(1), "rwm"),
    ("c", Some(5), Some(2), "rwm"),
    ("c", Some(136), None, "rwm"),
];

/// Limits alone, as `update` takes them: device rules stay as they are.
pub fn resources(
    host: &HostConfig,
    block_devices: &BTreeMap<String, BlockDevice>,
    facts: &Facts,
) -> Result<(LinuxResources, Vec<Warning>), SpecError> {
    let mut warnings = Vec::new();
    let value = limits(host, block_devices, facts, &mut warnings);
    let resources = serde_json::from_value(Value::Object(value)).map_err(SpecError::Invalid)?;
    Ok((resources, warnings))
}

pub(crate) fn limits(
    host: &HostConfig,
    block_devices: &BTreeMap<String, BlockDevice>,
    facts: &Facts,
    warnings: &mut Vec<Warning>,
) -> Map<String, Value> {
    let parts = [
        ("memory", memory(host, facts, warnings)),
        ("cpu", cpu(host)),
        ("pids", host.pids_limit.filter(|limit| *limit > 0).map(|limit| json!({ "limit": limit }))),
        ("blockIO", block_io(host, block_devices)),
    ];
    let named = parts.into_iter().filter_map(|(name, part)| Some((name.to_owned(), part?)));
    let mut named: Map<String, Value> = named.collect();
    for controller in &facts.without {
        if discard(&mut named, *controller) {
            warnings.push(Warning::Discarded(in_dockers_words(*controller)));
        }
    }
    named
}

/// Takes out what needs `controller`; whether there was anything.
fn discard(limits: &mut Map<String, Value>, controller: Controller) -> bool {
    let whole = match controller {
        Controller::Memory => "memory",
        Controller::Pids => "pids",
        Controller::Io => "blockIO",
        Controller::IoWeight => {
            let Some(Value::Object(io)) = limits.get_mut("blockIO") else { return false };
            let before = io.len();
            io.retain(|name, _| !name.starts_with("weight"));
            let discarded = io.len() < before;
            if io.is_empty() {
                limits.remove("blockIO");
            }
            return discarded;
        }
        Controller::Cpu | Controller::Cpuset => {
            let Some(Value::Object(cpu)) = limits.get_mut("cpu") else { return false };
            let before = cpu.len();
            cpu.retain(|name, _| {
                matches!(name.as_str(), "cpus" | "mems") != (controller == Controller::Cpuset)
            });
            let discarded = cpu.len() < before;
            if cpu.is_empty() {
                limits.remove("cpu");
            }
            return discarded;
        }
    };
    limits.remove(whole).is_some()
}

/// What is not supported, and what is discarded for that, as dockerd warns.
fn in_dockers_words(controller: Controller) -> (&'static str, &'static str) {
    match controller {
        Controller::Memory => ("memory limit capabilities", "Limitation"),
        Controller::Cpu => ("CPU CFS scheduler", "CPU limits"),
        Controller::Cpuset => ("cpuset", "Cpuset"),
        Controller::Pids => ("PIDs limit capabilities", "PIDs limit"),
        Controller::Io => ("Block I/O limits", "Limits"),
        Controller::IoWeight => ("Block I/O weight", "Weight"),
    }
}

fn memory(host: &HostConfig, facts: &Facts, warnings: &mut Vec<Warning>) -> Option<Value> {
    let mut memory = Map::new();
    let mut set = |name: &str, value: Value| memory.insert(name.to_owned(), value);
    if host.memory > 0 {
        set("limit", host.memory.into());
        // Docker's default: as much swap again.
        let swap = match host.memory_swap {
            0 => host.memory.saturating_mul(2),
            swap => swap,
        };
        if facts.swap_limit {
            set("swap", swap.into());
        } else if host.memory_swap > 0 {
            warnings.push(Warning::SwapLimit);
        }
    }
    if host.memory_reservation > 0 {
        set("reservation", host.memory_reservation.into());
    }
    // The second controller version knows neither.
    if !facts.cgroup_v2 {
        if let Some(swappiness) = host.memory_swappiness.filter(|value| *value >= 0) {
            set("swappiness", swappiness.into());
        }
        if host.oom_kill_disable == Some(true) {
            set("disableOOMKiller", true.into());
        }
    }
    (!memory.is_empty()).then_some(Value::Object(memory))
}

fn cpu(host: &HostConfig) -> Option<Value> {
    let (period, quota) = if host.nano_cpus > 0 {
        (CPU_PERIOD, host.nano_cpus.saturating_mul(CPU_PERIOD) / 1_000_000_000)
    } else {
        (host.cpu_period, host.cpu_quota)
    };
    let numbers = [
        ("shares", host.cpu_shares),
        ("period", period),
        ("quota", quota),
        ("realtimePeriod", host.cpu_realtime_period),
        ("realtimeRuntime", host.cpu_realtime_runtime),
    ];
    let texts = [("cpus", &host.cpuset_cpus), ("mems", &host.cpuset_mems)];
    let numbers = numbers.into_iter().filter(|(_, n)| *n != 0).map(|(k, n)| (k, Value::from(n)));
    let texts =
        texts.into_iter().filter(|(_, t)| !t.is_empty()).map(|(k, t)| (k, t.as_str().into()));
    let cpu: Map<_, _> = numbers.chain(texts).map(|(k, value)| (k.to_owned(), value)).collect();
    (!cpu.is_empty()).then_some(Value::Object(cpu))
}

fn block_io(host: &HostConfig, devices: &BTreeMap<String, BlockDevice>) -> Option<Value> {
    let mut io = Map::new();
    if host.blkio_weight > 0 {
        io.insert("weight".to_owned(), host.blkio_weight.into());
    }
    let weights: Vec<Value> = host
        .blkio_weight_device
        .iter()
        .flatten()
        .filter_map(|entry| {
            let device = devices.get(&entry.path)?;
            Some(json!({ "major": device.major, "minor": device.minor, "weight": entry.weight }))
        })
        .collect();
    if !weights.is_empty() {
        io.insert("weightDevice".to_owned(), weights.into());
    }
    let rates = [
        ("throttleReadBpsDevice", &host.blkio_device_read_bps),
        ("throttleWriteBpsDevice", &host.blkio_device_write_bps),
        ("throttleReadIOPSDevice", &host.blkio_device_read_iops),
        ("throttleWriteIOPSDevice", &host.blkio_device_write_iops),
    ];
    for (name, list) in rates {
        let list = throttles(list.as_deref().unwrap_or_default(), devices);
        if !list.is_empty() {
            io.insert(name.to_owned(), list.into());
        }
    }
    (!io.is_empty()).then_some(Value::Object(io))
}

fn throttles(list: &[ThrottleDevice], devices: &BTreeMap<String, BlockDevice>) -> Vec<Value> {
    list.iter()
        .filter_map(|entry| {
            let device = devices.get(&entry.path)?;
            Some(json!({ "major": device.major, "minor": device.minor, "rate": entry.rate }))
        })
        .collect()
}

/// Device rules: everything for the privileged, else the common ones, `--device` and
/// `--device-cgroup-rule`.
pub(crate) fn device_rules(host: &HostConfig, devices: &[Device]) -> Result<Vec<Value>, SpecError> {
    if host.privileged {
        return Ok(vec![rule("a", None, None, "rwm")]);
    }
    let mut rules = vec![json!({ "allow": false, "type": "a", "access": "rwm" })];
    rules.extend(DEVICE_RULES.map(|(kind, major, minor, access)| rule(kind, major, minor, access)));
    for device in devices {
        let kind = device.kind.to_string();
        rules.push(rule(&kind, Some(device.major), Some(device.minor), &device.access));
    }
    for text in host.device_cgroup_rules.iter().flatten() {
        rules.push(parse_rule(text).ok_or_else(|| SpecError::DeviceRule(text.clone()))?);
    }
    Ok(rules)
}

fn rule(kind: &str, major: Option<i64>, minor: Option<i64>, access: &str) -> Value {
    let mut rule = json!({ "allow": true, "type": kind, "access": access });
    if let Some(major) = major {
        rule["major"] = major.into();
    }
    if let Some(minor) = minor {
        rule["minor"] = minor.into();
    }
    rule
}

/// `c 1:3 rwm`; a star is any number.
fn parse_rule(text: &str) -> Option<Value> {
    let [kind, numbers, access] = text.split(' ').collect::<Vec<_>>().try_into().ok()?;
    let (major, minor) = numbers.split_once(':')?;
    let number = |text: &str| match text {
        "*" => Some(None),
        number => number.parse::<i64>().ok().map(Some),
    };
    let known = matches!(kind, "a" | "b" | "c")
        && (1..=3).contains(&access.len())
        && access.chars().all(|c| "rwm".contains(c));
    known.then_some(())?;
    Some(rule(kind, number(major)?, number(minor)?, access))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits_of(host: &HostConfig) -> Value {
        let facts = Facts { swap_limit: true, ..Facts::default() };
        Value::Object(limits(host, &BTreeMap::new(), &facts, &mut Vec::new()))
    }

    #[test]
    fn what_the_machine_cannot_limit_is_discarded_with_a_warning() {
        let host = HostConfig {
            memory: 100,
            pids_limit: Some(5),
            cpu_shares: 3,
            cpuset_cpus: "0".to_owned(),
            ..HostConfig::default()
        };
        let mut warnings = Vec::new();
        let without = vec![Controller::Memory, Controller::Cpuset, Controller::Io];
        let facts = Facts { without, ..Facts::default() };
        let left = Value::Object(limits(&host, &BTreeMap::new(), &facts, &mut warnings));
        assert_eq!(left, json!({ "pids": { "limit": 5 }, "cpu": { "shares": 3 } }));
        let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
        let lost = |what| format!("Your kernel does not support {what} discarded.");
        assert_eq!(
            warnings,
            [
                lost("memory limit capabilities or the cgroup is not mounted. Limitation"),
                lost("cpuset or the cgroup is not mounted. Cpuset"),
            ]
        );
    }

    #[test]
    fn nothing_asked_is_nothing_limited() {
        assert_eq!(limits_of(&HostConfig::default()), json!({}));
    }

    #[test]
    fn memory_brings_as_much_swap_unless_said_otherwise() {
        let host = HostConfig { memory: 100, ..HostConfig::default() };
        assert_eq!(limits_of(&host), json!({ "memory": { "limit": 100, "swap": 200 } }));
        let host = HostConfig { memory: 100, memory_swap: -1, ..HostConfig::default() };
        assert_eq!(limits_of(&host), json!({ "memory": { "limit": 100, "swap": -1 } }));
    }

    #[test]
    fn cpus_become_a_quota_of_docker_s_period() {
        let host = HostConfig { nano_cpus: 1_500_000_000, ..HostConfig::default() };
        assert_eq!(limits_of(&host), json!({ "cpu": { "period": 100_000, "quota": 150_000 } }));
    }

    #[test]
    fn device_rules_are_read_or_refused() {
        let any = json!({ "allow": true, "type": "c", "access": "rw", "major": 7 });
        assert_eq!(parse_rule("c 7:* rw"), Some(any));
        assert_eq!(parse_rule("x 7:* rw"), None);
        assert_eq!(parse_rule("c 7 rw"), None);
        assert_eq!(parse_rule("c 7:1 q"), None);
    }
}
