//! The cluster's networks and what is around them, on five hosts: machines outside, hosts that join, and how packets travel.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "swarm_network/cluster.rs"]
mod cluster;
#[path = "swarm_network/modes.rs"]
mod modes;
#[path = "swarm_network/outside.rs"]
mod outside;

use cluster::{Cluster, HOSTS, OUTSIDE, PYTHON, WAIT, WHO, ask};

/// All on one cluster: what takes long is to start it.
#[test]
fn networks_lead_out_of_the_cluster_and_through_it_in_every_way() {
    let mut cluster = Cluster::start();
    outside::machines_outside_are_known(&cluster);
    outside::files_say_who_may_come(&cluster);
    outside::hosts_join(&mut cluster);
    modes::encrypted_packets_are_nobodys_to_read(&mut cluster);
    modes::a_network_without_encapsulation_is_open_to_the_outside(&cluster);
    modes::ipv6_goes_beside_ipv4(&cluster);
}
