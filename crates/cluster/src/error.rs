//! dockerd's sentences about a node's membership.

use engine::Error;
use types::NodeId;

/// 503: cluster calls on a node that is in no cluster.
pub fn not_a_manager() -> Error {
    Error::unavailable(
        "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node \
         to swarm and try again.",
    )
}

/// 503: cluster calls on a worker whose managers cannot be reached.
pub(crate) fn a_worker() -> Error {
    Error::unavailable(
        "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. Please run \
         this command on a manager node or promote the current node to a manager.",
    )
}

pub(crate) fn not_a_member() -> Error {
    Error::unavailable("This node is not part of a swarm")
}

pub(crate) fn exists() -> Error {
    Error::unavailable(
        "This node is already part of a swarm. Use \"docker swarm leave\" to leave this swarm and join another one.",
    )
}

pub(crate) fn locked() -> Error {
    Error::unavailable(
        "Swarm is encrypted and needs to be unlocked before it can be used. Please use \"docker swarm unlock\" to \
         unlock it.",
    )
}

pub(crate) fn join_timeout() -> Error {
    Error::unavailable(
        "Timeout was reached before node joined. The attempt to join the swarm will continue in the background. Use \
         the \"docker info\" command to see the current swarm status of your node.",
    )
}

pub(crate) fn locked_leave() -> Error {
    Error::unavailable(
        "Swarm is encrypted and locked. Please unlock it first or use `--force` to ignore this message.",
    )
}

/// A manager leaves only by force: what that would do.
pub(crate) fn manager_leave(members: &[raft::Member], me: &NodeId) -> Error {
    let all = members.len();
    let reachable = members.iter().filter(|member| member.reachable || member.node == *me).count();
    let mut message =
        "You are attempting to leave the swarm on a node that is participating as a manager. "
            .to_owned();
    if all <= 1 {
        message.push_str(
            "Removing the last manager erases all current state of the swarm. Use `--force` to ignore this message. ",
        );
        return Error::unavailable(message);
    }
    if reachable <= (all - 1) / 2 + 1 {
        message.push_str(&format!(
            "Removing this node leaves {} managers out of {all}. Without a Raft quorum your swarm will be inaccessible. ",
            reachable - 1
        ));
    }
    message.push_str(
        "The only way to restore a swarm that has lost consensus is to reinitialize it with `--force-new-cluster`. \
         Use `--force` to suppress this message.",
    );
    Error::unavailable(message)
}
