//! Images: a content-addressed store, overlayfs layers, the registry client and the archive formats.
//!
//! Touches the store's directory, mounts below it, and registries. Knows nothing of containers beyond
//! the id under which a writable layer is kept; who uses an image is an argument.
//!
//! ```text
//! root/blobs/sha256/<hex>      configurations, manifests, compressed layers as they travel
//! root/layers/<chain>/diff     unpacked layer, never changed; layer.json beside it
//! root/l/<short>               symlinks to those, so that many fit into one mount call
//! root/images/<hex>.json       what we know of an image beside its configuration
//! root/references.json         name → image id
//! root/rw/<container>/         upper, work, merged, rw.json
//! root/tmp, root/ingest        half-made things; tmp is emptied on open, ingest is resumed
//! ```

mod archive;
mod arrival;
mod catalog;
mod create;
mod digest;
mod error;
mod hosted;
mod layer;
mod peers;
mod reference;
mod registry;
mod rw;
mod store;
mod stream;

pub use archive::import::ImportOptions;
pub use catalog::list::ListFilter;
pub use catalog::remove::{ContainerUse, RemoveOptions};
pub use create::{Commit, LayerSource, NewLayer};
pub use digest::Digest;
pub use error::{Error, Result};
pub use hosted::{Hosted, Refused};
pub use layer::Layer;
pub use layer::compression::uncompressed;
pub use peers::image::Meant;
pub use peers::{Connection, PATH as PEERS_PATH, Peers};
pub use reference::{Reference, ReferenceError};
pub use registry::pull::{PullOptions, PullOutcome};
pub use registry::push::PushOptions;
pub use registry::{Platform, RegistryConfig};
pub use rw::{Discarded, RwLayer};
pub use store::{Image, Store};
pub use stream::ByteStream;

pub use types::image::Progress;
/// Where progress goes. Bounded by the receiver; a full queue slows the work down, a closed one does not
/// stop it.
pub type ProgressSender = tokio::sync::mpsc::Sender<Progress>;
