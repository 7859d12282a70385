//! What may go wrong with this node, or has: its clock, port, path, disk, certificate, and the cluster's quorum.
//!
//! Observes and names; it mends nothing.

use crate::node::{Shared, guard, now};
use crate::{Cluster, interfaces};
use engine::{Passes, PathReport};
use nix::sys::statvfs::statvfs;
use raft::Member;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;
use store::Snapshot;
use types::Timestamp;
use types::swarm::node::NodeState;

/// A node that does not take a connection within it is not reached.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// Less of the disk is a warning, and a problem.
const LOW_SHARE: f64 = 0.15;
const FULL_SHARE: f64 = 0.05;
const FULL_BYTES: u64 = 1 << 30;
/// An overlay's header takes 50 bytes; what is left must hold IPv6's least.
const LEAST_MTU: u32 = 1_280 + 50;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    Warning,
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Finding {
    pub level: Level,
    /// `clock`, `port`, `mtu`, `disk`, `log`, `certificate`, `quorum`, `node` or `swarm`.
    pub check: String,
    pub text: String,
}

/// What one node says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Checkup {
    /// The node's id; empty in no cluster.
    pub node: String,
    pub name: String,
    /// Its clock when it answered.
    pub time: Timestamp,
    /// Of the interface that it is reached by; 0 when that is not known.
    pub mtu: u32,
    pub findings: Vec<Finding>,
}

fn finding(level: Level, check: &str, text: impl Into<String>) -> Finding {
    Finding { level, check: check.to_owned(), text: text.into() }
}

impl Cluster {
    /// Looks at this node.
    pub async fn checkup(&self) -> Checkup {
        let mut checkup = Checkup::default();
        checkup.findings.push(disk(&self.inner.config.dir));
        let info = self.inner.info();
        checkup.findings.push(swarm(&info.local_node_state, &info.error));
        if let Ok(node) = self.inner.running() {
            let shared = &node.shared;
            checkup.node = node.id().to_string();
            let machine = nix::unistd::gethostname().unwrap_or_default();
            checkup.name = machine.to_string_lossy().into_owned();
            checkup.mtu = mtu(shared).await.unwrap_or(0);
            checkup.findings.push(path(checkup.mtu));
            checkup.findings.extend(shared.engine.paths().await.iter().filter_map(passes));
            checkup.findings.push(certificate(shared));
            checkup.findings.extend(ports(shared).await);
            if let Some(plane) = shared.running_plane() {
                let state = plane.raft().snapshot();
                checkup.findings.push(log(plane.raft().trouble()));
                checkup.findings.extend(quorum(&plane.raft().members(), state.nodes().len()));
                checkup.findings.extend(nodes(&state));
            }
        }
        checkup.time = now();
        checkup
    }
}

/// What two nodes' answers say of their clocks. `sent` and `came` are this node's clock around the question.
pub fn compare(own: &Checkup, other: &Checkup, sent: Timestamp, came: Timestamp) -> Vec<Finding> {
    let whose = if other.name.is_empty() { &other.node } else { &other.name };
    // The answer was written somewhere between: only what no delay explains counts.
    let here = Timestamp(other.time.0.clamp(sent.0, came.0));
    let clock = match ca::doctor::skew(here, other.time, &format!("node {whose}")) {
        Some(text) => finding(Level::Problem, "clock", text),
        None => finding(Level::Ok, "clock", format!("agrees with node {whose}'s")),
    };
    let mut found = vec![clock];
    if own.mtu != other.mtu && own.mtu != 0 && other.mtu != 0 {
        found.push(finding(
            Level::Warning,
            "mtu",
            format!("{} here, {} at node {whose}: large packets may be lost", own.mtu, other.mtu),
        ));
    }
    found
}

fn swarm(state: &str, error: &str) -> Finding {
    match (state, error) {
        ("active", "") => finding(Level::Ok, "swarm", "this node is part of a swarm"),
        ("active", error) => finding(Level::Problem, "swarm", error),
        ("inactive", _) => finding(Level::Ok, "swarm", "this node is part of no swarm"),
        ("locked", _) => {
            finding(Level::Problem, "swarm", "this manager is locked: run sampan swarm unlock")
        }
        (state, "") => finding(Level::Warning, "swarm", format!("this node is {state}")),
        (state, error) => finding(Level::Problem, "swarm", format!("{state}: {error}")),
    }
}

