//! What the Engine API asks of the managers: who may write what, in SwarmKit's words.
//!
//! ```text
//! request ─► decide(snapshot, request) ─► refused: once more on a state that is surely new, then the sentence
//!                     │
//!                     └► changes ─► log ─► written, or refused by the store (names, references, versions)
//! ```
//!
//! Each module holds the pure part of one object. [`Control`] is the effect: it brings fresh ids, the time and the
//! log, on any manager. A user who read on one manager and writes on another must not be told that nothing is there:
//! a refusal counts only on a state as new as the request.

pub mod cluster;
mod error;
pub mod event;
pub mod find;
pub mod network;
pub mod node;
pub mod secret;
pub mod service;
pub mod stack;
#[cfg(test)]
mod tests;

pub use error::{Code, Error};

pub(crate) use error::invalid;

use crate::Log;
use crate::plan::{self, Plan};
use raft::Member;
use rand::Rng;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use store::{Change, Event, Snapshot, StoreError};
use tokio::sync::watch;
use types::network::CreateRequest;
use types::swarm::attach::{AttachRequest, Attached};
use types::swarm::policy::PolicyRule;
use types::swarm::secret::{ConfigSpec, SecretSpec};
use types::swarm::service::ServiceSpec;
use types::{ConfigId, NetworkId, NodeId, SecretId, ServiceId, TaskId, Timestamp, ids::swarm_id};

/// A write that the user gave no version for is tried so often when others write the same object.
const ATTEMPTS: usize = 16;
/// A node that leaves waits so long for its tasks: a drain's patience and the usual grace of a stop.
const DEPARTING: Duration = Duration::from_secs(20);
/// dockerd waits as long for a place in a network.
const ATTACHING: Duration = Duration::from_secs(20);

/// The door to the cluster's objects, on any manager.
#[derive(Clone)]
pub struct Control {
    log: Arc<dyn Log>,
}

impl Control {
    pub fn new(log: Arc<dyn Log>) -> Self {
        Control { log }
    }

    /// A state that is not older than this call.
    pub async fn read(&self) -> Result<Snapshot, Error> {
        Ok(self.log.read().await?)
    }

    /// The state as it is here; perhaps old.
    pub fn snapshot(&self) -> Snapshot {
        self.log.snapshot()
    }

