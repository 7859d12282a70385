//! What older clients mean by a create request, and what the wire says beside the fields.

use crate::version::ApiVersion;
use engine::Error;
use serde_json::Value;
use types::container::{CreateRequest, Inspect};

/// Whether a create body holds anything of a `Config` at all. dockerd refuses one that does not.
pub(super) fn names_a_config(body: &Value) -> bool {
    let extras = ["HostConfig", "NetworkingConfig"];
    body.as_object().is_some_and(|fields| {
        fields.keys().any(|name| !extras.iter().any(|extra| extra.eq_ignore_ascii_case(name)))
    })
}

/// Before 1.44 a container was created on one network, and connected to the others afterwards.
pub(super) fn check_endpoints(request: &CreateRequest, version: ApiVersion) -> Result<(), Error> {
    let endpoints = request.networking_config.endpoints_config.as_ref();
    match endpoints.filter(|endpoints| endpoints.len() > 1 && version < ApiVersion(1, 44)) {
        None => Ok(()),
        Some(endpoints) => {
            let names = endpoints.keys().cloned().collect::<Vec<_>>().join(", ");
            let text =
                format!("Container cannot be created with multiple network endpoints: {names}");
            Err(Error::invalid(text))
        }
    }
}

/// What older clients find in an inspected container.
pub(super) fn inspect(container: &mut Inspect, version: ApiVersion) {
    if version >= ApiVersion(1, 45) {
        return;
    }
    let (short, hostname) = (container.id.short().to_owned(), container.config.hostname.clone());
    let mode = container.host_config.network_mode.as_str();
    if matches!(mode, "bridge" | "host" | "none" | "default") || mode.starts_with("container:") {
        return;
    }
    for (name, endpoint) in &mut container.network_settings.networks {
        if name == "bridge" {
            continue;
        }
        let aliases = endpoint.aliases.get_or_insert_default();
        for own in [&short, &hostname] {
            if !own.is_empty() && !aliases.contains(own) {
                aliases.push(own.clone());
            }
        }
    }
}

/// Applies what dockerd's router applies before its engine sees the request.
pub(super) fn create(request: &mut CreateRequest, version: ApiVersion) {
    let host = &mut request.host_config;
    if matches!(host.network_mode.as_str(), "" | "default") {
        host.network_mode = "bridge".to_owned();
        if let Some(endpoints) = &mut request.networking_config.endpoints_config
            && let Some(settings) = endpoints.remove("default")
        {
            endpoints.insert("bridge".to_owned(), settings);
        }
    }
    if version < ApiVersion(1, 25) {
        host.auto_remove = false;
    }
    if version < ApiVersion(1, 40) && host.ipc_mode.is_empty() {
        host.ipc_mode = "shareable".to_owned();
    }
    if version < ApiVersion(1, 41) {
        request.platform = None;
        if host.cgroupns_mode.is_empty() {
            host.cgroupns_mode = "host".to_owned();
        }
    }
    for mount in host.mounts.iter_mut().flatten().filter(|_| version < ApiVersion(1, 42)) {
        if let Some(bind) = &mut mount.bind_options {
            bind.create_mountpoint = false;
            bind.non_recursive &= version >= ApiVersion(1, 40);
        }
        if mount.kind != "volume" {
            mount.volume_options = None;
        }
        if mount.kind != "tmpfs" {
            mount.tmpfs_options = None;
        }
    }
    if host.pids_limit.is_some_and(|limit| limit <= 0) {
        host.pids_limit = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_body_without_a_config_is_told_from_one_with() {
        assert!(!names_a_config(&json!({})) && !names_a_config(&json!(null)));
        assert!(!names_a_config(&json!({ "hostconfig": { "Memory": 1 } })));
        assert!(names_a_config(&json!({ "Image": "busybox" })));
    }

    #[test]
    fn the_default_network_is_the_bridge_and_keeps_its_endpoint() {
        let mut request = CreateRequest::default();
        let endpoints = [("default".to_owned(), Default::default())].into();
        request.networking_config.endpoints_config = Some(endpoints);
        create(&mut request, ApiVersion::MAX);
        assert_eq!(request.host_config.network_mode, "bridge");
        assert!(request.networking_config.endpoints_config.unwrap().contains_key("bridge"));
    }

    #[test]
    fn old_clients_get_what_was_the_default_then() {
        let mut request = CreateRequest::default();
        request.host_config.auto_remove = true;
        request.platform = Some("linux/arm64".to_owned());
        create(&mut request, ApiVersion(1, 24));
        assert!(!request.host_config.auto_remove);
        assert_eq!(request.host_config.ipc_mode, "shareable");
        assert_eq!((request.host_config.cgroupns_mode.as_str(), request.platform), ("host", None));
    }
}
