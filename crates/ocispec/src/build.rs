//! The whole specification.

use crate::error::{SpecError, Warning};
use crate::input::{Init, Input, Mount, Namespace};
use crate::process::{self, ProcessInput};
use crate::security::Security;
use crate::{MASKED_PATHS, READONLY_PATHS, mounts, resources, seccomp};
use oci_spec::runtime::Spec;
use serde_json::{Map, Value, json};

/// The version that every OCI runtime of today reads.
const OCI_VERSION: &str = "1.0.2";
/// Asks the embedded runtime to stay as the container's init ([`Init::BuiltIn`]).
pub const INIT_ANNOTATION: &str = "sampan.init";

/// Builds the specification of a container, and says what this machine could not give it.
pub fn build(input: &Input<'_>) -> Result<(Spec, Vec<Warning>), SpecError> {
    let mut warnings = Vec::new();
    let host = input.host;
    let security = Security::parse(host.security_opt.as_deref().unwrap_or_default())?;
    let process = process::value(&process_input(input), &mut warnings)?;
    let seccomp = filter(input, &security, &process)?;
    let mut spec = json!({
        "ociVersion": OCI_VERSION,
        "root": { "path": input.rootfs, "readonly": host.readonly_rootfs },
        "process": process,
        "mounts": mounts::all(input).iter().map(mount).collect::<Vec<_>>(),
        "linux": linux(input, &security, seccomp, &mut warnings)?,
        "annotations": annotations(input),
    });
    if input.uts != Namespace::Host {
        spec["hostname"] = input.hostname.into();
    }
    let spec = serde_json::from_value(spec).map_err(SpecError::Invalid)?;
    Ok((spec, warnings))
}

fn process_input<'a>(input: &Input<'a>) -> ProcessInput<'a> {
    let mut args = input.args.clone();
    if matches!(input.init, Init::File(_)) {
        args.splice(0..0, ["/sbin/docker-init".to_owned(), "--".to_owned()]);
    }
    ProcessInput {
        host: input.host,
        args,
        env: input.env.clone(),
        cwd: input.cwd,
        user: input.user.clone(),
        tty: input.config.tty,
        privileged: input.host.privileged,
        facts: input.facts,
    }
}

/// The filter follows the capabilities that the process got, not those that were asked for.
fn filter(
    input: &Input<'_>,
    security: &Security,
    process: &Value,
) -> Result<Option<Value>, SpecError> {
    if input.host.privileged {
        return Ok(None);
    }
    let caps = process["capabilities"]["bounding"].as_array();
    let caps: Vec<String> =
        caps.into_iter().flatten().filter_map(|cap| cap.as_str().map(str::to_owned)).collect();
    seccomp::profile(security.seccomp.as_deref(), &caps, &input.facts.arch)
}

fn linux(
    input: &Input<'_>,
    security: &Security,
    seccomp: Option<Value>,
    warnings: &mut Vec<Warning>,
) -> Result<Value, SpecError> {
    let host = input.host;
    let mut limits = resources::limits(host, &input.block_devices, input.facts, warnings);
    limits.insert("devices".to_owned(), resources::device_rules(host, &input.devices)?.into());
    let (masked, mut readonly) = system_paths(input, security);
    readonly.extend(mounts::readonly_cgroups(input));
    let mut linux = json!({
        "cgroupsPath": input.cgroup_path,
        "namespaces": namespaces(input),
        "resources": limits,
        "devices": input.devices.iter().map(device).collect::<Vec<_>>(),
        "sysctl": sysctls(input),
        "maskedPaths": masked,
        "readonlyPaths": readonly,
    });
    if let Some(seccomp) = seccomp {
        linux["seccomp"] = seccomp;
    }
    if let Some(propagation) = rootfs_propagation(input) {
        linux["rootfsPropagation"] = propagation.into();
    }
    Ok(linux)
}

fn system_paths(input: &Input<'_>, security: &Security) -> (Vec<String>, Vec<String>) {
    if input.host.privileged || security.bare_system_paths {
        return (Vec::new(), Vec::new());
    }
    let or_default = |own: &Option<Vec<String>>, default: &[&str]| {
        own.clone().unwrap_or_else(|| default.iter().map(|path| (*path).to_owned()).collect())
    };
    let host = input.host;
    (or_default(&host.masked_paths, MASKED_PATHS), or_default(&host.readonly_paths, READONLY_PATHS))
}

fn namespaces(input: &Input<'_>) -> Vec<Value> {
    let all = [
        ("network", &input.network),
        ("pid", &input.pid),
        ("ipc", &input.ipc),
        ("uts", &input.uts),
        ("cgroup", &input.cgroupns),
    ];
    let mut list = vec![json!({ "type": "mount" })];
    list.extend(all.into_iter().filter_map(|(kind, namespace)| match namespace {
        Namespace::Private => Some(json!({ "type": kind })),
        Namespace::Path(path) => Some(json!({ "type": kind, "path": path })),
        Namespace::Host => None,
    }));
    list
}

/// The user's, and those by which Docker lets users other than root open low ports and ping. Only a
/// network namespace that is the container's own is written to.
fn sysctls(input: &Input<'_>) -> Map<String, Value> {
    let mut all = Map::new();
    if matches!(input.network, Namespace::Private | Namespace::Path(_)) && !shares_network(input) {
        all.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".into());
        all.insert("net.ipv4.ping_group_range".to_owned(), "0 2147483647".into());
    }
    if !input.config.domainname.is_empty() && input.uts != Namespace::Host {
        all.insert("kernel.domainname".to_owned(), input.config.domainname.as_str().into());
    }
    for (name, value) in input.host.sysctls.iter().flatten() {
        all.insert(name.clone(), value.as_str().into());
    }
    all
}

fn shares_network(input: &Input<'_>) -> bool {
    input.host.network_mode.starts_with("container:")
}

fn annotations(input: &Input<'_>) -> Map<String, Value> {
    let own = input.host.annotations.iter().flatten();
    let mut all: Map<_, _> = own.map(|(key, value)| (key.clone(), value.as_str().into())).collect();
    all.remove(INIT_ANNOTATION);
    if input.init == Init::BuiltIn {
        all.insert(INIT_ANNOTATION.to_owned(), "true".into());
    }
    all
}

/// A mount that is to pass mounts on needs the root to do so too. In the OCI's own words: `rslave` is
/// understood by some runtimes only.
fn rootfs_propagation(input: &Input<'_>) -> Option<&'static str> {
    let has = |names: [&str; 2]| {
        input.mounts.iter().flat_map(|m| &m.options).any(|option| names.contains(&option.as_str()))
    };
    if has(["shared", "rshared"]) {
        Some("shared")
    } else if has(["slave", "rslave"]) {
        Some("slave")
    } else {
        None
    }
}

fn mount(mount: &Mount) -> Value {
    json!({
        "destination": mount.destination,
        "type": mount.kind,
        "source": mount.source,
        "options": mount.options,
    })
}

fn device(device: &crate::Device) -> Value {
    json!({
        "path": device.path,
        "type": device.kind.to_string(),
        "major": device.major,
        "minor": device.minor,
        "fileMode": device.mode,
        "uid": device.uid,
        "gid": device.gid,
    })
}

#[cfg(test)]
mod tests;
