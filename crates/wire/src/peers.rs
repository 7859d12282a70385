//! The other nodes as the helper knows them: sessions by address and by MAC.

use crate::config::{Config, Peer};
use boringtun::noise::Tunn;
use boringtun::noise::rate_limiter::RateLimiter;
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Handshakes a second that are answered without asking who it is.
const HANDSHAKES: u64 = 200;

/// One other node.
pub(crate) struct Session {
    pub(crate) peer: Peer,
    tunnel: Mutex<Tunn>,
}

impl Session {
    pub(crate) fn tunnel(&self) -> MutexGuard<'_, Tunn> {
        self.tunnel.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is carried where. Replaced as a whole when the daemon says something new; sessions are taken along.
pub(crate) struct Peers {
    pub(crate) config: Config,
    pub(crate) limiter: Arc<RateLimiter>,
    by_address: HashMap<Ipv4Addr, Arc<Session>>,
    by_mac: HashMap<[u8; 6], Arc<Session>>,
}

impl Peers {
    /// `before`: what was carried until now.
    pub(crate) fn new(config: Config, before: Option<&Peers>) -> Self {
        let before = before.filter(|before| before.config.private == config.private);
        let limiter = match before {
            Some(before) => Arc::clone(&before.limiter),
            None => Arc::new(RateLimiter::new(&config.private.public().as_public(), HANDSHAKES)),
        };
        let mut peers = Peers {
            limiter,
            by_address: HashMap::new(),
            by_mac: HashMap::new(),
            config: config.clone(),
        };
        for (number, peer) in (0_u32..).zip(&config.peers) {
            let known = before.and_then(|before| before.at(peer.underlay));
            let session = match known.filter(|known| known.peer == *peer) {
                Some(known) => Arc::clone(known),
                None => {
                    let (secret, public) = (config.private.secret(), peer.public.as_public());
                    let limiter = Some(Arc::clone(&peers.limiter));
                    let tunnel = Tunn::new(secret, public, None, None, number, limiter);
                    Arc::new(Session { peer: peer.clone(), tunnel: Mutex::new(tunnel) })
                }
            };
            peers.by_address.insert(peer.underlay, Arc::clone(&session));
            peers.by_mac.insert(peer.mac, session);
        }
        peers
    }

    pub(crate) fn at(&self, address: Ipv4Addr) -> Option<&Arc<Session>> {
        self.by_address.get(&address)
    }

    pub(crate) fn with_mac(&self, mac: [u8; 6]) -> Option<&Arc<Session>> {
        self.by_mac.get(&mac)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Session>> {
        self.by_address.values()
    }
}
