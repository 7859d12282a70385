//! What policies of the cluster's networks refused on this node, with the names of who sent it and to whom.

use super::Networks;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::SystemTime;
use types::network::PolicyDrop;
use types::{NetworkId, Timestamp};

impl Networks {
    pub(super) async fn policy_log(&self, network: &NetworkId) -> Result<Vec<PolicyDrop>> {
        let table = self.state.lock().await.following.as_ref().map(|it| it.table().clone());
        let Some(table) = table else { return Ok(Vec::new()) };
        let Some(row) = table.networks.iter().find(|row| row.id == *network) else {
            return Ok(Vec::new());
        };
        let endpoints = table.endpoints.iter().filter(|row| row.network == *network);
        let names: BTreeMap<Ipv4Addr, &str> =
            endpoints.map(|row| (row.address, row.name.as_str())).collect();
        let name = |address: Ipv4Addr| match names.get(&address) {
            Some(name) if !name.is_empty() => (*name).to_owned(),
            _ => address.to_string(),
        };
        let refused = self.on_overlay(|overlay| overlay.policy_log()).await;
        let refused =
            refused.map_err(|err| Error::caused("failed to read what policies refused", err))?;
        let now = SystemTime::now();
        let here = |to: &Ipv4Addr| row.subnet.contains(*to) || names.contains_key(to);
        let drops = refused.into_iter().filter(|it| here(&it.to)).map(|it| PolicyDrop {
            at: Timestamp::from(now.checked_sub(it.ago).unwrap_or(now)),
            from: name(it.from),
            from_address: it.from.to_string(),
            to: name(it.to),
            to_address: it.to.to_string(),
            protocol: it.protocol,
            port: it.port,
            packets: it.packets,
        });
        let mut drops: Vec<PolicyDrop> = drops.collect();
        drops.sort_by(|a, b| (a.at, &a.from, &a.to, a.port).cmp(&(b.at, &b.from, &b.to, b.port)));
        Ok(drops)
    }
}