    /// The store's version here.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.log.changes()
    }

    /// What happened here after a version; `None` once that is forgotten.
    pub fn changed_since(&self, version: u64) -> Option<Vec<Event>> {
        self.log.changed_since(version)
    }

    /// The version from which on everything that happened is remembered here.
    pub fn oldest(&self) -> u64 {
        let (mut forgotten, mut known) = (0, self.log.snapshot().version());
        while forgotten < known {
            let middle = forgotten + (known - forgotten) / 2;
            match self.log.changed_since(middle) {
                Some(_) => known = middle,
                None => forgotten = middle + 1,
            }
        }
        known
    }

    /// The managers that vote.
    pub fn members(&self) -> Vec<Member> {
        self.log.members()
    }

    pub async fn update_swarm(&self, update: cluster::Update) -> Result<(), Error> {
        let fresh = cluster::Fresh {
            worker_token: rand::random(),
            manager_token: rand::random(),
            unlock_key: rand::random(),
        };
        self.write(|state| cluster::update(state, &update, &fresh, now())).await
    }

    /// `SWMKEY-1-…`; empty when managers do not lock themselves.
    pub async fn unlock_key(&self) -> Result<String, Error> {
        let state = self.read().await?;
        let record = cluster::get(&state)?.record.as_ref();
        Ok(record.map(|record| record.unlock_key.clone()).unwrap_or_default())
    }

    pub async fn update_node(
        &self,
        key: &str,
        version: u64,
        wish: node::Wish,
    ) -> Result<(), Error> {
        self.write(|state| node::update(state, &self.log.members(), key, version, &wish)).await
    }

    /// A node is about to leave: returns when its tasks have stopped, or after a while.
    pub async fn depart(&self, node: &NodeId) -> Result<(), Error> {
        self.write(|state| Ok(node::depart(state, node))).await?;
        let mut changes = self.log.changes();
        let empty = async {
            while node::is_busy(&self.log.snapshot(), node) && changes.changed().await.is_ok() {}
        };
        // Who does not stop in time is stopped with the node.
        let _ = tokio::time::timeout(DEPARTING, empty).await;
        Ok(())
    }

    /// A node has left, and nothing of it runs any more: it is down at once.
    pub async fn gone(&self, node: &NodeId) -> Result<(), Error> {
        self.write(|state| Ok(node::gone(state, node, now()))).await
    }

    pub async fn remove_node(&self, key: &str, force: bool) -> Result<(), Error> {
        self.write(|state| node::remove(state, &self.log.members(), key, force, now())).await
    }

    pub async fn create_service(
        &self,
        spec: &ServiceSpec,
        registry_auth: &str,
    ) -> Result<ServiceId, Error> {
        let id = ServiceId::new(fresh_id());
        self.name_networks_of_nodes(spec).await?;
        self.write(|state| service::create(state, id.clone(), spec, registry_auth, now())).await?;
        Ok(id)
    }

    pub async fn update_service(&self, key: &str, update: service::Update) -> Result<(), Error> {
        self.name_networks_of_nodes(&update.spec).await?;
        self.write(|state| service::update(state, key, &update, now())).await
    }

    /// `--network host`: what every node has gets a name in the cluster when the first service asks for it.
    async fn name_networks_of_nodes(&self, spec: &ServiceSpec) -> Result<(), Error> {
        for wanted in &spec.task_template.networks {
            let Some(row) = network::of_nodes(&wanted.target, NetworkId::new(fresh_id())) else {
                continue;
            };
            let missing = |state: &Snapshot| match state.networks().by_name(&wanted.target) {
                Some(_) => Ok(Vec::new()),
                None => Ok(vec![Change::Create(row.clone().into())]),
            };
            match self.write(missing).await {
                Err(Error::Store(StoreError::NameTaken { .. })) => {} // another was quicker
                made => made?,
            }
        }
        Ok(())
    }

    /// What an update would do. Nothing is written.
    pub async fn plan_service(&self, key: &str, update: service::Update) -> Result<Plan, Error> {
        let state = self.read().await?;
        let key = key.to_owned();
        let planned =
            tokio::task::spawn_blocking(move || plan::plan(&state, &key, &update, now())).await;
        planned.unwrap_or_else(|err| Err(error::unclassed(format!("the plan failed: {err}"))))
    }

    pub async fn remove_service(&self, key: &str) -> Result<(), Error> {
        self.write(|state| service::remove(state, key)).await
    }

    pub async fn create_secret(&self, spec: &SecretSpec) -> Result<SecretId, Error> {
        let id = SecretId::new(fresh_id());
        self.write(|state| secret::create_secret(state, id.clone(), spec)).await?;
        Ok(id)
    }

    pub async fn update_secret(
        &self,
        key: &str,
        version: u64,
        spec: &SecretSpec,
    ) -> Result<(), Error> {
        self.write(|state| secret::update_secret(state, key, version, spec)).await
    }

    pub async fn remove_secret(&self, key: &str) -> Result<(), Error> {
        self.write(|state| secret::remove_secret(state, key)).await
    }

    pub async fn create_config(&self, spec: &ConfigSpec) -> Result<ConfigId, Error> {
        let id = ConfigId::new(fresh_id());
        self.write(|state| secret::create_config(state, id.clone(), spec)).await?;
        Ok(id)
    }

    pub async fn update_config(
        &self,
        key: &str,
        version: u64,
        spec: &ConfigSpec,
    ) -> Result<(), Error> {
        self.write(|state| secret::update_config(state, key, version, spec)).await
    }

    pub async fn remove_config(&self, key: &str) -> Result<(), Error> {
        self.write(|state| secret::remove_config(state, key)).await
    }

    pub async fn create_network(&self, spec: &CreateRequest) -> Result<NetworkId, Error> {
        let id = NetworkId::new(fresh_id());
        self.write(|state| network::create(state, id.clone(), spec)).await?;
        Ok(id)
    }

    pub async fn remove_network(&self, key: &str) -> Result<(), Error> {
        self.write(|state| network::remove(state, key)).await
    }

    /// Who may talk to whom on a network.
    pub async fn set_policies(&self, key: &str, rules: &[PolicyRule]) -> Result<(), Error> {
        self.write(|state| network::set_policies(state, key, rules)).await
    }

    /// A place in a network for a container of `request.node`. Waits for the leader to give it.
    ///
    /// # Errors
    /// As [`network::attach`], and when the network is full or the address is taken. Nothing is held then.
    pub async fn attach(&self, request: &AttachRequest) -> Result<Attached, Error> {
        self.write(|state| network::attach(state, request)).await?;
        let mut changes = self.log.changes();
        let decided = async {
            loop {
                changes.borrow_and_update();
                if let Some(decided) = network::attached(&self.log.snapshot(), request) {
                    return decided;
                }
                if changes.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let late = || {
            error::unclassed(
                "attaching to network failed, make sure your network options are correct and check manager logs: context deadline exceeded",
            )
        };
        let decided =
            tokio::time::timeout(ATTACHING, decided).await.unwrap_or_else(|_| Err(late()));
        if decided.is_err() {
            // Or it goes when the node says what it has.
            let _ = self.detach(&request.node, std::slice::from_ref(&request.task)).await;
        }
        decided
    }

    /// Gives places of a node back.
    pub async fn detach(&self, node: &NodeId, places: &[TaskId]) -> Result<(), Error> {
        self.write(|state| Ok(network::detach(state, node, places))).await
    }

    /// Decides on what is here; a refusal counts only when it holds on a state that is surely new.
    async fn write(
        &self,
        decide: impl Fn(&Snapshot) -> Result<Vec<Change>, Error>,
    ) -> Result<(), Error> {
        let mut decided = decide(&self.log.snapshot());
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let changes = match decided {
                Ok(changes) if !changes.is_empty() => changes,
                _ => decide(&self.log.read().await?)?,
            };
            if changes.is_empty() {
                return Ok(());
            }
            let outcome = self.log.propose(vec![changes.into()]).await?.pop();
            match outcome.unwrap_or(Ok(())) {
                Ok(()) => return Ok(()),
                // Whoever moved first: the decision says whether the user's version still holds.
                Err(err @ StoreError::OutOfSequence { .. }) => last = Some(err),
                Err(err) => return Err(err.into()),
            }
            decided = decide(&self.log.read().await?);
        }
        last.map_or(Ok(()), |err| Err(err.into()))
    }
}

fn now() -> Timestamp {
    SystemTime::now().into()
}

fn fresh_id() -> String {
    let mut random = [0; 16];
    rand::rng().fill_bytes(&mut random);
    swarm_id(random)
}

/// A refused form in this crate's words.
pub(crate) fn from_spec(err: store::validate::SpecError) -> Error {
    let text = err.to_string();
    let desc = text.split_once(" desc = ").map_or(text.as_str(), |(_, desc)| desc);
    Error::Refused { code: Code::InvalidArgument, desc: desc.to_owned() }
}
