//! Placement beyond Docker's: Marathon's constraints, affinity between services, bin-packing, priorities.

use serde::{Deserialize, Serialize};

/// Where a service's tasks may and should run, beyond `Placement`. Written by the user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PlacementExtensions {
    /// Marathon's: `["hostname", "UNIQUE"]`, `["rack", "MAX_PER", "3"]`. A field is `hostname` or any word
    /// of a constraint (`node.labels.rack`); anything else is a node label.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<Vec<String>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub affinities: Vec<Affinity>,
    pub strategy: Strategy,
    /// What makes one branch of a spread preference take more tasks than another.
    pub spread_weight: SpreadWeight,
    /// A task of a higher one is placed first, and may take the place of lower ones if `preempt` is set.
    #[serde(skip_serializing_if = "zero")]
    pub priority: i32,
    /// Whether tasks of lower priority may be ended to make room.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub preempt: bool,
}

fn zero(priority: &i32) -> bool {
    *priority == 0
}

/// A wish to be near the tasks of a service, or far from them.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Affinity {
    /// The other service's id or name.
    pub service: String,
    /// Near is: the same value of it. `node.id` when empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub over: String,
    /// Far instead of near.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub anti: bool,
    /// Rather do not run at all; otherwise it is a preference.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
}

/// Which of the nodes that fit is taken.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// The one with the fewest tasks of the service, then of all.
    #[default]
    Spread,
    /// The one with the least left, so that others stay empty.
    Binpack,
}

#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum SpreadWeight {
    /// All branches alike, as Docker has it.
    #[default]
    None,
    /// Its nodes that can take such tasks.
    Nodes,
    /// Their CPUs.
    Cpu,
    /// Their memory.
    Memory,
}
