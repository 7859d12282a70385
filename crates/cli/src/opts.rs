//! Values of flags: ports, mounts, ulimits, env files and the like, as Docker writes them.
//!
//! Pure parsers to API types; errors are the sentences docker prints. Files are read by the caller
//! except `env_file` and `label_file`, whose format lives here.

pub(crate) mod env;
pub(crate) mod mount;
pub(crate) mod port;
pub(crate) mod reference;

use std::collections::HashMap;

use bollard::models::{DeviceMapping, HostConfigLogConfig, ResourcesUlimits, RestartPolicy};
use bollard::models::{ResourcesBlkioWeightDevice, RestartPolicyNameEnum, ThrottleDevice};
use serde_json::{Map, Value, json};

use crate::format::units;

/// `--memory`: bytes.
pub(crate) fn ram(text: &str) -> Result<i64, String> {
    units::parse_ram(text)
}

/// `--memory-swap`: bytes, or -1 for no limit.
pub(crate) fn swap(text: &str) -> Result<i64, String> {
    if text == "-1" { Ok(-1) } else { units::parse_ram(text) }
}

/// `--cpus`: billionths of a processor.
pub(crate) fn cpus(text: &str) -> Result<i64, String> {
    let number: f64 =
        text.parse().map_err(|_| format!("failed to parse {text} as a rational number"))?;
    if number < 0.0 || !number.is_finite() {
        return Err(format!("failed to parse {text} as a rational number"));
    }
    Ok((number * 1e9).round() as i64)
}

/// A Go duration in nanoseconds.
pub(crate) fn duration(text: &str) -> Result<i64, String> {
    units::parse_duration(text)
}

/// `nofile=1024:2048`; one number is both limits.
pub(crate) fn ulimit(text: &str) -> Result<ResourcesUlimits, String> {
    const KNOWN: [&str; 16] = [
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
        "as",
    ];
    let (name, limits) =
        text.split_once('=').ok_or_else(|| format!("invalid ulimit argument: {text}"))?;
    if !KNOWN.contains(&name) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let number = |part: &str| {
        part.parse::<i64>()
            .map_err(|_| format!("strconv.ParseInt: parsing {part:?}: invalid syntax"))
    };
    let (soft, hard) = match limits.split_once(':') {
        Some((_, hard)) if hard.contains(':') => {
            return Err(format!(
                "too many limit value arguments - {limits}, can only have up to two, `soft[:hard]`"
            ));
        }
        Some((soft, hard)) => (number(soft)?, number(hard)?),
        None => (number(limits)?, number(limits)?),
    };
    if hard != -1 && soft > hard {
        return Err(format!(
            "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
        ));
    }
    Ok(ResourcesUlimits { name: Some(name.to_owned()), soft: Some(soft), hard: Some(hard) })
}

/// `no | always | unless-stopped | on-failure[:max]`.
pub(crate) fn restart_policy(text: &str) -> Result<RestartPolicy, String> {
    let (name, count) = match text.split_once(':') {
        Some((name, count)) => (name, Some(count)),
        None => (text, None),
    };
    let maximum_retry_count = match count {
        None => None,
        Some(count) => Some(count.parse().map_err(|_| {
            "invalid restart policy format: maximum retry count must be an integer".to_owned()
        })?),
    };
    let kind = match name {
        "" | "no" => RestartPolicyNameEnum::NO,
        "always" => RestartPolicyNameEnum::ALWAYS,
        "unless-stopped" => RestartPolicyNameEnum::UNLESS_STOPPED,
        "on-failure" => RestartPolicyNameEnum::ON_FAILURE,
        other => {
            return Err(format!(
                "invalid restart policy: unknown policy '{other}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
            ));
        }
    };
    Ok(RestartPolicy { name: Some(kind), maximum_retry_count })
}

/// `/dev/host[:/dev/container][:rwm]`.
pub(crate) fn device(text: &str) -> Result<DeviceMapping, String> {
    let is_mode = |part: &str| !part.is_empty() && part.chars().all(|c| "rwm".contains(c));
    let parts: Vec<&str> = text.split(':').collect();
    let (host, container, mode) = match parts.as_slice() {
        [host] => (*host, *host, "rwm"),
        [host, mode] if is_mode(mode) => (*host, *host, *mode),
        [host, container] => (*host, *container, "rwm"),
        [host, container, mode] if is_mode(mode) => (*host, *container, *mode),
        _ => return Err(format!("invalid device specification: {text}")),
    };
    Ok(DeviceMapping {
        path_on_host: Some(host.to_owned()),
        path_in_container: Some(container.to_owned()),
        cgroup_permissions: Some(mode.to_owned()),
    })
}

/// `/dev/sda:1mb` (bytes per second).
pub(crate) fn throttle_bps(text: &str) -> Result<ThrottleDevice, String> {
    throttle(text, units::parse_ram)
}

/// `/dev/sda:1000` (operations per second).
pub(crate) fn throttle_iops(text: &str) -> Result<ThrottleDevice, String> {
    throttle(text, |rate| rate.parse().map_err(|_| String::new()))
}

