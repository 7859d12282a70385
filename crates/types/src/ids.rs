//! Identifiers. A newtype each, so that no id of one object is taken for another's.

use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Characters of a swarm id: 128 bits in base 36, as Docker shows them.
const SWARM_ID_LENGTH: usize = 25;

/// Writes 128 random bits as a swarm id: 25 characters `0-9a-z`, zeros in front. The caller brings the
/// randomness, so that decisions and simulations stay repeatable.
pub fn swarm_id(random: [u8; 16]) -> String {
    let mut rest = u128::from_be_bytes(random);
    let mut digits = [b'0'; SWARM_ID_LENGTH];
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdefghijklmnopqrstuvwxyz"[(rest % 36) as usize];
        rest /= 36;
    }
    digits.iter().map(|digit| char::from(*digit)).collect()
}

// Shared text: a cluster's tasks name their service and node a million times, and every index does again.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Serialize, Deserialize, Default)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps a full id. The caller has made or read it; nothing is checked.
            pub fn new(id: impl Into<String>) -> Self {
                Self(Arc::from(id.into()))
            }
            /// The full id.
            pub fn as_str(&self) -> &str {
                &self.0
            }
            /// The twelve characters that Docker shows (after `sha256:` if there is one).
            pub fn short(&self) -> &str {
                let hex = self.0.strip_prefix("sha256:").unwrap_or(&self.0);
                hex.get(..12).unwrap_or(hex)
            }
        }
        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
            }
        }
        impl Eq for $name {}
        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                if Arc::ptr_eq(&self.0, &other.0) {
                    return Ordering::Equal;
                }
                self.0.cmp(&other.0)
            }
        }
        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }
        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.as_str().hash(state);
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.short())
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

id!(
    /// A container: 64 hex digits.
    ContainerId
);
id!(
    /// One exec in a container: 64 hex digits.
    ExecId
);
id!(
    /// A network: 64 hex digits.
    NetworkId
);
id!(
    /// An image: `sha256:` and the digest of its configuration.
    ImageId
);
id!(
    /// A service of the swarm: 25 characters of base 36.
    ServiceId
);
id!(
    /// A task of the swarm: 25 characters of base 36.
    TaskId
);
id!(
    /// A node of the swarm: 25 characters of base 36.
    NodeId
);
id!(
    /// A secret of the swarm: 25 characters of base 36.
    SecretId
);
id!(
    /// A config of the swarm: 25 characters of base 36.
    ConfigId
);
id!(
    /// A cluster of the swarm: 25 characters of base 36.
    ClusterId
);
id!(
    /// A container's place in a network: 64 hex digits.
    EndpointId
);
id!(
    /// A cluster volume of the swarm: 25 characters of base 36.
    VolumeId
);

impl NodeId {
    /// The number by which Raft knows the node: the low 64 bits of its id, so that nobody has to hand numbers
    /// out. 0 for what is no swarm id.
    pub fn raft_id(&self) -> u64 {
        let mut digits = self.as_str().chars().map(|digit| digit.to_digit(36));
        digits
            .try_fold(0u64, |number, digit| {
                Some(number.wrapping_mul(36).wrapping_add(digit?.into()))
            })
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swarm_id_has_25_characters_whatever_the_bits() {
        assert_eq!(swarm_id([0; 16]), "0".repeat(25));
        assert_eq!(swarm_id([255; 16]), "f5lxx1zz5pnorynqglhzmsp33");
        assert_eq!(swarm_id([7; 16]).len(), 25);
    }

    #[test]
    fn a_node_has_a_number_for_raft() {
        assert_eq!(
            NodeId::new(swarm_id([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2])).raft_id(),
            258
        );
        assert_eq!(NodeId::new(swarm_id([255; 16])).raft_id(), u64::MAX);
        assert_eq!(NodeId::new("no id!").raft_id(), 0);
    }

    #[test]
    fn ids_with_equal_text_are_equal_however_they_were_made() {
        let (one, two) = (TaskId::new("t1"), TaskId::new("t1"));
        assert_eq!(one, two);
        assert_eq!(one.cmp(&two), Ordering::Equal);
        assert_eq!(one, one.clone());
        assert!(TaskId::new("t1") < TaskId::new("t2"));
    }
}
