//! Runs `scenarios/*.txt`. With `UPDATE=1` the outputs are written anew instead of compared.

#![expect(dead_code, reason = "the world is shared with the properties")]

#[path = "support/world.rs"]
mod world;

use scenario::{Play, differences};
use std::path::Path;
use world::World;

impl Play for World {
    fn run(&mut self, line: &str) -> String {
        World::run(self, line)
    }
}

#[test]
fn every_scenario_ends_as_it_is_told() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let wrong = differences(&dir, 8, World::default).unwrap();
    assert!(wrong.is_empty(), "these end otherwise:\n{}", wrong.join("\n"));
}