fn disk(dir: &Path) -> Finding {
    match statvfs(dir) {
        Ok(disk) => {
            let unit = disk.fragment_size();
            judge_disk(unit * disk.blocks_available(), unit * disk.blocks(), dir)
        }
        Err(err) => finding(Level::Problem, "disk", format!("{}: {err}", dir.display())),
    }
}

fn judge_disk(free: u64, whole: u64, dir: &Path) -> Finding {
    let share = free as f64 / whole.max(1) as f64;
    let level = match () {
        () if share < FULL_SHARE || free < FULL_BYTES => Level::Problem,
        () if share < LOW_SHARE => Level::Warning,
        () => Level::Ok,
    };
    let gigabytes = free as f64 / 1e9;
    let percent = share * 100.0;
    let text = format!("{gigabytes:.1} GB ({percent:.0} %) free below {}", dir.display());
    finding(level, "disk", text)
}

/// `trouble` is what the log says is wrong with it.
fn log(trouble: Option<String>) -> Finding {
    match trouble {
        Some(text) => finding(Level::Problem, "log", text),
        None => finding(Level::Ok, "log", "this manager's log takes its part"),
    }
}

fn certificate(shared: &Shared) -> Finding {
    let identity = guard(&shared.identity);
    match ca::doctor::examine(&identity, now()) {
        Some(text) => finding(Level::Problem, "certificate", text),
        None => finding(Level::Ok, "certificate", format!("good until {}", identity.not_after())),
    }
}

/// Of the interface that has the advertised address.
async fn mtu(shared: &Shared) -> Option<u32> {
    let address = guard(&shared.state).advertise.ip();
    let interfaces = interfaces::interfaces(|_| false).ok()?;
    let own = interfaces.into_iter().find(|it| it.addresses.contains(&address))?;
    shared.engine.link_mtu(&own.name).await
}

fn path(mtu: u32) -> Finding {
    match mtu {
        0 => finding(
            Level::Warning,
            "mtu",
            "the advertised address is on no interface of this machine: its MTU is not known",
        ),
        small if small < LEAST_MTU => finding(
            Level::Problem,
            "mtu",
            format!(
                "{small} on the interface that the swarm uses: overlay networks need {LEAST_MTU}"
            ),
        ),
        mtu => finding(Level::Ok, "mtu", format!("{mtu} on the interface that the swarm uses")),
    }
}

/// Whether the other nodes that are known here take connections.
async fn ports(shared: &Shared) -> Vec<Finding> {
    let me = shared.me().node;
    let mut others: Vec<(String, String)> = shared
        .managers()
        .into_iter()
        .filter(|manager| manager.node != me)
        .map(|manager| (format!("manager {}", manager.node), manager.addr))
        .collect();
    if let Some(plane) = shared.running_plane() {
        let state = plane.raft().snapshot();
        let known = state.nodes().iter().filter(|node| {
            node.id != me
                && node.status.state != NodeState::Down
                && !node.description.addr.is_empty()
                && !others.iter().any(|(_, addr)| *addr == node.description.addr)
        });
        let known: Vec<_> = known
            .map(|node| {
                (format!("node {}", node.description.hostname), node.description.addr.clone())
            })
            .collect();
        others.extend(known);
    }
    let tried = others.into_iter().map(|(who, addr)| async move {
        let connected =
            tokio::time::timeout(CONNECT_WITHIN, tokio::net::TcpStream::connect(&addr)).await;
        match connected {
            Ok(Ok(_)) => finding(Level::Ok, "port", format!("{who} is reached at {addr}")),
            Ok(Err(err)) => finding(
                Level::Problem,
                "port",
                format!("{who} is not reached at {addr}: {err}: is TCP port open there?"),
            ),
            Err(_) => finding(
                Level::Problem,
                "port",
                format!("{who} does not answer at {addr}: does a firewall drop TCP there?"),
            ),
        }
    });
    futures_util::future::join_all(tried).await
}

/// What the way to another node carries; nothing of one that answers no echo.
fn passes(path: &PathReport) -> Option<Finding> {
    let PathReport { node, address, mtu, passes } = path;
    match passes {
        Passes::All => {
            let text = format!("packets of {mtu} bytes pass to node {node} at {address}");
            Some(finding(Level::Ok, "mtu", text))
        }
        Passes::UpTo(size) => Some(finding(
            Level::Problem,
            "mtu",
            format!(
                "packets of more than {size} bytes do not pass to node {node} at {address}, the interface here takes {mtu}: the cluster's networks lose what is larger; make the MTUs equal on the way"
            ),
        )),
        Passes::Silent => None,
    }
}

