//! A container's place in the network: which mode it asks for, what its start gets of it, and the files
//! that follow (`/etc/hosts`, `/etc/resolv.conf`, `/etc/hostname`).
//!
//! The files lie in the container's directory and are bind-mounted: they are written in place, never
//! replaced, and anew at every start.

use super::record::{Container, Record};
use crate::networks::{DNS_TCP, DNS_UDP, Joining, Publishing};
use crate::{Engine, Error, Result};
use names::{DnsWishes, Hosts, ResolvConf};
use ocispec::Namespace;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use types::container::CreateRequest;
use types::network::Network;

/// Files of the container's directory and where they appear.
const FILES: [(&str, &str); 3] =
    [("hosts", "/etc/hosts"), ("resolv.conf", "/etc/resolv.conf"), ("hostname", "/etc/hostname")];

/// What a start has got of the network.
pub(crate) struct Sandbox {
    pub(crate) namespace: Namespace,
    /// Files of the container's directory and where they appear.
    pub(crate) files: Vec<(&'static str, &'static str)>,
    /// Sockets that must outlive the daemon: the resolver's, and reserved host ports.
    pub(crate) keep: Vec<(String, OwnedFd)>,
    /// Variables of its links.
    pub(crate) env: Vec<String>,
}

impl Engine {
    /// Checks the mode and turns names into what is kept.
    pub(crate) async fn check_network_mode(&self, request: &mut CreateRequest) -> Result<()> {
        let host = &mut request.host_config;
        if let Some(other) = host.network_mode.strip_prefix("container:") {
            // One that is not there is told at the start, as by dockerd: it may come until then.
            if let Ok(other) = self.0.containers.find(other) {
                host.network_mode = format!("container:{}", other.id);
            }
        }
        let wishes = request.networking_config.endpoints_config.clone().unwrap_or_default();
        // A MAC address for the mode's network is a wish that outlives each run.
        let of_mode = wishes.get(&host.network_mode).map(|wish| wish.mac_address.clone());
        if let Some(mac) = of_mode.filter(|mac| !mac.is_empty()) {
            request.config.mac_address = mac;
        }
        self.0.networks.check_wishes(&wishes).await
    }

    /// What the container's start gets: namespace, addresses, files. After a failure nothing stays.
    pub(crate) async fn attach_network(&self, container: &Arc<Container>) -> Result<Sandbox> {
        let record = container.snapshot();
        match record.host_config.network_mode.as_str() {
            "host" => self.share_host(container, &record),
            mode => match mode.strip_prefix("container:") {
                Some(other) => self.share_container(container, other),
                None => self.own_sandbox(container, record).await,
            },
        }
    }

    /// Takes over the sandbox of a container that kept running; its resolver's sockets are in the shim.
    pub(crate) async fn adopt_network(
        &self,
        container: &Arc<Container>,
        shim: &runtime::Shim,
    ) -> Result<()> {
        let mode = container.record().host_config.network_mode.clone();
        if mode == "host" || mode.starts_with("container:") {
            return Ok(());
        }
        // Without endpoints there is no resolver.
        let sockets = match (shim.take_fd(DNS_UDP).await, shim.take_fd(DNS_TCP).await) {
            (Ok(udp), Ok(tcp)) => Some(dnsd::Sockets { udp, tcp }),
            _ => None,
        };
        let mut relayed = Vec::new();
        for name in self.0.networks.relayed(&container.id) {
            let socket = shim.take_fd(&name).await;
            relayed.extend(socket.ok().map(|socket| (name, socket)));
        }
        self.0.networks.adopt(&container.id, sockets, &relayed).await
    }

    /// The networks that a run has joined, and told so.
    pub(crate) async fn joined_networks(&self, container: &Container) -> Vec<Network> {
        let record = container.record();
        let joined = record
            .networks
            .iter()
            .filter(|(name, settings)| *name != "none" && !settings.endpoint_id.is_empty());
        let mut networks = Vec::new();
        for (_, settings) in joined {
            // One that is gone has said so itself.
            networks.extend(self.0.networks.inspect(&settings.network_id).await);
        }
        networks
    }

