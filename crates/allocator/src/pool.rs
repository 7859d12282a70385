//! Subnets for networks whose user named none.

use crate::AllocError;
use std::net::Ipv4Addr;
use types::subnet::{Cidr, Subnet};

/// Subnets of `/size` are cut from `base`, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    base: Subnet,
    size: u8,
}

/// A pool that cannot be cut.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    #[error("invalid base pool \"{0}\": invalid CIDR block notation")]
    Base(String),
    #[error(
        "invalid pools size {size} for base {base}: it must lie between the base's length and 30"
    )]
    Size { base: Subnet, size: u8 },
}

impl Pool {
    /// `base` is `ADDRESS/LENGTH`; `size` at most 30, so that a subnet holds a gateway and a container.
    pub fn new(base: &str, size: u8) -> Result<Self, PoolError> {
        let cidr: Cidr = base.parse().map_err(|_| PoolError::Base(base.to_owned()))?;
        let base = cidr.subnet();
        if size < base.prefix_len() || size > 30 {
            return Err(PoolError::Size { base, size });
        }
        Ok(Pool { base, size })
    }

    fn subnets(self) -> impl Iterator<Item = Subnet> {
        let step = 1u64 << (32 - self.size);
        let first = u64::from(self.base.network().to_bits());
        let last = u64::from(self.base.broadcast().to_bits());
        (first..=last).step_by(usize::try_from(step).unwrap_or(usize::MAX)).filter_map(
            move |start| {
                Some(Subnet::new(Ipv4Addr::from_bits(u32::try_from(start).ok()?), self.size))
            },
        )
    }
}

/// Docker's pools: 172.17–172.31 as /16 each, then 192.168 in slices of /20.
pub fn default_pools() -> Vec<Pool> {
    let sixteen =
        |second, len| Pool { base: Subnet::new(Ipv4Addr::new(172, second, 0, 0), len), size: 16 };
    let private = Pool { base: Subnet::new(Ipv4Addr::new(192, 168, 0, 0), 16), size: 20 };
    let mut pools: Vec<Pool> = (17..32).map(|second| sixteen(second, 16)).collect();
    pools.push(private);
    pools
}

/// The first subnet of `pools` that overlaps nothing `in_use`: the networks' and the host's routes.
pub fn choose_subnet(pools: &[Pool], in_use: &[Subnet]) -> Result<Subnet, AllocError> {
    pools
        .iter()
        .flat_map(|pool| pool.subnets())
        .find(|subnet| !in_use.iter().any(|used| used.overlaps(*subnet)))
        .ok_or(AllocError::PoolsExhausted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<Subnet> {
        texts.iter().map(|text| text.parse::<Cidr>().unwrap().subnet()).collect()
    }

    #[test]
    fn the_first_free_default_is_taken_and_host_routes_are_avoided() {
        let choose =
            |used: &[&str]| choose_subnet(&default_pools(), &nets(used)).unwrap().to_string();
        assert_eq!(choose(&[]), "172.17.0.0/16");
        assert_eq!(choose(&["172.17.0.0/16", "172.18.4.0/24"]), "172.19.0.0/16");
        assert_eq!(choose(&["172.16.0.0/12"]), "192.168.0.0/20");
        assert_eq!(choose(&["172.16.0.0/12", "192.168.0.0/19"]), "192.168.32.0/20");
    }

    #[test]
    fn exhaustion_is_dockers_sentence() {
        let all = choose_subnet(&default_pools(), &nets(&["0.0.0.0/0"])).unwrap_err();
        assert_eq!(all.to_string(), "all predefined address pools have been fully subnetted");
        let pool = Pool::new("10.9.0.0/23", 24).unwrap();
        let used = nets(&["10.9.0.0/24", "10.9.1.0/24"]);
        assert_eq!(choose_subnet(&[pool], &used), Err(AllocError::PoolsExhausted));
    }

    #[test]
    fn a_pool_is_cut_no_finer_than_thirty_and_no_coarser_than_its_base() {
        assert!(Pool::new("10.0.0.0/8", 24).is_ok());
        assert!(Pool::new("10.0.0.0/8", 31).is_err());
        assert!(Pool::new("10.0.0.0/24", 16).is_err());
        assert!(Pool::new("10.0.0.0", 16).is_err());
    }
}
