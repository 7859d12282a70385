//! The switch between hosts, without daemons.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use testkit::{Hub, Namespace};

/// Whether a connection from `host` to `address` opens within `limit`.
fn reaches(host: &Namespace, address: SocketAddr, limit: Duration) -> bool {
    host.inside(move || Ok(std::net::TcpStream::connect_timeout(&address, limit)?)).is_ok()
}

#[test]
fn what_is_cut_does_not_pass_and_what_is_healed_does() {
    let token = format!("smp-{}-900", std::process::id());
    let name = |suffix: &str| format!("{token}{suffix}");
    let hub = Hub::create(&name("")).unwrap();
    let (one, two) =
        (Namespace::create(&name("-a")).unwrap(), Namespace::create(&name("-b")).unwrap());
    hub.plug(&one, "10.213.9.1/24").unwrap();
    hub.plug(&two, "10.213.9.2/24").unwrap();
    let address: SocketAddr = "10.213.9.2:7".parse().unwrap();
    let listener = two.inside(move || Ok(TcpListener::bind(address)?)).unwrap();
    assert!(reaches(&one, address, Duration::from_secs(20)));

    hub.cut_one_way("10.213.9.2".parse().unwrap(), "10.213.9.1".parse().unwrap()).unwrap();
    assert!(!reaches(&one, address, Duration::from_millis(300)));

    hub.heal().unwrap();
    assert!(reaches(&one, address, Duration::from_secs(20)));
    drop(listener);
}
