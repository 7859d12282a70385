//! VXLAN network identifiers.

use super::ClusterAllocError;
use std::collections::BTreeSet;

/// Docker leaves those up to 4096 to VLANs.
pub const FIRST_VNI: u32 = 4097;
/// 24 bits.
const LAST_VNI: u32 = (1 << 24) - 1;

/// The identifiers in use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vnis(BTreeSet<u32>);

impl Vnis {
    /// Takes exactly `vni`.
    pub fn claim(&mut self, vni: u32) -> Result<(), ClusterAllocError> {
        if !(1..=LAST_VNI).contains(&vni) || !self.0.insert(vni) {
            return Err(ClusterAllocError::Vni(vni));
        }
        Ok(())
    }

    /// Takes the lowest free one.
    pub fn allocate(&mut self) -> Result<u32, ClusterAllocError> {
        let mut free = FIRST_VNI;
        for used in self.0.range(FIRST_VNI..) {
            if *used > free {
                break;
            }
            free = used + 1;
        }
        if free > LAST_VNI {
            return Err(ClusterAllocError::VnisExhausted);
        }
        self.0.insert(free);
        Ok(free)
    }

    pub fn release(&mut self, vni: u32) {
        self.0.remove(&vni);
    }
}
