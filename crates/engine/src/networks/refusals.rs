//! What policies of the cluster's networks refused on this node, with the names of who sent it and to whom: those who had
//! the addresses then.

use super::Networks;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};
use types::network::PolicyDrop;
use types::swarm::endpoint::EndpointTable;
use types::{NetworkId, Timestamp};

/// Longer than the kernel remembers what was refused.
const REMEMBERED: Duration = Duration::from_mins(11);

/// Who had an address in a network with policies, of late.
#[derive(Debug, Clone, Default)]
pub(super) struct Former(Vec<Owner>);

#[derive(Debug, Clone)]
struct Owner {
    network: NetworkId,
    address: Ipv4Addr,
    name: String,
    until: SystemTime,
}

impl Former {
    /// `after` has followed `before` at `now`.
    pub(super) fn note(&mut self, before: &EndpointTable, after: &EndpointTable, now: SystemTime) {
        let since = now.checked_sub(REMEMBERED).unwrap_or(SystemTime::UNIX_EPOCH);
        self.0.retain(|owner| owner.until >= since);
        let guarded = |network: &NetworkId| {
            before.networks.get(network).is_some_and(|row| !row.policy.is_empty())
        };
        let (_, gone) = after.endpoints.changes(&before.endpoints);
        for row in gone.into_iter().filter(|row| guarded(&row.network)) {
            let stays = after.endpoints.get(&(row.task.clone(), row.network.clone()));
            if stays.is_some_and(|it| it.address == row.address && it.name == row.name) {
                continue;
            }
            self.0.push(Owner {
                network: row.network.clone(),
                address: row.address,
                name: row.name.clone(),
                until: now,
            });
        }
    }

    /// Who had the address at `at` and has it no more.
    fn owner(&self, network: &NetworkId, address: Ipv4Addr, at: SystemTime) -> Option<&str> {
        let had = |owner: &&Owner| {
            owner.address == address && owner.network == *network && owner.until >= at
        };
        // Owners follow one another: the first that left after it.
        self.0.iter().find(had).map(|owner| owner.name.as_str())
    }
}

impl Networks {
    pub(super) async fn policy_log(&self, network: &NetworkId) -> Result<Vec<PolicyDrop>> {
        let following = {
            let state = self.state.lock().await;
            state.following.as_ref().map(|it| (it.table().clone(), it.former.clone()))
        };
        let Some((table, former)) = following else { return Ok(Vec::new()) };
        let Some(row) = table.networks.iter().find(|row| row.id == *network) else {
            return Ok(Vec::new());
        };
        let endpoints = table.endpoints.iter().filter(|row| row.network == *network);
        let names: BTreeMap<Ipv4Addr, &str> =
            endpoints.map(|row| (row.address, row.name.as_str())).collect();
        let name = |address: Ipv4Addr, at: SystemTime| {
            let name = former.owner(network, address, at).or(names.get(&address).copied());
            match name {
                Some(name) if !name.is_empty() => name.to_owned(),
                _ => address.to_string(),
            }
        };
        let refused = self.on_overlay(|overlay| overlay.policy_log()).await;
        let refused =
            refused.map_err(|err| Error::caused("failed to read what policies refused", err))?;
        let now = SystemTime::now();
        let here = |to: &Ipv4Addr| row.subnet.contains(*to) || names.contains_key(to);
        let drops = refused.into_iter().filter(|it| here(&it.to)).map(|it| {
            let at = now.checked_sub(it.ago).unwrap_or(now);
            PolicyDrop {
                at: Timestamp::from(at),
                from: name(it.from, at),
                from_address: it.from.to_string(),
                to: name(it.to, at),
                to_address: it.to.to_string(),
                protocol: it.protocol,
                port: it.port,
                packets: it.packets,
            }
        });
        let mut drops: Vec<PolicyDrop> = drops.collect();
        drops.sort_by(|a, b| (a.at, &a.from, &a.to, a.port).cmp(&(b.at, &b.from, &b.to, b.port)));
        Ok(drops)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::swarm::endpoint::{EndpointRow, EndpointState, NetworkRow, PolicyRow};
    use types::{NodeId, TaskId, subnet::Subnet};

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 7);

    fn table(owner: &str, state: EndpointState) -> EndpointTable {
        let network = NetworkRow {
            id: NetworkId::new("net"),
            name: "front".to_owned(),
            subnet: Subnet::new(Ipv4Addr::new(10, 0, 1, 0), 24),
            gateway: Ipv4Addr::new(10, 0, 1, 1),
            six: None,
            mode: Default::default(),
            internal: false,
            ingress: false,
            blocks: Vec::new(),
            policy: vec![PolicyRow::default()],
        };
        let row = EndpointRow {
            task: TaskId::new(owner),
            network: NetworkId::new("net"),
            node: NodeId::new("node"),
            address: ADDRESS,
            state,
            weight: 1,
            service: None,
            slot: 0,
            name: owner.to_owned(),
            aliases: Vec::new(),
        };
        EndpointTable {
            networks: vec![network].into(),
            endpoints: if owner.is_empty() { Vec::new() } else { vec![row] }.into(),
            ..EndpointTable::default()
        }
    }

    #[test]
    fn an_address_is_named_by_who_had_it_then() {
        use EndpointState::{Draining, Healthy};
        let at = |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(10_000 + seconds);
        let mut former = Former::default();
        let tables = [
            (0, table("one", Healthy)),
            (10, table("one", Draining)),
            (20, table("", Healthy)),
            (30, table("two", Healthy)),
            (40, table("three", Healthy)),
        ];
        for pair in tables.windows(2) {
            former.note(&pair[0].1, &pair[1].1, at(pair[1].0));
        }
        let net = NetworkId::new("net");
        let owner = |seconds| former.owner(&net, ADDRESS, at(seconds));
        assert_eq!([owner(5), owner(15), owner(35)], [Some("one"), Some("one"), Some("two")]);
        // Who has it now is in the table.
        assert_eq!(owner(45), None);
        assert_eq!(former.owner(&NetworkId::new("other"), ADDRESS, at(5)), None);
        assert_eq!(former.owner(&net, Ipv4Addr::LOCALHOST, at(5)), None);
        // What the kernel has forgotten is forgotten here.
        let three = &tables[4].1;
        former.note(three, three, at(40) + REMEMBERED + Duration::from_secs(1));
        assert!(former.0.is_empty());
    }
}