    /// A run has ended, and with it its place in these networks. dockerd tells after the container's end.
    pub(crate) fn tell_left(&self, container: &Container, networks: &[Network]) {
        for network in networks {
            self.network_event("disconnect", network, Some(&container.id));
        }
    }

    async fn own_sandbox(&self, container: &Arc<Container>, mut record: Record) -> Result<Sandbox> {
        let linked = self.linked(&record)?;
        let wishes = dns_wishes(&record);
        if let Some(wish) = record.networks.get_mut(&record.host_config.network_mode) {
            wish.mac_address.clone_from(&record.config.mac_address);
        }
        let granted = self.ask_places(&container.id, &record).await?;
        let joining = Joining {
            id: &container.id,
            name: &record.name,
            hostname: &record.config.hostname,
            mode: &record.host_config.network_mode,
            networks: &record.networks,
            publishing: Publishing {
                bindings: &record.host_config.port_bindings,
                exposed: record.config.exposed_ports.as_ref(),
                all: record.host_config.publish_all_ports,
            },
            dns: &wishes.servers,
            granted: &granted,
        };
        let mut attached = match self.0.networks.attach(joining).await {
            Ok(attached) => attached,
            Err(err) => {
                self.give_back(&granted).await;
                return Err(err);
            }
        };
        let resolv = dnsd::host_resolv_conf().with(&self.0.networks.dns_wishes(wishes));
        let resolv =
            if attached.addresses.is_empty() { resolv.to_string() } else { resolv.embedded() };
        let four = attached.addresses.into_iter().map(IpAddr::V4);
        let six = attached.six_addresses.into_iter().map(IpAddr::V6);
        let mut hosts = own_hosts(&record, four.chain(six).collect(), attached.host_gateway);
        hosts.extra.extend(linked.hosts);
        self.write_files(container, &record, &hosts.to_string(), &resolv)?;
        for (network, settings) in
            attached.settings.networks.iter().filter(|(name, _)| *name != "none")
        {
            let network = self
                .0
                .networks
                .inspect(&settings.network_id)
                .await
                .map_err(|err| err.context(network))?;
            self.network_event("connect", &network, Some(&container.id));
        }
        container.modify(|record| {
            record.networks = std::mem::take(&mut attached.settings.networks);
            record.network_settings = attached.settings;
        });
        Ok(Sandbox {
            namespace: Namespace::Path(attached.netns.to_string_lossy().into_owned()),
            files: FILES.to_vec(),
            keep: attached.keep,
            env: linked.env,
        })
    }

    /// The host's own files, with what the user wants otherwise.
    fn share_host(&self, container: &Container, record: &Record) -> Result<Sandbox> {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let wishes = self.0.networks.dns_wishes(dns_wishes(record));
        let resolv = match wishes == DnsWishes::default() {
            true => read("/etc/resolv.conf"),
            false => ResolvConf::parse(&read("/etc/resolv.conf")).with(&wishes).to_string(),
        };
        let extra = Hosts {
            host_gateway: Some(Ipv4Addr::LOCALHOST),
            ..own_hosts(record, Vec::new(), None)
        };
        let hosts = match read("/etc/hosts") {
            hosts if hosts.is_empty() => extra.to_string(),
            hosts => format!("{}\n{}", hosts.trim_end(), extra.extra_lines()),
        };
        self.write_files(container, record, &hosts, &resolv)?;
        Ok(Sandbox {
            namespace: Namespace::Host,
            files: FILES.to_vec(),
            keep: Vec::new(),
            env: Vec::new(),
        })
    }

