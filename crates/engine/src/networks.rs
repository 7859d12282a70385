//! Networks and who is on them.
//!
//! One table is the truth: the networks (kept as `<data-root>/networks/<id>.json`) and the members, the
//! containers that run (kept as `<exec-root>/networks/<container>.json`, gone with a reboot). Links, rules,
//! routes and names are derived from it and applied as a whole; nothing is patched from a change.
//!
//! | part | owns |
//! |---|---|
//! | `beyond` | whom to ask about the cluster's networks |
//! | `bridge` | a network's driver options and its addresses |
//! | `cluster` | the cluster's networks that this node knows |
//! | `defaults` | `bridge`, `host`, `none` |
//! | `objects` | create, list, inspect, remove, prune |
//! | `attach` | a container's start and end, adoption |
//! | `connect` | a running container joins or leaves a network |
//! | `endpoint` | the user's wishes for one endpoint |
//! | `follow` | the cluster's endpoint table: links, rules and names of its networks |
//! | `grant` | places in the cluster's networks |
//! | `heard` | the endpoint table on disk |
//! | `host` | the host itself in the cluster's networks |
//! | `outside` | whether machines outside that the cluster's networks know are healthy |
//! | `paths` | how large packets pass to the other nodes |
//! | `ports` | published ports |
//! | `refusals` | what policies refused here |
//! | `relay` | published ports at IPv6 addresses that lead to an IPv4 one |
//! | `six` | IPv6 of networks that have it |
//! | `wire` | encrypted networks: this node's key, the helper that carries their packets |
//! | `serve` | names, and the resolvers that answer them |

mod attach;
mod beyond;
mod bridge;
mod cluster;
mod connect;
mod defaults;
mod endpoint;
mod follow;
mod grant;
mod heard;
mod host;
mod member;
mod objects;
mod outside;
mod paths;
mod ports;
mod refusals;
mod relay;
mod serve;
mod six;
mod wire;

pub(crate) use attach::{DNS_TCP, DNS_UDP, Joining, Publishing};
pub use beyond::{ClusterNetworks, Neighbours};
pub use netdev::Passes;
pub use objects::NetworkCreated;
pub use paths::PathReport;

use crate::container::write_atomically;
use crate::{Engine, EngineConfig, Error, Result};
use bridge::Bridge;
use follow::Following;
use member::{Member, Place};
use netdev::{NetDev, Overlay, Sandboxes};
use netplan::{NetPlan, Table};
use serve::{DNS_PORT, Serving};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use types::network::Network;
use types::subnet::Subnet;
use types::{ContainerId, NetworkId, TaskId};

/// The networks of this engine.
pub(crate) struct Networks {
    settings: Settings,
    /// `<data-root>/networks`.
    dir: PathBuf,
    /// `<exec-root>/networks`.
    members_dir: PathBuf,
    sandboxes: Sandboxes,
    device: Arc<Mutex<NetDev>>,
    six: Arc<Mutex<netdev::Six>>,
    overlay: Arc<Mutex<Overlay>>,
    wire: wire::Wire,
    /// The cluster's networks that the tasks of this node are given; the agent writes it.
    assigned: Mutex<BTreeSet<NetworkId>>,
    state: tokio::sync::Mutex<State>,
}

/// What the daemon's flags say about networks.
struct Settings {
    /// Eight hex digits; see [`Table::instance`].
    instance: String,
    pools: Vec<allocator::Pool>,
    mtu: Option<u32>,
    dns: names::DnsWishes,
}

#[derive(Default)]
struct State {
    networks: BTreeMap<NetworkId, Known>,
    members: BTreeMap<ContainerId, Member>,
    /// Resolvers of the members that have one.
    serving: BTreeMap<ContainerId, Serving>,
    relays: BTreeMap<ContainerId, relay::Relay>,
    /// Sockets of adopted members, until all are adopted.
    unserved: BTreeMap<ContainerId, dnsd::Sockets>,
    /// A container gets its last address again while it is free.
    last_addresses: BTreeMap<(ContainerId, NetworkId), Ipv4Addr>,
    /// In a cluster.
    following: Option<Following>,
    /// Places that the cluster was asked for and that no member has yet.
    asked: BTreeMap<TaskId, NetworkId>,
    /// Where the host itself is in the cluster's networks.
    hosts: host::HostPlaces,
    /// Its resolvers there.
    host_serving: BTreeMap<NetworkId, Serving>,
    /// What machines outside that the cluster's networks know answered.
    outside: outside::Answers,
    /// What is known of the ways to the other nodes.
    paths: paths::Paths,
    /// What the last look failed with.
    trouble: String,
    /// The containers that still run are all adopted: from now on what nobody has is removed.
    settled: bool,
}

