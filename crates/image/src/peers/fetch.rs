//! One blob from all nodes that have some of it.
//!
//! ```text
//! every node: have? ──► swarm ──choose──► piece of a node ──► partial ──complete──► digest
//!      ▲ again, soon       ▲                    │
//!      └───────────────────┴────────────────────┘
//! ```
//!
//! A node that dies takes the pieces under way with it, which others are asked for. When nobody has what is missing, the
//! fetch waits a while for someone to come back, then gives up; what is here stays for the next one.

use super::Peers;
use super::line::{Failure, Line};
use super::partial::Partial;
use super::pieces::Pieces;
use super::serve::Have;
use super::swarm::Swarm;
use crate::registry::error::RegistryError;
use crate::store::{Inner, blocking};
use crate::{Digest, Error, Result};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};
use types::NodeId;

/// Pieces under way at once, of all sources.
const UNDER_WAY: usize = 6;
/// How often others are asked what they have by now; each node more makes it rarer.
const ASK_AGAIN: Duration = Duration::from_millis(150);
const FOR_EACH_NODE: Duration = Duration::from_millis(15);
/// A node that could not be asked is left alone for so long.
const REST: Duration = Duration::from_secs(1);
/// How long to wait for someone who has the rest.
const PATIENCE: Duration = Duration::from_secs(10);

/// Brings the blob together and checks it; `None` when nobody has (the rest of) it. Bytes that are not the digest's are
/// thrown away, and the blob is asked of one node after the other, so that a bad disk somewhere spoils nothing.
pub(crate) async fn gather(
    store: &Arc<Inner>,
    peers: &Arc<dyn Peers>,
    digest: &Digest,
    size: u64,
    elsewhere: Elsewhere,
    tell: impl Fn(u64),
) -> Result<Option<Arc<Partial>>> {
    let mut one_by_one = peers.others().await;
    let mut from = one_by_one.clone();
    let mut was_wrong = false;
    loop {
        let partial = {
            let (store, digest) = (store.clone(), digest.clone());
            blocking(move || Partial::open(&store, &digest, size)).await?
        };
        if bring(&partial, peers, from, elsewhere, &tell).await? {
            let checked = partial.clone();
            if blocking(move || checked.verify()).await? {
                return Ok(Some(partial));
            }
            tracing::warn!(%digest, "what other nodes sent is not what it should be");
            blocking(move || partial.discard()).await?;
            was_wrong = true;
        } else {
            // What is here stays for the next one; nothing leaves nothing.
            if partial.have().held() == 0 {
                blocking(move || partial.discard()).await?;
            }
            if !was_wrong {
                return Ok(None);
            }
        }
        let next = one_by_one.pop().ok_or_else(|| Error::Verification(digest.clone()))?;
        from = vec![next];
    }
}

/// Where else the blob can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Elsewhere {
    /// Of nodes that want it at the same time one asks the registry, and the others get it from there.
    Registry,
    Nowhere,
}

/// What a node answered to `have` (the second part: more comes to it from a registry), or that it could not be asked.
type Heard = (Arc<Line>, io::Result<Option<(Pieces, bool)>>);
/// How a piece came, or not.
type Came = (Arc<Line>, u32, Result<(), Failure>);

/// Whether everything is here; false when nobody has the rest.
async fn bring(
    partial: &Arc<Partial>,
    peers: &Arc<dyn Peers>,
    from: Vec<NodeId>,
    elsewhere: Elsewhere,
    tell: &impl Fn(u64),
) -> Result<bool> {
    let mut swarm = Swarm::new(peers.me(), partial.have());
    let again = ASK_AGAIN + FOR_EACH_NODE * u32::try_from(from.len()).unwrap_or(u32::MAX);
    let lines: BTreeMap<NodeId, Arc<Line>> = from
        .into_iter()
        .map(|node| (node.clone(), Arc::new(Line::new(node, peers.clone()))))
        .collect();
    let mut asked: FuturesUnordered<BoxFuture<'static, Heard>> =
        lines.values().map(|line| ask(line, partial, Duration::ZERO)).collect();
    let mut coming: FuturesUnordered<BoxFuture<'static, Came>> = FuturesUnordered::new();
    let mut unheard = lines.len();
    let mut give_up = Instant::now() + PATIENCE;
    let mut progressed = false;
    let mut chance = Chance::new();
    while !swarm.is_done() {
        while coming.len() < UNDER_WAY
            && let Some((node, piece)) = swarm.choose(chance.next())
        {
            let Some(line) = lines.get(&node) else { break };
            coming.push(fetch(line.clone(), partial.clone(), piece).boxed());
        }
        // Nobody here ever had anything of it: there is nothing to wait for.
        if coming.is_empty() && unheard == 0 && !progressed && !swarm.has_sources() {
            return Ok(false);
        }
        let may_ask = elsewhere == Elsewhere::Registry && coming.is_empty() && unheard == 0;
        if may_ask && swarm.is_first() {
            return Ok(false);
        }
        tokio::select! {
            Some((line, piece, came)) = coming.next() => match came {
                Ok(()) => {
                    swarm.landed(&line.node, piece);
                    give_up = Instant::now() + PATIENCE;
                    progressed = true;
                    tell(partial.bytes());
                }
                Err(Failure::Here(cause)) => {
                    // A full disk gets its space back at once.
                    partial.discard()?;
                    return Err(RegistryError::Disk { action: "write a layer", cause }.into());
                }
                Err(Failure::There(err)) => {
                    tracing::debug!(node = %line.node, error = %err, "a piece did not come");
                    swarm.lost(&line.node, piece);
                }
            },
            Some((line, heard)) = asked.next() => {
                unheard = unheard.saturating_sub(1);
                let pause = if heard.is_ok() { again } else { REST };
                let have = heard.unwrap_or_default();
                swarm.heard(&line.node, have);
                asked.push(ask(&line, partial, pause));
            }
            () = sleep_until(give_up), if coming.is_empty() => return Ok(false),
        }
    }
    tell(partial.size);
    Ok(true)
}

/// Asks a node what it has, after a pause.
fn ask(line: &Arc<Line>, partial: &Partial, pause: Duration) -> BoxFuture<'static, Heard> {
    let (line, digest, size) = (line.clone(), partial.digest.clone(), partial.size);
    async move {
        sleep(pause).await;
        let heard = line.document(&format!("have/{digest}")).await;
        let have = heard.map(|document| {
            let have: Have = serde_json::from_slice(&document?).ok()?;
            Some((have.pieces(size)?, have.grows))
        });
        (line, have)
    }
    .boxed()
}

async fn fetch(line: Arc<Line>, partial: Arc<Partial>, piece: u32) -> Came {
    let question = format!("piece/{}/{piece}", partial.digest);
    let (at, bytes) = partial.span(piece);
    let write = |done: u64, chunk: &[u8]| {
        // More than a piece is another blob's: the count tells.
        if done + chunk.len() as u64 > bytes { Ok(()) } else { partial.write_at(chunk, at + done) }
    };
    let came = match line.stream(&question, write).await {
        Ok(done) if done == bytes => partial.add(piece).map_err(Failure::Here),
        Ok(_) => Err(Failure::There(io::ErrorKind::UnexpectedEof.into())),
        Err(failure) => Err(failure),
    };
    (line, piece, came)
}

/// Numbers that differ from node to node and from call to call. Nothing depends on their quality.
struct Chance(u64);

impl Chance {
    fn new() -> Self {
        // std's hash maps are seeded by the system.
        Chance(std::hash::RandomState::new().build_hasher().finish())
    }
    /// splitmix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
