//! Several hosts on one machine: a daemon each in a namespace of its own, plugged into one switch, and faults between them.
//!
//! ```text
//!   host 1 ── eth0 10.213.9.1 ──┐
//!   host 2 ── eth0 10.213.9.2 ──┼── br0 of the hub: nftables drops what is cut
//!   host 3 ── eth0 10.213.9.3 ──┘
//! ```

use std::net::Ipv4Addr;
use std::ops::{Deref, DerefMut, Index, IndexMut};

use anyhow::Result;

use crate::daemon::{Daemon, Options, next_token, ran};
use crate::namespace::Namespace;

/// The hub's own address: it stands for a machine outside the cluster.
const HUB: &str = "10.213.9.254/24";

/// The switch that hosts are plugged into.
#[derive(Debug)]
pub struct Hub {
    namespace: Namespace,
}

impl Hub {
    /// A switch without plugs. `name` begins with `smp-`.
    pub fn create(name: &str) -> Result<Self> {
        let hub = Hub { namespace: Namespace::create(name)? };
        hub.namespace.ip(&["link", "add", "br0", "type", "bridge"])?;
        hub.namespace.ip(&["addr", "add", HUB, "dev", "br0"])?;
        hub.namespace.ip(&["link", "set", "br0", "up"])?;
        hub.nft(
            "add table bridge smp
             add set bridge smp cut { type ipv4_addr . ipv4_addr; }
             add chain bridge smp forward { type filter hook forward priority 0; }
             add rule bridge smp forward ip saddr . ip daddr @cut drop
             add rule bridge smp forward arp saddr ip . arp daddr ip @cut drop",
        )?;
        Ok(hub)
    }

    /// The switch's own namespace: from here the hosts are seen as another machine sees them.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Gives the namespace an `eth0` with `address` (`10.213.9.1/24`) on this switch.
    pub fn plug(&self, host: &Namespace, address: &str) -> Result<()> {
        let last = address.split('/').next().and_then(|address| address.rsplit('.').next());
        let port = format!("port{}", last.unwrap_or("0"));
        host.cable(&self.namespace, "eth0", &port)?;
        self.namespace.ip(&["link", "set", &port, "master", "br0", "up"])?;
        host.ip(&["addr", "add", address, "dev", "eth0"])?;
        host.ip(&["link", "set", "eth0", "up"])
    }

    /// The switch that a program before made.
    pub fn existing(name: &str) -> Result<Self> {
        Ok(Hub { namespace: Namespace::existing(name)? })
    }

    /// Drops what `from` sends to `to`; the way back stays open.
    pub fn cut_one_way(&self, from: Ipv4Addr, to: Ipv4Addr) -> Result<()> {
        self.nft(&format!("add element bridge smp cut {{ {from} . {to} }}"))
    }

    /// Lets everything through again.
    pub fn heal(&self) -> Result<()> {
        self.nft("flush set bridge smp cut")
    }

    fn nft(&self, script: &str) -> Result<()> {
        crate::client::run(self.namespace.command("nft").args(["-f", "-"]), script.as_bytes())?
            .checked()
            .map(drop)
    }
}

/// A host: its daemon and its address.
#[derive(Debug)]
pub struct Host {
    daemon: Daemon,
    address: Ipv4Addr,
}

impl Host {
    /// On the switch.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }
}

impl Deref for Host {
    type Target = Daemon;
    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

impl DerefMut for Host {
    fn deref_mut(&mut self) -> &mut Daemon {
        &mut self.daemon
    }
}

/// Some hosts on one switch. Index 0 is the first.
#[derive(Debug)]
pub struct Hosts {
    // Dropped first, so that no daemon outlives its cable.
    hosts: Vec<Host>,
    hub: Hub,
    token: String,
}

impl Hosts {
    /// Starts `count` daemons with the same options.
    ///
    /// # Panics
    /// When one does not come up.
    #[track_caller]
    pub fn start(count: u8, options: &Options) -> Self {
        ran(Hosts::try_start(count, options))
    }