fn throttle(
    text: &str,
    rate: impl Fn(&str) -> Result<i64, String>,
) -> Result<ThrottleDevice, String> {
    let bad =
        || format!("invalid rate for device: {text}. The correct format is <device-path>:<number>");
    let (path, number) = text.split_once(':').ok_or_else(|| format!("bad format: {text}"))?;
    if !path.starts_with("/dev/") {
        return Err(format!("bad format for device path: {text}"));
    }
    let rate = rate(number).map_err(|_| bad())?;
    Ok(ThrottleDevice { path: Some(path.to_owned()), rate: Some(rate) })
}

/// `/dev/sda:500`.
pub(crate) fn weight_device(text: &str) -> Result<ResourcesBlkioWeightDevice, String> {
    let (path, weight) = text.split_once(':').ok_or_else(|| format!("bad format: {text}"))?;
    let weight = weight.parse().map_err(|_| format!("invalid weight for device: {text}"))?;
    Ok(ResourcesBlkioWeightDevice { path: Some(path.to_owned()), weight: Some(weight) })
}

/// `key=value` words to a map; a bare key has an empty value.
pub(crate) fn pairs(words: &[String]) -> HashMap<String, String> {
    words
        .iter()
        .map(|word| match word.split_once('=') {
            Some((key, value)) => (key.to_owned(), value.to_owned()),
            None => (word.clone(), String::new()),
        })
        .collect()
}

/// `--log-driver` and `--log-opt`.
pub(crate) fn log_config(driver: &str, options: &[String]) -> Result<HostConfigLogConfig, String> {
    if driver == "none" && !options.is_empty() {
        return Err("invalid logging opts for driver none".to_owned());
    }
    Ok(HostConfigLogConfig {
        typ: (!driver.is_empty()).then(|| driver.to_owned()),
        config: Some(pairs(options)),
    })
}

/// `--filter` words as the API wants them: `{"status":{"running":true}}`.
pub(crate) fn filters(words: &[String]) -> Result<Value, String> {
    let mut filters = Map::new();
    for word in words {
        let (key, value) = word
            .split_once('=')
            .ok_or_else(|| format!("invalid argument {word:?} for \"-f, --filter\" flag: bad format of filter (expected name=value)"))?;
        let entry = filters.entry(key.trim().to_ascii_lowercase()).or_insert_with(|| json!({}));
        entry[value.trim()] = Value::Bool(true);
    }
    Ok(Value::Object(filters))
}

/// `--add-host name:ip` or `name=ip`; the address may be `host-gateway`.
pub(crate) fn extra_host(text: &str) -> Result<String, String> {
    let (host, ip) = text
        .split_once('=')
        .or_else(|| text.split_once(':'))
        .filter(|(host, _)| !host.is_empty())
        .ok_or_else(|| format!("bad format for add-host: {text:?}"))?;
    let bare = ip.trim_start_matches('[').trim_end_matches(']');
    if ip != "host-gateway" && bare.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("invalid IP address in add-host: {ip:?}"));
    }
    Ok(format!("{host}:{bare}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ulimits_take_one_or_two_numbers() {
        let both = ulimit("nofile=1024").unwrap();
        assert_eq!((both.soft, both.hard), (Some(1024), Some(1024)));
        let two = ulimit("nproc=10:20").unwrap();
        assert_eq!((two.soft, two.hard), (Some(10), Some(20)));
        assert_eq!(ulimit("foo=1").unwrap_err(), "invalid ulimit type: foo");
        assert!(ulimit("nofile=2:1").unwrap_err().contains("less than or equal"));
    }

    #[test]
    fn restart_policies_carry_their_count() {
        let policy = restart_policy("on-failure:3").unwrap();
        assert_eq!(policy.maximum_retry_count, Some(3));
        assert!(restart_policy("foo").unwrap_err().contains("unknown policy 'foo'; use one of"));
    }

    #[test]
    fn devices_default_to_the_same_path_and_all_rights() {
        let device_mode = |text| device(text).map(|d| (d.path_in_container, d.cgroup_permissions));
        let some = |a: &str, b: &str| Ok((Some(a.to_owned()), Some(b.to_owned())));
        assert_eq!(device_mode("/dev/fuse"), some("/dev/fuse", "rwm"));
        assert_eq!(device_mode("/dev/fuse:r"), some("/dev/fuse", "r"));
        assert_eq!(device_mode("/dev/a:/dev/b:rw"), some("/dev/b", "rw"));
        assert!(device("a:b:c:d").is_err());
    }

    #[test]
    fn filters_collect_values_by_key() {
        let words =
            ["status=running".to_owned(), "label=a=b".to_owned(), "status=paused".to_owned()];
        assert_eq!(
            filters(&words).unwrap().to_string(),
            r#"{"status":{"running":true,"paused":true},"label":{"a=b":true}}"#
        );
        assert!(filters(&["x".to_owned()]).is_err());
    }

    #[test]
    fn cpus_and_hosts_are_checked() {
        assert_eq!(cpus("1.5"), Ok(1_500_000_000));
        assert!(cpus("x").is_err());
        assert_eq!(extra_host("db:10.0.0.1"), Ok("db:10.0.0.1".to_owned()));
        assert_eq!(extra_host("db=[::1]"), Ok("db:::1".to_owned()));
        assert!(extra_host("db:nowhere").is_err());
    }
}
