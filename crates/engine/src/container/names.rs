//! Names for containers whose user gave none: an adjective and a sailor.

use rand::seq::IndexedRandom;

const ADJECTIVES: &[&str] = &[
    "agile", "amber", "ardent", "brave", "breezy", "bright", "brisk", "calm", "candid", "clever",
    "coastal", "cosy", "daring", "deft", "eager", "easy", "fair", "fearless", "fine", "fleet",
    "fluent", "fond", "frank", "free", "fresh", "gallant", "gentle", "glad", "golden", "graceful",
    "hardy", "hearty", "honest", "humble", "jolly", "jovial", "keen", "kind", "light", "lively",
    "loyal", "lucid", "merry", "mild", "modest", "neat", "nimble", "noble", "patient", "placid",
    "plucky", "polite", "proud", "quick", "quiet", "ready", "robust", "sage", "salty", "sharp",
    "silent", "sincere", "sleek", "smart", "snug", "sober", "spry", "steady", "stoic", "sturdy",
    "sunny", "swift", "tidy", "tranquil", "trim", "trusty", "upbeat", "valiant", "vivid", "warm",
    "wise", "witty", "zesty",
];

const SAILORS: &[&str] = &[
    "amundsen",
    "anson",
    "baffin",
    "baret",
    "barents",
    "bering",
    "blackwell",
    "bligh",
    "bougainville",
    "cabot",
    "cabral",
    "cartier",
    "chichester",
    "cook",
    "cousteau",
    "dampier",
    "davis",
    "diaz",
    "drake",
    "dumont",
    "earhart",
    "erikson",
    "flinders",
    "francis",
    "franklin",
    "frobisher",
    "gama",
    "gan",
    "hanno",
    "hawkins",
    "heyerdahl",
    "hudson",
    "humboldt",
    "jansz",
    "joshua",
    "knox",
    "kupe",
    "laperouse",
    "macarthur",
    "magellan",
    "mahan",
    "marcopolo",
    "nansen",
    "nelson",
    "orellana",
    "parry",
    "perry",
    "piailug",
    "ponting",
    "pytheas",
    "quiros",
    "raleigh",
    "ross",
    "scott",
    "shackleton",
    "slocum",
    "sopranino",
    "tabarly",
    "tasman",
    "torres",
    "tupaia",
    "vancouver",
    "verrazzano",
    "vespucci",
    "wallis",
    "weddell",
    "worsley",
    "zhenghe",
];

impl crate::Engine {
    /// A name for an object whose user gave none.
    pub fn random_name(&self) -> String {
        generate(|_| false)
    }
}

/// A name that `taken` does not know; a number is added when luck runs out.
pub(crate) fn generate(taken: impl Fn(&str) -> bool) -> String {
    let mut rng = rand::rng();
    let mut pair = || {
        let adjective = ADJECTIVES.choose(&mut rng).copied().unwrap_or("calm");
        let sailor = SAILORS.choose(&mut rng).copied().unwrap_or("cook");
        format!("{adjective}_{sailor}")
    };
    for _ in 0..16 {
        let name = pair();
        if !taken(&name) {
            return name;
        }
    }
    let base = pair();
    (1u64..).map(|number| format!("{base}{number}")).find(|name| !taken(name)).unwrap_or(base)
}