    /// The namespace and the files of another running container.
    fn share_container(&self, container: &Container, other: &str) -> Result<Sandbox> {
        let joining = "joining network namespace of container";
        let other = self.0.containers.find(other).map_err(|err| err.context(joining))?;
        let record = other.snapshot();
        if !record.state.running {
            return Err(Error::conflict(format!(
                "cannot join network namespace of a non running container: container {} is {}",
                other.id,
                record.state.status.as_str()
            ))
            .context(joining));
        }
        for (name, _) in FILES {
            let text = std::fs::read(other.dir.join(name)).unwrap_or_default();
            write_file(container, name, &text)?;
        }
        let namespace = match record.host_config.network_mode.as_str() {
            "host" => Namespace::Host,
            // It shares another's itself.
            mode if mode.starts_with("container:") => {
                Namespace::Path(format!("/proc/{}/ns/net", record.state.pid))
            }
            _ => Namespace::Path(
                self.0.networks.sandbox_path(&other.id).to_string_lossy().into_owned(),
            ),
        };
        Ok(Sandbox { namespace, files: FILES.to_vec(), keep: Vec::new(), env: Vec::new() })
    }

    fn write_files(
        &self,
        container: &Container,
        record: &Record,
        hosts: &str,
        resolv: &str,
    ) -> Result<()> {
        write_file(container, "hosts", hosts.as_bytes())?;
        write_file(container, "resolv.conf", resolv.as_bytes())?;
        write_file(container, "hostname", names::hostname(&record.config.hostname).as_bytes())
    }
}

impl Container {
    /// It has addresses more: its own name leads there too.
    pub(crate) fn add_own_hosts(&self, addresses: Vec<IpAddr>) -> Result<()> {
        let record = self.snapshot();
        let lines = own_hosts(&record, addresses, None).own_lines();
        self.edit_hosts(|text| format!("{text}{lines}"))
    }

    pub(crate) fn remove_own_hosts(&self, addresses: &[IpAddr]) -> Result<()> {
        let others = |line: &&str| {
            let first = line.split_ascii_whitespace().next().map(str::parse);
            !matches!(first, Some(Ok(address)) if addresses.contains(&address))
        };
        self.edit_hosts(|text| text.split_inclusive('\n').filter(others).collect())
    }

    /// The line whose first name is `name` gets another address.
    pub(crate) fn move_host(&self, name: &str, address: &str) -> Result<()> {
        let moved = |line: &str| match line.split_once(char::is_whitespace) {
            Some((_, names)) if names.split_ascii_whitespace().next() == Some(name) => {
                format!("{address}\t{}", names.trim_start_matches([' ', '\t']))
            }
            _ => line.to_owned(),
        };
        self.edit_hosts(|text| text.split_inclusive('\n').map(moved).collect())
    }

    fn edit_hosts(&self, edit: impl FnOnce(&str) -> String) -> Result<()> {
        let text = std::fs::read_to_string(self.dir.join("hosts"))
            .map_err(|err| Error::caused("failed to read the container's hosts file", err))?;
        write_file(self, "hosts", edit(&text).as_bytes())
    }
}

fn write_file(container: &Container, name: &str, text: &[u8]) -> Result<()> {
    let path: &Path = &container.dir.join(name);
    std::fs::write(path, text)
        .map_err(|err| Error::caused(format!("failed to write {}", path.display()), err))
}

fn own_hosts(record: &Record, addresses: Vec<IpAddr>, host_gateway: Option<Ipv4Addr>) -> Hosts {
    Hosts {
        hostname: record.config.hostname.clone(),
        domainname: record.config.domainname.clone(),
        addresses,
        extra: record.host_config.extra_hosts.clone().unwrap_or_default(),
        host_gateway,
    }
}

fn dns_wishes(record: &Record) -> DnsWishes {
    let host = &record.host_config;
    DnsWishes {
        servers: host.dns.clone(),
        search: host.dns_search.clone(),
        options: host.dns_options.clone(),
    }
}
