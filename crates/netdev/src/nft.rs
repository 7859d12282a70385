//! Puts the ruleset into the kernel and notices when somebody else changed it.
//!
//! ```text
//! untouched, frame as before ──► what differs, as one netlink transaction (`batch`) ──┐
//! else, or refused ──► the text for `nft -f` ─────────────────────────────────────────┴─► applied, counted
//! ```
//! The program costs its start, its look at what is there, and where rules went a wait for every CPU when it closes its
//! socket: 15 to 25 ms, against 0.2 to 1.
//!
//! The kernel counts every change of a namespace's rules. While the count is the one after our own last
//! change, nothing is called at all; else our table is listed and compared. A [`Ledger`] tells the changes of one
//! of our tables from those of others.

mod batch;

use crate::netlink::{Netlink, Request, find};
use netplan::overlay::{OverlayRules, REFUSED};
use netplan::{Ruleset, USER_CHAIN};
use nix::sys::socket::SockProtocol;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

// linux/netfilter/nfnetlink.h and nf_tables.h.
const NFT_MSG_GETGEN: u16 = (10 << 8) | 16;
const NFTA_GEN_ID: u16 = 1;

/// A table of ours as a plan has it: texts for `nft -f`, or messages.
pub(crate) trait TableText: Clone {
    fn family(&self) -> &str;
    fn table(&self) -> &str;
    fn text(&self) -> String;
    fn text_since(&self, before: &Self) -> String;
    /// What makes `before` into this, none if they are equal; `None` where there is but the text.
    fn batch_since(&self, _before: &Self) -> Option<Vec<Request>> {
        None
    }
}

impl TableText for Ruleset {
    fn family(&self) -> &str {
        "ip"
    }
    fn table(&self) -> &str {
        &self.table
    }
    fn text(&self) -> String {
        Ruleset::text(self)
    }
    fn text_since(&self, before: &Self) -> String {
        Ruleset::text_since(self, before)
    }
}

impl TableText for OverlayRules {
    fn family(&self) -> &str {
        self.family
    }
    fn table(&self) -> &str {
        &self.table
    }
    fn text(&self) -> String {
        OverlayRules::text(self)
    }
    fn text_since(&self, before: &Self) -> String {
        OverlayRules::text_since(self, before)
    }
    fn batch_since(&self, before: &Self) -> Option<Vec<Request>> {
        Some(batch::requests(self, &self.since(before)?))
    }
}

/// Changes that a ledger remembers; older ones are taken for somebody else's.
const REMEMBERED: usize = 256;

/// The counts before and after changes that this process made alone, in one namespace. Shared by its tables.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger(Arc<Mutex<BTreeMap<u32, u32>>>);

impl Ledger {
    fn note(&self, before: u32, after: u32) {
        let mut steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        steps.insert(before, after);
        if steps.len() > REMEMBERED {
            steps.pop_first();
        }
    }

    /// Makes one change of rules that is told as our own.
    pub(crate) fn around(&self, change: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut netlink = Netlink::open(SockProtocol::NetlinkNetFilter)?;
        let before = generation(&mut netlink)?;
        change()?;
        let after = generation(&mut netlink)?;
        if after == before.wrapping_add(1) {
            self.note(before, after);
        }
        Ok(())
    }

    /// Where our own changes lead from `generation`.
    pub(crate) fn follow(&self, mut generation: u32) -> u32 {
        let steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(next) = steps.get(&generation) {
            generation = *next;
        }
        generation
    }
}

#[derive(Debug)]
pub(crate) struct Rules<T> {
    netlink: Netlink,
    ledger: Ledger,
    applied: Option<Applied<T>>,
}

#[derive(Debug)]
struct Applied<T> {
    ruleset: T,
    /// The count after our change; `None` when somebody else changed rules meanwhile.
    generation: Option<u32>,
    /// Our table as the kernel shows it, once it had to be asked for.
    listing: Option<String>,
}

enum Changed {
    Nothing,
    /// The count after it, if no other change came between.
    To(Option<u32>),
}

/// What [`Rules::ensure`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    AsWanted,
    /// Other rules were wanted than at the last time.
    Outdated,
    /// Somebody else changed rules, and ours were put back.
    Tampered,
}

impl<T: TableText> Rules<T> {
    pub(crate) fn open(ledger: Ledger) -> io::Result<Self> {
        Ok(Rules { netlink: Netlink::open(SockProtocol::NetlinkNetFilter)?, ledger, applied: None })
    }

    /// What was applied last; `None` after a failure.
    pub(crate) fn last(&self) -> Option<&T> {
        self.applied.as_ref().map(|applied| &applied.ruleset)
    }

    /// For what else is asked of netfilter here. One that is opened for that waits for every CPU when it is closed, while the
    /// kernel has not freed rules that were removed.
    pub(crate) fn socket(&mut self) -> &mut Netlink {
        &mut self.netlink
    }

    pub(crate) fn ledger(&self) -> Ledger {
        self.ledger.clone()
    }

    /// Makes the kernel hold `ruleset`.
    pub(crate) fn ensure(&mut self, ruleset: &T) -> io::Result<Found> {
        let known = self.applied.is_some();
        let untouched = self.untouched()?;
        // Forgotten until it is done: after a failure everything is replaced.
        let before = self.applied.take().filter(|_| untouched);
        let generation = match &before {
            Some(applied) => match self.change(ruleset, applied) {
                Ok(Changed::Nothing) => {
                    self.applied = before;
                    return Ok(Found::AsWanted);
                }
                Ok(Changed::To(generation)) => generation,
                Err(err) => {
                    let table = ruleset.table();
                    tracing::debug!(%err, table, "rules are replaced, a change of them was refused");
                    self.load(&ruleset.text())?
                }
            },
            None => self.load(&ruleset.text())?,
        };
        self.applied = Some(Applied { ruleset: ruleset.clone(), generation, listing: None });
        Ok(if known && !untouched { Found::Tampered } else { Found::Outdated })
    }