/// A network with what follows from its record.
struct Known {
    record: Network,
    /// `None` but for the driver `bridge`.
    bridge: Option<Bridge>,
    /// The addresses of a network of the cluster.
    overlay: Option<Subnet>,
    zone: Arc<names::Zone>,
}

/// Between two looks at whether the kernel still holds what it should.
const LOOK: Duration = Duration::from_secs(1);
/// So many looks after each other read back everything but once.
const LOOKS: u32 = 60;

impl Engine {
    /// After all that runs is adopted. Starts the audit, which ends with the engine.
    pub(crate) async fn settle_networks(&self) {
        if let Err(err) = self.0.networks.settle().await {
            tracing::error!(error = %err, "failed to set up the host's network");
        }
        self.0.tasks.spawn(self.clone().watch_paths());
        self.0.tasks.spawn(self.clone().watch_outside());
        let engine = self.clone();
        self.0.tasks.spawn(async move {
            let mut ticks = tokio::time::interval(LOOK);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            for turn in (0..LOOKS).cycle() {
                tokio::select! {
                    _tick = ticks.tick() => engine.0.networks.look(turn == 0).await,
                    () = engine.0.closing.cancelled() => return,
                }
            }
        });
    }
}

impl Networks {
    /// Reads the networks and makes the default ones when they are missing. The kernel is left alone until
    /// [`Networks::settle`], because the containers that still run are not known yet.
    pub(crate) async fn open(config: &EngineConfig, engine_id: &str) -> Result<Self> {
        let dir = config.data_root.join("networks");
        let members_dir = config.exec_root.join("networks");
        for dir in [&dir, &members_dir] {
            std::fs::create_dir_all(dir)
                .map_err(|err| Error::caused(format!("failed to create {}", dir.display()), err))?;
        }
        let device = NetDev::open(&config.exec_root).map_err(Error::from_lower)?;
        let settings = Settings::new(config, engine_id)?;
        let overlay = Overlay::beside(&device, &settings.instance)
            .map_err(|err| Error::caused("failed to open netlink", err))?;
        let networks = Networks {
            settings,
            state: tokio::sync::Mutex::new(State { networks: load(&dir)?, ..State::default() }),
            sandboxes: device.sandboxes().clone(),
            six: Arc::new(Mutex::new(netdev::Six::beside(&device))),
            device: Arc::new(Mutex::new(device)),
            overlay: Arc::new(Mutex::new(overlay)),
            wire: wire::Wire::open(&dir, &config.exec_root),
            assigned: Mutex::default(),
            dir,
            members_dir,
        };
        networks.state.lock().await.hosts = host::load(&networks.dir);
        networks.state.lock().await.following = networks.load_endpoints();
        networks.ensure_defaults(config).await?;
        Ok(networks)
    }

    /// All that runs is adopted: makes the kernel as it should be and frees what nobody has.
    pub(crate) async fn settle(&self) -> Result<()> {
        let mut state = self.state.lock().await;
        self.settle_locked(&mut state).await
    }

    async fn settle_locked(&self, state: &mut State) -> Result<()> {
        if !state.settled {
            state.settled = true;
            self.sweep(state);
            self.sweep_overlay(state).await;
            self.serve_adopted(state)?;
            self.apply(state).await?;
        }
        Ok(())
    }

    /// Sandboxes and member files that a crash left without a container.
    fn sweep(&self, state: &State) {
        let strays = self.sandboxes.list().unwrap_or_default();
        for stray in strays.iter().filter(|id| !state.members.contains_key(*id)) {
            self.remove_member_file(stray);
            if let Err(err) = self.sandboxes.remove(stray) {
                tracing::warn!(container = stray.short(), error = %err, "failed to sweep a sandbox");
            }
        }
    }

