//! The user's IPAM configuration: read and checked as dockerd does, every fault at once.

use errdefs::{Classify, ErrorKind};
use std::net::Ipv4Addr;
use types::network::IpamConfig;
use types::subnet::{Cidr, Subnet};

/// All that is wrong with an `IPAM.Config`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpamError {
    faults: Vec<String>,
}

impl std::fmt::Display for IpamError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("invalid network config:")?;
        match self.faults.as_slice() {
            [only] => write!(f, "\n{only}"),
            faults => faults.iter().try_for_each(|fault| write!(f, "\n* {fault}")),
        }
    }
}

impl std::error::Error for IpamError {}

impl Classify for IpamError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidParameter
    }
}

/// Checks `configs` as far as they concern IPv4; IPv6 entries are left out, as dockerd does while IPv6 is
/// off. Nothing is compared with other networks here.
pub fn check_ipam(configs: &[IpamConfig]) -> Result<(), IpamError> {
    let faults: Vec<String> =
        configs.iter().filter(|config| !config.subnet.contains(':')).flat_map(faults_of).collect();
    if faults.is_empty() { Ok(()) } else { Err(IpamError { faults }) }
}

fn faults_of(config: &IpamConfig) -> Vec<String> {
    let Ok(cidr) = config.subnet.parse::<Cidr>() else {
        return vec![format!("invalid subnet {}: invalid CIDR block notation", config.subnet)];
    };
    let subnet = cidr.subnet();
    let mut faults = Vec::new();
    if cidr != subnet.with(subnet.network()) {
        faults.push(format!("invalid subnet {cidr}: it should be {subnet}"));
    }
    faults.append(&mut range_faults(&config.ip_range, subnet));
    let gateway =
        (!config.gateway.is_empty()).then_some(("gateway", &config.gateway, &config.gateway));
    let auxiliary = config.auxiliary_addresses.iter().flatten();
    let addresses =
        gateway.into_iter().chain(auxiliary.map(|(name, text)| ("auxiliary address", name, text)));
    for (role, name, text) in addresses {
        if let Some(fault) = address_fault(text, subnet) {
            faults.push(format!("invalid {role} {name}: {fault}"));
        }
    }
    faults
}

fn range_faults(text: &str, subnet: Subnet) -> Vec<String> {
    if text.is_empty() {
        return Vec::new();
    }
    let Ok(cidr) = text.parse::<Cidr>() else {
        let why = if text.contains(':') {
            "parent subnet is an IPv4 block"
        } else {
            "invalid CIDR block notation"
        };
        return vec![format!("invalid ip-range {text}: {why}")];
    };
    let range = cidr.subnet();
    let mut faults = Vec::new();
    if range.prefix_len() < subnet.prefix_len() {
        faults.push(format!(
            "invalid ip-range {cidr}: CIDR block is bigger than its parent subnet {subnet}"
        ));
    }
    if cidr != range.with(range.network()) {
        faults.push(format!("invalid ip-range {cidr}: it should be {range}"));
    }
    if !subnet.overlaps(range) {
        faults.push(format!(
            "invalid ip-range {cidr}: parent subnet {subnet} doesn't contain ip-range"
        ));
    }
    faults
}

fn address_fault(text: &str, subnet: Subnet) -> Option<String> {
    match text.parse::<Ipv4Addr>() {
        Ok(address) if subnet.contains(address) => None,
        Ok(_) => Some(format!("parent subnet {subnet} doesn't contain this address")),
        Err(_) if text.contains(':') => Some("parent subnet is an IPv4 block".to_owned()),
        Err(_) => Some("invalid address".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(subnet: &str, range: &str, gateway: &str) -> String {
        let config = IpamConfig {
            subnet: subnet.to_owned(),
            ip_range: range.to_owned(),
            gateway: gateway.to_owned(),
            auxiliary_addresses: None,
        };
        check_ipam(&[config]).map_or_else(|err| err.to_string(), |()| "ok".to_owned())
    }

    #[test]
    fn a_faulty_configuration_gets_dockers_sentence() {
        let said = |text: &str| format!("invalid network config:\n{text}");
        assert_eq!(fault("10.1.0.0/16", "10.1.8.0/24", "10.1.0.1"), "ok");
        assert_eq!(
            fault("10.1.0", "", ""),
            said("invalid subnet 10.1.0: invalid CIDR block notation")
        );
        assert_eq!(
            fault("10.1.2.3/16", "", ""),
            said("invalid subnet 10.1.2.3/16: it should be 10.1.0.0/16")
        );
        assert_eq!(
            fault("10.1.0.0/16", "", "10.2.0.1"),
            said(
                "invalid gateway 10.2.0.1: parent subnet 10.1.0.0/16 doesn't contain this address"
            )
        );
        assert_eq!(
            fault("10.1.0.0/24", "10.0.0.0/8", ""),
            said(
                "invalid ip-range 10.0.0.0/8: CIDR block is bigger than its parent subnet 10.1.0.0/24"
            )
        );
    }

    #[test]
    fn several_faults_are_listed() {
        assert_eq!(
            fault("10.1.2.3/16", "", "x"),
            "invalid network config:\n* invalid subnet 10.1.2.3/16: it should be 10.1.0.0/16\n* invalid gateway x: invalid address"
        );
    }
}