    /// As [`start`](Hosts::start), for programs that are not tests.
    pub fn try_start(count: u8, options: &Options) -> Result<Self> {
        let token = options.token.clone().unwrap_or_else(next_token);
        let hub = Hub::create(&token)?;
        let mut hosts = Hosts { hosts: Vec::new(), hub, token };
        for _ in 0..count {
            hosts.add(options)?;
        }
        Ok(hosts)
    }

    /// Lets the hosts run on after this program. `clear` with their token ends them.
    pub fn leave(mut self) {
        self.hosts.drain(..).for_each(std::mem::forget);
        std::mem::forget(self);
    }

    /// One more host, called `node<its number>`; returns its index.
    pub fn add(&mut self, options: &Options) -> Result<usize> {
        let number = u8::try_from(self.hosts.len() + 1)?;
        let address = host_address(number);
        let options = Options {
            token: Some(host_token(&self.token, number)),
            hostname: Some(format!("node{number}")),
            ..options.clone()
        };
        let plug = |host: &Namespace| self.hub.plug(host, &format!("{address}/24"));
        let daemon = Daemon::try_start_on(options, plug)?;
        self.hosts.push(Host { daemon, address });
        Ok(self.hosts.len() - 1)
    }

    /// No packet passes between these two, in either direction.
    #[track_caller]
    pub fn cut(&self, one: usize, other: usize) {
        let (one, other) = (self.hosts[one].address, self.hosts[other].address);
        ran(self.hub.cut_one_way(one, other));
        ran(self.hub.cut_one_way(other, one));
    }

    /// What `from` sends does not arrive at `to`; the way back stays open.
    #[track_caller]
    pub fn cut_one_way(&self, from: usize, to: usize) {
        ran(self.hub.cut_one_way(self.hosts[from].address, self.hosts[to].address));
    }

    /// No packet passes between this one and any other.
    #[track_caller]
    pub fn isolate(&self, host: usize) {
        (0..self.hosts.len())
            .filter(|other| *other != host)
            .for_each(|other| self.cut(host, other));
    }

    /// The hub, for further namespaces and faults.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Every packet passes again.
    #[track_caller]
    pub fn heal(&self) {
        ran(self.hub.heal());
    }

    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, Host> {
        self.hosts.iter_mut()
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Host> {
        self.hosts.iter()
    }

    /// The nodes on which the service's tasks run and shall run, as host `on` says it, sorted; none while nobody can say.
    pub fn running_on(&self, on: usize, service: &str) -> Vec<String> {
        let format = "{{.Node}} {{.CurrentState}}";
        let filter = "desired-state=running";
        let args = ["service", "ps", service, "--filter", filter, "--format", format];
        let output = self.hosts[on].docker(&args);
        let running = output.stdout.lines().filter(|line| line.contains(" Running "));
        let mut nodes: Vec<String> =
            running.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
        nodes.sort();
        nodes
    }

    /// `docker swarm init` on the first, `join` on the others: as managers up to this many, as workers after.
    #[track_caller]
    pub fn swarm(&self, managers: usize) {
        let first = self.hosts[0].address.to_string();
        self.hosts[0].docker(&["swarm", "init", "--advertise-addr", &first]).ok();
        for (place, host) in self.hosts.iter().enumerate().skip(1) {
            let role = if place < managers { "manager" } else { "worker" };
            let token = self.hosts[0].docker(&["swarm", "join-token", "-q", role]).ok();
            host.docker(&["swarm", "join", "--token", &token, &format!("{first}:2377")]).ok();
        }
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        self.hosts.clear();
        crate::clear(&self.token);
    }
}

/// The address on the switch of the host with this number, from 1.
pub fn host_address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 213, 9, number)
}

/// The token of the host with this number, from 1. Of fixed width, so that none is the beginning of another.
pub fn host_token(token: &str, number: u8) -> String {
    format!("{token}-node{number:03}")
}

impl Index<usize> for Hosts {
    type Output = Host;
    fn index(&self, place: usize) -> &Host {
        &self.hosts[place]
    }
}

impl IndexMut<usize> for Hosts {
    fn index_mut(&mut self, place: usize) -> &mut Host {
        &mut self.hosts[place]
    }
}