    /// Mends what somebody changed, and says so. `closely`: reads everything back.
    pub(crate) async fn look(&self, closely: bool) {
        let mut state = self.state.lock().await;
        if !state.settled {
            return;
        }
        let plan = self.plan(&state);
        let bridges = self.on_device(move |device| match closely {
            true => device.audit(&plan),
            false => device.apply(&plan).map(|()| Vec::new()),
        });
        let bridges = bridges.await.map_err(Error::from_lower);
        let overlay = match closely {
            true => self.audit_overlay(&mut state).await,
            false => self.apply_overlay(&mut state).await,
        };
        self.serve_hosts(&mut state);
        let six = self.apply_six(&state, closely).await.map(|()| Vec::new());
        let mut trouble = String::new();
        let mut notes = Vec::new();
        for outcome in [bridges, overlay, six] {
            match outcome {
                Ok(found) => notes.extend(found),
                Err(err) => trouble += &err.to_string(),
            }
        }
        for note in &notes {
            tracing::warn!(?note, "the host's network is not as it should be");
        }
        if !trouble.is_empty() && trouble != state.trouble {
            tracing::warn!(error = trouble, "failed to mend the host's network");
        }
        state.trouble = trouble;
    }

    /// Brings the kernel to the state's plans. Before everything is adopted nothing is done. Trouble with the
    /// cluster's networks is only told: who needs them asks for them ([`Networks::apply_overlay`]).
    async fn apply(&self, state: &mut State) -> Result<()> {
        self.apply_bridges(state).await?;
        if let Err(err) = self.apply_overlay(state).await {
            tracing::warn!(error = %err, "failed to apply the cluster's networks");
        }
        Ok(())
    }

    async fn apply_bridges(&self, state: &State) -> Result<()> {
        state.turn_relays();
        if !state.settled {
            return Ok(());
        }
        let plan = self.plan(state);
        self.on_device(move |device| device.apply(&plan)).await.map_err(Error::from_lower)?;
        self.apply_six(state, false).await
    }

    fn plan(&self, state: &State) -> NetPlan {
        netplan::plan(&state.table(&self.settings.instance))
    }

    /// Netlink calls block for a few milliseconds: off the runtime's own threads.
    async fn on_device<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut NetDev) -> T + Send + 'static,
    ) -> T {
        let device = self.device.clone();
        let work = move || work(&mut device.lock().unwrap_or_else(PoisonError::into_inner));
        match tokio::task::spawn_blocking(work).await {
            Ok(outcome) => outcome,
            Err(died) => std::panic::resume_unwind(died.into_panic()),
        }
    }

    fn save(&self, record: &Network) -> Result<()> {
        let path = self.dir.join(format!("{}.json", record.id));
        let kept = Network { containers: BTreeMap::new(), ..record.clone() };
        let text = serde_json::to_vec(&kept)
            .map_err(|err| Error::caused("failed to encode the network", err))?;
        write_atomically(&path, &text)
            .map_err(|err| Error::caused(format!("failed to save network {}", record.name), err))
    }
}

impl Settings {
    fn new(config: &EngineConfig, engine_id: &str) -> Result<Self> {
        let own = |pool: &crate::config::AddressPool| allocator::Pool::new(&pool.base, pool.size);
        let mut pools = config
            .default_address_pools
            .iter()
            .map(own)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|err| Error::invalid(err.to_string()))?;
        if pools.is_empty() {
            pools = allocator::default_pools();
        }
        Ok(Settings {
            instance: engine_id.get(..8).unwrap_or(engine_id).to_owned(),
            pools,
            mtu: config.mtu,
            dns: names::DnsWishes {
                servers: config.dns.clone(),
                search: config.dns_search.clone(),
                options: config.dns_options.clone(),
            },
        })
    }
}

impl State {
    /// By full id, by name, or by an id prefix that only one network has.
    fn find(&self, wanted: &str) -> Result<&Known> {
        if let Some(known) = self.networks.get(wanted) {
            return Ok(known);
        }
        if let Some(known) = self.networks.values().find(|known| known.record.name == wanted) {
            return Ok(known);
        }
        let mut matches =
            self.networks.values().filter(|known| known.record.id.as_str().starts_with(wanted));
        match (matches.next(), matches.count()) {
            (Some(known), 0) if !wanted.is_empty() => Ok(known),
            (Some(_), more) if !wanted.is_empty() => Err(Error::invalid(format!(
                "network {wanted} is ambiguous ({} matches found based on ID prefix)",
                more + 1
            ))),
            _ => Err(Error::not_found(format!("network {wanted} not found"))),
        }
    }