    /// Has the kernel take what differs from what it holds.
    fn change(&mut self, ruleset: &T, applied: &Applied<T>) -> io::Result<Changed> {
        let Some(requests) = ruleset.batch_since(&applied.ruleset) else {
            let text = ruleset.text_since(&applied.ruleset);
            return match text.is_empty() {
                true => Ok(Changed::Nothing),
                false => self.load(&text).map(Changed::To),
            };
        };
        if requests.is_empty() {
            return Ok(Changed::Nothing);
        }
        self.netlink.transact(requests, applied.generation)?;
        // Nobody else's change came between: it would have been refused.
        let after = applied.generation.map(|before| before.wrapping_add(1));
        if let Some((before, after)) = applied.generation.zip(after) {
            self.ledger.note(before, after);
        }
        Ok(Changed::To(after))
    }

    /// Whether our table is as we left it. Asks for a listing only when somebody changed some rule.
    fn untouched(&mut self) -> io::Result<bool> {
        let Some(applied) = &mut self.applied else { return Ok(false) };
        let generation = generation(&mut self.netlink)?;
        if applied.generation.map(|then| self.ledger.follow(then)) == Some(generation) {
            applied.generation = Some(generation);
            return Ok(true);
        }
        let untouched = applied.listing.is_some() && applied.listing == list(&applied.ruleset)?;
        if untouched {
            applied.generation = Some(generation);
        }
        Ok(untouched)
    }

    /// Remembers how the kernel shows our table, to tell a change of ours from one elsewhere later. For
    /// the audit, because it costs a call of the program.
    pub(crate) fn remember(&mut self) -> io::Result<()> {
        if let Some(applied) = self.applied.as_mut().filter(|applied| applied.listing.is_none()) {
            applied.listing = list(&applied.ruleset)?;
        }
        Ok(())
    }

    /// Removes our table with all that is in it, the administrator's chain included.
    pub(crate) fn remove(&mut self, family: &str, table: &str) -> io::Result<()> {
        self.applied = None;
        // Added first, because removing what is not there is an error.
        self.load(&format!("add table {family} {table}\ndelete table {family} {table}\n")).map(drop)
    }

    /// Has the kernel take `text`. Answers its count after that, if no other change came between.
    fn load(&mut self, text: &str) -> io::Result<Option<u32>> {
        let before = generation(&mut self.netlink)?;
        nft(&["-f", "-"], text.as_bytes())?;
        let after = generation(&mut self.netlink)?;
        let ours_alone = after == before.wrapping_add(1);
        if ours_alone {
            self.ledger.note(before, after);
        }
        Ok(ours_alone.then_some(after))
    }
}

/// Packets by the element of a set that they matched, of those that count and matched any.
pub(crate) fn counts(table: &str, set: &str) -> io::Result<BTreeMap<String, u64>> {
    let listing = nft(&["list", "set", "ip", table, set], b"")?;
    Ok(read_counts(&listing))
}

/// From `elements = { 10.0.1.5 counter packets 3 bytes 180, … }`.
fn read_counts(listing: &str) -> BTreeMap<String, u64> {
    let elements = listing.split_once("elements = {").map_or("", |(_, elements)| elements);
    let count = |element: &str| {
        let mut words = element.split_whitespace();
        let key = words.next()?.to_owned();
        let mut words = words.skip_while(|word| *word != "packets");
        let packets: u64 = words.nth(1)?.parse().ok()?;
        (packets > 0).then_some((key, packets))
    };
    elements
        .split(['}'])
        .next()
        .into_iter()
        .flat_map(|all| all.split(','))
        .filter_map(count)
        .collect()
}

pub(crate) fn generation(netlink: &mut Netlink) -> io::Result<u32> {
    let header = [libc::AF_UNSPEC as u8, 0, 0, 0];
    let read = |payload: &[u8]| {
        let id: [u8; 4] = find(payload.get(4..)?, NFTA_GEN_ID)?.try_into().ok()?;
        Some(u32::from_be_bytes(id))
    };
    netlink
        .get(Request::new(NFT_MSG_GETGEN, 0, &header), read)?
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the kernel gave no generation"))
}

/// Our table as the kernel has it, without the administrator's chain and what the rules themselves write; `None` when it
/// is not there.
fn list(of: &impl TableText) -> io::Result<Option<String>> {
    let listing = match nft(&["-s", "list", "table", of.family(), of.table()], b"") {
        Ok(listing) => listing,
        Err(err) if err.kind() == io::ErrorKind::Other => return Ok(None),
        Err(err) => return Err(err),
    };
    let mut own = String::with_capacity(listing.len());
    let mut inside = false;
    let foreign = [format!("chain {USER_CHAIN} {{"), format!("set {REFUSED} {{")];
    for line in listing.lines() {
        inside |= foreign.iter().any(|begin| line.trim_start().starts_with(begin));
        if !inside {
            own.push_str(line);
            own.push('\n');
        }
        inside &= line != "\t}";
    }
    Ok(Some(own))
}

/// Runs the `nft` program; what it says on failure is the error.
pub(crate) fn nft(arguments: &[&str], input: &[u8]) -> io::Result<String> {
    let mut child = Command::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|err| io::Error::new(err.kind(), format!("nft (package nftables): {err}")))?;
    // It reads all before it writes; one that died early says why on its standard error.
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(input) {
            Err(err) if err.kind() != io::ErrorKind::BrokenPipe => return Err(err),
            _ => {}
        }
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(io::Error::other(format!("nft: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

#[cfg(test)]
mod tests;
