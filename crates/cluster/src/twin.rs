//! Whether this node runs already: two processes with one certificate would vote twice and take each other's tasks.

use crate::node::Shared;
use engine::Error;
use std::time::Duration;

/// A process on this machine answers at once; where nothing answers, nothing runs.
const WITHIN: Duration = Duration::from_secs(3);

/// Asks at the node's own address, before anything of it is started here.
///
/// # Errors
/// When somebody proves there to be this node: the data directory was copied.
pub(crate) async fn refuse(shared: &Shared) -> Result<(), Error> {
    let (me, addr) = (shared.me().node, shared.advertised());
    let asked = tokio::time::timeout(WITHIN, shared.client.http_connect(&addr, Some(&me))).await;
    match asked {
        Ok(Ok(_)) => Err(Error::conflict(format!(
            "node {me} runs already, it answers at {addr}: a copy of its data directory cannot be the same node. Let this one \
             leave the swarm (`docker swarm leave --force`) and join as a node of its own"
        ))),
        _ => Ok(()),
    }
}
