//! The networks that are always there: `bridge`, `host`, `none`.

use super::bridge::{default_options, subnet};
use super::{Known, Networks};
use crate::container::random_hex;
use crate::{EngineConfig, Error, Result};
use types::network::{Ipam, IpamConfig, Network};
use types::subnet::Cidr;
use types::{NetworkId, Timestamp};

impl Networks {
    pub(super) async fn ensure_defaults(&self, config: &EngineConfig) -> Result<()> {
        let mut state = self.state.lock().await;
        for (name, driver) in [("host", "host"), ("none", "null"), ("bridge", "bridge")] {
            let mut record = match state.find(name) {
                Ok(known) => known.record.clone(),
                Err(_) => default_network(name, driver),
            };
            if driver == "bridge" {
                self.settle_default_bridge(&mut record, config, &state).await?;
            }
            let unchanged =
                state.networks.get(&record.id).is_some_and(|known| known.record == record);
            if !unchanged {
                self.save(&record)?;
                let known = Known::new(record)?;
                state.networks.insert(known.id().clone(), known);
            }
        }
        Ok(())
    }

    /// `--bip` and `--bridge` count at every start; without them the addresses stay what they were.
    async fn settle_default_bridge(
        &self,
        record: &mut Network,
        config: &EngineConfig,
        state: &super::State,
    ) -> Result<()> {
        let interface = match config.bridge.as_str() {
            "" => format!("br-{}", record.id.short()),
            name => name.to_owned(),
        };
        record.options = default_options(&interface, config.mtu);
        let entry = |subnet: String, gateway: String| IpamConfig {
            subnet,
            gateway,
            ..IpamConfig::default()
        };
        if !config.bip.is_empty() {
            let bip: Cidr = config.bip.parse().map_err(|_| {
                Error::invalid(format!("invalid bip {}: invalid CIDR block notation", config.bip))
            })?;
            record.ipam.config =
                Some(vec![entry(bip.subnet().to_string(), bip.address.to_string())]);
        }
        let settled =
            record.ipam.config.iter().flatten().any(|entry| subnet(&entry.subnet).is_some());
        if !settled {
            let chosen = self.choose_subnet(state).await?;
            record.ipam.config = Some(vec![entry(chosen.to_string(), String::new())]);
        }
        let known = Known::new(record.clone())?;
        if let (Some(bridge), Some(entries)) = (&known.bridge, &mut record.ipam.config) {
            bridge.fill_gateway(entries);
        }
        Ok(())
    }
}

fn default_network(name: &str, driver: &str) -> Network {
    Network {
        name: name.to_owned(),
        id: NetworkId::new(random_hex()),
        created: Timestamp::from(std::time::SystemTime::now()),
        scope: "local".to_owned(),
        driver: driver.to_owned(),
        enable_ipv4: true,
        ipam: Ipam {
            driver: "default".to_owned(),
            options: None,
            config: (driver != "bridge").then(Vec::new),
        },
        ..Network::default()
    }
}
