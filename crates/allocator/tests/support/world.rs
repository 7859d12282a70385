//! A small store and the allocator that follows it, driven by one-line commands.

use allocator::cluster::{Allocator, ClusterAllocError};
use std::collections::BTreeMap;
use types::network::{CreateRequest, Ipam, IpamConfig};
use types::swarm::cluster::Cluster;
use types::swarm::network::ClusterNetwork;
use types::swarm::service::{EndpointSpec, NetworkAttachmentConfig, PortConfig, Service};
use types::swarm::task::{Task, TaskState};
use types::{NetworkId, NodeId, ServiceId, TaskId};

/// What the store has, and who follows it. Ids are names.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) networks: BTreeMap<String, ClusterNetwork>,
    pub(crate) services: BTreeMap<String, Service>,
    pub(crate) tasks: BTreeMap<String, Task>,
    pub(crate) allocator: Allocator,
}

impl World {
    /// Runs a command and returns what it prints.
    pub(crate) fn run(&mut self, line: &str) -> String {
        let mut words = line.split(' ');
        let (command, name) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let rest: Vec<&str> = words.collect();
        match command {
            "pool" => self.pool(name, rest.first().copied().unwrap_or("24")),
            "network" => self.network(name, &rest),
            "service" => self.service(name, &rest),
            "task" => self.task(name, &rest),
            "tasks" => self.many_tasks(name, &rest),
            "nodes" => self.one_task_each(name, &rest),
            "ends" => self.end(name),
            "end-if-there" if self.tasks.contains_key(name) => self.end(name),
            "gone-if-there" if self.tasks.contains_key(&format!("t{name}")) => {
                self.gone("task", &format!("t{name}"))
            }
            "unserve" if self.services.contains_key(name) => self.gone("service", name),
            "end-if-there" | "gone-if-there" | "unserve" => String::new(),
            "gone" => self.gone(name, rest.first().copied().unwrap_or_default()),
            "blocks" => self.blocks(name),
            "leader" => self.new_leader(),
            other => panic!("no such command: {other}"),
        }
    }

    fn pool(&mut self, base: &str, size: &str) -> String {
        self.cluster.default_addr_pool = vec![base.to_owned()];
        self.cluster.subnet_size = size.parse().expect("a prefix length");
        self.allocator.set_cluster(&self.cluster);
        String::new()
    }

    /// `network web 10.0.1.0/24 ingress`: makes it and writes what is allocated.
    fn network(&mut self, name: &str, words: &[&str]) -> String {
        let subnet = words.iter().find(|word| word.contains('/')).map(|word| (*word).to_owned());
        let config = IpamConfig { subnet: subnet.unwrap_or_default(), ..IpamConfig::default() };
        let spec = CreateRequest {
            name: name.to_owned(),
            driver: "overlay".to_owned(),
            ingress: words.contains(&"ingress"),
            ipam: Some(Ipam { config: Some(vec![config]), ..Ipam::default() }),
            ..CreateRequest::default()
        };
        let network =
            ClusterNetwork { id: NetworkId::new(name), spec, ..ClusterNetwork::default() };
        match self.allocator.allocate_network(&network) {
            Ok(given) => {
                let given = given.unwrap_or(network);
                let told =
                    format!("{} gateway {} vni {}\n", given.subnet, given.gateway, given.vni);
                self.networks.insert(name.to_owned(), given);
                told
            }
            Err(error) => format!("refused: {error}\n"),
        }
    }

    /// `service api on=web,db publish=80 publish=:81 dnsrr`: makes or changes it.
    fn service(&mut self, name: &str, words: &[&str]) -> String {
        let mut service = self.services.get(name).cloned().unwrap_or_default();
        (service.id, service.spec.name) = (ServiceId::new(name), name.to_owned());
        let mut spec = EndpointSpec::default();
        service.spec.task_template.networks.clear();
        for word in words {
            match word.split_once('=') {
                Some(("on", networks)) => service.spec.task_template.networks = on(networks),
                Some(("publish", port)) => spec.ports.push(publish(port)),
                _ => spec.mode = (*word).to_owned(),
            }
        }
        service.spec.endpoint_spec = Some(spec);
        let told = match self.allocator.allocate_endpoint(&service) {
            Ok(endpoint) => {
                let ports = endpoint.ports.iter().map(|port| {
                    format!("published {} to {}\n", port.published_port, port.target_port)
                });
                let vips = endpoint
                    .virtual_ips
                    .iter()
                    .map(|vip| format!("{} on {}\n", vip.addr, vip.network_id));
                let told = ports.chain(vips).collect();
                service.endpoint = endpoint;
                told
            }
            Err(error) => return format!("refused: {error}\n"),
        };
        self.services.insert(name.to_owned(), service);
        told
    }

