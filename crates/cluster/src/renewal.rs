//! A certificate when nobody can be asked for one.

use crate::node::certificate;
use ca::{Identity, NodeKey};
use engine::Error;
use std::time::Duration;
use store::Snapshot;
use types::Timestamp;
use types::swarm::node::Role;

/// A manager whose certificate ended while it was off holds the root in its own log, and signs for itself. When every
/// manager was off for that long, nobody else could. [`None`] while the certificate lasts, and for a node that the log
/// does not know as a manager.
///
/// # Errors
/// The root in the log cannot sign.
pub(crate) fn without_others(
    identity: &Identity,
    log: &Snapshot,
    now: Timestamp,
) -> Result<Option<Identity>, Error> {
    if now < identity.not_after() {
        return Ok(None);
    }
    let me = identity.peer();
    let is_manager =
        log.nodes().get(me.node.as_str()).is_some_and(|node| node.spec.role == Role::Manager);
    let cluster = log.clusters().iter().next().filter(|_| is_manager);
    let Some((cluster, record)) =
        cluster.and_then(|cluster| Some((cluster, cluster.record.as_ref()?)))
    else {
        return Ok(None);
    };
    let key = NodeKey::generate().map_err(certificate)?;
    let csr = key.request().map_err(certificate)?;
    let lifetime = Duration::from_nanos(cluster.spec.ca_config.node_cert_expiry.cast_unsigned());
    let issued = ca::issue(record, &csr, me, lifetime, now).map_err(certificate)?;
    Identity::new(&issued.chain, key, &ca::trusted_roots(record)).map(Some).map_err(certificate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::{Entry, Store};
    use types::swarm::request::InitRequest;
    use types::swarm::session::PeerIdentity;
    use types::{ClusterId, NodeId};

    fn founded(role: Role, now: Timestamp) -> (Identity, Store) {
        let me =
            PeerIdentity { node: NodeId::new("node1"), cluster: ClusterId::new("cluster"), role };
        let record = ca::found(now).unwrap();
        let key = NodeKey::generate().unwrap();
        let issued = ca::issue(&record, &key.request().unwrap(), &me, Duration::ZERO, now).unwrap();
        let identity = Identity::new(&issued.chain, key, &ca::trusted_roots(&record)).unwrap();
        let advertise = "10.0.0.1:2377".parse().unwrap();
        let entry: Entry =
            manager::found(&InitRequest::default(), &me, record, &issued, advertise, now).unwrap();
        let mut store = Store::default();
        assert_eq!(store.apply(&entry).refused, []);
        (identity, store)
    }

    #[test]
    fn a_manager_that_was_off_for_too_long_signs_for_itself() {
        let now = Timestamp::from(std::time::SystemTime::now());
        let (identity, store) = founded(Role::Manager, now);
        let log = store.snapshot();
        assert!(without_others(&identity, &log, now).unwrap().is_none());
        let later = now.after(Duration::from_secs(91 * 86_400));
        let renewed = without_others(&identity, &log, later).unwrap().unwrap();
        assert_eq!(renewed.peer(), identity.peer());
        assert!(renewed.not_after() > later);
        assert!(without_others(&identity, &Snapshot::default(), later).unwrap().is_none());
    }
}