/// What the managers can lose.
fn quorum(members: &[Member], nodes: usize) -> Vec<Finding> {
    let voters = members.len();
    let reached = members.iter().filter(|member| member.reachable || member.leader).count();
    let needed = voters / 2 + 1;
    let spare = reached.saturating_sub(needed);
    let mut found = Vec::new();
    if !members.iter().any(|member| member.leader) {
        found.push(finding(Level::Problem, "quorum", "no manager leads"));
    }
    found.push(match (voters, reached) {
        (_, reached) if reached < needed => finding(
            Level::Problem,
            "quorum",
            format!("{reached} of {voters} managers are reached, {needed} are needed"),
        ),
        (1, _) if nodes > 1 => finding(
            Level::Warning,
            "quorum",
            format!("one manager for {nodes} nodes: promote two more, or save snapshots of the cluster"),
        ),
        (1, _) => finding(Level::Ok, "quorum", "one manager, which is the only node"),
        (2, _) => finding(
            Level::Warning,
            "quorum",
            "two managers bear the loss of none: promote a third, or demote one",
        ),
        (voters, reached) if reached < voters && spare == 0 => finding(
            Level::Problem,
            "quorum",
            format!("{reached} of {voters} managers are reached: the loss of one more stops the managers"),
        ),
        (voters, reached) if reached < voters => finding(
            Level::Warning,
            "quorum",
            format!("{reached} of {voters} managers are reached: {spare} more may be lost"),
        ),
        (voters, _) if voters % 2 == 0 => finding(
            Level::Warning,
            "quorum",
            format!("{voters} managers bear the loss of {spare}, as {} do", voters - 1),
        ),
        (voters, _) => {
            finding(Level::Ok, "quorum", format!("{voters} managers, {spare} of them may be lost"))
        }
    });
    found
}

fn nodes(state: &Snapshot) -> Vec<Finding> {
    let lost = state.nodes().iter().filter(|node| node.status.state == NodeState::Down);
    lost.map(|node| {
        let (name, why) = (&node.description.hostname, &node.status.message);
        finding(Level::Problem, "node", format!("node {name} is down: {why}"))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::NodeId;

    fn members(reachable: &[bool]) -> Vec<Member> {
        let member = |(at, reachable): (usize, &bool)| Member {
            node: NodeId::new(format!("m{at}")),
            addr: String::new(),
            voter: true,
            leader: at == 0,
            reachable: *reachable,
        };
        reachable.iter().enumerate().map(member).collect()
    }

    fn levels(reachable: &[bool], nodes: usize) -> Level {
        quorum(&members(reachable), nodes).iter().map(|found| found.level).max().unwrap()
    }

    #[test]
    fn a_quorum_at_risk_is_told() {
        assert_eq!(levels(&[true], 1), Level::Ok);
        assert_eq!(levels(&[true], 4), Level::Warning);
        assert_eq!(levels(&[true, true], 4), Level::Warning);
        assert_eq!(levels(&[true, true, true], 4), Level::Ok);
        assert_eq!(levels(&[true, true, false], 4), Level::Problem);
        assert_eq!(levels(&[true, false, false], 4), Level::Problem);
        assert_eq!(levels(&[true, true, true, true], 4), Level::Warning);
        assert_eq!(levels(&[true, true, true, true, false], 5), Level::Warning);
    }

    #[test]
    fn a_clock_counts_as_wrong_only_by_what_no_delay_explains() {
        let at = |seconds: i64| Timestamp(seconds * 1_000_000_000);
        let other = |seconds| Checkup { time: at(seconds), ..Checkup::default() };
        let level = |seconds, sent, came| {
            compare(&Checkup::default(), &other(seconds), at(sent), at(came))[0].level
        };
        assert_eq!(level(100, 99, 101), Level::Ok);
        assert_eq!(level(120, 99, 130), Level::Ok);
        assert_eq!(level(86_500, 99, 101), Level::Problem);
        assert_eq!(level(10, 99, 101), Level::Problem);
    }

    #[test]
    fn a_disk_is_low_before_it_is_full() {
        let level = |free| judge_disk(free, 100 << 30, Path::new("/x")).level;
        assert_eq!(level(50 << 30), Level::Ok);
        assert_eq!(level(10 << 30), Level::Warning);
        assert_eq!(level(1 << 30), Level::Problem);
    }
}
