//! `inspect`.

use super::record::{Container, Record};
use crate::{Engine, Result};
use types::container::{GraphDriver, Inspect};

impl Engine {
    /// `GET /containers/{id}/json`.
    pub async fn container_inspect(&self, id: &str, size: bool) -> Result<Inspect> {
        let container = self.0.containers.find(id)?;
        let mut record = container.snapshot();
        record.host_config.links = self.shown_links(&record);
        let sizes = if size { self.sizes(&container).await } else { (None, None) };
        Ok(self.inspection(&container, record, sizes))
    }

    fn inspection(
        &self,
        container: &Container,
        record: Record,
        sizes: (Option<i64>, Option<i64>),
    ) -> Inspect {
        let mut command = super::command_line(&record.config).into_iter();
        let file = |name: &str| container.dir.join(name).to_string_lossy().into_owned();
        let network_file = |name: &str| if record.has_run { file(name) } else { String::new() };
        let exec_ids = self.0.execs.live_ids(&record.id);
        let mut network_settings = record.network_settings.clone();
        network_settings.networks.clone_from(&record.networks);
        // Fields of the time before networks: they tell of the default bridge, whatever the others are.
        if let Some(bridge) = record.networks.get("bridge").filter(|_| record.state.running) {
            network_settings.endpoint_id.clone_from(&bridge.endpoint_id);
            network_settings.gateway.clone_from(&bridge.gateway);
            network_settings.ip_address.clone_from(&bridge.ip_address);
            network_settings.ip_prefix_len = bridge.ip_prefix_len;
            network_settings.mac_address.clone_from(&bridge.mac_address);
        }
        Inspect {
            id: record.id.clone(),
            created: record.created,
            path: command.next().unwrap_or_default(),
            args: command.collect(),
            resolv_conf_path: network_file("resolv.conf"),
            hostname_path: network_file("hostname"),
            hosts_path: network_file("hosts"),
            // That of the other drivers is nobody's business in Docker either.
            log_path: super::logs::log_path(container, &record)
                .filter(|_| record.has_run && record.host_config.log_config.driver == "json-file")
                .map_or_else(String::new, |path| path.to_string_lossy().into_owned()),
            name: format!("/{}", record.name),
            restart_count: record.restart_count,
            driver: "overlay2".to_owned(),
            platform: record.platform.clone(),
            exec_ids: (!exec_ids.is_empty()).then_some(exec_ids),
            graph_driver: GraphDriver {
                data: Some(self.rootfs_dirs(&record.id)),
                name: "overlay2".to_owned(),
            },
            size_rw: sizes.0,
            size_root_fs: sizes.1,
            mounts: record.shown_mounts(),
            image: record.image,
            state: record.state,
            host_config: record.host_config,
            config: record.config,
            network_settings,
            ..Inspect::default()
        }
    }
}