    /// `task t1 at n1 of api` or `task t1 at n1 on web`: assigns it.
    fn task(&mut self, name: &str, words: &[&str]) -> String {
        let ["at", node, how, what] = words else { panic!("task NAME at NODE of|on WHAT") };
        let mut task = Task { id: TaskId::new(name), ..Task::default() };
        let service = self.services.get(*what).filter(|_| *how == "of");
        match service {
            Some(service) => {
                task.service_id = service.id.clone();
                task.spec = service.spec.task_template.clone().into();
            }
            None => {
                let networks = on(what);
                let spec = types::swarm::task::TaskSpec { networks, ..Default::default() };
                task.spec = spec.into();
            }
        }
        let node = NodeId::new(*node);
        match self.allocator.attach(&task, service, &node) {
            Ok(attachments) => {
                let told = attachments
                    .iter()
                    .map(|of| format!("{name} has {} on {}\n", of.addresses.join(" "), of.network))
                    .collect();
                task.node_id = node;
                task.status.state = TaskState::Assigned;
                task.networks_attachments = attachments;
                self.tasks.insert(name.to_owned(), task);
                told
            }
            Err(error) => format!("{name} refused: {error}\n"),
        }
    }

    /// `tasks 64 at n1 on web`: t1 to t64; prints refusals only.
    fn many_tasks(&mut self, count: &str, words: &[&str]) -> String {
        let count: usize = count.parse().expect("a number");
        let told = (1..=count).map(|at| self.task(&format!("t{at}"), words));
        told.filter(|told| told.contains("refused")).collect()
    }

    /// `nodes 31 on web`: a task on each of n1 to n31; prints refusals only.
    fn one_task_each(&mut self, count: &str, words: &[&str]) -> String {
        let count: usize = count.parse().expect("a number");
        let told = (1..=count).map(|at| {
            let node = format!("n{at}");
            self.task(&format!("on-{node}"), &["at", &node, words[0], words[1]])
        });
        told.filter(|told| told.contains("refused")).collect()
    }

    fn end(&mut self, name: &str) -> String {
        let task = self.tasks.get_mut(name).expect("a task");
        task.status.state = TaskState::Shutdown;
        self.allocator.set_task(task);
        String::new()
    }

    fn gone(&mut self, kind: &str, name: &str) -> String {
        match kind {
            "network" => {
                let network = self.networks.remove(name).expect("a network");
                self.allocator.remove_network(&network.id);
            }
            "service" => {
                let service = self.services.remove(name).expect("a service");
                self.allocator.remove_service(&service.id);
            }
            _ => {
                let task = self.tasks.remove(name).expect("a task");
                self.allocator.release_task(&task.id);
            }
        }
        String::new()
    }

    /// Writes the blocks that changed, and prints those of a network.
    fn blocks(&mut self, name: &str) -> String {
        self.write_blocks();
        let network = self.networks.get(name).expect("a network");
        let told = network.blocks.iter().map(|of| format!("{} is {}'s\n", of.block, of.node));
        told.collect()
    }

    pub(crate) fn write_blocks(&mut self) {
        for (id, blocks) in self.allocator.changed_blocks() {
            let network = self.networks.get_mut(id.as_str()).expect("a network");
            network.blocks = blocks;
            self.allocator.set_network(network);
        }
    }

    /// The store refuses the blocks that changed: the leader tells the networks again as they are.
    pub(crate) fn lose_blocks(&mut self) {
        for (id, _) in self.allocator.changed_blocks() {
            self.allocator.set_network(&self.networks[id.as_str()]);
        }
    }

    /// Another manager begins with nothing but what is written, and is told in another order.
    pub(crate) fn new_leader(&mut self) -> String {
        self.allocator = Allocator::default();
        self.tasks.values().rev().for_each(|task| self.allocator.set_task(task));
        self.services.values().rev().for_each(|service| self.allocator.set_service(service));
        self.networks.values().rev().for_each(|network| self.allocator.set_network(network));
        self.allocator.set_cluster(&self.cluster);
        String::new()
    }

    /// The error of an attachment, which must have changed nothing.
    pub(crate) fn attach(
        &mut self,
        name: &str,
        node: &str,
        networks: &str,
    ) -> Result<(), ClusterAllocError> {
        let spec = types::swarm::task::TaskSpec { networks: on(networks), ..Default::default() };
        let mut task = Task { id: TaskId::new(name), spec: spec.into(), ..Task::default() };
        task.networks_attachments = self.allocator.attach(&task, None, &NodeId::new(node))?;
        (task.node_id, task.status.state) = (NodeId::new(node), TaskState::Running);
        self.tasks.insert(name.to_owned(), task);
        Ok(())
    }
}

/// `web,db=10.0.1.7`: in `db` with a wanted address.
fn on(networks: &str) -> Vec<NetworkAttachmentConfig> {
    let attachment = |word: &str| {
        let (target, wanted) = word.split_once('=').unwrap_or((word, ""));
        NetworkAttachmentConfig {
            target: target.to_owned(),
            addresses: wanted.split_terminator('+').map(str::to_owned).collect(),
            ..NetworkAttachmentConfig::default()
        }
    };
    networks.split(',').map(attachment).collect()
}

/// `8080:80`, `80` (the same) or `:80` (an open one); `host:80` is of the node.
fn publish(word: &str) -> PortConfig {
    let (published, target) = word.split_once(':').unwrap_or((word, word));
    let number = |text: &str| text.parse().unwrap_or(0);
    PortConfig {
        published_port: number(if published == "host" { target } else { published }),
        target_port: number(target),
        publish_mode: if published == "host" { "host" } else { "ingress" }.to_owned(),
        ..PortConfig::default()
    }
}
