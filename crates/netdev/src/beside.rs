//! Another firewall on the same host that drops what it does not let through itself: dockerd's, ufw's, firewalld's.
//!
//! They drop forwarded packets in a chain of their own, and no rule of ours in a table of our own can take that back. So
//! where a chain drops what it does not know, our interfaces are let through by a chain of ours that it jumps to, as late as
//! helps: after its own rules, before the one that ends the way of all that is left. Our own rules decide on these packets.
//! Where nothing is dropped, or no more, nothing of ours is in there.
//!
//! | whose | drops by |
//! |---|---|
//! | dockerd, ufw | the policy of `filter FORWARD` |
//! | ufw with `default reject routed` | the chain `ufw-reject-forward`, which is called before |
//! | many hand-written ones | a last rule of `filter FORWARD` that rejects everything |
//! | firewalld | its zones, of which each ends with a rejection: before them, as the interfaces of a zone of their own would be |
//!
//! A table that belongs to a running program (`flags owner`: firewalld from 2.1 on, if configured so) nobody else can
//! change: there its administrator has to put our interfaces into the zone `trusted`.

use crate::netlink::Netlink;
use crate::nft::{Ledger, generation, nft};
use nix::sys::socket::SockProtocol;
use std::collections::BTreeSet;
use std::io;

/// A chain that may drop what we forward.
#[derive(Debug, Clone, Copy)]
struct Foreign {
    family: &'static str,
    table: &'static str,
    chain: &'static str,
    /// What it jumps to ends the way of what we forward.
    end: &'static str,
}

const FOREIGN: [Foreign; 3] = [
    Foreign { family: "ip", table: "filter", chain: "FORWARD", end: "ufw-reject-forward" },
    Foreign { family: "ip6", table: "filter", chain: "FORWARD", end: "ufw6-reject-forward" },
    Foreign {
        family: "inet",
        table: "firewalld",
        chain: "filter_FORWARD",
        end: "filter_FORWARD_ZONES",
    },
];

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
        let mut changed = false;
        for foreign in FOREIGN {
            if let Some(text) = self.change(foreign, interfaces) {
                self.ledger.around(|| nft(&["-f", "-"], text.as_bytes()).map(drop))?;
                changed = true;
            }
        }
        self.seen = Some((generation(&mut self.netlink)?, interfaces.clone()));
        Ok(changed)
    }

    /// The input of `nft` that lets these through there, or nobody where they are not dropped; `None` if all is as it should be.
    fn change(&self, foreign: Foreign, interfaces: &BTreeSet<String>) -> Option<String> {
        let Foreign { family, table, chain, end } = foreign;
        let listing = nft(&["-a", "list", "chain", family, table, chain], b"").unwrap_or_default();
        let found = Found::read(&listing, end, &self.chain);
        match (found.drops && !interfaces.is_empty(), &found.jump) {
            (true, Some(_)) if found.is_in_time && self.lets_through(foreign, interfaces) => None,
            (true, _) => Some(self.let_through(foreign, interfaces, &found)),
            (false, Some(handle)) => Some(self.leave(foreign, handle)),
            (false, None) => None,
        }
    }

    /// Whether our chain is as it should be.
    fn lets_through(&self, foreign: Foreign, interfaces: &BTreeSet<String>) -> bool {
        let Foreign { family, table, .. } = foreign;
        let listing = nft(&["list", "chain", family, table, &self.chain], b"").unwrap_or_default();
        let accepted = listing.lines().filter(|line| line.trim_end().ends_with("accept")).count();
        let is_named = |name: &String| listing.matches(&format!("\"{name}\"")).count() == 2;
        accepted == 2 * interfaces.len() && interfaces.iter().all(is_named)
    }

    fn let_through(
        &self,
        foreign: Foreign,
        interfaces: &BTreeSet<String>,
        found: &Found,
    ) -> String {
        let Foreign { family, table, chain, .. } = foreign;
        let ours = format!("{family} {table} {}", self.chain);
        let mut text = format!("add chain {ours}\nflush chain {ours}\n");
        for interface in interfaces {
            for side in ["iifname", "oifname"] {
                text += &format!("add rule {ours} {side} \"{interface}\" counter accept\n");
            }
        }
        if found.is_in_time {
            return text;
        }
        if let Some(handle) = &found.jump {
            text += &format!("delete rule {family} {table} {chain} handle {handle}\n");
        }
        let place = match &found.end {
            Some(handle) => format!("insert rule {family} {table} {chain} handle {handle}"),
            None => format!("add rule {family} {table} {chain}"),
        };
        text + &format!("{place} counter jump {}\n", self.chain)
    }

    fn leave(&self, foreign: Foreign, handle: &str) -> String {
        let Foreign { family, table, chain, .. } = foreign;
        let ours = format!("{family} {table} {}", self.chain);
        format!(
            "delete rule {family} {table} {chain} handle {handle}\nflush chain {ours}\ndelete chain {ours}\n"
        )
    }
}