    /// The table that everything else follows from.
    fn table(&self, instance: &str) -> Table {
        let network = |(id, known): (&NetworkId, &Known)| {
            Some((id.clone(), known.bridge.as_ref()?.to_plan(&known.record)))
        };
        Table {
            instance: instance.to_owned(),
            networks: self.networks.iter().filter_map(network).collect(),
            sandboxes: self
                .members
                .iter()
                .map(|(id, member)| (id.clone(), member.to_sandbox(self.outside(member))))
                .collect(),
            endpoints: self
                .members
                .iter()
                .flat_map(|(id, member)| member.to_endpoints(id))
                .filter(|(_, endpoint)| !self.is_overlay(&endpoint.network))
                .collect(),
        }
    }

    fn is_overlay(&self, network: &NetworkId) -> bool {
        self.networks.get(network).is_some_and(|known| known.overlay.is_some())
    }

    /// The place with the default route: the highest priority wins, a bridge before the cluster's networks, of
    /// these `ingress` last, then the network whose name sorts first. `None` when all are internal.
    fn gateway_of<'a>(&self, member: &'a Member) -> Option<&'a Place> {
        self.gateway_among(member.places.iter())
    }

    fn gateway_among<'a>(&self, places: impl Iterator<Item = &'a Place>) -> Option<&'a Place> {
        let known = |place: &'a Place| Some((place, self.networks.get(&place.network)?));
        let places = places.filter_map(known);
        places
            .filter(|(_, known)| !known.record.internal)
            .min_by_key(|(place, known)| {
                let record = &known.record;
                (-place.gw_priority, known.overlay.is_some(), record.ingress, &record.name)
            })
            .map(|(place, _)| place)
    }

    /// The same of IPv6: among the networks that have it.
    fn gateway_six_of<'a>(&self, member: &'a Member) -> Option<&'a Place> {
        let has_six = |place: &&Place| member.six.contains_key(&place.network);
        self.gateway_among(member.places.iter().filter(has_six))
    }

    /// The member's address on the cluster's network that has its default route.
    fn outside(&self, member: &Member) -> Option<Ipv4Addr> {
        let gateway = self.gateway_of(member)?;
        self.is_overlay(&gateway.network).then_some(gateway.address)
    }

    /// Whether a running container is on the network.
    fn is_used(&self, network: &NetworkId) -> bool {
        self.hosts.contains_key(network)
            || self.asked.values().any(|asked| asked == network)
            || self.members.values().any(|member| member.on(network).is_some())
    }
}

fn load(dir: &Path) -> Result<BTreeMap<NetworkId, Known>> {
    let failed =
        |path: &Path, err| Error::caused(format!("failed to read {}", path.display()), err);
    let mut networks = BTreeMap::new();
    for entry in std::fs::read_dir(dir).map_err(|err| failed(dir, err))?.flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = std::fs::read(&path).map_err(|err| failed(&path, err))?;
        let unreadable = |err| Error::caused("failed to decode the network", err);
        let known =
            serde_json::from_slice::<Network>(&text).map_err(unreadable).and_then(Known::new);
        match known {
            Ok(known) => drop(networks.insert(known.record.id.clone(), known)),
            Err(err) => {
                tracing::error!(path = %path.display(), error = %errdefs::chain(&err), "a network is skipped")
            }
        }
    }
    Ok(networks)
}

impl Known {
    /// From a record whose addresses are settled.
    fn new(record: Network) -> Result<Self> {
        let (mut bridge, mut overlay) = (None, None);
        match record.driver.as_str() {
            "bridge" => bridge = Some(Bridge::new(&record)?),
            cluster::DRIVER => overlay = Some(cluster::subnet_of(&record)?),
            _ => {}
        }
        Ok(Known { record, bridge, overlay, zone: Arc::default() })
    }

    /// `None` of networks without addresses.
    fn subnet(&self) -> Option<Subnet> {
        self.overlay.or_else(|| Some(self.bridge.as_ref()?.space.subnet()))
    }

    fn id(&self) -> &NetworkId {
        &self.record.id
    }
}

/// Names that Docker keeps for itself.
pub(crate) fn is_predefined(name: &str) -> bool {
    matches!(name, "bridge" | "host" | "none" | "default")
}

#[cfg(test)]
mod tests;
