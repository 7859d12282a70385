//! The cluster itself: its settings, and the making anew of tokens and keys.

use super::Error;
use super::error::{bad_request, invalid};
use ca::{JoinToken, UnlockKey, rotation};
use errdefs::ErrorKind;
use std::sync::Arc;
use store::{Change, Kind, Snapshot, StoreError};
use types::Timestamp;
use types::swarm::Version;
use types::swarm::cluster::{Cluster, ClusterSpec};

/// The one cluster's name.
pub const NAME: &str = "default";

const SECOND: i64 = 1_000_000_000;
const DEFAULT_HEARTBEAT: i64 = 5 * SECOND;
/// 90 days.
const DEFAULT_CERT_EXPIRY: i64 = 90 * 24 * 3600 * SECOND;
const LEAST_CERT_EXPIRY: i64 = 3600 * SECOND;
const DEFAULT_HISTORY: i64 = 5;

/// `POST /swarm/update`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Update {
    /// The version that the user read.
    pub version: u64,
    pub spec: ClusterSpec,
    pub rotate_worker_token: bool,
    pub rotate_manager_token: bool,
    pub rotate_unlock_key: bool,
}

/// Randomness for what may have to be made anew.
#[derive(Clone, Copy)]
pub struct Fresh {
    pub worker_token: [u8; 16],
    pub manager_token: [u8; 16],
    pub unlock_key: [u8; 32],
}

/// The cluster that this manager is part of.
pub fn get(state: &Snapshot) -> Result<&Arc<Cluster>, Error> {
    state.clusters().iter().next().ok_or_else(|| Error::Daemon {
        kind: ErrorKind::Unavailable,
        message: "This node is not part of a swarm".to_owned(),
    })
}

/// What the user left open, as SwarmKit fills it in. For a new cluster, too.
pub fn with_defaults(mut spec: ClusterSpec) -> Result<ClusterSpec, Error> {
    match spec.name.as_str() {
        "" => spec.name = NAME.to_owned(),
        NAME => {}
        _ => return Err(bad_request("swarm spec must be named \"default\"")),
    }
    spec.orchestration.task_history_retention_limit.get_or_insert(DEFAULT_HISTORY);
    spec.raft.keep_old_snapshots.get_or_insert(0);
    or_default(&mut spec.raft.snapshot_interval, 10_000);
    or_default(&mut spec.raft.log_entries_for_slow_followers, 500);
    or_default(&mut spec.raft.heartbeat_tick, 1);
    or_default(&mut spec.raft.election_tick, 10);
    or_default(&mut spec.dispatcher.heartbeat_period, DEFAULT_HEARTBEAT);
    or_default(&mut spec.ca_config.node_cert_expiry, DEFAULT_CERT_EXPIRY);
    check(&spec)?;
    Ok(spec)
}

fn or_default<T: Default + PartialEq>(value: &mut T, default: T) {
    if *value == T::default() {
        *value = default;
    }
}

fn check(spec: &ClusterSpec) -> Result<(), Error> {
    if spec.ca_config.external_cas.as_ref().is_some_and(|cas| !cas.is_empty()) {
        return Err(invalid(
            "external CAs are not supported: the managers sign with a root that they hold, which may be one of your own (`swarm ca --rotate --ca-cert --ca-key`)",
        ));
    }
    if spec.ca_config.signing_ca_cert.is_empty() != spec.ca_config.signing_ca_key.is_empty() {
        return Err(invalid("the signing CA certificate and its key must be given together"));
    }
    if spec.ca_config.node_cert_expiry < LEAST_CERT_EXPIRY {
        return Err(invalid("minimum certificate expiry time is: 1h0m0s"));
    }
    if spec.dispatcher.heartbeat_period < 0 {
        return Err(invalid("heartbeat time period cannot be a negative duration"));
    }
    Ok(())
}

/// Changes the cluster's settings, and whatever is to be made anew.
pub fn update(
    state: &Snapshot,
    update: &Update,
    fresh: &Fresh,
    now: Timestamp,
) -> Result<Vec<Change>, Error> {
    let old = get(state)?;
    let mut spec = with_defaults(update.spec.clone())?;
    // Docker's clients do not know our extensions: what is absent stays, and `{}` takes it away.
    match &spec.sampan {
        None => spec.sampan.clone_from(&old.spec.sampan),
        Some(given) if *given == Default::default() => spec.sampan = None,
        Some(_) => {}
    }
    let version = Version { index: update.version };
    if version != old.meta.version {
        let id = old.id.to_string();
        return Err(StoreError::OutOfSequence { kind: Kind::Cluster, id }.into());
    }
    let mut new = Cluster::clone(old);
    let mut record = new.record.take().unwrap_or_default();
    let certificate = std::mem::take(&mut spec.ca_config.signing_ca_cert);
    let key = std::mem::take(&mut spec.ca_config.signing_ca_key);
    if !certificate.is_empty() {
        record = rotation::begin_with(&record, &certificate, &key, now)
            .map_err(|err| invalid(err.to_string()))?;
        new.root_rotation_in_progress = true;
    } else if spec.ca_config.force_rotate > old.spec.ca_config.force_rotate {
        record = rotation::begin(&record, now)?;
        new.root_rotation_in_progress = true;
    }
    if update.rotate_worker_token {
        let root = rotation::signing_root(&record)?;
        record.worker_token = JoinToken::new(&root, fresh.worker_token).as_str().to_owned();
    }
    if update.rotate_manager_token {
        let root = rotation::signing_root(&record)?;
        record.manager_token = JoinToken::new(&root, fresh.manager_token).as_str().to_owned();
    }
    if !spec.encryption_config.auto_lock_managers {
        record.unlock_key.clear();
    } else if record.unlock_key.is_empty() || update.rotate_unlock_key {
        record.unlock_key = UnlockKey::new(fresh.unlock_key).to_text();
    }
    new.record = Some(record);
    new.spec = spec;
    Ok(vec![Change::Update(new.into())])
}

/// As `GET /swarm` and `/info` answer it, less the tokens: without what only managers may see, and with the defaults
/// of what was left open when the cluster was made.
pub fn answer(cluster: &Cluster) -> Cluster {
    let mut answer = cluster.clone();
    let record = answer.record.take().unwrap_or_default();
    answer.tls_info = Some(ca::tls_info(&ca::trusted_roots(&record)));
    answer.root_rotation_in_progress = record.next_root.is_some();
    if answer.default_addr_pool.is_empty() {
        answer.default_addr_pool = vec!["10.0.0.0/8".to_owned()];
        answer.subnet_size = 24;
    }
    or_default(&mut answer.data_path_port, 4789);
    answer
}
