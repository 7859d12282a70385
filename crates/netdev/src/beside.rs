//! Another firewall on the same host that drops what it does not let through itself: dockerd's, ufw's.
//!
//! Both make the policy of `ip filter FORWARD` drop, and no rule of ours in a table of our own can take that back. So where
//! that is so our interfaces are let through at the chain's end, after all of its own rules, by a chain of ours that it
//! jumps to; our own rules decide on their packets. Where it is not so, or no more, nothing of ours is in there.

use crate::netlink::Netlink;
use crate::nft::{Ledger, generation, nft};
use nix::sys::socket::SockProtocol;
use std::collections::BTreeSet;
use std::io;

const TABLE: &str = "filter";
const FORWARD: &str = "FORWARD";

/// What one of our tables needs there.
#[derive(Debug)]
pub(crate) struct Beside {
    netlink: Netlink,
    ledger: Ledger,
    chain: String,
    /// The kernel's count of changes when it was looked at last, and what was let through then.
    seen: Option<(u32, BTreeSet<String>)>,
}

impl Beside {
    /// `name`: of the chain, in the foreign table.
    pub(crate) fn open(name: &str, ledger: Ledger) -> io::Result<Self> {
        let netlink = Netlink::open(SockProtocol::NetlinkNetFilter)?;
        Ok(Beside { netlink, ledger, chain: format!("SAMPAN-{name}"), seen: None })
    }

    /// Looks at the next call, whatever was seen.
    pub(crate) fn forget(&mut self) {
        self.seen = None;
    }

    /// Lets these through if somebody would drop them; `smt*` means all whose names begin so. Whether anything had to be
    /// changed. Costs a message while nobody changed any rules.
    pub(crate) fn ensure(&mut self, interfaces: &BTreeSet<String>) -> io::Result<bool> {
        let now = generation(&mut self.netlink)?;
        if let Some((then, let_through)) = &mut self.seen
            && self.ledger.follow(*then) == now
            && let_through == interfaces
        {
            *then = now;
            return Ok(false);
        }
        self.seen = None;
        let listing = nft(&["-a", "list", "chain", "ip", TABLE, FORWARD], b"").unwrap_or_default();
        let jump = listing.lines().find(|line| line.contains(&format!("jump {} ", self.chain)));
        let jump = jump.and_then(|line| line.rsplit("# handle ").next()).map(str::trim);
        let is_wanted = listing.contains("policy drop") && !interfaces.is_empty();
        let text = match (is_wanted, jump) {
            (true, Some(_)) if self.lets_through(interfaces) => None,
            (true, jump) => Some(self.let_through(interfaces, jump.is_some())),
            (false, Some(handle)) => Some(self.leave(handle)),
            (false, None) => None,
        };
        if let Some(text) = &text {
            self.ledger.around(|| nft(&["-f", "-"], text.as_bytes()).map(drop))?;
        }
        self.seen = Some((generation(&mut self.netlink)?, interfaces.clone()));
        Ok(text.is_some())
    }

    /// Whether our chain is as it should be.
    fn lets_through(&self, interfaces: &BTreeSet<String>) -> bool {
        let listing = nft(&["list", "chain", "ip", TABLE, &self.chain], b"").unwrap_or_default();
        let accepted = listing.lines().filter(|line| line.trim_end().ends_with("accept")).count();
        let is_named = |name: &String| listing.matches(&format!("\"{name}\"")).count() == 2;
        accepted == 2 * interfaces.len() && interfaces.iter().all(is_named)
    }

    fn let_through(&self, interfaces: &BTreeSet<String>, is_called: bool) -> String {
        let chain = &self.chain;
        let mut text = format!("add chain ip {TABLE} {chain}\nflush chain ip {TABLE} {chain}\n");
        for interface in interfaces {
            for side in ["iifname", "oifname"] {
                text +=
                    &format!("add rule ip {TABLE} {chain} {side} \"{interface}\" counter accept\n");
            }
        }
        if !is_called {
            text += &format!("add rule ip {TABLE} {FORWARD} counter jump {chain}\n");
        }
        text
    }

    fn leave(&self, handle: &str) -> String {
        let chain = &self.chain;
        format!(
            "delete rule ip {TABLE} {FORWARD} handle {handle}\nflush chain ip {TABLE} {chain}\ndelete chain ip {TABLE} {chain}\n"
        )
    }
}
