//! Runs `scenarios/*.txt`. With `UPDATE=1` the outputs are written anew instead of compared.

mod script;
mod words;

use scenario::{Play, differences};
use script::Script;
use std::path::Path;

impl Play for Script {
    fn run(&mut self, line: &str) -> String {
        Script::run(self, line)
    }
}

#[test]
fn every_scenario_ends_as_it_is_told() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let wrong = differences(&dir, 25, Script::default).unwrap();
    assert!(wrong.is_empty(), "these end otherwise:\n{}", wrong.join("\n"));
}