/// What a foreign chain does, by its listing; rules by their handles.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    /// What it does not let through itself, and we may change that.
    drops: bool,
    /// The first rule that ends the way of everything.
    end: Option<String>,
    /// The rule that jumps to our chain.
    jump: Option<String>,
    /// That is there, and before the end.
    is_in_time: bool,
}

impl Found {
    /// `end`: a chain that lets nothing through; `ours`: our own.
    fn read(listing: &str, end: &str, ours: &str) -> Self {
        let mut found = Found { drops: listing.contains("policy drop"), ..Found::default() };
        for line in listing.lines().filter(|line| !line.trim_end().ends_with('{')) {
            let Some((rule, handle)) = line.rsplit_once("# handle ") else { continue };
            // Not that of the chain itself.
            if rule.contains("chain ") {
                continue;
            }
            let (rule, handle) = (without_counter(rule), Some(handle.trim().to_owned()));
            if rule == format!("jump {ours}") {
                found.is_in_time = found.end.is_none();
                found.jump = handle;
            } else if found.end.is_none() && (ends_all(&rule) || rule == format!("jump {end}")) {
                found.end = handle;
            }
        }
        found.drops |= found.end.is_some();
        // Only its owner can change such a table.
        found.drops &= !listing.lines().any(|line| line.trim().starts_with("flags owner"));
        found
    }
}

/// A rule that asks for nothing.
fn ends_all(rule: &str) -> bool {
    rule == "drop" || rule.starts_with("reject") || rule.starts_with("xt target \"REJECT\"")
}

fn without_counter(rule: &str) -> String {
    let words: Vec<&str> = rule.split_whitespace().collect();
    match words.as_slice() {
        ["counter", "packets", _, "bytes", _, rest @ ..] => rest.join(" "),
        all => all.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(policy: &str, rules: &[&str]) -> Found {
        let mut text = format!(
            "table ip filter {{\n\tchain FORWARD {{ # handle 1\n\t\ttype filter hook forward priority filter; policy {policy};\n"
        );
        for (number, rule) in rules.iter().enumerate() {
            text += &format!("\t\t{rule} # handle {}\n", number + 2);
        }
        Found::read(&(text + "\t}\n}\n"), "ufw-reject-forward", "SAMPAN-x")
    }

    fn handle(number: u32) -> Option<String> {
        Some(number.to_string())
    }

    #[test]
    fn a_chain_that_lets_everything_through_is_left_alone() {
        let rules = ["counter packets 0 bytes 0 jump theirs", "iifname \"lo\" drop"];
        assert_eq!(found("accept", &rules), Found::default());
    }

    #[test]
    fn a_policy_is_passed_at_the_end_and_a_rejection_before_it() {
        let policy = found("drop", &["counter packets 3 bytes 9 jump theirs"]);
        assert_eq!(policy, Found { drops: true, ..Found::default() });
        for last in [
            "counter packets 0 bytes 0 reject with icmp type host-prohibited",
            "counter packets 0 bytes 0 jump ufw-reject-forward",
            "counter packets 0 bytes 0 xt target \"REJECT\"",
            "drop",
        ] {
            let ended = found("accept", &["iifname \"lo\" accept", last]);
            assert_eq!(ended, Found { drops: true, end: handle(3), ..Found::default() }, "{last}");
        }
    }

    #[test]
    fn our_jump_counts_only_before_the_end() {
        let (ours, last) = ("counter packets 7 bytes 1 jump SAMPAN-x", "reject");
        let early = found("drop", &[ours, last]);
        assert!(early.is_in_time && early.jump == handle(2) && early.end == handle(3), "{early:?}");
        let late = found("drop", &[last, ours]);
        assert!(!late.is_in_time && late.jump == handle(3) && late.end == handle(2), "{late:?}");
        let other = found("drop", &["counter packets 7 bytes 1 jump SAMPAN-x-o"]);
        assert_eq!(other.jump, None);
    }

    #[test]
    fn a_table_that_a_program_owns_is_left_alone() {
        let listing = "table inet firewalld { # progname firewalld\n\tflags owner,persist\n\n\tchain c { # handle 1\n\
            \t\treject with icmpx admin-prohibited # handle 9\n\t}\n}\n";
        assert!(!Found::read(listing, "zones", "SAMPAN-x").drops);
    }
}
