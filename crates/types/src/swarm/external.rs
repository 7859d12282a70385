//! Services outside of the cluster that its networks know by a name: a database host, a machine that has not moved yet.
//!
//! A service without replicas that has the label [`ADDRESSES`] stands for them: it has a name, a VIP, policies, as any other,
//! and its endpoints are these addresses.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// `192.0.2.7,192.0.2.8`
pub const ADDRESSES: &str = "sampan.external";
/// `tcp:5432` or `http:8080/health`; without it every address counts as healthy.
pub const CHECK: &str = "sampan.external.check";
/// Above anything that a person writes; each node asks each of them.
const MOST: usize = 256;

/// What the labels of a service say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct External {
    pub addresses: BTreeSet<Ipv4Addr>,
    pub check: Option<Check>,
}

/// How a node finds out whether an address is healthy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// A connection is taken.
    Tcp(u16),
    /// `GET` of the path is answered by 200 to 399.
    Http(u16, String),
}

impl External {
    /// `None` of a service that runs in the cluster.
    ///
    /// # Errors
    /// What makes no sense in the labels.
    pub fn of(labels: &BTreeMap<String, String>) -> Result<Option<Self>, String> {
        let check = labels.get(CHECK).map(|text| Check::parse(text)).transpose()?;
        let Some(text) = labels.get(ADDRESSES) else {
            return match check {
                Some(_) => Err(format!("label {CHECK} needs label {ADDRESSES}")),
                None => Ok(None),
            };
        };
        let mut addresses = BTreeSet::new();
        for word in text.split(',').map(str::trim) {
            let address: Ipv4Addr = word
                .parse()
                .map_err(|_| format!("label {ADDRESSES}: {word:?} is no IPv4 address"))?;
            if address.is_unspecified() || address.is_loopback() || address.is_multicast() {
                return Err(format!("label {ADDRESSES}: {address} is no machine's address"));
            }
            addresses.insert(address);
        }
        if addresses.len() > MOST {
            return Err(format!("label {ADDRESSES}: at most {MOST} addresses"));
        }
        Ok(Some(External { addresses, check }))
    }
}

impl Check {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("label {CHECK}: {text:?} is neither tcp:PORT nor http:PORT[/PATH]");
        let (kind, rest) = text.split_once(':').ok_or_else(wrong)?;
        let (port, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
        let is_path = path.bytes().all(|byte| byte.is_ascii_graphic());
        match kind {
            "tcp" if path.is_empty() => Ok(Check::Tcp(port)),
            "http" if path.is_empty() => Ok(Check::Http(port, "/".to_owned())),
            "http" if is_path => Ok(Check::Http(port, path.to_owned())),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(labels: &[(&str, &str)]) -> Result<Option<External>, String> {
        External::of(&labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect())
    }

    #[test]
    fn labels_say_where_a_service_is_and_how_to_ask_for_its_health() {
        assert_eq!(read(&[("a", "b")]), Ok(None));
        let found = read(&[(ADDRESSES, "192.0.2.8, 192.0.2.7"), (CHECK, "http:80/up?x")]).unwrap();
        let found = found.unwrap();
        assert_eq!(found.addresses, [[192, 0, 2, 7].into(), [192, 0, 2, 8].into()].into());
        assert_eq!(found.check, Some(Check::Http(80, "/up?x".to_owned())));
        let check = |text: &str| read(&[(ADDRESSES, "192.0.2.7"), (CHECK, text)]);
        assert_eq!(check("tcp:5432").unwrap().unwrap().check, Some(Check::Tcp(5432)));
        for nonsense in ["", "tcp", "tcp:0", "tcp:80/x", "http:80/a b", "udp:53", "http:x"] {
            assert!(check(nonsense).is_err(), "{nonsense:?}");
        }
        for nonsense in ["", "db", "192.0.2.7,", "127.0.0.1", "0.0.0.0", "224.0.0.1", "::1"] {
            assert!(read(&[(ADDRESSES, nonsense)]).is_err(), "{nonsense:?}");
        }
        assert!(read(&[(CHECK, "tcp:1")]).is_err());
    }
}
