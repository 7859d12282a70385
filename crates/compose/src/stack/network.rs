//! Networks of a stack.

use super::labelled;
use crate::model::{self, Ipam, Project};
use std::collections::BTreeMap;
use types::network::{self, CreateRequest};

/// Networks of the nodes themselves: services may name them, nobody makes them.
pub(crate) const PREDEFINED: [&str; 3] = ["host", "bridge", "none"];

/// A network, by its key in the file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Network {
    /// Must be there already.
    pub external: bool,
    pub request: CreateRequest,
}

impl Network {
    /// Whether it is one that every node has by itself.
    pub fn is_predefined(&self) -> bool {
        self.external && PREDEFINED.contains(&self.request.name.as_str())
    }
}

pub(super) fn all(project: &Project) -> BTreeMap<String, Network> {
    project.networks.iter().map(|(key, n)| (key.clone(), network(project, n))).collect()
}

fn network(project: &Project, network: &model::Network) -> Network {
    // as docker: what spans the nodes, unless another driver is named
    let driver = if network.driver.is_empty() { "overlay" } else { &network.driver };
    Network {
        external: network.external,
        request: CreateRequest {
            name: network.name.clone(),
            driver: driver.to_owned(),
            internal: network.internal,
            attachable: network.attachable,
            ipam: (network.ipam != Ipam::default()).then(|| ipam(&network.ipam)),
            enable_ipv4: network.enable_ipv4,
            enable_ipv6: network.enable_ipv6,
            options: (!network.driver_opts.is_empty()).then(|| network.driver_opts.clone()),
            labels: Some(labelled(project, &network.labels)),
            ..CreateRequest::default()
        },
    }
}

fn ipam(ipam: &Ipam) -> network::Ipam {
    let some = |map: &BTreeMap<String, String>| (!map.is_empty()).then(|| map.clone());
    let pools = ipam.config.iter().map(|pool| network::IpamConfig {
        subnet: pool.subnet.clone(),
        ip_range: pool.ip_range.clone(),
        gateway: pool.gateway.clone(),
        auxiliary_addresses: some(&pool.aux_addresses),
    });
    let driver = if ipam.driver.is_empty() { "default" } else { &ipam.driver };
    network::Ipam {
        driver: driver.to_owned(),
        options: some(&ipam.options),
        config: Some(pools.collect()),
    }
}
