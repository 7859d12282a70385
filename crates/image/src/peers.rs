//! Images between nodes: what one node has, another fetches from it, in pieces and from all that have some.
//!
//! ```text
//! name ──► offer of every node ──► the newest ──► its layers, piece by piece ──► unpacked, named
//!                                      │  have? ◄──────┤   a node that fetches is a source of what it has
//!                                      └──► piece ◄────┘
//! ```
//!
//! Nobody keeps a table of who has what: it would be wrong whenever a node prunes, dies or comes back. The nodes are asked,
//! all at once, when it matters. A layer travels as it is kept: its blob, or where the store has none (a layer of our own)
//! its canonical tar, of which any part can be read ([`crate::layer::layout`]).
//!
//! Questions, below [`PATH`]: `offer?name=`, `have/<digest>`, `piece/<digest>/<n>`, `tags?name=`; and a wish, `take?name=&id=`. All bytes are checked against digests
//! before anything refers to them.

pub(crate) mod fetch;
pub(crate) mod growing;
pub(crate) mod image;
pub(crate) mod line;
mod needs;
pub(crate) mod offer;
pub(crate) mod partial;
pub(crate) mod pieces;
pub(crate) mod serve;
mod spread;
pub(crate) mod swarm;

use crate::stream::ByteStream;
use async_trait::async_trait;
use std::io;
use std::sync::{Arc, OnceLock};
use types::NodeId;

/// Where the questions of other nodes come in.
pub const PATH: &str = "/sampan/images/";

/// The nodes of the cluster, as images travel between them.
#[async_trait]
pub trait Peers: Send + Sync + 'static {
    /// This node, by the name under which others know it; empty where it is in no cluster.
    fn me(&self) -> NodeId;

    /// Who can be asked now. Never this node.
    async fn others(&self) -> Vec<NodeId>;

    /// References of the images that services run, or can be rolled back to.
    async fn needed(&self) -> io::Result<Vec<String>>;

    /// A connection of one's own to `node`.
    async fn connect(&self, node: &NodeId) -> io::Result<Box<dyn Connection>>;
}

/// A connection to another node; one question at a time.
#[async_trait]
pub trait Connection: Send {
    /// Asks `path`, which begins with [`PATH`].
    async fn ask(
        &mut self,
        method: http::Method,
        path: &str,
    ) -> io::Result<http::Response<ByteStream>>;
}

/// What the store knows of other nodes.
#[derive(Default)]
pub(crate) struct Neighbours {
    peers: OnceLock<Arc<dyn Peers>>,
    pub(crate) partials: partial::Partials,
    pub(crate) growings: growing::Growings,
    pub(crate) layouts: serve::Layouts,
}

impl Neighbours {
    /// None where this node is on its own.
    pub(crate) fn peers(&self) -> Option<&Arc<dyn Peers>> {
        self.peers.get()
    }
}

impl crate::Store {
    /// Whom to ask for images. Called once.
    pub fn set_peers(&self, peers: Arc<dyn Peers>) {
        // A second cluster has no say.
        let _ = self.0.neighbours.peers.set(peers);
    }
}
